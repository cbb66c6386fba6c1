"""The tables of the chat log.

An entry comes into :data:`recent`, where it is the last of all rooms, and later, with many others, into
:data:`entries`, where it is the last of its room: see :mod:`.layout`.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from protosuite.storage import metadata

rooms = Table(
    "chatlog_room",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("epoch", String(32), nullable=False),
    Column("head", BigInteger, nullable=False),  # the last slot in `entries`
    Column("hash", String(32), nullable=False),  # its hash; the epoch if there is none
    Column("first", BigInteger, nullable=False),  # the lowest slot that is still held
)


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
    sqlite_with_rowid=False,  # clustered by slot: a page of history is read from one place
)
recent = Table(
    "chatlog_recent",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("room", Integer, nullable=False),
    Column("slot", BigInteger, nullable=False),
    *_content(),
    Index("ix_chatlog_recent_slot", "room", "slot", unique=True),
    _keys("chatlog_recent"),
)

FIELDS = ("slot", "author", "content", "at", "session", "seq", "key", "hash")  # as an Entry has them
