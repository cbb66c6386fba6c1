"""WebSockets that say nothing: what one of them costs in memory, and all of them in processor time."""

from __future__ import annotations

from functools import partial

from benchmarks.bench import Bench, Figures
from benchmarks.comparing import Goal, Row, Side
from benchmarks.loading import Load, put
from benchmarks.processes import Peak
from benchmarks.suite import serving

_KIB = 1024


def _idle(bench: Bench, service: str, path: str, greeting: str | None) -> Figures:
    count = bench.choose(10_000, 100)
    options = {"connections": count, "path": path, "greeting": greeting}
    if not bench.quick:
        options["seconds"] = max(30, bench.seconds)  # so that each has been pinged
    with serving(bench, service) as server, Peak(server) as peak:
        loaded = put(bench, server, Load("idle", options))
    return loaded.figures(peak.growth / count / _KIB)


def _row(name: str, service: str, path: str, greeting: str | None) -> Row:
    return Row(
        name,
        f"10,000 idle WebSockets of {service}, with the default pings",
        "KiB a connection",
        Side(service, partial(_idle, service=service, path=path, greeting=greeting)),
        goals=(Goal("value", at_most=30),),
    )


ROWS = (
    _row("idle", "chatlog", "/rooms/bench-{}", None),
    _row("idle-mediachat", "mediachat", "/ws/{}", "UTC"),
)
