"""Runs the rows that are named, or all of them, and writes what they gave as JSON and as pictures."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from attrs import evolve

from benchmarks import report
from benchmarks.bench import ROOT, Bench, Missing, Wrong
from benchmarks.comparing import Row, excuse
from benchmarks.loads.measuring import Stopwatch
from benchmarks.machine import machine
from benchmarks.rows import ROWS


def main() -> int:
    """The command line."""
    arguments = _parse()
    if arguments.list:
        for row in ROWS.values():
            print(f"{row.name:24} {row.work}")
        return 0
    signal.signal(signal.SIGTERM, _ended)
    bench = Bench(
        arguments.quick,
        arguments.seconds or (0.2 if arguments.quick else 3.0),
        1 if arguments.quick else arguments.pairs,
        arguments.out.absolute(),
    )
    return _measure(bench, arguments.rows or list(ROWS), arguments.ours)


def _measure(bench: Bench, names: Sequence[str], only_ours: bool) -> int:
    """Measure these rows; the exit code."""
    found = machine(ROOT)
    print(", ".join(f"{name} {value}" for name, value in found.items()), flush=True)
    results: list[report.AnyResult] = []
    for name in names:
        row = ROWS[name]
        if only_ours and isinstance(row, Row):
            row = evolve(row, theirs=None)
        watch = Stopwatch()
        try:
            results.append(row.run(bench))
            results[-1].took = watch.seconds()
        except (Wrong, Missing) as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            bench.said()  # of it
        else:
            print("\n".join(report.lines(results[-1], bench.quick)), flush=True)
            report.write(bench.out / "results.json", found, bench.quick, results)
    if results:
        _draw(bench.out)
    return 0 if len(results) == len(names) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="For example: python -m benchmarks counter-1 chatlog-append --pairs 9",
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="what to measure (default: all)")
    parser.add_argument("--list", action="store_true", help="tell what rows there are")
    parser.add_argument("--quick", action="store_true", help="see that it runs; the figures mean nothing")
    parser.add_argument("--ours", action="store_true", help="leave the others out")
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="turns of each row (default: 5)")
    parser.add_argument("--seconds", type=float, metavar="S", help="of each load (default: 3)")
    parser.add_argument(
        "--out", type=Path, default=Path("build/bench"), help="where to write (default: build/bench)"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - ROWS.keys():
        parser.error(f"unknown row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    return arguments


def _draw(out: Path) -> None:
    """The pictures, if what draws them is there."""
    try:
        from benchmarks import plot
    except ImportError:
        excuse(Missing("matplotlib", "pip install 'protosuite[bench]'"))
        print("no pictures: pip install 'protosuite[bench]'", file=sys.stderr)
        return
    plot.draw(json.loads((out / "results.json").read_text("utf-8"))["rows"], out)
    print(f"written to {out}")


def _ended(*_: object) -> None:
    sys.exit(1)  # by way of everything that was started


if __name__ == "__main__":
    sys.exit(main())
