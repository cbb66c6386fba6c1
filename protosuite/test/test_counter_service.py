"""counter/1 from end to end in memory: the service, its store in a real database, and the client."""

from __future__ import annotations

from random import Random
from typing import Any

from attrs import evolve
from hypothesis import settings
from twisted.internet.defer import Deferred, execute
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protosuite.config import CounterConfig
from protosuite.counter.client import CounterClientFactory
from protosuite.counter.load import CounterLoad
from protosuite.counter.server import CounterService
from protosuite.counter.store import CounterStore
from protosuite.counter.wire import MAX, ReplyDecoder, encode_replies, encode_request
from protosuite.errors import OutcomeUnknown, Overloaded, StorageFull
from protosuite.net.latencies import Latencies
from protosuite.net.load import Load
from protosuite.test.counter_cuttings import any_requests, cuttings
from protosuite.testing import HandWorker, Line, MemoryTransport, database, decoded


class Raw:
    """A connection that a test drives by hand."""

    def __init__(self, service: CounterService) -> None:
        factory: Any = service.factory()
        self._clock = service.reactor
        self.protocol = factory.buildProtocol(None)
        self.transport: Any = MemoryTransport(self.protocol, True)
        self.protocol.makeConnection(self.transport)

    def add(self, *amounts: int) -> Raw:
        """Ask, and have the reactor turn as long as it has to, but for what waits for some time."""
        self.protocol.dataReceived(b"".join(map(encode_request, amounts)))
        self._clock.advance(0)
        return self

    def replies(self) -> list[int]:
        return decoded(ReplyDecoder(), self.transport.getOutBuffer() or b"")


class Fixture(SynchronousTestCase):
    """A service on a clock, with a database that works at once unless `writer` is held."""

    durability = "everysec"
    open_database = staticmethod(database)  # as tests with another engine replace it

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1)  # when a connection was heard last is never 0 outside tests
        self.writer = HandWorker(at_once=True)
        self.database = self.open_database(self.mktemp(), self.writer)
        self.addCleanup(self.database.close)
        self.service = self.make_service()

    def make_service(self, **changes: Any) -> CounterService:
        """Another service on the same database: the same server after a restart."""
        config = evolve(CounterConfig(durability=self.durability), **changes)
        service = CounterService(config, CounterStore(self.database), self.clock)
        service.startService()
        return service

    def stored(self) -> int:
        """The total on the disk."""
        return CounterStore(self.database).load()

    def set_total(self, total: int) -> None:
        self.service.ledger.total = total

    def break_store(self) -> Any:
        """Make storing fail; the result makes it work again."""
        store: Any = self.service._store
        save = store.save

        def full() -> None:
            raise StorageFull("no room")

        store.save = lambda total: execute(full)
        return lambda: setattr(store, "save", save)


