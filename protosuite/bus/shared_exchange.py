"""The exchange of one of several nodes: the database gives events their places, and says who has what."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from protosuite.bus.broker import check_durable, is_durable, taken, unknown_durable
from protosuite.bus.delivery import OVERHEAD, Event, Subscriber
from protosuite.bus.durable import Durable
from protosuite.bus.exchange import Done, Exchange, log
from protosuite.bus.following import Following
from protosuite.bus.leased import Leased
from protosuite.bus.leasing import Lease
from protosuite.bus.opening import Opening
from protosuite.bus.placing import Batch, Publication
from protosuite.bus.shared_store import Shared, SharedStore
from protosuite.bus.upkeep import Upkeep
from protosuite.config import BusConfig
from protosuite.errors import CommitUnknown
from protosuite.fabric import Fabric
from protosuite.figures import Figure, counter
from protosuite.logs import Muffled

_EVENTS = "bus.events"  # of the fabric: something was published, up to a position
_DURABLE = "bus.durable."  # of the fabric, before a name: something is free, up to an id


class SharedExchange(Exchange):
    """Everything that is published goes by way of the database, and from there to every node.

    A listener of the fabric for the durable subscriptions that have consumers here. How much they are owed is
    known as it was a moment ago: to say when publishers have to wait, that will do.
    """

    def __init__(
        self,
        config: BusConfig,
        store: SharedStore,
        clock: IReactorTime,
        wall: Callable[[], float],
        fabric: Fabric,
    ) -> None:
        super().__init__(config, clock, wall)
        self.store: SharedStore = store
        self.following = Following(
            store, self._tell, lambda: self.broker.subscriptions > 0, Muffled(log, clock), log
        )
        self._fabric = fabric
        self._heard: set[str] = set()  # durable subscriptions of which the fabric tells
        self._upkeep = Upkeep(config, store, wall, self._refreshed, self._freed, self._lost)
        store.published = self._published
        store.given_back = self._freed

    def start(self) -> None:
        """Go on from what is stored. Blocks; at a start."""
        position, found = self.store.start()
        self.following.begin(position)
        self._refreshed(found)
        self._upkeep.start()
        self._fabric.subscribe(_EVENTS, self.following)

    def stop(self) -> Deferred[None]:
        """Store what was accepted, and let others have what this node had."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._upkeep.stop()
        self._fabric.unsubscribe(_EVENTS, self.following)
        for name in list(self._heard):
            self._hear(name, False)
        await self.store.flushed()
        try:
            self._wake(await self.store.retire())
        except Exception as error:  # they get it when they take this node for dead
            log.info("what was owed is not given back: {why}", why=str(error))

    def figures(self) -> Iterator[Figure]:
        """What there is to tell."""
        yield from super().figures()
        doc = "Reads of what other nodes have published."
        yield counter("bus_pages_total", doc, self.following.pages)
        doc = "Times that events were deleted before this node could tell them."
        yield counter("bus_gaps_total", doc, self.following.gaps)

    # Publishing.

    def accept(self, topic: str, payload: bytes, content_type: str, done: Done) -> None:
        """Publish. `done` is told when the event is stored, with its copies, or why it is not."""
        size, began = len(payload) + len(topic) + OVERHEAD, self._clock.seconds()
        self._unstored_bytes += size

        def told(event: Event | None, failure: Failure | None) -> None:
            self._unstored_bytes -= size
            self.latency.observe(self._clock.seconds() - began)
            done(0 if event is None else event.sequence, failure)

        at = int(self._wall() * 1000)
        self.store.publish(Publication(topic, payload, content_type, at, told))

    def _published(self, batch: Batch, failure: Failure | None) -> None:
        if failure is not None:
            self._note("events cannot be stored", failure)
        self.fan_out.hold()  # receipts first, then events
        try:
            if failure is None:
                self._stored(batch)
            for each in batch.publications:
                each.told(each.event if failure is None else None, failure)
        finally:
            self.fan_out.release()
        self.retry_parked()

    def _stored(self, batch: Batch) -> None:
        events = batch.events
        self.broker.note_published(len(events))
        self._upkeep.published(events)
        self.following.committed(events)
        self._fabric.publish(_EVENTS, events[-1].order)
        for name, (last, count) in batch.owed.items():
            self._fabric.publish(_DURABLE + name, last)
            durable = self.broker.durables.get(name)
            if durable is not None:
                durable.owed += count
                self._look(durable)

    def _tell(self, events: Sequence[Event]) -> None:
        """Events of all nodes, in their order."""
        self.fan_out.hold()
        try:
            for event in events:
                self.fan_out.add(event, self.broker.listening(event.topic))
        finally:
            self.fan_out.release()

    # Subscribing.

    def subscribe(self, subscriber: Subscriber, pattern: str, depth: int, replay: int) -> Deferred[None]:
        """A best-effort subscription: all comes that is published, anywhere, after the Deferred has fired."""
        replaced = self.broker.shared(subscriber, pattern)
        opening = self.broker.begin(Opening, subscriber, pattern, depth)
        if replaced is not None:
            self.dispatch(replaced)
        most, max_bytes = opening.depth, subscriber.max_queued_bytes
        opened: Deferred[None] = Deferred()

        def read(found: tuple[int, list[Event]]) -> None:
            position, replayed = found
            self.following.when_at(position, lambda: self._open(opening, replayed, position, opened))

        def failed(failure: Failure) -> None:
            if subscriber.subscriptions.get(pattern) is opening:
                self.broker.unsubscribe(subscriber, pattern)
            opened.errback(failure)

        self.store.last(pattern, min(replay, self.limits.retain), most, max_bytes).addCallbacks(read, failed)
        return opened

    def _open(
        self, opening: Opening, replayed: Sequence[Event], position: int, opened: Deferred[None]
    ) -> None:
        self.fan_out.flush()
        if opening.subscriber.subscriptions.get(opening.pattern) is opening:
            opening.open(replayed, position)
            opening.subscriber.wake()
        opened.callback(None)

    def join(self, subscriber: Subscriber, pattern: str, name: str, prefetch: int) -> Deferred[None]:
        """A share in a durable subscription, which is there for all nodes when the Deferred fires."""
        check_durable(name, pattern)
        return Deferred.fromCoroutine(self._join(subscriber, pattern, name, prefetch))

    async def _join(self, subscriber: Subscriber, pattern: str, name: str, prefetch: int) -> None:
        known = await self.store.find(name)
        refusal = None if known in (None, pattern) else taken(name, str(known))
        if known is None:
            refusal = await self.store.create(name, pattern, self.limits.max_durables)
        if refusal is not None:
            raise refusal
        if subscriber.is_gone:
            return
        self._upkeep.joined(name)
        self._learn(Shared(name, pattern))
        self.fan_out.flush()
        replaced = self.broker.shared(subscriber, pattern)
        consumer, _ = self.broker.join(subscriber, pattern, name, prefetch)
        if replaced is not None:
            self.dispatch(replaced)
        self._hear(name, True)
        self._look(consumer.durable)

    def delete(self, name: str) -> Deferred[None]:
        """Delete a durable subscription, on all nodes."""
        if not is_durable(name):  # nor is it a text that every database takes
            raise unknown_durable()
        return self.store.delete(name).addCallback(self._deleted, name)

    def _deleted(self, was_there: bool, name: str) -> None:
        self._forget(name)
        self._fabric.publish(_DURABLE + name, 0)
        self.retry_parked()
        if not was_there:
            raise unknown_durable()

    # What durable subscriptions are owed.

    def dispatch(self, durable: Durable) -> None:
        """Hand on what this node has, give back what it cannot, and take more if its consumers want it."""
        assert isinstance(durable, Leased)
        given_up = durable.given_up()
        if given_up:
            self.store.release(given_up, durable.name)
        if durable.is_deleted:  # there may be another one of its name
            return
        for subscriber in durable.dispatch(self._clock.seconds()):
            subscriber.wake()
        self._hear(durable.name, bool(durable.consumers))
        most = durable.wants()
        if most:
            durable.begin()
            self.store.lease(Lease(durable, most, self._leased))

    def acknowledged(self, durable: Durable, delivery: int) -> None:
        """`delivery` is done with: there is room for more, in the consumer and in the backlog."""
        self.store.acknowledge(delivery)
        self.dispatch(durable)
        self.retry_parked()

    def _leased(self, lease: Lease, failure: Failure | None) -> None:
        durable = lease.durable
        assert isinstance(durable, Leased)
        if failure is None and lease.is_alive:
            durable.taken(lease.found, lease.is_all)
            self.dispatch(durable)
            return
        durable.failed()  # the next second tries again
        if failure is None:
            return
        if failure.check(CommitUnknown):
            self._upkeep.is_in_doubt = True
        self._note("what is owed cannot be had", failure)

    def _look(self, durable: Durable) -> None:
        """Something may be free."""
        assert isinstance(durable, Leased)
        durable.may_have_more = True
        self.dispatch(durable)

    def _freed(self, names: Collection[str]) -> None:
        """Something is free again: for this node as for the others."""
        self._wake(names)
        for name in names:
            if name in self.broker.durables:
                self._look(self.broker.durables[name])

    def _wake(self, names: Collection[str]) -> None:
        for name in names:
            self._fabric.publish(_DURABLE + name, 0)

    def _lost(self) -> None:
        """What this node had may be with others."""
        for durable in list(self.broker.durables.values()):
            assert isinstance(durable, Leased)
            durable.lost()
            self.dispatch(durable)

    # A listener of the fabric.

    def woken(self, topic: str, number: int) -> None:
        """Something is free."""
        self.catch_up([topic])

    def catch_up(self, topics: Collection[str]) -> None:
        """Something may be free."""
        for topic in topics:
            durable = self.broker.durables.get(topic.removeprefix(_DURABLE))
            if durable is not None:
                self._look(durable)

    def _hear(self, name: str, is_wanted: bool) -> None:
        if is_wanted and name not in self._heard:
            self._heard.add(name)
            self._fabric.subscribe(_DURABLE + name, self)
        elif not is_wanted and name in self._heard:
            self._heard.discard(name)
            self._fabric.unsubscribe(_DURABLE + name, self)

    # What all nodes know.

    def keep_up(self, now: float) -> None:
        """Once a second: have what was not acknowledged delivered again, and see what the others do."""
        for durable in list(self.broker.durables.values()):
            if durable.consumers:
                durable.expire(now)
            self.dispatch(durable)
        self.following.retry()
        self.store.retry()
        full = [durable.name for durable in self.broker.durables.values() if durable.is_full]
        self._upkeep.keep_up(now, full, bool(self._parked))

    def _refreshed(self, found: Sequence[Shared], fresh: Collection[str] = ()) -> None:
        """All durable subscriptions, as they were a moment ago; not for those that have come meanwhile."""
        names = {each.name for each in found}
        for name in list(self.broker.durables):
            if name not in names and name not in fresh:
                self._forget(name)
        for each in found:
            self._learn(each)
        self.retry_parked()

    def _learn(self, shared: Shared) -> None:
        known = self.broker.durables.get(shared.name)
        if known is not None and known.pattern != shared.pattern:
            self._forget(shared.name)
            known = None
        if known is None:
            known = self.broker.add_durable(Leased(shared.name, shared.pattern, self.limits))
        if shared.owed is not None:
            known.owed = shared.owed

    def _forget(self, name: str) -> None:
        self._hear(name, False)
        if name in self.broker.durables:
            self.broker.delete(name)
