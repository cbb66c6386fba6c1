"""numbers/1 from end to end in memory: the service, its store in a real database, and the client."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protosuite.config import NumbersConfig
from protosuite.errors import PeerFault, ServerRefused, StorageError
from protosuite.numbers.client import NumbersClientFactory, Result, StateFile
from protosuite.numbers.sequence import Progress, checksum, value
from protosuite.numbers.server import NumbersService
from protosuite.numbers.store import NumbersStore, sessions
from protosuite.numbers.wire import (
    SERVER_MESSAGES,
    Ack,
    Decoder,
    End,
    Error,
    Number,
    SessionOpened,
    Start,
    encode,
)
from protosuite.testing import HandWorker, Line, MemoryTransport, database, decoded


class Long(Random):
    """Chance that draws the longest stream each time, so that a test has room for what it does."""

    def random(self) -> float:
        return 0.999


class Fixture(SynchronousTestCase):
    """A service on a clock, with a database that answers at once unless `writer` is held."""

    config = NumbersConfig(max_messages=12)
    open_database = staticmethod(database)  # as tests with another engine replace it

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.writer = HandWorker(at_once=True)
        self.database = self.open_database(self.mktemp(), self.writer)
        self.addCleanup(self.database.close)
        self.service = self.make_service(self.config)

    def make_service(self, config: NumbersConfig) -> NumbersService:
        """Another service on the same database: the same server after a restart."""
        store = NumbersStore(self.database, config.session_ttl)
        service = NumbersService(config, store, self.clock, Long(7), self.clock.seconds)
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def rows(self) -> dict[str, tuple[int, int, int]]:
        """Seed, count and acknowledged of each stored session."""
        with self.database.at_start() as connection:
            found = connection.exec_driver_sql(
                "SELECT client, seed, count, acknowledged FROM numbers_session"
            )
            return {c: (int.from_bytes(seed, "big"), count, acked) for c, seed, count, acked in found}

    def assert_right(self, result: Result) -> None:
        """Hold a result against the stored session."""
        seed, count, _ = self.rows()[result.client]
        total = sum(value(seed, i) for i in range(count))
        self.assertEqual((result.count, result.sum, result.checksum), (count, total, checksum(seed, count)))


class Raw:
    """A connection that a test drives by hand, byte for byte."""

    def __init__(self, service: NumbersService) -> None:
        factory: Any = service.factory()
        self.protocol = factory.buildProtocol(None)
        self.transport = MemoryTransport(self.protocol, True)
        self.protocol.makeConnection(self.transport)

    def send(self, *messages: Any) -> None:
        self.protocol.dataReceived(b"".join(m if isinstance(m, bytes) else encode(m) for m in messages))

    def received(self) -> list[Any]:
        return decoded(Decoder(SERVER_MESSAGES), self.transport.getOutBuffer() or b"")

    def codes(self) -> list[str]:
        return [m.code for m in self.received() if isinstance(m, Error)]

    def lose(self) -> None:
        self.protocol.connectionLost()


class ServerTests(Fixture):
    """What the server says to what."""

    def opened(self, *messages: Any, service: NumbersService | None = None) -> Raw:
        raw = Raw(service or self.service)
        raw.send(*messages)
        return raw

    def test_a_whole_stream(self) -> None:
        """Session, first number at once, one more every interval, end, close."""
        raw = self.opened(Start("ana"))
        seed, count, _ = self.rows()["ana"]
        first = raw.received()
        self.assertEqual(first, [SessionOpened("ana", count, 0, 1000), Number(0, value(seed, 0))])
        for i in range(1, count):
            self.clock.advance(0.99)
            self.assertEqual(raw.received(), [])
            self.clock.advance(0.01)
            end = [End(count, checksum(seed, count))] if i == count - 1 else []
            self.assertEqual(raw.received(), [Number(i, value(seed, i)), *end])
        self.assertTrue(raw.transport.disconnecting)

    def test_session_is_durable_before_it_is_told(self) -> None:
        """Until the commit is done the client hears nothing."""
        self.writer.at_once = False
        raw = self.opened(Start("ana"))
        self.assertEqual((raw.received(), self.rows()), ([], {}))
        self.writer.run()
        self.assertIsInstance(raw.received()[0], SessionOpened)
        self.assertIn("ana", self.rows())

    def test_lost_end_is_sent_again(self) -> None:
        """A client that has all numbers and not the end gets just that."""
        self.opened(Start("ana"))
        seed, count, _ = self.rows()["ana"]
        raw = self.opened(Start("ana", next=count, checksum=checksum(seed, count)))
        self.assertEqual(
            raw.received(), [SessionOpened("ana", count, count, 1000), End(count, checksum(seed, count))]
        )

    def test_a_later_max_is_ignored(self) -> None:
        """The session keeps the length that it began with."""
        self.opened(Start("ana"))
        count = self.rows()["ana"][1]
        self.assertEqual(self.opened(Start("ana", max=1)).received()[0].count, count)

    def test_resume_without_next(self) -> None:
        """Without `next` the stream goes on after the last acknowledged number, stored or not."""
        raw = self.opened(Start("ana", next=0), Ack(0))
        self.clock.advance(2)
        self.writer.at_once = False
        raw.send(Ack(1))
        raw.send(Ack(2))
        again = self.opened(Start("ana"))
        self.writer.run()
        self.assertEqual(again.received()[0].next, 3)

    def test_acknowledgements_survive_a_restart(self) -> None:
        """A server that comes back knows what was acknowledged, and the stream is the same."""
        raw = self.opened(Start("ana"))
        self.clock.advance(3)
        raw.send(Ack(2))
        seed, count, acknowledged = self.rows()["ana"]
        self.assertEqual(acknowledged, 3)
        again = self.opened(Start("ana"), service=self.make_service(self.config))
        self.assertEqual(again.received(), [SessionOpened("ana", count, 3, 1000), Number(3, value(seed, 3))])

    def test_refusals(self) -> None:
        """Each misuse gets its code, and the connection is closed."""
        self.opened(Start("old"))
        for messages, code in (
            ([b"hello\n"], "bad-json"),
            ([b"x" * 2000], "line-too-long"),
            ([b'{"type":"start"}\n'], "bad-field"),
            ([b'{"type":"stop"}\n'], "unknown-type"),
            ([Ack(0)], "not-started"),
            ([Start("a"), Start("b")], "already-started"),
            ([Start("c"), Ack(5)], "out-of-range"),
            ([Start("old", next=13)], "out-of-range"),
            ([Start("old", next=1, checksum=5)], "diverged"),
            ([Start("new", next=1)], "expired"),
        ):
            raw = self.opened(*messages)
            self.assertEqual(raw.codes(), [code], messages)
            self.assertTrue(raw.transport.disconnecting, code)

    def test_a_refused_start_does_not_take_over(self) -> None:
        """A second connection that asks for what is not leaves the first one alone."""
        raw = self.opened(Start("ana"))
        raw.received()
        self.opened(Start("ana", next=1, checksum=5))
        self.assertEqual(raw.codes(), [])
        self.assertFalse(raw.transport.disconnecting)

    def test_takeover(self) -> None:
        """The second connection of a client id wins; the first is told so and closed."""
        first, second = self.opened(Start("ana")), self.opened(Start("ana"))
        self.assertEqual((first.codes(), second.codes()), (["superseded"], []))
        first.lose()
        self.clock.advance(1)
        self.assertIs(self.service.streams["ana"], second.protocol)

    def test_expiry(self) -> None:
        """A session is forgotten `session_ttl` after its last use, and then begins anew."""
        ttl = self.config.session_ttl
        raw = self.opened(Start("ana"), Ack(0))
        self.clock.advance(1)
        raw.send(Ack(1))
        raw.lose()
        seed = self.rows()["ana"][0]
        self.clock.advance(ttl - 1)
        self.assertEqual(self.opened(Start("ana", next=1)).codes(), [])
        self.clock.advance(ttl + 1)
        self.assertEqual(self.opened(Start("ana", next=1)).codes(), ["expired"])
        self.assertEqual(self.opened(Start("ana", next=0)).received()[0].next, 0)
        self.assertNotEqual(self.rows()["ana"][0], seed)

    def test_sweeping(self) -> None:
        """Expired sessions are removed, others stay; a failure does not end the sweeping."""
        self.opened(Start("old")).lose()
        self.clock.advance(self.config.session_ttl)
        self.opened(Start("new")).lose()
        store: Any = self.service.store
        sweep = store.sweep
        store.sweep = lambda now: execute(lambda: 1 / 0)
        self.clock.advance(self.config.sweep_interval)
        store.sweep = sweep
        self.clock.advance(self.config.sweep_interval)
        self.assertEqual(list(self.rows()), ["new"])

    def test_sweeping_keeps_up(self) -> None:
        """However many sessions have expired, one sweep removes them, so their number stays bounded."""
        row = {"seed": b"8 bytes.", "count": 1, "acknowledged": 0, "used_at": 0}
        rows = [{"client": f"old-{number}", **row} for number in range(2500)]
        self.database.write(lambda connection: connection.execute(sessions.insert(), rows))
        self.clock.advance(self.config.sweep_interval)
        self.assertEqual(self.rows(), {})

    def test_silent_connection(self) -> None:
        """A connection that does not start in time is closed; one that trickles bytes likewise."""
        raw = self.opened()
        for _ in range(59):
            self.clock.advance(1)
            raw.send(b" ")
        self.assertEqual(raw.codes(), [])
        self.clock.advance(1)
        self.assertEqual(raw.codes(), ["not-started"])

    def test_a_peer_that_does_not_close_is_cut_off(self) -> None:
        """After its own close the server waits `close_timeout` for the peer's, then cuts the connection."""
        raw = self.opened(b"x\n")
        self.assertFalse(raw.transport.aborted)
        self.clock.advance(self.config.close_timeout)
        self.assertTrue(raw.transport.aborted)

    def test_nothing_is_taken_after_a_refusal(self) -> None:
        """What follows a refused line is dropped."""
        raw = self.opened(b"x\n")
        raw.send(Start("ana"))
        self.assertEqual(self.rows(), {})

    def test_last_acknowledgements_count(self) -> None:
        """Acknowledgements that come after the end are stored."""
        raw = self.opened(Start("ana"))
        self.clock.advance(20)
        count = self.rows()["ana"][1]
        raw.send(Ack(count - 1))
        self.assertEqual(self.rows()["ana"][2], count)

    def test_too_many_connections(self) -> None:
        """One connection above the bound is told and closed, and nothing that it says is taken."""
        service = self.make_service(evolve(self.config, max_connections=1))
        kept, refused = Raw(service), Raw(service)
        refused.send(Start("ana"))
        self.assertEqual((kept.codes(), refused.codes()), ([], ["overloaded"]))
        self.assertEqual(self.rows(), {})
        refused.lose()
        kept.lose()
        self.assertEqual(Raw(service).codes(), [])

    def test_a_database_that_fails(self) -> None:
        """A session that cannot be stored is refused as a thing that passes."""
        failing: Any = lambda *_: execute(self.fail_storing)  # noqa: E731
        self.service.store.open = failing  # type: ignore[method-assign]
        self.assertEqual(self.opened(Start("ana")).codes(), ["overloaded"])

    @staticmethod
    def fail_storing() -> None:
        raise StorageError("no")

    def test_half_closed_client_gets_its_stream(self) -> None:
        """R15: a client that sends its start and closes its side gets all of its numbers."""
        raw = self.opened(Start("ana"))
        raw.protocol.readConnectionLost()
        self.clock.pump([1.0] * 12)
        self.assertIsInstance(raw.received()[-1], End)
        self.assertTrue(raw.transport.disconnecting)

    def test_draining(self) -> None:
        """At a stop every client is told, also one whose session is being opened."""
        self.writer.at_once = False
        raws = [Raw(self.service), self.opened(Start("ana"))]
        drained = self.service.drain(5.0)
        self.writer.run()
        for raw in raws:
            self.assertEqual(raw.codes(), ["shutting-down"])
            self.assertNoResult(drained)
            raw.lose()
        self.successResultOf(drained)

    def test_draining_goes_on(self) -> None:
        """R31: one that cannot be told of a stop is cut off, and the others are told all the same."""
        raws = [self.opened(Start(f"client-{number}")) for number in range(5)]
        broken: Any = next(iter(self.service.connections))
        broken.shut_down = lambda: 1 / 0
        drained = self.service.drain(5.0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        for raw in raws:
            is_broken = raw.protocol is broken
            self.assertEqual((raw.transport.aborted, raw.codes() == []), (is_broken, is_broken))
            raw.lose()
        self.successResultOf(drained)


class ClientTests(Fixture):
    """The client over lines that are cut, refused and restarted."""

    def client(self, **options: Any) -> tuple[NumbersClientFactory, Line]:
        factory = NumbersClientFactory("ana", self.clock, random=Random(1), **options)
        line = Line(self.clock, factory, self.service.factory())  # type: ignore[arg-type]
        return factory, line

    def test_undisturbed(self) -> None:
        """The result has the sum and checksum of the stream, and no reconnects."""
        factory, line = self.client()
        line.connect()
        line.advance(20, 0.5)
        result = self.successResultOf(factory.result)
        self.assert_right(result)
        self.assertEqual((result.reconnects, line.attempts), (0, 1))
        self.assertEqual(self.rows()["ana"][2], result.count)

    def test_cut_everywhere(self) -> None:
        """Cut after every number, the result is the same, and no number was asked for twice."""
        seen: list[int] = []
        factory, line = self.client(on_progress=lambda progress, count: seen.append(progress.next))
        line.connect()
        line.cut()
        while not factory.result.called:
            before = factory.progress.next
            while factory.progress.next == before and not factory.result.called:
                line.advance(0.1)
            if not factory.result.called:
                line.cut()
        result = self.successResultOf(factory.result)
        self.assert_right(result)
        self.assertEqual(sorted(seen), seen)
        self.assertEqual(result.reconnects, result.count - 1)

    def test_server_restarted(self) -> None:
        """A server that is away and comes back with the same database goes on where the client is."""
        said: list[str] = []
        factory, line = self.client(on_status=said.append)
        line.connect()
        line.advance(2, 0.5)
        line.up = False
        line.cut()
        line.advance(10, 0.1)
        self.assertIn("connection refused", " ".join(said).lower())
        line.up = True
        line._server = self.make_service(self.config).factory()  # type: ignore[assignment]
        line.advance(40, 0.1)
        self.assert_right(self.successResultOf(factory.result))

    def test_backoff_grows_and_progress_resets_it(self) -> None:
        """Delays double up to the bound with jitter below them; a number received starts them afresh."""
        factory, line = self.client()
        line.connect()
        line.up = False
        line.cut()
        delays = []
        for _ in range(12):
            call: Any = factory._callID
            delays.append(call.getTime() - self.clock.seconds())
            self.clock.advance(delays[-1])
        for k, delay in enumerate(delays):
            longest = min(0.25 * 2**k, 30.0)
            self.assertTrue(longest / 2 <= delay <= longest, (k, delay))
        line.up = True
        self.clock.advance(30)
        line.pump()
        self.assertEqual(factory.delay, factory.initialDelay)

    def test_giving_up_when_it_is_told(self) -> None:
        """Who gives up as soon as it hears that the connection is lost is not connected again."""
        made: list[NumbersClientFactory] = []
        factory, line = self.client(on_status=lambda text: made[0].stop())
        made.append(factory)
        line.connect()
        line.cut()
        line.advance(100, 1)
        self.assertEqual((line.attempts, line.state), (1, "disconnected"))

    def test_connecting_alone_resets_nothing(self) -> None:
        """A server that accepts and closes at once does not bring the delay back down."""
        factory, line = self.client()
        line.connect()
        line.cut()
        for _ in range(5):
            call: Any = factory._callID
            self.service.door.max_connections = 0
            self.clock.advance(call.getTime() - self.clock.seconds())
            line.pump()
        self.assertGreater(factory.delay, 4.0)

    def test_errors_that_stay(self) -> None:
        """An error that waiting would not mend ends the client with its code."""
        factory, line = self.client(progress=Progress(5, 1, 1))
        line.connect()
        self.assertEqual(self.failureResultOf(factory.result, ServerRefused).value.code, "expired")
        self.assertEqual((line.attempts, line.state), (1, "disconnected"))
        line.advance(100, 10)
        self.assertEqual(line.attempts, 1)

    def test_errors_that_pass(self) -> None:
        """What a server says of its own trouble, or of a network that was slow, ends no client."""
        codes = (
            "overloaded",
            "shutting-down",
            "not-started",
            "message-timeout",
            "ack-timeout",
            "idle-timeout",
        )
        for code in codes:
            factory, line = self.client()
            line.connect()
            line.server_protocol.refuse(PeerFault(code, "a trial"))
            line.advance(40, 1)
            self.assert_right(self.successResultOf(factory.result))
            self.assertEqual(line.attempts, 2, code)

    def test_wrong_checksum_is_no_result(self) -> None:
        """A client whose own sum went astray gets an error, at once when it resumes."""
        factory, line = self.client()
        line.connect()
        factory.progress = evolve(factory.progress, checksum=99)
        line.advance(20, 1)
        self.assertEqual(self.failureResultOf(factory.result, PeerFault).value.code, "diverged")
        again, line = self.client(progress=Progress(1, 0, 99))
        line.connect()
        self.assertEqual(self.failureResultOf(again.result, ServerRefused).value.code, "diverged")

    def test_a_silent_server_is_left(self) -> None:
        """A connection on which nothing comes is given up for another."""
        factory, line = self.client()
        line.connect()
        line._io.serverIO.write = lambda data: None
        line.advance(60, 1)
        self.assertGreater(line.attempts, 1)
        self.assert_right(self.successResultOf(factory.result))

    def test_stopping(self) -> None:
        """A client that is cancelled closes its connection and does not come back."""
        factory, line = self.client()
        line.connect()
        factory.result.cancel()
        self.failureResultOf(factory.result)
        line.advance(100, 1)
        self.assertEqual((line.attempts, line.state), (1, "disconnected"))


class StateFileTests(Fixture):
    """A client that survives its own end."""

    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp())
        self.state = StateFile(self.path)
        self.held: list[Any] = []

    def hold(self, work: Any, *args: Any) -> Deferred[Any]:
        """A thread that does its work when the test says so."""
        done: Deferred[Any] = Deferred()
        self.held.append(lambda: execute(work, *args).addBoth(done.callback))
        return done

    def let_go(self) -> None:
        while self.held:
            self.held.pop(0)()

    def client(self, run: Any = execute) -> tuple[NumbersClientFactory, Line]:
        found = self.state.load()
        factory = NumbersClientFactory(
            "ana",
            self.clock,
            state=self.state,
            run_in_thread=run,
            random=Random(1),
            progress=found[1] if found else None,
        )
        return factory, Line(self.clock, factory, self.service.factory())  # type: ignore[arg-type]

    def test_killed_after_every_number(self) -> None:
        """A new process after each number comes to the same sum, and the file is gone at the end."""
        for _ in range(50):
            factory, line = self.client()
            line.connect()
            line.advance(0.5)
            if factory.result.called:
                break
            line._client = Silenced()  # type: ignore[assignment]
            line.cut()
        self.assert_right(self.successResultOf(factory.result))
        self.assertFalse(self.path.exists())

    def test_acknowledged_after_it_is_stored(self) -> None:
        """A number is acknowledged when the state file holds it, and not before."""
        _, line = self.client(self.hold)
        line.connect()
        line.advance(2)
        self.assertEqual(self.rows()["ana"][2], 0)
        self.let_go()
        line.pump()
        self.assertEqual(self.rows()["ana"][2], 3)
        self.assertEqual(self.state.load(), ("ana", line._client.progress))  # type: ignore[attr-defined]

    def test_the_end_waits_for_the_file(self) -> None:
        """The result is told when the state file has been removed, and no write comes after that."""
        factory, line = self.client(self.hold)
        line.connect()
        line.advance(20)
        self.assertNoResult(factory.result)
        self.let_go()
        self.assert_right(self.successResultOf(factory.result))
        self.assertFalse(self.path.exists())

    def test_a_file_that_cannot_be_written(self) -> None:
        """The client ends with the system's error."""
        self.state = StateFile(Path(self.mktemp()) / "nowhere" / "state")
        factory, line = self.client()
        line.connect()
        self.failureResultOf(factory.result, OSError)

    def test_what_is_no_state_file(self) -> None:
        """Anything else is refused with a sentence that names the file, and left as it is."""
        good = {"client": "ana", "next": 1, "sum": 2, "checksum": 3}
        for text in ("", "x", "[]", "{}", json.dumps(good | {"next": -1}), json.dumps(good | {"client": ""})):
            self.path.write_text(text)
            with self.assertRaises(ValueError) as caught:
                self.state.load()
            self.assertIn(str(self.path), str(caught.exception))
            self.assertEqual(self.path.read_text(), text)


class Silenced:
    """Stands for the factory of a process that is gone."""

    def clientConnectionLost(self, connector: object, reason: object) -> None:
        """Nobody is there to hear it."""
