"""How cost grows: with rooms, with what has been appended, with connections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from benchmarks.bench import Bench, Figures
from benchmarks.comparing import ALONE, Goal
from benchmarks.growth import LEAST, STEEPEST, WORST, Growth, Peer, each
from benchmarks.loading import Load, put
from benchmarks.peers import go
from benchmarks.rows.chatlog import appends
from benchmarks.suite import serving

_IN_FLIGHT = 1000  # appends, in all
_MIB = 1 << 20
_SECONDS = 6.0
_OF_GO = "of Go"


def _rooms(bench: Bench, rooms: int) -> Figures:
    with serving(bench, "chatlog") as server:
        return put(bench, server, appends(rooms, _IN_FLIGHT // rooms, gapless=True)).figures()


def _memory(bench: Bench, counts: Sequence[int]) -> Iterator[tuple[int, Figures]]:
    """One server for all of them: the same connections come and go until so much has been appended."""
    with serving(bench, "chatlog") as server:
        total = 0.0
        for count in counts:
            while total < count:
                total += put(bench, server, appends(50, 16)).report.more["appends"]
            yield count, Figures(server.resident_bytes() / _MIB, {"appended": total})


def _connections(bench: Bench, connections: int, depth: int) -> Figures:
    with serving(bench, "counter", {"max_connections": 20_000}) as server:
        return put(bench, server, _increments(bench, connections, depth)).figures()


def _go_connections(bench: Bench, connections: int, depth: int) -> Figures:
    """How much of the growth is the system's own shows there."""
    with go.serving(bench, "counter-go") as server:
        return put(bench, server, _increments(bench, connections, depth)).figures()


def _increments(bench: Bench, connections: int, depth: int) -> Load:
    # Each of 10,000 connections is answered ten times a second, and less often at first: one says nothing.
    seconds = bench.choose(max(bench.seconds, _SECONDS), bench.seconds)
    return Load("increments", {"connections": connections, "depth": depth, "seconds": seconds}, processes=2)


def _growth_of_connections(name: str, in_flight: str, depth: int) -> Growth:
    """How many are in flight on each connection is not said by the goal, and decides whether it is met."""
    return Growth(
        name,
        f"the counter, {in_flight} in flight a connection",
        "increments/s",
        "connections",
        (10, 100, 1000, 10_000),
        (10, 100),
        each(partial(_connections, depth=depth), ALONE),
        (
            Goal(WORST, at_least=0.7),
            Goal(f"{WORST}, {_OF_GO}", at_least=0.7),
            Goal(LEAST.format(_OF_GO), at_least=0.8),
        ),
        ("Go", _OF_GO),
        Peer("Go", partial(_go_connections, depth=depth)),
    )


ROWS = (
    Growth(
        "growth-rooms",
        f"one writer a room, {_IN_FLIGHT} appends in flight in all",
        "appends/s",
        "rooms",
        (1, 10, 100, 1000),
        (1, 10),
        each(_rooms, ALONE),
    ),
    Growth(
        "growth-memory",
        "50 rooms, 16 appends in flight each: the memory of the process after so many appends",
        "MiB",
        "appends",
        (10_000, 100_000, 300_000, 1_000_000),
        (1000, 2000),
        _memory,
        (Goal(STEEPEST, at_most=1.2),),
    ),
    _growth_of_connections("growth-connections", "one increment", 1),
    _growth_of_connections("growth-connections-16", "16 increments", 16),
)
