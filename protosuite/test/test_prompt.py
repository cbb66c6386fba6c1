"""Transports that send at once, over real sockets and a reactor that a test turns by hand."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import Any

from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.tcp import Server
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from protosuite.net.prompt import PromptServer, expect


class Turns(Clock):
    """As much of a reactor as a transport needs."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.addReader, self.removeReader = self.readers.add, self.readers.discard
        self.addWriter, self.removeWriter = self.writers.add, self.writers.discard

    def turn(self) -> None:
        """Let whoever wants to write do so, and what is due happen."""
        for transport in list(self.writers):
            if why := transport.doWrite():
                self.removeReader(transport)
                self.removeWriter(transport)
                transport.connectionLost(Failure(why))
        self.advance(0)


@implementer(IHalfCloseableProtocol)
class Speaker(Protocol):
    """The side that writes."""

    transport: Any
    reason: Failure | None = None

    def readConnectionLost(self) -> None:
        """The other side ends."""

    def writeConnectionLost(self) -> None:
        """Our side has ended."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason


@define
class Producer:
    """A producer that counts."""

    paused: int = 0
    resumed: int = 0
    stopped: int = 0

    def pauseProducing(self) -> None:
        self.paused += 1

    def resumeProducing(self) -> None:
        self.resumed += 1

    def stopProducing(self) -> None:
        self.stopped += 1


class Pair:
    """A transport of `kind`, and the socket at its other end."""

    def __init__(self, kind: type[Server]) -> None:
        reactor: Any = Turns()
        self.reactor = reactor
        ours, self.peer = socket.socketpair()
        for end in (ours, self.peer):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least that there is: some KiB
            end.setblocking(False)
        self.protocol: Any = Speaker()
        none: Any = None
        self.transport: Any = kind(ours, self.protocol, ("127.0.0.1", 1), none, 1, reactor)
        self.protocol.makeConnection(self.transport)
        self.received = b""
        self.has_ended = False

    def read(self, most: int = 1 << 20) -> None:
        """Have the peer read."""
        while most and not self.has_ended:
            try:
                data = self.peer.recv(min(most, 1 << 16))
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            self.has_ended = not data
            self.received += data
            most -= len(data)

    def settle(self) -> None:
        """Let everything happen that is under way."""
        for _ in range(10):
            before = -1
            while before != len(self.received):
                before = len(self.received)
                self.reactor.turn()
                self.read()

    def close(self) -> None:
        """Leave nothing behind."""
        self.transport.abortConnection()
        self.reactor.turn()
        self.peer.close()


SIZES = st.one_of(st.integers(0, 64), st.sampled_from([1000, 5000, 70_000, 200_000]))
STEPS = st.one_of(
    st.tuples(st.just("write"), SIZES),
    st.tuples(st.just("writeSequence"), st.lists(SIZES, max_size=3)),
    st.tuples(st.just("read"), SIZES),
    st.tuples(st.just("turn"), st.none()),
    st.tuples(st.sampled_from(["push", "pull", "unregister"]), st.none()),
    st.tuples(st.sampled_from(["loseWriteConnection", "loseConnection", "shut"]), st.none()),
)


_BEFORE_THE_END = ("push", "pull", "loseWriteConnection")


class Played(Pair):
    """Takes steps, and writes other bytes each time.

    Nothing once it has asked for an end, which it does once, and with no producer any more: what becomes of
    any of that depends in Twisted's transport on how much was waiting when it was asked.
    """

    def __init__(self, kind: type[Server]) -> None:
        super().__init__(kind)
        self.written = 0
        self.has_written_all = False
        self.producer = Producer()

    def take(self, name: str, value: Any) -> None:
        """One step."""
        transport = self.transport
        if self.has_written_all and (name.startswith("write") or name in _BEFORE_THE_END):
            return
        if name == "write":
            transport.write(self._bytes(value))
        elif name == "writeSequence":
            transport.writeSequence([self._bytes(size) for size in value])
        elif name == "read":
            self.read(value)
        elif name == "turn":
            self.reactor.turn()
        elif name == "unregister":
            transport.unregisterProducer()
        elif name == "shut":
            self.peer.shutdown(socket.SHUT_WR)
        elif name in ("push", "pull"):
            transport.unregisterProducer()
            transport.registerProducer(self.producer, name == "push")
        elif transport.connected:
            self.has_written_all = True
            transport.unregisterProducer()
            getattr(transport, name)()

    def _bytes(self, size: int) -> bytes:
        self.written += size
        return b"".join(b"%07d\n" % number for number in range(self.written - size, self.written, 8))[:size]


class AnySeriesTests(SynchronousTestCase):
    """Whatever is asked of it."""

    @settings(max_examples=150, deadline=None)
    @given(st.lists(STEPS, max_size=25))
    def test_the_same_bytes(self, steps: list[tuple[str, Any]]) -> None:
        """The peer gets the same bytes and the same end as of Twisted's transport, and never less of them."""
        plain, prompt = Played(Server), Played(PromptServer)
        for step in steps:
            for each in (plain, prompt):
                each.take(*step)
        for each in (plain, prompt):
            each.transport.unregisterProducer()
            each.settle()
        self.assertEqual(prompt.received, plain.received)
        self.assertEqual(prompt.has_ended, plain.has_ended)
        self.assertEqual(prompt.transport.connected, plain.transport.connected)
        self.assertEqual(prompt.protocol.reason is None, plain.protocol.reason is None)
        self.assertEqual(prompt.reactor.writers, set())
        for each in (plain, prompt):
            each.close()


