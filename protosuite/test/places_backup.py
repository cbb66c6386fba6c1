"""Backups, as whoever restores one reads it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from io import BytesIO
from pathlib import Path

from protosuite.backup.archive import Reader
from protosuite.backup.examining import examine
from protosuite.backup.manifest import Heading, TooNew
from protosuite.storage.schema import HEAD
from protosuite.test.backups import NOW, built
from protosuite.test.places import Place, Take


def _database(revision: str) -> bytes:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA page_size = 512")
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        return connection.serialize()


GOOD = built(Heading("1", HEAD, NOW), _database(HEAD))


def _backup(folder: Path) -> Take:
    database = folder / "database"

    def take(data: bytes) -> None:
        try:
            report = examine(Reader(BytesIO(data).read, len(data)), database)
        except TooNew:
            return
        finally:
            database.unlink(missing_ok=True)
            assert list(folder.iterdir()) == [], "something is left in the folder"
        assert report.is_right == (data == GOOD), report

    return take


PLACES: dict[str, Place] = {"backup": Place(_backup, (GOOD,), is_slow=True)}
