"""What the desk says, on its way to one connection of a client: in order, and once."""

from __future__ import annotations

from typing import Protocol as Interface

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from protosuite.mediachat.media.interface import MediaStore
from protosuite.mediachat.store import MediaChatStore
from protosuite.mediachat.tables import Message
from protosuite.mediachat.wire import FromDesk, MediaFromDesk, encode
from protosuite.net.websocket import WebSocket
from protosuite.storage.workers import Calls

_PAGE = 50  # messages read at once
_CHUNK = 64 << 10  # bytes of media read and sent at once


class Office(Interface):
    """Where that is kept."""

    store: MediaChatStore
    folder: MediaStore
    calls: Calls

    def failed(self, what: str, failure: Failure) -> None:
        """Something could not be read or stored."""


class Telling:
    """Reads what is behind `position`, the last message that was sent, and reads again when there is news.

    With `notes` it is stored how far that came: for a client that does not say what it has.
    """

    def __init__(
        self, office: Office, socket: WebSocket, chat_id: int, position: int, inline: bool, notes: bool
    ) -> None:
        self._office = office
        self._socket = socket
        self._chat_id = chat_id
        self.position = position
        self._inline = inline
        self._notes = notes
        self._is_sending = False
        self._has_news = False
        self._writable: Deferred[None] | None = None  # fires when the connection takes more, or is gone

    def news(self) -> None:
        """There may be something to tell the client."""
        self._has_news = True
        self._send()

    def drained(self) -> None:
        """The connection takes more, or is gone."""
        if self._writable is not None:
            writable, self._writable = self._writable, None
            writable.callback(None)
        self._send()

    def _send(self) -> None:
        if not self._is_sending and self._has_news and self._socket.is_writable:
            self._is_sending, self._has_news = True, False
            page = self._office.store.page(self._chat_id, _PAGE, after=self.position, from_desk=True)
            page.addCallback(self._send_page).addErrback(self._not_sent).addBoth(self._sent)

    def _send_page(self, page: list[Message] | None) -> Deferred[None]:
        return Deferred.fromCoroutine(self._send_all(page or []))

    async def _send_all(self, page: list[Message]) -> None:
        for message in page:
            if message.sha256 is not None and self._inline:
                await self._send_media(message, message.sha256, message.size or 0)
            else:
                self._socket.send_text(encode(_told(message)))
            if not self._socket.is_open:
                return  # it may not have come: it comes again
            self.position = message.id
        if page:
            self._has_news = True  # there may be more
            if self._notes:
                await self._office.store.delivered(self._chat_id, self.position)

    async def _send_media(self, message: Message, digest: str, left: int) -> None:
        """A media message and its bytes as binary frames, as fast as the connection takes them.

        One whose file is not there any more is passed over: nothing could ever follow it. Raises `OSError`
        if there are fewer bytes than it says: what comes next would be taken for the rest of them.
        """
        run = self._office.calls.run
        try:
            file = await run(self._office.folder.read, digest)
        except FileNotFoundError:
            self._office.failed(f"media message {message.id} has lost its file", Failure())
            return
        try:
            self._socket.send_text(encode(_told(message)))
            while left and self._socket.is_open:
                if not (block := await run(file.read, min(left, _CHUNK))):
                    raise OSError(f"the file of media message {message.id} is shorter than it was")
                left -= len(block)
                self._socket.send_binary(block)
                if not self._socket.is_writable and self._socket.is_open:
                    self._writable = Deferred()
                    await self._writable
        finally:
            await run(file.close)

    def _not_sent(self, failure: Failure) -> None:
        self._office.failed("what the desk says cannot be read", failure)
        self._socket.close(1013, "what comes next cannot be read now: try again")

    def _sent(self, _: object) -> None:
        self._is_sending = False
        self._send()


def _told(message: Message) -> FromDesk | MediaFromDesk:
    if message.sha256 is None:
        return FromDesk(message.id, message.text or "", message.at)
    return MediaFromDesk(
        message.id,
        message.name or "",
        message.kind,
        message.size or 0,
        message.sha256,
        message.url or "",
        message.at,
    )
