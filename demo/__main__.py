"""``python -m demo``: starts a suite, uses it until Ctrl-C or for ``--seconds``, and ends both."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from demo.actors import HOST, Stage
from protosuite import program
from protosuite.config import SERVICES, Config

NAME = "demo"
READY = "ready; data in"
LISTENS = re.compile(rf"suite: (\w+) listens on tcp {re.escape(HOST)}:(\d+)$", re.MULTILINE)
LIMIT = 60.0  # seconds for the start, and for the end

SETTINGS = """\
[suite]
data = {data}
{sections}
"""
MORE = {
    "numbers": "interval = 0.5\nmax_messages = 90\n",
    "mediachat": "hours_text = always\nhours_file = always\n",
}


def main() -> None:
    """Run the program."""
    parser = program.parser(
        NAME, "Start a suite with somebody at each of its services, to look at.", "make demo"
    )
    parser.add_argument("--seconds", metavar="S", type=program.positive_seconds, help="stop after S seconds")
    parser.add_argument("--seed", metavar="N", type=int, help="of chance")
    parser.add_argument("--any-ports", action="store_true", help="do not take the usual ports")
    arguments = parser.parse_args()
    with folder() as arguments.folder:
        code = 0
        try:
            program.run(NAME, act, arguments)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        # Whatever ended us, the suite ends too.
        ended = end(getattr(arguments, "suite", None))
        interrupted = code == 128 + signal.SIGINT
        sys.exit(ended if interrupted or code == 0 else code)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    made = Path(tempfile.mkdtemp(prefix="protosuite-demo-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


async def act(reactor: Any, arguments: argparse.Namespace) -> int:
    """All of it."""
    wanted = {name: port(name, arguments.any_ports) for name in SERVICES}
    arguments.suite = suite = start(arguments.folder, wanted)
    ports = await until_ready(reactor, arguments.folder, suite)
    for name, path, what in (
        ("admin", "", "the dashboard"),
        ("chatlog", "", "a room"),
        ("mediachat", "", "the page of a client"),
        ("mediachat", "console", "the page of those who answer"),
    ):
        print(f"http://{HOST}:{ports[name]}/{path:<8} {what}")
    print("Ctrl-C ends it, and removes what it stored", flush=True)
    stage = Stage(reactor, Random(arguments.seed), ports)
    stage.begin()
    try:
        await over(reactor, suite, stage, arguments.seconds)
    finally:
        await stage.end()
    print(", ".join(f"{name} {count}" for name, count in sorted(stage.done.items())), flush=True)
    return 0


async def over(reactor: Any, suite: subprocess.Popen[bytes], stage: Stage, seconds: float | None) -> None:
    """Wait for the end: of the time, or of the suite, which is none."""
    began = reactor.seconds()
    while seconds is None or reactor.seconds() - began < seconds:
        if suite.poll() is not None:
            raise program.Failed(f"the suite has ended with {suite.returncode}")
        if stage.failures:
            stage.failures[0].raiseException()
        await deferLater(reactor, 0.2)


def port(service: str, is_any: bool) -> int:
    """The usual one of a service, or 0 where somebody has that: then the system gives one that is free."""
    if is_any:
        return 0
    (endpoint,) = getattr(Config(), service).listen
    usual = int(endpoint.split(":")[1])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, usual))
        except OSError:
            return 0
    return usual


def start(place: Path, ports: dict[str, int]) -> subprocess.Popen[bytes]:
    """The suite's process. Ctrl-C does not reach it: it ends when everybody has left."""
    sections = "".join(
        f"[{name}]\nlisten = tcp:{number}:interface={HOST}\n{MORE.get(name, '')}"
        for name, number in ports.items()
    )
    file = place / "suite.ini"
    file.write_text(SETTINGS.format(data=place / "data", sections=sections), "utf-8")
    twistd = Path(sys.executable).with_name("twistd")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PROTOSUITE_")}
    with (place / "log").open("wb") as log:
        return subprocess.Popen(
            [twistd, "-n", "--pidfile=", "protosuite", "--config", file],
            stdout=log,
            stderr=log,
            cwd=place,
            env=environment,
            start_new_session=True,
        )


async def until_ready(reactor: Any, place: Path, suite: subprocess.Popen[bytes]) -> dict[str, int]:
    """Wait until it serves: the port of each service."""
    deadline = reactor.seconds() + LIMIT
    while READY not in (said := (place / "log").read_text("utf-8", "replace")):
        if suite.poll() is not None or reactor.seconds() > deadline:
            raise program.Failed(f"the suite does not start:\n{said}")
        waiting: Deferred[None] = deferLater(reactor, 0.05)
        await waiting
    return {name: int(number) for name, number in LISTENS.findall(said)}


def end(suite: subprocess.Popen[bytes] | None) -> int:
    """End the suite's process; how that went, as an exit code."""
    if suite is None:
        return 1
    if suite.poll() is None:
        suite.send_signal(signal.SIGTERM)
    try:
        return min(abs(suite.wait(LIMIT)), 255)
    except subprocess.TimeoutExpired:
        suite.kill()
        return 1


if __name__ == "__main__":
    main()
