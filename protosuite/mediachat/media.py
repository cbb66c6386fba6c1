"""Media as files: parts that grow, and whole files under the names of their content.

``parts/<name>`` is an upload that is not complete; ``media/ab/cd…`` is a file whose SHA-256 is
``abcd…``. A part becomes a file by a rename after a sync, so that a file is there whole or not at all.
Everything here blocks: it is for the threads of media. Nobody's file name is ever part of a path.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, BinaryIO

from attrs import define, field, frozen

from protosuite.errors import Overloaded
from protosuite.files import descriptors_are_scarce, sync_folder
from protosuite.mediachat.wire import Head

_BLOCK = 1 << 20  # bytes read at once
_BEGIN = 64 << 10  # bytes at the beginning of a file that say what it is
_NAMELESS = "once-"  # how the names of parts begin to which nobody can come back
_MOST_PARTS = 16  # uploads of one chat that were begun and not finished: they are no part of its quota
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# What browsers play or show without running anything, by the names that the library gives.
INLINE = frozenset(
    {
        *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"),
        *("audio/mpeg", "audio/ogg", "audio/wav", "audio/wave", "audio/flac", "audio/mp4", "audio/aac"),
        *("audio/webm", "video/webm", "video/mp4", "video/ogg", "video/quicktime"),
    }
)


class WrongHash(Exception):
    """What came is not what was announced."""


@frozen
class Stored:
    """A whole file: its name, and what its bytes look like."""

    sha256: str
    size: int
    type: str


@define(eq=False)
class Part:
    """An upload in one connection's hands."""

    path: Path
    file: BinaryIO
    offset: int  # bytes that are there
    is_named: bool
    expected: str | None
    hash: Any = field(repr=False)  # of hashlib, over those
    begin: bytes = b""  # the first bytes, by which the type is found

    def write(self, pieces: Iterable[bytes]) -> None:
        """Append."""
        for piece in pieces:
            self.file.write(piece)
            self.hash.update(piece)
            self.offset += len(piece)
            if len(self.begin) < _BEGIN:
                self.begin += piece[: _BEGIN - len(self.begin)]

    def close(self, keep: bool) -> None:
        """No more comes. What is there stays if it should and has a name to be found by."""
        try:
            self.file.close()  # may write
        finally:
            if not (keep and self.is_named):
                self.path.unlink(missing_ok=True)


