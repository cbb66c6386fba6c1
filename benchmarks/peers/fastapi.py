"""The peer on FastAPI, uvicorn and SQLAlchemy, in an environment of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.peers import SOURCES, made
from benchmarks.processes import Running, Words, accepts, free_port, make, started

_NAME = "chat-fastapi"


@contextmanager
def serving(bench: Bench) -> Iterator[Running]:
    """Start it."""
    python = made(bench, _NAME, _make) / "bin" / "python"
    port = free_port()
    command: Words = [python, SOURCES / _NAME / "server.py", str(port)]
    with bench.folder() as folder, started(bench, command, folder, lambda: accepts(port)) as process:
        yield Running(process.pid, port)


def _make(folder: Path) -> None:
    make([sys.executable, "-m", "venv", "--clear", folder], SOURCES)
    requirements = SOURCES / _NAME / "requirements.txt"
    make([folder / "bin" / "pip", "install", "-q", "-r", requirements], SOURCES)
