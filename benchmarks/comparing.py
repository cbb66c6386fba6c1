"""Ours and theirs in turn, on one machine, within minutes: the ratio of each pair, and their median."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from attrs import Factory, define, frozen

from benchmarks.bench import Bench, Figures, Missing, NotYet

# What CI installs: there, a row that lacks one of these fails. See .ci/run.
IN_CI = frozenset({"redis-server", "redis-benchmark", "nginx", "dd", "matplotlib", "postgresql"})

ALONE = 3  # runs where there is nobody to take turns with: a figure of ours alone is compared with nothing


@frozen
class Spread:
    """Several figures of one thing: the middle one, and how far the others are from it."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """From one figure or more."""
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{short(self.median)} ({short(self.least)} … {short(self.most)})"


@frozen
class Goal:
    """What `of` is to reach: ``ratio``, ``ratio of NAME`` for what is told beside, or a figure of ours."""

    of: str
    at_least: float | None = None
    at_most: float | None = None

    def is_met(self, value: float) -> bool:
        """Whether a median reaches it."""
        if self.at_least is not None and value < self.at_least:
            return False
        return self.at_most is None or value <= self.at_most

    def __str__(self) -> str:
        sign, bound = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        return f"{self.of} {sign} {bound:g}"


@frozen
class Side:
    """Who answers: a name, and one run from start to stop."""

    name: str
    run: Callable[[Bench], Figures]


@frozen
class Row:
    """`work` that is done a number of times by ours and by theirs; `value` says what is counted."""

    name: str
    work: str
    value: str
    ours: Side
    theirs: Side | None = None
    goals: tuple[Goal, ...] = ()

    def run(self, bench: Bench) -> Result:
        """Measure it. What is missing on this machine is in the result, but what CI has to have is raised."""
        result = Result(self)
        try:
            self._take_turns(bench, result)
        except NotYet as reason:
            result.note = f"not yet: {reason}"
        return result

    def _take_turns(self, bench: Bench, result: Result) -> None:
        theirs = self.theirs
        for _ in range(bench.pairs if theirs is not None else min(bench.pairs, ALONE)):
            result.ours.append(self.ours.run(bench))
            result.commands.setdefault("ours", bench.said())
            if theirs is None:
                continue
            try:
                result.theirs.append(theirs.run(bench))
            except Missing as reason:
                excuse(reason)
                result.note, theirs = str(reason), None
            else:
                result.commands.setdefault("theirs", bench.said())


@define
class Result:
    """What the turns of a row gave, in their order."""

    row: Row
    ours: list[Figures] = Factory(list)
    theirs: list[Figures] = Factory(list)
    commands: dict[str, list[str]] = Factory(dict)
    note: str = ""  # why something was not measured
    took: float = 0.0  # seconds, all of it

    def measures(self) -> dict[str, Spread]:
        """Everything that a goal can be about."""
        names = self.ours[0].more if self.ours else ()
        found = {name: [each.more[name] for each in self.ours] for name in names}
        if self.ours:
            found["value"] = [each.value for each in self.ours]
        pairs = list(zip(self.ours, self.theirs, strict=False))
        if pairs:
            found["ratio"] = [ratio(ours.value, theirs.value) for ours, theirs in pairs]
            for name in pairs[0][0].more.keys() & pairs[0][1].more.keys():
                values = [ratio(ours.more[name], theirs.more[name]) for ours, theirs in pairs]
                found[f"ratio of {name}"] = values
        return {name: Spread.of(values) for name, values in found.items()}

    def verdicts(self) -> Iterator[tuple[Goal, bool]]:
        """The goals that can be judged, and whether they are met."""
        measures = self.measures()
        for goal in self.row.goals:
            if goal.of in measures:
                yield goal, goal.is_met(measures[goal.of].median)


def excuse(reason: Missing) -> None:
    """Let it pass that something is missing, unless this is where nothing may be."""
    if reason.program in IN_CI and os.environ.get("PROTOSUITE_REQUIRE_ALL") == "1":
        raise reason


def ratio(ours: float, theirs: float) -> float:
    """How many times theirs ours is."""
    return ours / theirs if theirs else float("inf")


def short(value: float) -> str:
    """A figure with as many digits as mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
