"""Processes that are started for a row: ready when they say so, watched, and stopped by their id."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from benchmarks.bench import Bench, Missing, Wrong

Words = list[str | Path]  # of a command

_START_LIMIT = 120.0  # seconds; ours takes one, a peer on a busy machine several
_STOP_LIMIT = 60.0
_LOOK = 0.005  # seconds between two looks whether something is ready
_TICKS = os.sysconf("SC_CLK_TCK")


@frozen
class Running:
    """A server that is ready."""

    pid: int
    port: int

    def cpu_seconds(self) -> float:
        """What it and its children have had of the processors."""
        return sum(map(_cpu_seconds, _family(self.pid)))

    def resident_bytes(self) -> int:
        """The memory that it and its children have in use."""
        return sum(map(_resident_bytes, _family(self.pid)))


def find(program: str, remedy: str) -> Path:
    """Where a program is; :exc:`Missing` with what to do about it."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])  # where Debian has nginx
    found = shutil.which(program, path=path)
    if found is None:
        raise Missing(program, remedy)
    return Path(found)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses, below those that outgoing connections are given."""
    while True:
        port = random.randrange(10_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def accepts(port: int) -> bool:
    """Whether something listens on `port`."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def started(
    bench: Bench,
    command: Sequence[str | Path],
    folder: Path,
    is_ready: Callable[[], bool],
    settings: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server in `folder`, wait until `is_ready`, and stop it at the end.

    `settings` go into its environment, its output into ``log`` in the folder.
    """
    bench.says(command, settings)
    environment = {name: value for name, value in os.environ.items() if not _is_foreign(name)}
    environment |= settings or {}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            _wait(process, command, folder, is_ready)
            yield process
        finally:
            _stop(process)


def _is_foreign(name: str) -> bool:
    """Whether a variable would change what is measured.

    Python without a place for bytecode compiles the suite at each start, and nothing of what it is compared
    with, which is installed with its bytecode.
    """
    return name.startswith("PROTOSUITE_") or name == "PYTHONDONTWRITEBYTECODE"


def run(bench: Bench, command: Sequence[str | Path], folder: Path) -> tuple[str, float]:
    """Run a program to its end: what it printed, and the CPU seconds that it took."""
    bench.says(command)
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode:
        raise Wrong(f"{command[0]} ended with {process.returncode}: {printed[-500:]}")
    return printed, usage.ru_utime + usage.ru_stime


def make(command: Sequence[str | Path], folder: Path) -> None:
    """Run what builds a peer; its output goes to standard error if it fails."""
    print(f"  making: {' '.join(map(str, command))}", file=sys.stderr, flush=True)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Wrong(f"{command[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")


def _wait(
    process: subprocess.Popen[bytes],
    command: Sequence[str | Path],
    folder: Path,
    is_ready: Callable[[], bool],
) -> None:
    limit = time.monotonic() + _START_LIMIT
    while not is_ready():
        if process.poll() is not None or time.monotonic() > limit:
            last = (folder / "log").read_text(errors="replace")[-2000:]
            raise Wrong(f"{command[0]} did not start: {last}")
        time.sleep(_LOOK)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in _family(int(child)))]


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


class Peak:
    """While this is entered, looks how much memory a server has in use."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self._before = self._most = server.resident_bytes()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def growth(self) -> int:
        """Bytes by which the most is above what it was at first."""
        return self._most - self._before

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self._most = max(self._most, self._server.resident_bytes())
