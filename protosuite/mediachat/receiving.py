"""What the desk says, taken in order and once: texts as they are, media saved to files first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.errors import PeerFault
from protosuite.mediachat.saving import SaveFolder, StateFile, Taken, WrongBytes
from protosuite.mediachat.sending import RunInThread
from protosuite.mediachat.wire import FromDesk, MediaFromDesk

_MAX_ITEMS = 100  # that wait to be taken; above it the connection is not read
_MAX_BYTES = 1 << 20  # of media that wait to be written; above it the connection is not read

log = Logger()


@frozen
class Received:
    """A message of the desk: a text, or media with the file where they were saved, if they were."""

    id: int
    kind: str
    at: int
    text: str | None = None
    name: str | None = None
    size: int | None = None
    sha256: str | None = None
    url: str | None = None
    path: Path | None = None


Take = Callable[[Received], object]
Coming = Callable[[MediaFromDesk, int], None]  # media, and how many of their bytes have been written


@define(eq=False, repr=False)
class _Item:
    """Something that came, or is coming."""

    message: FromDesk | MediaFromDesk
    left: int = 0  # bytes that are still to come
    pieces: list[bytes] = field(factory=list)  # that came and are not written
    is_unwanted: bool = False  # its bytes
    is_cut: bool = False  # the rest will not come, or not here


class Receiving:
    """Takes one message after the other: it is saved, handed to `take`, and then counts as taken.

    `take` may answer with a Deferred. What `state` is told is what need not come again. `pace` is called
    when :attr:`is_full` may have changed, `trouble` with what calls for a new connection, and `failed`
    when something cannot be kept: then nothing more is taken.
    """

    def __init__(
        self,
        run_in_thread: RunInThread,
        take: Take,
        after: int | None,
        folder: SaveFolder | None,
        state: StateFile | None,
        on_coming: Coming | None,
        pace: Callable[[], None],
        trouble: Callable[[str], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self.after = after
        self.is_inline = folder is not None
        self._run = run_in_thread
        self._take = take
        self._folder = folder
        self._state = state
        self._on_coming = on_coming or (lambda media, done: None)
        self._pace = pace
        self._trouble = trouble
        self._failed = failed
        self._saving: tuple[int, str] | None = None  # see Taken
        self._items: deque[_Item] = deque()  # not begun
        self._now: _Item | None = None
        self._coming: _Item | None = None  # whose bytes come
        self._waiting = 0  # bytes
        self._is_working = False
        self._is_closed = False
        self._wake: Deferred[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether no more should come for now."""
        return len(self._items) >= _MAX_ITEMS or self._waiting >= _MAX_BYTES

    async def open(self) -> None:
        """Find out where to go on, and prepare the folder. Raises `OSError` and `ValueError`."""
        if self._state is not None:
            taken = await self._run(self._state.load) or Taken(self.after or 0)
            self.after, self._saving = taken.after, taken.saving
        if self._folder is not None:
            await self._run(self._folder.open)

    def message(self, message: FromDesk | MediaFromDesk) -> None:
        """A message came. Raises :exc:`PeerFault` if that cannot be."""
        if self._coming is not None:
            raise PeerFault("bad-order", f"the bytes of message {self._coming.message.id} are not complete")
        item = _Item(message)
        if isinstance(message, MediaFromDesk) and self._folder is not None:
            item.left = message.size
        self._coming = item if item.left else None
        self._items.append(item)
        self._go_on()

    def data(self, data: bytes) -> None:
        """Bytes of media came. Raises :exc:`PeerFault` if none were to come."""
        item = self._coming
        if item is None or len(data) > item.left:
            raise PeerFault("overrun", "bytes came that were not announced")
        item.left -= len(data)
        if not item.left:
            self._coming = None
        if not item.is_unwanted:
            item.pieces.append(data)
            self._waiting += len(data)
        self._stir()

    def cut(self) -> None:
        """The connection is gone: what is not whole comes again."""
        for item in [*self._items, *([self._coming] if self._coming else [])]:
            self._drop(item)
            item.is_cut = True
        self._items.clear()
        self._coming = None
        self._stir()

    def close(self) -> None:
        """Take nothing more."""
        self._is_closed = True
        if self._now is not None and self._now.left:
            self._now.is_cut = True
        self.cut()

    def _drop(self, item: _Item) -> None:
        """The bytes of an item are not needed."""
        item.is_unwanted = True
        self._waiting -= sum(map(len, item.pieces))
        item.pieces.clear()

    def _stir(self) -> None:
        if self._wake is not None:
            wake, self._wake = self._wake, None
            wake.callback(None)

    def _go_on(self) -> None:
        if not self._is_working:
            self._is_working = True
            Deferred.fromCoroutine(self._work())

    async def _work(self) -> None:
        try:
            while self._items and not self._is_closed:
                item = self._now = self._items.popleft()
                self._pace()
                if item.message.id > (self.after or 0):
                    await self._take_one(item)
                else:
                    self._drop(item)  # it was on its way when the connection was lost, and came again
        except Exception:
            self._is_closed = True
            self._failed(Failure())
        finally:
            self._now = None
            self._is_working = False

    async def _take_one(self, item: _Item) -> None:
        message = item.message
        if isinstance(message, FromDesk):
            received = Received(message.id, "text", message.at, text=message.text)
        else:
            path = None
            if self._folder is not None:
                path = await self._save(item, message, self._folder)
                if path is None:
                    return
            received = Received(
                message.id,
                message.kind,
                message.at,
                name=message.name,
                size=message.size,
                sha256=message.sha256,
                url=message.url,
                path=path,
            )
        if self._is_closed:
            return
        try:
            answer = self._take(received)
            if isinstance(answer, Deferred):
                await answer
        except Exception:
            log.failure("a message of the desk was not taken")
        self.after, self._saving = message.id, None
        if self._state is not None:
            await self._run(self._state.save, Taken(message.id))

    async def _save(self, item: _Item, media: MediaFromDesk, folder: SaveFolder) -> Path | None:
        """Where the bytes of `item` are now; None if they did not come."""
        if self._saving is not None and self._saving[0] == media.id:
            path: Path | None = await self._run(folder.has, self._saving[1], media.size, media.sha256)
            if path is not None:  # this program was killed just behind saving it
                self._drop(item)
                self._pace()
                return path
        incoming = await self._run(folder.begin)
        try:
            done = 0
            while item.pieces or (item.left and not item.is_cut):
                if not item.pieces:
                    self._wake = Deferred()
                    await self._wake
                    continue
                pieces, item.pieces = item.pieces, []
                await self._run(incoming.write, pieces)
                size = sum(map(len, pieces))
                done += size
                self._waiting -= size
                self._pace()
                self._shows(media, done)
            if not item.is_cut:
                return await self._finish(incoming, media)
        except WrongBytes as error:
            self._trouble(f"message {media.id}: {error}")
        finally:
            await self._run(incoming.abandon)
        return None

    async def _finish(self, incoming: Any, media: MediaFromDesk) -> Path:
        state, after = self._state, self.after or 0

        def note(name: str) -> None:
            if state is not None:
                state.save(Taken(after, (media.id, name)))

        path: Path = await self._run(incoming.finish, media.name, media.size, media.sha256, note)
        return path

    def _shows(self, media: MediaFromDesk, done: int) -> None:
        try:
            self._on_coming(media, done)
        except Exception:
            log.failure("progress was not taken")


__all__ = ["Received", "Receiving"]
