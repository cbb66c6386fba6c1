"""A durable subscription: what it is owed, who has which of it, and what comes again. Pure.

What is owed is in the store. In memory is a window of it, oldest first, that is filled from the store
when it runs low.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from attrs import define, field, frozen

from protosuite.bus.delivery import Delivery, Event, Subscriber


@frozen
class Limits:
    """The bounds of a broker; see the settings of the same names."""

    depth: int = 1000
    max_depth: int = 10_000
    prefetch: int = 100
    max_prefetch: int = 10_000
    retain: int = 100
    max_retained: int = 64 << 20
    max_topics: int = 10_000
    max_subscriptions: int = 1000
    max_durables: int = 1000
    max_durable_events: int = 100_000
    ack_timeout: float = 30.0
    window: int = 1000  # events of a durable subscription in memory, besides those with consumers
    window_bytes: int = 8 << 20


@frozen(eq=False, repr=False)
class Owed:
    """An event that `durable` is owed, by the number under which it is stored and acknowledged."""

    id: int
    durable: Durable
    event: Event


@define(eq=False, repr=False)
class Consumer:
    """A subscriber's share in a durable subscription."""

    subscriber: Subscriber
    pattern: str
    durable: Durable
    prefetch: int
    in_flight: dict[int, tuple[Owed, float]] = field(factory=dict)  # by id, with the time, oldest first
    unsent: dict[int, Owed] = field(factory=dict)  # those of them that have not been taken

    @property
    def has_room(self) -> bool:
        """Whether it may have one more: of large ones fewer than `prefetch`, but one in any case."""
        if len(self.in_flight) >= self.prefetch:
            return False
        return not self.in_flight or self.subscriber.unacknowledged_bytes < self.subscriber.max_queued_bytes

    def give(self, owed: Owed, now: float) -> None:
        """It has `owed` from now on."""
        self.done(owed.id)  # it may have come again from another node
        self.in_flight[owed.id] = (owed, now)
        self.unsent[owed.id] = owed
        self.subscriber.unacknowledged_bytes += owed.event.size
        self.subscriber.has_something(self)

    def done(self, id: int) -> Owed | None:
        """It has `id` no more; None if it never had."""
        owed, _ = self.in_flight.pop(id, (None, 0.0))
        if owed is not None:
            self.unsent.pop(id, None)
            self.subscriber.unacknowledged_bytes -= owed.event.size
        return owed

    def take(self) -> Delivery | None:
        """The next event to send, if there is one."""
        if not self.unsent:
            return None
        owed = self.unsent.pop(next(iter(self.unsent)))
        return Delivery(owed.event, self.pattern, owed.id, 0)


@define(eq=False, repr=False)
class Durable:
    """A durable subscription. `owed` counts all that is stored or being stored for it."""

    name: str
    pattern: str
    limits: Limits
    owed: int = 0
    last_stored: int = 0  # the highest id that is known to be stored
    consumers: list[Consumer] = field(factory=list)
    is_deleted: bool = False
    is_loading: bool = False
    _ready: deque[Owed] = field(factory=deque)  # in the window, with nobody, by id
    _ready_bytes: int = 0
    _loaded: int = 0  # up to this id all that is owed has been in the window
    _loading_to: int = 0  # what is being read has everything up to here
    _next_consumer: int = 0

    @property
    def is_full(self) -> bool:
        """Whether publishers must wait until something is acknowledged."""
        return self.owed >= self.limits.max_durable_events

    @property
    def wants_more(self) -> bool:
        """Whether the window has run low while the store has more: then read, after :meth:`load`."""
        low = len(self._ready) < self.limits.window // 2 and self._ready_bytes < self.limits.window_bytes // 2
        return low and self._loaded < self.last_stored and not self.is_loading and not self.is_deleted

    def load(self) -> int:
        """The store is about to be read: the id after which to begin."""
        self.is_loading = True
        self._loading_to = self.last_stored
        return self._loaded

    def promised(self, owed: Owed) -> None:
        """`owed` is about to be stored."""
        self.owed += 1

    def broken(self, owed: Owed) -> None:
        """`owed` could not be stored: its publisher is told, and nothing is owed."""
        if not self.is_deleted:
            self.owed -= 1

    def stored(self, owed: Owed) -> None:
        """`owed` is stored. It comes into the window if there is room and nothing older is missing there."""
        if self.is_deleted:
            return
        has_all_before = self._loaded == self.last_stored
        self.last_stored = owed.id
        if (
            has_all_before
            and len(self._ready) < self.limits.window
            and self._ready_bytes < self.limits.window_bytes
        ):
            self._loaded = owed.id
            self._add(owed)

    def loaded(self, found: Sequence[Owed], is_all: bool) -> None:
        """What the store has after :meth:`load`, oldest first; `is_all` if it was not cut short."""
        self.is_loading = False
        if self.is_deleted:
            return
        for owed in found:
            self._loaded = owed.id
            self._add(owed)
        if is_all:
            self._loaded = max(self._loaded, self._loading_to)

    def dispatch(self, now: float) -> list[Subscriber]:
        """Hand what is ready to consumers that have room, in turn. Returns the subscribers that got some."""
        woken: dict[Subscriber, None] = {}
        while self._ready:
            consumer = self._with_room()
            if consumer is None:
                break
            owed = self._ready.popleft()
            self._ready_bytes -= owed.event.size
            consumer.give(owed, now)
            woken[consumer.subscriber] = None
        return list(woken)

    def acknowledge(self, id: int) -> bool:
        """Take an acknowledgement, whichever consumer it is with. False: it is with none."""
        for consumer in self.consumers:
            if consumer.done(id) is not None:
                self.owed -= 1
                return True
        return False

    def leave(self, consumer: Consumer) -> None:
        """`consumer` is gone: what it had comes again."""
        self.consumers.remove(consumer)
        self._take_back([owed for id in list(consumer.in_flight) if (owed := consumer.done(id)) is not None])

    def expire(self, now: float) -> bool:
        """Take back what has been with a consumer for `ack_timeout` without an acknowledgement."""
        overdue: list[Owed] = []
        for consumer in self.consumers:
            for owed, since in list(consumer.in_flight.values()):
                if now - since < self.limits.ack_timeout:
                    break
                consumer.done(owed.id)
                overdue.append(owed)
        self._take_back(overdue)
        return bool(overdue)

    def delete(self) -> None:
        """Nothing is owed any more."""
        self.is_deleted = True
        for consumer in self.consumers:
            for id in list(consumer.in_flight):
                consumer.done(id)
        self.consumers.clear()
        self._ready.clear()
        self.owed = 0

    def _with_room(self) -> Consumer | None:
        """The next consumer in turn that may have one more."""
        count = len(self.consumers)
        for step in range(count):
            place = (self._next_consumer + step) % count
            consumer = self.consumers[place]
            if consumer.has_room:
                self._next_consumer = place + 1
                return consumer
        return None

    def _add(self, owed: Owed) -> None:
        self._ready.append(owed)
        self._ready_bytes += owed.event.size

    def _take_back(self, back: Iterable[Owed]) -> None:
        """Put these into the window again, in the order of all."""
        again = list(back)
        if again:
            self._ready_bytes += sum(owed.event.size for owed in again)
            self._ready = deque(sorted([*again, *self._ready], key=lambda owed: owed.id))
