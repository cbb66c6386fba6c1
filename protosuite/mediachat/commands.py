"""What ``protosuite-mediachat`` does: one class a command."""

from __future__ import annotations

import json
import mimetypes
import os
import secrets
import sys
from argparse import Namespace
from collections.abc import Callable
from datetime import tzinfo
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from tqdm import tqdm
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThread

from protosuite import program, reaching
from protosuite.errors import Overloaded, PeerFault, ServerRefused
from protosuite.mediachat.client import MediaChatClientFactory, chat_url, connect
from protosuite.mediachat.lines import clock, size, text_lines
from protosuite.mediachat.receiving import Received
from protosuite.mediachat.saving import SaveFolder, StateFile, Taken
from protosuite.mediachat.wire import MediaFromDesk, Status
from protosuite.program import shown

NAME = "protosuite-mediachat"

T = TypeVar("T")


_FINAL = ("invalid-timezone", "unauthenticated", "forbidden")  # for all that is still to be sent, too
_ADVICE = {
    "unauthenticated": reaching.NO_GOOD_TOKEN,
    "forbidden": "give the subject of the token as --client",
}


def _refusal_line(refusal: ServerRefused) -> str:
    """What the server refuses, and what to do, in one line."""
    advice = f" ({_ADVICE[refusal.code]})" if refusal.code in _ADVICE else ""
    return shown(str(refusal)) + advice


def guess_kind(path: Path) -> str:
    """The kind of media that a file is by its name."""
    major = (mimetypes.guess_type(path.name)[0] or "").partition("/")[0]
    return {"image": "image", "audio": "voice", "video": "video"}.get(major, "file")


