"""The broker with its store: what waits for a commit, for room, or for its time to run out.

``local_exchange`` is that of a node alone, ``shared_exchange`` that of one of several; here is what both are.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.broker import Broker
from protosuite.bus.delivery import Delivery, Event, Subscriber
from protosuite.bus.durable import Durable, Limits
from protosuite.bus.fanout import FanOut
from protosuite.bus.overview import figures, overview
from protosuite.bus.wire import encode_reply
from protosuite.config import BusConfig
from protosuite.errors import Overloaded, StorageError
from protosuite.figures import Figure, Histogram
from protosuite.logs import Muffled

log = Logger(namespace="protosuite.bus")

Done = Callable[[int, Failure | None], None]  # told the sequence of what was published, or why it was not


class Waiting(Protocol):
    """A publisher whose publish waits for room."""

    def go_on(self) -> None:
        """There may be room now."""

    def give_up(self, since: float) -> None:
        """Refuse the publish if it has waited since before `since`."""


class Exchange(ABC):
    """Takes what connections publish and acknowledge, and has it stored, delivered and delivered again.

    `clock` times deliveries, `wall` gives seconds since the epoch. All of it runs in the reactor's thread.
    """

    store: object

    def __init__(self, config: BusConfig, clock: IReactorTime, wall: Callable[[], float]) -> None:
        self.limits = Limits(
            depth=config.depth,
            max_depth=config.max_depth,
            prefetch=config.prefetch,
            max_prefetch=config.max_prefetch,
            retain=config.retain,
            max_retained=config.max_retained,
            max_topics=config.max_topics,
            max_subscriptions=config.max_subscriptions,
            max_durables=config.max_durables,
            max_durable_events=config.max_durable_events,
            ack_timeout=config.ack_timeout,
        )
        self.broker = Broker(self.limits)
        self.fan_out = FanOut(_encode_event)
        self.latency = Histogram()  # of publishes that are stored
        self.internal_dropped = 0  # events of the suite's own that would have had to wait
        self._config = config
        self._clock = clock
        self._wall = wall
        self._muffled = Muffled(log, clock)  # for what may come again and again
        self._parked: deque[Waiting] = deque()  # each once: a connection is not read past its own bound
        self._unstored_bytes = 0
        self._fanned_out: Event | None = None
        self._frames: dict[str, bytes] = {}

    # What depends on whether there are others. Where a Deferred comes back, what a connection asks for next
    # has to wait for it; it fails with `BadRequest`, or with what the database says.

    @abstractmethod
    def start(self) -> None:
        """Go on from what is stored. Blocks; at a start."""

    @abstractmethod
    def stop(self) -> Deferred[None]:
        """Store what was accepted."""

    @abstractmethod
    def accept(self, topic: str, payload: bytes, content_type: str, done: Done) -> None:
        """Publish. `done` is told when every promise for it is kept, or why one is not."""

    @abstractmethod
    def subscribe(
        self, subscriber: Subscriber, pattern: str, depth: int, replay: int
    ) -> Deferred[None] | None:
        """A best-effort subscription, from now on."""

    @abstractmethod
    def join(self, subscriber: Subscriber, pattern: str, name: str, prefetch: int) -> Deferred[None] | None:
        """A share in a durable subscription, which survives us once the Deferred fires; at once if None."""

    @abstractmethod
    def delete(self, name: str) -> Deferred[None] | None:
        """Delete a durable subscription: publishers that waited for it can go on."""

    @abstractmethod
    def dispatch(self, durable: Durable) -> None:
        """Hand on what `durable` has, and get more of what it is owed when it runs low."""

    @abstractmethod
    def acknowledged(self, durable: Durable, delivery: int) -> None:
        """`delivery` is done with: there is room for more, in the consumer and in the backlog."""

    @abstractmethod
    def keep_up(self, now: float) -> None:
        """Once a second: have what was not acknowledged delivered again."""

    @property
    def publishers_waiting(self) -> int:
        """How many connections have a publish that waits for room."""
        return len(self._parked)

    def figures(self) -> Iterator[Figure]:
        """What there is to tell."""
        return figures(self.broker, self.publishers_waiting, self._unstored_bytes, self.internal_dropped)

    def overview(self) -> Mapping[str, object]:
        """The same for people."""
        return overview(self.broker, self.publishers_waiting)

    def publish(self, topic: str, fields: Mapping[str, object]) -> None:
        """Publish an event of the suite's own, as JSON. It is dropped where others would have to wait."""
        if self.must_wait(topic):
            self.internal_dropped += 1
        else:
            payload = json.dumps(fields, separators=(",", ":")).encode()
            self.accept(topic, payload, "application/json", lambda sequence, failure: None)

    def must_wait(self, topic: str) -> bool:
        """Whether a publish has to wait for room: in a durable subscription, or on the way to the store."""
        return self.broker.must_wait(topic) or self._unstored_bytes >= self._config.max_unstored

    def frame(self, delivery: Delivery) -> bytes:
        """The bytes of a delivery: those of one event for one pattern are made once for all that get it."""
        if delivery.delivery or delivery.dropped:
            return _encode(delivery)
        if delivery.event is not self._fanned_out:
            self._fanned_out, self._frames = delivery.event, {}
        frame = self._frames.get(delivery.pattern)
        if frame is None:
            frame = self._frames[delivery.pattern] = _encode(delivery)
        return frame

    def park(self, publisher: Waiting, again: bool = False) -> None:
        """`publisher` has a publish that waits for room; it is asked to try again when there may be some."""
        self._parked.append(publisher)
        if not again:
            self._muffled.info("{count} publishers wait for room", count=len(self._parked))

    def unpark(self, publisher: Waiting) -> None:
        """`publisher` has given up, or is gone."""
        if publisher in self._parked:
            self._parked.remove(publisher)

    def retry_parked(self) -> None:
        """There may be room: each tries again, in the order in which they began to wait."""
        # One that goes on can make room for others, and come back to here.
        parked, self._parked = self._parked, deque()
        for publisher in parked:
            publisher.go_on()

    def _note(self, what: str, failure: Failure) -> None:
        """Log what could not be done, and is tried again."""
        if failure.check(StorageError, Overloaded):
            self._muffled.info("{what}: {why}", what=what, why=str(failure.value))
        else:
            log.failure("{what}", failure, what=what)

    def expire(self) -> None:
        """Once a second: what was not acknowledged comes again, and what waited for too long is refused."""
        try:
            now = self._clock.seconds()
            self.keep_up(now)
            for publisher in list(self._parked):
                publisher.give_up(now - self._config.publish_timeout)
        except Exception:  # an exception that got out would end the loop for good
            log.failure("redelivery failed; it goes on")


def _encode_event(event: Event, pattern: str) -> bytes:
    return _encode(Delivery(event, pattern, 0, 0))


def _encode(delivery: Delivery) -> bytes:
    event = delivery.event
    return encode_reply(
        pb.Event(
            topic=event.topic,
            payload=event.payload,
            content_type=event.content_type,
            sequence=event.sequence,
            delivery=delivery.delivery,
            published_at=event.published_at,
            dropped=delivery.dropped,
            pattern=delivery.pattern,
        )
    )
