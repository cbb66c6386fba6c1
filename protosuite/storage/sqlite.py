"""SQLite as this suite uses it: WAL, full sync, one writer, readers that cannot write."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.pool import QueuePool

from protosuite.errors import StorageError, StorageFull

BEGIN_WRITING = "BEGIN IMMEDIATE"


def resolve(url: str, data: Path) -> URL:
    """The URL with a relative file path put inside `data`."""
    parsed = make_url(url)
    return parsed.set(database=str(data / (parsed.database or "")))


def writer(url: URL) -> Engine:
    """An engine of one connection whose commits are on stable storage when they return."""
    return _engine(url, 1, BEGIN_WRITING, ("journal_mode = WAL", "synchronous = FULL"))


def readers(url: URL, count: int) -> Engine:
    """An engine of `count` connections that refuse to write. A read sees one state of the database."""
    return _engine(url, count, "BEGIN", ("query_only = ON",))


def driver(connection: Connection) -> sqlite3.Connection:
    """What the driver has beneath a connection of SQLAlchemy's: for statements that are worth it."""
    found = connection.connection.driver_connection
    assert isinstance(found, sqlite3.Connection)
    return found


def _engine(url: URL, size: int, begin: str, pragmas: tuple[str, ...]) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        # A connection moves between threads but is used by one at a time: the pool sees to it.
        connect_args={"check_same_thread": False, "timeout": 30},
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, record: object) -> None:
        # The driver would begin transactions by its own rules; `begin` below is the only one.
        connection.isolation_level = None
        for pragma in ("foreign_keys = ON", *pragmas):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        if not driver(connection).in_transaction:  # else the driver was told before SQLAlchemy
            connection.exec_driver_sql(begin)

    return engine


def storage_error(error: sqlite3.Error) -> StorageError | None:
    """What a driver's error means if the storage itself failed; None if the statement was at fault."""
    code = getattr(error, "sqlite_errorname", "") or ""
    if code == "SQLITE_FULL":
        return StorageFull(
            "the disk that holds the database is full; free some room, writing goes on by itself"
        )
    if code.startswith(
        ("SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_CORRUPT", "SQLITE_NOTADB")
    ):
        return StorageError(f"the database cannot be used: {error}")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StorageError("the database is locked by another process")
    return None
