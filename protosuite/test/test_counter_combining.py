"""Increments of many in one operation: against the ledger, which applies them one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protosuite.counter.combining import Combiner, Group
from protosuite.counter.ledger import Ledger
from protosuite.counter.wire import MAX
from protosuite.errors import PeerFault

Answers = list[tuple[list[int], str | None]]

AWAY = PeerFault("engine", "away")


class CombiningTests(SynchronousTestCase):
    """The core of the counter of several nodes."""

    def offer(self, combiner: Combiner, answers: Answers, increments: list[int], asked: float = 0.0) -> None:
        """A group whose answer is added to `answers`."""

        def answer(totals: list[int], fault: PeerFault | None) -> None:
            answers.append((totals, None if fault is None else fault.code))

        combiner.offer(Group(increments, answer, asked))

    @given(
        st.lists(st.lists(st.one_of(st.integers(0, 9), st.integers(MAX // 5, MAX)), min_size=1, max_size=5)),
        st.one_of(st.just(0), st.integers(MAX - 30, MAX)),
    )
    def test_as_one_by_one(self, groups: list[list[int]], start: int) -> None:
        """Whatever is combined, all are answered as if each had come alone, to the one that overflows."""
        combiner, answers, expected = Combiner(), Answers(), Answers()
        for increments in groups:
            self.offer(combiner, answers, increments)
        total = start
        operations = 0
        while (operation := combiner.next()) is not None:
            operations += 1
            self.assertLessEqual(operation.amount, MAX)
            if total + operation.amount > MAX:
                combiner.refused()
            else:
                total += operation.amount
                combiner.done(total)
        ledger = Ledger(start)
        for increments in groups:
            totals, fault = ledger.apply(increments)
            expected.append((totals, None if fault is None else fault.code))
        self.assertEqual(sorted(answers, key=str), sorted(expected, key=str))
        self.assertEqual((total, len(combiner)), (ledger.total, 0))

    def test_what_was_too_much_is_withdrawn(self) -> None:
        """Who goes before it is found what was too much leaves no bound that grows with each operation."""
        combiner = Combiner()
        groups = [Group([1], lambda totals, fault: None, 0.0) for _ in range(4)]
        for group in groups:
            combiner.offer(group)
        combiner.next()
        combiner.refused()
        groups[3].withdraw()
        total = 0
        while (operation := combiner.next()) is not None:
            total += operation.amount
            combiner.done(total)
        self.assertEqual(total, 3)
        self.assertIsNone(combiner._most)

    def test_one_operation(self) -> None:
        """All that wait share one operation; what comes meanwhile is in the next."""
        combiner, answers = Combiner(), Answers()
        for increments in ([1, 2], [3], [0]):
            self.offer(combiner, answers, increments)
        first = combiner.next()
        assert first is not None
        self.assertEqual((first.number, first.amount, first.count), (1, 6, 4))
        self.offer(combiner, answers, [10])
        self.assertIs(combiner.next(), first)
        combiner.done(106)
        self.assertEqual(answers, [([101, 103], None), ([106], None), ([106], None)])
        second = combiner.next()
        assert second is not None
        self.assertEqual((second.number, second.amount), (2, 10))

    def test_abandoned(self) -> None:
        """Who has waited for too long is told so; the operation goes on while anybody else waits for it."""
        combiner, answers = Combiner(), Answers()
        self.offer(combiner, answers, [1], asked=1.0)
        self.offer(combiner, answers, [2], asked=2.0)
        first = combiner.next()
        combiner.abandon(1.5, AWAY)
        self.assertEqual((answers, combiner.next()), ([([], "engine")], first))
        combiner.done(3)
        self.assertEqual(answers[1:], [([3], None)])
        self.offer(combiner, answers, [4], asked=3.0)
        again = combiner.next()
        combiner.abandon(4.0, AWAY)
        self.assertEqual((combiner.next(), combiner.oldest), (None, None))
        self.offer(combiner, answers, [5], asked=5.0)
        last = combiner.next()
        assert again is not None and last is not None  # noqa: PT018
        self.assertGreater(last.number, again.number)
