"""What is wrong with a database file, as far as one sees it without writing."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from urllib.parse import quote

from twisted.logger import Logger

LOOK = 3.0  # seconds of a start; about a gigabyte of a database that the system has in memory
_SMALLEST = 512  # bytes of a page
# What SQLite says where it cannot look: somebody else has the file, or we may not have it. That is no damage,
# and whoever opens it to work with it hears of it.
_NOT_SEEN = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_READONLY")

log = Logger(namespace="protosuite.suite")


def find(file: Path, seconds: float = LOOK) -> str | None:
    """The first damage to the pages and indexes of a database that is found in this time. Blocks.

    What a page holds as text or numbers cannot be told from what it should hold.
    """
    size = _size(file)
    if not size:
        return None  # it will be made, or its making was interrupted
    if size < _SMALLEST:
        return "it is cut off"  # SQLite takes it for an empty one
    return _look(file, seconds) or ("it is cut off" if _lacks_part_of_a_page(file) else None)


def _look(file: Path, seconds: float) -> str | None:
    """What SQLite finds."""
    try:
        uri = f"file:{quote(str(file))}?mode=ro"
        connection = sqlite3.connect(uri, seconds, uri=True, check_same_thread=False)
        alarm = threading.Timer(seconds, connection.interrupt)
        alarm.start()
        try:
            ((found,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
        finally:
            alarm.cancel()
            alarm.join()
            connection.close()
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorname", "")
        if code == "SQLITE_INTERRUPT":
            log.info("the database is too large to be looked through in {seconds:g} s", seconds=seconds)
        return None if code == "SQLITE_INTERRUPT" or code.startswith(_NOT_SEEN) else str(error)
    return None if found == "ok" else str(found).rpartition("\n")[2]


def _lacks_part_of_a_page(file: Path) -> bool:
    """Whether the last page is not whole: SQLite reads zeros for the rest of it."""
    if _size(file.with_name(file.name + "-wal")):
        return False  # that has the page
    try:
        with file.open("rb") as opened:
            page = int.from_bytes(opened.read(18)[16:], "big")
    except OSError:
        return False  # it cannot be looked at
    return _size(file) % (1 << 16 if page == 1 else page or 1) != 0


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
