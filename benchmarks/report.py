"""What is printed of the rows, and what is written for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict

from benchmarks.bench import Figures
from benchmarks.comparing import Result, Spread, short
from benchmarks.growth import SPREAD, GrowthResult, in_words
from benchmarks.rows import ROWS

AnyResult = Result | GrowthResult

OF_A_ROW = {"date", "load before", "commit"}  # of what is told of a machine, what changes from row to row
_SATURATED = 0.95  # of a processor: from here on it may be the load that is measured


def lines(result: AnyResult, quick: bool) -> Iterator[str]:
    """A row for a person to read; after a `quick` run its goals are not judged."""
    yield f"{result.row.name}: {result.row.work}"
    for side, commands in result.commands.items():
        for command in commands:
            yield f"  $ {command}" if isinstance(result, Result) else f"  {side:>9} $ {command}"
    if isinstance(result, Result):
        yield from _compared(result)
    else:
        yield from _grown(result)
    for goal, is_met in () if quick else result.verdicts():
        yield f"  goal {goal}: {'met' if is_met else 'NOT MET'}"
    if result.note:
        yield f"  {result.note}"


def _compared(result: Result) -> Iterator[str]:
    row = result.row
    sides = [(row.ours.name, result.ours)]
    if row.theirs is not None:
        sides.append((row.theirs.name, result.theirs))
    for name, runs in sides:
        if runs:
            yield f"  {name:24} {Spread.of([each.value for each in runs])} {row.value}{_beside(runs)}"
            if any(each.more.get("load CPU", 0) > _SATURATED for each in runs):
                yield "    the load had a whole processor: it may be slower than what it measures"
    measures = result.measures()
    for name in ("ratio", "ratio of p99 ms"):
        if name in measures:
            yield f"  {name} {measures[name]} over {len(result.theirs)} pairs"


def _beside(runs: Sequence[Figures]) -> str:
    names = [name for name in runs[0].more if all(name in each.more for each in runs) and name not in SPREAD]
    return "".join(
        f"; {name} {short(Spread.of([each.more[name] for each in runs]).median)}" for name in names
    )


def _grown(result: GrowthResult) -> Iterator[str]:
    yield f"  {result.row.by:>12}  {result.row.value}"
    for size, figures in result.points.items():
        yield f"  {size:>12,}  {in_words(figures.value, figures.more)}{_beside([figures])}"


def fields(result: AnyResult) -> dict[str, Any]:
    """A row for JSON."""
    row = result.row
    told: dict[str, Any] = {"name": row.name, "work": row.work, "value": row.value, "note": result.note}
    told["commands"], told["took"] = result.commands, round(result.took, 1)
    told["goals"] = [{"goal": str(goal), "met": is_met, **asdict(goal)} for goal, is_met in result.verdicts()]
    if isinstance(result, Result):
        told["measures"] = {name: asdict(spread) for name, spread in result.measures().items()}
        told["ours"] = {"name": result.row.ours.name, "runs": list(map(_run, result.ours))}
        if result.row.theirs is not None:
            told["theirs"] = {"name": result.row.theirs.name, "runs": list(map(_run, result.theirs))}
    else:
        told["by"], told["beside"] = result.row.by, list(result.row.beside)
        told["points"] = [{"size": size, **_run(figures)} for size, figures in result.points.items()]
    return told


def _run(figures: Figures) -> dict[str, Any]:
    return {"value": figures.value, "more": dict(figures.more)}


def write(path: Path, machine: Mapping[str, str], quick: bool, results: Sequence[AnyResult]) -> None:
    """The JSON file. Rows that are not among these stay as they were measured on this same machine."""
    rows = {row["name"]: row for row in _before(path, machine, quick)}
    for result in results:
        rows[result.row.name] = fields(result) | {name: machine[name] for name in OF_A_ROW & machine.keys()}
    order = [*ROWS, *rows]
    told = {"machine": dict(machine), "quick": quick, "rows": sorted(rows.values(), key=_place(order))}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def _place(order: Sequence[str]) -> Callable[[Mapping[str, Any]], int]:
    return lambda row: order.index(row["name"])


def _before(path: Path, machine: Mapping[str, str], quick: bool) -> list[Any]:
    """The rows that are in the file, if they may stand beside those of this machine."""
    if quick or not path.exists():
        return []
    told = json.loads(path.read_text("utf-8"))
    names = (told["machine"].keys() | machine.keys()) - OF_A_ROW
    is_same = all(told["machine"].get(name) == machine.get(name) for name in names)
    return told["rows"] if is_same and not told["quick"] else []
