"""The broker with its store: what waits for a commit, for room, or for its time to run out."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.broker import Broker
from protosuite.bus.delivery import Delivery, Event
from protosuite.bus.durable import Durable, Limits, Owed
from protosuite.bus.fanout import FanOut
from protosuite.bus.overview import figures, overview
from protosuite.bus.store import BusStore
from protosuite.bus.wire import encode_reply
from protosuite.config import BusConfig
from protosuite.figures import Figure, Histogram
from protosuite.logs import Muffled

log = Logger(namespace="protosuite.bus")

Done = Callable[[Event, Failure | None], None]


class Waiting(Protocol):
    """A publisher whose publish waits for room."""

    def go_on(self) -> None:
        """There may be room now."""

    def give_up(self, since: float) -> None:
        """Refuse the publish if it has waited since before `since`."""


class Exchange:
    """Takes what connections publish and acknowledge, and has it stored, delivered and delivered again.

    `clock` times deliveries, `wall` gives seconds since the epoch. All of it runs in the reactor's thread.
    """

    def __init__(
        self, config: BusConfig, store: BusStore, clock: IReactorTime, wall: Callable[[], float]
    ) -> None:
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
        self.store = store
        self.latency = Histogram()  # of publishes that are stored
        self.internal_dropped = 0  # events of the suite's own that would have had to wait
        self._config = config
        self._clock = clock
        self._wall = wall
        self._strangers = Muffled(log, clock)
        self._parked: deque[Waiting] = deque()  # each once: a connection is not read past its own bound
        self._unstored_bytes = 0
        self._fanned_out: Event | None = None
        self._frames: dict[str, bytes] = {}

    def load(self) -> None:
        """Go on from what is stored. Blocks; at a start."""
        found = self.store.load(self.limits)
        # Never one that was used before: a late acknowledgement would be taken for another event's.
        self.broker.next_id = max(found.last_id + 1, int(self._wall() * 1000) << 20)
        self.broker.restore(found.sequences)
        for durable in found.durables:
            self.broker.add_durable(durable)

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
            self.accept(topic, payload, "application/json", lambda event, failure: None)

    def must_wait(self, topic: str) -> bool:
        """Whether a publish has to wait for room: in a durable subscription, or on the way to the store."""
        return self.broker.must_wait(topic) or self._unstored_bytes >= self._config.max_unstored

    def accept(self, topic: str, payload: bytes, content_type: str, done: Done) -> None:
        """Publish. `done` is told once every durable copy is stored, or why one is not."""
        published = self.broker.publish(topic, payload, content_type, int(self._wall() * 1000))
        event = published.event
        if published.owed:
            self._unstored_bytes += event.size
            began = self._clock.seconds()

            def stored(failure: Failure | None) -> None:
                self._unstored_bytes -= event.size
                self.latency.observe(self._clock.seconds() - began)
                self._stored(published.owed, failure)
                done(event, failure)
                self._retry_parked()

            self.store.append(published.owed, stored)
        self.fan_out.add(event, published.to)
        if not published.owed:
            done(event, None)

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

    def dispatch(self, durable: Durable) -> None:
        """Hand on what `durable` has, and read more of what it is owed when it runs low."""
        for subscriber in durable.dispatch(self._clock.seconds()):
            subscriber.wake()
        if durable.consumers and durable.wants_more:
            self.store.page(durable, durable.load()).addCallbacks(
                self._loaded, self._not_loaded, callbackArgs=(durable,), errbackArgs=(durable,)
            )

    def acknowledged(self, durable: Durable, delivery: int) -> None:
        """`delivery` is done with: there is room for more, in the consumer and in the backlog."""
        self.store.acknowledge(delivery)
        self.dispatch(durable)
        self._retry_parked()

    def park(self, publisher: Waiting) -> None:
        """`publisher` has a publish that waits for room; it is asked to try again when there is some."""
        self._parked.append(publisher)
        self._strangers.info("{count} publishers wait for room", count=len(self._parked))

    def unpark(self, publisher: Waiting) -> None:
        """`publisher` has given up, or is gone."""
        if publisher in self._parked:
            self._parked.remove(publisher)

    def _retry_parked(self) -> None:
        """There may be room: each tries again, in the order in which they began to wait."""
        # One that goes on can make room for others, and come back to here.
        parked, self._parked = self._parked, deque()
        for publisher in parked:
            publisher.go_on()

    def deleted(self, name: str) -> None:
        """A durable subscription was deleted: publishers that waited for it can go on."""
        self.store.delete(name).addErrback(
            lambda failure: log.error(
                "durable subscription {name} not deleted: {why}", name=name, why=str(failure.value)
            )
        )
        self._retry_parked()

    def _stored(self, group: tuple[Owed, ...], failure: Failure | None) -> None:
        for owed in group:
            if failure is None:
                owed.durable.stored(owed)
                self.dispatch(owed.durable)
            else:
                owed.durable.broken(owed)

    def _loaded(self, page: tuple[list[Owed], bool], durable: Durable) -> None:
        durable.loaded(*page)
        self.dispatch(durable)

    def _not_loaded(self, failure: Failure, durable: Durable) -> None:
        """Reading failed: the next second tries again."""
        durable.is_loading = False
        log.error("the backlog of {name} cannot be read: {why}", name=durable.name, why=str(failure.value))

    def expire(self) -> None:
        """Once a second: what was not acknowledged comes again, and what waited for too long is refused."""
        try:
            now = self._clock.seconds()
            for durable in list(self.broker.durables.values()):
                if durable.expire(now) or durable.wants_more:
                    self.dispatch(durable)
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