class MediaFolder:
    """The files below `root`."""

    def __init__(self, root: Path) -> None:
        self._parts = root / "parts"
        self._media = root / "media"
        self._lock = threading.Lock()  # between taking up or naming a file and deleting what nobody needs

    def open(self) -> None:
        """Make the folders, and delete the parts that cannot be gone on with.

        Those are the ones without a name, and all if the machine was started again: what they hold may
        never have reached the disk.
        """
        for folder in (self._parts, self._media):
            folder.mkdir(parents=True, exist_ok=True)
        boot = _BOOT_ID.read_text("ascii").strip() if _BOOT_ID.exists() else ""
        note = self._parts / ".boot"
        is_same = note.exists() and note.read_text("ascii") == boot
        for part in self._parts.iterdir():
            if not is_same or part.name.startswith(_NAMELESS):
                part.unlink()
        note.write_text(boot, "ascii")
        sync_folder(self._media.parent)

    def begin(self, chat_id: int, head: Head, unique: str) -> Part:
        """The part of a media message: what came of it earlier, if it has a name, and else a new one.

        `unique` is a name that no other part has. Raises :exc:`Overloaded` where too many files are open.
        """
        _check_descriptors()
        name = _NAMELESS + unique if head.upload is None else _part_name(chat_id, head)
        path = self._parts / name
        with self._lock:
            if head.upload is not None and not path.exists():
                self._make_room(chat_id)
            file = path.open("a+b")
            os.utime(path)  # young again: see `old_parts`
        if os.fstat(file.fileno()).st_size > head.size and head.upload is not None:
            file.truncate(0)  # not our doing
        part = Part(path, file, 0, head.upload is not None, head.sha256, sha256())
        file.seek(0)
        while block := file.read(_BLOCK):
            part.hash.update(block)
            part.begin = part.begin or block[:_BEGIN]
            part.offset += len(block)
        return part

    def _make_room(self, chat_id: int) -> None:
        """Delete the chat's parts that were left alone for longest, past as many as it may have."""
        ages: dict[Path, float] = {}
        for part in self._parts.glob(f"{chat_id}-*"):
            with contextlib.suppress(FileNotFoundError):  # it may end at any time
                ages[part] = part.stat().st_mtime
        for part in sorted(ages, key=ages.__getitem__)[: max(0, len(ages) - _MOST_PARTS + 1)]:
            part.unlink(missing_ok=True)

    def finish(self, part: Part) -> Stored:
        """Sync a complete part and give it its name. Raises :exc:`WrongHash`, and then nothing stays."""
        digest: str = part.hash.hexdigest()
        if part.expected is not None and part.expected != digest:
            part.close(keep=False)
            raise WrongHash(f"the bytes have the SHA-256 {digest}")
        part.file.flush()
        os.utime(part.path)  # young, even if nothing of it came lately: see `sweep`
        os.fsync(part.file.fileno())
        part.file.close()
        path = self.path(digest)
        with self._lock:
            if path.exists():
                os.utime(path)
                part.path.unlink()
            else:
                path.parent.mkdir(exist_ok=True)
                os.replace(part.path, path)
            sync_folder(path.parent)  # whoever put it there may not have come this far
            sync_folder(self._media)
        return Stored(digest, part.offset, _type(part.begin))

    def path(self, digest: str) -> Path:
        """Where the file of a SHA-256 is."""
        return self._media / digest[:2] / digest[2:]

    def read(self, digest: str) -> BinaryIO:
        """The file of a SHA-256, open for reading. Raises `FileNotFoundError` and :exc:`Overloaded`."""
        _check_descriptors()
        return self.path(digest).open("rb")

    def old_parts(self, before: float, active: set[Path]) -> None:
        """Delete parts that nobody has added to since `before`, in seconds since the epoch."""
        for part in self._parts.iterdir():
            if part.name != ".boot" and part not in active:
                with self._lock, contextlib.suppress(FileNotFoundError):  # it may be complete by now
                    if part.stat().st_mtime < before:
                        part.unlink()

    def prefixes(self) -> list[str]:
        """The beginnings of the hashes that there are files of."""
        return sorted(folder.name for folder in self._media.iterdir())

    def old_files(self, prefix: str, before: float) -> list[str]:
        """The hashes with a beginning whose files got their names before a time."""
        folder = self._media / prefix
        return [prefix + path.name for path in folder.iterdir() if path.stat().st_mtime < before]

    def sweep(self, unreferenced: Iterable[str], before: float) -> int:
        """Delete files that no message has, unless they got their names (again) after `before`."""
        count = 0
        for digest in unreferenced:
            path = self.path(digest)
            with self._lock, contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
                    count += 1
        return count


def _check_descriptors() -> None:
    """Files of media stay open as long as their clients take."""
    if descriptors_are_scarce(0.5):
        raise Overloaded("too many files are open")


def _part_name(chat_id: int, head: Head) -> str:
    """The same name for the same upload: one that differs in anything is another."""
    fields = (head.upload, head.name, head.size, head.kind, head.sha256)
    return f"{chat_id}-{blake2b(repr(fields).encode(), digest_size=20).hexdigest()}"


def _type(begin: bytes) -> str:
    """What the first bytes say that a file is."""
    import puremagic  # by whoever gets the first file: its tables take a while

    try:
        found = puremagic.from_string(begin, mime=True)
    except (puremagic.PureError, ValueError):
        return "application/octet-stream"
    return found or "application/octet-stream"
