"""``python -m benchmarks.publish``: what the last run wrote, into the documentation.

It copies ``results.json`` and the pictures from ``build/bench`` to ``docs/explanation/performance``, and
writes the tables beside them that the page of results includes. Nobody writes a figure there by hand: a test
makes the tables again from the copied file, and compares.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import OUT, ROOT
from benchmarks.comparing import Spread, short
from benchmarks.growth import in_words
from benchmarks.report import OF_A_ROW

FOLDER = ROOT / "docs" / "explanation" / "performance"
TABLES = "results.inc"  # not .rst: it is a part of a page, and none itself
_ABSENT = "–"

Told = Mapping[str, Any]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publish", description=__doc__)
    parser.add_argument("--source", type=Path, default=OUT, help="where a run wrote to")
    parser.add_argument("--target", type=Path, default=FOLDER, help="where the page looks")
    arguments = parser.parse_args()
    told = json.loads((arguments.source / "results.json").read_text("utf-8"))
    if told["quick"]:
        print("that was a quick run, whose figures mean nothing", file=sys.stderr)
        return 1
    arguments.target.mkdir(parents=True, exist_ok=True)
    for old in arguments.target.glob("*.png"):
        old.unlink()
    for path in (arguments.source / "results.json", *map(arguments.source.joinpath, pictures(told))):
        shutil.copy(path, arguments.target)
    (arguments.target / TABLES).write_text(tables(told, arguments.target.name), "utf-8")
    print(f"written to {arguments.target}")
    return 0


def pictures(told: Told) -> list[str]:
    """The pictures that belong to these results."""
    grown = [f"{row['name']}.png" for row in told["rows"] if row.get("points")]
    return ["ratios.png", *grown] if any("ratio" in _measures(row) for row in told["rows"]) else grown


def tables(told: Told, folder: str) -> str:
    """The part of the page that has figures; pictures are in `folder` beside the page."""
    lines = [".. Written by python -m benchmarks.publish; changes belong there.", ""]
    lines += _machine(told["machine"])
    compared = [row for row in told["rows"] if "theirs" in row]
    own = [row for row in told["rows"] if "ours" in row and "theirs" not in row]
    grown = [row for row in told["rows"] if "points" in row]
    lines += _section("Beside others", _compared(compared), compared)
    if "ratios.png" in pictures(told):
        lines += [
            f".. image:: {folder}/ratios.png",
            "   :alt: The ratio of each row, with its spread and its goal",
            "",
        ]
    lines += _section("Of its own", _own(own), own)
    lines += _section("How cost grows", (), grown)
    for row in grown:
        lines += _grown(row, folder)
    lines += _section("The commands", _commands(told["rows"]), told["rows"])
    return "\n".join(lines).rstrip() + "\n"


def _machine(machine: Mapping[str, str]) -> Iterator[str]:
    yield "Measured on:"
    yield ""
    yield from (f":{name}: {value}" for name, value in machine.items() if name not in OF_A_ROW)
    yield ""


def _section(title: str, lines: Iterator[str] | Sequence[str], rows: Sequence[Told]) -> Iterator[str]:
    if rows:
        yield from (title, "~" * len(title), "", *lines, "")


def _compared(rows: Sequence[Told]) -> Iterator[str]:
    yield "The medians of both, the median ratio of the pairs with the least and the most, and what an answer"
    yield "cost the server (ours, theirs) in microseconds of processor time."
    yield ""
    yield from _table(
        ("row", "ours", "theirs", "unit", "ratio", "goal", "server CPU, µs"),
        (
            (
                f"``{row['name']}``",
                _median(row["ours"]),
                f"{_median(row['theirs'])} ({row['theirs']['name']})",
                row["value"],
                _spread(row, "ratio"),
                _goals(row),
                f"{_median(row['ours'], _CPU)}, {_median(row['theirs'], _CPU)}",
            )
            for row in rows
        ),
    )


def _own(rows: Sequence[Told]) -> Iterator[str]:
    yield from _table(
        ("row", "work", "median (least … most)", "unit", "goal"),
        (
            (f"``{row['name']}``", row["work"], _spread(row, "value"), row["value"], _goals(row))
            for row in rows
        ),
    )


def _grown(row: Told, folder: str) -> Iterator[str]:
    yield f"``{row['name']}``: {row['work']}. Goal: {_goals(row)}."
    yield ""
    points = [point for point in row["points"] if point["value"] is not None]
    beside = row.get("beside", ())
    yield from _table(
        (row["by"], row["value"], *beside),
        (
            (
                f"{point['size']:,}",
                in_words(point["value"], point["more"]),
                *(_told(point["more"], name) for name in beside),
            )
            for point in points
        ),
    )
    yield ""
    if points:
        yield from (f".. image:: {folder}/{row['name']}.png", f"   :alt: {row['name']}", "   :width: 60%", "")


def _commands(rows: Sequence[Told]) -> Iterator[str]:
    """What was run for each row: with the first line all of it is run again."""
    for row in rows:
        yield f"``{row['name']}``: {row['work']}. {_measured(row)} {row['note']}".rstrip()
        yield ""
        yield ".. code-block:: console"
        yield ""
        yield f"   $ python -m benchmarks {row['name']}"
        for commands in row["commands"].values():
            yield from (f"   $ {command}" for command in commands)
        yield ""


def _measured(row: Told) -> str:
    """When, and what: rows may be measured one by one."""
    when = f"Measured {row['date']} at {row['commit']}; took" if "commit" in row else "Took"
    return f"{when} {row.get('took', 0):.0f} s."


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield ".. list-table::"
    yield "   :header-rows: 1"
    yield ""
    for row in (head, *rows):
        for number, cell in enumerate(row):
            yield f"   {'* -' if not number else '  -'} {cell}".rstrip()


def _told(more: Told, name: str) -> str:
    return short(more[name]) if name in more else _ABSENT


_CPU = "server CPU µs each"


def _measures(row: Told) -> Mapping[str, Any]:
    measures: Mapping[str, Any] = row.get("measures", {})
    return measures


def _median(side: Told, more: str | None = None) -> str:
    values = [run["value"] if more is None else run["more"].get(more) for run in side["runs"]]
    known = [value for value in values if value is not None]
    return short(Spread.of(known).median) if known else _ABSENT


def _spread(row: Told, name: str) -> str:
    found = _measures(row).get(name)
    return str(Spread(**found)) if found else _ABSENT


def _goals(row: Told) -> str:
    told = [
        f"{goal['goal']}: {'met' if goal['met'] else '**not met**'}{_reached(row, goal)}"
        for goal in row["goals"]
    ]
    return "; ".join(told) or _ABSENT


def _reached(row: Told, goal: Told) -> str:
    """The figure that a goal is about, where it is not the one that stands beside it."""
    name = str(goal["goal"]).partition(" ≥")[0].partition(" ≤")[0]
    return f" ({_spread(row, name)})" if name in _measures(row) and name not in ("ratio", "value") else ""


if __name__ == "__main__":
    sys.exit(main())
