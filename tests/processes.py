"""Real processes: the suite under ``twistd``, and the programs that use it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sized
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from protosuite.config import SERVICES

reactor: Any = _reactor

BIN = Path(sys.executable).parent
LIMIT = 180  # seconds for a test: far more than any of them takes
_PATIENCE = LIMIT / 2  # for one thing it waits for: what did not come is told before the test is over

READY = "ready; data in"  # in the line that the suite logs when it serves
SIGNS = ("Traceback", "Unhandled", " critical ")  # of what should not be in a log
_BEFORE, _BEHIND = 3, 40  # lines that tell more of it

# Lets a program end with the thread that started it, which is the reactor's.
_SETPRIV = shutil.which("setpriv")
_TIED = [] if _SETPRIV is None else [_SETPRIV, "--pdeathsig", "KILL"]

T = TypeVar("T")


def is_there(found: object) -> bool:
    """Whether that is what somebody waits for: neither None, nor False, nor empty; 0 is, as an exit code."""
    return found is not None and found is not False and not (isinstance(found, Sized) and len(found) == 0)


class Watched:
    """Something that changes, and comes to an end. Who waits for a thing looks again at every change."""

    def __init__(self) -> None:
        self.over = False
        self._waiting: list[Deferred[None]] = []

    def changed(self) -> None:
        """Let everybody look again."""
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            if not deferred.called:
                deferred.callback(None)

    async def until(self, find: Callable[[], T | None], *, after_end: bool = False) -> T:
        """What `find` returns once that :func:`is there <is_there>`.

        It fails if the end comes before, unless what is waited for comes `after_end`, and if neither comes.
        """
        deadline = reactor.seconds() + _PATIENCE
        while not is_there(found := find()):
            if self.over and not after_end:
                raise AssertionError(f"this ended before what was waited for: {self.story()}")
            change: Deferred[None] = Deferred()
            self._waiting.append(change)
            try:
                await change.addTimeout(max(0, deadline - reactor.seconds()), reactor)
            except DeferredTimeout:
                raise AssertionError(
                    f"what was waited for did not come in {_PATIENCE:g} s: {self.story()}"
                ) from None
        assert found is not None
        return found

    def story(self) -> str:
        """What has happened, for a failed test."""
        return repr(self)


async def poll(find: Callable[[], T | None], what: str) -> T:
    """What `find` returns once that :func:`is there <is_there>`, for what tells nobody when it changes."""
    deadline = reactor.seconds() + _PATIENCE
    while not is_there(found := find()):
        if reactor.seconds() > deadline:
            raise AssertionError(f"not within {_PATIENCE:g} s: {what}")
        await deferLater(reactor, 0.01)
    assert found is not None
    return found


async def together(coroutines: Iterable[Coroutine[Deferred[Any], Any, T]]) -> list[T]:
    """The results of all of them, which run side by side. The first that fails fails this."""
    try:
        return await gatherResults([Deferred.fromCoroutine(each) for each in coroutines], consumeErrors=True)
    except FirstError as error:
        failure: Failure = error.subFailure
        failure.raiseException()


class Scope(Protocol):
    """What things begin and end with: a test, as ``trial`` has it, or something else that tidies up."""

    def mktemp(self) -> str:
        """A path where nothing is yet."""

    def addCleanup(self, f: Callable[..., object], *args: Any) -> None:
        """Call `f` at the end, and wait for what it answers with."""


class Program(ProcessProtocol, Watched):
    """A process, started at once: its output by line, and its exit code (minus the signal that ended it).

    `input` is what it reads, and then the end of it. `descriptors` are given to it beside the usual three.
    It is killed when `scope` is over, and with this process, however that ends.
    """

    transport: Any

    def __init__(
        self,
        scope: Scope,
        *command: str | Path,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        input: bytes = b"",
        descriptors: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.command = [str(word) for word in command]
        executable = shutil.which(self.command[0]) or self.command[0]
        self.output: list[str] = []
        self.errors: list[str] = []
        self.code: int | None = None
        self._rest = {1: b"", 2: b""}
        self._input = input
        reactor.spawnProcess(
            self,
            _TIED[0] if _TIED else executable,
            [*_TIED, executable, *self.command[1:]],
            env={**_environment(), **(environment or {})},
            path=str(folder),
            childFDs={0: "w", 1: "r", 2: "r", **(descriptors or {})},
        )
        self.pid: int = self.transport.pid
        scope.addCleanup(self.kill)

    def connectionMade(self) -> None:
        self.transport.write(self._input)
        self.transport.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, self._rest[childFD] = (self._rest[childFD] + data).split(b"\n")
        found = self.output if childFD == 1 else self.errors
        found.extend(line.decode(errors="backslashreplace") for line in lines)
        self.changed()

    def processEnded(self, reason: Failure) -> None:
        status: Any = reason.value
        self.code = -status.signal if status.signal is not None else status.exitCode
        self.over = True
        for number, lines in ((1, self.output), (2, self.errors)):
            if self._rest[number]:
                lines.append(self._rest[number].decode(errors="backslashreplace"))
        self.changed()

    async def says(self, text: str) -> str:
        """The first line of the output with `text` in it, when it is there."""
        return await self.until(lambda: next((line for line in self.output if text in line), None))

    async def exit(self) -> int:
        """The exit code, when it has ended."""
        return await self.until(lambda: self.code)

    async def late_exit(self) -> int | None:
        """The exit code of what may take longer than other things: no more than the test bounds it."""
        while not self.over:
            await deferLater(reactor, 0.1)
        return self.code

    def signal(self, name: str) -> None:
        """Send a signal, such as TERM."""
        self.transport.signalProcess(getattr(signal, f"SIG{name}"))

    async def kill(self) -> None:
        """SIGKILL, if it still runs, and wait until it is gone."""
        with contextlib.suppress(ProcessExitedAlready):
            self.signal("KILL")
        await self.exit()

    def story(self) -> str:
        lines = [*self.output[-40:], "standard error:", *self.errors[-40:]]
        return f"{' '.join(self.command)}: exit code {self.code}\n" + "\n".join(lines)


class Suite:
    """A suite with ports and a folder of its own. `settings` are sections, written over the defaults.

    It can be started again after each stop. `log` has the lines of all its runs.
    """

    def __init__(self, scope: Scope, *, binaries: Path = BIN, **settings: Mapping[str, object]) -> None:
        self.folder = Path(scope.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.data = self.folder / "data"
        self.config = self.folder / "suite.ini"
        self.ports = {name: free_port() for name in SERVICES}
        self.runs: list[Program] = []
        self._scope = scope
        self._binaries = binaries
        self._settings = settings
        self.write()

    def write(self, **changes: Mapping[str, object]) -> None:
        """Write the configuration, with `changes` over what was given before."""
        own: dict[str, dict[str, object]] = {
            "suite": {"data": self.data},
            **{name: {"listen": f"tcp:{port}:interface=127.0.0.1"} for name, port in self.ports.items()},
        }
        for section in (*self._settings, *changes):
            own.setdefault(section, {})
        with self.config.open("w", encoding="utf-8") as file:
            for section, values in own.items():
                values.update(self._settings.get(section, {}))
                values.update(changes.get(section, {}))
                file.write(f"[{section}]\n")
                file.writelines(f"{key} = {value}\n" for key, value in values.items())

    @property
    def numbers(self) -> int:
        """The port of numbers/1."""
        return self.ports["numbers"]

    @property
    def counter(self) -> int:
        """The port of counter/1."""
        return self.ports["counter"]

    @property
    def program(self) -> Program:
        """The latest run."""
        return self.runs[-1]

    @property
    def log(self) -> list[str]:
        """Every line that was logged."""
        return [line for run in self.runs for line in run.output]

    def spawn(
        self,
        *options: str,
        environment: Mapping[str, str] | None = None,
        launcher: tuple[str | Path, ...] = (),
        descriptors: Mapping[int, int] | None = None,
    ) -> Program:
        """Start the process; `launcher` comes before its command line."""
        command = (*launcher, self._binaries / "twistd", "-n", "--pidfile=", "protosuite")
        run = Program(
            self._scope,
            *command,
            "--config",
            self.config,
            *options,
            folder=self.folder,
            environment=environment,
            descriptors=descriptors,
        )
        self.runs.append(run)
        return run

    async def start(self, *options: str) -> None:
        """Start it and wait until it is ready."""
        await self.spawn(*options).says(READY)

    async def refusal(self, *options: str) -> list[str]:
        """Start it, and see it end with exit code 1: the lines of its standard error."""
        run = self.spawn(*options)
        if await run.exit() != 1:
            raise AssertionError(f"it was to refuse to start: {run.story()}")
        return run.errors

    @property
    def defects(self) -> list[str]:
        """The lines that speak of a defect, each with those around it: it may not come again."""
        log = self.log
        signs = [place for place, line in enumerate(log) if any(sign in line for sign in SIGNS)]
        return ["\n".join(log[max(0, place - _BEFORE) : place + _BEHIND]) for place in signs]

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        await self.program.kill()

    async def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.program.signal("TERM")
        return await self.program.exit()

    def client(self, name: str, port: int, *arguments: str | Path) -> Program:
        """Start one of the client programs against `port`."""
        command = (self._binaries / name, "--port", str(port), *arguments)
        return Program(self._scope, *command, folder=self.folder)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PROTOSUITE_")}


_held: list[IO[str]] = []  # the locks of the ports that have been given; they end with the process


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses, and that no other test process on this machine is given.

    It is below those that the system gives to outgoing connections: a client that tries again and again
    to reach such a port on its own machine can end up connected to itself.
    """
    folder = Path(tempfile.gettempdir()) / f"protosuite-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    while True:
        port = random.randrange(10_000, 30_000)
        lock = (folder / str(port)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _held.append(lock)
        return port


def left_on(terminal: int) -> str:
    """All that is left to be read of a pseudo terminal whose program has ended: it gives a part at a time."""
    found = b""
    with contextlib.suppress(OSError):  # as which its end is told
        while part := os.read(terminal, 1 << 16):
            found += part
    return found.decode()


def resident_kib(pid: int) -> int:
    """The memory that a process has in use, in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise LookupError(f"process {pid} tells no VmRSS")
