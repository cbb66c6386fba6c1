"""What has to be in order before anybody is sent here: the database, its file, its schema, the disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from attrs import define
from twisted.internet.defer import Deferred, succeed

from protosuite.admin.readiness import Findings, Look
from protosuite.figures import Figure, gauge
from protosuite.storage import Database, engines
from protosuite.storage.measures import revision, touch
from protosuite.storage.schema import HEAD
from protosuite.storage.workers import Calls

_IDLE = 5.0  # seconds without a write after which one is made, to see whether it can be


@define(eq=False, repr=False)
class Checks:
    """The looks at `database` and at `folder`, whose disk must have `min_free` bytes.

    `calls` has a thread for what the disk is asked, which is not the database's: one may hang without the
    other.
    """

    database: Database
    folder: Path
    min_free: int
    calls: Calls
    _free: int | None = None
    _size: int | None = None  # of the database with its log
    _identity: tuple[int, int] | None = None  # of the database's file, when it was first seen

    def looks(self) -> list[Look]:
        """All of them."""
        return [
            Look(("database", "schema"), self._read),
            Look(("writes",), self._write),
            Look(("disk", "file") if self._has_file else ("disk",), self._see),
        ]

    def figures(self) -> Iterator[Figure]:
        """What was seen last."""
        yield gauge("disk_free_bytes", "Bytes that are free where the data are.", self._free)
        yield gauge("database_size_bytes", "Bytes of the database and of its log.", self._size)

    @property
    def _has_file(self) -> bool:
        return engines.is_file(self.database.url)

    def _read(self) -> Deferred[Findings]:
        return self.database.read(revision).addCallback(_schema, is_shared=not self._has_file)

    def _write(self) -> Deferred[Findings]:
        """Whether it takes writes. Where nothing has been written lately, or not in vain, this writes."""
        if self.database.accepts_writes and self.database.idle_for() < _IDLE:
            return succeed({"writes": None})
        return self.database.write(touch).addCallback(lambda _: {"writes": None})

    def _see(self) -> Deferred[Findings]:
        return self.calls.run(self._look_at_disk).addCallback(self._seen)

    def _look_at_disk(self) -> tuple[int, int | None, tuple[int, int] | None]:
        """The bytes that are free, the size of the database, and which file it is. Blocks."""
        free = shutil.disk_usage(self.folder).free
        if not self._has_file:
            return free, None, None
        name = self.database.url.database
        assert name is not None
        try:
            file = os.stat(name)
        except FileNotFoundError:
            return free, None, None
        log = Path(f"{name}-wal")
        size = file.st_size + (log.stat().st_size if log.exists() else 0)
        return free, size, (file.st_dev, file.st_ino)

    def _seen(self, seen: tuple[int, int | None, tuple[int, int] | None]) -> Findings:
        self._free, self._size, identity = seen
        self._identity = self._identity or identity
        disk = file = None
        if self._free < self.min_free:
            disk = f"{self._free} bytes are free, {self.min_free} must be"
        if not self._has_file:
            return {"disk": disk}
        if identity is None:
            file = "the file of the database is gone"
        elif identity != self._identity:
            file = "the file of the database is not the one that was opened"
        return {"disk": disk, "file": file}


def _schema(found: str | None, is_shared: bool) -> Findings:
    # A node of a newer version may have brought a database that is shared further, by additions only.
    is_right = found == HEAD or (is_shared and found is not None and found > HEAD)
    why = None if is_right else f"the schema is {found}, not {HEAD}"
    return {"database": None, "schema": why}
