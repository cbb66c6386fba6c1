"""The fault proxy: what it does to a connection, and that it does nothing else to its bytes."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from protosuite.testing import ANY_ACT, Act, FaultProxy, Faults, Link, Way
from protosuite.testing.faults import Fate
from protosuite.testing.lane import MAX_HELD


class Wire:
    """A transport, and whoever is at its other end: what arrived there, and how it ended there."""

    def __init__(self, clock: Clock, protocol: Protocol) -> None:
        self.pieces: list[bytes] = []
        self.end = ""  # closed, reset, or half: the peer may still send
        self.is_read = True
        self.producer: Any = None
        self._clock = clock
        self._protocol: Any = protocol
        self._is_over = False
        protocol.makeConnection(self)

    # Of a transport.

    def write(self, data: bytes) -> None:
        assert not self.end, "written behind the end"
        self.pieces.append(data)

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.is_read = False

    def resumeProducing(self) -> None:
        self.is_read = True

    def loseWriteConnection(self) -> None:
        self.end = "half"

    def loseConnection(self) -> None:
        assert self.producer is None, "it would wait for its producer"
        self._over("closed", ConnectionDone())

    def abortConnection(self) -> None:
        self._over("reset", ConnectionAborted())

    def _over(self, end: str, reason: Exception) -> None:
        if not self._is_over:
            self._is_over, self.end = True, end
            self._clock.callLater(0, self._protocol.connectionLost, Failure(reason))

    # Of the peer.

    @property
    def received(self) -> bytes:
        return b"".join(self.pieces)

    def send(self, data: bytes) -> None:
        assert self.is_read
        self._protocol.dataReceived(data)

    def finish(self) -> None:
        """Close its side."""
        self._protocol.readConnectionLost()

    def go(self, reason: Exception) -> None:
        """Be gone."""
        self._is_over = True
        self._protocol.connectionLost(Failure(reason))


class ProxyCase(SynchronousTestCase):
    """What the tests below share."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()

    def proxy(self, seed: int = 0, **faults: Any) -> FaultProxy:
        return FaultProxy(self.reactor, Random(seed), 99, Faults(**faults))

    def client(self, proxy: FaultProxy) -> tuple[Wire, Link]:
        """A client that has connected, and its link."""
        protocol = proxy.buildProtocol(None)
        link = proxy.links[-1]
        return Wire(self.reactor, protocol), link

    def server(self) -> Wire:
        """The server's side of the latest client."""
        *_, factory, _, _ = self.reactor.tcpClients[-1]
        return Wire(self.reactor, factory.buildProtocol(None))

    def pair(self, proxy: FaultProxy) -> tuple[Wire, Wire, Link]:
        client, link = self.client(proxy)
        return client, self.server(), link

    def turn(self, times: int = 10, seconds: float = 0.0) -> None:
        """Let the reactor turn."""
        self.reactor.advance(seconds)
        for _ in range(times):
            self.reactor.advance(0)


