"""A room that somebody is in: who follows it, and its last entries."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol as Interface

from protosuite.chatlog.store import Committed, RoomState
from protosuite.chatlog.wire import encode_ack
from protosuite.net.websocket import text_frame


class Follower(Interface):
    """A connection in the room."""

    def opened(self) -> None:
        """The room is open."""

    def follow(self, frames: bytes) -> None:
        """Send the ServerAcks of what has been committed, each in its turn."""

    def dismiss(self, why: str) -> None:
        """The room cannot be served now."""


class Room:
    """What is told in one room. `latest` is the last slot that has been told to everybody here.

    Its last entries are kept, encoded: at most `cache_entries` of them, and `cache_bytes`.
    """

    def __init__(self, name: str, epoch: str, cache_entries: int, cache_bytes: int) -> None:
        self.name = name
        self.epoch = epoch
        self.latest = 0
        self.first = 1
        self.is_open = False  # what is stored of it is known
        self.is_heard = False  # what other nodes store of it is
        self.wanted = 0  # the last slot that is known to be stored
        self.owed: deque[Committed] = deque()  # that are answered when they have been told, by slot
        self.pending = 0  # appends that have been accepted and are not answered
        self.members: set[Follower] = set()
        self.followers: dict[Follower, None] = {}  # members who have been told everything up to `latest`
        self._recent: deque[bytes] = deque()  # up to `latest`
        self._recent_bytes = 0
        self._cache_entries = cache_entries
        self._cache_bytes = cache_bytes

    @property
    def is_idle(self) -> bool:
        """Whether nobody needs it."""
        return not self.members and not self.pending

    def open(self, state: RoomState) -> None:
        """What is stored of the room has been read."""
        self.epoch, self.latest = state.epoch, state.latest
        self.holds_from(state.first)  # what was swept meanwhile was told before
        self.is_open = True

    def begin_again(self, state: RoomState) -> None:
        """What comes behind `latest` is not told to those who are here."""
        self.followers.clear()
        self._recent.clear()
        self._recent_bytes = 0
        self.open(state)

    def holds_from(self, first: int) -> None:
        """What is before slot `first` has been deleted."""
        self.first = max(self.first, first)

    def committed(self, entries: Sequence[bytes]) -> None:
        """The entries behind `latest` are stored: tell everybody, with one write each."""
        for entry in entries:
            self._recent.append(entry)
            self._recent_bytes += len(entry)
        self.latest += len(entries)
        while self._recent and (
            len(self._recent) > self._cache_entries or self._recent_bytes > self._cache_bytes
        ):
            self._recent_bytes -= len(self._recent.popleft())
        frames = acks(entries)
        for follower in list(self.followers):
            follower.follow(frames)

    def cached(self, low: int, high: int) -> list[bytes] | None:
        """The entries from `low` to `high`, if all of them are in memory."""
        oldest = self.latest - len(self._recent) + 1
        if low > high:
            return []
        if low < oldest:
            return None
        return [self._recent[slot - oldest] for slot in range(low, high + 1)]


def acks(entries: Sequence[bytes]) -> bytes:
    """The frames of the ServerAcks of encoded entries."""
    return b"".join([text_frame(encode_ack(entry)) for entry in entries])
