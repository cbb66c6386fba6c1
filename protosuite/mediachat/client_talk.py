"""One connection of a client: its hello, what it says and sends, and what is said to it, in order."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Protocol as Interface

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from protosuite.config import MediaChatConfig
from protosuite.errors import BadRequest, Overloaded, PeerFault, StorageFull
from protosuite.hours import Hours, Zone
from protosuite.mediachat.conversation import (
    Abandon,
    Answer,
    Begin,
    Close,
    Conversation,
    Data,
    Discard,
    DiscardText,
    Finish,
    SaveText,
    Step,
)
from protosuite.mediachat.media import MediaFolder, Stored, WrongHash
from protosuite.mediachat.store import Chat, MediaChatStore, Message, New
from protosuite.mediachat.upload import Upload
from protosuite.mediachat.wire import (
    FromDesk,
    Head,
    Hello,
    MediaFromDesk,
    Status,
    Text,
    ToClient,
    encode,
    encode_welcome,
    hello,
)
from protosuite.net.websocket import GOING_AWAY, WebSocket
from protosuite.storage.workers import Calls

BAD_HELLO = 4000
NO_HELLO = 4001

_PAGE = 50  # messages read at once
_CHUNK = 64 << 10  # bytes of media read and sent at once


class Office(Interface):
    """What a connection needs of its service."""

    config: MediaChatConfig
    store: MediaChatStore
    folder: MediaFolder
    calls: Calls
    hours: dict[str, Hours]
    reactor: IReactorTime

    def now(self) -> int:
        """Milliseconds since the epoch."""

    def zone(self, name: str) -> Deferred[Zone | None]:
        """The time zone of a name, or None."""

    def entered(self, talk: ClientTalk, chat: Chat) -> None:
        """A client is there."""

    def departed(self, talk: ClientTalk) -> None:
        """It is gone."""

    def added(self, message: Message) -> None:
        """A message has been stored: tell whom it concerns."""

    def upload(self, talk: ClientTalk, chat_id: int, head: Head, behind: Upload | None) -> Upload:
        """Begin to write a media message, when `behind` is in nobody's hands any more."""

    def refused(self, talk: ClientTalk, status: Status) -> None:
        """A client was told of an error."""

    def failed(self, what: str, failure: Failure) -> None:
        """Something could not be read or stored."""


