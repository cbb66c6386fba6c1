"""A tar of plain files, written and read as one stream. Pure.

The reader takes what the writer makes, byte for byte, and nothing else that a tar may hold: no links, no
devices, no long or foreign names. So it never has to guess, and damage anywhere shows.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator
from hashlib import sha256

from attrs import frozen

HEADING = "backup.json"
DATABASE = "protosuite.sqlite3"
MANIFEST = "manifest.json"

_BLOCK = tarfile.BLOCKSIZE  # a header, and what contents are filled up to
_RECORD = tarfile.RECORDSIZE  # what the whole is filled up to
_PIECE = 1 << 20  # bytes read at once
_MEDIA = re.compile(r"media/([0-9a-f]{2})/([0-9a-f]{62})")
_NAME = re.compile(rf"{re.escape(HEADING)}|{re.escape(DATABASE)}|{re.escape(MANIFEST)}|{_MEDIA.pattern}")

Read = Callable[[int], bytes]  # at most so many bytes; none at the end
Advance = Callable[[int], object]  # so many bytes more have been dealt with


class Damaged(Exception):
    """The archive is not as it was written. The text says where, for a person."""


@frozen
class Member:
    """One file of an archive."""

    name: str
    size: int

    @property
    def digest(self) -> str | None:
        """The SHA-256 that the name of a media file says; None for the others."""
        match = _MEDIA.fullmatch(self.name)
        return None if match is None else match[1] + match[2]


def media_name(digest: str) -> str:
    """The name of the media file of a SHA-256."""
    return f"media/{digest[:2]}/{digest[2:]}"


class Writer:
    """Writes an archive with `write`, which raises if it cannot."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._written = 0

    def add(self, name: str, size: int, modified: int, read: Read) -> str:
        """Append a file, and return its SHA-256. What `read` has not of `size` bytes is zeros then.

        `modified` is in seconds since the epoch.
        """
        hash = sha256()
        self._put(_header(Member(name, size), modified))
        left = size
        while left:
            piece = read(min(left, _PIECE)) or bytes(min(left, _PIECE))
            hash.update(piece)
            self._put(piece)
            left -= len(piece)
        self._put(bytes(-size % _BLOCK))
        return hash.hexdigest()

    def end(self) -> None:
        """That was all."""
        self._put(bytes(2 * _BLOCK))
        self._put(bytes(-self._written % _RECORD))

    def _put(self, data: bytes) -> None:
        self._write(data)
        self._written += len(data)


class Reader:
    """Reads an archive of `length` bytes, None if that is not known. What is wrong is :exc:`Damaged`.

    Call :meth:`member`, go through :meth:`content`, and so on until there is none. `advance` hears how far
    it is.
    """

    def __init__(self, read: Read, length: int | None = None, advance: Advance = lambda count: None) -> None:
        self._read = read
        self._length = length
        self._advance = advance
        self._offset = 0

    def member(self) -> Member | None:
        """The next file, or None behind the last, when all that follows has been looked at too."""
        offset = self._offset
        block = self._exactly(_BLOCK)
        if block == bytes(_BLOCK):
            self._end()
            return None
        member = _member(block)
        if member is None:
            raise Damaged(f"at byte {offset} there is no file of a backup")
        if self._length is not None and member.size > self._length - self._offset:
            raise Damaged(f"{member.name} is cut off")
        return member

    def content(self, member: Member) -> Iterator[bytes]:
        """What is in the file, in pieces."""
        left = member.size
        while left:
            piece = self._some(min(left, _PIECE))
            left -= len(piece)
            yield piece
        if any(self._exactly(-member.size % _BLOCK)):
            raise Damaged(f"behind {member.name} there is something")

    def _end(self) -> None:
        rest = self._exactly(_BLOCK) + self._exactly(-(self._offset) % _RECORD)
        if any(rest) or self._read(1):
            raise Damaged("behind its end there is something")

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self._some(size - len(data))
        return data

    def _some(self, most: int) -> bytes:
        try:
            data = self._read(most)
        except OSError as error:
            raise Damaged(f"it cannot be read on at byte {self._offset}: {error.strerror}") from None
        if not data:
            raise Damaged(f"it is cut off at byte {self._offset}")
        self._offset += len(data)
        self._advance(len(data))
        return data


def _header(member: Member, modified: int) -> bytes:
    header = tarfile.TarInfo(member.name)
    header.size = member.size
    header.mtime = modified
    header.mode = 0o600
    return header.tobuf(tarfile.GNU_FORMAT)  # has room for any size, within the one block


def _member(block: bytes) -> Member | None:
    """What a header says; None if it is none that the writer makes."""
    try:
        header = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, ValueError):
        return None
    if not _NAME.fullmatch(header.name) or header.size < 0 or header.mtime < 0:
        return None
    member = Member(header.name, header.size)
    return member if _header(member, int(header.mtime)) == block else None
