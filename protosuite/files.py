"""What there is to know about files that the standard library leaves out."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

# Descriptors that connections leave to what needs a file for a moment. Never more than a quarter of all.
_SPARE = 128


def replace_text(path: Path, text: str) -> None:
    """Have `path` hold `text`, on stable storage: all of it, or what it held before."""
    beside = path.with_name(path.name + ".new")
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put the names in `folder` on stable storage: a file that was synced may still lose its name."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def descriptors_are_scarce(part: float = 1.0) -> bool:
    """Whether so many files are open that no more should be opened by whoever can do without.

    What is left then is enough for those that cannot: the database, the log, an accept that is refused.
    With `part` less than 1, that part of it is left.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return False
    try:
        lowest = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    os.close(lowest)
    # The system gives the lowest number that is free: as many files are open.
    return lowest >= limit - part * min(_SPARE, limit // 4)