class ClientTalk:
    """A :class:`~protosuite.net.websocket.Talk` with one client.

    What the desk says is read from the database behind the last message that was sent, and read again
    whenever there is something new: so it comes in order, and once.
    """

    socket: WebSocket

    def __init__(self, office: Office, client_id: int) -> None:
        self.client_id = client_id
        self.chat: Chat | None = None
        self._office = office
        self._conversation: Conversation | None = None
        self._hello: Hello | None = None
        self._unread: list[str | bytes] = []  # what came behind the hello, until the chat is open
        self._upload: Upload | None = None
        self._finishing: set[Upload] = set()  # all of their bytes have come
        self._pending = 0  # what is on its way to the database or, whole, to the disk
        self._is_paused = False
        self._is_gone = False
        self._is_stopping = False
        self._position = 0  # the last message of the desk that has been sent
        self._is_sending = False
        self._has_news = False
        self._writable: Deferred[None] | None = None  # fires when the connection takes more, or is gone
        self._silence: IDelayedCall | None = None

    # Of a Talk.

    def began(self, socket: WebSocket) -> None:
        self.socket = socket
        timeout = self._office.config.hello_timeout
        self._silence = self._office.reactor.callLater(timeout, socket.close, NO_HELLO, "no time zone came")

    def text(self, text: str) -> None:
        if self._hello is None:
            self._greet(text)
        elif self._conversation is None:
            self._unread.append(text)
        else:
            self._do(self._conversation.text(text, self._office.now()))

    def binary(self, data: bytes) -> None:
        if self._hello is None:
            self._refuse_hello("a time zone comes first, as text")
        elif self._conversation is None:
            self._unread.append(data)
        else:
            self._do(self._conversation.binary(data, self._office.now()))

    def drained(self) -> None:
        if self._writable is not None:
            writable, self._writable = self._writable, None
            writable.callback(None)
        self._send_news()

    def stopping(self) -> None:
        """The service stops: what has been received is stored and answered first."""
        self._is_stopping = True
        if self._upload is not None and self._upload not in self._finishing:
            self._upload.abandon()
        self._pace()
        self._close_if_done()

    def ended(self, code: int, reason: str) -> None:
        self._is_gone = True
        self._hush()
        if self._writable is not None:
            self._writable.callback(None)
        if self._upload is not None and self._upload not in self._finishing:
            self._upload.abandon()
        if self.chat is not None:
            self._office.departed(self)

    # The hello.

    def _greet(self, text: str) -> None:
        try:
            said = self._hello = hello(text)
        except PeerFault as fault:
            self._refuse_hello(fault.message)
            return
        self._pace()
        opening = self._office.zone(said.timezone).addCallback(self._enter, said)
        opening.addErrback(self._not_opened)

    def _enter(self, zone: Zone | None, said: Hello) -> Deferred[None] | None:
        if zone is None:
            self._refuse_hello(f"{said.timezone[:64]!r} is no time zone, as Europe/Paris is one")
            return None
        entering = self._office.store.enter(self.client_id, said.timezone, self._office.now())
        return entering.addCallback(self._opened, zone, said)

    def _opened(self, found: tuple[Chat, int], zone: Zone, said: Hello) -> None:
        chat, newest = found
        if self._is_gone:
            return
        self._hush()
        office = self._office
        self.chat = chat
        self._conversation = Conversation(zone, said.is_plain, office.hours, office.config.max_media)
        office.entered(self, chat)
        if said.is_plain:
            self._position = chat.delivered
        else:
            self._position = said.after if said.after is not None else newest
            self.socket.send_text(encode_welcome(chat.id, office.hours, zone, office.now()))
        unread, self._unread = self._unread, []
        for frame in unread:
            if isinstance(frame, str):
                self.text(frame)
            else:
                self.binary(frame)
        self._pace()
        self.news()

    def _refuse_hello(self, detail: str) -> None:
        self._hello = self._hello or Hello("")
        self._say(Status("error", code="invalid-timezone", detail=detail))
        self.socket.close(BAD_HELLO, "invalid-timezone")

    def _not_opened(self, failure: Failure) -> None:
        self._office.failed("a chat cannot be opened", failure)
        self.socket.close(1013, "the chat cannot be opened now: try again")

    def _hush(self) -> None:
        if self._silence is not None and self._silence.active():
            self._silence.cancel()

    # What the client says.

    def _do(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self._take(step)
        self._pace()

    def _take(self, step: Step) -> None:
        match step:
            case SaveText(text):
                self._store_text(text, "saved", None)
            case DiscardText(text, next_open_at):
                self._store_text(text, "discarded", next_open_at)
            case Begin(head):
                self._begin(head)
            case Discard(head, next_open_at):
                self._discard(head, next_open_at)
            case Data(data):
                if self._upload is not None:
                    self._upload.feed(data)
            case Finish():
                if self._upload is not None:
                    self._finishing.add(self._upload)
                    self._pending += 1
                    self._upload.finish()
            case Abandon():
                if self._upload is not None and self._upload not in self._finishing:
                    self._upload.abandon()
            case Answer(status):
                self._say(status)
            case Close(code, reason):
                self.socket.close(code, reason)

    def _store_text(self, text: Text, status: str, next_open_at: int | None) -> None:
        assert self.chat is not None
        key = None if text.key is None else f"text:{text.key}"
        kept = text.text if status == "saved" else None
        new = New(self.chat.id, "client", "text", self._office.now(), status, kept, key=key)
        self._pending += 1
        storing = self._office.store.add(new)
        storing.addCallback(self._stored, text.key, None, next_open_at)
        storing.addErrback(self._not_stored, text.key, None).addBoth(self._settled)

    def _discard(self, head: Head, next_open_at: int | None) -> None:
        assert self.chat is not None
        new = New(
            self.chat.id,
            "client",
            head.kind,
            self._office.now(),
            "discarded",
            name=head.name,
            size=head.size,
        )
        self._pending += 1
        storing = self._office.store.add(new).addCallback(self._stored, None, head.upload, next_open_at)
        storing.addErrback(self._not_stored, None, head.upload).addBoth(self._settled)

    def _stored(
        self, outcome: tuple[Message, bool], key: str | None, upload: str | None, next_open_at: int | None
    ) -> None:
        message, is_new = outcome
        if is_new:
            self._office.added(message)
        self._say(Status(message.status, message.id, next_open_at=next_open_at, key=key, upload=upload))

    def _not_stored(self, failure: Failure, key: str | None, upload: str | None) -> None:
        code, detail = _why(failure)
        if code in ("storage", "full"):
            self._office.failed("a message cannot be stored", failure)
        self._say(Status("error", code=code, detail=detail, key=key, upload=upload))

    def _settled(self, _: object) -> None:
        self._pending -= 1
        self._pace()
        self._close_if_done()

    # Media of the client.

    def _begin(self, head: Head) -> None:
        assert self.chat is not None
        if head.upload is None:
            self._upload = self._office.upload(self, self.chat.id, head, self._upload)
            return
        asking = self._office.store.stored(self.chat.id, f"upload:{head.upload}")
        self._pending += 1
        asking.addCallback(self._go_on, head).addErrback(self._upload_failed, head, None).addBoth(
            self._settled
        )

    def _go_on(self, there: Message | None, head: Head) -> None:
        """An upload with a name: it may have been completed before, or begun."""
        if self._is_gone:
            return
        assert self._conversation is not None
        assert self.chat is not None
        if there is not None:
            self._conversation.refused()
            if (there.name, there.size, there.kind) == (head.name, head.size, head.kind):
                self._say(Status(there.status, there.id, upload=head.upload))
            else:
                detail = "another media message was stored under this upload name"
                self._say(Status("error", code="upload-mismatch", detail=detail, upload=head.upload))
        else:
            self._upload = self._office.upload(self, self.chat.id, head, self._upload)

    def upload_begun(self, upload: Upload, offset: int) -> None:
        """The file is open: bytes go on at `offset`."""
        if upload is self._upload and upload.head.upload is not None and not self._is_gone:
            assert self._conversation is not None
            self._say(Status("ready", offset=offset, upload=upload.head.upload))
            self._do(self._conversation.ready(upload.head.size, offset))

    def upload_done(self, upload: Upload, outcome: Stored | Failure) -> None:
        """The file is whole and synced, or could not be written."""
        if upload in self._finishing:
            self._finishing.remove(upload)
            self._settled(None)
        if isinstance(outcome, Failure):
            self._upload_failed(outcome, upload.head, upload)
            return
        assert self.chat is not None
        head = upload.head
        new = New(
            self.chat.id,
            "client",
            head.kind,
            self._office.now(),
            name=head.name,
            size=outcome.size,
            type=outcome.type,
            sha256=outcome.sha256,
            key=None if head.upload is None else f"upload:{head.upload}",
        )
        self._pending += 1
        storing = self._office.store.add(new).addCallback(self._stored, None, head.upload, None)
        storing.addErrback(self._not_stored, None, head.upload).addBoth(self._settled)

    def upload_relieved(self) -> None:
        """What had come has been written."""
        self._pace()

    def _upload_failed(self, failure: Failure, head: Head, upload: Upload | None) -> None:
        assert self._conversation is not None
        if upload is self._upload:  # otherwise another one has been begun since
            self._conversation.refused()
            self._upload = None
        self._not_stored(failure, None, head.upload)

    # What the desk says.

    def news(self) -> None:
        """There may be something to tell the client."""
        self._has_news = True
        self._send_news()

    def _send_news(self) -> None:
        if not self._is_sending and self._has_news and self.chat is not None and self.socket.is_writable:
            self._is_sending, self._has_news = True, False
            page = self._office.store.page(self.chat.id, _PAGE, after=self._position, sender="desk")
            page.addCallback(self._send_page).addErrback(self._not_sent).addBoth(self._sent)

    def _send_page(self, page: list[Message] | None) -> Deferred[None]:
        return Deferred.fromCoroutine(self._send_all(page or []))

    async def _send_all(self, page: list[Message]) -> None:
        assert self._hello is not None
        assert self.chat is not None
        for message in page:
            self._send_one(message)
            if message.sha256 is not None and self._hello.media == "inline":
                await self._send_bytes(message.sha256)
            if not self.socket.is_open:
                return  # it may not have come: it comes again
            self._position = message.id
        if page:
            self._has_news = True  # there may be more
            if self._hello.is_plain:
                await self._office.store.delivered(self.chat.id, self._position)

    async def _send_bytes(self, digest: str) -> None:
        """The bytes of a file as binary frames, as fast as the connection takes them."""
        run = self._office.calls.run
        file = await run(self._office.folder.read, digest)
        try:
            while self.socket.is_open and (block := await run(file.read, _CHUNK)):
                self.socket.send_binary(block)
                if not self.socket.is_writable and self.socket.is_open:
                    self._writable = Deferred()
                    await self._writable
        finally:
            await run(file.close)

    def _send_one(self, message: Message) -> None:
        if message.sha256 is None:
            self._tell(FromDesk(message.id, message.text or "", message.at))
        else:
            self._tell(
                MediaFromDesk(
                    message.id,
                    message.name or "",
                    message.kind,
                    message.size or 0,
                    message.sha256,
                    message.url or "",
                    message.at,
                )
            )

    def _not_sent(self, failure: Failure) -> None:
        self._office.failed("what the desk says cannot be read", failure)
        self.socket.close(1013, "what comes next cannot be read now: try again")

    def _sent(self, _: object) -> None:
        self._is_sending = False
        self._send_news()

    def _say(self, status: Status) -> None:
        if status.status == "error":
            self._office.refused(self, status)
        self._tell(status)

    def _tell(self, message: ToClient) -> None:
        self.socket.send_text(encode(message))

    # What is not read.

    def _pace(self) -> None:
        """Read, or do not, as it stands now."""
        config = self._office.config
        pause = (
            (self._hello is not None and self._conversation is None)
            or self._is_stopping
            or self._pending >= config.max_pending
            or (self._upload is not None and self._upload.waiting >= config.max_unwritten)
        )
        if pause != self._is_paused and self.socket.is_open:
            self._is_paused = pause
            if pause:
                self.socket.pause_reading()
            else:
                self.socket.resume_reading()

    def _close_if_done(self) -> None:
        if self._is_stopping and not self._pending:
            self.socket.close(*GOING_AWAY)
            self.socket.resume_reading()  # for its answer to that


def _why(failure: Failure) -> tuple[str, str]:
    """What a client is told of a failure."""
    error = failure.value
    if isinstance(error, BadRequest):
        return error.code, error.message
    if isinstance(error, WrongHash):
        return "bad-hash", str(error)
    if isinstance(error, Overloaded):
        return "overloaded", "too much waits to be stored: try again"
    if isinstance(error, StorageFull) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
        return "full", "there is no room for it now"
    return "storage", "it cannot be stored now"
