"""Files on their way to the desk: one after the other, going on where the server has them."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, BinaryIO

from attrs import define, evolve
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.errors import Overloaded, ServerRefused
from protosuite.mediachat.wire import CANCEL, Head, Status, encode_head
from protosuite.net.websocket import WebSocket

RunInThread = Callable[..., Deferred[Any]]
Progress = Callable[[int, int], None]  # bytes that have been sent, of how many

TEMPORARY = ("storage", "overloaded")  # what the server may be able to do later

_FRAME = 64 << 10  # bytes; the least that a server can be told to take
_READ = 4 * _FRAME  # bytes read at once, which is also what is held in memory
_HASHED = 4 << 20  # bytes hashed at once, between two looks whether that is still wanted


@define(eq=False, repr=False)
class _Job:
    """One file, and who waits for it."""

    file: Path | BinaryIO
    head: Head  # without size, hash and, often, upload name until the file has been read
    on_progress: Progress
    answer: Deferred[Status]
    is_cancelled: bool = False

    def shows(self, done: int) -> None:
        """Tell how far it has come."""
        try:
            self.on_progress(done, self.head.size)
        except Exception:
            log.failure("progress was not taken")


log = Logger()


class Sending:
    """A queue of at most `most` files. `trouble` is told what calls for a new connection.

    It sends over the connection that it was given by :meth:`connected` and wants to hear of everything
    that happens there.
    """

    def __init__(
        self,
        run_in_thread: RunInThread,
        most: int,
        trouble: Callable[[str], None],
        progressed: Callable[[], None],
    ) -> None:
        self.is_owed = False  # an answer
        self._run = run_in_thread
        self._most = most
        self._trouble = trouble
        self._progressed = progressed
        self._jobs: deque[_Job] = deque()  # the first is being sent
        self._socket: WebSocket | None = None
        self._asked: str | None = None  # the upload that the server was last told of
        self._status: Status | None = None  # what it said about that
        self._is_working = False
        self._is_closed = False
        self._wake: Deferred[None] | None = None

    def add(self, file: Path | BinaryIO, head: Head, on_progress: Progress) -> Deferred[Status]:
        """Send a file behind those before it. The size, hash and upload name of `head` are filled in."""
        if len(self._jobs) >= self._most:
            return fail(Overloaded(f"{self._most} files wait to be sent"))
        job = _Job(file, head, on_progress, Deferred(lambda _: self._cancel(job)))
        self._jobs.append(job)
        if not self._is_working:
            self._is_working = True
            Deferred.fromCoroutine(self._work())
        return job.answer

    def connected(self, socket: WebSocket) -> None:
        """The server can be told of files."""
        self._socket = socket
        self.stir()

    def lost(self) -> None:
        """It cannot any more."""
        self._socket = None
        self.is_owed = False
        self.stir()

    def stir(self) -> None:
        """Something has happened: look again."""
        if self._wake is not None:
            wake, self._wake = self._wake, None
            wake.callback(None)

    def status(self, status: Status) -> None:
        """The server has said something about an upload."""
        if self._socket is not None and status.upload == self._asked:
            self._status = status
            self.is_owed = False
            self.stir()

    def close(self, error: Exception) -> None:
        """Stop; what is not sent fails."""
        self._is_closed = True
        jobs = list(self._jobs)
        self.stir()
        for job in jobs:
            if not job.answer.called:
                job.answer.errback(error)

    def _cancel(self, job: _Job) -> None:
        job.is_cancelled = True
        if job in self._jobs and job is not self._jobs[0]:
            self._jobs.remove(job)
        self.stir()

    async def _work(self) -> None:
        while self._jobs and not self._is_closed:
            job = self._jobs[0]
            outcome: Status | Failure | None
            try:
                outcome = await self._send(job)
            except Exception:
                outcome = Failure()
            self._jobs.popleft()
            if outcome is not None and not job.answer.called:
                job.answer.callback(outcome)  # a Failure fails it
        self._jobs.clear()
        self._is_working = False

    async def _send(self, job: _Job) -> Status | None:
        """What became of a file; None if nobody wants to know any more."""
        file: BinaryIO = await self._run(_open, job.file) if isinstance(job.file, Path) else job.file
        try:
            if not await self._prepare(job, file):
                return None
            while (status := await self._try(job, file)) is None and not self._is_over(job):
                pass
        finally:
            if isinstance(job.file, Path):
                await self._run(file.close)
        if status is not None and status.status == "error":
            raise ServerRefused(status.code or "error", status.detail or "")
        return status

    async def _prepare(self, job: _Job, file: BinaryIO) -> bool:
        """Learn the size and hash of a file; False if it is not wanted any more."""
        size = await self._run(file.seek, 0, os.SEEK_END)
        job.head = evolve(job.head, size=size)
        digest = sha256()
        done = 0
        while done < size and not self._is_over(job):
            job.shows(0)
            done += await self._run(_hash, file, done, digest)
        name = blake2b(digest.digest(), digest_size=20)
        name.update(repr((job.head.name, job.head.kind)).encode())
        upload = job.head.upload or name.hexdigest()
        job.head = evolve(job.head, sha256=digest.hexdigest(), upload=upload)
        return not self._is_over(job)

    async def _try(self, job: _Job, file: BinaryIO) -> Status | None:
        """Send a file over a connection; None if that did not end with an answer."""
        while self._socket is None and not self._is_over(job):
            await self._change()
        socket = self._socket
        if socket is None or self._is_over(job):
            return None
        self._asked, self._status, self.is_owed = job.head.upload, None, True
        socket.send_binary(encode_head(job.head))
        status = await self._answer(socket)
        if status is not None and status.status == "ready":
            if not await self._stream(job, file, socket, status.offset or 0):
                return None
            status = await self._answer(socket)
        if status is None:
            return None
        if status.status == "ready" or (status.status == "error" and status.code in TEMPORARY):
            self._trouble(f"the server says {status.code or status.status}: {status.detail or 'again'}")
            return None
        self._asked = None
        self._progressed()
        return status

    async def _stream(self, job: _Job, file: BinaryIO, socket: WebSocket, offset: int) -> bool:
        """Send the bytes from `offset` on; False if they cannot be, or nobody wants it any more."""
        self._status = None
        size = job.head.size
        if offset > size:
            self._trouble(f"the server has {offset} of {size} bytes")
            return False
        if offset:
            self._progressed()
        job.shows(offset)
        try:
            while offset < size and self._may_go_on(job, socket):
                offset = await self._send_block(job, file, socket, offset)
        finally:
            if offset < size and self._socket is socket:
                socket.send_text(CANCEL)  # so the server knows that what comes next is something else
        self.is_owed = self._status is None and self._socket is socket
        return not (self._is_over(job) and offset < size)

    async def _send_block(self, job: _Job, file: BinaryIO, socket: WebSocket, offset: int) -> int:
        """Send a few frames as the connection takes them; how far that came."""
        size = job.head.size
        block = await self._run(_read, file, offset, min(_READ, size - offset))
        if len(block) < min(_READ, size - offset):
            raise OSError(errno.EIO, "the file is shorter than it was", str(job.head.name))
        for begin in range(0, len(block), _FRAME):
            while not socket.is_writable and self._may_go_on(job, socket):
                await self._change()
            if not self._may_go_on(job, socket):
                break
            frame = block[begin : begin + _FRAME]
            socket.send_binary(frame)
            offset += len(frame)
            job.shows(offset)
        return offset

    async def _answer(self, socket: WebSocket) -> Status | None:
        """What the server says; None if the connection was lost before."""
        while self._status is None and self._socket is socket and not self._is_closed:
            await self._change()
        return self._status

    async def _change(self) -> None:
        assert self._wake is None
        self._wake = Deferred()
        await self._wake

    def _is_over(self, job: _Job) -> bool:
        return job.is_cancelled or self._is_closed

    def _may_go_on(self, job: _Job, socket: WebSocket) -> bool:
        return self._status is None and self._socket is socket and not self._is_over(job)


def _open(path: Path) -> BinaryIO:
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a file", str(path))  # to open a pipe could take forever
    return path.open("rb")


def _hash(file: BinaryIO, offset: int, digest: Any) -> int:
    block = _read(file, offset, _HASHED)
    if not block:
        raise OSError(errno.EIO, "the file is shorter than it was")
    digest.update(block)
    return len(block)


def _read(file: BinaryIO, offset: int, most: int) -> bytes:
    file.seek(offset)
    return file.read(most)


__all__ = ["TEMPORARY", "Progress", "RunInThread", "Sending"]
