"""What a client says on one connection, in turn, and what follows from it. Pure.

After the hello a text frame is a text message, and a binary frame begins a media message or goes on with
the one that was begun. A client sends every byte that it has announced, whatever it is told meanwhile, or
a ``cancel``: so it is always known what the next binary frame is. An upload with a name is begun by the
server's ``ready``; where the answer to its head is another one, no bytes follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum, auto

from attrs import define, frozen

from protosuite.errors import PeerFault
from protosuite.hours import Hours, Zone
from protosuite.mediachat.wire import Cancel, Head, Status, Text, head, spoken

NONSENSE = 4003  # our close code for a stream that makes no sense any more


@frozen
class SaveText:
    """Store it, then say ``saved``."""

    text: Text


@frozen
class DiscardText:
    """It came outside the hours, which begin again at `next_open_at`: record that it did, then say so."""

    text: Text
    next_open_at: int | None


@frozen
class Begin:
    """A media message begins. If it has an ``upload`` name, answer with :meth:`Conversation.ready`."""

    head: Head


@frozen
class Discard:
    """A media message came outside the hours: record that it did, then say so. Its bytes are not kept."""

    head: Head
    next_open_at: int | None


@frozen
class Data:
    """Bytes of the media message that was begun."""

    data: bytes


@frozen
class Finish:
    """All of its bytes have come: store it, then say ``saved``."""


@frozen
class Abandon:
    """It will not be finished here. What has come of it is kept if it has a name."""


@frozen
class Answer:
    """Say this."""

    status: Status


@frozen
class Close:
    """Close the connection: nothing that follows would make sense."""

    code: int
    reason: str


Step = SaveText | DiscardText | Begin | Discard | Data | Finish | Abandon | Answer | Close


class _Media(Enum):
    """What the next binary frame is."""

    NONE = auto()  # a head
    WAITING = auto()  # nothing yet: the client waits for `ready`
    STORING = auto()  # bytes that are kept
    DRAINING = auto()  # bytes that are not


@define
class Conversation:
    """One connection after its hello. `hours` are by kind, ``text`` among them; times are milliseconds."""

    zone: Zone
    is_plain: bool
    hours: Mapping[str, Hours]
    max_media: int
    _state: _Media = _Media.NONE
    _head: Head | None = None  # of the media message that was begun last
    _left: int = 0  # bytes of it that are still to come
    _is_over: bool = False
    _minute: int = -1  # since the epoch, for which it is known
    _takes_text: bool = False  # whether that minute is within the hours of texts

    # Each of these moves the state first and returns what follows, to be done in this order.

    def text(self, text: str, now: int) -> list[Step]:
        """A text frame came."""
        if self._is_over:
            return []
        try:
            message = spoken(text, self.is_plain)
        except PeerFault as fault:
            return [Answer(Status("error", code=fault.code, detail=fault.message))]
        if isinstance(message, Cancel):
            return list(self._cancel())
        minute = now // 60_000
        if minute != self._minute:  # hours are kept by the minute: it is looked up once in each
            self._minute, self._takes_text = minute, self.hours["text"].is_open(now, self.zone)
        if self._takes_text:
            return [SaveText(message)]
        return [DiscardText(message, self.hours["text"].next_open(now, self.zone))]

    def binary(self, data: bytes, now: int) -> list[Step]:
        """A binary frame came."""
        return [] if self._is_over else list(self._binary(data, now))

    def takes(self, size: int) -> bool:
        """Whether a binary frame of so many bytes would be kept. Then `binary` takes it in parts, too."""
        return self._state is _Media.STORING and size <= self._left

    def goes_on(self, size: int) -> bool:
        """Whether so many bytes are kept, with more to come. Then they are counted, and that was all."""
        if self._state is not _Media.STORING or size >= self._left:
            return False
        self._left -= size
        return True

    @property
    def coming(self) -> int:
        """Bytes that are to come of the media message, and to be kept."""
        return self._left if self._state is _Media.STORING else 0

    def kept(self, size: int) -> None:
        """So many of the bytes that were :attr:`coming` have been kept, and are not all."""
        self._left -= size

    def awaits(self, head: Head) -> bool:
        """Whether the client waits for the answer to this head. It may have thought better of it."""
        return self._state is _Media.WAITING and head is self._head

    def ready(self, head: Head, offset: int) -> list[Step]:
        """The upload that was begun goes on at `offset`."""
        if not self.awaits(head):
            return []
        self._state, self._left = _Media.STORING, head.size - offset
        return list(self._finish_if_done())

    def refused(self, head: Head) -> None:
        """The media message that was begun cannot be stored: what is still to come of it is dropped."""
        if self.awaits(head):
            self._state = _Media.NONE
        elif self._state is _Media.STORING and head is self._head:
            self._state = _Media.DRAINING

    def _binary(self, data: bytes, now: int) -> Iterator[Step]:
        if self._state is _Media.NONE:
            yield from self._begin(data, now)
        elif self._state is _Media.WAITING or len(data) > self._left:
            yield from self._nonsense("overrun", f"{len(data)} bytes came where {self._left} were to come")
        else:
            is_kept = self._state is _Media.STORING
            self._left -= len(data)
            if is_kept and data:
                yield Data(data)
            yield from self._finish_if_done()

    def _begin(self, data: bytes, now: int) -> Iterator[Step]:
        try:
            found = head(data)
        except PeerFault as fault:
            yield from self._nonsense(fault.code, fault.message)
            return
        hours = self.hours[found.kind]
        is_open = hours.is_open(now, self.zone)
        if found.size > self.max_media:
            detail = f"{found.size} bytes; at most {self.max_media}"
            yield Answer(Status("error", code="too-large", detail=detail, upload=found.upload))
        elif is_open:
            yield Begin(found)
        else:
            yield Discard(found, hours.next_open(now, self.zone))
        is_kept = is_open and found.size <= self.max_media
        self._head = found
        if found.upload is not None:
            self._state = _Media.WAITING if is_kept else _Media.NONE
            return
        self._state, self._left = _Media.STORING if is_kept else _Media.DRAINING, found.size
        yield from self._finish_if_done()

    def _finish_if_done(self) -> Iterator[Step]:
        if self._left == 0:
            is_kept, self._state = self._state is _Media.STORING, _Media.NONE
            if is_kept:
                yield Finish()

    def _cancel(self) -> Iterator[Step]:
        state, self._state, self._left = self._state, _Media.NONE, 0
        if state in (_Media.STORING, _Media.WAITING):
            yield Abandon()
            yield Answer(Status("error", code="cancelled", detail="the upload was cancelled"))

    def _nonsense(self, code: str, detail: str) -> Iterator[Step]:
        self._is_over = True
        state, self._state = self._state, _Media.NONE
        if state in (_Media.STORING, _Media.WAITING):
            yield Abandon()
        yield Answer(Status("error", code=code, detail=detail))
        yield Close(NONSENSE, "nothing that follows can be understood")
