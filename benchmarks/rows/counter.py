"""The counter, at several depths and by durability, beside Go and Redis."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmarks.bench import Bench, Figures, Wrong
from benchmarks.comparing import Goal, Row, Side
from benchmarks.loading import Load, put
from benchmarks.loads.asking import exactly
from benchmarks.loads.counter import frame
from benchmarks.peers import go, redis
from benchmarks.processes import Running
from benchmarks.suite import serving

_CONNECTIONS = 40


def _load(name: str, depth: int, **options: Any) -> Load:
    return Load(name, {"connections": _CONNECTIONS, "depth": depth, **options}, processes=2)


def _ours(
    bench: Bench, depth: int, different: bool = False, settings: Mapping[str, object] | None = None
) -> Figures:
    load = _load("increments", depth, different=different)
    with serving(bench, "counter", settings) as server:
        return _measured(bench, server, load)


def _go(bench: Bench) -> Figures:
    with go.serving(bench, "counter-go") as server:
        return _measured(bench, server, _load("increments", 1))


def _redis_benchmark(bench: Bench, depth: int) -> Figures:
    with redis.serving(bench, "everysec") as server:
        return redis.benchmark(bench, server, _CONNECTIONS, depth)


def _redis_always(bench: Bench) -> Figures:
    with redis.serving(bench, "always") as server:
        loaded = put(bench, server, _load("redis-incrby", 1))
        total = int(redis.ask(server, b"INCRBY", b"c", b"0")[1:])
    _hold(total, loaded.report.more["sum"])
    return loaded.figures()


def _measured(bench: Bench, server: Running, load: Load) -> Figures:
    loaded = put(bench, server, load)
    stands_at(server, loaded.report.more["sum"])
    return loaded.figures()


def stands_at(server: Running, added: float) -> None:
    """Raise :exc:`Wrong` unless the counter stands at all that was added."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(frame(0))
        _hold(int.from_bytes(exactly(connection, 8), "big"), added)


def _hold(total: int, added: float) -> None:
    if total != added:
        raise Wrong(f"{added:.0f} was added, and the counter is at {total}")


def _work(depth: int) -> str:
    return f"{_CONNECTIONS} connections, {depth} increment{'s' * (depth > 1)} in flight each"


_VALUE = "increments/s"
_GO = Side("Go", _go)
_FASTER = Goal("ratio of p99 ms", at_most=1.0)

ROWS = (
    Row(
        "counter-1",
        f"{_work(1)}; one reactor",
        _VALUE,
        Side("counter", partial(_ours, depth=1)),
        _GO,
        (Goal("ratio", at_least=0.8), _FASTER),
    ),
    Row(
        "counter-1-workers",
        f"{_work(1)}; two processes",
        _VALUE,
        Side("counter, workers = 2", partial(_ours, depth=1, settings={"workers": 2})),
        _GO,
        (Goal("ratio", at_least=1.0),),
    ),
    Row(
        "counter-16",
        _work(16),
        _VALUE,
        Side("counter", partial(_ours, depth=16)),
        Side("Redis INCRBY", partial(_redis_benchmark, depth=16)),
        (Goal("ratio", at_least=1.0),),
    ),
    Row(
        "counter-256",
        f"{_work(256)}, all different",
        _VALUE,
        Side("counter", partial(_ours, depth=256, different=True)),
        Side("Redis INCRBY", partial(_redis_benchmark, depth=256)),
        (Goal("ratio", at_least=1.2),),
    ),
    Row(
        "counter-always",
        f"{_work(1)}; each answer after a sync",
        _VALUE,
        Side("counter, always", partial(_ours, depth=1, settings={"durability": "always"})),
        Side("Redis, fsync always", _redis_always),
        (Goal("ratio", at_least=0.7),),
    ),
)
