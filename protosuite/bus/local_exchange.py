"""The exchange of a node alone: the broker gives events their places, and only what is owed is stored."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from protosuite.bus.delivery import Event, Subscriber
from protosuite.bus.durable import Durable, Owed
from protosuite.bus.exchange import Done, Exchange, log
from protosuite.bus.store import BusStore
from protosuite.config import BusConfig
from protosuite.errors import BadRequest


class LocalExchange(Exchange):
    """Events are in memory, but for those that durable subscriptions are owed."""

    def __init__(
        self, config: BusConfig, store: BusStore, clock: IReactorTime, wall: Callable[[], float]
    ) -> None:
        super().__init__(config, clock, wall)
        self.store: BusStore = store
        self._joining: dict[Durable, list[Deferred[None]]] = {}  # who joined one that is being stored

    def start(self) -> None:
        """Go on from what is stored. Blocks; at a start."""
        found = self.store.load(self.limits)
        # Never one that was used before: a late acknowledgement would be taken for another event's.
        self.broker.next_id = max(found.last_id + 1, int(self._wall() * 1000) << 20)
        self.broker.restore(found.sequences, found.forgotten)
        for durable in found.durables:
            self.broker.add_durable(durable)

    def stop(self) -> Deferred[None]:
        """Store what was accepted."""
        return self.store.flushed()

    def accept(self, topic: str, payload: bytes, content_type: str, done: Done) -> None:
        """Publish. `done` is told once every durable copy is stored, or why one is not."""
        published = self.broker.publish(topic, payload, content_type, int(self._wall() * 1000))
        event = published.event
        self._forget()
        if published.owed:
            self._unstored_bytes += event.size
            began = self._clock.seconds()

            def stored(failure: Failure | None) -> None:
                self._unstored_bytes -= event.size
                self.latency.observe(self._clock.seconds() - began)
                self._stored(event, published.owed, failure)
                done(event.sequence, failure)
                self.retry_parked()

            self.store.append(published.owed, stored)
        self.fan_out.add(event, published.to)
        if not published.owed:
            done(event.sequence, None)

    def subscribe(self, subscriber: Subscriber, pattern: str, depth: int, replay: int) -> None:
        """A best-effort subscription, from now on."""
        replaced = self.broker.shared(subscriber, pattern)
        self.broker.subscribe(subscriber, pattern, depth, replay)
        if replaced is not None:
            self.dispatch(replaced)

    def join(self, subscriber: Subscriber, pattern: str, name: str, prefetch: int) -> Deferred[None] | None:
        """A share in a durable subscription. It is there at once, and stored when the Deferred fires."""
        replaced = self.broker.shared(subscriber, pattern)
        consumer, is_new = self.broker.join(subscriber, pattern, name, prefetch)
        if replaced is not None:
            self.dispatch(replaced)
        durable = consumer.durable
        joined: Deferred[None] | None = None
        if is_new or durable in self._joining:
            joined = Deferred()
            self._joining.setdefault(durable, []).append(joined)
        if is_new:
            self.store.create(name, pattern).addCallbacks(
                self._created, self._not_created, callbackArgs=(durable,), errbackArgs=(durable,)
            )
        self.dispatch(durable)
        return joined

    def _created(self, _: None, durable: Durable) -> None:
        for joined in self._joining.pop(durable):
            joined.callback(None)

    def _not_created(self, failure: Failure, durable: Durable) -> None:
        """A durable subscription that is not stored is none."""
        if not durable.is_deleted:
            self.broker.delete(durable.name)
        why = f"the durable subscription {durable.name} cannot be stored now; try again later"
        for joined in self._joining.pop(durable):
            joined.errback(BadRequest("overloaded", why))

    def delete(self, name: str) -> Deferred[None]:
        """Delete a durable subscription: publishers that waited for it can go on."""
        self.broker.delete(name)
        deleting = self.store.delete(name).addErrback(
            lambda failure: log.error(
                "durable subscription {name} not deleted: {why}", name=name, why=str(failure.value)
            )
        )
        self.retry_parked()
        return deleting

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
        self.retry_parked()

    def _stored(self, event: Event, group: tuple[Owed, ...], failure: Failure | None) -> None:
        if failure is None:
            self.broker.stored(event)
            self._forget()
        for owed in group:
            if failure is None:
                owed.durable.stored(owed)
                self.dispatch(owed.durable)
            else:
                owed.durable.broken(owed)

    def _forget(self) -> None:
        """The store need not have what the broker has forgotten."""
        if self.broker.outlived:
            self.store.forget(self.broker.outlived)
            self.broker.outlived.clear()

    def _loaded(self, page: tuple[list[Owed], bool], durable: Durable) -> None:
        durable.loaded(*page)
        self.dispatch(durable)

    def _not_loaded(self, failure: Failure, durable: Durable) -> None:
        """Reading failed: the next second tries again."""
        durable.is_loading = False
        self._note(f"the backlog of {durable.name} cannot be read", failure)

    def keep_up(self, now: float) -> None:
        """Once a second: have what was not acknowledged delivered again, and old topics forgotten."""
        self.store.sweep()
        for durable in list(self.broker.durables.values()):
            if durable.expire(now) or durable.wants_more:
                self.dispatch(durable)
