"""What the media chat tells of itself: who is there, what comes in, and who waits for an answer."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Protocol as Interface

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from protosuite.figures import Figure, Kind, counter, gauge, split
from protosuite.mediachat.media.interface import MediaStore
from protosuite.mediachat.media.upload import Upload
from protosuite.mediachat.tables import Chat, Message
from protosuite.storage.workers import Calls

_SHOWN = 20  # chats
_FRESH = 5.0  # seconds after which the store, or the media, are asked again, if anybody asks


class Store(Interface):
    """Where the chats are."""

    def awaiting(self, limit: int) -> Deferred[tuple[int, list[Chat]]]:
        """How many chats have something unread, and the `limit` with the oldest activity."""


@define
class Tally:
    """What was stored since the start: messages by who said them, and bytes of media."""

    messages: dict[str, int] = field(factory=lambda: {"client": 0, "desk": 0})
    media_bytes: int = 0

    def add(self, message: Message) -> None:
        """One more."""
        self.messages[message.sender] += 1
        if message.sha256 is not None:
            self.media_bytes += message.size or 0


@define(eq=False)
class Awaiting:
    """The chats that have something unread, as they were when the store was asked last: seconds ago."""

    store: Store
    clock: IReactorTime
    count: int | None = None
    chats: list[Chat] = field(factory=list)
    _asked_at: float = float("-inf")
    _is_asking: bool = False

    def refresh(self) -> None:
        """Ask the store, unless that was done just now, or is being done."""
        if self._is_asking or self.clock.seconds() - self._asked_at < _FRESH:
            return
        self._is_asking, self._asked_at = True, self.clock.seconds()
        self.store.awaiting(_SHOWN).addCallbacks(self._found, self._failed)

    def _found(self, found: tuple[int, list[Chat]]) -> None:
        self._is_asking = False
        self.count, self.chats = found

    def _failed(self, failure: Failure) -> None:
        """It is not known now. That the storage fails is said elsewhere."""
        self._is_asking = False
        self.count, self.chats = None, []


@define(eq=False)
class Room:
    """The bytes that are free for media, as they were when `media` was asked last: seconds ago.

    A thread of `calls` asks, one at a time: the folder may be of another machine, and hang.
    """

    media: MediaStore
    calls: Calls
    clock: IReactorTime
    free: int | None = None
    _asked_at: float = float("-inf")
    _is_asking: bool = False

    def refresh(self) -> None:
        """Ask, unless that was done just now, or is being done."""
        if self._is_asking or self.clock.seconds() - self._asked_at < _FRESH:
            return
        self._is_asking, self._asked_at = True, self.clock.seconds()
        self.calls.run(self.media.free).addCallbacks(self._found, self._failed)

    def _found(self, free: int | None) -> None:
        self._is_asking = False
        self.free = free

    def _failed(self, failure: Failure) -> None:
        """It is not known now. That the folder fails is said of what it is needed for."""
        self._is_asking = False
        self.free = None
        failure.trap(OSError)


def figures(
    clients: int, desks: int, uploads: Collection[Upload], tally: Tally, awaiting: Awaiting, room: Room
) -> Iterator[Figure]:
    """For machines."""
    awaiting.refresh()
    room.refresh()
    yield gauge("mediachat_clients", "Clients that are connected.", clients)
    yield gauge("mediachat_desks", "Consoles that are connected.", desks)
    yield gauge("mediachat_uploads", "Media messages that are being written.", len(uploads))
    unwritten = sum(upload.waiting for upload in uploads)
    yield gauge("mediachat_unwritten_bytes", "Bytes of media that wait for the disk.", unwritten)
    doc = "Messages that were stored, by who said them."
    yield split(Kind.COUNTER, "mediachat_messages_total", doc, "sender", tally.messages)
    yield counter("mediachat_media_bytes_total", "Bytes of media that were stored.", tally.media_bytes)
    doc = "Chats with messages that the desk has not read."
    yield gauge("mediachat_chats_awaiting", doc, awaiting.count)
    doc = "Bytes that are free in a folder of media that nodes share."
    yield gauge("mediachat_folder_free_bytes", doc, room.free)


def overview(
    connected: Mapping[int, Collection[object]], desks: int, uploads: Collection[Upload], awaiting: Awaiting
) -> Mapping[str, object]:
    """For people: who has waited for longest. `connected` has the connections of each chat."""
    awaiting.refresh()
    shown = [
        {
            "chat": chat.id,
            "client": chat.client_id,
            "unread": chat.unread,
            "since": chat.active_at,
            "connected": len(connected.get(chat.id, ())),
        }
        for chat in awaiting.chats
    ]
    return {
        "clients": len(connected),
        "desks": desks,
        "uploads": len(uploads),
        "awaiting": awaiting.count,
        "shown": shown,
    }
