"""The peers in Go: the counter, and the echo of the bus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.peers import SOURCES, made
from benchmarks.processes import Running, Words, accepts, find, free_port, make, started


@contextmanager
def serving(bench: Bench, name: str, answers: str = "single") -> Iterator[Running]:
    """Start ``counter-go`` or ``bus-go``; `answers` are written ``single``, or ``gathered`` in one write."""
    go = find("go", "apt-get install golang-go")

    def build(folder: Path) -> None:
        make([go, "build", "-o", folder / name, "."], SOURCES / name)

    program = made(bench, name, build, takes_long=False) / name
    port = free_port()
    with bench.folder() as folder:
        command: Words = [program, "-listen", f"127.0.0.1:{port}", "-answers", answers]
        with started(bench, command, folder, lambda: accepts(port)) as process:
            yield Running(process.pid, port)
