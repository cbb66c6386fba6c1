"""Runs the rows that are named, or all of them."""

from __future__ import annotations

import argparse

from benchmarks import counter, numbers

ROWS = {"counter": counter.main, "numbers": numbers.main}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="see that it runs; the figures mean little")
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - ROWS.keys():
        parser.error(f"unknown row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    for name in arguments.rows or ROWS:
        ROWS[name](arguments.quick)


if __name__ == "__main__":
    main()