class PassTests(ProxyCase):
    """Nothing happens."""

    def test_both_ways(self) -> None:
        """Bytes pass both ways, those too that were sent before the server was reached."""
        client, _ = self.client(self.proxy())
        client.send(b"early")
        self.turn()
        server = self.server()
        client.send(b", late")
        server.send(b"answer")
        self.turn()
        self.assertEqual((server.received, client.received), (b"early, late", b"answer"))
        self.assertEqual(self.reactor.tcpClients[-1][:2], ("127.0.0.1", 99))

    def test_half_close(self) -> None:
        """A client that closes its side gets its whole answer, and then both are closed."""
        proxy = self.proxy(latency=1.0)
        client, server, _ = self.pair(proxy)
        client.send(b"question")
        client.finish()
        self.turn(seconds=2)
        self.assertEqual((server.received, server.end), (b"question", "half"))
        server.send(b"answer")
        server.finish()
        self.turn(seconds=2)
        self.assertEqual((client.received, client.end, server.end), (b"answer", "closed", "closed"))
        self.assertEqual(proxy.links, [])

    def test_last_words(self) -> None:
        """What a server said before it closed or was reset arrives before the end does."""
        for reason, end in ((ConnectionDone(), "closed"), (ConnectionLost(), "reset")):
            proxy = self.proxy(latency=1.0)
            client, server, _ = self.pair(proxy)
            server.send(b"last words")
            server.go(reason)
            self.assertEqual(client.end, "")
            self.turn(seconds=2)
            self.assertEqual((client.received, client.end), (b"last words", end))
            self.assertEqual(proxy.links, [])

    def test_lost_client(self) -> None:
        """A client that is gone is gone for the server too, reached or not."""
        for is_reached in (True, False):
            proxy = self.proxy()
            client, _ = self.client(proxy)
            server = self.server() if is_reached else None
            client.go(ConnectionLost())
            server = server or self.server()
            self.turn()
            self.assertEqual((server.end, proxy.links), ("reset", []))

    def test_no_server(self) -> None:
        """Where there is no server a client is reset."""
        proxy = self.proxy()
        client, _ = self.client(proxy)
        factory = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        self.turn()
        self.assertEqual((client.end, proxy.links), ("reset", []))

    def test_backpressure(self) -> None:
        """A sender is not read while too much is under way; one who does not read hears of a reset."""
        client, server, _ = self.pair(self.proxy())
        server.producer.pauseProducing()
        sent = 0
        while client.is_read:
            client.send(bytes(10_000))
            sent += 10_000
            self.turn()
        self.assertLess(sent, MAX_HELD + 10_001)
        server.producer.resumeProducing()
        self.turn(200)
        self.assertEqual((len(server.received), client.is_read), (sent, True))
        server.producer.pauseProducing()
        client.send(b"unread")
        client.go(ConnectionLost())
        self.turn()
        self.assertEqual(server.end, "reset")


