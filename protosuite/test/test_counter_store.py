"""Who has the counter: what the database says of it, and what two processes do that both want it."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from protosuite.config import CounterConfig
from protosuite.counter.holding import REDIS, Held, Kept, Step, next_step
from protosuite.counter.server import CounterService
from protosuite.counter.store import CounterStore, MarkStore
from protosuite.counter.wire import MAX
from protosuite.test.test_counter_service import Raw
from protosuite.testing import HandWorker, database

HERE, THERE = f"{REDIS}1", f"{REDIS}2"


class Fixture(SynchronousTestCase):
    """A database that may be used by several."""

    open_database = staticmethod(database)  # as tests with another engine replace it

    def setUp(self) -> None:
        self.writer = HandWorker(at_once=True)
        self.database = self.open_database(self.mktemp(), self.writer)
        self.addCleanup(self.database.close)

    def store(self) -> CounterStore:
        """That of a process which does not have the database alone."""
        store = CounterStore(self.database)
        store.can_be_shared = True
        return store


class StoreTests(Fixture):
    """The row."""

    def done(self, answer: Any) -> Any:
        return self.successResultOf(answer)

    def test_the_last_one_has_it(self) -> None:
        """Who takes the counter has the total that was stored, and who had it stores nothing any more."""
        one, two = self.store(), self.store()
        self.assertEqual(one.take(), 0)
        self.assertTrue(self.done(one.save(5)))
        self.assertEqual(two.take(), 5)
        self.assertEqual((self.done(one.is_ours()), self.done(two.is_ours())), (False, True))
        self.assertFalse(self.done(one.save(9)))
        self.assertTrue(self.done(two.save(6)))
        self.assertEqual(one.load(), 6)

    def test_alone(self) -> None:
        """Where nobody else can have it, a start stores nothing, and whoever had it does not matter."""
        self.done(MarkStore(self.database).name(Kept(7, 1, HERE)))
        for _ in range(2):
            store = CounterStore(self.database)
            store.can_be_shared = False
            self.writer.at_once = False
            total = store.take()
            self.writer.at_once = True
            self.assertTrue(self.done(store.save(total + 1)))
        self.assertEqual(self.done(MarkStore(self.database).look()), Held(9, 1, HERE))

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.integers(0, MAX) | st.integers(0, 200), min_size=1, max_size=6))
    def test_a_mark_only_rises(self, totals: list[int]) -> None:
        """The mark is the highest total of all that were noted, in numbers and not in letters."""
        marks = MarkStore(self.database)
        before = self.done(marks.look())
        self.done(marks.name(Kept(0, before.epoch + 1, f"{REDIS}{before.epoch}")))
        holder = self.done(marks.look()).holder
        for total in totals:
            self.assertTrue(self.done(marks.mark(holder, total)))
        self.assertEqual(self.done(marks.look()).total, max(before.total, *totals))

    def test_a_mark_of_another(self) -> None:
        """What is not the total that counts leaves no mark."""
        marks = MarkStore(self.database)
        self.assertFalse(self.done(marks.mark(HERE, 5)))
        self.done(marks.name(Kept(7, 1, HERE)))
        self.assertFalse(self.done(marks.mark(THERE, 50)))
        self.assertEqual(self.done(marks.look()), Held(7, 1, HERE))

    def test_naming(self) -> None:
        """Of two that are to count the first of an epoch does; naming loses nothing of the mark."""
        marks = MarkStore(self.database)
        for kept in (Kept(7, 1, HERE), Kept(9, 1, THERE)):
            self.done(marks.name(kept))
        self.assertEqual(self.done(marks.look()), Held(7, 1, HERE))
        self.done(marks.name(Kept(2, 2, THERE)))
        self.assertEqual(self.done(marks.look()), Held(7, 2, THERE))
        self.assertEqual(self.store().take(), 7)
        self.assertFalse(self.done(marks.mark(THERE, 50)))
        self.assertEqual(self.done(marks.look()).epoch, 3)


class StepTests(SynchronousTestCase):
    """What a node does that finds this here and that there."""

    def test_each(self) -> None:
        """A new total, the same on both sides, a lost one, one of another epoch, one that is elsewhere."""
        for held, kept, step in (
            (Held(), None, Step.MAKE),
            (Held(5, 3, "process/x"), None, Step.MAKE),
            (Held(5, 3, "process/x"), Kept(4, 2, HERE), Step.MAKE),
            (Held(5, 3, "process/x"), Kept(4, 4, HERE), Step.NAME),
            (Held(), Kept(0, 1, HERE), Step.NAME),
            (Held(5, 1, HERE), Kept(5, 1, HERE), Step.COUNT),
            (Held(5, 1, HERE), None, Step.RESTORE),
            (Held(5, 1, HERE), Kept(5, 2, THERE), Step.NAME),
            (Held(5, 2, HERE), Kept(9, 1, THERE), Step.REFUSE),
            (Held(5, 2, HERE), Kept(9, 2, THERE), Step.REFUSE),
        ):
            self.assertIs(next_step(held, kept), step, (held, kept))


class TakenTests(Fixture):
    """Two processes on one database."""

    def service(self, clock: Clock, **changes: Any) -> CounterService:
        """One that has started."""
        service = CounterService(evolve(CounterConfig(), **changes), self.store(), clock)
        service.startService()
        return service

    def two(self, **changes: Any) -> tuple[Clock, CounterService, Raw, CounterService]:
        """One with a client, and one that started later."""
        clock = Clock()
        one = self.service(clock, **changes)
        raw = Raw(one).add(5)
        self.assertEqual(raw.replies(), [5])
        clock.advance(1)
        return clock, one, raw, self.service(Clock(), **changes)

    def assert_left(self, one: CounterService, raw: Raw) -> None:
        """It answers nobody any more, and leaves the total to the other one."""
        self.assertTrue(raw.transport.disconnecting)
        late = Raw(one)
        self.assertTrue(late.transport.disconnecting)
        self.assertEqual(late.add(1).replies(), [])
        self.successResultOf(one.stopService())
        [error] = [event for event in self.events if event["log_level"].name == "critical"]
        self.assertIn("another process has taken the counter", error["log_format"])

    def setUp(self) -> None:
        super().setUp()
        self.events: list[Any] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def test_everysec(self) -> None:
        """R10: the total is the later one's; the earlier one sees it when it stores, and stops."""
        clock, one, raw, two = self.two()
        self.assertEqual(raw.add(1).replies(), [6])
        self.assertEqual(Raw(two).add(10).replies(), [15])
        clock.advance(0.5)
        self.assert_left(one, raw)
        self.successResultOf(two.stopService())
        self.assertEqual(self.store().load(), 15)

    def test_always(self) -> None:
        """R10: with ``always`` no reply leaves the earlier one whose total the later one does not have."""
        _, one, raw, two = self.two(durability="always")
        self.assertEqual(raw.add(1).replies(), [])
        self.assertEqual(Raw(two).add(1).replies(), [6])
        self.assert_left(one, raw)

    def test_reading(self) -> None:
        """Who only reads is not told for long what is not so any more."""
        clock, one, raw, two = self.two(durability="no")
        self.assertEqual(Raw(two).add(10).replies(), [10])
        self.assertEqual(raw.add(0).replies(), [5])
        clock.advance(1)
        self.assert_left(one, raw)

    def test_nobody_asks(self) -> None:
        """While nobody asks for anything, the database is not asked either."""
        clock, one, raw, _ = self.two()
        reads = self.database.measures.read_seconds.count
        clock.pump([0.5] * 20)
        self.assertEqual(self.database.measures.read_seconds.count, reads)
        raw.add(0)
        clock.advance(1)
        self.assert_left(one, raw)
