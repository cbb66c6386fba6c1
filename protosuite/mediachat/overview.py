"""What the media chat tells of itself: who is there, what comes in, and who waits for an answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from protosuite.errors import Overloaded, StorageError
from protosuite.figures import Figure, Kind, counter, gauge, split
from protosuite.mediachat.media.uploads import Uploads
from protosuite.mediachat.tables import Chat, Message

T = TypeVar("T")

SHOWN = 20  # chats
_FRESH = 5.0  # seconds after which the store, or the media, are asked again, if anybody asks


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


@define(eq=False, repr=False)
class Asked(Generic[T]):
    """What `ask` has told last: seconds ago. Whatever it asks may hang, so it is asked one at a time."""

    ask: Callable[[], Deferred[T]]
    clock: IReactorTime
    told: T | None = None  # None: it is not known now. That something fails is said where it is needed.
    _asked_at: float = float("-inf")
    _is_asking: bool = False

    def refresh(self) -> None:
        """Ask, unless that was done just now, or is being done."""
        if self._is_asking or self.clock.seconds() - self._asked_at < _FRESH:
            return
        self._is_asking, self._asked_at = True, self.clock.seconds()
        self.ask().addCallbacks(self._has_told, self._failed)

    def _has_told(self, told: T) -> None:
        self._is_asking = False
        self.told = told

    def _failed(self, failure: Failure) -> None:
        self._is_asking = False
        self.told = None
        failure.trap(OSError, StorageError, Overloaded)


# How many chats have something unread, and those of them with the oldest activity.
Awaiting = Asked[tuple[int, list[Chat]]]
# Bytes that are free for media, where that can be said.
Free = Asked[int | None]


def figures(
    clients: int, desks: int, uploads: Uploads, tally: Tally, awaiting: Awaiting, free: Free
) -> Iterator[Figure]:
    """For machines."""
    awaiting.refresh()
    free.refresh()
    yield gauge("mediachat_clients", "Clients that are connected.", clients)
    yield gauge("mediachat_desks", "Consoles that are connected.", desks)
    yield gauge("mediachat_uploads", "Media messages that are being written.", len(uploads))
    yield gauge("mediachat_unwritten_bytes", "Bytes of media that wait for the disk.", uploads.unwritten)
    doc = "Messages that were stored, by who said them."
    yield split(Kind.COUNTER, "mediachat_messages_total", doc, "sender", tally.messages)
    yield counter("mediachat_media_bytes_total", "Bytes of media that were stored.", tally.media_bytes)
    doc = "Chats with messages that the desk has not read."
    yield gauge("mediachat_chats_awaiting", doc, awaiting.told[0] if awaiting.told else None)
    doc = "Bytes that are free in a folder of media that nodes share."
    yield gauge("mediachat_folder_free_bytes", doc, free.told)


def overview(
    connected: Mapping[int, Collection[object]], desks: int, uploads: Uploads, awaiting: Awaiting
) -> Mapping[str, object]:
    """For people: who has waited for longest. `connected` has the connections of each chat."""
    awaiting.refresh()
    count, oldest = awaiting.told or (None, [])
    shown = [
        {
            "chat": chat.id,
            "client": chat.client_id,
            "unread": chat.unread,
            "since": chat.active_at,
            "connected": len(connected.get(chat.id, ())),
        }
        for chat in oldest
    ]
    return {
        "clients": len(connected),
        "desks": desks,
        "uploads": len(uploads),
        "awaiting": count,
        "shown": shown,
    }