class PromptTests(SynchronousTestCase):
    """What is different about it, and what is not."""

    def setUp(self) -> None:
        self.pair = Pair(PromptServer)
        self.transport, self.reactor = self.pair.transport, self.pair.reactor
        self.addCleanup(self.pair.close)

    def got(self) -> bytes:
        """What the peer has got by now."""
        self.pair.read()
        return self.pair.received

    def fill(self) -> int:
        """Write until the system takes no more; how many bytes that were."""
        written = 0
        while not self.reactor.writers:
            self.transport.write(b"x" * 1000)
            written += 1000
        return written

    def test_at_once(self) -> None:
        """What is written has left before the reactor turns, and the reactor is not asked for anything."""
        self.transport.write(b"one")
        self.assertEqual((self.got(), self.reactor.writers), (b"one", set()))

    def test_the_rest_waits(self) -> None:
        """What the system does not take follows when it does, and what comes behind it keeps its place."""
        written = self.fill()
        self.transport.write(b"behind")
        self.transport.writeSequence([b"and", b"last"])
        self.pair.settle()
        self.assertEqual(self.got(), b"x" * written + b"behindandlast")
        self.transport.write(b"!")
        self.assertEqual(self.got()[-1:], b"!")

    def test_a_sequence_waits_for_the_turn(self) -> None:
        """Pieces are gathered: they leave in the reactor's turn, with what is written behind them."""
        self.transport.writeSequence([b"head", b"er"])
        self.transport.write(b"body")
        self.assertEqual(self.got(), b"")
        self.reactor.turn()
        self.assertEqual(self.got(), b"headerbody")

    def test_a_peer_that_does_not_read(self) -> None:
        """A push producer is paused when more than 64 KiB wait, and asked for more when nothing does."""
        producer = Producer()
        self.transport.registerProducer(producer, True)
        self.fill()
        self.assertEqual(producer.paused, 0)
        self.transport.write(b"x" * 70_000)
        self.assertEqual((producer.paused, producer.resumed), (1, 0))
        self.pair.settle()
        self.assertEqual((producer.paused, producer.resumed), (1, 1))

    def test_a_pull_producer_is_asked_on(self) -> None:
        """Who waits to be asked for more is asked, however quickly the system takes what it gives."""
        producer = Producer()
        self.transport.registerProducer(producer, False)
        for count in range(1, 4):
            self.assertEqual(producer.resumed, count)
            self.transport.write(b"x")
            self.reactor.turn()

    def test_close_behind_the_rest(self) -> None:
        """A connection that is to be closed closes when all has left, and takes what comes until then."""
        written = self.fill()
        self.transport.loseConnection()
        self.transport.write(b"end")
        self.assertFalse(self.pair.has_ended)
        self.pair.settle()
        self.assertEqual((self.got(), self.pair.has_ended), (b"x" * written + b"end", True))
        self.assertTrue(self.pair.protocol.reason.check(ConnectionDone))
        self.transport.write(b"too late")

    def test_half_a_close(self) -> None:
        """R15: behind the closing of our side nothing is sent, and all that was written before is."""
        self.transport.write(b"all")
        self.transport.loseWriteConnection()
        self.pair.settle()
        self.transport.write(b"too late")
        self.assertEqual((self.got(), self.pair.has_ended), (b"all", True))
        self.assertEqual(self.transport.connected, 1)

    def test_nothing_after_an_abort(self) -> None:
        """A connection that was cut off sends nothing more."""
        self.transport.abortConnection()
        self.transport.write(b"too late")
        self.reactor.turn()
        self.assertEqual((self.got(), self.pair.has_ended), (b"", True))

    def test_a_peer_that_is_gone(self) -> None:
        """Writing to a peer that is gone raises nothing; the reactor's turn finds out, and says so once."""
        self.pair.peer.close()
        for _ in range(3):
            self.transport.write(b"into the void")
        self.assertIsNone(self.pair.protocol.reason)
        self.reactor.turn()
        self.assertTrue(self.pair.protocol.reason.check(ConnectionLost))

    def test_no_room_in_the_system(self) -> None:
        """A system without room for now is asked again, and nothing is lost."""
        plain = self.transport.socket

        class Full:
            """A socket that takes nothing."""

            def send(self, data: bytes) -> int:
                raise OSError(errno.ENOBUFS, "no room")

        self.transport.socket = Full()
        self.transport.write(b"later")
        self.transport.socket = plain
        self.reactor.turn()
        self.assertEqual(self.got(), b"later")

    def test_text_is_refused(self) -> None:
        """Only bytes can be written, as ever."""
        self.assertRaises(TypeError, self.transport.write, "text")


