"""Sums the closing lines of trial, and holds the number of tests against a floor that only rises.

Usage: summary.py FLOOR LOG...
"""

import re
import sys
from pathlib import Path

CLOSING = re.compile(r"^(PASSED|FAILED)(?: \((?P<counts>[^)]*)\))?$", re.MULTILINE)


def counts(log: str) -> dict[str, int]:
    """The figures of the last closing line: successes, failures, errors, skips …"""
    found = list(CLOSING.finditer(log))
    if not found:
        return {"errors": 1}  # trial did not come to its end
    pairs = (part.split("=") for part in (found[-1]["counts"] or "").split(", ") if part)
    return {name: int(number) for name, number in pairs}


def main() -> int:
    floor_file, *logs = map(Path, sys.argv[1:])
    passed = failed = skipped = 0
    for log in logs:
        found = counts(log.read_text(errors="replace")) if log.exists() else {"errors": 1}
        passed += found.get("successes", 0) + found.get("expectedFailures", 0)
        failed += sum(found.get(name, 0) for name in ("failures", "errors", "unexpectedSuccesses"))
        skipped += found.get("skips", 0)
    floor = int(floor_file.read_text())
    if passed < floor:
        print(f"{passed} tests passed, and the floor in {floor_file} is {floor}: tests have gone missing")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or passed < floor else 0


if __name__ == "__main__":
    sys.exit(main())
