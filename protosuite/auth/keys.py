"""Files of keys, made and changed: what ``protosuite-token init`` does."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from protosuite.auth import tokens
from protosuite.files import sync_folder


def make(path: Path) -> str:
    """Make a file with one new key that only its owner may read; the key's id.

    Raises `FileExistsError` if there is one: without its keys, tokens of theirs would be good no more.
    """
    id, line = _new()
    _write(path, line)
    sync_folder(path.absolute().parent)
    return id


def rotate(path: Path) -> str:
    """Put a new key before those of a file; its id. Raises :exc:`StartError` if it is no such file."""
    before = tokens.read_secret(path)
    tokens.parse(before, path)
    id, line = _new()
    owner = path.stat()
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    _write(beside, line + before)
    if os.geteuid() == 0:  # whose file it is must still be able to read it, and the group of one of root's
        os.chown(beside, owner.st_uid, owner.st_gid)
    beside.chmod(stat.S_IMODE(owner.st_mode))
    os.replace(beside, path)
    sync_folder(path.absolute().parent)
    return id


def _new() -> tuple[str, str]:
    id = secrets.token_hex(4)
    return id, tokens.key_line(id, secrets.token_bytes(tokens.MIN_SECRET))


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
