"""The pictures: ours beside theirs, and how cost grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.comparing import Spread, short

Told = Mapping[str, Any]

_OURS, _GOAL, _EVEN = "#2a6f97", "#c1121f", "#888888"


def draw(rows: Sequence[Told], folder: Path) -> list[str]:
    """All pictures of these rows, as they are in the JSON file; their names."""
    drawn = ["ratios.png"] if _ratios(rows, folder / "ratios.png") else []
    for row in rows:
        if _grown(row, folder / f"{row['name']}.png"):
            drawn.append(f"{row['name']}.png")
    return drawn


def _ratios(rows: Sequence[Told], path: Path) -> bool:
    """A bar a row, as long as the median ratio, with the spread and the goal; False if there is no ratio."""
    shown = [(row, Spread(**row["measures"]["ratio"])) for row in rows if "ratio" in row.get("measures", ())]
    if not shown:
        return False
    figure = Figure(figsize=(8, 1 + 0.4 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for place, (row, spread) in enumerate(shown):
        _bar(axes, place, row, spread)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.margins(x=0.15)
    axes.axvline(1, color=_EVEN, linewidth=1)
    axes.set_yticks(range(len(shown)), [f"{row['name']}\n{_against(row)}" for row, _ in shown], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("ours ÷ theirs, median and spread; red: the goal")
    figure.savefig(path, dpi=150)
    return True


def _bar(axes: Any, place: int, row: Told, spread: Spread) -> None:
    errors = [[spread.median - spread.least], [spread.most - spread.median]]
    axes.barh(place, spread.median - 1, left=1, height=0.6, color=_OURS, xerr=errors, capsize=3)
    end, side = (spread.most, "left") if spread.median >= 1 else (spread.least, "right")
    axes.annotate(f" {short(spread.median)} ", (end, place), va="center", ha=side, fontsize=8)
    for goal in row["goals"]:
        bound = goal["at_least"] if goal["at_least"] is not None else goal["at_most"]
        if goal["of"] == "ratio" and bound is not None:
            axes.plot([bound, bound], [place - 0.4, place + 0.4], color=_GOAL, linewidth=2)


def _against(row: Told) -> str:
    is_less = any(goal["of"] == "ratio" and goal["at_most"] is not None for goal in row["goals"])
    return f"against {row['theirs']['name']}" + ", less is better" * is_less


def _grown(row: Told, path: Path) -> bool:
    """The value at each size; False if there is none."""
    points = row.get("points")
    if not points:
        return False
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    values = [point["value"] for point in points]
    axes.plot([point["size"] for point in points], values, marker="o", color=_OURS)
    axes.set_xscale("log")
    axes.set_ylim(0, max(values) * 1.1 or 1)
    axes.set_xlabel(row["by"])
    axes.set_ylabel(row["value"])
    axes.set_title(row["work"], fontsize=8, wrap=True)
    figure.savefig(path, dpi=150)
    return True
