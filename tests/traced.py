"""The system calls of a process in their order, by strace."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from attrs import define, field
from twisted.trial.unittest import TestCase

from tests.processes import Program
from tests.requirements import missing, require

CALLS = "recvfrom,sendto,sendmsg,writev,write,pwrite64,fsync,fdatasync,rename"

_BEGIN = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\((?P<rest>.*)")
_END = re.compile(r"(?P<thread>\d+) +<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)")
_RESULT = re.compile(r"\) += (-?\d+)")
_PATH = re.compile(r"<((?:\\x[0-9a-f]{2})+)>")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@define
class Call:
    """One call. `begin` and `end` are places in the order of all beginnings and ends; 0 where it has none."""

    thread: str
    name: str
    begin: int
    words: str  # its arguments, as strace writes them: paths of descriptors in <>, all in hexadecimal
    end: int = 0
    result: int | None = None

    @property
    def strings(self) -> list[bytes]:
        """What was read or written, or the paths that it was called with."""
        return [_plain(found) for found in _STRING.findall(self.words)]

    def on(self, path: str) -> bool:
        """Whether it is for a descriptor whose path has this in it; with ``>`` behind it, at its end."""
        return any(path.encode() in _plain(found) + b">" for found in _PATH.findall(self.words))

    def __str__(self) -> str:
        paths = [_plain(found).decode(errors="replace") for found in _PATH.findall(self.words)]
        return f"{self.name}{paths}{self.strings} in lines {self.begin} to {self.end}"


def _plain(hexadecimal: str) -> bytes:
    return bytes.fromhex(hexadecimal.replace("\\x", ""))


@define
class Trace:
    """The calls, in the order in which they began."""

    calls: list[Call] = field(factory=list)

    @classmethod
    def parsed(cls, text: str) -> Trace:
        """From what strace wrote."""
        trace = cls()
        open_calls: dict[str, Call] = {}
        for place, line in enumerate(text.splitlines(), 1):
            if match := _END.match(line):
                call = open_calls.pop(match["thread"], None)
                if call is None:
                    continue  # it began before we looked
                call.words += match["rest"]
            elif match := _BEGIN.match(line):
                call = Call(match["thread"], match["name"], place, match["rest"])
                trace.calls.append(call)
                if match["rest"].endswith("<unfinished ...>"):
                    open_calls[call.thread] = call
                    continue
            else:
                continue
            call.end = place
            result = _RESULT.search(call.words)
            call.result = int(result[1]) if result else None
        return trace

    def named(self, *names: str) -> list[Call]:
        """The calls of some names."""
        return [call for call in self.calls if call.name in names]

    def sent(self, data: bytes) -> Call:
        """The first call that sends something with these bytes to a peer."""
        return next(
            call
            for call in self.named("sendto", "sendmsg", "write")
            if any(data in string for string in call.strings)
        )

    def synced(self, path: str, before: Call) -> list[Call]:
        """The syncs of a file that had succeeded when a call began."""
        return [
            call
            for call in self.named("fsync", "fdatasync")
            if call.on(path) and call.result == 0 and 0 < call.end < before.begin
        ]


class Tracer:
    """Looks at a running process until :meth:`trace` is asked for."""

    def __init__(self, case: TestCase, pid: int) -> None:
        require("strace")
        _require_ptrace()
        folder = Path(case.mktemp()).absolute()
        folder.mkdir(parents=True)
        self._file = folder / "strace"
        command = ("strace", "-f", "-y", "-xx", "-s", "4096", "-e", f"trace={CALLS}", "-o", self._file)
        self._program = Program(case, *command, "-p", str(pid), folder=folder)

    async def ready(self) -> None:
        """Wait until it sees every thread."""
        await self._program.until(lambda: any("attached" in line for line in self._program.errors))

    async def trace(self) -> Trace:
        """Stop looking: what was seen."""
        self._program.signal("INT")
        await self._program.exit()
        return Trace.parsed(self._file.read_text("ascii", "replace"))


def _require_ptrace() -> None:
    done = subprocess.run(["strace", "-e", "trace=none", "true"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        missing(f"strace may not look at processes here: {done.stderr.strip()}")
