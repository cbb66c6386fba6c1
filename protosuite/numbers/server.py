"""The server of numbers/1: moves lines between connections, streams and the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from protosuite.auth.guard import OPEN, Bearer, Guard
from protosuite.auth.rules import Action
from protosuite.config import NumbersConfig
from protosuite.errors import Overloaded, PeerFault, StorageError
from protosuite.figures import Figure
from protosuite.net.connection import PacedConnection
from protosuite.net.listening import ListeningService, Publish, unheard
from protosuite.numbers.alarms import Alarm, Alarms
from protosuite.numbers.overview import figures, overview
from protosuite.numbers.sequence import Session, Stream, check_agreement, new_session
from protosuite.numbers.store import NumbersStore
from protosuite.numbers.wire import (
    CLIENT_MESSAGES,
    Ack,
    Decoder,
    Error,
    Message,
    SessionOpened,
    Start,
    encode,
)


class NumbersService(ListeningService):
    """All streams of numbers. `random` and `wall` (seconds since the epoch) are handed in."""

    def __init__(
        self,
        config: NumbersConfig,
        store: NumbersStore,
        reactor: Any,
        random: Random,
        wall: Callable[[], float],
        publish: Publish = unheard,
        guard: Guard = OPEN,
    ) -> None:
        super().__init__("numbers", reactor, config)
        self.config = config
        self.store = store
        self.streams: dict[str, NumbersConnection] = {}
        self.alarms = Alarms(reactor)
        self.ended = 0  # streams that were sent to their end
        self._random = random
        self._wall = wall
        self.publish = publish
        self.guard = guard
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = reactor

    def connection(self, address: IAddress | None) -> NumbersConnection:
        return NumbersConnection(self)

    def startService(self) -> None:
        super().startService()
        self._sweeping.start(self.config.sweep_interval, now=False)

    def stopService(self) -> Deferred[None]:
        """Store what was acknowledged. The connections have been drained before."""
        super().stopService()
        if self._sweeping.running:
            self._sweeping.stop()
        return self.store.flushed()

    def figures(self) -> Iterator[Figure]:
        yield from super().figures()
        yield from figures(len(self.streams), self.ended)

    def overview(self) -> Mapping[str, object]:
        streams = (connection.stream for connection in self.streams.values())
        return overview((stream for stream in streams if stream is not None), len(self.streams))

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return int(self._wall() * 1000)

    def open(self, start: Start) -> Deferred[tuple[Session, int, int]]:
        """The session for `start`, the index that comes first, and the checksum before it."""
        seed, chance = self._random.getrandbits(64), self._random.random()
        fresh = new_session(start, seed, chance, self.config.max_messages)
        opening = self.store.open(start, fresh, self.now_ms())

        def opened(found: tuple[Session, int]) -> Deferred[tuple[Session, int, int]]:
            session, index = found
            checking = self.store.checksum(session, index)

            def checked(checksum: int) -> tuple[Session, int, int]:
                check_agreement(start, checksum)
                return session, index, checksum

            return checking.addCallback(checked)

        return self.timed(opening.addCallback(opened))

    def take_over(self, client: str, connection: NumbersConnection) -> None:
        """`connection` is the client's from now on; one that it had is told and closed."""
        before = self.streams.get(client)
        self.streams[client] = connection
        if before is not None:
            before.refuse(PeerFault("superseded", "another connection continues this stream"))

    def release(self, client: str, connection: NumbersConnection) -> None:
        """`connection` no longer sends the client's stream."""
        if self.streams.get(client) is connection:
            del self.streams[client]

    def _sweep(self) -> Deferred[None]:
        # An exception that got out would end the loop for good.
        return Deferred.fromCoroutine(self._sweep_all()).addErrback(
            lambda failure: self.log.warn("expired sessions not removed: {why}", why=str(failure.value))
        )

    async def _sweep_all(self) -> None:
        """Remove what has expired, a part at a time: the writer is needed for other things too."""
        total = 0
        while self._sweeping.running and (removed := await self.store.sweep(self.now_ms())):
            total += removed
        self.log.debug("{count} expired sessions removed", count=total)


