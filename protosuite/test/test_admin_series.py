"""Figures and what is drawn of them: histograms, and an hour in a space that does not grow."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protosuite.admin.series import COARSE, FINE, STEP, Series, columns
from protosuite.figures import Histogram


class HistogramTests(SynchronousTestCase):
    """How values are counted."""

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no defect
    @given(st.lists(st.floats(0, 20, allow_nan=False), max_size=50))
    def test_each_is_counted_once(self, values: list[float]) -> None:
        """Up to each bound there are as many as are at most that; the sum and the greatest are right."""
        histogram = Histogram((0.5, 1.0, 10.0))
        for value in values:
            histogram.observe(value)
        for place, bound in enumerate(histogram.bounds):
            self.assertEqual(sum(histogram.counts[: place + 1]), sum(value <= bound for value in values))
        self.assertEqual(histogram.count, len(values))
        self.assertAlmostEqual(histogram.total, sum(values))
        self.assertEqual(histogram.take_worst(), max(values, default=None))
        self.assertEqual(histogram.take_worst(), None)


class SeriesTests(SynchronousTestCase):
    """Points over time."""

    def test_fine_and_coarse(self) -> None:
        """There is a point for each second, and one for ten: their mean, or the greatest of them."""
        series = Series(frozenset(["peak"]))
        for number in range(25):
            series.add({"mean": number, "peak": number if number == 7 else None, "never": None})
        fine, coarse = series.since(0)
        self.assertEqual(columns(fine)["mean"], list(range(25)))
        self.assertEqual(columns(coarse), {"mean": [4.5, 14.5], "peak": [7, None], "never": [None, None]})

    def test_it_does_not_grow(self) -> None:
        """After hours there is as much as after one."""
        series = Series()
        for number in range(3 * FINE + 2 * COARSE * STEP):
            series.add({"value": number})
        fine, coarse = series.since(0)
        self.assertEqual((len(fine), len(coarse)), (FINE, COARSE))
        self.assertEqual(fine[-1], {"value": series.count - 1})

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.integers(0, 700), st.integers(0, 50), st.integers(0, 900))
    def test_since(self, seen: int, more: int, asked: int) -> None:
        """Whoever asks again and again gets each point once; who asks too far ahead gets nothing."""
        series = Series()
        for number in range(seen):
            series.add({"value": number})
        count = series.count
        for number in range(seen, seen + more):
            series.add({"value": number})
        fine, coarse = series.since(count)
        self.assertEqual(columns(fine).get("value", []), list(range(seen, seen + more)))
        self.assertEqual(len(coarse), (seen + more) // STEP - seen // STEP)
        if asked >= series.count:
            self.assertEqual(series.since(asked), ([], []))

    def test_columns(self) -> None:
        """What is not in every point is None where it is not."""
        self.assertEqual(columns([{"a": 1}, {"b": 2}]), {"a": [1, None], "b": [None, 2]})
        self.assertEqual(columns([]), {})
