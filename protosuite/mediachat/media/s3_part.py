"""One upload on its way into a bucket."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, cast
from typing import Protocol as Interface

from protosuite.mediachat.media.asking import NotThere
from protosuite.mediachat.media.bucket import Bucket
from protosuite.mediachat.media.interface import (
    BEGIN,
    BLOCK,
    MediaUnavailable,
    Stored,
    WrongHash,
    type_of,
)
from protosuite.mediachat.wire import Head


class Rooms(Interface):
    """Whoever bounds what a chat has begun."""

    def make_room(self, chat_id: int) -> None:
        """It begins another upload."""


def parts_key(name: int | str) -> str:
    """The key of what an upload has so far."""
    return f"parts/{name}"


def whole_key(digest: str) -> str:
    """The key of a file; of all files whose SHA-256 begin so."""
    return f"media/{digest[:2]}/{digest[2:]}"


class S3Part:
    """A :class:`.Part` in pieces of `size` bytes; a file that is not larger is put there at once, at its end.

    `offset` counts what S3 has, and what is in the nameless file that is sent next.
    """

    def __init__(
        self, rooms: Rooms, bucket: Bucket, chat_id: int, head: Head, name: str, size: int, spool: Path
    ) -> None:
        self.key = parts_key(name)
        self.offset = 0
        self._rooms = rooms
        self._bucket = bucket
        self._chat_id = chat_id
        self._head = head
        self._size = size
        self._file = cast(BinaryIO, tempfile.TemporaryFile(dir=spool))  # noqa: SIM115 - until it is closed
        self._held = 0  # bytes in that
        self._md5 = _md5()  # of them
        self._upload: str | None = None
        self._etags: list[str] = []
        self._is_whole = False  # whether S3 has made the object of all parts
        self._hash: Any = sha256()  # None when bytes are there that were not seen here
        self._begin = b""

    def find(self) -> None:
        """Go on where S3 has it, whichever node sent that."""
        for each in self._bucket.uploads(self.key):
            if each.key == self.key:
                with contextlib.suppress(NotThere):  # complete, or aborted, just now
                    etags, offset = self._sent(each.upload)
                    if offset > self.offset:
                        self._upload, self._etags, self.offset, self._hash = each.upload, etags, offset, None
        if self.offset == 0:
            with contextlib.suppress(NotThere):
                if self._bucket.size(self.key) == self._head.size:
                    self.offset, self._is_whole, self._hash = self._head.size, True, None

    def _sent(self, upload: str) -> tuple[list[str], int]:
        """The ETags of the parts that can be gone on behind, and how many bytes those are."""
        etags: list[str] = []
        offset = 0
        for part in self._bucket.sent(self.key, upload):
            is_last = offset + part.size == self._head.size
            if part.number != len(etags) + 1 or not (part.size == self._size or is_last):
                break
            etags.append(part.etag)
            offset += part.size
        return (etags, offset) if offset <= self._head.size else ([], 0)

    def write(self, pieces: Iterable[bytes | bytearray]) -> None:
        """Append. Whenever there is enough for a part, it goes to S3, and this waits for that."""
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                if self._held == self._size:  # and more comes: it was not all
                    self._send()
                some, rest = rest[: self._size - self._held], rest[self._size - self._held :]
                self._hold(some)

    def _hold(self, data: memoryview) -> None:
        self._file.write(data)
        self._md5.update(data)
        self._held += len(data)
        self.offset += len(data)
        if self._hash is not None:
            self._hash.update(data)
            if len(self._begin) < BEGIN:
                self._begin += data[: BEGIN - len(self._begin)]

    def _send(self) -> None:
        """What is held becomes the next part."""
        if self._upload is None:
            if self._head.upload is not None:
                self._rooms.make_room(self._chat_id)
            self._upload = self._bucket.begin(self.key)
        self._file.flush()
        number = len(self._etags) + 1
        try:
            etag = self._bucket.send(self.key, self._upload, number, self._file, self._md5.digest())
        except NotThere:
            raise MediaUnavailable("this upload ended elsewhere") from None
        self._etags.append(etag)
        self._file.seek(0)
        self._file.truncate()
        self._held, self._md5 = 0, _md5()

    def finish(self) -> Stored:
        """Put it in its place. What was sent from elsewhere is read again: nobody can have hashed it here."""
        if self._upload is None and not self._is_whole:
            digest = self._checked()
            self._file.flush()
            self._bucket.put(whole_key(digest), self._file, self._md5.digest())
        else:
            digest = self._finish_parts()
        self._file.close()
        return Stored(digest, self.offset, type_of(self._begin))

    def _finish_parts(self) -> str:
        if self._held:
            self._send()
        if self._hash is not None:
            self._checked()  # while nothing has become of it yet
        if not self._is_whole:
            self._complete()
        try:
            if self._hash is None:
                self._read()
            digest = self._checked()
            self._bucket.copy(self.key, whole_key(digest), self.offset)
            self._bucket.delete(self.key)
        except NotThere:
            raise MediaUnavailable("this upload ended elsewhere") from None
        return digest

    def _complete(self) -> None:
        """Let S3 make one object of the parts. It may have done so already, and its answer have got lost."""
        assert self._upload is not None
        try:
            self._bucket.complete(self.key, self._upload, self._etags)
        except NotThere:
            self._hash = None  # somebody has: see what that is
        self._is_whole = True

    def _read(self) -> None:
        size = self._bucket.size(self.key)
        if size != self.offset:
            raise MediaUnavailable(f"there are {size} bytes of {self.offset}")
        self._hash, self._begin = sha256(), b""
        for first in range(0, size, BLOCK):
            block = self._bucket.get(self.key, first, min(first + BLOCK, size) - 1)
            self._hash.update(block)
            self._begin = self._begin or block[:BEGIN]

    def _checked(self) -> str:
        """The SHA-256. Raises :exc:`.WrongHash`, and then nothing stays."""
        digest = str(self._hash.hexdigest())
        if self._head.sha256 is not None and self._head.sha256 != digest:
            self._drop()
            raise WrongHash(f"the bytes have the SHA-256 {digest}")
        return digest

    def close(self, keep: bool) -> None:
        """No more comes. What S3 has of it stays if it should and has a name to be found by."""
        self._file.close()
        if not (keep and self._head.upload is not None):
            self._drop()

    def _drop(self) -> None:
        """Have S3 forget it. What it does not now, a sweep will."""
        with contextlib.suppress(NotThere, MediaUnavailable):
            if self._is_whole:
                self._bucket.delete(self.key)
            elif self._upload is not None:
                self._bucket.abort(self.key, self._upload)


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)