class ServerTests(Fixture):
    """Requests and replies."""

    def test_replies_in_order(self) -> None:
        """All requests of a segment are answered with the totals after each."""
        self.assertEqual(Raw(self.service).add(1, 0, 10, 255).replies(), [1, 1, 11, 266])

    @settings(max_examples=150, deadline=None)
    @any_requests
    def test_any_cutting(self, amounts: list[int | None], cuts: set[int], is_closed: bool) -> None:
        """R12: however requests are cut, the same is answered, counted, kept and refused."""
        outcomes = []
        for pieces in cuttings(amounts, cuts):
            service = CounterService(CounterConfig(), CounterStore(self.database), self.clock)
            service.ledger.is_closed = is_closed
            raw = Raw(service)
            for piece in pieces:
                raw.protocol.dataReceived(piece)
            ledger, traffic = service.ledger, service.traffic
            messages = None if service.refusals else traffic.messages
            closes = raw.transport.disconnecting
            outcomes.append((raw.replies(), closes, ledger, messages, traffic.sent, traffic.received))
            raw.protocol.connectionLost()
        self.assertEqual(outcomes[0], outcomes[1])
        self.assertEqual(outcomes[0], outcomes[2])

    def test_message_rate(self) -> None:
        """R20: who sends one request after the other faster than it may is read that slowly."""
        raw = Raw(self.make_service(message_rate=10))
        for _ in range(10):
            raw.add(1)
        self.assertTrue(raw.transport.reading)
        raw.add(1)
        self.assertFalse(raw.transport.reading)
        self.clock.advance(0.2)
        self.assertTrue(raw.transport.reading)

    def test_silence_behind_single_requests(self) -> None:
        """A client that has sent one request is held to the time of silence, not of the first message."""
        service = self.make_service(handshake_timeout=10, idle_timeout=100)
        raw = Raw(service).add(1)
        self.clock.advance(99)
        raw.add(1)
        self.clock.advance(99)
        self.assertFalse(raw.transport.disconnecting)
        self.clock.advance(1)
        self.assertTrue(raw.transport.disconnecting)
        self.assertEqual(service.refusals, {"idle-timeout": 1})

    def test_one_counter_for_all(self) -> None:
        """Connections share the total."""
        a, b = Raw(self.service), Raw(self.service)
        self.assertEqual((a.add(5).replies(), b.add(5).replies(), a.add(0).replies()), ([5], [10], [10]))

    def test_good_frames_before_a_tampered_one_are_answered(self) -> None:
        """The frames before count and are answered; the bad one and those behind it do not count."""
        raw = Raw(self.service)
        raw.protocol.dataReceived(encode_request(1) * 2 + b"a" * 16 + encode_request(1))
        self.assertEqual(raw.replies(), [1, 2])
        self.assertTrue(raw.transport.disconnecting)
        raw.add(7)
        self.assertEqual((self.service.ledger.total, self.service.ledger.refused), (2, 1))

    def test_overflow(self) -> None:
        """What would pass 2^64 − 1 is not applied and closes; another connection can still read."""
        self.set_total(MAX - 1)
        raw = Raw(self.service).add(1, 1)
        self.assertEqual(raw.replies(), [MAX])
        self.assertTrue(raw.transport.disconnecting)
        self.assertEqual(Raw(self.service).add(0).replies(), [MAX])

    def test_frame_timeout(self) -> None:
        """A frame is closed `frame_timeout` after its first byte, however it trickles in."""
        raw = Raw(self.service)
        frame = encode_request(1)
        for i in range(15):
            raw.protocol.dataReceived(frame[i : i + 1])
            self.clock.advance(0.13)
        self.assertFalse(raw.transport.disconnecting)
        self.clock.advance(0.06)
        self.assertTrue(raw.transport.disconnecting)
        self.assertEqual(self.service.ledger.total, 0)

    def test_finished_frames_in_time(self) -> None:
        """Each frame has its own time, and an idle connection has all of it."""
        raw = Raw(self.service)
        frame = encode_request(1)
        raw.protocol.dataReceived(frame[:1])
        for _ in range(5):
            self.clock.advance(1.9)
            raw.protocol.dataReceived(frame[1:] + frame[:1])
        raw.protocol.dataReceived(frame[1:])
        self.clock.advance(1000)
        self.assertEqual(raw.replies(), [1, 2, 3, 4, 5, 6])
        self.assertFalse(raw.transport.disconnecting)

    def test_a_frame_that_we_do_not_read_is_not_overdue(self) -> None:
        """While the server does not read, the rest of a frame may be waiting: its time does not run out."""
        raw = Raw(self.service)
        raw.protocol.dataReceived(encode_request(1)[:5])
        raw.transport.producer.pauseProducing()
        self.clock.pump([1.0] * 10)
        self.assertFalse(raw.transport.disconnecting)
        raw.transport.producer.resumeProducing()
        self.clock.pump([1.0] * 2)
        self.assertTrue(raw.transport.disconnecting)

    def test_a_peer_that_does_not_read_is_not_read(self) -> None:
        """While the transport has enough to send, nothing more is taken from that connection."""
        raw = Raw(self.service)
        raw.transport.producer.pauseProducing()
        self.assertFalse(raw.transport.reading)
        raw.transport.producer.resumeProducing()
        self.assertTrue(raw.transport.reading)

    def test_half_close(self) -> None:
        """R15: a client that sends and closes its side gets its replies."""
        raw = Raw(self.service).add(3)
        raw.protocol.readConnectionLost()
        self.assertEqual(raw.replies(), [3])
        self.assertTrue(raw.transport.disconnecting)

    def test_too_many_connections(self) -> None:
        """One connection above the bound is not taken."""
        service = self.make_service(max_connections=1)
        raw, another = Raw(service), Raw(service)
        self.assertTrue(another.transport.disconnecting)
        raw.protocol.connectionLost()
        self.assertFalse(Raw(service).transport.disconnecting)


