"""The ``Range`` of a request, as RFC 9110 (14.1) has it. Pure."""

from __future__ import annotations

import re
from itertools import pairwise

_SPEC = re.compile(r"(\d{0,19})-(\d{0,19})", re.ASCII)
_MOST = 16  # parts in an answer; who asks for more gets the whole


class Unsatisfiable(Exception):
    """Nothing of what is asked for is there: 416."""


def parse(header: str | None, size: int) -> list[tuple[int, int]] | None:
    """The parts that are asked for of `size` bytes, as first and last byte; None for the whole.

    What is not understood, and what would be a burden (many parts, or parts that overlap), is answered
    with the whole, as the RFC allows. Raises :exc:`Unsatisfiable`.
    """
    unit, found, specs = (header or "").partition("=")
    if not found or unit.strip().lower() != "bytes":
        return None
    parts: list[tuple[int, int]] = []
    for spec in specs.split(","):
        match = _SPEC.fullmatch(spec.strip())
        if match is None or spec.strip() == "-":
            return None
        first, last = match.groups()
        if first and last and int(last) < int(first):
            return None
        begin = int(first) if first else max(0, size - int(last))
        end = min(int(last), size - 1) if first and last else size - 1
        if begin < size and begin <= end:
            parts.append((begin, end))
    if not parts:
        raise Unsatisfiable
    ordered = sorted(parts)
    overlaps = any(after[0] <= before[1] for before, after in pairwise(ordered))
    return None if len(parts) > _MOST or overlaps else parts
