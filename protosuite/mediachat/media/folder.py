"""Media as files: parts that grow, and whole files under the names of their content.

``parts/<name>`` is an upload that is not complete; ``media/ab/cd…`` is a file whose SHA-256 is
``abcd…``. A part becomes a file by a rename after a sync, so that a file is there whole or not at all.
This is for one node; `shared` is for several with one folder.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Collection, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from attrs import define, field

from protosuite.figures import Figure
from protosuite.files import sync_folder
from protosuite.mediachat.media.interface import (
    BEGIN,
    BLOCK,
    MOST_PARTS,
    NAMELESS,
    Part,
    Stored,
    WrongHash,
    check_descriptors,
    part_name,
    type_of,
)
from protosuite.mediachat.wire import Head

_AHEAD = 8 << 20  # bytes: the disk begins with each block of a file that is complete, and not at the end
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@define(eq=False, repr=False)
class FilePart:
    """An upload in one connection's hands: a :class:`.Part` of `folder`."""

    folder: MediaFolder = field(repr=False)
    path: Path
    file: BinaryIO
    is_named: bool
    expected: str | None
    offset: int = 0  # bytes that are there
    hash: Any = field(factory=sha256, repr=False)  # over those
    begin: bytes = b""  # the first bytes, by which the type is found

    def write(self, pieces: Iterable[bytes | bytearray]) -> None:
        """Append, and let the disk begin.

        In one piece: each call lets go of the interpreter, and waits for it again.
        """
        data = b"".join(pieces)
        begin = self.offset - self.offset % _AHEAD
        self.file.write(data)
        self.see(data)
        end = self.offset - self.offset % _AHEAD
        if begin < end:
            self.file.flush()
            _begin_writing(self.file.fileno(), begin, end)

    def see(self, piece: bytes) -> None:
        """These bytes are there."""
        self.hash.update(piece)
        self.offset += len(piece)
        if len(self.begin) < BEGIN:
            self.begin += piece[: BEGIN - len(self.begin)]

    def finish(self) -> Stored:
        """Sync it and give it its name. Raises :exc:`WrongHash`, and then nothing stays."""
        digest: str = self.hash.hexdigest()
        if self.expected is not None and self.expected != digest:
            self.close(keep=False)
            raise WrongHash(f"the bytes have the SHA-256 {digest}")
        self.file.flush()
        os.utime(self.path)  # young, even if nothing of it came lately: see `MediaFolder.sweep`
        os.fsync(self.file.fileno())
        self.file.close()
        self.folder.name(self.path, digest)
        return Stored(digest, self.offset, type_of(self.begin))

    def close(self, keep: bool) -> None:
        """No more comes. What is there stays if it should and has a name to be found by."""
        try:
            self.file.close()  # may write
        finally:
            if not (keep and self.is_named):
                self.path.unlink(missing_ok=True)