class ReceiveTests(SynchronousTestCase):
    """How much is received at once."""

    def setUp(self) -> None:
        self.pieces: list[int] = []
        listener = Protocol()
        listener.dataReceived = lambda data: self.pieces.append(len(data))  # type: ignore[method-assign]
        none, turns = None, Turns()
        ours, self.peer = socket.socketpair()
        self.addCleanup(self.peer.close)
        for end in (ours, self.peer):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 19)
        self.peer.setblocking(False)
        made: Any = PromptServer
        self.transport: Any = made(ours, listener, ("127.0.0.1", 1), none, 1, turns)
        self.addCleanup(ours.close)

    def receive(self) -> int:
        """The bytes of one piece, where there are more of them than can be received at once."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.peer.send(bytes(1 << 14))
        self.transport.doRead()
        return self.pieces.pop()

    def test_much(self) -> None:
        """64 KiB at once; of more that is expected, that and a header; 256 KiB at most."""
        self.assertEqual(self.receive(), 65_536)
        most = (1 << 18) + 14
        for size, received in (
            (1, 65_536),
            (100_000, 100_014),
            (1 << 18, most),
            (1 << 40, most),
            (0, 65_536),
        ):
            self.transport.expect(size)
            self.assertEqual(self.receive(), received)

    def test_below_another(self) -> None:
        """What speaks TLS over such a transport passes it on; what is no such transport is left alone."""
        above = ProtocolWrapper(WrappingFactory(Factory()), Protocol())
        above.makeConnection(self.transport)
        expect(above, 70_000)
        self.assertEqual(self.receive(), 70_014)
        expect(StringTransport(), 1)
