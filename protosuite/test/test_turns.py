"""The reactor's turn without a log context for each event: what it keeps of Twisted's."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Server
from twisted.python import log
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from protosuite.net import turns
from protosuite.net.turns import DirectReaders, Lookout, at_end, direct_readers, make_brief
from protosuite.test.turning import own_epoll


class Listener(Protocol):
    """Keeps what it gets, and does what a test wants with it."""

    def __init__(self, does: Callable[[bytes], object] = lambda data: None) -> None:
        self.received = b""
        self.reasons: list[Failure] = []
        self._does = does

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._does(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reasons.append(reason)


class RestTests(SynchronousTestCase):
    """A moment's sleep."""

    def test_it_sleeps(self) -> None:
        """A rest is a sleep, of less than a tick of the system's clock."""
        told: list[float] = []
        self.patch(turns, "time", SimpleNamespace(sleep=told.append))
        turns.rest()
        (moment,) = told
        self.assertTrue(0 < moment < 0.001)

    def test_it_lasts_as_long_as_it_is_told(self) -> None:
        """The system adds a microsecond at most, not the 50 in which it gathers what to wake by default."""
        slack = Path("/proc/self/timerslack_ns")
        if not slack.exists():
            raise SkipTest("this system has no /proc/self/timerslack_ns")
        turns.rest()
        self.assertLessEqual(int(slack.read_text()), 1000)


class LookoutTests(SynchronousTestCase):
    """A look for something new at the end of a turn. Each look at the clock takes a microsecond."""

    def setUp(self) -> None:
        self.now = 1.0
        self.polls: list[float] = []
        self.comes_at = 0.0
        self.patch(turns, "time", SimpleNamespace(perf_counter=self.clock))
        self.patch(os, "sched_getaffinity", lambda pid: {0, 1})

    def clock(self) -> float:
        """It goes on by itself."""
        self.now += 1e-6
        return self.now

    def lookout(self) -> Lookout:
        """One that has looked once, which it does not remember."""

        def poll(timeout: float, most: int) -> list[int]:
            self.assertEqual((timeout, most), (0, 1))
            self.polls.append(self.now)
            return [7] if self.comes_at and self.now >= self.comes_at else []

        lookout = Lookout(SimpleNamespace(_poller=SimpleNamespace(poll=poll)))
        lookout.look()
        return lookout

    def test_at_rest(self) -> None:
        """Where the last turn was long ago, none looks."""
        lookout = self.lookout()
        for _ in range(3):
            self.now += 0.001
            lookout.look()
        self.assertEqual(self.polls, [])

    def test_nothing_comes(self) -> None:
        """Where there was one a moment ago, it looks again and again, and not for long."""
        lookout = self.lookout()
        self.now += 50e-6
        before = self.now
        lookout.look()
        self.assertGreater(len(self.polls), 10)
        self.assertLess(self.now - before, 40e-6)

    def test_something_comes(self) -> None:
        """When something has come it goes back to the reactor, which finds it."""
        lookout = self.lookout()
        self.comes_at = self.now + 10e-6
        lookout.look()
        self.assertLess(self.now - self.comes_at, 3e-6)

    def test_one_processor(self) -> None:
        """Where there is but one processor, none looks: who asks needs it."""
        self.patch(os, "sched_getaffinity", lambda pid: {0})
        self.lookout().look()
        self.assertEqual(self.polls, [])


