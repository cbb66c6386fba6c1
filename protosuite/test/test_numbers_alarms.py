"""Many alarms behind one timer."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protosuite.numbers.alarms import Alarms


class AlarmTests(SynchronousTestCase):
    """When they ring, and when they do not."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.alarms = Alarms(self.clock)
        self.rung: list[str] = []

    def set(self, when: float, name: str) -> None:
        self.alarms.set(when, lambda: self.rung.append(name))

    def test_in_their_order(self) -> None:
        """They ring by their times, those of one time as they were set, each once."""
        for when, name in ((2.0, "c"), (1.0, "a"), (1.0, "b")):
            self.set(when, name)
        self.clock.pump([0.5] * 10)
        self.assertEqual(self.rung, ["a", "b", "c"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_before(self) -> None:
        """None rings before its time, also when one that is set later comes first."""
        self.set(5.0, "late")
        self.set(1.0, "early")
        self.clock.advance(0.99)
        self.assertEqual(self.rung, [])
        self.clock.advance(0.02)
        self.assertEqual(self.rung, ["early"])
        self.clock.advance(4)
        self.assertEqual(self.rung, ["early", "late"])

    def test_in_the_past(self) -> None:
        """One whose time is over rings at the next turn."""
        self.clock.advance(10)
        self.set(1.0, "over")
        self.clock.advance(0)
        self.assertEqual(self.rung, ["over"])

    def test_cancelled(self) -> None:
        """One that is cancelled does not ring, and leaves no timer behind."""
        alarm = self.alarms.set(1.0, lambda: self.rung.append("a"))
        self.set(0.5, "b")
        alarm.cancel()
        self.clock.advance(0.5)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(1)
        self.assertEqual(self.rung, ["b"])

    def test_cancelled_ones_are_not_kept(self) -> None:
        """However many are cancelled before their time, what is kept of them does not grow with that."""
        self.set(1.0, "first")
        for number in range(20_000):
            self.alarms.set(60.0 + number, self.fail).cancel()
            self.assertLess(len(self.alarms._heap), 3000)
        self.set(2.0, "last")
        self.clock.pump([1.0, 1.0])
        self.assertEqual(self.rung, ["first", "last"])

    def test_crowd(self) -> None:
        """More than a turn's worth for one moment all ring at it, though each sets another for later."""
        for number in range(1000):
            self.alarms.set(1.0, lambda number=number: self.set(2.0, str(number)))  # type: ignore[misc]
        self.clock.advance(1)
        self.clock.pump([0.0] * 20)
        self.assertEqual(self.rung, [])
        self.clock.advance(1)
        self.clock.pump([0.0] * 20)
        self.assertEqual(self.rung, [str(number) for number in range(1000)])

    def test_one_that_fails(self) -> None:
        """An exception of one does not silence the others."""

        def fail() -> None:
            raise ZeroDivisionError

        self.alarms.set(1.0, fail)
        self.set(1.0, "a")
        self.assertRaises(ZeroDivisionError, self.clock.advance, 1)
        self.clock.advance(0)
        self.assertEqual(self.rung, ["a"])
