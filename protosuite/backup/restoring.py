"""A data folder out of a backup: all of it, or nothing.

What comes is put beside its place, and looked at as a whole, before anything gets a name that a suite would
find. Meanwhile no suite can start: first because the folder is taken, and after a crash because of the folder
``restoring`` in it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from protosuite.backup.archive import Reader
from protosuite.backup.examining import Report, examine
from protosuite.backup.packing import Source
from protosuite.backup.progress import Progress
from protosuite.files import sync_folder
from protosuite.mediachat.media.folder import MediaFolder
from protosuite.program import Failed
from protosuite.storage.migrate import RESTORING, take

_HARMLESS = {"lock", "lost+found"}  # what an empty data folder may have in it


def restore(reader: Reader, target: Source, needed: int, progress: Progress) -> Report:
    """Put a backup into an empty data folder. `needed` is how many bytes that takes, 0 if nobody knows.

    Raises :exc:`Failed`, and :exc:`~protosuite.errors.StartError` when the folder cannot be taken. Then, and
    when it is interrupted, nothing of it stays.
    """
    data = target.data
    was_there = data.exists()
    lock = take(data)
    try:
        _check_empty(target)
        free = shutil.disk_usage(data).free
        if needed > free:
            raise Failed(f"the backup has {needed} bytes, and in {data} there is room for {free}")
        with _all_or_nothing(target, was_there):
            return _restore(reader, target, progress)
    finally:
        lock.close()


def _check_empty(target: Source) -> None:
    data, database = target.data, target.database
    found = sorted(path.name for path in data.iterdir() if path.name not in _HARMLESS and not _is_empty(path))
    if found:
        raise Failed(
            f"the data folder {data} is not empty, it has {', '.join(found[:5])}{' …' if found[5:] else ''}: "
            "move what is in it elsewhere, or change [suite] data"
        )
    for path in (
        database,
        _staged(database),
        *(Path(f"{database}-{end}") for end in ("wal", "shm", "journal")),
    ):
        if os.path.lexists(path):
            raise Failed(f"{path} is in the way: move it elsewhere, or change [suite] database")


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and next(path.iterdir(), None) is None


def _staged(database: Path) -> Path:
    """Where a database is until it gets its name. It may be on another disk than the data folder."""
    return database.with_name(f"{database.name}.{RESTORING}")


@contextmanager
def _all_or_nothing(target: Source, was_there: bool) -> Iterator[None]:
    """If this does not end well, the folder is as it was: empty, or not there."""
    data, database = target.data, target.database
    try:
        yield
    except BaseException:
        for path in (_staged(database), database):
            with suppress(OSError):
                path.unlink()
        for name in ("media", RESTORING):  # the one that keeps a suite from starting is the last
            shutil.rmtree(data / name, ignore_errors=True)
        if not was_there:
            shutil.rmtree(data)
        raise


def _restore(reader: Reader, target: Source, progress: Progress) -> Report:
    data, database = target.data, target.database
    stage = data / RESTORING
    media = MediaFolder(stage)
    try:
        stage.mkdir(mode=0o700)
        sync_folder(data)
        database.parent.mkdir(parents=True, exist_ok=True)
        report = examine(reader, _staged(database), lambda digest: _new(media.path(digest)))
        if report.problems:
            more = len(report.problems) - 1
            raise Failed(report.problems[0] + (f" (and {more} more)" if more else ""))
        for digest in report.damaged:
            media.path(digest).unlink()
        progress.stage("syncing", None)
        _settle(target)
        _place(target)
    except OSError as error:
        raise Failed(f"cannot write {error.filename or data}: {error.strerror}") from None
    return report


def _new(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb")


def _settle(target: Source) -> None:
    """Put all that came on stable storage, and let it belong to whom the data folder does."""
    data, stage = target.data, target.data / RESTORING
    owner = data.stat()
    os.sync()  # at once, so that each below has nothing left to do but to tell whether it went well
    for path in (data / "lock", _staged(target.database), stage, *stage.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if os.geteuid() == 0:
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _place(target: Source) -> None:
    """Give everything its name. Until the stage is gone, no suite takes the folder."""
    data, database, stage = target.data, target.database, target.data / RESTORING
    if (stage / "media").exists():
        os.replace(stage / "media", data / "media")
    os.replace(_staged(database), database)
    sync_folder(database.parent)
    sync_folder(data)
    stage.rmdir()
    sync_folder(data)
