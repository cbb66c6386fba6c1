"""One media message on its way to the disk: pieces in, a whole file out, with a bound on what waits."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol as Interface

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from protosuite.errors import StorageError
from protosuite.mediachat.media.interface import MediaStore, Part, Stored
from protosuite.mediachat.wire import Head
from protosuite.storage.workers import Calls

_SMALL = 4 << 10  # bytes; less is not kept by itself
GATHER = 0.05  # seconds for which what has come waits for more, so that both are written with one call


class Sender(Interface):
    """Where the pieces come from."""

    def upload_begun(self, upload: Upload, offset: int) -> None:
        """The file is open and goes on at `offset`."""

    def upload_relieved(self) -> None:
        """Something has been written, and more may come than waits now."""

    def upload_done(self, upload: Upload, outcome: Stored | Failure) -> None:
        """The file is whole, synced and in its place; or this went wrong, and nothing more is taken."""


class TakenOver(Exception):
    """The same upload goes on somewhere else."""


class _End(Enum):
    OPEN = auto()
    FINISH = auto()
    ABANDON = auto()


Receive = Callable[[Callable[[bytes], None]], bool]  # gives it the next bytes; whether there may be more


class Upload:
    """Writes in the threads of media, one call after the other, beginning when `behind` is closed.

    A call writes as much as has come, once that is half of `allowance`, the bytes that may wait, or the first
    of it has waited for :data:`GATHER`. Each call takes the interpreter from thread to thread and back: with
    256 KiB at a time uploads came at 410 MiB/s, and with a MiB at 500. Of what comes faster than that nothing
    need come by here: see :meth:`receive`.
    """

    def __init__(
        self,
        folder: MediaStore,
        calls: Calls,
        clock: IReactorTime,
        allowance: Callable[[], int],
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
        self._clock = clock
        self._allowance = allowance
        self._sender = sender
        self._pieces: list[bytes | bytearray] = []
        self._gathered = 0  # bytes in those
        self._is_due = False  # whether they have waited long enough
        self._gathering: IDelayedCall | None = None  # runs until then
        self._receiving: tuple[Receive, Callable[[], None]] | None = None
        self._end = _End.OPEN
        self._why: TakenOver | None = None
        self._wake: Deferred[None] | None = None
        Deferred.fromCoroutine(self._work(chat_id, unique, behind))

    def is_abandoned(self) -> bool:
        """Whether it ends before it is complete."""
        return self._end is _End.ABANDON

    def receive(self, receive: Receive, done: Callable[[], None]) -> None:
        """Call `receive` in a thread, with what takes the bytes behind those that have come.

        When there is no more, or the upload is over, call `done` here. Until then nothing else may come.
        """
        self._receiving = receive, done
        self._stir()

    def feed(self, data: bytes) -> None:
        """Bytes came."""
        if self._end is _End.OPEN:
            if len(data) >= _SMALL:
                self._pieces.append(data)
            else:
                self._add_small(data)
            self.waiting += len(data)
            self._gathered += len(data)
            if self._is_enough():
                self._stir()
            elif self._gathering is None:
                self._gathering = self._clock.callLater(GATHER, self._due)

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

    def _add_small(self, data: bytes) -> None:
        """Put it together with others: an object each would take forty times the memory of one byte."""
        last = self._pieces[-1] if self._pieces else None
        if not isinstance(last, bytearray):
            last = bytearray()
            self._pieces.append(last)
        last += data

    def _is_enough(self) -> bool:
        """Whether it is time to write, or all is over."""
        return self._is_due or self._end is not _End.OPEN or self._gathered * 2 >= self._allowance()

    def _due(self) -> None:
        self._gathering = None
        self._is_due = True
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
            self._take()
            self.waiting = 0
            self._give_back()
            if self.part is not None:
                may_be_over = isinstance(error, StorageError)  # then it can be gone on with
                await self._calls.run(self.part.close, may_be_over).addErrback(lambda _: None)
        self._give_back()
        self.closed.callback(None)
        if outcome is not None:
            self._sender.upload_done(self, Failure(outcome) if isinstance(outcome, Exception) else outcome)

    async def _write_all(self, chat_id: int, unique: str) -> Stored | TakenOver | None:
        """Write until the end. None if that was before the file was whole, and nobody asks why."""
        if self.is_abandoned():
            self._take()
            return self._why
        run = self._calls.run
        part = self.part = await run(self._folder.begin, chat_id, self.head, unique)
        if not self.is_abandoned():
            self._sender.upload_begun(self, part.offset)
        while self._pieces or self._end is _End.OPEN:
            if self._receiving is not None:
                await self._receive(part, *self._receiving)
            elif self._is_enough():
                await self._write(part)
            else:
                self._wake = Deferred()
                await self._wake
        if not self.is_abandoned():
            return await run(part.finish)
        await run(part.close, True)
        return self._why

    async def _write(self, part: Part) -> None:
        size = self._gathered
        await self._calls.run(part.write, self._take())
        self._written(size)

    async def _receive(self, part: Part, receive: Receive, done: Callable[[], None]) -> None:
        """Write what has come, and what is received then, in the same call."""
        self._receiving = None
        size, pieces = self._gathered, self._take()

        def call() -> bool:
            if pieces:
                part.write(pieces)
                pieces.clear()
            return receive(lambda piece: part.write((piece,))) and self._end is _End.OPEN

        try:
            await self._calls.repeat(call)
        finally:
            done()
        self._written(size)

    def _give_back(self) -> None:
        """Nothing is received any more."""
        if self._receiving is not None:
            _, done = self._receiving
            self._receiving = None
            done()

    def _written(self, size: int) -> None:
        self.waiting -= size
        if self.waiting < self._allowance():
            self._sender.upload_relieved()

    def _take(self) -> list[bytes | bytearray]:
        """All that has come and is not being written; it does not wait here any more."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        pieces, self._pieces = self._pieces, []
        self._gathered, self._is_due = 0, False
        return pieces
