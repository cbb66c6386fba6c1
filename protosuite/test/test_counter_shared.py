"""A ledger that several processes share: the arithmetic, and what the death of one leaves."""

from __future__ import annotations

import os
import signal
from mmap import mmap
from typing import Any, NoReturn

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from protosuite.counter.ledger import Ledger
from protosuite.counter.shared import SharedLedger, is_possible, memory
from protosuite.counter.wire import MAX

UINT64 = st.integers(0, MAX)
CHILDREN = 4
ADDITIONS = 300  # that each child has made at least when it is killed


class SharedCase(SynchronousTestCase):
    """What the tests below share."""

    def setUp(self) -> None:
        if not is_possible():
            raise SkipTest("this system has no mutex that survives its owner")

    def ledger(self, total: int = 0) -> SharedLedger:
        """A ledger in memory of its own."""
        descriptor = memory()
        try:
            ledger = SharedLedger(descriptor)
        finally:
            os.close(descriptor)
        ledger.prepare()
        ledger.total = total
        return ledger


class ArithmeticTests(SharedCase):
    """It does what a ledger does."""

    @settings(max_examples=100)
    @given(UINT64, st.lists(st.lists(UINT64 | st.integers(0, 9), max_size=4), max_size=5), st.booleans())
    def test_as_any_ledger(self, total: int, runs: list[list[int]], is_closed: bool) -> None:
        """Whatever is asked of it, it answers and ends as the ledger of one process."""
        shared, alone = self.ledger(total), Ledger(total, is_closed=is_closed)
        shared.is_closed = is_closed
        for run in runs:
            answer, expected = shared.apply(run), alone.apply(run)
            self.assertEqual((answer[0], str(answer[1])), (expected[0], str(expected[1])))
            self.assertEqual(
                (shared.total, shared.requests, shared.is_closed), (alone.total, alone.requests, is_closed)
            )


class DeathTests(SharedCase):
    """Processes that end in the middle of what they do."""

    def child(self, work: Any, *args: Any) -> int:
        """A process that does `work`, and ends with the test at the latest."""
        pid = os.fork()
        if not pid:
            try:
                work(*args)
            finally:
                os._exit(1)
        return pid

    def test_who_dies_with_the_mutex(self) -> None:
        """One that is killed while nobody else may add holds nobody up, and leaves the total whole."""

        def die(ledger: Any, writes: int) -> NoReturn:
            ledger._lock(ledger._mutex)
            if writes > 0:
                ledger._words[0] = 99
            if writes > 1:
                ledger._words[1] = 7
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError

        for writes, total in ((0, 5), (1, 99), (2, 99)):
            ledger = self.ledger(5)
            os.waitpid(self.child(die, ledger, writes), 0)
            self.assertEqual(ledger.apply([1])[0], [total + 1])
            os.waitpid(self.child(die, ledger, writes), 0)
            self.assertEqual(ledger.apply([0])[1], None)

    def test_killed_while_they_add(self) -> None:
        """Of processes that add and are killed, each addition that was told counts, and one more at most."""
        for _ in range(5):
            ledger, told = self.ledger(), memoryview(mmap(-1, 4096)).cast("Q")

            def add(number: int, ledger: SharedLedger = ledger, told: Any = told) -> None:
                while True:
                    ledger.apply([1])
                    told[number] += 1

            children = [self.child(add, number) for number in range(CHILDREN)]
            while min(told[:CHILDREN]) < ADDITIONS:
                ledger.apply([0, 0])
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            for pid in children:
                os.waitpid(pid, 0)
            least = sum(told[:CHILDREN])
            total = ledger.total
            self.assertTrue(least <= total <= least + CHILDREN, (least, total))
            self.assertEqual(ledger.apply([1])[0], [total + 1])