class FaultTests(ProxyCase):
    """Something happens."""

    def test_latency(self) -> None:
        """A piece takes its time, and no piece overtakes another."""
        client, server, _ = self.pair(self.proxy(seed=4, latency=1.0))
        for number in range(10):
            client.send(b"%d" % number)
        self.turn()
        self.assertEqual(server.received, b"")
        self.turn(20, seconds=2)
        self.assertEqual(server.received, b"0123456789")

    def test_rate(self) -> None:
        """No more passes in a second than may."""
        client, server, _ = self.pair(self.proxy(rate=1000))
        for _ in range(100):
            client.send(bytes(100))
        rates = []
        for _ in range(3):
            before = len(server.received)
            for _ in range(100):
                self.turn(1, seconds=0.01)
            rates.append(len(server.received) - before)
        self.assertGreater(min(rates), 900)
        self.assertLess(max(rates) - min(rates), 200)

    def test_segments(self) -> None:
        """Bytes come cut anew, one piece a turn."""
        for seed in range(20):
            client, server, _ = self.pair(self.proxy(seed, segment=3))
            client.send(b"0123456789")
            self.turn(20)
            self.assertEqual(server.received, b"0123456789")
            if len(server.pieces) > 1:
                self.assertLessEqual(max(map(len, server.pieces)), 3)
                return
        self.fail("no connection was cut into segments")

    def test_refused(self) -> None:
        """A connection that is refused never reaches the server."""
        proxy = self.proxy(refuse=1.0)
        client, _ = self.client(proxy)
        self.turn()
        self.assertEqual((client.end, self.reactor.tcpClients, proxy.links), ("reset", [], []))

    def test_overtaken(self) -> None:
        """A connection is held back until a later one has passed it, or for so long."""
        proxy = self.proxy(overtake=1.0, pause=5.0)
        first, behind, _ = self.pair(proxy)
        first.send(b"first")
        self.turn()
        self.assertEqual(behind.received, b"")
        proxy.faults = Faults()
        second, before, _ = self.pair(proxy)
        second.send(b"second")
        self.turn()
        self.assertEqual((before.received, behind.received), (b"second", b"first"))
        proxy.faults = Faults(overtake=1.0, pause=5.0)
        alone, reached, _ = self.pair(proxy)
        alone.send(b"alone")
        self.turn(seconds=5)
        self.assertEqual(reached.received, b"alone")

    def test_cut(self) -> None:
        """A cut loses what is under way, and both see an end in order."""
        proxy = self.proxy(latency=1.0)
        client, server, link = self.pair(proxy)
        client.send(b"lost")
        link.cut()
        self.turn(seconds=2)
        self.assertEqual((server.received, server.end, client.end), (b"", "closed", "closed"))
        self.assertEqual((proxy.links, self.reactor.getDelayedCalls()), ([], []))

    def test_reset(self) -> None:
        """Both see a reset; a connection that is still being made is not made."""
        proxy = self.proxy()
        client, server, link = self.pair(proxy)
        link.reset()
        self.turn()
        self.assertEqual((client.end, server.end, proxy.links), ("reset", "reset", []))

    def test_end_one_way(self) -> None:
        """The server sees the end of what the client sends, and still answers; then the connection is cut."""
        proxy = self.proxy()
        client, server, link = self.pair(proxy)
        client.send(b"heard")
        link.end(Way.UP, 3.0)
        self.assertFalse(client.is_read)
        self.turn()
        server.send(b"answer")
        self.turn()
        self.assertEqual((server.received, server.end, client.received), (b"heard", "half", b"answer"))
        self.turn(seconds=3)
        self.assertEqual((client.end, server.end, proxy.links), ("closed", "closed", []))

    def test_stall(self) -> None:
        """One way stands still for a while, and then all of it comes; the other way goes on."""
        client, server, link = self.pair(self.proxy())
        link.stall(Way.DOWN, 3.0)
        client.send(b"question")
        server.send(b"answer")
        self.turn()
        self.assertEqual((server.received, client.received), (b"question", b""))
        self.turn(seconds=3)
        self.assertEqual(client.received, b"answer")

    def test_silence(self) -> None:
        """Nothing comes either way, and then a reset."""
        proxy = self.proxy()
        client, server, link = self.pair(proxy)
        link.do(Act.SILENCE, 3.0)
        client.send(b"x")
        server.send(b"x")
        self.turn(seconds=2)
        self.assertEqual((client.received, server.received, client.end), (b"", b"", ""))
        self.turn(seconds=1)
        self.assertEqual((client.end, server.end), ("reset", "reset"))
        self.assertEqual(proxy.acts, {Act.SILENCE: 1})

    def test_acts_come_by_bytes_and_by_time(self) -> None:
        """What is to happen happens within a piece, after so many bytes, or when its time has come."""
        for spell, stretch in ((1e9, 1000), (10.0, 10**9)):
            proxy = self.proxy(acts={Act.RESET: 1}, spell=spell, stretch=stretch)
            client, server, _ = self.pair(proxy)
            for _ in range(100):
                if not client.end:
                    client.send(bytes(100))
                self.turn(3, seconds=0.1)
            self.assertEqual((client.end, server.end), ("reset", "reset"))
            self.assertEqual(proxy.acts, {Act.RESET: 1})
            if stretch == 1000:
                self.assertLess(len(server.received), 1000)
                self.assertNotEqual(len(server.received) % 100, 0)

    def test_wrong_share(self) -> None:
        """A share is from 0 to 1."""
        self.assertRaises(ValueError, Faults, refuse=2.0)


