"""``protosuite-chatlog``: chat in a room, follow it, append to it, verify it, export it."""

from __future__ import annotations

import errno
import getpass
import json
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from protosuite import program, reaching
from protosuite.chatlog.lines import author_problem, json_line
from protosuite.chatlog.piping import Pipe, is_null
from protosuite.chatlog.reading import Broken, Checking, Report
from protosuite.chatlog.session import NAME, Session
from protosuite.chatlog.view import Change
from protosuite.chatlog.wire import Entry, is_room
from protosuite.files import sync_folder

_MAX_SLOT = 2**53 - 1
_MAX_LAST = 100_000
_LAST_IN_CHAT = 50


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the program."""
    arguments = parse(argv)
    run: Any
    if arguments.verify:
        run = Verification(arguments)
    elif arguments.export:
        run = Export(arguments)
    elif is_chat(arguments):
        from twisted.internet import asyncioreactor  # before anything imports the reactor

        asyncioreactor.install()
        from protosuite.chatlog.terminal import Chat  # takes its time

        arguments.last = _LAST_IN_CHAT if arguments.last is None else arguments.last
        run = Chat(arguments)
    else:
        arguments.last = arguments.last or 0
        idle = is_null(0) or os.isatty(0)
        reads = arguments.send or not idle
        run = Pipe(arguments, NAME, reads, follows=arguments.follow or not reads)
    program.run(NAME, run.main, arguments, run.interrupted)


def parse(argv: Sequence[str] | None = None) -> Namespace:
    """The command line. Ends the program if it is wrong."""
    parser = program.parser(
        NAME,
        "Chat in a room whose log everybody agrees on. On a terminal this is a full screen; in a pipe the\n"
        "lines of standard input are appended, and entries are printed as they come.",
        f"{NAME} main --author ana\n  echo hello | {NAME} main\n"
        f"  {NAME} main --last 10 --json | grep hello\n"
        f"  {NAME} main --verify",
    )
    parser.add_argument("room", metavar="ROOM", type=_room, help="1 to 64 of A-Z a-z 0-9 . _ -")
    reaching.add_server(parser, 8082)
    reaching.add_token(parser)
    reaching.add_tls(parser)
    parser.add_argument(
        "--author",
        metavar="NAME",
        type=_author,
        help="whose entries they are (the token's subject, or your login)",
    )
    parser.add_argument(
        "--last",
        metavar="M",
        type=program.bounded(0, _MAX_LAST),
        help=f"begin with the last M entries ({_LAST_IN_CHAT} on the full screen, 0 in a pipe)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, an object a line; no full screen")
    reaching.add_timeout(parser, "fail after S seconds without an answer, unless it follows")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--send", action="store_true", help="append the lines of standard input, and end after them"
    )
    what.add_argument("--follow", action="store_true", help="go on until Ctrl-C, also after the last line")
    what.add_argument("--verify", action="store_true", help="check slots and hashes")
    what.add_argument("--export", action="store_true", help="write all entries as JSON lines, verified")
    what.add_argument(
        "command",
        metavar="export",
        nargs="?",
        choices=("export",),
        help="as --export: write all entries as JSON lines",
    )
    slot = program.bounded(1, _MAX_SLOT)
    parser.add_argument("--from", dest="low", metavar="S", type=slot, help="from slot S on (the first held)")
    parser.add_argument("--to", dest="high", metavar="S", type=slot, help="up to slot S (the latest)")
    parser.add_argument("--output", metavar="FILE", type=Path, help="export to FILE, whole or not at all")
    arguments = parser.parse_args(argv)
    arguments.export = arguments.export or arguments.command == "export"
    _check(parser, arguments)
    return arguments


def _check(parser: ArgumentParser, arguments: Namespace) -> None:
    reads_all = arguments.verify or arguments.export
    low, high = arguments.low, arguments.high
    if not reads_all and (low or high):
        parser.error("--from and --to are for --verify and --export")
    if low and high and low > high:
        parser.error("--from is above --to")
    if not arguments.export and arguments.output:
        parser.error("--output is for --export")
    if reads_all and (arguments.last is not None or arguments.author):
        parser.error("--last and --author are not for --verify and --export")
    if not reads_all and arguments.author is None:
        arguments.author = _own(parser, arguments) or _login()
        if (problem := author_problem(arguments.author)) is not None:
            parser.error(f"give an --author: {problem}")


def is_chat(arguments: Namespace) -> bool:
    """Whether there is somebody at a terminal who wants a full screen."""
    wants_lines = arguments.json or arguments.send or arguments.follow
    can = os.isatty(0) and os.isatty(1) and os.environ.get("TERM", "dumb") != "dumb"
    return can and not wants_lines


def _room(text: str) -> str:
    if not is_room(text):
        raise ArgumentTypeError(f"{text!r} is not 1 to 64 of A-Z a-z 0-9 . _ -")
    return text


def _author(text: str) -> str:
    if (problem := author_problem(text)) is not None:
        raise ArgumentTypeError(problem)
    return text


def _own(parser: ArgumentParser, arguments: Namespace) -> str | None:
    """Whom the token is for."""
    try:
        return reaching.subject(reaching.token(arguments))
    except program.Failed as error:
        parser.error(str(error))


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name
        return ""


class _Reading:
    """A log is read and checked, with a bar on a terminal."""

    def __init__(self, arguments: Namespace) -> None:
        self._arguments = arguments
        self._session: Session | None = None
        self._bar: tqdm[Any] | None = None

    def interrupted(self) -> None:
        """The program is to end: if it is stuck in a write, that is not waited for."""
        if self._bar is not None:
            self._bar.close()
        if self._session is not None:
            self._session.over()
        if not os.isatty(1):
            program.discard()

    async def _begin(self, reactor: Any) -> Checking:
        arguments = self._arguments
        session = self._session = Session(reactor, arguments, _ignore)
        now = await session.within(session.factory.read(1))
        low, high = arguments.low or now.first, arguments.high or now.latest
        if arguments.high and high > now.latest:
            raise program.Failed(f"there is no slot {high} yet: the latest is {now.latest}")
        if arguments.low and low > now.latest:
            raise program.Failed(f"there is no slot {low} yet: the latest is {now.latest}")
        if low < now.first:
            raise program.Failed(f"slot {low} is not held any more: the first is {now.first}")
        read = session.factory.read
        report = Report(now.epoch, now.first, low, high)
        return Checking(lambda n, upto: session.within(read(n, upto)), report)

    async def _read(self, checking: Checking, take: Callable[[Sequence[Entry]], None]) -> None:
        """Hand on all entries, all of them right; :exc:`Broken` at the first that is not."""
        tqdm.monitor_interval = 0  # no thread of its own
        report = checking.report
        self._bar = tqdm(
            total=max(0, report.high - report.low + 1),
            file=sys.stderr,
            disable=None,  # where standard error is no terminal
            leave=False,
            bar_format="{n_fmt}/{total_fmt} |{bar}| {rate_fmt}",
            unit=" entries",
        )
        try:
            while entries := await checking.next():
                take(entries)
                self._bar.update(len(entries))
        finally:
            self._bar.close()

    async def _end(self) -> None:
        if self._session is not None:
            await self._session.close()


class Verification(_Reading):
    """``--verify``."""

    async def main(self, reactor: Any, arguments: Namespace) -> int:
        """Check the log; the exit code."""
        try:
            checking = await self._begin(reactor)
            with suppress(Broken):
                await self._read(checking, _ignore)
        finally:
            await self._end()
        report = checking.report
        if arguments.json:
            program.put(json.dumps(_fields(arguments.room, report)))
        if report.problem is not None:
            raise program.Failed(f"{report.problem} (before that: {_found(report)})")
        if not arguments.json:
            program.put(
                f"room {arguments.room}, epoch {report.epoch}, first held {report.first}: {_found(report)}, "
                "all is right"
            )
        return program.EXIT_OK


def _found(report: Report) -> str:
    slots = f"slots {report.low} to {report.last}" if report.entries else "no slots"
    return f"{slots}, {report.hashes} hashes checked"


def _fields(room: str, report: Report) -> dict[str, Any]:
    return {
        "room": room,
        "epoch": report.epoch,
        "first": report.first,
        "from": report.low,
        "to": report.last,
        "entries": report.entries,
        "hashes": report.hashes,
        "problem": report.problem,
    }


class Export(_Reading):
    """``--export``."""

    def __init__(self, arguments: Namespace) -> None:
        super().__init__(arguments)
        self._file: WholeFile | None = None

    async def main(self, reactor: Any, arguments: Namespace) -> int:
        """Write the log; the exit code."""
        try:
            checking = await self._begin(reactor)
            with self._open(arguments.output) as write:
                report = checking.report
                head = {"room": arguments.room, "epoch": report.epoch, "first": report.first}
                write(json.dumps({**head, "from": report.low, "to": report.high}))
                await self._read(checking, lambda entries: write("\n".join(map(json_line, entries))))
        except Broken as broken:
            why = "nothing has been written" if self._file else f"written: {_found(checking.report)}"
            raise program.Failed(f"{broken} ({why})") from None
        except OSError as error:
            if self._file is None:
                raise
            raise program.Failed(f"cannot write {arguments.output}: {error.strerror}") from None
        finally:
            await self._end()
        return program.EXIT_OK

    def interrupted(self) -> None:
        """The program is to end: what is half written goes."""
        super().interrupted()
        if self._file is not None:
            self._file.give_up()

    def _open(self, path: Path | None) -> AbstractContextManager[Callable[[str], None]]:
        if path is None:
            return nullcontext(program.put)
        self._file = WholeFile(path)
        return self._file


class WholeFile:
    """A file that is written whole, and synced, or stays as it was. A context whose value writes lines."""

    def __init__(self, path: Path) -> None:
        self._path = Path(os.path.realpath(path))  # a link stays one
        self._beside = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")

    def __enter__(self) -> Callable[[str], None]:
        if self._path.exists() and not self._path.is_file():
            raise OSError(errno.EINVAL, "it is not a file")
        self._file = open(self._beside, "x", encoding="ascii")
        return lambda text: print(text, file=self._file)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        try:
            with self._file:
                if kind is None:
                    self._file.flush()
                    os.fsync(self._file.fileno())
            if kind is None:
                os.replace(self._beside, self._path)
                sync_folder(self._path.parent)
        finally:
            self.give_up()

    def give_up(self) -> None:
        """Leave nothing behind that is not whole."""
        with suppress(OSError):
            self._beside.unlink()


def _ignore(_: Change | Sequence[Entry]) -> None:
    """What the view becomes is not needed."""
