"""One connection of chatlog.v1: what it says, in turn, and what it is told."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol as Interface

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.auth.guard import Hold
from protosuite.auth.rules import Action
from protosuite.auth.tokens import Identity
from protosuite.chatlog.room import Room, acks
from protosuite.chatlog.sequencer import Sequencer, Writer
from protosuite.chatlog.store import ChatLogStore, Page
from protosuite.chatlog.wire import (
    ClientAppend,
    ClientUpdate,
    Error,
    encode_error,
    encode_reply,
    from_client,
)
from protosuite.config import ChatLogConfig
from protosuite.errors import BadRequest, Forbidden, Overloaded, StorageError, Unauthenticated
from protosuite.net.access import Access
from protosuite.net.websocket import GOING_AWAY, UNAUTHENTICATED, WebSocket

_MAX_UPDATES = 16  # of one connection that wait for those before; above it the connection is not read
_MAX_WAITING = (
    1 << 20
)  # characters of appends of one connection that wait; above it the connection is not read


class ChatLog(Interface):
    """What a member needs of its service."""

    config: ChatLogConfig
    log: Logger
    access: Access
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

    def current(self, room: Room) -> Deferred[None]:
        """Fires when all is told that any node had stored in a room by now; fails where nobody can tell."""

    def reading_failed(self, error: Exception) -> None:
        """The database could not be read."""


class Member:
    """A :class:`~protosuite.net.websocket.Talk` in one room, for as long as the token of `who` is good.

    It is told of every entry from its first ServerAck on. While the answer to a ClientUpdate for the
    latest is being read it is told of none: the acks go on where that answer ends.
    """

    socket: WebSocket

    def __init__(self, service: ChatLog, room: str, session: str, who: Identity | None = None) -> None:
        self.session = session
        self.who = who
        self.unacknowledged = 0  # appends that have been accepted and not answered
        self.room: Room = service.room(room)
        self.writer = Writer(room, session, service.config.reorder_limit)
        self._service = service
        self._is_guarded = service.access.guard.is_on
        self._most = service.config.max_unacknowledged
        self._hold = Hold()
        self._waiting_characters = 0  # in those
        self._unread: list[str] = []  # messages that came before the room was open
        self._updates: deque[ClientUpdate] = deque()
        self._is_busy = False  # with the first of them
        self._is_paused = False
        self._is_stopping = False

    # Of a Talk.

    def began(self, socket: WebSocket) -> None:
        self.socket = socket
        self._hold = self._service.access.guard.hold(self.who, self._expel)
        self._service.entered(self)
        self._pace()

    def text(self, text: str) -> None:
        if not self.socket.is_open:  # we have closed, and could not answer
            return
        if not self.room.is_open:
            self._unread.append(text)  # no more than came in one piece with the handshake: we do not read
            return
        message = from_client(text)
        if isinstance(message, ClientAppend):
            self._append(message)
            return
        if isinstance(message, ClientUpdate):
            self._updates.append(message)
            self._serve()
        else:
            self._refuse(message.error)
        self._pace()

    def binary(self, data: bytes) -> None:
        self.socket.spend()
        self._error(Error("bad-json", "a message is text, not binary"))

    def drained(self) -> None:
        self._serve()

    def ended(self, code: int, reason: str) -> None:
        self._hold.release()
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

    def _expel(self, reason: Unauthenticated) -> None:
        """The token is no longer good. What was accepted is committed all the same."""
        if self.socket.is_open:
            self._error(Error(reason.code, reason.message))
            self.socket.close(UNAUTHENTICATED, reason.message)

    def follow(self, frames: bytes) -> None:
        """Send the frames of what has been committed."""
        self.socket.send(frames)

    def acknowledge(self, entry: bytes) -> None:
        """Tell it, and nobody else, of an entry that was there before."""
        self.socket.send(acks([entry]))

    def answered(self, message: ClientAppend, error: Error | None = None) -> None:
        """An append is committed, and told, or refused."""
        self.unacknowledged -= 1
        self._waiting_characters -= len(message.content)
        if error is not None:
            self._error(error)
        if self._is_paused:
            self._pace()
        if self._is_stopping:
            self._close_if_done()

    # What a client asks for.

    def _append(self, message: ClientAppend) -> None:
        try:
            if self._is_guarded:  # it may be in the name of somebody who this is not
                self._service.access.guard.check(self.who, Action.CHATLOG_APPEND, message.author)
            self._service.append(self, message)
        except Forbidden as error:
            self._refuse(Error(error.code, error.message, message.seq))
        except BadRequest as error:
            self._error(Error(error.code, error.message, message.seq))
        else:
            self.unacknowledged += 1
            self._waiting_characters += len(message.content)
        if self.unacknowledged >= self._most or self._waiting_characters >= _MAX_WAITING:
            self._pace()

    def _refuse(self, error: Error) -> None:
        """Say why, and have nobody wait for the append that it was, if it was one."""
        self._error(error)
        if error.seq is not None:
            try:
                self._service.sequencer.skip(self.writer, error.seq)
            except BadRequest:
                return  # nobody does
            self._service.commit()

    def _serve(self) -> None:
        """Answer the updates, in turn, while the connection takes it."""
        if self._updates and not self._is_busy:
            self._is_busy = True
            Deferred.fromCoroutine(self._answer_all()).addErrback(self._failed)

    async def _answer_all(self) -> None:
        while self._updates and self.socket.is_writable:
            await self._answer(self._updates.popleft())
            self._pace()
        self._is_busy = False
        self._close_if_done()

    async def _answer(self, update: ClientUpdate) -> None:
        room, config = self.room, self._service.config
        is_for_latest = update.upto == -1 or update.upto >= room.latest  # or for what comes behind it
        if is_for_latest and not await self._is_current():
            return
        latest = room.latest
        high = latest if is_for_latest else min(update.upto, latest)
        low = max(room.first, high - min(update.n, config.max_entries) + 1)
        found = room.cached(low, high)
        if found is not None:
            self._reply(_newest(found, config.max_reply), latest)
            return
        if is_for_latest:
            del room.followers[self]
        try:
            page = await self._service.store.newest(
                room.name, low, high, config.max_entries, config.max_reply
            )
        except (StorageError, Overloaded) as error:
            self._cannot_be_read(error)
        else:
            room.holds_from(page.first)
            self._reply(page.entries, latest if is_for_latest else room.latest)
        if is_for_latest:
            await self._catch_up(latest)

    async def _is_current(self) -> bool:
        """Wait until the room is told as far as it is stored. False: it cannot be, or nobody is there."""
        try:
            await self._service.current(self.room)
        except (StorageError, Overloaded) as error:
            self._cannot_be_read(error)
            return False
        return self.socket.is_open

    def _reply(self, entries: Sequence[bytes], latest: int) -> None:
        room = self.room
        self.socket.send_text(encode_reply(entries, latest, room.first, room.epoch, self.session))

    def _cannot_be_read(self, error: StorageError | Overloaded) -> None:
        self._service.reading_failed(error)
        code = "overloaded" if isinstance(error, Overloaded) else "storage"
        self._error(Error(code, "the entries cannot be read now"))

    async def _catch_up(self, told: int) -> None:
        """Tell what was committed behind `told` while an answer was read, and follow again."""
        room, config = self.room, self._service.config
        while self.socket.is_open:
            found = room.cached(told + 1, room.latest)
            if found is not None:
                if found:
                    self.follow(acks(found))
                room.followers[self] = None
                return
            try:
                page = await self._service.store.oldest(
                    room.name, told + 1, room.latest, config.max_entries, config.max_reply
                )
            except (StorageError, Overloaded) as error:
                self._service.reading_failed(error)
                page = Page([], 0, 0)
            if not page.entries or page.low != told + 1:  # it asks again when it comes back
                self.dismiss("what comes next cannot be read now: try again")
                return
            self.follow(acks(page.entries))
            told += len(page.entries)

    def _failed(self, failure: Failure) -> None:
        """A defect of ours: it ends this connection only."""
        self._service.log.failure("{peer}: an answer failed", failure, peer=self.socket.peer)
        self.socket.close(1011)

    def _error(self, error: Error) -> None:
        self._service.refused(self, error)
        self.socket.send_text(encode_error(error))

    # What is not read.

    def _pace(self) -> None:
        """Read, or do not, as it stands now."""
        pause = (
            not self.room.is_open
            or self._is_stopping
            or self._has_enough()
            or len(self._updates) >= _MAX_UPDATES
        )
        if pause != self._is_paused and self.socket.is_open:
            self._is_paused = pause
            if pause:
                self.socket.pause_reading()
            else:
                self.socket.resume_reading()

    def _has_enough(self) -> bool:
        """Whether enough of its appends wait. Those that wait for one still to be read do not count."""
        is_much = self.unacknowledged >= self._most or self._waiting_characters >= _MAX_WAITING
        return is_much and self.unacknowledged > self.writer.held

    def _close_if_done(self) -> None:
        """Close when nothing is owed. An append that waits for one that has not come was never in turn."""
        if self._is_stopping and not self._is_busy and self.unacknowledged == self.writer.held:
            self.socket.close(*GOING_AWAY)


def _newest(entries: Sequence[bytes], max_bytes: int) -> Sequence[bytes]:
    """As many of the last of `entries` as are within a number of bytes; one at least."""
    size = 0
    for count, entry in enumerate(reversed(entries)):
        size += len(entry) + 1
        if count and size > max_bytes:
            return entries[-count:]
    return entries
