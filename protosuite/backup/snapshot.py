"""A copy of a database as it is at one moment, while others go on writing to it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from protosuite.backup.archive import Advance

_STEP = 1 << 20  # bytes copied at once
_PATIENCE = 30.0  # seconds to wait for whoever has the database for himself: a suite that starts, or stops


def copy_database(source: Path, target: Path, advance: Advance = lambda count: None) -> None:
    """Copy the database `source`, as it is now, into a new file. Raises :exc:`sqlite3.Error`.

    Nothing waits for this: in a write-ahead log who reads does not hold up who writes. The transaction that
    is open on `source` keeps all steps at one state; without it each commit of the suite would make
    SQLite begin the copy again, which under load never ends.
    """
    uri = f"file:{quote(str(source.absolute()))}?mode=ro"
    with (
        closing(sqlite3.connect(uri, _PATIENCE, uri=True, isolation_level=None)) as here,
        closing(sqlite3.connect(target, isolation_level=None)) as there,
    ):
        here.execute("BEGIN")
        here.execute("SELECT 1 FROM sqlite_schema").fetchone()  # from here on it is this state
        (page_size,) = here.execute("PRAGMA page_size").fetchone()
        there.execute("PRAGMA journal_mode = OFF")  # a copy that is broken off is thrown away
        there.execute("PRAGMA synchronous = OFF")
        last = None

        def step(status: int, remaining: int, total: int) -> None:
            nonlocal last
            advance(page_size * ((total if last is None else last) - remaining))
            last = remaining

        here.backup(there, pages=_STEP // page_size, progress=step)
