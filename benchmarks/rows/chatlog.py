"""Rooms: durable appends beside FastAPI and Redis, and telling many readers beside Node."""

from __future__ import annotations

from benchmarks.bench import Bench, Figures
from benchmarks.comparing import Goal, Row, Side
from benchmarks.loading import Load, put
from benchmarks.peers import fastapi, node, redis
from benchmarks.processes import Running
from benchmarks.suite import QUIET, serving

_CONTENT = 100  # characters of an entry
_ROOMS = 50
_WINDOW = 16  # entries on their way to all readers: a commit is not what is waited for


def appends(connections: int, depth: int = 1, **options: object) -> Load:
    """Each connection appends to a room of its own."""
    return Load("appends", {"connections": connections, "depth": depth, "content": _CONTENT, **options})


def _ours(bench: Bench) -> Figures:
    with serving(bench, "chatlog") as server:
        return put(bench, server, appends(_ROOMS, gapless=True)).figures()


def _fastapi(bench: Bench) -> Figures:
    with fastapi.serving(bench) as server:
        return put(bench, server, appends(_ROOMS, gapless=True)).figures()


def _redis(bench: Bench) -> Figures:
    load = Load("redis-xadd", {"connections": _ROOMS, "depth": 1, "content": _CONTENT})
    with redis.serving(bench, "always") as server:
        return put(bench, server, load).figures()


def _fan_out(bench: Bench, server: Running, update: bool) -> Figures:
    options = {"readers": bench.choose(1000, 50), "window": _WINDOW, "content": _CONTENT, "update": update}
    return put(bench, server, Load("room", options)).figures()


def _fan_out_ours(bench: Bench) -> Figures:
    with serving(bench, "chatlog", QUIET) as server:
        return _fan_out(bench, server, update=True)


def _fan_out_node(bench: Bench) -> Figures:
    with node.serving(bench) as server:
        return _fan_out(bench, server, update=False)


_APPENDS = f"{_ROOMS} connections, {_ROOMS} rooms, 1 append of {_CONTENT} characters in flight each, durable"
_OURS = Side("chatlog", _ours)

ROWS = (
    Row(
        "chatlog-append",
        _APPENDS,
        "appends/s",
        _OURS,
        Side("FastAPI", _fastapi),
        (Goal("ratio", at_least=8),),
    ),
    Row(
        "chatlog-append-redis",
        _APPENDS,
        "appends/s",
        _OURS,
        Side("Redis XADD, fsync always", _redis),
        (Goal("ratio", at_least=0.5),),
    ),
    Row(
        "chatlog-fanout",
        f"1 writer with {_WINDOW} entries on their way, 1,000 readers in one room",
        "deliveries/s",
        Side("chatlog (durable)", _fan_out_ours),
        Side("Node ws (stores nothing)", _fan_out_node),
        (Goal("ratio", at_least=1.0),),
    ),
)
