"""From ``twistd`` to the last open port, beside an interpreter that imports what everybody needs."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.bench import Bench, Figures
from benchmarks.comparing import Goal, Row, Side
from benchmarks.loads.measuring import Stopwatch
from benchmarks.processes import accepts, free_port, run, started
from benchmarks.suite import command, is_ready, variables
from protosuite.config import Config

_IMPORTS = "import twisted.web.server, sqlalchemy"


def _start(bench: Bench) -> Figures:
    """The second start: the database is there, as it is for all starts but the first."""
    with bench.folder() as folder:
        first = _ready_after(bench, folder)
        return Figures(_ready_after(bench, folder), {"first start, s": first})


def _ready_after(bench: Bench, folder: Path) -> float:
    """The seconds until every service accepts."""
    ports = {name: free_port() for name in Config().suite.services}
    sections: dict[str, dict[str, object]] = {"suite": {"data": folder / "data"}}
    sections |= {name: {"listen": f"tcp:{port}:interface=127.0.0.1"} for name, port in ports.items()}
    watch = Stopwatch()

    def is_open() -> bool:
        return is_ready(folder) and all(map(accepts, ports.values()))

    with started(bench, command(), folder, is_open, variables(sections)):
        return watch.seconds()


def _import(bench: Bench) -> Figures:
    with bench.folder() as folder:
        watch = Stopwatch()
        run(bench, [sys.executable, "-c", _IMPORTS], folder)
        return Figures(watch.seconds())


ROWS = (
    Row(
        "start",
        f"twistd to all ports open, with a database that is there, beside `{_IMPORTS}`",
        "s",
        Side("the suite", _start),
        Side("those imports only", _import),
        (Goal("ratio", at_most=1.5),),
    ),
)
