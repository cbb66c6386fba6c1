"""The pictures: ours beside theirs, and how cost grows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.comparing import Result, Spread, short
from benchmarks.growth import GrowthResult

_OURS, _GOAL, _EVEN = "#2a6f97", "#c1121f", "#888888"


def ratios(results: Sequence[Result], path: Path) -> bool:
    """A bar a row, as long as the median ratio, with the spread and the goal; False if there is no ratio."""
    shown = [(each, each.measures()["ratio"]) for each in results if "ratio" in each.measures()]
    if not shown:
        return False
    figure = Figure(figsize=(8, 1 + 0.4 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for place, (result, spread) in enumerate(shown):
        _bar(axes, place, result, spread)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.margins(x=0.15)
    axes.axvline(1, color=_EVEN, linewidth=1)
    axes.set_yticks(
        range(len(shown)), [f"{each.row.name}\n{_against(each)}" for each, _ in shown], fontsize=7
    )
    axes.invert_yaxis()
    axes.set_xlabel("ours ÷ theirs, median and spread; red: the goal")
    figure.savefig(path, dpi=150)
    return True


def _bar(axes: Any, place: int, result: Result, spread: Spread) -> None:
    errors = [[spread.median - spread.least], [spread.most - spread.median]]
    axes.barh(place, spread.median - 1, left=1, height=0.6, color=_OURS, xerr=errors, capsize=3)
    end, side = (spread.most, "left") if spread.median >= 1 else (spread.least, "right")
    axes.annotate(f" {short(spread.median)} ", (end, place), va="center", ha=side, fontsize=8)
    for goal in result.row.goals:
        bound = goal.at_least if goal.at_least is not None else goal.at_most
        if goal.of == "ratio" and bound is not None:
            axes.plot([bound, bound], [place - 0.4, place + 0.4], color=_GOAL, linewidth=2)


def _against(result: Result) -> str:
    if result.row.theirs is None:
        return ""
    is_less = any(goal.of == "ratio" and goal.at_most is not None for goal in result.row.goals)
    return f"against {result.row.theirs.name}" + ", less is better" * is_less


def grown(result: GrowthResult, path: Path) -> bool:
    """The value at each size; False if there is none."""
    if not result.points:
        return False
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    sizes = list(result.points)
    values = [each.value for each in result.points.values()]
    axes.plot(sizes, values, marker="o", color=_OURS)
    axes.set_xscale("log")
    axes.set_ylim(0, max(values) * 1.1 or 1)
    axes.set_xlabel(result.row.by)
    axes.set_ylabel(result.row.value)
    axes.set_title(result.row.work, fontsize=8, wrap=True)
    figure.savefig(path, dpi=150)
    return True
