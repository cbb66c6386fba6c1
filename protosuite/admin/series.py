"""Values over the last hour, in a space that does not grow: each second for a while, then coarser. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from attrs import define, field

FINE = 300  # points of a second each
STEP = 10  # seconds that a coarse point stands for
COARSE = 360  # points of STEP seconds each: an hour

Values = Mapping[str, float | None]


@define(eq=False, repr=False)
class Series:
    """Points of many values by name. A name may be absent from a point, or have None: there was nothing.

    ``fine`` has the last five minutes. A coarse point has the mean of its values, and for the names in
    `peaks` the greatest.
    """

    peaks: frozenset[str] = frozenset()
    count: int = 0  # points that there have been
    fine: deque[Values] = field(factory=lambda: deque(maxlen=FINE))
    coarse: deque[Values] = field(factory=lambda: deque(maxlen=COARSE))
    _gathered: list[Values] = field(factory=list)

    def add(self, point: Values) -> None:
        """The values of the second that is over."""
        self.count += 1
        self.fine.append(point)
        self._gathered.append(point)
        if len(self._gathered) == STEP:
            self.coarse.append(self._joined(self._gathered))
            self._gathered = []

    def since(self, count: int) -> tuple[list[Values], list[Values]]:
        """What there has been after the first `count` points, as far as it is there: fine, and coarse."""
        return (
            _last(self.fine, self.count - count),
            _last(self.coarse, self.count // STEP - count // STEP),
        )

    def _joined(self, points: Iterable[Values]) -> Values:
        found: dict[str, list[float]] = {}
        names: dict[str, None] = {}
        for point in points:
            for name, value in point.items():
                names[name] = None
                if value is not None:
                    found.setdefault(name, []).append(value)
        return {name: self._join(name, found.get(name, [])) for name in names}

    def _join(self, name: str, values: list[float]) -> float | None:
        if not values:
            return None
        return max(values) if name in self.peaks else sum(values) / len(values)


def _last(points: deque[Values], count: int) -> list[Values]:
    """The last `count` of them, or as many as there are."""
    return list(points)[max(0, len(points) - max(0, count)) :]


def columns(points: Iterable[Values]) -> dict[str, list[float | None]]:
    """Points as a list for each name, all of one length: None where there was nothing."""
    rows = list(points)
    names = {name: None for row in rows for name in row}
    return {name: [row.get(name) for row in rows] for name in names}
