"""What writes need that the engines have each in its own way, or only one needs at all."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import Connection, Select, Table
from sqlalchemy.dialects import sqlite


def insert(connection: Connection, table: Table) -> sqlite.Insert:
    """An INSERT, with ON CONFLICT, in the dialect of `connection`. The type is of one, and does for both."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # takes a while, for nothing with SQLite

        return cast(sqlite.Insert, postgresql.insert(table))
    return sqlite.insert(table)


def lock(connection: Connection, rows: Select[Any]) -> None:
    """Have nobody else change these rows until the end of the transaction, and see them as they are.

    With SQLite nobody can anyway.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(rows.with_for_update())
