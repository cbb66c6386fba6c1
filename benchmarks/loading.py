"""Starts the processes of a load, has them begin together, and adds up what they tell."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

from attrs import frozen

from benchmarks.bench import ROOT, Bench, Figures, Wrong
from benchmarks.loads.measuring import Report, Stopwatch, quantile
from benchmarks.processes import Running

_LIMIT = 1800.0  # seconds after which a load that does not end is given up


@frozen
class Load:
    """`name` and `options` as :mod:`benchmarks.loads` has them, over so many `processes`.

    ``connections`` in the options are divided among the processes.
    """

    name: str
    options: dict[str, Any]
    processes: int = 1

    def parts(self, **more: Any) -> list[dict[str, Any]]:
        """The options of each process."""
        options = {**self.options, **more}
        connections = options.get("connections")
        if connections is None:
            return [options] * self.processes
        edges = [connections * number // self.processes for number in range(self.processes + 1)]
        pairs = pairwise(edges)
        return [
            {**options, "first": first, "connections": last - first} for first, last in pairs if last > first
        ]


@frozen
class Loaded:
    """What all processes of a load got, and what the server used meanwhile."""

    report: Report
    server_busy: float
    server_cpu: float  # seconds

    def figures(self, value: float | None = None, **more: float) -> Figures:
        """`value` is by default what was answered in a second."""
        report = self.report
        told = {
            **more,
            "load CPU": report.busy,
            "server CPU": self.server_busy,
        }
        if report.total:
            told["server CPU µs each"] = self.server_cpu / report.total * 1e6
        if report.latencies:
            told = {
                "p50 ms": quantile(report.latencies, 0.5) * 1000,
                "p99 ms": quantile(report.latencies, 0.99) * 1000,
            } | told
        return Figures(report.answers / report.seconds if value is None else value, told)


def put(bench: Bench, server: Running, load: Load) -> Loaded:
    """Put a load on a server, for ``seconds`` as the bench has them unless the load says otherwise."""
    return put_all(bench, [(server, load)])


def put_all(
    bench: Bench, parts: Sequence[tuple[Running, Load]], begins: Callable[[], None] = lambda: None
) -> Loaded:
    """The same with several servers, each with a load of its own, which begin together.

    `begins` is called when all have connected and nothing has been asked for yet.
    """
    with ExitStack() as stack:
        processes = [
            _start(bench, stack, load.name, part)
            for server, load in parts
            for part in load.parts(**{"port": server.port, "seconds": bench.seconds, **load.options})
        ]
        for process in processes:
            if _line(process) != "ready\n":
                raise Wrong(_story(process))
        begins()
        watch, cpu = Stopwatch(), _cpu_seconds(parts)
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        reports = [_report(process) for process in processes]
        used = _cpu_seconds(parts) - cpu
        return Loaded(_sum(reports), used / watch.seconds(), used)


def _cpu_seconds(parts: Sequence[tuple[Running, Load]]) -> float:
    return sum(server.cpu_seconds() for server, _ in parts)


def _start(bench: Bench, stack: ExitStack, name: str, options: dict[str, Any]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.loads", name, json.dumps(options)]
    bench.says(["python", *command[1:]])
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*command, "--wait"], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    stack.enter_context(process)
    stack.callback(process.kill)  # does nothing to one that has ended
    return process


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _report(process: subprocess.Popen[str]) -> Report:
    line = _line(process)
    if not line:
        raise Wrong(_story(process))
    process.wait(_LIMIT)
    fields = json.loads(line)
    fields["latencies"] = {int(bucket): count for bucket, count in fields["latencies"].items()}
    return Report(**fields)


def _story(process: subprocess.Popen[str]) -> str:
    process.kill()
    _, errors = process.communicate()
    return errors.strip() or f"a load ended with {process.returncode}"


def _sum(reports: list[Report]) -> Report:
    latencies: Counter[int] = Counter()
    more: Counter[str] = Counter()
    for report in reports:
        latencies.update(report.latencies)
        more.update(report.more)
    return Report(
        sum(report.answers for report in reports),
        max(report.seconds for report in reports),
        max(report.busy for report in reports),
        sum(report.total for report in reports),
        latencies,
        dict(more),
    )
