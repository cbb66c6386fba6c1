"""INSERT … ON CONFLICT, which both engines have, and SQLAlchemy has once for each."""

from __future__ import annotations

from typing import cast

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import sqlite


def insert(connection: Connection, table: Table) -> sqlite.Insert:
    """An INSERT in the dialect of `connection`. What is used of both is the same; the type is of one."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # takes a while, for nothing with SQLite

        return cast(sqlite.Insert, postgresql.insert(table))
    return sqlite.insert(table)
