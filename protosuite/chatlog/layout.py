"""Where entries go when they are committed, and where they are found, with either engine.

With PostgreSQL they are in `entries`, by room and slot. With SQLite that would be another page for each room,
and what is written to the disk are pages: fifty appends in fifty rooms were a hundred. So they come into one
`log`, one behind the other, and stay there; and once they are :data:`MOST`, or that long, their places in it
are `filed` by room and slot, all at once, each page then taking many. The slots of a room up to its head are
filed. Those above it are looked for in what came into the log behind the last that `filing` has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy import bindparam as given

from protosuite.chatlog.chain import Head
from protosuite.chatlog.heads import End
from protosuite.chatlog.tables import FIELDS, entries, filed, filing, log, rooms
from protosuite.storage import sqlite
from protosuite.storage.prepared import ManyRows, Prepared, PreparedQuery

MOST = 2000  # entries that are not filed: 3 ms of the writer's thread, where they are of 50 rooms
MOST_CHARACTERS = 1 << 20  # in those: 0.4 ms to look through

Row = tuple[Any, ...]  # the id of a room, and what FIELDS says
_CONTENT = 1 + FIELDS.index("content")

# With SQLite, all that are filed: as `entries` has them, and read in their order from the table of places.
held = (
    sa.select(filed.c.room, filed.c.slot, *(log.c[name] for name in FIELDS[1:]))
    .join_from(filed, log, log.c.id == filed.c.id)
    .subquery("held")
)
_UPTO = sa.select(sa.func.coalesce(sa.func.max(filing.c.upto), 0)).scalar_subquery()


class Layout(Protocol):
    """One engine's. Within a transaction, of a connection that writes where something is changed."""

    @property
    def held(self) -> sa.FromClause:
        """The entries of rooms up to their heads: `room`, and what FIELDS says."""

    @property
    def latest(self) -> sa.ColumnElement[Any]:
        """The last slot of a room, wherever it is."""

    def version(self, connection: Connection) -> int:
        """Another number than before if somebody else has written, as far as the engine can tell."""

    def ends(self, connection: Connection, names: Sequence[str]) -> dict[str, End]:
        """Where those of these rooms end that are there. Until the commit nobody else adds to them."""

    def known(self, connection: Connection, room: int, keys: Iterable[str]) -> list[Row]:
        """The entries of a room under any of these keys."""

    def put(self, connection: Connection, rows: Sequence[Row], moved: Mapping[int, Head]) -> None:
        """Store entries, each behind those of its room, which end as `moved` says then."""

    def between(self, room: int, head: int, low: int, high: int) -> sa.Select[Any] | sa.CompoundSelect[Any]:
        """The entries of a room, which has this head, between two slots."""

    def settle(self, connection: Connection) -> None:
        """Have no entries above the heads of their rooms."""

    def delete(self, connection: Connection, room: int, end: int) -> None:
        """Delete the entries of a room below `end`, all being settled."""


class InPlace:
    """For PostgreSQL: by room and slot at once."""

    held = entries
    latest = rooms.c.head

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

    def between(self, room: int, head: int, low: int, high: int) -> sa.Select[Any]:
        return _of(entries, room, low, high)

    def settle(self, connection: Connection) -> None:
        """They are where they stay."""

    def delete(self, connection: Connection, room: int, end: int) -> None:
        connection.execute(sa.delete(entries).where(entries.c.room == room, entries.c.slot < end))


