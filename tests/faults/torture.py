"""Tortures a suite for as long as one likes, and leaves a summary and a plot.

``make torture``, or ``python -m tests.faults.torture --seconds 3600 --out build/torture``. The exit code is
1 if anything was not as promised; the seed and the folder with the suite's data are named then.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.faults import seed
from tests.faults.everything import Torture
from tests.faults.place import Place, run
from tests.faults.plot import plot


def show(line: str) -> None:
    """How far it is, for a person who looks."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line[:150]}", end="", file=sys.stderr, flush=True)


LONG = ("samples", "events")  # of a summary


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.torture", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long (default: an hour)")
    parser.add_argument("--seed", type=int, default=None, help="of an earlier run, to do the same again")
    parser.add_argument("--out", type=Path, default=Path("build/torture"), help="folder for what it leaves")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    chosen = seed() if arguments.seed is None else arguments.seed
    place = Place(arguments.out)
    torture = Torture(place, chosen, arguments.seconds, show)
    print(f"seed {chosen}", file=sys.stderr)
    code = run(torture.run, place)
    show("")
    fields = torture.summary()
    (arguments.out / "summary.json").write_text(json.dumps(fields, indent=1), "utf-8")
    plot(fields, arguments.out / "torture.png")
    print(json.dumps({name: value for name, value in fields.items() if name not in LONG}, indent=1))
    if code == 0:
        place.remove()
    else:
        kept = ", ".join(map(str, place.made))
        print(f"exit code {code}; --seed {chosen} does the same again; data and log: {kept}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
