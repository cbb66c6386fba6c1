"""How cost grows with nodes: what they do together, and what each asks of PostgreSQL and of Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.bench import Bench, Figures
from benchmarks.comparing import Goal
from benchmarks.growth import LAST, Growth, each
from benchmarks.loading import Load, Loaded, put_all
from benchmarks.loads.measuring import Stopwatch, quantile
from benchmarks.nodes import Nodes, serving
from benchmarks.rows.counter import stands_at
from benchmarks.suite import QUIET

_CONTENT = 100  # characters of an entry
_WRITERS = 12  # they can be shared out among one, two and three
_DEPTH = 8
_ROOMS = 48
_READERS = 300
_WINDOW = 16
_ADDERS = 48
_STREAMS = 3000

STATEMENTS, COMMITS = "PostgreSQL statements/s a node", "PostgreSQL commits/s a node"
COMMANDS = "Redis commands/s a node"
DATABASE, REDIS = "PostgreSQL CPU", "Redis CPU"
_BESIDE = (STATEMENTS, COMMITS, COMMANDS, "nodes CPU", DATABASE, REDIS)


def _measured(bench: Bench, nodes: Nodes, loads: list[Load], value: Callable[[Loaded], float]) -> Figures:
    """Put a load on each node, and count what that has all of them ask of the engines."""
    engines = nodes.engines
    began: list[tuple[Stopwatch, tuple[float, float]]] = []

    def begins() -> None:
        engines.reset()
        began.append((Stopwatch(), engines.cpu_seconds()))

    loaded = put_all(bench, list(zip(nodes.nodes, loads, strict=True)), begins)
    [(watch, before)] = began
    seconds, after = watch.seconds(), engines.cpu_seconds()
    statements, commits, commands = engines.asked()
    each_second = seconds * len(nodes.nodes)
    more = {
        STATEMENTS: statements / each_second,
        COMMITS: commits / each_second,
        COMMANDS: commands / each_second,
        "nodes CPU": loaded.server_busy,
        DATABASE: (after[0] - before[0]) / seconds,
        REDIS: (after[1] - before[1]) / seconds,
        "answers a commit": loaded.report.total / max(1, commits),
    }
    return loaded.figures(value(loaded), **more)


def _a_second(loaded: Loaded) -> float:
    return loaded.report.answers / loaded.report.seconds


def _spread(count: int, nodes: int) -> list[int]:
    """So many of something at each node."""
    return [count // nodes + (number < count % nodes) for number in range(nodes)]


def _appends(
    name: str, connections: int, depth: int, each_node: bool = False
) -> Callable[[Bench, int], Figures]:
    """So many connections over all nodes, or at each of them."""

    def measure(bench: Bench, count: int) -> Figures:
        options: dict[str, Any] = {"depth": depth, "content": _CONTENT}
        with serving(bench, count, "chatlog", QUIET) as nodes:
            loads = [
                Load(name, {**options, "connections": share, "name": f"n{number}"})
                for number, share in enumerate(_spread(connections * (count if each_node else 1), count))
            ]
            return _measured(bench, nodes, loads, _a_second)

    return measure


def _fan_out(bench: Bench, count: int) -> Figures:
    readers = bench.choose(_READERS, 30)
    options: dict[str, Any] = {"content": _CONTENT, "update": True}
    with serving(bench, count, "chatlog", QUIET) as nodes:
        first, *others = _spread(readers, count)
        loads = [Load("room", {**options, "readers": first, "window": _WINDOW})]
        loads += [Load("following", {**options, "readers": share}) for share in others]
        return _measured(bench, nodes, loads, _a_second)


def _counting(bench: Bench, count: int) -> Figures:
    with serving(bench, count, "counter") as nodes:
        options = {"depth": _DEPTH, "different": False}
        loads = [Load("increments", {**options, "connections": share}) for share in _spread(_ADDERS, count)]

        def counted(loaded: Loaded) -> float:
            for node in nodes.nodes:
                stands_at(node, loaded.report.more["sum"])
            return _a_second(loaded)

        return _measured(bench, nodes, loads, counted)


def _streams(bench: Bench, count: int) -> Figures:
    streams = bench.choose(_STREAMS, 60)
    settings = {"max_messages": bench.choose(12, 3), "window": 8}
    with serving(bench, count, "numbers", settings) as nodes:
        loads = [
            Load("streams", {"streams": share, "name": f"n{number}"})
            for number, share in enumerate(_spread(streams, count))
        ]
        return _measured(bench, nodes, loads, lambda loaded: quantile(loaded.report.latencies, 0.99) * 1000)


def _row(name: str, work: str, value: str, measure: Callable[[Bench, int], Figures], *goals: Goal) -> Growth:
    return Growth(name, work, value, "nodes", (1, 2, 3), (2,), each(measure), goals, _BESIDE)


ROWS = (
    _row(
        "nodes-append-one-room",
        f"{_WRITERS} connections at each node append to one room, {_DEPTH} in flight each, durable",
        "appends/s",
        _appends("shared-appends", _WRITERS, _DEPTH, each_node=True),
        Goal(LAST, at_least=0.5),
    ),
    _row(
        "nodes-share-one-room",
        f"{_WRITERS} connections, over all nodes, append to one room, {_DEPTH} in flight each, durable",
        "appends/s",
        _appends("shared-appends", _WRITERS, _DEPTH),
    ),
    _row(
        "nodes-append",
        f"{_ROOMS} connections, over all nodes, append each to a room of its own, 1 in flight each, durable",
        "appends/s",
        _appends("appends", _ROOMS, 1),
    ),
    _row(
        "nodes-fanout",
        f"1 writer with {_WINDOW} entries on their way, {_READERS} readers in one room, over all nodes",
        "deliveries/s",
        _fan_out,
    ),
    _row(
        "nodes-counter",
        f"{_ADDERS} connections, over all nodes, {_DEPTH} increments in flight each",
        "increments/s",
        _counting,
    ),
    _row(
        "nodes-numbers",
        f"{_STREAMS:,} streams, over all nodes, one number a second each, every checksum verified",
        "ms late (p99)",
        _streams,
    ),
)