class NumbersConnection(PacedConnection):
    """One client's connection: first its start, then the stream one way and acknowledgements the other."""

    overdue_code = "not-started"

    def __init__(self, service: NumbersService) -> None:
        super().__init__(service, service.reactor, service.config, service.config.message_timeout)
        self._service = service
        self._decoder = Decoder(CLIENT_MESSAGES, service.config.max_line)
        self._started = False
        self._bearer = Bearer(service.guard, self.refuse)
        self.stream: Stream | None = None
        self._alarm: Alarm | None = None

    def opened(self) -> None:
        self.start_pacing()

    def turned_away(self, fault: PeerFault) -> None:
        self._send(Error(fault.code, fault.message))

    def is_owed(self) -> bool:
        return self.stream is None  # a start that is looked up

    def arrived(self, data: bytes) -> None:
        # Unlike others, this protocol has use for what comes after its end: the last acknowledgements.
        self.received(data)

    def received(self, data: bytes) -> None:
        if self.finishing and (self.stream is None or not self.stream.ended):
            return
        has_ended = False
        try:
            for message in self._decoder.feed(data):
                has_ended = True
                self.spend()
                self._take(message)
        except PeerFault as fault:
            self.refuse(fault)
        if not self.finishing:
            self.unfinished.look(has_ended)

    def is_within_message(self) -> bool:
        return self._decoder.is_within_line

    def peer_finished(self) -> None:
        """A client that only reads from now on, as `nc -N` does, gets what it asked for."""
        if not self._started:
            self.finish()

    def unblocked(self) -> None:
        if self.stream is not None and not self.finishing:
            self._run(self.stream)

    def closed(self) -> None:
        self._cancel_alarm()
        self._bearer.release()
        if self.stream is not None:
            self._service.release(self.stream.session.client, self)

    def shut_down(self) -> None:
        self.refuse(PeerFault("shutting-down", "the server stops; come back and resume"))

    def refuse(self, fault: PeerFault) -> None:
        """Tell the peer, and close."""
        if self.finishing:
            return
        if fault.code not in ("superseded", "shutting-down"):
            self._service.turned_down(self.peer, fault.code, fault.message)
        self._cancel_alarm()
        self._send(Error(fault.code, fault.message))
        self.finish()

    def _take(self, message: Message) -> None:
        if isinstance(message, Start):
            if self._started:
                raise PeerFault("already-started", "this connection has a stream; open another for another")
            self._started = True
            self.greeted()
            self._bearer.present(message.token)
            self._bearer.check(Action.NUMBERS_START, message.client)
            self._service.open(message).addCallbacks(self._begin, self._not_opened)
        elif isinstance(message, Ack):
            if self.stream is None:
                raise PeerFault("not-started", "an acknowledgement before the stream began")
            self._acknowledge(self.stream, message)

    def _acknowledge(self, stream: Stream, ack: Ack) -> None:
        could_go_on = stream.has_room()
        if stream.acknowledge(ack.index, self.clock.seconds()):
            session = stream.session
            self._service.store.acknowledge(session.client, stream.acknowledged, self._service.now_ms())
            if not could_go_on and not self.finishing:
                self._run(stream)  # otherwise it changes nothing before the time that the timer is set to

    def _begin(self, found: tuple[Session, int, int]) -> None:
        if self.finishing:  # the client left, or the service stopped, while the database was asked
            return
        session, index, checksum = found
        config = self._service.config
        self._service.take_over(session.client, self)
        self.stream = Stream(
            session=evolve(session, acknowledged=index),
            next=index,
            checksum=checksum,
            interval=config.interval,
            window=config.window,
            ack_timeout=config.ack_timeout,
            started=self.clock.seconds(),
        )
        self._send(SessionOpened(session.client, session.count, index, round(config.interval * 1000)))
        self._run(self.stream)

    def _not_opened(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, PeerFault):
            self.refuse(error)
        elif isinstance(error, StorageError | Overloaded):
            self.refuse(PeerFault("overloaded", "the session cannot be stored now; try again later"))
        else:
            self._service.log.failure("{peer}: no session", failure, peer=self.peer)
            self.refuse(PeerFault("overloaded", "the server could not do this; try again later"))

    def _run(self, stream: Stream) -> None:
        """Send what is due, and come back when something is again, or when the client has read."""
        self._cancel_alarm()
        if self.is_blocked:
            return
        now = self.clock.seconds()
        try:
            messages = stream.due(now)
        except PeerFault as fault:
            self.refuse(fault)
            return
        if messages:
            self.send(b"".join(map(encode, messages)))
        wake_at = stream.wake_at()
        if wake_at is None:
            self._finish_stream(stream)
        else:
            self._alarm = self._service.alarms.set(wake_at, self._rings)

    def _finish_stream(self, stream: Stream) -> None:
        session = stream.session
        self._service.release(session.client, self)
        fields = {"client": session.client, "count": session.count, "checksum": stream.checksum}
        self._service.ended += 1
        self._service.publish("numbers.session.ended", fields)
        self.finish()

    def _send(self, message: Message) -> None:
        self.send(encode(message))

    def _rings(self) -> None:
        self._alarm = None
        if self.stream is not None:
            self._run(self.stream)

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
