"""Where entries go when they are committed, and where they are found, with either engine.

With PostgreSQL they go where they stay. With SQLite that would be another page for each room, and what is
written to the disk are pages: fifty appends in fifty rooms were a hundred. So they come into `recent` first,
one behind the other, and once they are :data:`MOST`, or that long, all are merged into `entries`, by room and
slot, as in a log-structured merge tree: each page that is written then takes many. The slots of a room up to
its head are in `entries`, those above it in `recent`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy import bindparam as given

from protosuite.chatlog.chain import Head
from protosuite.chatlog.heads import End
from protosuite.chatlog.tables import FIELDS, entries, recent, rooms
from protosuite.storage import sqlite
from protosuite.storage.prepared import ManyRows, Prepared, PreparedQuery

MOST = 2000  # entries that wait to be merged: 5 ms of the writer's thread, where they are of 50 rooms
MOST_CHARACTERS = 1 << 20  # in those: 20 ms

Row = tuple[Any, ...]  # the id of a room, and what FIELDS says
_CONTENT = 1 + FIELDS.index("content")

_newest = sa.select(sa.func.max(recent.c.slot)).where(recent.c.room == rooms.c.id).scalar_subquery()
LATEST = sa.func.coalesce(_newest, rooms.c.head)  # the last slot of a room, wherever it is


class Layout(Protocol):
    """One engine's. Within the transaction of a connection that writes."""

    def version(self, connection: Connection) -> int:
        """Another number than before if somebody else has written, as far as the engine can tell."""

    def ends(self, connection: Connection, names: Sequence[str]) -> dict[str, End]:
        """Where those of these rooms end that are there. Until the commit nobody else adds to them."""

    def known(self, connection: Connection, room: int, keys: Iterable[str]) -> list[Row]:
        """The entries of a room under any of these keys."""

    def put(self, connection: Connection, rows: Sequence[Row], moved: Mapping[int, Head]) -> None:
        """Store entries, each behind those of its room, which end as `moved` says then."""


class InPlace:
    """For PostgreSQL: by room and slot at once."""

    # Built once: putting a statement together takes longer than carrying it out.
    _ENDS = PreparedQuery(
        sa.select(rooms.c.name, rooms.c.id, rooms.c.head, rooms.c.hash)
        .order_by(rooms.c.id)
        .with_for_update(),
        rooms.c.name,
    )
    _KNOWN = PreparedQuery(
        sa.select(*(entries.c[name] for name in FIELDS)).where(entries.c.room == given("its_room")),
        entries.c.key,
        "its_room",
    )
    _PUT = Prepared(entries.insert(), "room", *FIELDS)
    _MOVE = Prepared(
        sa.update(rooms).where(rooms.c.id == given("its_id")).values(head=given("slot"), hash=given("last")),
        *("its_id", "slot", "last"),
    )

    def version(self, connection: Connection) -> int:
        return 0

    def ends(self, connection: Connection, names: Sequence[str]) -> dict[str, End]:
        found = self._ENDS.rows(connection, names)
        return {name: (id, Head(head, hash)) for name, id, head, hash in found}

    def known(self, connection: Connection, room: int, keys: Iterable[str]) -> list[Row]:
        return list(self._KNOWN.rows(connection, sorted(keys), room))

    def put(self, connection: Connection, rows: Sequence[Row], moved: Mapping[int, Head]) -> None:
        self._PUT.many(connection, rows)
        self._MOVE.many(connection, [(id, head.slot, head.hash) for id, head in moved.items()])


class Merged:
    """For SQLite: behind one another first. Statements go to the driver: SQLAlchemy takes 20 µs for each.

    How much text waits is known for what came since this was made.
    """

    _PUT = ManyRows(recent, "room", *FIELDS)
    _END = (
        "SELECT r.id, coalesce(e.slot, r.head), coalesce(e.hash, r.hash)"
        " FROM chatlog_room r LEFT JOIN chatlog_recent e ON e.room = r.id"
        " AND e.slot = (SELECT max(slot) FROM chatlog_recent WHERE room = r.id) WHERE r.name = ?"
    )
    _KNOWN = " UNION ALL ".join(
        f"SELECT {', '.join(FIELDS)} FROM {table} WHERE room = ? AND key = ?"
        for table in ("chatlog_recent", "chatlog_entry")
    )

    def __init__(self) -> None:
        self._characters = 0

    def version(self, connection: Connection) -> int:
        (version,) = sqlite.driver(connection).execute("PRAGMA data_version").fetchone()
        return int(version)

    def ends(self, connection: Connection, names: Sequence[str]) -> dict[str, End]:
        execute = sqlite.driver(connection).execute
        found = ((name, execute(self._END, (name,)).fetchone()) for name in names)
        return {name: (row[0], Head(*row[1:])) for name, row in found if row is not None}

    def known(self, connection: Connection, room: int, keys: Iterable[str]) -> list[Row]:
        execute = sqlite.driver(connection).execute
        return [row for key in keys for row in execute(self._KNOWN, (room, key, room, key))]

    def put(self, connection: Connection, rows: Sequence[Row], moved: Mapping[int, Head]) -> None:
        self._characters += sum(len(row[_CONTENT]) for row in rows)
        last = self._PUT.put(connection, rows)  # ids begin at 1 where nothing is left
        if last >= MOST or self._characters >= MOST_CHARACTERS:
            merge(connection)
            self._characters = 0


def merge(connection: Connection) -> None:
    """Put what is in `recent` where it stays. With PostgreSQL, where nothing is, this does nothing."""
    if connection.dialect.name == "sqlite":
        for statement in _MERGE:
            sqlite.driver(connection).execute(statement)


_COLUMNS = f"room, {', '.join(FIELDS)}"
_MERGE = (
    f"INSERT INTO chatlog_entry ({_COLUMNS}) SELECT {_COLUMNS} FROM chatlog_recent ORDER BY room, slot",
    # `hash` is that of the row with the largest slot, which SQLite promises for a lone max().
    "UPDATE chatlog_room SET head = last.slot, hash = last.hash"
    " FROM (SELECT room, max(slot) AS slot, hash FROM chatlog_recent GROUP BY room) AS last"
    " WHERE id = last.room",
    "DELETE FROM chatlog_recent",
)
