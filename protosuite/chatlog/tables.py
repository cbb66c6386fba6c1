"""The tables of the chat log.

With PostgreSQL the entries are in :data:`entries`, with SQLite in :data:`log`, of which :data:`filed` says
where those of a room are: see :mod:`.layout`.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from protosuite.storage import metadata
from protosuite.storage.schema import only_on

rooms = Table(
    "chatlog_room",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("epoch", String(32), nullable=False),
    Column("head", BigInteger, nullable=False),  # the last slot; with SQLite the last that is filed
    Column("hash", String(32), nullable=False),  # its hash; the epoch if there is none
    Column("first", BigInteger, nullable=False),  # the lowest slot that is still held
)


def _one_behind_the_other() -> list[Column[Any]]:
    return [
        Column("id", Integer, primary_key=True),
        Column("room", Integer, nullable=False),
        Column("slot", BigInteger, nullable=False),
        *_content(),
    ]


def _content() -> list[Column[Any]]:
    return [
        Column("author", String(64), nullable=False),
        Column("content", Text, nullable=False),
        Column("at", BigInteger, nullable=False),  # milliseconds since the epoch
        Column("session", String(32), nullable=False),
        Column("seq", BigInteger, nullable=False),
        Column("key", String(64)),
        Column("hash", String(32), nullable=False),
    ]


def _keys(table: str) -> Index:
    # For most entries there is no key to be written. On PostgreSQL the migration gives the condition.
    return Index(f"ix_{table}_key", "room", "key", unique=True, sqlite_where=sa.text("key IS NOT NULL"))


entries = Table(
    "chatlog_entry",
    metadata,
    Column("room", Integer, primary_key=True, autoincrement=False),
    Column("slot", BigInteger, primary_key=True, autoincrement=False),
    *_content(),
    _keys("chatlog_entry"),
    info=only_on("postgresql"),
)
log = Table(
    "chatlog_log",
    metadata,
    *_one_behind_the_other(),
    _keys("chatlog_log"),
    info=only_on("sqlite"),
)
filed = Table(
    "chatlog_filed",
    metadata,
    Column("room", Integer, primary_key=True, autoincrement=False),
    Column("slot", BigInteger, primary_key=True, autoincrement=False),
    Column("id", BigInteger, nullable=False),  # in the log
    sqlite_with_rowid=False,
    info=only_on("sqlite"),
)
filing = Table(
    "chatlog_filing",
    metadata,
    Column("upto", BigInteger, primary_key=True, autoincrement=False),  # the last of the log that is filed
    info=only_on("sqlite"),
)
# Nothing is in it: nodes of the version before this one look whether there is.
recent = Table(
    "chatlog_recent",
    metadata,
    *_one_behind_the_other(),
    Index("ix_chatlog_recent_slot", "room", "slot", unique=True),
    _keys("chatlog_recent"),
    info=only_on("postgresql"),
)

FIELDS = ("slot", "author", "content", "at", "session", "seq", "key", "hash")  # as an Entry has them
