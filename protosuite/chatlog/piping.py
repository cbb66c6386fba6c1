"""``protosuite-chatlog`` in a pipe: lines in, entries out."""

from __future__ import annotations

import os
import select
import stat
import sys
from argparse import Namespace
from collections.abc import Awaitable, Callable
from itertools import islice
from queue import SimpleQueue
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from protosuite import program
from protosuite.chatlog.lines import Line, LineSplitter, json_line, text_lines
from protosuite.chatlog.session import Session
from protosuite.chatlog.view import Change
from protosuite.chatlog.wire import Entry
from protosuite.errors import ServerRefused
from protosuite.program import shown

_MAX_WAITING = 1000  # lines that are not acknowledged; above it no more are read
_CHUNK = 64 << 10  # bytes of input at once
_LOOK = 0.5  # seconds between two looks whether anybody reads the output


class Pipe:
    """One run. With `reads` it appends the lines of standard input, with `follows` it goes on after them."""

    def __init__(self, arguments: Namespace, name: str, reads: bool, follows: bool) -> None:
        self._arguments = arguments
        self._name = name
        self._reads = reads
        self._follows = follows
        self._printer = Printer(json_line if arguments.json else text_lines, self._say)
        self._over: Deferred[int] = Deferred()
        self._session: Session | None = None

    async def main(self, reactor: Any, arguments: Namespace) -> int:
        """Run until everything is done or nobody reads the output; the exit code."""
        self._printer.on_trouble = self._settle
        keep = arguments.last + 1000
        session = self._session = Session(
            reactor,
            arguments,
            self._printer.take,
            last=max(1, arguments.last),
            keep=keep,
            is_patient=self._follows,
            on_refusal=self._settle,
        )
        looking = LoopingCall(self._look)
        looking.clock = reactor
        looking.start(_LOOK)
        Deferred.fromCoroutine(self._work(reactor, session)).addBoth(self._settle)
        try:
            return await self._over
        finally:
            looking.stop()
            await session.close()

    def interrupted(self) -> None:
        """The program is to end: if it is stuck in a write, that is not waited for."""
        if self._session is not None:
            self._session.over()
        if not sys.stdout.isatty():
            program.discard()

    async def _work(self, reactor: Any, session: Session) -> int:
        factory = session.factory
        await session.within(factory.update(1))
        last, view = self._arguments.last, factory.view
        while len(view.entries) < last and await session.within(
            factory.scroll_back(last - len(view.entries))
        ):
            pass
        self._printer.begin(list(islice(view.entries, max(0, len(view.entries) - last), None)), view.high)
        sender = Sender(session, self._arguments.author, self._say)
        if self._reads:
            await sender.send_all(Stdin(reactor).read)
            await session.within(self._printer.reached(sender.last))
        if self._follows:
            await Deferred()
        return program.EXIT_FAILED if sender.has_failed else program.EXIT_OK

    def _settle(self, result: int | Failure) -> None:
        if not self._over.called:
            self._over.callback(result)  # a Failure fails it

    def _look(self) -> None:
        if not _is_read(1):
            program.discard()
            self._settle(Failure(BrokenPipeError()))

    def _say(self, text: str) -> None:
        program.say(f"{self._name}: {text}")


class Printer:
    """Prints entries in slot order, each once."""

    def __init__(self, line: Callable[[Entry], str], say: Callable[[str], None]) -> None:
        self.on_trouble: Callable[[Failure], None] = lambda failure: None
        self._line = line
        self._say = say
        self._high: int | None = None  # printed up to here; None before it begins
        self._waiting: tuple[int, Deferred[None]] | None = None

    def begin(self, entries: list[Entry], high: int) -> None:
        """Print what there was before. What comes above `high` is new."""
        self._high = high
        self._print(entries)

    def take(self, change: Change) -> None:
        """Print what is new."""
        for problem in change.problems:
            self._say(shown(problem))
        if self._high is None:
            return
        if change.is_reset:
            self._high = 0
            if not change.problems:
                self._say("the room is another one now: what follows is its log from the beginning")
        new = [entry for entry in change.new if entry.slot > (self._high or 0)]
        if new:
            self._high = new[-1].slot
            self._print(new)
        if self._waiting is not None and self._high >= self._waiting[0]:
            (_, waiting), self._waiting = self._waiting, None
            waiting.callback(None)

    def reached(self, slot: int) -> Deferred[None]:
        """Fires when `slot` has been printed."""
        reached: Deferred[None] = Deferred()
        if self._high is not None and self._high >= slot:
            reached.callback(None)
        else:
            self._waiting = slot, reached
        return reached

    def _print(self, entries: list[Entry]) -> None:
        try:
            if entries:
                program.put("\n".join(map(self._line, entries)))
        except (OSError, program.Failed):
            self.on_trouble(Failure())


