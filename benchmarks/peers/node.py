"""The peer on Node's ``ws``, with its packages in a folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.peers import SOURCES, made
from benchmarks.processes import Running, Words, accepts, find, free_port, make, started

_NAME = "ws-node"


@contextmanager
def serving(bench: Bench) -> Iterator[Running]:
    """Start it."""
    node = find("node", "apt-get install nodejs")
    home = made(bench, _NAME, _make)
    port = free_port()
    with bench.folder() as folder:
        command: Words = [node, home / "server.js", str(port)]
        with started(bench, command, folder, lambda: accepts(port)) as process:
            yield Running(process.pid, port)


def _make(folder: Path) -> None:
    npm = find("npm", "apt-get install npm")
    for name in ("package.json", "server.js"):
        shutil.copy(SOURCES / _NAME / name, folder)
    make([npm, "install", "--silent", "--no-audit", "--no-fund"], folder)
