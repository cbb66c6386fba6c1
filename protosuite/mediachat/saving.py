"""What comes from the desk as files in a person's folder, and what has been taken in a state file.

A file appears whole or not at all, under a name of which nothing decides but what it looks like: never
outside the folder, never over what is there. Everything here blocks: it is for a thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import unicodedata
from collections.abc import Callable, Iterable
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from attrs import frozen

from protosuite.files import replace_text, sync_folder

_BLOCK = 1 << 20  # bytes read at once
_MAX_NAME = 200  # bytes of UTF-8; a file system takes 255, and a number may be added
_MAX_SUFFIX = 20  # bytes of those, with the dot
_PREFIX, _SUFFIX = ".mediachat-", ".part"  # of what is not whole
_MAX_ID = 2**53 - 1

# What one system or the other gives a meaning to, besides what has no shape.
_SPECIAL = re.compile(r'[<>:"|?*]')
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9¹²³])(\..*)?", re.I | re.S)


class WrongBytes(Exception):
    """What came is not what was announced."""


def safe_name(name: str) -> str:
    """A file name that looks like `name` and means nothing but a file in the folder where it is put.

    The last part of a path; without control and format characters, marks that turn the direction among
    them; not hidden, not an option, not a device; at most 200 bytes, of which the end is kept.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    text = "".join(" " if c.isspace() else c for c in last)
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co"))
    text = _SPECIAL.sub("_", text).strip(". ")
    stem, dot, suffix = text.rpartition(".")
    end = dot + suffix
    if not stem or len(end.encode()) > _MAX_SUFFIX:
        stem, end = text, ""
    room = _MAX_NAME - 1 - len(end.encode())  # 1 for the sign below
    stem = stem.encode()[:room].decode(errors="ignore").rstrip(". ")
    text = (stem + end) or "file"
    return f"_{text}" if text.startswith("-") or _DEVICE.fullmatch(text) else text


def numbered(name: str, number: int) -> str:
    """`name` for the first of its files, and with a number before its end for the others."""
    if number == 1:
        return name
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}-{number}.{suffix}" if stem else f"{dot}{suffix}-{number}"


class SaveFolder:
    """A folder for what comes. Others may put files there too."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self) -> None:
        """Make the folder, and delete what a program that was killed there did not finish."""
        self.root.mkdir(parents=True, exist_ok=True)
        for path in self.root.glob(f"{_PREFIX}*{_SUFFIX}"):
            with contextlib.suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()

    def begin(self) -> Incoming:
        """A file that is not there yet."""
        while True:
            path = self.root / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
            file = path.open("xb")
            try:
                fcntl.flock(file, fcntl.LOCK_EX)  # who opens the folder leaves it alone
            except OSError:  # there are file systems without locks
                Incoming(path, file).abandon()
                raise
            if path.exists():
                return Incoming(path, file)
            file.close()  # it was opened just before that

    def has(self, name: str, size: int, digest: str) -> Path | None:
        """Where a file of that name is, if it has these bytes."""
        path = self.root / name
        if path.is_symlink() or not path.is_file() or path.stat().st_size != size:
            return None
        found = sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                found.update(block)
        return path if found.hexdigest() == digest else None


class Incoming:
    """A file on its way into the folder."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._hash = sha256()
        self._size = 0

    def write(self, pieces: Iterable[bytes]) -> None:
        """Append."""
        for piece in pieces:
            self._file.write(piece)
            self._hash.update(piece)
            self._size += len(piece)

    def finish(self, name: str, size: int, digest: str, note: Callable[[str], None]) -> Path:
        """Sync it and let it appear; where that is. `note` is told the file name just before.

        Raises :exc:`WrongBytes`. If it raises anything, nothing stays.
        """
        try:
            if (self._size, self._hash.hexdigest()) != (size, digest):
                raise WrongBytes(f"{self._size} bytes came with another SHA-256 than announced")
            self._file.flush()
            os.fsync(self._file.fileno())
            path = self._appear(safe_name(name), note)
            sync_folder(path.parent)
            return path
        finally:
            self.abandon()

    def _appear(self, name: str, note: Callable[[str], None]) -> Path:
        for number in count(1):
            path = self._path.with_name(numbered(name, number))
            if not os.path.lexists(path):
                note(path.name)
                with contextlib.suppress(FileExistsError):  # since then
                    os.link(self._path, path)
                    return path
        raise AssertionError

    def abandon(self) -> None:
        """Nothing comes of it, or it has appeared."""
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # what could not be written need not be
            self._file.close()


@frozen
class Taken:
    """What a client has of its chat: everything of the desk up to message `after`.

    `saving`: an id behind that, and the name under which its bytes may have appeared in the folder.
    """

    after: int = 0
    saving: tuple[int, str] | None = None


class StateFile:
    """What client `client_id` has taken, so that it survives its own ``kill -9``: replaced atomically."""

    def __init__(self, path: Path, client_id: int) -> None:
        self.path = path
        self._client_id = client_id

    def load(self) -> Taken | None:
        """What was saved last, or None if there is no file.

        Raises `ValueError`, with a sentence for a person, if it is not such a file.
        """
        try:
            state = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            state = None
        if not isinstance(state, dict) or not _is_state(state):
            raise ValueError(f"{self.path} is not a state file of this program; remove it to start anew")
        if state["client"] != self._client_id:
            raise ValueError(f"{self.path} is of client {state['client']}, not {self._client_id}")
        saving = state["saving"]
        return Taken(state["after"], None if saving is None else (saving[0], saving[1]))

    def save(self, taken: Taken) -> None:
        """Put it on stable storage."""
        state = {"client": self._client_id, "after": taken.after, "saving": taken.saving}
        replace_text(self.path, json.dumps(state))


def _is_state(state: dict[str, Any]) -> bool:
    if state.keys() != {"client", "after", "saving"} or not _is_id(state["after"]):
        return False
    saving = state["saving"]
    return saving is None or (
        isinstance(saving, list)
        and len(saving) == 2
        and _is_id(saving[0])
        and isinstance(saving[1], str)
        and not re.search("[/\0]", saving[1])
        and saving[1] not in ("", ".", "..")
    )


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_ID