class ListenTests(ProxyCase):
    """The port."""

    def test_refusing(self) -> None:
        """It listens on the machine itself only, and can stop and go on, on the same port."""
        proxy = self.proxy()
        port = proxy.listen()
        self.assertEqual((self.reactor.tcpServers[0][1], self.reactor.tcpServers[0][3]), (proxy, "127.0.0.1"))
        self.successResultOf(proxy.refuse())
        self.successResultOf(proxy.refuse())
        self.assertEqual(proxy.listen(), port)
        self.assertEqual(self.reactor.tcpServers[-1][0], port)

    def test_close(self) -> None:
        """A close resets what is open, and fires when it is gone."""
        proxy = self.proxy()
        proxy.listen()
        client, server, _ = self.pair(proxy)
        closed = proxy.close()
        self.assertNoResult(closed)
        self.turn()
        self.successResultOf(closed)
        self.assertEqual((client.end, server.end), ("reset", "reset"))
        self.successResultOf(proxy.close())


class SeedTests(ProxyCase):
    """A run can be repeated."""

    def test_same_fates(self) -> None:
        """The same seed has the same fates, connection by connection, whatever the ones before did."""
        faults = Faults(
            latency=1.0, segment=100, rate=1000, refuse=0.5, overtake=0.5, acts=ANY_ACT, spell=3.0, pause=2.0
        )

        def story(seed: int, used: int) -> list[Any]:
            source = Random(seed)
            fates = [Fate(faults, Random(source.getrandbits(64))) for _ in range(20)]
            for _ in range(used):
                list(fates[0].cut(bytes(1000)))
            tales: list[Any] = []
            for fate in fates[1:]:
                strikes = fate.strikes()
                tales.append((fate.is_refused, fate.is_overtaken, fate.latency, fate.segment, fate.rate))
                tales += [next(strikes) for _ in range(5)]
            return tales

        self.assertEqual(story(7, 0), story(7, 10))
        self.assertNotEqual(story(7, 0), story(8, 0))
        acts = {tale.act for tale in story(7, 0) if hasattr(tale, "act")}
        self.assertEqual(acts, set(ANY_ACT))


class BytesTests(ProxyCase):
    """Whatever happens, what arrives is a beginning of what was sent."""

    def talk(self, seed: int, pieces: list[bytes], **faults: Any) -> tuple[tuple[bytes, bytes], ...]:
        """Send pieces from both sides: what was sent and what came of it, each way."""
        self.reactor = MemoryReactorClock()
        proxy = self.proxy(seed, latency=1.0, segment=50, rate=500, overtake=0.2, **faults)
        client, server, _ = self.pair(proxy)
        sent = {Way.UP: b"", Way.DOWN: b""}
        for number, piece in enumerate(pieces):
            way, source = (Way.UP, client) if number % 2 else (Way.DOWN, server)
            if source.is_read and not source.end:
                source.send(piece)
                sent[way] += piece
            self.turn(2, seconds=0.1)
        for _ in range(100):
            self.turn(20, seconds=0.5)
        return (sent[Way.UP], server.received), (sent[Way.DOWN], client.received)

    @settings(deadline=None)
    @given(st.integers(0, 2**32), st.lists(st.binary(min_size=1, max_size=500), max_size=20))
    def test_prefixes(self, seed: int, pieces: list[bytes]) -> None:
        """No byte is changed, repeated or left out before another, in any network."""
        for sent, received in self.talk(seed, pieces, acts=ANY_ACT, spell=3.0, stretch=300):
            self.assertTrue(sent.startswith(received))

    @settings(deadline=None)
    @given(st.integers(0, 2**32), st.lists(st.binary(min_size=1, max_size=500), max_size=20))
    def test_delays(self, seed: int, pieces: list[bytes]) -> None:
        """Where things only take longer all of it arrives."""
        acts = {Act.STALL_UP: 1, Act.STALL_DOWN: 1}
        for sent, received in self.talk(seed, pieces, acts=acts, spell=3.0, stretch=300, pause=1.0):
            self.assertEqual(received, sent)