class Filed:
    """For SQLite: behind one another. Statements go to the driver: SQLAlchemy takes 20 µs for each.

    How many are not filed, and how long those are, is known for what came since this was made.
    """

    held = held
    latest = sa.func.coalesce(
        sa.select(sa.func.max(log.c.slot))
        .where(log.c.id > _UPTO, log.c.room == rooms.c.id)
        .scalar_subquery(),
        rooms.c.head,
    )

    _PUT = ManyRows(log, "room", *FIELDS)
    _ROOM = "SELECT id, head, hash FROM chatlog_room WHERE name = ?"
    _KNOWN = f"SELECT {', '.join(FIELDS)} FROM chatlog_log WHERE room = ? AND key = ?"

    def __init__(self) -> None:
        self._upto: int | None = None  # what is filed, if that has been looked up
        self._characters = 0

    def version(self, connection: Connection) -> int:
        (version,) = sqlite.driver(connection).execute("PRAGMA data_version").fetchone()
        return int(version)

    def ends(self, connection: Connection, names: Sequence[str]) -> dict[str, End]:
        execute = sqlite.driver(connection).execute
        found = {name: row for name in names if (row := execute(self._ROOM, (name,)).fetchone()) is not None}
        above = {room: Head(*last) for room, *last in execute(_ABOVE)} if found else {}
        return {name: (id, above.get(id) or Head(*head)) for name, (id, *head) in found.items()}

    def known(self, connection: Connection, room: int, keys: Iterable[str]) -> list[Row]:
        execute = sqlite.driver(connection).execute
        return [row for key in keys for row in execute(self._KNOWN, (room, key))]

    def put(self, connection: Connection, rows: Sequence[Row], moved: Mapping[int, Head]) -> None:
        self._characters += sum(len(row[_CONTENT]) for row in rows)
        last = self._PUT.put(connection, rows)
        if self._upto is None:
            (self._upto,) = sqlite.driver(connection).execute(f"SELECT {_UPTO_HERE}").fetchone()
        if last - self._upto >= MOST or self._characters >= MOST_CHARACTERS:
            file(connection)
            self._upto, self._characters = None, 0  # nobody knows whether that is committed

    def between(self, room: int, head: int, low: int, high: int) -> sa.Select[Any] | sa.CompoundSelect[Any]:
        parts = []
        if low <= head:
            parts.append(_of(held, room, low, high))
        if high > head or not parts:
            parts.append(_of(log, room, low, high).where(log.c.id > _UPTO))
        return parts[0] if len(parts) == 1 else sa.union_all(*parts)

    def settle(self, connection: Connection) -> None:
        file(connection)
        self._upto = None

    def delete(self, connection: Connection, room: int, end: int) -> None:
        self._upto = None
        execute = sqlite.driver(connection).execute
        for statement in _DELETE:
            execute(statement, (room, end))
        for statement in _NEWEST:  # the next entry gets the number behind the last that there is
            execute(statement)


def file(connection: Connection) -> None:
    """File what is not filed, with SQLite."""
    for statement in _FILE:
        sqlite.driver(connection).execute(statement)


def _of(table: sa.FromClause, room: int, low: int, high: int) -> sa.Select[Any]:
    query = sa.select(*(table.c[name] for name in FIELDS))
    return query.where(table.c.room == room, table.c.slot.between(low, high))


_UPTO_HERE = "(SELECT coalesce(max(upto), 0) FROM chatlog_filing)"
_REST = f"FROM chatlog_log WHERE id > {_UPTO_HERE}"
# `hash` is that of the row with the largest slot, which SQLite promises for a lone max().
_ABOVE = f"SELECT room, max(slot), hash {_REST} GROUP BY room"
_NEWEST = (
    "DELETE FROM chatlog_filing",
    "INSERT INTO chatlog_filing SELECT id FROM chatlog_log ORDER BY id DESC LIMIT 1",
)
_FILE = (
    f"INSERT INTO chatlog_filed (room, slot, id) SELECT room, slot, id {_REST} ORDER BY room, slot",
    "UPDATE chatlog_room SET head = above.slot, hash = above.hash"
    f" FROM (SELECT room, max(slot) AS slot, hash {_REST} GROUP BY room) AS above WHERE id = above.room",
    *_NEWEST,
)
_DELETE = (
    "DELETE FROM chatlog_log WHERE id IN (SELECT id FROM chatlog_filed WHERE room = ?1 AND slot < ?2)",
    "DELETE FROM chatlog_filed WHERE room = ?1 AND slot < ?2",
)
