"""One media message on its way to the disk: pieces in, a whole file out, with a bound on what waits."""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol as Interface

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from protosuite.errors import StorageError
from protosuite.mediachat.media.interface import MediaStore, Part, Stored
from protosuite.mediachat.wire import Head
from protosuite.storage.workers import Calls


class Sender(Interface):
    """Where the pieces come from."""

    def upload_begun(self, upload: Upload, offset: int) -> None:
        """The file is open and goes on at `offset`."""

    def upload_relieved(self) -> None:
        """Everything that waited has been written."""

    def upload_done(self, upload: Upload, outcome: Stored | Failure) -> None:
        """The file is whole, synced and in its place; or this went wrong, and nothing more is taken."""


class TakenOver(Exception):
    """The same upload goes on somewhere else."""


class _End(Enum):
    OPEN = auto()
    FINISH = auto()
    ABANDON = auto()


class Upload:
    """Writes in the threads of media, one call after the other, beginning when `behind` is closed."""

    def __init__(
        self,
        folder: MediaStore,
        calls: Calls,
        chat_id: int,
        head: Head,
        unique: str,
        sender: Sender,
        behind: Upload | None = None,
    ) -> None:
        self.head = head
        self.waiting = 0  # bytes that have come and are not written
        self.part: Part | None = None
        self.closed: Deferred[None] = Deferred()  # fires when the file is in nobody's hands
        self._folder = folder
        self._calls = calls
        self._sender = sender
        self._pieces: list[bytes] = []
        self._end = _End.OPEN
        self._why: TakenOver | None = None
        self._wake: Deferred[None] | None = None
        Deferred.fromCoroutine(self._work(chat_id, unique, behind))

    def is_abandoned(self) -> bool:
        """Whether it ends before it is complete."""
        return self._end is _End.ABANDON

    def feed(self, data: bytes) -> None:
        """Bytes came."""
        if self._end is _End.OPEN:
            self._pieces.append(data)
            self.waiting += len(data)
            self._stir()

    def finish(self) -> None:
        """That was all."""
        self._close(_End.FINISH)

    def abandon(self) -> None:
        """No more comes. What is there stays, if it has a name to be found by."""
        self._close(_End.ABANDON)

    def take_over(self) -> None:
        """It goes on somewhere else, if all of it has not come: the sender is told that it failed."""
        if self._end is _End.OPEN:
            self._why = TakenOver()
            self.abandon()

    def _close(self, end: _End) -> None:
        if self._end is _End.OPEN:
            self._end = end
            self._stir()

    def _stir(self) -> None:
        if self._wake is not None:
            wake, self._wake = self._wake, None
            wake.callback(None)

    async def _work(self, chat_id: int, unique: str, behind: Upload | None) -> None:
        outcome: Stored | Exception | None
        try:
            if behind is not None:
                await behind.closed
            outcome = await self._write_all(chat_id, unique)
        except Exception as error:
            outcome = error
            self._end = _End.ABANDON
            self._pieces.clear()
            self.waiting = 0
            if self.part is not None:
                may_be_over = isinstance(error, StorageError)  # then it can be gone on with
                await self._calls.run(self.part.close, may_be_over).addErrback(lambda _: None)
        self.closed.callback(None)
        if outcome is not None:
            self._sender.upload_done(self, Failure(outcome) if isinstance(outcome, Exception) else outcome)

    async def _write_all(self, chat_id: int, unique: str) -> Stored | TakenOver | None:
        """Write until the end. None if that was before the file was whole, and nobody asks why."""
        run = self._calls.run
        if not self.is_abandoned():
            part = self.part = await run(self._folder.begin, chat_id, self.head, unique)
            if not self.is_abandoned():
                self._sender.upload_begun(self, part.offset)
            while self._pieces or self._end is _End.OPEN:
                if self._pieces:
                    await self._write(part)
                else:
                    self._wake = Deferred()
                    await self._wake
            if not self.is_abandoned():
                return await run(part.finish)
            await run(part.close, True)
        return self._why

    async def _write(self, part: Part) -> None:
        pieces, self._pieces = self._pieces, []
        await self._calls.run(part.write, pieces)
        self.waiting -= sum(map(len, pieces))
        if not self._pieces:
            self._sender.upload_relieved()