class Run:
    """One run of the program. With `says_all` a person reads all that happens to the connection."""

    says_all = False

    def __init__(self, arguments: Namespace) -> None:
        self.arguments = arguments
        self.zone: tzinfo | None = ZoneInfo(arguments.timezone) if arguments.timezone else None
        self.bar: Bar | None = None
        self._reactor: Any = None
        self._factory: MediaChatClientFactory | None = None
        self._absence: reaching.Absence | None = None  # of the server
        self._is_over = False
        self._idle: IDelayedCall | None = None

    async def main(self, reactor: Any, _: Namespace) -> int:
        """Run; the exit code."""
        self._reactor = reactor
        self._absence = reaching.Absence(reactor, NAME, self.arguments, self._is_there, self.say)
        try:
            return await self.run()
        except ServerRefused as refusal:
            raise program.Failed(_refusal_line(refusal)) from None
        except (PeerFault, Overloaded, ConnectionError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise program.Failed(shown(str(error))) from None
        finally:
            self._is_over = True
            self.close_bar()
            self._absence.over()
            if self._factory is not None:
                await self._factory.close()

    async def run(self) -> int:
        """Do what was asked for."""
        raise NotImplementedError

    def interrupted(self) -> None:
        """The program is to end: the server is told of it first."""
        self._is_over = True
        if self._absence is not None:
            self._absence.over()
        self.close_bar()
        if self._factory is not None:
            self._reactor.addSystemEventTrigger("before", "shutdown", self._factory.close)

    def connect(self, take: Callable[[Received], object], **options: Any) -> MediaChatClientFactory:
        """A client, on its way to the server."""
        arguments = self.arguments
        url = chat_url(arguments.host, arguments.port, arguments.client, arguments.tls)
        try:
            factory = self._factory = MediaChatClientFactory(
                self._reactor,
                url,
                deferToThread,
                take,
                timezone=arguments.timezone,
                on_status=self.status,
                token=reaching.token(arguments),
                **options,
            )
        except ValueError as error:
            raise program.Failed(f"{error}: give a --timezone") from None
        with reaching.needing_tls():
            connect(self._reactor, factory)
        return factory

    def status(self, text: str) -> None:
        """Something about the connection: kept for the end, and said to a person."""
        assert self._absence is not None
        if not self._is_over:
            is_shown = self.says_all or sys.stderr.isatty()
            self._absence.status(shown(text), is_shown)
            if is_shown:
                self.say(shown(text))

    def say(self, text: str) -> None:
        """A line for the person, above the bar."""
        with tqdm.external_write_mode(file=sys.stderr):
            program.say(text)

    def close_bar(self) -> None:
        """No transfer is shown any more."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    async def patiently(self, answer: Deferred[T]) -> T:
        """An answer; the program fails when nothing has happened for as long as the person waits."""
        is_late = False

        def give_up() -> None:
            nonlocal is_late
            is_late = True
            answer.cancel()

        self._idle = self._reactor.callLater(self.arguments.timeout, give_up)
        try:
            return await answer
        except Exception:
            if not is_late:
                raise
        finally:
            if self._idle.active():
                self._idle.cancel()
            self._idle = None
        assert self._absence is not None
        raise self._absence.late()

    def _is_there(self) -> bool:
        return self._factory is not None and self._factory.is_connected

    def happened(self) -> None:
        """It goes on."""
        if self._idle is not None and self._idle.active():
            self._idle.reset(self.arguments.timeout)

    def outcome(self, status: Status, kind: str, what: str) -> bool:
        """Print what became of something; whether it was saved."""
        is_saved = status.status == "saved"
        if self.arguments.json:
            fields = {"status": status.status, "message": status.message, "name": what or None}
            fields |= {"next_open_at": status.next_open_at}
            program.put(json.dumps({name: value for name, value in fields.items() if value is not None}))
        elif is_saved:
            program.put(" ".join(filter(None, ["saved", str(status.message), shown(what)])))
        if not is_saved:
            when = "it is never taken"
            if status.next_open_at is not None:
                when = f"it is taken again from {clock(status.next_open_at, self.zone, '%Y-%m-%d %H:%M %Z')}"
            name = f"{shown(what)}: " if what else ""
            program.say(f"{NAME}: {name}discarded, for this is no hour for {_PLURALS[kind]}; {when}")
        return is_saved


_PLURALS = {"text": "texts", "voice": "voice", "image": "images", "video": "video", "file": "files"}


class Saying(Run):
    """``say``."""

    async def run(self) -> int:
        factory = self.connect(_ignore)
        status = await self._until_failure(factory, factory.say(self.arguments.text))
        return program.EXIT_OK if self.outcome(status, "text", "") else program.EXIT_FAILED

    async def _until_failure(self, factory: MediaChatClientFactory, answer: Deferred[T]) -> T:
        factory.done.addErrback(lambda _: None)  # the answer fails with the same
        return await self.patiently(answer)


class SendingFiles(Saying):
    """``send``."""

    async def run(self) -> int:
        factory = self.connect(_ignore)
        are_saved = [await self._send(factory, path) for path in self.arguments.files]
        return program.EXIT_OK if all(are_saved) else program.EXIT_FAILED

    async def _send(self, factory: MediaChatClientFactory, path: Path) -> bool:
        arguments = self.arguments
        kind = arguments.kind or guess_kind(path)
        name = shown(os.fsencode(path.name).decode(errors="replace")).replace("\t", " ")
        self.bar = bar = Bar(name)
        upload = secrets.token_hex(16) if arguments.again else None

        def progress(done: int, total: int) -> None:
            bar.show(done, total)
            self.happened()

        sending = factory.send_file(path, kind, name, upload=upload, on_progress=progress)
        try:
            status = await self._until_failure(factory, sending)
        except ServerRefused as error:
            if error.code in _FINAL:
                raise
            why = str(error)
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise
            why = error.strerror or str(error)
        else:
            self.close_bar()
            return self.outcome(status, kind, name)
        self.close_bar()
        program.say(f"{NAME}: {shown(os.fsdecode(path))}: {shown(why)}")
        return False


class _Noting(StateFile):
    """The state file of a client. It calls `noted`, in a thread, when a message counts as taken."""

    def __init__(self, arguments: Namespace, noted: Callable[[], None]) -> None:
        super().__init__(arguments.state, arguments.client)
        self._noted = noted

    def save(self, taken: Taken) -> None:
        super().save(taken)
        if taken.saving is None:
            self._noted()


class Listening(Run):
    """``listen``, which waits without an end."""

    says_all = True

    async def run(self) -> int:
        arguments = self.arguments
        self._left = arguments.count
        self._end: Deferred[int] = Deferred()
        factory = self.connect(
            self._take,
            folder=None if arguments.save is None else SaveFolder(arguments.save),
            state=None if arguments.state is None else _Noting(arguments, self._noted),
            on_coming=self._coming,
        )
        factory.done.addErrback(self._failed)
        return await self._end

    def _take(self, received: Received) -> Deferred[None] | None:
        """Print a message. One that is not printed is not taken, and comes again."""
        if self._left == 0 or self._is_over:
            return Deferred()
        self.close_bar()
        try:
            program.put(self.json_line(received) if self.arguments.json else self.line(received))
        except Exception as error:
            self._left = 0
            if not self._end.called:
                self._end.errback(error)
            return Deferred()
        if self._left is not None:
            self._left -= 1
            if self.arguments.state is None:
                self._reactor.callLater(0, self._finish_if_enough)
        return None

    def _noted(self) -> None:
        """In a thread: that a message was taken is on the disk."""
        self._reactor.callFromThread(self._finish_if_enough)

    def _finish_if_enough(self) -> None:
        if self._left == 0 and not self._end.called:
            self._end.callback(program.EXIT_OK)

    def _failed(self, failure: Any) -> None:
        error = failure.value
        if isinstance(error, OSError):
            where = error.filename or self.arguments.save or self.arguments.state
            error = program.Failed(f"cannot keep what comes: {where}: {error.strerror}")
        elif isinstance(error, ValueError):
            error = program.Failed(shown(str(error)))
        if not self._end.called:
            self._end.errback(error)

    def _coming(self, media: MediaFromDesk, done: int) -> None:
        if self.bar is None:
            self.bar = Bar(shown(media.name))
        self.bar.show(done, media.size)

    def line(self, received: Received) -> str:
        """What came, for a person."""
        when = clock(received.at, self.zone, "%H:%M")
        if received.text is not None:
            return text_lines(when, received.text)
        where = f"saved as {received.path}" if received.path is not None else f"at {received.url}"
        what = f"{received.kind} {received.name or ''} ({size(received.size or 0)}) {where}"
        return text_lines(when, shown(what))

    def json_line(self, received: Received) -> str:
        """What came, for a program."""
        names = ("id", "kind", "at", "text", "name", "size", "sha256", "url")
        fields = {name: getattr(received, name) for name in names}
        fields["path"] = None if received.path is None else str(received.path)
        return json.dumps({name: value for name, value in fields.items() if value is not None})


class Reading(Run):
    """``history``."""

    _has_heard = False  # of what was asked for

    async def run(self) -> int:
        arguments = self.arguments
        host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
        from twisted.web.client import Agent  # takes its time

        from protosuite.mediachat.history import History

        if arguments.tls:
            with reaching.needing_tls():
                import twisted.internet.ssl  # noqa: F401
        agent = Agent(self._reactor, connectTimeout=arguments.timeout)
        history = History(
            agent,
            f"{'https' if arguments.tls else 'http'}://{host}:{arguments.port}",
            arguments.client,
            self._heard,
            reaching.token(arguments),
        )
        reading = Deferred.fromCoroutine(history.read(arguments.limit, arguments.before))
        try:
            messages = await self.patiently(reading)
        except (ConnectionError, OSError, ServerRefused, PeerFault, program.Failed):
            raise
        except Exception as error:  # of a connection that could not be made
            raise program.Failed(shown(f"cannot connect to {host}:{arguments.port}: {error}")) from None
        for message in messages:
            program.put(json.dumps(message) if arguments.json else self.line(message))
        return program.EXIT_OK

    def _is_there(self) -> bool:
        return self._has_heard

    def _heard(self) -> None:
        self._has_heard = True
        self.happened()

    def line(self, message: dict[str, Any]) -> str:
        """A message of either side, for a person."""
        head = f"{message['id']} {clock(message['at'], self.zone)} {message['from']}"
        if message["status"] != "saved":
            return text_lines(head, f"[{message['kind']} {message['status']}]")
        if "text" in message:
            return text_lines(head, str(message["text"]))
        what = f"{message['kind']} {message.get('name', '')} ({size(_number(message.get('size')))})"
        return text_lines(head, shown(f"{what} at {message.get('url', '')}"))


class Bar:
    """How far a transfer has come, where standard error is a terminal."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: tqdm[Any] | None = None

    def show(self, done: int, total: int) -> None:
        """So many bytes of `total`."""
        if self._bar is None:
            tqdm.monitor_interval = 0  # no thread of its own
            self._bar = tqdm(
                total=total,
                desc=self._name,
                file=sys.stderr,
                disable=None,  # where standard error is no terminal
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
            )
        self._bar.n = min(self._bar.n, done)  # it may go on before where an earlier connection was
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """It is over."""
        if self._bar is not None:
            self._bar.close()


def _number(value: Any) -> int:
    return value if type(value) is int and value >= 0 else 0


def _ignore(_: Received) -> None:
    """What the desk says meanwhile is for who listens."""