class EverysecTests(Fixture):
    """durability = everysec."""

    def test_stored_within_a_second_under_load(self) -> None:
        """A second after an increment the disk has it, though others keep coming."""
        raw = Raw(self.service)
        for _ in range(30):
            before = raw.add(1).replies()[0]
            for _ in range(10):
                self.clock.advance(0.1)
                raw.add(1)
            self.assertGreaterEqual(self.stored(), before)

    def test_stored_at_a_stop(self) -> None:
        """A clean stop stores the total, and a new server goes on from it."""
        Raw(self.service).add(7)
        self.successResultOf(self.service.stopService())
        self.assertEqual(Raw(self.make_service()).add(1).replies(), [8])

    def test_a_stop_waits_for_a_sync_under_way(self) -> None:
        """Increments that came during a sync are stored as well before the stop is over."""
        raw = Raw(self.service).add(1)
        self.writer.at_once = False
        self.clock.advance(0.5)
        raw.add(1)
        stopped = self.service.stopService()
        self.assertNoResult(stopped)
        self.writer.run()
        self.successResultOf(stopped)
        self.writer.at_once = True
        self.assertEqual(self.stored(), 2)

    def test_when_storing_fails(self) -> None:
        """No increment is accepted until storing works again; reading goes on."""
        raw = Raw(self.service).add(1)
        mend = self.break_store()
        self.clock.advance(0.5)
        self.assertEqual(raw.add(0).replies(), [1, 1])
        refused = raw.add(0, 1, 0)
        self.assertEqual(refused.replies(), [1])
        self.assertTrue(refused.transport.disconnecting)
        mend()
        self.clock.advance(0.5)
        self.assertEqual(Raw(self.service).add(1).replies(), [2])
        self.clock.advance(0.5)
        self.assertEqual(self.stored(), 2)


class NoDurabilityTests(Fixture):
    """durability = no."""

    durability = "no"

    def test_stored_at_a_stop_only(self) -> None:
        """Nothing is written while it runs; a clean stop stores the total."""
        Raw(self.service).add(7)
        self.clock.advance(100)
        self.assertEqual(self.stored(), 0)
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.stored(), 7)


