"""What the desk sends over HTTP, on its way from the connection to the disk as it comes."""

from __future__ import annotations

from typing import Any
from typing import Protocol as Interface
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.server import Request

from protosuite.auth.guard import Hold
from protosuite.auth.rules import Action
from protosuite.config import MediaChatConfig
from protosuite.errors import BadRequest, Forbidden, Unauthenticated
from protosuite.mediachat.media.interface import Stored
from protosuite.mediachat.media.upload import Upload
from protosuite.mediachat.media.uploads import Uploads
from protosuite.mediachat.store import MediaChatStore
from protosuite.mediachat.wire import KIND, NAME, Head
from protosuite.messages import Rule, characters
from protosuite.net.access import Access
from protosuite.net.api import Problem, check_caller, check_plain, word
from protosuite.net.inflow import Inflow

MAX_ID = 2**53 - 1  # the largest whole number that JavaScript has exactly
KEY = characters(64)

_STATUSES = {"no-such-chat": 404, "quota": 507}


class Office(Interface):
    """What takes media."""

    config: MediaChatConfig
    store: MediaChatStore
    access: Access
    uploads: Uploads


class Posting:
    """An :class:`~.inflow.Intake` that writes what comes. Its resource asks for :meth:`stored`."""

    name = ""
    kind = ""
    key: str | None = None

    def __init__(self, office: Office, inflow: Inflow) -> None:
        self._office = office
        self._inflow = inflow
        self._upload: Upload | None = None
        self._received = 0
        self._outcome: Stored | Exception | None = None
        self._waiting: Deferred[None] | None = None
        self._hold = Hold()

    def begin(self, request: Request, chat_id: int, length: int | None) -> None:
        """The head of the request has come. What is wrong with it is found before its body comes."""
        try:
            access = self._office.access
            check_caller(request, access.origins)
            who = access.admit(request, Action.MEDIACHAT_DESK, "")
            self._hold = access.guard.hold(who, self._end)
            check_plain(request)
            self.name = checked(word(request, "name"), NAME, "name")
            self.kind = checked(word(request, "kind"), KIND, "kind")
            self.key = key_of(word(request, "key"))
            self._check_size(length or 0)
        except (Problem, Unauthenticated, Forbidden) as error:
            self._end(error)
            return
        self._upload = self._office.uploads.begin(chat_id, Head(self.name, length or 0, self.kind), self)
        asking = self._office.store.check_room(chat_id, length or 0)
        asking.addErrback(self._fail)

    async def stored(self) -> Stored:
        """The file, when all that came is there. Raises what is wrong."""
        if self._outcome is None:
            assert self._upload is not None
            self._waiting = Deferred()
            self._upload.finish()
            await self._waiting
        assert self._outcome is not None
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def _check_size(self, size: int) -> None:
        most = self._office.config.max_media
        if size > most:
            raise Problem(413, f"at most {most} bytes")

    def _fail(self, failure: Failure) -> None:
        assert isinstance(failure.value, Exception)
        self._end(failure.value)

    def _end(self, outcome: Stored | Exception) -> None:
        if self._outcome is not None:
            return
        self._outcome = outcome
        if isinstance(outcome, Exception):
            self.close()
            self._inflow.stop()
        if self._waiting is not None:
            self._waiting.callback(None)

    # As the content of a request.

    def write(self, data: bytes) -> None:
        """The next bytes."""
        self._received += len(data)
        try:
            self._check_size(self._received)  # it may not have been known before
        except Problem as problem:
            self._end(problem)
        if self._upload is not None and self._outcome is None:
            self._upload.feed(data)
            if self._upload.waiting >= self._office.uploads.allowance:
                self._inflow.pause()

    def tell(self) -> int:
        """How many bytes there were."""
        return self._received

    def seek(self, offset: int, whence: int = 0) -> int:
        """There is no way back."""
        return 0

    def close(self) -> None:
        """If it is not complete, it never will be."""
        self._hold.release()
        if self._upload is not None:
            self._upload.abandon()

    # Of a Sender.

    def upload_begun(self, upload: Upload, offset: int) -> None:
        """It is a new file."""

    def upload_relieved(self) -> None:
        """More may come."""
        self._inflow.resume()

    def upload_done(self, upload: Upload, outcome: Stored | Failure) -> None:
        """The file is there, or cannot be."""
        if isinstance(outcome, Failure):
            self._fail(outcome)
        else:
            self._end(outcome)


def posting(office: Office, request: Request, length: int | None, inflow: Inflow) -> Posting | None:
    """One of :data:`~protosuite.net.inflow.Intakes`: takes the bodies of ``POST /chats/{id}/media``."""
    parts = [unquote_to_bytes(part) for part in request.path[1:].split(b"/")]  # as the resources are found
    if request.method != b"POST" or len(parts) != 3 or (parts[0], parts[2]) != (b"chats", b"media"):
        return None
    if (chat_id := id_of(parts[1])) is None:
        return None
    found = Posting(office, inflow)
    found.begin(request, chat_id, length)
    return found


def refusal(error: BadRequest) -> Problem:
    """What the store refuses, as HTTP says it."""
    return Problem(_STATUSES.get(error.code, 400), error.message)


def id_of(path: bytes) -> int | None:
    """A positive whole number as a part of a path."""
    text = path.decode("latin-1")
    is_id = text.isascii() and text.isdigit() and len(text) <= 16 and not text.startswith("0")
    return int(text) if is_id and int(text) <= MAX_ID else None


def checked(value: Any, rule: Rule, name: str) -> str:
    """A value of a request. :exc:`Problem` 400 if it is not what it must be."""
    check, allowed = rule
    if not check(value):
        raise Problem(400, f"{name} must be {allowed}")
    return str(value)


def key_of(value: Any) -> str | None:
    """The key of a message from the desk as the store has it, from what the request has."""
    return None if value is None else f"desk:{checked(value, KEY, 'key')}"
