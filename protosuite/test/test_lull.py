"""When nobody more comes."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protosuite.lull import Lull


class LullTests(SynchronousTestCase):
    """What is waited for, in turns of the reactor."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.came = 0
        self.lull = Lull(self.clock, lambda: self.came)

    def turns(self, coming: int) -> int:
        """How many there have been when it is over, if in each of the first `coming` somebody comes."""
        count = 0

        def turn() -> None:
            nonlocal count
            if over.called:
                return
            count += 1
            self.came += count <= coming
            self.clock.callLater(0, turn)

        over = self.lull.over()
        turn()
        self.clock.advance(0)
        return count

    def test_nobody(self) -> None:
        """Where nobody comes it is over in the next turn."""
        over = self.lull.over()
        self.assertNoResult(over)
        self.clock.advance(0)
        self.successResultOf(over)

    def test_a_few(self) -> None:
        """It is over in the turn behind the last that brought somebody."""
        self.assertEqual([self.turns(coming) for coming in (0, 1, 3)], [1, 2, 4])

    def test_always(self) -> None:
        """Those who came first do not wait for everybody."""
        self.assertEqual(self.turns(1000), 9)