class AlwaysTests(Fixture):
    """durability = always."""

    durability = "always"

    def test_no_reply_before_the_commit(self) -> None:
        """Replies leave when their totals are on the disk."""
        self.writer.at_once = False
        raw = Raw(self.service).add(1, 2)
        self.assertEqual((raw.replies(), self.stored()), ([], 0))
        self.writer.run()
        self.assertEqual((raw.replies(), self.stored()), ([1, 3], 3))

    def commits(self) -> int:
        """How many there have been."""
        return self.database.measures.commit_requests.count

    def finish(self) -> None:
        """Commit until nobody waits."""
        while self.writer.run():
            self.clock.advance(0)

    def test_one_commit_for_many(self) -> None:
        """All that came during a commit share the next one."""
        self.writer.at_once = False
        raws = [Raw(self.service).add(1) for _ in range(10)]
        self.assertEqual(len(self.writer.tasks), 1)
        self.finish()
        self.assertEqual([raw.replies() for raw in raws], [[i] for i in range(1, 11)])
        self.assertEqual((self.stored(), self.commits()), (10, 2))

    def test_one_turn(self) -> None:
        """Who is read in one turn of the reactor, or in the one behind it, is in one commit."""
        self.writer.at_once = False
        raws = [Raw(self.service) for _ in range(10)]
        for raw in raws[:5]:
            raw.protocol.dataReceived(encode_request(1))
        self.clock.callLater(0, lambda: [raw.protocol.dataReceived(encode_request(1)) for raw in raws[5:]])
        self.clock.advance(0)
        self.finish()
        self.assertEqual([raw.replies() for raw in raws], [[i] for i in range(1, 11)])
        self.assertEqual(self.commits(), 1)

    def test_turn_after_turn(self) -> None:
        """A commit waits for those who come turn after turn, but not for all of them."""
        raw, rest = Raw(self.service), [1] * 100

        def come() -> None:
            if rest:
                raw.protocol.dataReceived(encode_request(rest.pop()))
                self.clock.callLater(0, come)

        come()
        self.clock.advance(0)
        self.assertEqual(raw.replies(), list(range(1, 101)))
        self.assertTrue(10 < self.commits() < 50, self.commits())

    def test_reading_waits_for_what_it_reads(self) -> None:
        """A read never shows a total that a crash could take back."""
        self.writer.at_once = False
        Raw(self.service).add(5)
        reader = Raw(self.service).add(0)
        self.assertEqual(reader.replies(), [])
        self.finish()
        self.assertEqual(reader.replies(), [5])

    def test_a_close_waits_for_the_replies(self) -> None:
        """A tampered frame behind good ones closes after their replies."""
        self.writer.at_once = False
        raw = Raw(self.service)
        raw.protocol.dataReceived(encode_request(1) + b"a" * 16)
        self.clock.advance(0)
        self.assertFalse(raw.transport.disconnecting)
        self.writer.run()
        self.assertEqual(raw.replies(), [1])
        self.assertTrue(raw.transport.disconnecting)

    def test_unsent_replies_are_bounded(self) -> None:
        """A connection with `max_backlog` bytes of replies waiting is not read until they leave."""
        self.service = self.make_service(max_backlog=1024)
        self.writer.at_once = False
        raw = Raw(self.service).add(*[1] * 127)
        self.assertTrue(raw.transport.reading)
        raw.add(1)
        self.assertFalse(raw.transport.reading)
        self.finish()
        self.assertTrue(raw.transport.reading)
        self.assertEqual(len(raw.replies()), 128)

    def test_when_storing_fails(self) -> None:
        """Who waited for a commit that failed gets no reply and a close; later ones are served again."""
        mend = self.break_store()
        raw = Raw(self.service).add(1)
        self.assertEqual(raw.replies(), [])
        self.assertTrue(raw.transport.disconnecting)
        mend()
        self.assertEqual(Raw(self.service).add(10).replies(), [10])  # what was refused has not counted
        self.assertEqual(self.stored(), 10)

    def test_nothing_is_added_once_it_closes(self) -> None:
        """Who is closed for a failure, or owed its last replies, has nothing added that it still sends."""
        cut, refused = Raw(self.service).add(1), Raw(self.service).add(1)
        mend = self.break_store()
        cut.add(1)
        mend()
        self.assertTrue(cut.transport.disconnecting)
        self.writer.at_once = False
        refused.add(1)
        refused.protocol.dataReceived(b"x" * 16)
        cut.add(5)
        refused.add(5)
        self.writer.at_once = True
        self.finish()
        self.assertEqual((cut.replies(), refused.replies(), self.service.ledger.total), ([1], [2, 3], 3))

    def test_a_failure_refuses_what_came_behind_it(self) -> None:
        """What was asked for while a commit that fails was under way is refused with it."""
        self.writer.at_once = False
        mend = self.break_store()
        store: Any = self.service._store
        slow: Deferred[None] = Deferred()
        store.save = lambda total: slow
        raws = [Raw(self.service).add(1), Raw(self.service).add(2)]
        slow.errback(StorageFull("no room"))
        for raw in raws:
            self.assertEqual(raw.replies(), [])
            self.assertTrue(raw.transport.disconnecting)
        mend()
        raw = Raw(self.service).add(10)
        self.writer.run()
        self.assertEqual(raw.replies(), [10])

    def test_draining_answers_what_was_accepted(self) -> None:
        """A stop closes a connection after the replies that it is owed."""
        self.writer.at_once = False
        raw = Raw(self.service).add(1)
        drained = self.service.drain(5)
        self.assertFalse(raw.transport.disconnecting)
        self.writer.run()
        self.assertEqual(raw.replies(), [1])
        self.assertTrue(raw.transport.disconnecting)
        raw.protocol.connectionLost()
        self.successResultOf(drained)


