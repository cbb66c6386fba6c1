"""The server of bus/1: requests to the broker and the store, events to whoever can take them."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import Message
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocolFactory, IPushProducer
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.broker import Broker
from protosuite.bus.delivery import Delivery, Event, Subscriber
from protosuite.bus.durable import Durable, Limits, Owed
from protosuite.bus.store import BusStore
from protosuite.bus.topics import check_topic
from protosuite.bus.wire import FROM_CLIENT, Decoder, Malformed, encode_reply
from protosuite.config import BusConfig
from protosuite.errors import BadRequest, PeerFault
from protosuite.logs import Muffled
from protosuite.net.connection import Connection
from protosuite.net.listening import ListeningService

_BATCH_BYTES = 64 << 10  # of events in one write: what a transport takes before it says that it is enough
_INT32 = range(-(2**31), 2**31)

Done = Callable[[Event, Failure | None], None]


class BusService(ListeningService):
    """The broker with its connections and its store. `wall` gives seconds since the epoch."""

    def __init__(self, config: BusConfig, store: BusStore, reactor: Any, wall: Callable[[], float]) -> None:
        super().__init__("bus", reactor, config.listen, config.max_connections)
        self.config = config
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
        self.store = store
        self.strangers = Muffled(self.log, reactor)
        self.internal_dropped = 0  # events of the suite's own that found a durable subscription full
        self._wall = wall
        self._parked: deque[BusConnection] = deque()  # those with a publish that waits, each once
        self._unstored_bytes = 0
        self._fanned_out: Event | None = None
        self._frames: dict[str, bytes] = {}
        self._expiring = LoopingCall(self._expire)
        self._expiring.clock = reactor

    def factory(self) -> IProtocolFactory:
        return _BusFactory(self)

    def startService(self) -> None:
        super().startService()
        found = self.store.load(self.limits)
        # Never one that was used before: a late acknowledgement would be taken for another event's.
        self.broker.next_id = max(found.last_id + 1, int(self._wall() * 1000) << 20)
        self.broker.restore(found.sequences)
        for durable in found.durables:
            self.broker.add_durable(durable)
        self._expiring.start(min(1.0, self.config.ack_timeout), now=False)

    def stopService(self) -> Deferred[None]:
        """Store what was accepted. The connections have been drained before."""
        super().stopService()
        if self._expiring.running:
            self._expiring.stop()
        return self.store.flushed()

    def publish(self, topic: str, fields: Mapping[str, object]) -> None:
        """Publish an event of the suite's own, as JSON. It is dropped where others would have to wait."""
        if self.must_wait(topic):
            self.internal_dropped += 1
        else:
            payload = json.dumps(fields, separators=(",", ":")).encode()
            self.accept(topic, payload, "application/json", lambda event, failure: None)

    def must_wait(self, topic: str) -> bool:
        """Whether a publish has to wait for room: in a durable subscription, or on the way to the store."""
        return self.broker.must_wait(topic) or self._unstored_bytes >= self.config.max_unstored

    def accept(self, topic: str, payload: bytes, content_type: str, done: Done) -> None:
        """Publish. `done` is told once every durable copy is stored, or why one is not."""
        published = self.broker.publish(topic, payload, content_type, int(self._wall() * 1000))
        event = published.event
        if published.owed:
            self._unstored_bytes += event.size

            def stored(failure: Failure | None) -> None:
                self._unstored_bytes -= event.size
                self._stored(published.owed, failure)
                done(event, failure)
                self._retry_parked()

            self.store.append(published.owed, stored)
        for subscriber in published.woken:
            subscriber.wake()
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
        for subscriber in durable.dispatch(self.reactor.seconds()):
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

    def park(self, connection: BusConnection) -> None:
        """`connection` has a publish that waits for room; it is asked to try again when there is some."""
        self._parked.append(connection)

    def unpark(self, connection: BusConnection) -> None:
        """`connection` has given up, or is gone."""
        if connection in self._parked:
            self._parked.remove(connection)

    def _retry_parked(self) -> None:
        """There may be room: each tries again, in the order in which they began to wait."""
        for _ in range(len(self._parked)):
            self._parked.popleft().go_on()

    def deleted(self, name: str) -> None:
        """A durable subscription was deleted: publishers that waited for it can go on."""
        self.store.delete(name).addErrback(
            lambda failure: self.log.error(
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
        self.log.error(
            "the backlog of {name} cannot be read: {why}", name=durable.name, why=str(failure.value)
        )

    def _expire(self) -> None:
        """Once a second: what was not acknowledged comes again, and what waited for too long is refused."""
        try:
            now = self.reactor.seconds()
            for durable in list(self.broker.durables.values()):
                if durable.expire(now) or durable.wants_more:
                    self.dispatch(durable)
            for connection in list(self._parked):
                connection.give_up(now - self.config.publish_timeout)
        except Exception:  # an exception that got out would end the loop for good
            self.log.failure("redelivery failed; it goes on")


class _BusFactory(Factory):
    noisy = False

    def __init__(self, service: BusService) -> None:
        self._service = service

    def buildProtocol(self, addr: IAddress | None) -> BusConnection:
        return BusConnection(self._service)


@implementer(IPushProducer)
class BusConnection(Connection):
    """One client's connection.

    It is not read while the client does not read, nor while too many of its publishes wait: for a
    commit, or for a durable subscription that is full. Requests behind a publish that waits for room
    wait too, acknowledgements excepted, which are what makes room.
    """

    def __init__(self, service: BusService) -> None:
        super().__init__(service, service.reactor, service.config.close_timeout)
        self._service = service
        self._decoder = Decoder(FROM_CLIENT, service.config.max_message)
        self._subscriber = Subscriber(service.config.max_queued, self._wake)
        self._held: deque[Message | Malformed] = deque()  # a publish that waits, and what is behind it
        self._held_bytes = 0
        self._parked_since: float | None = None
        self._uncommitted = 0
        self._refusal: PeerFault | None = None
        self._leaving = False
        self._blocked = False
        self._paused = False
        self._gathered: list[bytes] | None = None  # the replies of `_work`, for one write

    # What arrives.

    def opened(self) -> None:
        if len(self._service.connections) > self._service.max_connections:
            self._refuse(PeerFault("overloaded", "too many connections; try again later"))
            return
        self.transport.registerProducer(self, True)

    def received(self, data: bytes) -> None:
        self._work(data)

    def _work(self, data: bytes = b"") -> None:
        """Answer what has been held and then what has arrived, as far as may be; one write for all."""
        if self._gathered is not None or self.finishing or self._refusal is not None:
            return  # within it already, or past it
        self._gathered = []
        try:
            arrived = self._decoder.feed(data)
            while True:
                self._take_held()
                while not self._must_wait() and (body := next(arrived, None)) is not None:
                    self._take(body)
                if not self._held or self._parked_since is not None:
                    break  # otherwise an acknowledgement among these has made room for what is held
        except PeerFault as fault:
            self._refuse(fault)
        finally:
            gathered, self._gathered = self._gathered, None
            if gathered:
                self.transport.write(b"".join(gathered))
        self._wake()
        self._finish_if_done()
        self._pace()

    def _take_held(self) -> None:
        """Try again the publish that has been waiting, and what is behind it until one waits again."""
        if self._parked_since is not None:
            return
        held, self._held, self._held_bytes = self._held, deque(), 0
        for body in held:
            self._take(body)

    def _take(self, body: Message | Malformed) -> None:
        # Behind a publish that waits everything does, but for acknowledgements: they make room.
        if self._held and not isinstance(body, pb.Ack):
            self._hold(body)
            return
        try:
            self._answer(body)
        except BadRequest as error:
            self._reply(pb.Error(code=error.code, message=error.message, id=getattr(body, "id", 0)))

    def _hold(self, body: Message | Malformed) -> None:
        self._held.append(body)
        if isinstance(body, pb.Publish):
            self._held_bytes += len(body.payload)

    def _answer(self, body: Message | Malformed) -> None:
        match body:
            case pb.EchoMessage():
                self._reply(body)
            case pb.AddRequest():
                result = body.a + body.b
                if result not in _INT32:
                    raise BadRequest("overflow", f"{body.a} + {body.b} is not an int32")
                self._reply(pb.AddResponse(result=result))
            case pb.Publish():
                self._publish(body)
            case pb.Ack():
                durable = self._service.broker.acknowledge(self._subscriber, body.delivery)
                self._service.acknowledged(durable, body.delivery)
            case pb.Subscribe():
                self._subscribe(body)
            case pb.Unsubscribe():
                self._unsubscribe(body)
            case Malformed():
                raise BadRequest("bad-message", body.message)
            case _:  # Authenticate: where nobody asks who one is, anything is right
                pass

    def _publish(self, body: pb.Publish) -> None:
        check_topic(body.topic)
        if self._service.must_wait(body.topic):
            self._hold(body)
            self._parked_since = self.clock.seconds()
            self._service.park(self)
            return
        self._uncommitted += 1

        def done(event: Event, failure: Failure | None) -> None:
            self._uncommitted -= 1
            if failure is not None:
                message = "the event cannot be stored now; try again later"
                self._reply(pb.Error(code="overloaded", message=message, id=body.id))
            elif body.id:
                self._reply(pb.Receipt(id=body.id, sequence=event.sequence))
            self._work()
            self._finish_if_done()

        self._service.accept(body.topic, body.payload, body.content_type, done)

    def _subscribe(self, body: pb.Subscribe) -> None:
        service = self._service
        if not body.durable:
            service.broker.subscribe(self._subscriber, body.pattern, body.depth, body.replay)
            return
        consumer, is_new = service.broker.join(self._subscriber, body.pattern, body.durable, body.prefetch)
        if is_new:
            service.store.create(body.durable, body.pattern).addErrback(self._not_created, consumer.durable)
        service.dispatch(consumer.durable)

    def _not_created(self, failure: Failure, durable: Durable) -> None:
        """A durable subscription that is not stored is none."""
        if not durable.is_deleted:
            self._service.broker.delete(durable.name)
        message = f"the durable subscription {durable.name} cannot be stored now; try again later"
        self._reply(pb.Error(code="overloaded", message=message))

    def _unsubscribe(self, body: pb.Unsubscribe) -> None:
        broker = self._service.broker
        if body.durable:
            broker.delete(body.durable)
            self._service.deleted(body.durable)
        elif (durable := broker.unsubscribe(self._subscriber, body.pattern)) is not None:
            self._service.dispatch(durable)

    # What waits.

    def _must_wait(self) -> bool:
        """Whether reading on must wait: too much of what was asked for is unanswered."""
        config = self._service.config
        is_many = self._uncommitted + len(self._held) >= config.max_pending
        return is_many or self._held_bytes >= config.max_message

    def go_on(self) -> None:
        """There may be room for the publish that waited, and for what is behind it."""
        self._parked_since = None
        self._work()

    def give_up(self, since: float) -> None:
        """Refuse the publish that waits if it has since before `since`, and go on behind it."""
        if self._parked_since is None or self._parked_since > since:
            return
        body = self._held.popleft()
        message = "a durable subscription is full and nobody acknowledges; try again later"
        self._reply(pb.Error(code="overloaded", message=message, id=getattr(body, "id", 0)))
        self._service.unpark(self)
        self.go_on()

    def _pace(self) -> None:
        """Read while the client reads, and while what it asked for gets done."""
        pause = not self.finishing and (self._blocked or self._must_wait())
        if pause != self._paused:
            self._paused = pause
            if pause:
                self.transport.pauseProducing()
            else:
                self.resume_reading()

    # What leaves.

    def _wake(self) -> None:
        """Send what the subscriptions have, as long as the client takes it."""
        if self._gathered is not None:
            return  # `_work` does it at its end
        while self._subscriber.is_waiting and not (self._blocked or self.finishing or self._leaving):
            batch: list[bytes] = []
            size = 0
            for delivery in self._subscriber.take():
                batch.append(self._service.frame(delivery))
                size += len(batch[-1])
                if size >= _BATCH_BYTES:
                    break
            self.transport.write(b"".join(batch))

    def _reply(self, body: Message) -> None:
        if self._gathered is not None:
            self._gathered.append(encode_reply(body))
        elif not self.finishing:
            self.transport.write(encode_reply(body))

    # IPushProducer: the transport says when the client is behind with reading.

    def pauseProducing(self) -> None:
        self._blocked = True
        self._pace()

    def resumeProducing(self) -> None:
        self._blocked = False
        self._wake()
        self._pace()

    def stopProducing(self) -> None:
        """The connection is being lost."""

    # How it ends.

    def peer_finished(self) -> None:
        """A client that has closed its side gets the answers that it is owed, and no more events."""
        self._leaving = True
        self._finish_if_done()

    def shut_down(self) -> None:
        self._refusal = PeerFault("shutting-down", "the server stops; come back and subscribe again")
        self._leave()

    def _refuse(self, fault: PeerFault) -> None:
        self._service.strangers.info(
            "{peer} refused: {code}: {reason}", peer=self.peer, code=fault.code, reason=fault.message
        )
        self._refusal = fault
        self._leave()

    def _leave(self) -> None:
        """Accept nothing more, not even what waits for room, and close after the receipts that are owed."""
        self._leaving = True
        self._held.clear()
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if not self._leaving or self.finishing or self._gathered is not None:
            return
        if self._uncommitted or self._held:
            return
        if self._refusal is not None:
            self._reply(pb.Error(code=self._refusal.code, message=self._refusal.message))
        self.finish()

    def finish(self) -> None:
        self.transport.unregisterProducer()
        super().finish()

    def closed(self) -> None:
        self._held.clear()
        self._service.unpark(self)
        for durable in self._service.broker.leave(self._subscriber):
            self._service.dispatch(durable)


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
