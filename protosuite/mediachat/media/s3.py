"""Media in a bucket: small ones put there at once, others in parts while they come.

``media/ab/cd…`` is a file, as in a folder. What an upload has so far are the parts of a multipart upload of
the key ``parts/<name>``: S3 itself knows them, and so does every node that asks it. What is not a part yet
waits in a nameless file of this machine; if the upload is broken off, the client sends that much again. At
the end they become the object ``parts/<name>``, which is copied to its name: it is there whole or not at all.

A file that no message has is copied to ``aside/`` before it is deleted: see `shared`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterable, Iterator
from hashlib import md5
from io import BytesIO
from pathlib import Path

from protosuite.errors import Overloaded
from protosuite.figures import Figure
from protosuite.mediachat.media.address import Address
from protosuite.mediachat.media.asking import Asking, NotThere
from protosuite.mediachat.media.bucket import Bucket, Object
from protosuite.mediachat.media.interface import (
    MOST_PARTS,
    Part,
    check_descriptors,
    check_owner,
    part_name,
)
from protosuite.mediachat.media.s3_part import S3Part, parts_key, whole_key
from protosuite.mediachat.wire import Head

_FIRST = 64 << 10  # bytes asked for at once; then twice as many, until
_AHEAD = 512 << 10  # these, which is what one reader holds
_MOST_READINGS = 512  # readers at a time: 256 MiB
_MOST_NUMBERS = 10_000  # parts that S3 lets an upload have


class S3Store:
    """A :class:`.MediaStore` in a bucket. `part` is in bytes, `spool` the folder for what is less than that.

    Uploads of which nobody knows the size before are at most `most` bytes.
    """

    def __init__(
        self, address: Address, timeout: float, threads: int, part: int, most: int, spool: Path
    ) -> None:
        self.place = str(address)
        self._asking = Asking(address, timeout, threads)
        self._bucket = Bucket(address, self._asking)
        self._part = part
        self._most = most
        self._spool = spool
        self._lock = threading.Lock()
        self._readings = 0

    def open(self) -> None:
        """Make it ready. S3 is not asked: a node starts, and takes texts, without it."""
        self._spool.mkdir(parents=True, exist_ok=True)
        self._asking.open()

    def stop(self) -> None:
        """The node stops: nothing waits for S3 longer than one answer takes."""
        self._asking.stop()

    def begin(self, chat_id: int, head: Head, unique: str) -> S3Part:
        """The part of a media message: if it has a name, what came of it earlier on any node."""
        check_descriptors()
        size = max(self._part, -(-(head.size or self._most) // _MOST_NUMBERS))
        part = S3Part(self, self._bucket, chat_id, head, part_name(chat_id, head, unique), size, self._spool)
        if head.upload is not None and head.size > size:
            try:
                part.find()
            except BaseException:
                part.close(keep=True)
                raise
        return part

    def make_room(self, chat_id: int) -> None:
        """Abort the chat's uploads that were begun first, past as many as it may have."""
        found = sorted(self._bucket.uploads(f"{parts_key(chat_id)}-"), key=lambda each: each.at)
        for each in found[: max(0, len(found) - MOST_PARTS + 1)]:
            self._abort(each)

    def read(self, digest: str) -> S3Reading:
        """The file of a SHA-256."""
        with self._lock:
            if self._readings >= _MOST_READINGS:
                raise Overloaded("too many media are being read")
            self._readings += 1
        try:
            return S3Reading(self, self._bucket, whole_key(digest), self._size(digest))
        except BaseException:
            self.closed()
            raise

    def closed(self) -> None:
        """A reader is done."""
        with self._lock:
            self._readings -= 1

    def _size(self, digest: str) -> int:
        try:
            return self._bucket.size(whole_key(digest))
        except NotThere:
            self.restore([digest])
        try:
            return self._bucket.size(whole_key(digest))
        except NotThere:
            raise FileNotFoundError(f"there is no object of the SHA-256 {digest}") from None

    def belongs_to(self, owner: str | None) -> bool:
        """Whether the object ``owner`` says so; it is made when it is not there."""
        if owner is None:
            return False
        text = owner.encode()
        try:
            found = self._bucket.get("owner", 0, self._bucket.size("owner") - 1)
        except NotThere:
            self._bucket.put("owner", BytesIO(text), md5(text, usedforsecurity=False).digest())
            found = self._bucket.get("owner", 0, self._bucket.size("owner") - 1)
        return check_owner(found.decode(), owner)

    def old_parts(self, before: float, active: Collection[Part]) -> None:
        """Delete what is left of uploads that nobody has added to since `before`, on whichever node."""
        held = {part.key for part in active if isinstance(part, S3Part)}
        for prefix in ("parts/", "media/", "aside/"):  # the latter of copies whose node was killed
            for each in self._bucket.uploads(prefix):
                if each.key not in held and each.at < before:
                    self._abort_unless_grown(each, before)
        for each in self._bucket.objects("parts/"):
            if each.key not in held and each.at < before:
                self._bucket.delete(each.key)

    def _abort_unless_grown(self, upload: Object, before: float) -> None:
        with contextlib.suppress(NotThere):
            parts = self._bucket.sent(upload.key, upload.upload)
            if max((part.at for part in parts), default=upload.at) < before:
                self._bucket.abort(upload.key, upload.upload)

    def _abort(self, upload: Object) -> None:
        with contextlib.suppress(NotThere):
            self._bucket.abort(upload.key, upload.upload)

    def prefixes(self) -> list[str]:
        """The beginnings of the hashes that there are files of."""
        return self._bucket.folders("media/")

    def old_files(self, prefix: str, before: float) -> list[str]:
        """The hashes with a beginning whose files got their names before a time."""
        begin = whole_key(prefix)
        return [prefix + each.key[len(begin) :] for each in self._bucket.objects(begin) if each.at < before]

    def sweep(self, unreferenced: Iterable[str], before: float) -> int:
        """Put files aside that no message has. What is stored again meanwhile is there then, or is aside."""
        count = 0
        for digest in unreferenced:
            with contextlib.suppress(NotThere):  # another node was faster
                size = self._bucket.size(whole_key(digest))
                self._bucket.copy(whole_key(digest), f"aside/{digest}", size)
                self._bucket.delete(whole_key(digest))
                count += 1
        return count

    def put_aside(self, before: float) -> list[str]:
        """The hashes of files that were put aside before a time."""
        return [
            each.key.removeprefix("aside/") for each in self._bucket.objects("aside/") if each.at < before
        ]

    def restore(self, hashes: Iterable[str]) -> None:
        """Give files that were put aside their names again."""
        for digest in hashes:
            with contextlib.suppress(NotThere):
                size = self._bucket.size(f"aside/{digest}")
                self._bucket.copy(f"aside/{digest}", whole_key(digest), size)
                self._bucket.delete(f"aside/{digest}")

    def forget(self, hashes: Iterable[str]) -> None:
        """Delete files that were put aside."""
        for digest in hashes:
            self._bucket.delete(f"aside/{digest}")

    def free(self) -> int | None:
        """S3 has no end that one could ask for."""
        return None

    def figures(self) -> Iterator[Figure]:
        """How S3 answers."""
        yield from self._asking.figures()


class S3Reading:
    """A file, in requests of its own for each piece: nothing is held open while a client is slow."""

    def __init__(self, store: S3Store, bucket: Bucket, key: str, size: int) -> None:
        self._store = store
        self._bucket = bucket
        self._key = key
        self._size = size
        self._offset = 0
        self._ahead = memoryview(b"")  # what stands at the offset
        self._span = _FIRST
        self._is_open = True

    def seek(self, offset: int, /) -> None:
        """Go on there."""
        if offset != self._offset:
            self._offset, self._ahead, self._span = offset, memoryview(b""), _FIRST

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        if not self._ahead and (span := min(max(size, self._span), self._size - self._offset)) > 0:
            try:
                data = self._bucket.get(self._key, self._offset, self._offset + span - 1)
            except NotThere:
                raise OSError("a media file went while it was read") from None
            self._ahead, self._span = memoryview(data), min(2 * self._span, _AHEAD)
        data = bytes(self._ahead[:size])
        self._ahead = self._ahead[size:]
        self._offset += len(data)
        return data

    def close(self) -> None:
        """That was all."""
        if self._is_open:
            self._is_open = False
            self._ahead = memoryview(b"")
            self._store.closed()
