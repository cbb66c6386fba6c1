"""The counter of several nodes as its clients see it; what Redis would answer is said by hand."""

from __future__ import annotations

from random import Random
from typing import Any

from attrs import evolve
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from protosuite.config import Config, CounterConfig, SuiteConfig
from protosuite.counter.nodes import NodesCounterService
from protosuite.counter.promised import shortfall
from protosuite.counter.store import MarkStore
from protosuite.counter.wire import MAX, ReplyDecoder, encode_request
from protosuite.errors import StartError
from protosuite.fabric.address import parse
from protosuite.suite import check
from protosuite.testing import MemoryTransport, database, decoded
from tests.states import Passing
from tests.states import check as check_states

URL = "redis://127.0.0.1"


class Fixture(SynchronousTestCase):
    """A node whose total nobody has connected."""

    config = CounterConfig()

    def setUp(self) -> None:
        self.clock = MemoryReactorClock()
        self.clock.advance(1_000_000)
        self.service = self.make_service()

    def make_service(self, **changes: Any) -> NodesCounterService:
        """Another one."""
        own = database(self.mktemp())
        self.addCleanup(own.close)
        config = evolve(self.config, **changes)
        return NodesCounterService(config, parse(URL), 2.0, MarkStore(own), self.clock, Random(1))

    def connect(self, service: NodesCounterService | None = None) -> tuple[Any, Any]:
        """A client: its protocol, and its transport."""
        factory: Any = (service or self.service).factory()
        protocol = factory.buildProtocol(None)
        transport = MemoryTransport(protocol, True)
        protocol.makeConnection(transport)
        return protocol, transport

    def ask(self, protocol: Any, *amounts: int) -> None:
        """Send some requests."""
        protocol.dataReceived(b"".join(map(encode_request, amounts)))

    def replies(self, transport: Any) -> list[int]:
        """What has come."""
        return decoded(ReplyDecoder(), transport.getOutBuffer() or b"")

    def count(self, start: int, service: NodesCounterService | None = None) -> int:
        """Do what waits on a total of `start`, as Redis does; the total then."""
        combiner = (service or self.service).total._combiner
        total = start
        while (operation := combiner.next()) is not None:
            if total + operation.amount > MAX:
                combiner.refused()
            else:
                total += operation.amount
                combiner.done(total)
        return total


class NodesTests(Fixture):
    """One node."""

    def test_replies_come_with_the_total(self) -> None:
        """Nothing is answered before Redis has; then all are, in their order."""
        (one, to_one), (two, to_two) = self.connect(), self.connect()
        self.ask(one, 1, 2)
        self.ask(two, 10)
        self.ask(one, 0, 5)
        self.assertEqual(self.replies(to_one), [])
        self.assertEqual(self.count(100), 118)
        self.assertEqual((self.replies(to_one), self.replies(to_two)), ([101, 103, 113, 118], [113]))
        self.assertEqual(self.service.ledger.requests, 5)

    def test_overflow(self) -> None:
        """What would pass 2^64 − 1 closes, after the replies before it; what is behind it does not count."""
        (one, to_one), (two, to_two) = self.connect(), self.connect()
        self.ask(one, 1, 1, 1)
        self.ask(one, 0)
        self.ask(two, 0)
        self.assertEqual(self.count(MAX - 2), MAX)
        self.assertEqual((self.replies(to_one), self.replies(to_two)), ([MAX - 1, MAX], [MAX]))
        self.assertEqual((to_one.disconnecting, to_two.disconnecting), (True, False))
        self.assertEqual((self.service.refusals, self.service.ledger.refused), ({"overflow": 1}, 1))

    def test_dropped_behind_an_overflow(self) -> None:
        """An increment that is read behind one that overflows is not added, though it would fit."""
        one, to_one = self.connect()
        self.ask(one, MAX)
        self.ask(one, 1)
        self.assertEqual(self.count(5), 5)
        self.assertEqual((self.replies(to_one), to_one.disconnecting), ([], True))

    def test_away(self) -> None:
        """R33: who has waited for `engine_timeout` is closed without a reply; what is behind is dropped."""
        one, to_one = self.connect()
        self.ask(one, 1)
        self.clock.advance(3)
        self.ask(one, 2)
        two, to_two = self.connect()
        self.ask(two, 10)
        self.clock.advance(2)
        self.assertEqual((to_one.disconnecting, to_two.disconnecting), (True, False))
        self.assertEqual(self.count(100), 110)
        self.assertEqual((self.replies(to_one), self.replies(to_two)), ([], [110]))
        self.assertEqual((self.service.refusals, self.service.ledger.refused), ({"engine": 1}, 0))

    def test_backlog(self) -> None:
        """R16: with `max_backlog` bytes of replies waiting for Redis a connection is not read."""
        service = self.make_service(max_backlog=1024)
        one, to_one = self.connect(service)
        self.ask(one, *[1] * 127)
        self.assertTrue(to_one.reading)
        self.ask(one, 1)
        self.assertFalse(to_one.reading)
        self.count(0, service)
        self.assertTrue(to_one.reading)
        self.assertEqual(len(self.replies(to_one)), 128)

    def test_half_close(self) -> None:
        """R15: a client that sends and closes its side gets its replies, or hears of an overflow."""
        for start, expected in ((0, [3]), (MAX, [])):
            one, to_one = self.connect()
            self.ask(one, 3)
            one.readConnectionLost()
            self.assertFalse(to_one.disconnecting)
            self.count(start)
            self.assertEqual((self.replies(to_one), to_one.disconnecting), (expected, True))
        self.assertEqual(self.service.refusals, {"overflow": 1})

    def test_bad_hash(self) -> None:
        """A frame that is wrong closes after the replies to those before it, which count."""
        one, to_one = self.connect()
        one.dataReceived(encode_request(1) + b"a" * 16 + encode_request(1))
        self.assertFalse(to_one.disconnecting)
        self.assertEqual(self.count(0), 1)
        self.assertEqual((self.replies(to_one), to_one.disconnecting), ([1], True))

    def test_gone(self) -> None:
        """What was read from a client that has gone counts, and nobody is answered."""
        one, _ = self.connect()
        self.ask(one, 7)
        one.connectionLost()
        self.assertEqual(self.count(0), 7)
        two, _ = self.connect()
        self.ask(two, MAX)
        two.connectionLost()
        self.assertEqual(self.count(7), 7)
        self.assertEqual(self.service.refusals, {"overflow": 1})

    def test_draining(self) -> None:
        """R31: a stop waits for the replies to what was read, and takes nothing more."""
        one, to_one = self.connect()
        self.ask(one, 1)
        drained = self.service.drain(5)
        self.ask(one, 1)
        self.assertFalse(to_one.disconnecting)
        self.assertEqual(self.count(0), 1)
        self.assertEqual((self.replies(to_one), to_one.disconnecting), ([1], True))
        one.connectionLost()
        self.successResultOf(drained)

    def test_stop(self) -> None:
        """Who still waits when it stops is told by a close."""
        self.service.startService()
        one, to_one = self.connect()
        self.ask(one, 1)
        self.successResultOf(self.service.stopService())
        self.assertEqual((self.replies(to_one), to_one.disconnecting), ([], True))

    def test_overview(self) -> None:
        """What it tells of itself: what it knows, what waits, and that Redis is away."""
        one, _ = self.connect()
        self.ask(one, 7)
        self.count(2**53)
        self.ask(one, 1)
        told = {figure.name: figure.samples[0][1] for figure in self.service.figures() if figure.samples}
        self.assertEqual(told["counter_value"], 2**53 + 7)
        self.assertEqual((told["counter_unanswered"], told["counter_engine_reachable"]), (1, 0))
        overview = self.service.overview()
        self.assertEqual((overview["value"], overview["engine"]), (str(2**53 + 7), "not connected yet"))