class ClientTests(Fixture):
    """The client over lines that are cut."""

    def client(self, **options: Any) -> tuple[CounterClientFactory, Line]:
        factory = CounterClientFactory(self.clock, random=Random(1), **options)
        return factory, Line(self.clock, factory, self.service.factory())  # type: ignore[arg-type]

    def test_pipelining(self) -> None:
        """Many increments are in flight at once, and each gets its own total."""
        factory, line = self.client(max_in_flight=3)
        line.connect()
        answers = [factory.increment(i) for i in range(1, 11)]
        self.assertEqual(len(factory._in_flight), 3)
        line.pump()
        self.assertEqual([self.successResultOf(a) for a in answers], [1, 3, 6, 10, 15, 21, 28, 36, 45, 55])

    def test_nothing_to_ask(self) -> None:
        """A client that asks nothing for long is not closed as if it were none, and counts then."""
        factory, line = self.client()
        line.connect()
        line.advance(10 * self.service.config.handshake_timeout, 5)
        self.assertEqual(line.attempts, 1)
        answer = factory.increment(5)
        line.pump()
        self.assertEqual(self.successResultOf(answer), 5)

    def test_silent_server(self) -> None:
        """A server that owes an answer and is silent is left; one that answers late, or owes none, is not."""
        factory = CounterClientFactory(self.clock, random=Random(1), answer_timeout=10)
        line = Line(self.clock, factory, Factory.forProtocol(Protocol))  # type: ignore[arg-type]
        line.connect()
        first, second = factory.increment(1), factory.increment(2)
        line.advance(9)
        line.server_protocol.transport.write(encode_replies([1]))
        line.pump()
        line.advance(9, 1)
        self.assertEqual((self.successResultOf(first), line.attempts), (1, 1))
        self.assertNoResult(second)
        line.advance(2, 1)
        self.failureResultOf(second, OutcomeUnknown)
        line.advance(1)
        self.assertEqual(line.attempts, 2)
        third = factory.increment(3)
        line.pump()
        line.server_protocol.transport.write(encode_replies([1, 4]))  # the first to its greeting
        line.pump()
        line.advance(100, 1)
        self.assertEqual((self.successResultOf(third), line.attempts), (4, 2))

    def test_waits_for_the_connection(self) -> None:
        """What is asked before there is a connection is sent when there is one."""
        factory, line = self.client()
        answer = factory.increment(4)
        line.connect()
        self.assertEqual(self.successResultOf(answer), 4)

    def test_lost_after_writing(self) -> None:
        """What was written and not answered is unknown; what was not written is sent again."""
        factory, line = self.client(max_in_flight=1)
        line.connect()
        written, waiting = factory.increment(1), factory.increment(10)
        line.cut()
        self.failureResultOf(written, OutcomeUnknown)
        line.advance(1)
        self.assertEqual(self.successResultOf(waiting), 10)

    def test_at_least_once(self) -> None:
        """On request, what is unknown is sent again, in order."""
        factory, line = self.client(at_least_once=True)
        line.connect()
        answers = [factory.increment(1), factory.increment(10)]
        line.cut()
        line.advance(1)
        self.assertEqual([self.successResultOf(a) for a in answers], [1, 11])

    def test_at_least_once_gives_up_what_is_refused(self) -> None:
        """An increment that the server closes on again and again is given up; those behind it are sent."""
        self.set_total(MAX - 1)
        factory, line = self.client(at_least_once=True)
        line.connect()
        poison, after = factory.increment(5), factory.increment(1)
        line.pump()
        line.advance(120, 1)
        self.failureResultOf(poison, OutcomeUnknown)
        self.assertEqual(self.successResultOf(after), MAX)

    def test_bounds(self) -> None:
        """An increment out of range is a mistake of the caller's; too many waiting is Overloaded."""
        factory, _ = self.client(max_waiting=1)
        for amount in (-1, MAX + 1):
            self.assertRaises(ValueError, factory.increment, amount)
        factory.increment(1)
        self.failureResultOf(factory.increment(1), Overloaded)

    def test_cancelling(self) -> None:
        """What has not been written is taken back; what has been still takes its reply's place."""
        factory, line = self.client(max_in_flight=1)
        line.connect()
        written, waiting, last = factory.increment(1), factory.increment(10), factory.increment(100)
        for answer in (written, waiting):
            answer.cancel()
            self.failureResultOf(answer)
        line.pump()
        self.assertEqual(self.successResultOf(last), 101)

    def test_closing(self) -> None:
        """A closed client does not come back and fails what it owes and what is asked later."""
        factory, line = self.client(max_in_flight=1)
        line.connect()
        answers: list[Deferred[int]] = [factory.increment(1), factory.increment(1)]
        factory.close()
        self.failureResultOf(answers[0], OutcomeUnknown)
        self.failureResultOf(answers[1], ConnectionError)
        self.failureResultOf(factory.increment(1), ConnectionError)
        line.pump()
        line.advance(100)
        self.assertEqual((line.attempts, line.state), (1, "disconnected"))

    def test_a_server_that_answers_what_nobody_asked(self) -> None:
        """Replies without a request end the connection, not the client."""
        factory, line = self.client()
        line.connect()
        line._io.serverIO.write(encode_replies([1]))
        line.pump()
        self.assertEqual(line.state, "disconnected")
        line.advance(1)
        self.assertEqual(line.state, "connected")
        factory.close()


class LoadTests(Fixture):
    """The load of the client program."""

    def test_counts_what_it_did(self) -> None:
        """The counter rises by exactly what the load says that it added."""
        load = Load(CounterLoad, self.clock, 1, 4, 3.0)

        class Ten(Latencies):
            """Ends the load after ten batches: in memory it would go on without time passing."""

            def add(self, seconds: float) -> None:
                super().add(seconds)
                if self.count == 10:
                    load.stop()

        load.latencies = Ten()
        line = Line(self.clock, load, self.service.factory())  # type: ignore[arg-type]
        line.connect()
        report = self.successResultOf(load.finished)
        self.assertEqual((report.requests, report.errors), (40, ()))
        self.assertEqual(self.service.ledger.total, 40)

    def test_quantiles(self) -> None:
        """Quantiles are right to within a bucket, and the histogram does not grow with its content."""
        latencies = Latencies()
        for i in range(1, 10_001):
            latencies.add(i / 1000)
        for share in (0.01, 0.5, 0.99):
            self.assertTrue(1 <= latencies.quantile(share) / (share * 10) <= 1.05)
        self.assertLess(len(latencies._counts), 300)
        self.assertEqual(Latencies().quantile(0.5), 0.0)
