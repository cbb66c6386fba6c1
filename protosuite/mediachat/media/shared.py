"""Media in a folder that several nodes share. Any may go on with an upload, whatever became of the other.

No lock tells who has a part: a node that is frozen would hold it for ever. Each writer has a file of its own,
``parts/<name>.<offset>.<unique>``, which says how much of it is on stable storage: whoever goes on copies
that much. So what a node that has been given up still writes, when it thaws, goes where nobody looks.

A file that no message has goes to ``aside`` first, and is deleted later: between the look at the database and
the deletion another node may have stored a message that has it. Whoever misses it there takes it back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from attrs import define

from protosuite.errors import StartError
from protosuite.files import sync_folder
from protosuite.mediachat.media.folder import FilePart, MediaFolder, visible
from protosuite.mediachat.media.interface import (
    BLOCK,
    MediaUnavailable,
    Stored,
    check_descriptors,
    check_owner,
    part_name,
)
from protosuite.mediachat.wire import Head

_TRIES = 10  # to open a part that gets another name while it is looked for


@define(eq=False, repr=False)
class SharedPart(FilePart):
    """A :class:`.FilePart` whose name says how much of it another node may rely on."""

    stem: str = ""
    unique: str = ""
    most_unsynced: int = 0  # bytes
    synced: int = 0

    def write(self, pieces: Iterable[bytes | bytearray]) -> None:
        """Append, and sync now and then."""
        super().write(pieces)
        if self.offset - self.synced >= self.most_unsynced:
            self.note()

    def note(self) -> None:
        """Put all that came on stable storage, and say so. :exc:`.MediaUnavailable` if it was taken."""
        if self.synced == self.offset:
            return
        self.file.flush()
        os.fsync(self.file.fileno())
        path = self.path.with_name(f"{self.stem}.{self.offset}.{self.unique}")
        try:
            os.rename(self.path, path)
        except FileNotFoundError:
            raise MediaUnavailable("another node goes on with this upload") from None
        self.path, self.synced = path, self.offset

    def finish(self) -> Stored:
        """Sync it and give it its name, unless it has been taken over."""
        try:
            return super().finish()
        except FileNotFoundError:
            raise MediaUnavailable("another node goes on with this upload") from None

    def close(self, keep: bool) -> None:
        """No more comes. What is there stays if it should and has a name to be found by."""
        try:
            if keep and self.is_named and not self.file.closed:
                with contextlib.suppress(MediaUnavailable):
                    self.note()
        finally:
            super().close(keep and self.offset > 0)


class SharedFolder(MediaFolder):
    """A :class:`.MediaStore`: the files below `root`, which there must be; `most_unsynced` is in bytes."""

    def __init__(self, root: Path, most_unsynced: int) -> None:
        super().__init__(root)
        self._root = root
        self._aside = root / "aside"
        self._most_unsynced = most_unsynced

    def open(self) -> None:
        """Make the folders in it. The parts of all nodes stay: :meth:`old_parts` deletes what is left."""
        if not self._root.is_dir():
            raise StartError(f"[mediachat] media: there is no folder {self._root}: is it mounted?")
        try:
            for folder in (self._parts, self._media, self._aside):
                folder.mkdir(exist_ok=True)
            sync_folder(self._root)
        except OSError as error:
            raise StartError(f"[mediachat] media: {self._root} cannot be used: {error.strerror}") from None

    def begin(self, chat_id: int, head: Head, unique: str) -> SharedPart:
        """A new part, with what came of the upload earlier on any node and is on stable storage."""
        check_descriptors()
        stem = part_name(chat_id, head, unique)
        found = None if head.upload is None else self._furthest(stem, head.size)
        if head.upload is not None and found is None:
            self._make_room(chat_id)
        with contextlib.nullcontext() if found is None else found[-1]:
            path = self._parts / f"{stem}.0.{unique}"
            part = SharedPart(
                self,
                path,
                path.open("x+b"),
                head.upload is not None,
                head.sha256,
                stem=stem,
                unique=unique,
                most_unsynced=self._most_unsynced,
            )
            if found is not None:
                self._take(part, *found)
        return part

    def _furthest(self, stem: str, most: int) -> tuple[int, Path, BinaryIO] | None:
        """How many bytes can be relied on in the part that has most of them; and that, open."""
        for _ in range(_TRIES):
            offsets = {path: int(path.name.split(".")[1]) for path in self._parts.glob(f"{stem}.*")}
            usable = {path: offset for path, offset in offsets.items() if 0 < offset <= most}
            if not usable:
                return None
            path = max(usable, key=usable.__getitem__)
            with contextlib.suppress(FileNotFoundError):  # its writer has just named it anew
                return usable[path], path, path.open("rb")
        return None

    def _take(self, part: SharedPart, size: int, path: Path, file: BinaryIO) -> None:
        """Copy what another writer has; it cannot give its part a name any more."""
        try:
            while part.offset < size and (block := file.read(min(BLOCK, size - part.offset))):
                FilePart.write(part, [block])
            part.note()
        except BaseException:  # such as of a disk that is full: then the copy may not stay, too
            part.close(keep=False)
            raise
        path.unlink(missing_ok=True)

    def name(self, part: Path, digest: str) -> None:
        """Make a complete and synced file the one of its SHA-256, in the place of one that there may be."""
        path = self.path(digest)
        path.parent.mkdir(exist_ok=True)
        os.replace(part, path)
        self._sync(path)

    def read(self, digest: str) -> BinaryIO:
        """The file of a SHA-256, open for reading. Raises `FileNotFoundError` and :exc:`.Overloaded`."""
        try:
            return super().read(digest)
        except FileNotFoundError:
            self.restore([digest])
            return super().read(digest)

    def belongs_to(self, owner: str | None) -> bool:
        """Whether the file ``owner`` says so; it is made when it is not there."""
        if owner is None:
            return False
        path = self._root / "owner"
        if not path.exists():
            new = self._parts / f"owner.{uuid4().hex}"
            with new.open("x", encoding="utf-8") as file:
                file.write(owner)
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(new, path)  # whole, and by one alone
            new.unlink()
            sync_folder(self._root)
        return check_owner(path.read_text("utf-8"), owner)

    def free(self) -> int | None:
        """Bytes that are free there."""
        return shutil.disk_usage(self._root).free

    def _remove(self, path: Path, digest: str) -> None:
        os.utime(path)  # from now on it is aside
        os.replace(path, self._aside / digest)

    def put_aside(self, before: float) -> list[str]:
        """The hashes of files that were put aside before a time."""
        found = []
        for path in visible(self._aside):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    found.append(path.name)
        return found

    def restore(self, hashes: Iterable[str]) -> None:
        """Give files that were put aside their names again."""
        for digest in hashes:
            with contextlib.suppress(FileNotFoundError):  # another node was faster
                os.replace(self._aside / digest, self.path(digest))
                self._sync(self.path(digest))

    def forget(self, hashes: Iterable[str]) -> None:
        """Delete files that were put aside."""
        for digest in hashes:
            (self._aside / digest).unlink(missing_ok=True)
