"""Redis, with an append-only file that is synced as the row needs it."""

from __future__ import annotations

import csv
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.bench import Bench, Figures, Wrong
from benchmarks.loads.redis import command
from benchmarks.processes import Running, Words, accepts, find, free_port, run, started

_REMEDY = "apt-get install redis-server"
_CALIBRATION = 20_000  # requests that tell how many make up the seconds that were asked for


@contextmanager
def serving(bench: Bench, sync: str) -> Iterator[Running]:
    """Start it. `sync` is ``always``, ``everysec``, or ``no`` for no append-only file at all."""
    port = free_port()
    words: Words = [find("redis-server", _REMEDY), "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    words += ["--appendonly", "no"] if sync == "no" else ["--appendonly", "yes", "--appendfsync", sync]
    with bench.folder() as folder, started(bench, words, folder, lambda: accepts(port)) as process:
        yield Running(process.pid, port)


def benchmark(bench: Bench, server: Running, connections: int, depth: int) -> Figures:
    """``redis-benchmark`` with ``INCRBY c 1``, for about the seconds of the bench; the sum is checked."""
    program = find("redis-benchmark", _REMEDY)
    options: Words = [program, "-p", str(server.port), "-c", str(connections), "-P", str(depth), "--csv"]

    def measure(count: int) -> tuple[dict[str, str], float]:
        with bench.folder() as folder:
            printed, cpu = run(bench, [*options, "-n", str(count), "INCRBY", "c", "1"], folder)
        (row,) = csv.DictReader(line for line in printed.splitlines() if line.startswith('"'))
        return row, cpu

    first, _ = measure(_CALIBRATION)
    bench.commands.pop()
    count = max(_CALIBRATION, int(float(first["rps"]) * bench.seconds))
    before = server.cpu_seconds()
    row, cpu = measure(count)
    seconds = count / float(row["rps"])
    total = ask(server, b"INCRBY", b"c", b"0")
    asked = _CALIBRATION + count  # it sends some more, for its last pipelines are full ones
    if not asked <= int(total[1:]) <= asked + 2 * connections * depth:
        raise Wrong(f"after {asked} increments Redis is at {total!r}")
    more = {"p50 ms": float(row["p50_latency_ms"]), "p99 ms": float(row["p99_latency_ms"])}
    more |= {"load CPU": cpu / seconds, "server CPU": (server.cpu_seconds() - before) / seconds}
    return Figures(float(row["rps"]), more)


def ask(server: Running, *words: bytes) -> bytes:
    """The one line that answers a command."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(command(*words))
        return connection.makefile("rb").readline().rstrip()
