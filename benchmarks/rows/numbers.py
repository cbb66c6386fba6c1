"""Many streams of numbers in one process: how late the numbers are, and what a stream costs."""

from __future__ import annotations

from benchmarks.bench import Bench, Figures
from benchmarks.comparing import Goal, Row, Side
from benchmarks.loading import Load, put
from benchmarks.loads.measuring import quantile
from benchmarks.processes import Peak
from benchmarks.suite import serving

_KIB = 1024


def _streams(bench: Bench) -> Figures:
    streams = bench.choose(10_000, 200)
    settings = {"max_messages": bench.choose(60, 3), "window": 8}
    with serving(bench, "numbers", settings) as server, Peak(server) as peak:
        loaded = put(bench, server, Load("streams", {"streams": streams}))
    late = quantile(loaded.report.latencies, 0.99) * 1000
    return loaded.figures(late, **{"KiB a stream": peak.growth / streams / _KIB})


ROWS = (
    Row(
        "numbers-streams",
        "10,000 streams in one process, one number a second each, every checksum verified",
        "ms late (p99)",
        Side("numbers", _streams),
        goals=(Goal("p99 ms", at_most=50), Goal("KiB a stream", at_most=12)),
    ),
)