def _begin_writing(descriptor: int, begin: int, end: int) -> None:
    """Have these bytes of a file written by the system, without waiting for it.

    Linux does that when it is told that they will not be needed, and drops what is written already. Eight
    uploads of 64 MiB came at 530 MiB/s without this, and at 700 with it.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, begin, end - begin, os.POSIX_FADV_DONTNEED)


class MediaFolder:
    """A :class:`.MediaStore`: the files below `root`."""

    def __init__(self, root: Path) -> None:
        self.place = str(root)
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
            if not is_same or part.name.startswith(NAMELESS):
                part.unlink()
        note.write_text(boot, "ascii")
        sync_folder(self._media.parent)

    def stop(self) -> None:
        """A disk answers, or nothing helps."""

    def begin(self, chat_id: int, head: Head, unique: str) -> FilePart:
        """The part of a media message: what came of it earlier, if it has a name, and else a new one.

        `unique` is a name that no other part has. Raises :exc:`~protosuite.errors.Overloaded` where too many
        files are open.
        """
        check_descriptors()
        path = self._parts / part_name(chat_id, head, unique)
        with self._lock:
            if head.upload is not None and not path.exists():
                self._make_room(chat_id)
            file = path.open("a+b")
            os.utime(path)  # young again: see `old_parts`
        part = FilePart(self, path, file, head.upload is not None, head.sha256)
        try:
            if part.is_named and os.fstat(file.fileno()).st_size > head.size:
                file.truncate(0)  # not our doing
            file.seek(0)
            while block := file.read(BLOCK):
                part.see(block)
        except BaseException:
            part.close(keep=True)
            raise
        return part

    def _make_room(self, chat_id: int) -> None:
        """Delete the chat's parts that were left alone for longest, past as many as it may have."""
        ages: dict[Path, float] = {}
        for part in self._parts.glob(f"{chat_id}-*"):
            with contextlib.suppress(FileNotFoundError):  # it may end at any time
                ages[part] = part.stat().st_mtime
        for part in sorted(ages, key=ages.__getitem__)[: max(0, len(ages) - MOST_PARTS + 1)]:
            part.unlink(missing_ok=True)

    def name(self, part: Path, digest: str) -> None:
        """Make a complete and synced file the one of its SHA-256."""
        path = self.path(digest)
        with self._lock:
            if path.exists():
                os.utime(path)
                part.unlink()
            else:
                path.parent.mkdir(exist_ok=True)
                os.replace(part, path)
            self._sync(path)  # whoever put it there may not have come this far

    def _sync(self, path: Path) -> None:
        sync_folder(path.parent)
        sync_folder(self._media)

    def path(self, digest: str) -> Path:
        """Where the file of a SHA-256 is."""
        return self._media / digest[:2] / digest[2:]

    def read(self, digest: str) -> BinaryIO:
        """The file of a SHA-256, open for reading. Raises `FileNotFoundError` and :exc:`.Overloaded`."""
        check_descriptors()
        return self.path(digest).open("rb")

    def belongs_to(self, owner: str | None) -> bool:
        """Whoever has the data folder has it alone."""
        return True

    def old_parts(self, before: float, active: Collection[Part]) -> None:
        """Delete parts that nobody has added to since `before`, but for those that are `active` here."""
        held = {part.path for part in active if isinstance(part, FilePart)}
        for path in visible(self._parts):
            if path not in held:
                with self._lock, contextlib.suppress(FileNotFoundError):  # it may be complete by now
                    if path.stat().st_mtime < before:
                        path.unlink()

    def prefixes(self) -> list[str]:
        """The beginnings of the hashes that there are files of."""
        return sorted(folder.name for folder in visible(self._media))

    def old_files(self, prefix: str, before: float) -> list[str]:
        """The hashes with a beginning whose files got their names before a time."""
        found = []
        for path in visible(self._media / prefix):
            with contextlib.suppress(FileNotFoundError):  # another node may sweep too
                if path.stat().st_mtime < before:
                    found.append(prefix + path.name)
        return found

    def sweep(self, unreferenced: Iterable[str], before: float) -> int:
        """Delete files that no message has, unless they got their names (again) after `before`."""
        count = 0
        for digest in unreferenced:
            path = self.path(digest)
            with self._lock, contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    self._remove(path, digest)
                    count += 1
        return count

    def _remove(self, path: Path, digest: str) -> None:
        path.unlink()

    def put_aside(self, before: float) -> list[str]:
        """Nothing is put aside here: a node alone knows what it does at the same time."""
        return []

    def restore(self, hashes: Iterable[str]) -> None:
        """There is nothing to restore."""

    def forget(self, hashes: Iterable[str]) -> None:
        """There is nothing to forget."""

    def free(self) -> int | None:
        """It is the disk of the data, of which others tell."""
        return None

    def figures(self) -> Iterator[Figure]:
        """None."""
        yield from ()


def visible(folder: Path) -> Iterator[Path]:
    """What is in a folder but for what is hidden: our ``.boot``, and what NFS keeps for who has it open."""
    return (path for path in folder.iterdir() if not path.name.startswith("."))
