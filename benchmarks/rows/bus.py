"""The bus: echoes beside Go, events to many subscribers beside Redis."""

from __future__ import annotations

from functools import partial

from benchmarks.bench import Bench, Figures
from benchmarks.comparing import Goal, Row, Side
from benchmarks.loading import Load, put
from benchmarks.peers import go, redis
from benchmarks.suite import QUIET, serving

_CONNECTIONS = 40
_PAYLOAD = 100  # bytes of an event
_WINDOW = 100  # events on their way to all subscribers: a tenth of what a subscription may have waiting


def _echoes(depth: int) -> Load:
    return Load("echoes", {"connections": _CONNECTIONS, "depth": depth}, processes=2)


def _ours(bench: Bench, depth: int) -> Figures:
    with serving(bench, "bus") as server:
        return put(bench, server, _echoes(depth)).figures()


def _go(bench: Bench, depth: int, answers: str) -> Figures:
    with go.serving(bench, "bus-go", answers) as server:
        return put(bench, server, _echoes(depth)).figures()


def _load(bench: Bench, name: str) -> Load:
    return Load(name, {"readers": bench.choose(200, 20), "window": _WINDOW, "content": _PAYLOAD})


def _fan_out(bench: Bench) -> Figures:
    with serving(bench, "bus", {"idle_timeout": QUIET["idle_timeout"]}) as server:
        return put(bench, server, _load(bench, "topic")).figures()


def _redis(bench: Bench) -> Figures:
    with redis.serving(bench, "no") as server:
        return put(bench, server, _load(bench, "channel")).figures()


def _echo_row(name: str, depth: int, answers: str, goals: tuple[Goal, ...]) -> Row:
    peer = "Go" if answers == "single" else "Go, answers gathered"
    return Row(
        name,
        f"{_CONNECTIONS} connections, {depth} echo{'es' * (depth > 1)} in flight each",
        "echoes/s",
        Side("bus", partial(_ours, depth=depth)),
        Side(peer, partial(_go, depth=depth, answers=answers)),
        goals,
    )


ROWS = (
    _echo_row("bus-echo-1", 1, "single", (Goal("ratio", at_least=0.6),)),
    _echo_row("bus-echo-16", 16, "single", (Goal("ratio", at_least=2.0),)),
    _echo_row("bus-echo-16-gathered", 16, "gathered", ()),
    Row(
        "bus-fanout",
        f"1 publisher with {_WINDOW} events of {_PAYLOAD} bytes on their way, 200 best-effort subscribers",
        "deliveries/s",
        Side("bus", _fan_out),
        Side("Redis pub/sub", _redis),
        (Goal("ratio", at_least=1.0),),
    ),
)
