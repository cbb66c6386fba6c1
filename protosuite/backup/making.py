"""A backup as a file that is there whole or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from protosuite.backup.packing import Packed
from protosuite.files import sync_folder
from protosuite.program import Failed

# Bytes after which what was written goes to the disk. All at the end it would go there at once, and each
# commit of the suite would wait for that.
_SYNC = 16 << 20

Pack = Callable[
    [Callable[[bytes], object], Path], Packed
]  # into what writes, with a folder for what comes between


def make(pack: Pack, target: Path, force: bool) -> Packed:
    """Make the backup `target`, or, with `force`, another in its place.

    It gets its name when it is whole and on stable storage. Raises :exc:`Failed`, and leaves nothing behind.
    """
    target = Path(os.path.realpath(target))
    _check(target, force)
    try:
        with _workspace(target.parent, f"{target.name}.partial-") as folder:
            archive = folder / "archive"
            with open(archive, "xb", opener=_private) as file:
                packed = pack(_Steady(file).write, folder)
                file.flush()
                os.fsync(file.fileno())
            if packed.lost and target.exists():
                raise Failed(f"{target} may have what is lost, and is left as it was: give another name")
            _check(target, force)  # it may have come meanwhile
            os.replace(archive, target)
            sync_folder(target.parent)
    except OSError as error:
        raise Failed(f"cannot write {target}: {error.strerror}") from None
    return packed


def pour(pack: Pack, out: BinaryIO) -> Packed:
    """Write a backup to a stream. Raises :exc:`Failed`, and `OSError` when the stream takes no more."""
    with _workspace(Path(tempfile.gettempdir()), "protosuite-backup-") as folder:
        packed = pack(out.write, folder)
        out.flush()
    return packed


class _Steady:
    """Writes to a file, and sees to it that little of that is not on the disk yet."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._unsynced = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._unsynced += len(data)
        if self._unsynced >= _SYNC:
            self._file.flush()
            os.fdatasync(self._file.fileno())
            self._unsynced = 0


def _check(target: Path, force: bool) -> None:
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise Failed(f"{target} is there, and is no file: give another name")
    if not force:
        raise Failed(f"{target} is there already: give another name, or --force to replace it")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def _workspace(parent: Path, prefix: str) -> Iterator[Path]:
    """A folder that nobody else can look into, which goes with all that is in it."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
