"""What the suite can tell of itself: figures with a name, a unit and a meaning, read when somebody asks.

Pure. Whoever has something to tell is a `Source`. A figure costs its owner at most the addition of a whole
number where things are fast; the rest is done for whoever reads it. Names follow Prometheus: the unit at
their end, ``_total`` for what only grows. Labels have values that the code knows beforehand; nothing that a
client says is one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Protocol

from attrs import define, field, frozen

# Upper bounds of buckets. The seconds reach from a reply out of memory to what people call hanging.
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)


@define(eq=False, repr=False)
class Histogram:
    """How often a value was at most each of `bounds`. One thread adds to it, any may read it."""

    bounds: tuple[float, ...] = SECONDS
    total: float = 0.0  # the sum of all values
    worst: float | None = None  # the greatest since somebody took it
    counts: list[int] = field(init=False)  # a bucket each; the last is for what is above all bounds

    def __attrs_post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Take one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
        if self.worst is None or value > self.worst:
            self.worst = value

    def take_worst(self) -> float | None:
        """The greatest since this was asked last; None if there was nothing."""
        worst, self.worst = self.worst, None
        return worst

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)


class Kind(Enum):
    """How a figure moves: up only, or both ways; or a :class:`Histogram`."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


Value = float | Histogram


@frozen
class Figure:
    """One figure: `samples` has its value for each combination of values of its `labels`, if it is known."""

    name: str
    kind: Kind
    doc: str
    labels: tuple[str, ...]
    samples: Sequence[tuple[tuple[str, ...], Value]]


def counter(name: str, doc: str, value: float, **labels: str) -> Figure:
    """What only grows."""
    return Figure(name, Kind.COUNTER, doc, tuple(labels), [(tuple(labels.values()), value)])


def gauge(name: str, doc: str, value: float | None, **labels: str) -> Figure:
    """What goes up and down; None while it is not known."""
    samples = [] if value is None else [(tuple(labels.values()), value)]
    return Figure(name, Kind.GAUGE, doc, tuple(labels), samples)


def histogram(name: str, doc: str, value: Histogram, **labels: str) -> Figure:
    """How values are spread."""
    return Figure(name, Kind.HISTOGRAM, doc, tuple(labels), [(tuple(labels.values()), value)])


def split(kind: Kind, name: str, doc: str, label: str, values: Mapping[str, float], **labels: str) -> Figure:
    """A figure for each value of one more label."""
    fixed = tuple(labels.values())
    return Figure(
        name, kind, doc, (*labels, label), [((*fixed, key), value) for key, value in values.items()]
    )


class Source(Protocol):
    """Somebody with figures to tell. Asked in the reactor's thread; it does not block."""

    def figures(self) -> Iterable[Figure]:
        """The figures as they are now."""


@define
class Traffic:
    """What went through the connections of a service since its start."""

    accepted: int = 0  # connections
    messages: int = 0  # of clients; a request of HTTP is one
    received: int = 0  # bytes
    sent: int = 0  # bytes that the transport was given


@frozen
class Refusal:
    """Somebody who was turned down, by the reactor's clock."""

    at: float
    peer: str
    code: str
    reason: str
