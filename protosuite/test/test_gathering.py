"""Writes that are gathered."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from protosuite.storage.gathering import Gathering
from protosuite.testing import HandWorker, database


class GatheringTests(SynchronousTestCase):
    """What goes with which write."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.writer = HandWorker()
        self.database = database(self.mktemp(), self.writer)
        self.addCleanup(self.database.close)
        self.stored: list[list[str]] = []
        self.told: list[list[str]] = []

    def gathering(self, pause: float = 0.0, clock: Clock | None = None) -> Gathering[list[str]]:
        def done(items: list[str], failure: Failure | None) -> None:
            self.assertIs(failure, None)
            self.told.append(items)

        return Gathering(
            self.database, list, lambda connection, items: self.stored.append(items), done, clock, pause
        )

    def put(self, gathering: Gathering[list[str]], *items: str) -> None:
        for item in items:
            gathering.items.append(item)
            gathering.touch()

    def test_lull(self) -> None:
        """With a clock, what comes in one turn of the reactor, and in those behind it, goes together."""
        gathering = self.gathering(clock=self.clock)
        self.put(gathering, "a", "b")
        self.clock.callLater(0, self.put, gathering, "c")
        self.assertEqual(self.writer.run(), 0)
        self.clock.advance(0)
        self.writer.run()
        self.put(gathering, "d")
        gathering.flushed()
        self.clock.advance(0)
        self.writer.run()
        self.assertEqual(self.told, [["a", "b", "c"], ["d"]])

    def test_without_a_pause(self) -> None:
        """The first goes at once; what comes while it is stored goes together."""
        gathering = self.gathering()
        self.put(gathering, "a", "b", "c")
        self.writer.run()
        self.assertEqual(self.told, [["a"], ["b", "c"]])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_pause(self) -> None:
        """What comes within the pause goes with the first; what comes later begins another."""
        gathering = self.gathering(0.5, self.clock)
        self.put(gathering, "a")
        self.clock.advance(0.4)
        self.put(gathering, "b")
        self.assertEqual(self.writer.run(), 0)
        self.clock.advance(0.1)
        self.put(gathering, "c")  # while that is being stored
        self.writer.run()
        self.assertEqual(self.stored, [["a", "b"]])
        self.clock.advance(0.5)
        self.writer.run()
        self.assertEqual(self.told, [["a", "b"], ["c"]])

    def test_who_is_told_fails(self) -> None:
        """An exception of who is told is logged, and what comes next is stored as ever."""

        def done(items: list[str], failure: Failure | None) -> None:
            raise LookupError(items)

        gathering: Gathering[list[str]] = Gathering(
            self.database, list, lambda connection, items: self.stored.append(items), done
        )
        self.put(gathering, "a", "b")
        waiting = gathering.flushed()
        self.writer.run()
        self.successResultOf(waiting)
        self.put(gathering, "c")
        self.writer.run()
        self.assertEqual(self.stored, [["a"], ["b"], ["c"]])
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 3)

    def test_flushed_ends_the_pause(self) -> None:
        """Who waits for all to be stored waits for no pause, neither this one nor the next."""
        gathering = self.gathering(60, self.clock)
        self.put(gathering, "a")
        waiting = gathering.flushed()
        self.put(gathering, "b")
        self.writer.run()
        self.successResultOf(waiting)
        self.assertEqual(self.told, [["a"], ["b"]])
        self.put(gathering, "c")
        self.assertEqual(self.writer.run(), 0)  # there are pauses again
        waiting = gathering.flushed()
        self.writer.run()
        self.successResultOf(waiting)
        self.assertEqual(self.clock.getDelayedCalls(), [])