class TurnTests(SynchronousTestCase):
    """Turns of a reactor of its own, with real sockets."""

    def setUp(self) -> None:
        self.reactor: Any = own_epoll(self)
        self.before = self.reactor.doIteration
        make_brief(self.reactor)
        self.events: list[Any] = []
        observer = self.events.append
        log.addObserver(observer)
        self.addCleanup(log.removeObserver, observer)

    def connect(self, protocol: Protocol) -> tuple[Any, socket.socket]:
        """A transport in the reactor, and the socket at its other end."""
        ours, peer = socket.socketpair()
        self.addCleanup(peer.close)
        none: Any = None
        transport = Server(ours, protocol, ("127.0.0.1", 1), none, 1, self.reactor)
        protocol.makeConnection(transport)

        def close() -> None:
            if transport.connected:
                transport.connectionLost(Failure(ConnectionDone()))

        self.addCleanup(close)
        return transport, peer

    def read_by(self, transport: Any, read: Callable[[int], Any] | None) -> DirectReaders:
        """Have a transport's descriptor be read so."""
        readers = direct_readers(self.reactor)
        assert readers is not None
        readers.put(transport.fileno(), read)
        return readers

    def systems(self) -> list[Any]:
        """What the lines that speak of failures say of where they are from."""
        return [event["system"] for event in self.events if event["isError"]]

    def test_who_is_read_directly(self) -> None:
        """What is in the table of readers is called in the place of the selectable, with its descriptor."""
        found: list[int] = []
        listener, other = Listener(), Listener()
        transport, peer = self.connect(listener)
        _, another = self.connect(other)
        self.read_by(transport, found.append)
        number = transport.fileno()
        for each in (peer, another):
            each.send(b"x")
        self.reactor.doIteration(0)
        self.assertEqual((found, listener.received, other.received), ([number], b"", b"x"))
        self.read_by(transport, None)
        self.reactor.doIteration(0)
        self.assertEqual((found, listener.received), ([number], b"x"))

    def test_what_is_not_only_to_be_read(self) -> None:
        """Where there is something to write, too, the reactor does both itself."""
        listener = Listener()
        transport, peer = self.connect(listener)
        self.read_by(transport, self.fail)
        transport.write(b"answer")
        peer.send(b"x")
        self.reactor.doIteration(0)
        self.assertEqual((listener.received, peer.recv(100)), (b"x", b"answer"))

    def test_a_direct_reader_that_ends_or_fails(self) -> None:
        """What it returns ends the connection, what it raises, too, and is logged; others go on."""

        def fails(number: int) -> None:
            raise LookupError("of no use")

        def closes(number: int) -> None:
            transport.connectionLost(Failure(ConnectionDone()))
            fails(number)

        end = ConnectionDone()
        for read, expected, errors in (
            (lambda number: end, ConnectionDone, 0),
            (fails, LookupError, 1),
            (closes, ConnectionDone, 1),
        ):
            listener, good = Listener(), Listener()
            transport, peer = self.connect(listener)
            _, other = self.connect(good)
            readers, number = self.read_by(transport, read), transport.fileno()
            for each in (peer, other):
                each.send(b"x")
            self.reactor.doIteration(0)
            readers.put(number, None)
            self.assertEqual([reason.type for reason in listener.reasons], [expected])
            self.assertEqual(len(self.flushLoggedErrors(LookupError)), errors)
            self.assertEqual((good.received, transport.connected), (b"x", 0))

    def test_it_is_another(self) -> None:
        """An epoll reactor gets another turn, and what is none is left alone."""
        self.assertNotEqual(self.reactor.doIteration, self.before)
        other = object()
        make_brief(other)
        self.assertFalse(at_end(other, int))
        self.assertIsNone(direct_readers(other))

    def test_the_end_of_a_turn(self) -> None:
        """What is for the end of a turn is called behind all that the turn brings, in both kinds of turn."""
        for yields in (False, True):
            make_brief(self.reactor, yields)
            seen: list[bytes] = []
            listener = Listener(seen.append)
            _, peer = self.connect(listener)
            self.assertTrue(at_end(self.reactor, lambda seen=seen: seen.append(b"end")))  # type: ignore[misc]
            peer.send(b"x")
            self.reactor.doIteration(0)
            self.reactor.doIteration(0)
            self.assertEqual(seen, [b"x", b"end", b"end"])

    def test_many_events(self) -> None:
        """A turn is of so many events at most; who was not in it is in the next, also when all ask again."""
        self.patch(turns, "_MOST", 8)
        seen: list[bytes] = []
        clients = {b"%02d" % number: self.connect(Listener(seen.append))[1] for number in range(11)}
        for word, peer in clients.items():
            peer.send(word)
        self.reactor.doIteration(0)
        first = seen[:]
        for word in first:
            clients[word].send(word)
        self.reactor.doIteration(0)
        self.assertEqual((len(first), len(seen)), (8, 16))
        self.assertEqual(set(seen), clients.keys())

    def test_read(self) -> None:
        """What comes is read, and what is waited for is written."""
        listener = Listener()
        transport, peer = self.connect(listener)
        peer.send(b"question")
        self.reactor.doIteration(0)
        transport.write(b"answer")
        self.reactor.doIteration(0)
        self.assertEqual((listener.received, peer.recv(100)), (b"question", b"answer"))

    def test_a_failure_is_logged_and_ends_the_connection(self) -> None:
        """What a protocol raises is logged with a traceback and whose it is, and ends its connection."""

        def fails(data: bytes) -> None:
            raise LookupError("of no use")

        bad, good = Listener(fails), Listener()
        transport, peer = self.connect(bad)
        _, other = self.connect(good)
        peer.send(b"x")
        other.send(b"y")
        self.reactor.doIteration(0)
        self.assertEqual([reason.type for reason in bad.reasons], [LookupError])
        self.assertEqual((good.received, good.reasons, transport.connected), (b"y", [], 0))
        self.assertEqual(self.systems(), [transport.logstr])
        (failure,) = self.flushLoggedErrors(LookupError)
        self.assertIn("of no use", failure.getTraceback())
        self.assertIn("in fails", failure.getTraceback())

    def test_a_failure_at_the_end_is_logged(self) -> None:
        """What a protocol raises when it hears that its connection is lost is logged, and others go on."""

        class Bad(Listener):
            """Does not take it well."""

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                raise LookupError("of no use")

        transport, peer = self.connect(Bad())
        good = Listener()
        _, other = self.connect(good)
        peer.close()
        other.send(b"y")
        self.reactor.doIteration(0)
        self.assertEqual((good.received, transport.connected), (b"y", 0))
        self.assertEqual(self.systems(), [transport.logstr])
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def test_the_end_of_a_connection(self) -> None:
        """Who closes has closed, whether anything was said before or not."""
        for words in (b"", b"last words"):
            listener = Listener()
            _, peer = self.connect(listener)
            peer.send(words)
            peer.close()
            for _ in range(2):
                self.reactor.doIteration(0)
            self.assertEqual(listener.received, words)
            self.assertEqual([reason.type for reason in listener.reasons], [ConnectionDone])

    def test_one_that_was_closed_in_the_same_turn(self) -> None:
        """A connection that another one's protocol has ended in this turn is not read any more."""
        protocols: list[Listener] = []

        def ends_all(data: bytes) -> None:
            for each in protocols:
                transport: Any = each.transport
                transport.connectionLost(Failure(ConnectionDone()))

        protocols += [Listener(ends_all), Listener(ends_all)]
        for protocol in protocols:
            _, peer = self.connect(protocol)
            peer.send(b"x")
        self.reactor.doIteration(0)
        self.assertEqual(sorted(protocol.received for protocol in protocols), [b"", b"x"])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_line_within_a_turn(self) -> None:
        """A line of the old logger is logged as any other."""
        _, peer = self.connect(Listener(lambda data: log.msg("a line")))
        peer.send(b"x")
        self.reactor.doIteration(0)
        self.assertIn(("a line",), [event.get("message") for event in self.events])

    def test_threads_can_wake_it(self) -> None:
        """What is not a socket is read as before: here a pipe."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, writing)
        self.addCleanup(os.close, reading)
        read: list[bytes] = []

        class Pipe:
            """One end of it."""

            def fileno(self) -> int:
                return reading

            def doRead(self) -> None:
                read.append(os.read(reading, 100))

            def logPrefix(self) -> str:
                return "pipe"

        self.reactor.addReader(Pipe())
        os.write(writing, b"wake")
        self.reactor.doIteration(0)
        self.assertEqual(read, [b"wake"])