class Peer:
    """A connection in a state."""

    def __init__(self, case: Any, state: str) -> None:
        self.case = case
        self.protocol, self.transport = case.connect()
        self.seen = 0
        if state != "opened":
            case.ask(self.protocol, 1)
        if state in ("answering", "closed"):
            case.count(0)
        if state in ("closed", "leaving"):
            self.protocol.readConnectionLost()

    def said(self) -> str:
        """What has come since the last time."""
        replies = self.case.replies(self.transport)[self.seen :]
        self.seen += len(replies)
        return ", ".join("reply" for _ in replies)

    def is_in(self, state: str) -> bool:
        """Whether it is."""
        if self.transport.aborted:
            return state == "cut off"
        if self.protocol.finishing:
            return state == "closed"
        if self.protocol.is_owed():
            return state == ("leaving" if self.protocol._leaving else "total awaited")
        return state == ("answering" if self.protocol.heard else "opened")


class StateTests(Fixture):
    """The diagram."""

    config = CounterConfig(engine_timeout=100)

    def test_states(self) -> None:
        """Each arrow of a connection to one of several nodes is what the server does."""
        frame = encode_request(1)
        check_states(
            self,
            "counter-nodes",
            Peer,
            {
                "request": lambda peer: peer.case.ask(peer.protocol, 1),
                "total comes": lambda peer: peer.case.count(0),
                "past the end": lambda peer: peer.case.count(MAX),
                "wrong hash": lambda peer: peer.protocol.dataReceived(bytes(16)),
                "half-close": lambda peer: peer.protocol.readConnectionLost(),
                "stop": lambda peer: peer.protocol.shut_down(),
                "engine_timeout": Passing("engine_timeout"),
                "handshake_timeout": Passing("handshake_timeout"),
                "frame_timeout": Passing("frame_timeout", lambda peer: peer.protocol.dataReceived(frame[:9])),
                "idle_timeout": Passing("idle_timeout"),
                "write_timeout": Passing("write_timeout", lambda peer: peer.protocol.pauseProducing()),
                "close_timeout": Passing("close_timeout"),
            },
        )


class SettingsTests(SynchronousTestCase):
    """What cannot be, and what is less than wanted."""

    def test_workers(self) -> None:
        """R38: several processes of a node do not count in a Redis: ``--check`` and the start say so."""
        own = CounterConfig(workers=2)
        config = Config(suite=SuiteConfig(fabric=URL, services=("counter",)), counter=own)
        [(section, key, what)] = check(config, MemoryReactorClock())
        self.assertEqual((section, key), ("counter", "workers"))
        self.assertIn("set workers = 1", what)
        marks: Any = None
        with self.assertRaisesRegex(StartError, "set workers = 1"):
            NodesCounterService(own, parse(URL), 2.0, marks, MemoryReactorClock(), Random(1))
        elsewhere = evolve(config, suite=SuiteConfig(fabric=URL, services=("chatlog",)))
        self.assertEqual(check(elsewhere, MemoryReactorClock()), [])

    def test_durability(self) -> None:
        """What Redis promises is held against what is wanted, and less than that is said, with a remedy."""
        for wanted, promised, expected in (
            ("no", "no", None),
            ("no", None, None),
            ("everysec", "always", None),
            ("everysec", "everysec", None),
            ("everysec", "no", "appendonly no: set appendonly yes and appendfsync everysec"),
            ("always", "everysec", "appendfsync everysec: set appendonly yes and appendfsync always"),
            ("always", None, "does not say"),
        ):
            what = shortfall(wanted, promised)
            if expected is None:
                self.assertIsNone(what)
            else:
                self.assertIn(expected, str(what))
