"""Events, and how they reach one subscriber: whose turn it is, what waits, what is dropped. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Protocol

from attrs import define, field, frozen

OVERHEAD = 200  # bytes that the objects take around what an event says


@frozen(eq=False, repr=False)
class Event:
    """What was published: `sequence` is its place in its topic, `order` among all of this process."""

    topic: str
    payload: bytes
    content_type: str
    sequence: int
    published_at: int
    order: int = 0

    @property
    def size(self) -> int:
        """Bytes that count against bounds."""
        return len(self.payload) + len(self.topic) + OVERHEAD


@frozen
class Delivery:
    """An event on its way to a subscriber."""

    event: Event
    pattern: str
    delivery: int
    dropped: int


class Subscription(Protocol):
    """What a subscriber takes events from."""

    def take(self) -> Delivery | None:
        """The next event to send, if there is one."""


def _passes_nothing_on(data: bytes) -> bool:
    return False


@define(eq=False, repr=False)
class Subscriber:
    """A connection as the broker sees it: its subscriptions, and whose turn it is among them.

    Both calls are for whoever moves the bytes: `wake` says that :meth:`take` has something, `pass_on` hands
    over encoded events that go out now, or are left (False) because the peer is behind.
    """

    max_queued_bytes: int
    wake: Callable[[], None]
    pass_on: Callable[[bytes], bool] = _passes_nothing_on
    subscriptions: dict[str, Subscription] = field(factory=dict)
    queued_bytes: int = 0
    unacknowledged_bytes: int = 0
    is_gone: bool = False
    _turns: OrderedDict[Subscription, None] = field(factory=OrderedDict)

    @property
    def is_waiting(self) -> bool:
        """Whether :meth:`take` has something."""
        return bool(self._turns)

    def has_something(self, subscription: Subscription) -> None:
        """`subscription` has something to send: it gets its turn behind the others."""
        self._turns.setdefault(subscription)

    def take(self) -> Iterator[Delivery]:
        """What is to be sent, one event a subscription in turn, for as long as one asks."""
        while self._turns:
            subscription, _ = self._turns.popitem(last=False)
            delivery = subscription.take()
            if delivery is not None:
                self._turns[subscription] = None
                yield delivery

    def forget(self, subscription: Subscription) -> None:
        """`subscription` is over."""
        self._turns.pop(subscription, None)


@define(eq=False, repr=False)
class Dropped:
    """How many events all best-effort subscriptions have lost."""

    count: int = 0


@define(eq=False, repr=False)
class BestEffort:
    """A subscription whose events are dropped, oldest first, when they are not taken."""

    subscriber: Subscriber
    pattern: str
    depth: int
    all_dropped: Dropped
    queue: deque[Event] = field(factory=deque)
    dropped: int = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, and nothing was lost that the subscriber has not been told of."""
        return not self.queue and not self.dropped

    def offer(self, event: Event) -> None:
        """Queue an event, and make room for it."""
        self.queue.append(event)
        self.subscriber.queued_bytes += event.size
        while len(self.queue) > self.depth or (
            self.subscriber.queued_bytes > self.subscriber.max_queued_bytes and len(self.queue) > 1
        ):
            self.subscriber.queued_bytes -= self.queue.popleft().size
            self.dropped += 1
            self.all_dropped.count += 1
        self.subscriber.has_something(self)

    def end(self) -> None:
        """It is over: what waits is let go."""
        self.subscriber.queued_bytes -= sum(event.size for event in self.queue)

    def take(self) -> Delivery | None:
        """The next event, with how many were dropped before it."""
        if not self.queue:
            return None
        event = self.queue.popleft()
        self.subscriber.queued_bytes -= event.size
        dropped, self.dropped = self.dropped, 0
        return Delivery(event, self.pattern, 0, dropped)
