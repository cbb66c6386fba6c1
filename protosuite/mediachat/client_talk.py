"""One connection of a client: its hello, what it says and sends, and what becomes of that."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol as Interface

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from protosuite.auth.guard import Hold
from protosuite.auth.tokens import Identity
from protosuite.config import MediaChatConfig
from protosuite.errors import BadRequest, PeerFault, Unauthenticated
from protosuite.hours import Hours, Zone
from protosuite.mediachat import turns
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
from protosuite.mediachat.media.interface import MediaStore, Stored
from protosuite.mediachat.media.upload import Upload
from protosuite.mediachat.media.uploads import Uploads
from protosuite.mediachat.tables import Chat, Message, New
from protosuite.mediachat.telling import Telling
from protosuite.mediachat.turns import Turn, Turns
from protosuite.mediachat.wire import Head, Hello, Status, Text, encode, encode_welcome, hello
from protosuite.net.access import Access
from protosuite.net.frame_receiver import FrameReceiver
from protosuite.net.websocket import UNAUTHENTICATED, WebSocket, text_frame
from protosuite.storage.workers import Calls

BAD_HELLO = 4000
NO_HELLO = 4001

_MOST_FINISHING = 8  # media messages whose bytes have come and are not all on the disk


class Office(turns.Office, Interface):
    """What a connection needs of its service."""

    config: MediaChatConfig
    folder: MediaStore
    calls: Calls
    uploads: Uploads
    hours: dict[str, Hours]
    access: Access

    def now(self) -> int:
        """Milliseconds since the epoch."""

    def zone(self, name: str) -> Deferred[Zone | None]:
        """The time zone of a name, or None."""

    def entered(self, talk: ClientTalk, chat: Chat) -> None:
        """A client is there."""

    def departed(self, talk: ClientTalk) -> None:
        """It is gone."""

    def refused(self, talk: ClientTalk, status: Status) -> None:
        """A client was told of an error."""


class ClientTalk:
    """A :class:`.Talk` with one client, and its :class:`.Pieces`, for as long as the token of `who` is good.

    Its messages are stored and answered in the order in which they came. Its media go to the disk one after
    the other, so it has one file open at most.
    """

    socket: WebSocket

    def __init__(self, office: Office, client_id: int, who: Identity | None = None) -> None:
        self.client_id = client_id
        self._who = who
        self._hold = Hold()
        self.chat: Chat | None = None
        self._office = office
        self._max_pending = office.config.max_pending
        self._hello: Hello | None = None
        self._unread: list[str | bytes] = []  # what came behind the hello, until the chat is open
        self._conversation: Conversation | None = None
        self._telling: Telling | None = None
        self._turns = Turns(office, self._say, self._settle)
        self._upload: Upload | None = None  # whose bytes are coming
        self._latest: Upload | None = None  # that, or one before it
        self._finishing: dict[Upload, Turn] = {}  # all of their bytes have come
        self._asking = 0  # questions to the database that a head waits for
        self._close: tuple[int, str] | None = None  # how to close when all has been answered
        self._is_paused = False
        self._is_gone = False
        self._silence: IDelayedCall | None = None

    # Of a Talk.

    def began(self, socket: WebSocket) -> None:
        self.socket = socket
        socket.take_pieces(self)
        self._hold = self._office.access.guard.hold(self._who, self._expel)
        timeout = self._office.config.hello_timeout
        self._silence = self._office.reactor.callLater(timeout, socket.close, NO_HELLO, "no time zone came")

    def text(self, text: str) -> None:
        if not self.socket.is_open:  # we have closed: nothing could be answered
            return
        if self._conversation is not None:
            now = self._office.now()
            self._do(self._conversation.text(text, now), now)
        elif self._hello is None:
            self._greet(text)
        else:
            self._unread.append(text)

    def binary(self, data: bytes) -> None:
        if not self.socket.is_open:
            return
        if self._upload is None:  # it may be a head
            self.socket.spend()
        if self._hello is None:
            self._refuse_hello("a time zone comes first, as text")
        elif self._conversation is None:
            self._unread.append(data)
        else:
            now = self._office.now()
            self._do(self._conversation.binary(data, now), now)

    def drained(self) -> None:
        if self._telling is not None:
            self._telling.drained()

    def stopping(self) -> None:
        """The service stops: what has been received is stored and answered first."""
        self._close_when_done(1001, "the server stops")

    def ended(self, code: int, reason: str) -> None:
        self._is_gone = True
        self._hold.release()
        self._hush()
        self.drained()
        self._abandon()
        if self.chat is not None:
            self._office.departed(self)

    def _expel(self, reason: Unauthenticated) -> None:
        """The token is no longer good. What came before is stored, and not answered any more."""
        if self.socket.is_open:
            self._say(Status("error", code=reason.code, detail=reason.message))
            self.socket.close(UNAUTHENTICATED, reason.message)

    # Of Pieces: the media that are coming.

    def takes(self, size: int) -> bool:
        return self._conversation is not None and self._conversation.takes(size)

    def piece(self, data: bytes) -> None:
        assert self._conversation is not None
        if not self.socket.is_open:
            return
        if self._upload is not None and self._conversation.goes_on(len(data)):
            self._upload.feed(data)
            self._pace()
        else:
            now = self._office.now()
            self._do(self._conversation.binary(data, now), now)

    def most(self) -> int:
        if self._conversation is None or self._upload is None:
            return 0
        return self._conversation.coming - 1  # what follows from the last is for us to do

    def receive(self, receiver: FrameReceiver, done: Callable[[], None]) -> None:
        assert self._upload is not None

        def received() -> None:
            assert self._conversation is not None
            self._conversation.kept(receiver.taken)
            done()

        self._upload.receive(receiver.receive, received)

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
        if not self.socket.is_open:
            return
        self._hush()
        office = self._office
        self.chat = chat
        self._conversation = Conversation(zone, said.is_plain, office.hours, office.config.max_media)
        office.entered(self, chat)
        position = chat.delivered if said.is_plain else newest if said.after is None else said.after
        self._telling = Telling(
            office, self.socket, chat.id, position, said.media == "inline", notes=said.is_plain
        )
        if not said.is_plain:
            self.socket.send_text(encode_welcome(chat.id, position, office.hours, zone, office.now()))
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

    def _do(self, steps: Iterable[Step], now: int) -> None:
        for step in steps:
            self._take(step, now)
        self._pace()

    def _take(self, step: Step, now: int) -> None:
        match step:
            case SaveText(text):
                self._turns.add(Turn(text.key, new=self._text(text, now, "saved", text.text)))
            case DiscardText(text, next_open_at):
                new = self._text(text, now, "discarded", None)
                self._turns.add(Turn(text.key, next_open_at=next_open_at, new=new))
            case Begin(head):
                self._begin(head)
            case Discard(head, next_open_at):
                new = self._media(head, "discarded", head.size)
                if head.upload is not None:  # asked again after a lost answer it is recorded once
                    new = new._replace(key=f"discard:{head.upload}")
                self._turns.add(Turn(upload=head.upload, next_open_at=next_open_at, new=new))
            case Data(data):
                if self._upload is not None:
                    self._upload.feed(data)
            case Finish():
                self._finish()
            case Abandon():
                self._abandon()
            case Answer(status):
                self._turns.add(Turn(answer=status))
            case Close(code, reason):
                self._close_when_done(code, reason)

    def _text(self, text: Text, now: int, status: str, kept: str | None) -> New:
        assert self.chat is not None
        key = None if text.key is None else f"text:{text.key}"
        return New(self.chat.id, "client", "text", now, status, kept, key=key)

    def _media(self, head: Head, status: str, size: int) -> New:
        assert self.chat is not None
        return New(self.chat.id, "client", head.kind, self._office.now(), status, name=head.name, size=size)

    # Media of the client.

    def _begin(self, head: Head) -> None:
        assert self.chat is not None
        if head.upload is None:
            self._write(head)
            return
        self._asking += 1
        asking = self._office.store.resume(self.chat.id, f"upload:{head.upload}", head.size)
        asking.addCallback(self._go_on, head).addErrback(self._not_begun, head).addBoth(self._asked)

    def _go_on(self, there: Message | None, head: Head) -> None:
        """An upload with a name: it may have been completed before, or begun."""
        assert self._conversation is not None
        if self._is_gone or self._close is not None or not self._conversation.awaits(head):
            return
        if there is None:
            self._write(head)
        elif (there.name, there.size, there.kind, head.sha256 or there.sha256) == (
            *(head.name, head.size, head.kind),
            there.sha256,
        ):
            self._conversation.refused(head)
            self._turns.add(Turn(answer=Status(there.status, there.id, upload=head.upload)))
        else:
            raise BadRequest("upload-mismatch", "another media message was stored under this upload name")

    def _not_begun(self, failure: Failure, head: Head) -> None:
        assert self._conversation is not None
        self._conversation.refused(head)
        self._add_failure(Turn(upload=head.upload), failure)

    def _asked(self, _: object) -> None:
        self._asking -= 1
        self._settle()

    def _write(self, head: Head) -> None:
        assert self.chat is not None
        self._upload = self._latest = self._office.uploads.begin(self.chat.id, head, self, self._latest)

    def upload_begun(self, upload: Upload, offset: int) -> None:
        """The file is open: bytes go on at `offset`."""
        if upload is self._upload and upload.head.upload is not None:
            assert self._conversation is not None
            self._say(Status("ready", offset=offset, upload=upload.head.upload))
            self._do(self._conversation.ready(upload.head, offset), self._office.now())

    def upload_relieved(self) -> None:
        """What had come has been written."""
        self._pace()

    def _finish(self) -> None:
        upload, self._upload = self._upload, None
        assert upload is not None
        turn = self._finishing[upload] = Turn(upload=upload.head.upload)
        self._turns.add(turn)
        upload.finish()

    def _abandon(self) -> None:
        if self._upload is not None:
            upload, self._upload = self._upload, None
            upload.abandon()

    def upload_done(self, upload: Upload, outcome: Stored | Failure) -> None:
        """The file is whole and synced, or could not be written."""
        head = upload.head
        turn = self._finishing.pop(upload, None)
        if self._latest is upload:
            self._latest = None
        if isinstance(outcome, Failure):
            self._upload_failed(upload, turn, outcome)
        elif turn is not None:
            turn.new = self._media(head, "saved", outcome.size)._replace(
                type=outcome.type,
                sha256=outcome.sha256,
                key=None if head.upload is None else f"upload:{head.upload}",
            )
            self._turns.go_on()
            self._pace()

    def _upload_failed(self, upload: Upload, turn: Turn | None, failure: Failure) -> None:
        assert self._conversation is not None
        if upload is self._upload:
            self._upload = None
            self._conversation.refused(upload.head)
        if turn is None:
            self._add_failure(Turn(upload=upload.head.upload), failure)
        else:
            self._turns.fail(turn, failure)
            self._turns.go_on()
        self._pace()

    def _add_failure(self, turn: Turn, failure: Failure) -> None:
        self._turns.fail(turn, failure)
        self._turns.add(turn)

    # What is said to the client.

    @property
    def told(self) -> int:
        """The last message of the desk that this connection was told, or need not be."""
        return 0 if self._telling is None else self._telling.position

    def news(self) -> None:
        """The desk has said something."""
        if self._telling is not None:
            self._telling.news()

    def _say(self, answer: Status | bytes) -> None:
        if isinstance(answer, bytes):
            self.socket.send(text_frame(answer))  # which is short: it is not compressed
            return
        if answer.status == "error":
            self._office.refused(self, answer)
        self.socket.send_text(encode(answer))

    # When to read, and when to close.

    def _pace(self) -> None:
        """Read, or do not, as it stands now."""
        pause = bool(
            (self._conversation is None and self._hello is not None)
            or self._close is not None
            or len(self._turns.unsaid) >= self._max_pending
            or ((self._finishing or self._upload is not None) and self._is_behind())
        )
        if pause != self._is_paused and self.socket.is_open:
            self._is_paused = pause
            if pause:
                self.socket.pause_reading()
            else:
                self.socket.resume_reading()

    def _is_behind(self) -> bool:
        """Whether too much of its media is still to be written."""
        unwritten = 0 if self._upload is None else self._upload.waiting
        if self._finishing:
            unwritten += sum(upload.waiting for upload in self._finishing)
        return len(self._finishing) >= _MOST_FINISHING or unwritten >= self._office.uploads.allowance

    def _settle(self) -> None:
        """Something has been answered."""
        if self._close is not None and not self._turns.unsaid and not self._asking:
            self.socket.close(*self._close)
        else:
            self._pace()

    def _close_when_done(self, code: int, reason: str) -> None:
        if self._close is None:
            self._close = code, reason
            self._abandon()
            self._settle()
