"""How cost grows: one kind of work at one size after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from attrs import Factory, define, evolve, frozen

from benchmarks.bench import Bench, Figures, Missing
from benchmarks.comparing import Goal, Spread, excuse, ratio, short


@frozen
class Peer:
    """Who does the same work at each size: `measure` gives its figures, `name` is what they stand under."""

    name: str
    measure: Callable[[Bench, int], Figures]

    def beside(self, bench: Bench, size: int, ours: Figures) -> Figures:
        """`ours`, and the peer's value and our share of it."""
        theirs = self.measure(bench, size).value
        return evolve(
            ours, more={**ours.more, self.name: theirs, f"of {self.name}": ratio(ours.value, theirs)}
        )


@frozen
class Growth:
    """`work` at each of `sizes` of what `by` names; `measure` gives the figures as they come.

    A quick run goes as far as `quick_sizes`. What `beside` names, of what is told besides, is published with
    each figure, and a goal may be about it, too. Without the `peer`, if there is one, ours is measured alone.
    """

    name: str
    work: str
    value: str
    by: str
    sizes: Sequence[int]
    quick_sizes: Sequence[int]
    measure: Callable[[Bench, Sequence[int]], Iterator[tuple[int, Figures]]]
    goals: tuple[Goal, ...] = ()
    beside: tuple[str, ...] = ()
    peer: Peer | None = None

    def run(self, bench: Bench) -> GrowthResult:
        """Measure it."""
        result = GrowthResult(self)
        try:
            for size, figures in self.measure(bench, bench.choose(self.sizes, self.quick_sizes)):
                runs = result.runs.setdefault(size, [])
                runs.append(self._beside(bench, size, figures, result))
                result.commands.setdefault(str(size), bench.said())
        except Missing as reason:
            excuse(reason)
            result.note = str(reason)
        return result

    def _beside(self, bench: Bench, size: int, ours: Figures, result: GrowthResult) -> Figures:
        if self.peer is not None and not result.note:
            try:
                return self.peer.beside(bench, size, ours)
            except Missing as reason:
                excuse(reason)
                result.note = str(reason)
        return ours


@define
class GrowthResult:
    """What each size gave."""

    row: Growth
    runs: dict[int, list[Figures]] = Factory(dict)
    commands: dict[str, list[str]] = Factory(dict)
    note: str = ""
    took: float = 0.0  # seconds, all of it

    @property
    def points(self) -> dict[int, Figures]:
        """Of each size the median of its runs, and of what is told beside; and :data:`SPREAD` of several."""
        return {size: _middle(runs) for size, runs in self.runs.items()}

    def verdicts(self) -> Iterator[tuple[Goal, bool]]:
        """The goals, and whether they are met."""
        points = self.points.values()
        values = [figures.value for figures in points]
        if values:
            measures = {
                WORST: min(values) / max(values),
                STEEPEST: max(values) / values[0],
                LAST: values[-1] / values[0],
            }
            for name in self.row.beside:
                if all(name in figures.more for figures in points):
                    told = [figures.more[name] for figures in points]
                    measures[LEAST.format(name)] = min(told)
                    measures[f"{WORST}, {name}"] = ratio(min(told), max(told))
            for goal in self.row.goals:
                if goal.of in measures:
                    yield goal, goal.is_met(measures[goal.of])


def in_words(value: float, more: Mapping[str, float]) -> str:
    """A point's figure, and how far its runs were from it if there were several."""
    least, most = map(more.get, SPREAD)
    return short(value) if least is None or most is None else str(Spread(value, least, most))


# What a goal can be about, where more is better and where less is.
WORST = "worst ÷ best"
STEEPEST = "most ÷ first"
LAST = "last ÷ first"
LEAST = "least {}"  # of what stands beside

SPREAD = "least", "most"  # of several runs: their names beside the median


def each(
    measure: Callable[[Bench, int], Figures], runs: int = 1
) -> Callable[[Bench, Sequence[int]], Iterator[tuple[int, Figures]]]:
    """Sizes that are measured independently, each in so many runs, but not in more than a row has pairs."""

    def measured(bench: Bench, sizes: Sequence[int]) -> Iterator[tuple[int, Figures]]:
        for size in sizes:
            for _ in range(min(bench.pairs, runs)):
                yield size, measure(bench, size)

    return measured


def _middle(runs: Sequence[Figures]) -> Figures:
    if len(runs) == 1:
        return runs[0]
    spread = Spread.of([run.value for run in runs])
    names = [name for name in runs[0].more if all(name in run.more for run in runs)]
    beside = {name: median(run.more[name] for run in runs) for name in names}
    least, most = SPREAD
    return Figures(spread.median, {least: spread.least, most: spread.most, **beside})
