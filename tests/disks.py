"""File systems that are small enough to be filled."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.requirements import require, require_root


def small_disk(case: TestCase) -> Path:
    """A file system of one megabyte, which goes with the test."""
    require_root()
    require("mount", "umount")
    folder = Path(case.mktemp()).absolute()
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    case.addCleanup(lambda: subprocess.run(["umount", folder], check=True))
    return folder


def fill(folder: Path) -> Path:
    """Take all the room there is: the file to delete afterwards."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return filler
