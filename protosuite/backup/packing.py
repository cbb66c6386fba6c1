"""What a suite has in its data folder, while it may be using it, as one archive.

The database is copied first, then the files that the rows of the copy name. That is right without a lock or
a lease: a row is committed only when its file is in place, whole and synced; no row of media is ever deleted;
and the sweep deletes no file that a row names. So what the copy names was there when the copy began, and
still is. The other way round it would not be right.

Uploads that are not complete are left out: no row names them, nobody was told that they are stored, and the
first start on another machine would delete them, for what they hold may never have reached the disk.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from io import BytesIO, RawIOBase
from pathlib import Path
from typing import BinaryIO

from attrs import define, field, frozen

import protosuite
from protosuite.backup.archive import DATABASE, HEADING, MANIFEST, Advance, Member, Read, Writer, media_name
from protosuite.backup.contents import Contents, Unsound
from protosuite.backup.manifest import Heading, Manifest
from protosuite.backup.progress import Progress
from protosuite.backup.snapshot import copy_database
from protosuite.mediachat.media.folder import MediaFolder
from protosuite.program import Failed
from protosuite.storage.migrate import is_known


@frozen
class Source:
    """Where a suite keeps what it has. `media` says where media are, if that is not in `data`."""

    data: Path
    database: Path
    media: str = ""


@define
class Packed:
    """What is in an archive, and what is not because the suite has lost it."""

    heading: Heading
    media: int = 0  # files
    bytes: int = 0  # of the archive
    lost: list[str] = field(factory=list)  # the names of media that are missing or damaged


def pack(
    source: Source, write: Callable[[bytes], object], folder: Path, created_at: str, progress: Progress
) -> Packed:
    """Write an archive of `source`, which has everything that was acknowledged before this was called.

    The copy of the database goes into `folder`, and whoever made that deletes it. `created_at` is the time
    now. Raises :exc:`Failed`, and what `write` raises.
    """
    copy = folder / "database"
    _copy(source.database, copy, progress)
    try:
        with Contents(copy) as contents:
            progress.stage("checking the database", None)
            contents.check()
            heading = Heading(protosuite.__version__, _schema(source, contents), created_at, source.media)
            with Manifest(heading, folder) as manifest:
                return _Packing(MediaFolder(source.data), contents, manifest, heading, write, progress).run(
                    copy
                )
    except Unsound as error:
        raise Failed(
            f"the database {source.database} is damaged ({error}): keep the backups that you have"
        ) from None


def _copy(source: Path, copy: Path, progress: Progress) -> None:
    try:
        size = source.stat().st_size
    except OSError as error:
        raise Failed(
            f"there is no database at {source} ({error.strerror}): give the --config of the suite"
        ) from None
    try:
        copy_database(source, copy, progress.stage("copying the database", size))
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            raise Failed("no room for a copy of the database") from None
        raise Failed(f"the database {source} cannot be copied: {error}") from None


def _schema(source: Source, contents: Contents) -> str:
    schema = contents.schema()
    if not schema:
        raise Failed(f"{source.database} is not a suite's database")
    if not is_known(schema):
        raise Failed(
            f"the database {source.database} is of a newer version: run the protosuite-backup of that one"
        )
    return schema


class _Packing:
    """The archive on its way."""

    def __init__(
        self,
        files: MediaFolder,
        contents: Contents,
        manifest: Manifest,
        heading: Heading,
        write: Callable[[bytes], object],
        progress: Progress,
    ) -> None:
        self._files = files
        self._contents = contents
        self._manifest = manifest
        self._write = write
        self._writer = Writer(self._put)
        self._progress = progress
        self._advance: Advance
        self._packed = Packed(heading)

    def run(self, copy: Path) -> Packed:
        contents = self._contents
        database = copy.stat()
        media = () if self._packed.heading.media_at else contents.media()
        total = database.st_size + sum(size for _, size in media)
        self._advance = self._progress.stage("writing", total)
        heading = self._packed.heading.encode()
        self._add(HEADING, len(heading), 0, BytesIO(heading).read)
        with copy.open("rb") as file:
            self._add(DATABASE, database.st_size, int(database.st_mtime), file.read)
        for digest, _ in () if self._packed.heading.media_at else contents.media():
            self._media(digest)
        manifest = self._manifest
        manifest.end()
        self._writer.add(MANIFEST, manifest.size, 0, manifest.read)
        self._writer.end()
        return self._packed

    def _media(self, digest: str) -> None:
        name = media_name(digest)
        path = self._files.path(digest)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            self._manifest.lost(name)
            self._lose(name, f"{path} is missing")
            return
        except OSError as error:
            raise Failed(f"cannot read {path}: {error.strerror}") from None
        with file:
            reading = Reading(file)
            status = os.fstat(file.fileno())
            found = self._add(name, status.st_size, max(0, int(status.st_mtime)), reading.read)
        self._packed.media += 1
        if found != digest:
            self._lose(name, f"{path} is damaged" + (f" ({reading.error})" if reading.error else ""))

    def _add(self, name: str, size: int, modified: int, read: Read) -> str:
        digest = self._writer.add(name, size, modified, read)
        self._manifest.file(Member(name, size), digest)
        return digest

    def _lose(self, name: str, what: str) -> None:
        self._packed.lost.append(name)
        self._progress.say(what)

    def _put(self, data: bytes) -> None:
        self._write(data)
        self._packed.bytes += len(data)
        self._advance(len(data))


class Reading:
    """A file that ends where the disk cannot read it any more."""

    def __init__(self, file: BinaryIO | RawIOBase) -> None:
        self.error = ""  # why it cannot
        self._file = file

    def read(self, most: int) -> bytes:
        """The next bytes; none at the end, and where it breaks off."""
        try:
            return b"" if self.error else self._file.read(most) or b""
        except OSError as error:
            self.error = error.strerror or "it cannot be read"
            return b""
