"""The rows, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.comparing import Row
from benchmarks.growth import Growth
from benchmarks.rows import (
    bus,
    chatlog,
    counter,
    growing,
    history,
    idle,
    media,
    mediachat,
    nodes,
    numbers,
    start,
)

_MODULES = (counter, chatlog, mediachat, media, bus, numbers, idle, start, growing, history, nodes)

ROWS: Mapping[str, Row | Growth] = {row.name: row for module in _MODULES for row in module.ROWS}
