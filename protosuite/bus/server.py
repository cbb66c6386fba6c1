"""The server of bus/1: requests to the exchange, events to whoever can take them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from protosuite.auth.guard import OPEN, Bearer, Guard
from protosuite.auth.rules import Action
from protosuite.bus import bus_pb2 as pb
from protosuite.bus.delivery import Subscriber
from protosuite.bus.exchange import Exchange
from protosuite.bus.local_exchange import LocalExchange
from protosuite.bus.store import BusStore
from protosuite.bus.topics import check_content_type, check_topic
from protosuite.bus.wire import FROM_CLIENT, Decoder, Malformed, encode_reply, plain_echoes
from protosuite.config import BusConfig
from protosuite.errors import BadRequest, Forbidden, Overloaded, PeerFault, StorageError
from protosuite.fabric import Fabric
from protosuite.figures import Figure
from protosuite.net.connection import PacedConnection
from protosuite.net.listening import ListeningService

if TYPE_CHECKING:
    from protosuite.bus.shared_store import SharedStore

_BATCH_BYTES = 64 << 10  # of events in one write: what a transport takes before it says that it is enough
_INT32 = range(-(2**31), 2**31)


class BusService(ListeningService):
    """The exchange with its connections. `wall` gives seconds since the epoch.

    A :class:`~.shared_store.SharedStore` is for one of several nodes, which hear of each other by the
    `fabric`.
    """

    def __init__(
        self,
        config: BusConfig,
        store: BusStore | SharedStore,
        reactor: Any,
        wall: Callable[[], float],
        guard: Guard = OPEN,
        fabric: Fabric | None = None,
    ) -> None:
        super().__init__("bus", reactor, config)
        self.config = config
        self.guard = guard
        self.exchange: Exchange
        if isinstance(store, BusStore):
            self.exchange = LocalExchange(config, store, reactor, wall)
        else:
            assert fabric is not None, "several nodes have to hear of each other"
            from protosuite.bus.shared_exchange import SharedExchange  # which a node alone has no use for

            self.exchange = SharedExchange(config, store, reactor, wall, fabric)
        self.latency = self.exchange.latency
        self._expiring = LoopingCall(self.exchange.expire)
        self._expiring.clock = reactor

    def connection(self, address: IAddress | None) -> BusConnection:
        return BusConnection(self)

    def startService(self) -> None:
        super().startService()
        self.exchange.start()
        self._expiring.start(min(1.0, self.config.ack_timeout), now=False)

    def stopService(self) -> Deferred[None]:
        """Store what was accepted. The connections have been drained before."""
        super().stopService()
        if self._expiring.running:
            self._expiring.stop()
        return self.exchange.stop()

    def figures(self) -> Iterator[Figure]:
        yield from super().figures()
        yield from self.exchange.figures()

    def overview(self) -> Mapping[str, object]:
        return self.exchange.overview()


class BusConnection(PacedConnection):
    """One client's connection.

    It is not read while the client does not read, nor while too many of its publishes wait: for a
    commit, or for a durable subscription that is full. Requests behind a publish that waits for room
    wait too, acknowledgements excepted, which are what makes room.
    """

    def __init__(self, service: BusService) -> None:
        super().__init__(service, service.reactor, service.config, service.config.message_timeout)
        self._service = service
        self._exchange = service.exchange
        self._decoder = Decoder(FROM_CLIENT, service.config.max_message)
        self._subscriber = Subscriber(service.config.max_backlog, self._wake, self._pass_on)
        self._held: deque[Message | Malformed] = deque()  # a publish that waits, and what is behind it
        self._held_bytes = 0
        self._parked_since: float | None = None
        self._is_settling = False  # a subscription begins or ends in the database
        self._uncommitted = 0
        self._refusal: PeerFault | None = None
        self._leaving = False
        self._bearer = Bearer(service.guard, self._token_ended)
        self._gathered: list[bytes] | None = None  # the replies of `_work`, for one write

    # What arrives.

    def opened(self) -> None:
        self.start_pacing()

    def turned_away(self, fault: PeerFault) -> None:
        self.transport.write(encode_reply(pb.Error(code=fault.code, message=fault.message)))

    def is_owed(self) -> bool:
        return bool(self._uncommitted or self._held or self._subscriber.subscriptions)

    def received(self, data: bytes) -> None:
        if data and self._is_at_rest():
            data = self._echo(data)
            if not data:
                return
        self._work(data)

    def _is_at_rest(self) -> bool:
        """Whether nothing is before what comes now."""
        waits = self._gathered is not None or self._held or self._is_settling or self.must_wait()
        return not (waits or self._leaving or self._decoder.is_within_message)

    def _echo(self, data: bytes) -> bytes:
        """Answer the echoes that `data` begins with as far as they are plain. What is left of it."""
        count, end = plain_echoes(data)
        if not count:
            return data
        try:
            self._bearer.check(Action.BUS_ASK)
        except (Forbidden, PeerFault):
            return data  # what is refused is refused by `_work`
        self.greeted()
        self.spend(count)
        self.send(data[:end])
        return data[end:]

    def _work(self, data: bytes = b"") -> None:
        """Answer what has been held and then what has arrived, as far as may be; one write for all."""
        if self._gathered is not None or self.finishing or self._refusal is not None:
            return  # within it already, or past it
        self._gathered = []
        has_ended = False
        fan_out = self._exchange.fan_out
        fan_out.hold()
        try:
            has_ended = self._take_all(data)
        except PeerFault as fault:
            self.refuse(fault)
        finally:
            fan_out.release()
            gathered, self._gathered = self._gathered, None
            if gathered:
                self.send(b"".join(gathered))
        self._wake()
        self._finish_if_done()
        self.pace()
        if not self.finishing and not self._leaving:
            self.unfinished.look(has_ended)

    def _take_all(self, data: bytes) -> bool:
        """What has been held, then what has arrived; whether a message has come to its end."""
        arrived = self._decoder.feed(data)
        taken = 0
        try:
            while True:
                if self._held:
                    self._take_held()
                while not self.must_wait() and (body := next(arrived, None)) is not None:
                    taken += 1
                    self._take(body)
                if not self._held or self._parked_since is not None or self._is_settling:
                    return taken > 0
                # An acknowledgement among these has made room for what is held.
        finally:
            if taken:
                self.greeted()
                self.spend(taken)

    def is_within_message(self) -> bool:
        return self._decoder.is_within_message

    def _take_held(self) -> None:
        """Try again the publish that has been waiting, and what is behind it until one waits again."""
        if self._parked_since is not None or self._is_settling:
            return
        held, self._held, self._held_bytes = self._held, deque(), 0
        for body in held:
            self._take(body)

    def _take(self, body: Message | Malformed) -> None:
        # Behind a publish that waits everything does, but for acknowledgements: they make room.
        if (self._held or self._is_settling) and not isinstance(body, pb.Ack):
            self._hold(body)
            return
        if not isinstance(body, pb.Authenticate):
            self._bearer.check(Action.BUS_ASK)  # before anything of it is looked at
        try:
            self._answer(body)
        except (BadRequest, Forbidden) as error:
            if isinstance(error, Forbidden):
                self._service.turned_down(self.peer, error.code, error.message)
            self._reply(pb.Error(code=error.code, message=error.message, id=getattr(body, "id", 0)))

    def _hold(self, body: Message | Malformed) -> None:
        self._held.append(body)
        self._held_bytes += _size(body)

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
            case pb.Ack():  # of what a subscription has brought
                durable = self._exchange.broker.acknowledge(self._subscriber, body.delivery)
                self._exchange.acknowledged(durable, body.delivery)
            case pb.Subscribe():
                self._subscribe(body)
            case pb.Unsubscribe():
                self._unsubscribe(body)
            case pb.Authenticate():
                self._bearer.present(body.token)
            case Malformed():
                raise BadRequest("bad-message", body.message)

    def _publish(self, body: pb.Publish) -> None:
        check_topic(body.topic)
        check_content_type(body.content_type)
        self._bearer.check(Action.BUS_PUBLISH, body.topic)
        if self._exchange.must_wait(body.topic):
            self._hold(body)
            self._parked_since = self.clock.seconds()
            self._exchange.park(self)
            return
        self._uncommitted += 1

        def done(sequence: int, failure: Failure | None) -> None:
            self._uncommitted -= 1
            if failure is not None:
                message = "the event cannot be stored now; try again later"
                self._reply(pb.Error(code="overloaded", message=message, id=body.id))
            elif body.id:
                self._reply(pb.Receipt(id=body.id, sequence=sequence))
            self._work()
            self._finish_if_done()

        self._exchange.accept(body.topic, body.payload, body.content_type, done)

    def _subscribe(self, body: pb.Subscribe) -> None:
        self._bearer.check(Action.BUS_SUBSCRIBE, body.pattern)
        exchange = self._exchange
        exchange.fan_out.flush()
        if body.durable:
            begun = exchange.join(self._subscriber, body.pattern, body.durable, body.prefetch)
        else:
            begun = exchange.subscribe(self._subscriber, body.pattern, body.depth, body.replay)
        self._settle(begun)

    def _unsubscribe(self, body: pb.Unsubscribe) -> None:
        self._bearer.check(Action.BUS_SUBSCRIBE, body.pattern)
        self._exchange.fan_out.flush()
        if body.durable:
            self._settle(self._exchange.delete(body.durable))
        elif (durable := self._exchange.broker.unsubscribe(self._subscriber, body.pattern)) is not None:
            self._exchange.dispatch(durable)

    def _settle(self, settling: Deferred[None] | None) -> None:
        """What is behind this waits until it is done, which it is already if there is nothing to wait for."""
        if settling is not None:
            self._is_settling = True
            settling.addErrback(self._not_settled).addCallback(self._settled)

    def _not_settled(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, BadRequest):
            self._reply(pb.Error(code=error.code, message=error.message))
            return
        if not isinstance(error, StorageError | Overloaded):
            self._service.log.failure("a subscription failed", failure)
        why = "the database cannot do it now; try again later"
        self._reply(pb.Error(code="overloaded", message=why))

    def _settled(self, _: None) -> None:
        self._is_settling = False
        self._work()
        self._finish_if_done()

    # What waits.

    def must_wait(self) -> bool:
        config = self._service.config
        is_many = self._uncommitted + len(self._held) >= config.max_pending
        return is_many or self._held_bytes > config.max_message  # one of them is never too much

    def go_on(self) -> None:
        """There may be room for the publish that waited, and for what is behind it."""
        first = self._held[0] if self._held and self._parked_since is not None else None
        if isinstance(first, pb.Publish) and self._exchange.must_wait(first.topic):
            self._exchange.park(self, again=True)  # its time goes on
            return
        self._parked_since = None
        self._work()

    def give_up(self, since: float) -> None:
        """Refuse the publish that waits if it has since before `since`, and go on behind it."""
        if self._parked_since is None or self._parked_since > since:
            return
        body = self._held.popleft()
        self._held_bytes -= _size(body)
        message = "a durable subscription is full and nobody acknowledges; try again later"
        self._reply(pb.Error(code="overloaded", message=message, id=getattr(body, "id", 0)))
        self._exchange.unpark(self)
        self._parked_since = None
        self.go_on()

    # What leaves.

    def _wake(self) -> None:
        """Send what the subscriptions have, as long as the client takes it."""
        if self._gathered is not None:
            return  # `_work` does it at its end
        while self._subscriber.is_waiting and not (self.is_blocked or self.finishing or self._leaving):
            batch: list[bytes] = []
            size = 0
            for delivery in self._subscriber.take():
                batch.append(self._exchange.frame(delivery))
                size += len(batch[-1])
                if size >= _BATCH_BYTES:
                    break
            self.send(b"".join(batch))

    def _pass_on(self, frames: bytes) -> bool:
        """Send events past the queue, which is empty, if the client takes them."""
        if self.is_blocked or self.finishing or self._leaving or self._gathered is not None:
            return False
        self.send(frames)
        return True

    def _reply(self, body: Message) -> None:
        if self._gathered is not None:
            self._gathered.append(encode_reply(body))
        elif not self.finishing:
            self.send(encode_reply(body))

    def unblocked(self) -> None:
        self._wake()

    # How it ends.

    def peer_finished(self) -> None:
        """A client that has closed its side gets the answers that it is owed, and no more events."""
        self._leaving = True
        self._finish_if_done()

    def shut_down(self) -> None:
        self._refusal = PeerFault("shutting-down", "the server stops; come back and subscribe again")
        self._leave()

    def refuse(self, fault: PeerFault) -> None:
        self._service.turned_down(self.peer, fault.code, fault.message)
        self._refusal = fault
        self._leave()

    def _token_ended(self, fault: PeerFault) -> None:
        if not self._leaving:
            self.refuse(fault)

    def _leave(self) -> None:
        """Accept nothing more, not even what waits for room, and close after the receipts that are owed."""
        self._leaving = True
        self.unfinished.stop()
        self._drop_held()
        self._finish_if_done()

    def _drop_held(self) -> None:
        self._held.clear()
        self._held_bytes = 0
        self._parked_since = None
        self._exchange.unpark(self)

    def _finish_if_done(self) -> None:
        if not self._leaving or self.finishing or self._gathered is not None:
            return
        if self._uncommitted or self._held or self._is_settling:
            return
        if self._refusal is not None:
            self._reply(pb.Error(code=self._refusal.code, message=self._refusal.message))
        self.finish()

    def closed(self) -> None:
        self._drop_held()
        self._bearer.release()
        self._exchange.fan_out.flush()
        for durable in self._exchange.broker.leave(self._subscriber):
            self._exchange.dispatch(durable)


def _size(body: Message | Malformed) -> int:
    """Bytes that it takes while it is held."""
    return body.ByteSize() if isinstance(body, Message) else len(body.message)