class Sender:
    """Appends lines, so many at a time. `last` is the highest slot that one of them got."""

    def __init__(self, session: Session, author: str, say: Callable[[str], None]) -> None:
        self.has_failed = False
        self.last = 0
        self._session = session
        self._author = author
        self._say = say
        self._waiting = 0
        self._answered: Deferred[None] | None = None

    async def send_all(self, read: Callable[[], Awaitable[bytes]]) -> None:
        """Append what `read` gives, up to its end, and wait until everything is answered."""
        splitter = LineSplitter()
        while data := await read():
            for line in splitter.feed(data):
                await self._send(line)
        for line in splitter.finish():
            await self._send(line)
        while self._waiting:
            await self._answer()

    async def _send(self, line: Line) -> None:
        while self._waiting >= _MAX_WAITING:
            await self._answer()
        if line.problem is not None:
            self._fail(line.number, line.problem)
            return
        self._waiting += 1
        append = self._session.factory.append(self._author, line.text)
        append.addCallbacks(self._acknowledged, self._refused, errbackArgs=(line.number,))
        append.addBoth(self._next)

    def _answer(self) -> Deferred[None]:
        """Fires with the next answer."""
        self._answered = Deferred()
        return self._session.within(self._answered)

    def _next(self, _: object) -> None:
        self._waiting -= 1
        if self._answered is not None:
            answered, self._answered = self._answered, None
            answered.callback(None)

    def _acknowledged(self, entry: Entry) -> None:
        self.last = max(self.last, entry.slot)

    def _refused(self, failure: Failure, number: int) -> None:
        if (
            failure.check(ConnectionError) is None and self._session.factory.refusal is None
        ):  # else it is over
            self._fail(number, shown(_reason(failure)))

    def _fail(self, number: int, why: str) -> None:
        self.has_failed = True
        self._say(f"line {number}: {why}")


def _reason(failure: Failure) -> str:
    return failure.value.message if isinstance(failure.value, ServerRefused) else str(failure.value)


class Stdin:
    """Standard input, read in a thread, as much at a time as is asked for.

    Not through Twisted: it would make the file non-blocking for whoever else has it, a terminal's output too.
    """

    def __init__(self, reactor: Any, descriptor: int = 0) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._wanted: SimpleQueue[Deferred[bytes]] = SimpleQueue()
        Thread(target=self._serve, name="stdin", daemon=True).start()

    def read(self) -> Deferred[bytes]:
        """What there is, when there is something; nothing at its end."""
        wanted: Deferred[bytes] = Deferred()
        self._wanted.put(wanted)
        return wanted

    def _serve(self) -> None:
        while True:
            wanted = self._wanted.get()
            try:
                select.select([self._descriptor], [], [])  # somebody may have made it non-blocking
                data = os.read(self._descriptor, _CHUNK)
            except (OSError, ValueError):  # closed
                data = b""
            self._reactor.callFromThread(wanted.callback, data)


def is_null(descriptor: int) -> bool:
    """Whether there is nothing behind a descriptor: it is closed, or ``/dev/null``."""
    try:
        status = os.fstat(descriptor)
        return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.stat(os.devnull).st_rdev
    except OSError:
        return True


def _is_read(descriptor: int) -> bool:
    """Whether somebody may still read what is written to a descriptor."""
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return True
    except OSError:
        return True
    poll = select.poll()
    poll.register(descriptor, 0)
    return not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
