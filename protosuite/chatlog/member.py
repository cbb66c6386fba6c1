"""One connection of chatlog.v1: what it says, in turn, and what it is told."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol as Interface

from twisted.python.failure import Failure

from protosuite.chatlog.room import Room, acks
from protosuite.chatlog.sequencer import Sequencer, Writer
from protosuite.chatlog.store import ChatLogStore, Page
from protosuite.chatlog.wire import (
    ClientAppend,
    ClientUpdate,
    Error,
    Refused,
    encode_error,
    encode_reply,
    from_client,
)
from protosuite.config import ChatLogConfig
from protosuite.errors import BadRequest, Overloaded
from protosuite.net.websocket import WebSocket

_MAX_UPDATES = 16  # of one connection that wait for those before; above it the connection is not read


class ChatLog(Interface):
    """What a member needs of its service."""

    config: ChatLogConfig
    store: ChatLogStore
    sequencer: Sequencer

    def room(self, name: str) -> Room:
        """The room of a name; it may still have to be opened."""

    def entered(self, member: Member) -> None:
        """`member` is there: :meth:`Member.opened` is called when its room is open."""

    def departed(self, member: Member) -> None:
        """`member` is gone."""

    def append(self, member: Member, message: ClientAppend) -> None:
        """Take an append; :exc:`BadRequest` if it comes out of turn."""

    def commit(self) -> None:
        """There may be something to commit."""

    def refused(self, member: Member, error: Error) -> None:
        """`member` was told `error`."""

    def reading_failed(self, failure: Failure) -> None:
        """The database could not be read."""


class Member:
    """A :class:`~protosuite.net.websocket.Talk` in one room.

    It is told of every entry from its first ServerAck on. While the answer to a ClientUpdate for the
    latest is being read it is told nothing: the acks go on where that answer ends.
    """

    socket: WebSocket

    def __init__(self, service: ChatLog, room: str, session: str) -> None:
        self.session = session
        self.unacknowledged = 0  # appends that have been accepted and not answered
        self.room: Room = service.room(room)
        self.writer = Writer(room, session, service.config.reorder_limit)
        self._service = service
        self._unread: list[str] = []  # messages that came before the room was open
        self._updates: deque[ClientUpdate] = deque()
        self._is_busy = False  # with the first of them
        self._is_paused = False
        self._is_stopping = False

    # Of a Talk.

    def began(self, socket: WebSocket) -> None:
        self.socket = socket
        self._service.entered(self)
        self._pace()

    def text(self, text: str) -> None:
        if not self.room.is_open:
            self._unread.append(text)  # no more than came in one piece with the handshake: we do not read
            return
        message = from_client(text)
        if isinstance(message, ClientUpdate):
            self._updates.append(message)
            self._serve()
        else:
            self._append(message)
        self._pace()

    def binary(self, data: bytes) -> None:
        self._error(Error("bad-json", "a message is text, not binary"))

    def drained(self) -> None:
        self._serve()

    def ended(self, code: int, reason: str) -> None:
        self._service.departed(self)

    def stopping(self) -> None:
        """The service stops: what was accepted is answered first."""
        self._is_stopping = True
        self._pace()
        self._close_if_done()

    # For the service.

    def opened(self) -> None:
        """The room is open: from here on it is followed."""
        self.room.followers[self] = None
        unread, self._unread = self._unread, []
        for text in unread:
            self.text(text)
        self._pace()

    def dismiss(self, why: str) -> None:
        """It cannot be served now, and may be later."""
        self.socket.close(1013, why)

    def follow(self, frames: bytes) -> None:
        """Send the frames of what has been committed."""
        self.socket.send(frames)

    def acknowledge(self, entry: bytes) -> None:
        """Tell it, and nobody else, of an entry that was there before."""
        self.socket.send(acks([entry]))

    def answered(self, error: Error | None = None) -> None:
        """An append is committed, and told, or refused."""
        self.unacknowledged -= 1
        if error is not None:
            self._error(error)
        self._pace()
        self._close_if_done()

    # What a client asks for.

    def _append(self, message: ClientAppend | Refused) -> None:
        try:
            if isinstance(message, Refused):
                self._error(message.error)
                if message.error.seq is not None:
                    self._service.sequencer.skip(self.writer, message.error.seq)
                    self._service.commit()
            else:
                self._service.append(self, message)
        except BadRequest as error:
            if isinstance(message, ClientAppend):
                self._error(Error(error.code, error.message, message.seq))

    def _serve(self) -> None:
        """Answer the updates, in turn, while the connection takes it."""
        room, config = self.room, self._service.config
        while self._updates and not self._is_busy and self.socket.is_writable:
            update = self._updates.popleft()
            high = room.latest if update.upto == -1 else min(update.upto, room.latest)
            low = max(room.first, high - min(update.n, config.max_entries) + 1)
            found = room.cached(low, high)
            if found is not None:
                self._reply(_newest(found, config.max_reply), room.latest)
                continue
            self._is_busy = True
            page = self._service.store.newest(room.name, low, high, config.max_entries, config.max_reply)
            if update.upto == -1:
                del room.followers[self]
                page.addCallback(self._found, room.latest).addErrback(self._not_found)
                page.addCallback(self._catch_up, room.latest)
            else:
                page.addCallback(self._found, None).addErrback(self._not_found)
                page.addCallback(self._done)
        self._pace()

    def _done(self, _: object) -> None:
        self._is_busy = False
        self._serve()

    def _found(self, page: Page, latest: int | None) -> None:
        self._reply(page.entries, self.room.latest if latest is None else latest)

    def _reply(self, entries: Sequence[bytes], latest: int) -> None:
        room = self.room
        self.socket.send_text(encode_reply(entries, latest, room.first, room.epoch, self.session))

    def _not_found(self, failure: Failure) -> None:
        self._reading_failed(failure)
        code = "overloaded" if failure.check(Overloaded) else "storage"
        self._error(Error(code, "the entries cannot be read now"))

    def _catch_up(self, _: object, told: int) -> None:
        """Tell what was committed while the connection was busy, and follow again."""
        room, config = self.room, self._service.config
        if not self.socket.is_open:
            return
        found = room.cached(told + 1, room.latest)
        if found is None:
            page = self._service.store.oldest(
                room.name, told + 1, room.latest, config.max_entries, config.max_reply
            )
            page.addCallbacks(self._caught_up, self._lost_track, callbackArgs=(told,))
            return
        if found:
            self.follow(acks(found))
        room.followers[self] = None
        self._done(None)

    def _caught_up(self, page: Page, told: int) -> None:
        if page.low == told + 1 and page.entries:
            self.follow(acks(page.entries))
            self._catch_up(None, told + len(page.entries))
        else:
            self._lost_track(None)

    def _lost_track(self, failure: Failure | None) -> None:
        """What it has to be told next cannot be read: it asks again when it comes back."""
        if failure is not None:
            self._reading_failed(failure)
        self.dismiss("what comes next cannot be read now: try again")

    def _reading_failed(self, failure: Failure) -> None:
        if not failure.check(Overloaded):
            self._service.reading_failed(failure)

    def _error(self, error: Error) -> None:
        self._service.refused(self, error)
        self.socket.send_text(encode_error(error))

    # What is not read.

    def _pace(self) -> None:
        """Read, or do not, as it stands now."""
        if not self.socket.is_open:
            return
        config = self._service.config
        pause = (
            not self.room.is_open
            or self._is_stopping
            or self.unacknowledged >= config.max_unacknowledged
            or len(self._updates) >= _MAX_UPDATES
        )
        if pause != self._is_paused:
            self._is_paused = pause
            if pause:
                self.socket.pause_reading()
            else:
                self.socket.resume_reading()

    def _close_if_done(self) -> None:
        if self._is_stopping and not self.unacknowledged:
            self.socket.close(1001, "the server stops")
            self.socket.resume_reading()  # for its answer to that


def _newest(entries: Sequence[bytes], max_bytes: int) -> Sequence[bytes]:
    """As many of the last of `entries` as are within a number of bytes; one at least."""
    size = 0
    for count, entry in enumerate(reversed(entries)):
        size += len(entry) + 1
        if count and size > max_bytes:
            return entries[-count:]
    return entries
