"""Rooms and their entries in the database. Slots are given here, in the transaction that stores them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from attrs import define, frozen
from sqlalchemy import Connection
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from protosuite.chatlog.chain import Append, Fields, Head, entry_of, extend
from protosuite.chatlog.heads import End, Heads
from protosuite.chatlog.layout import Filed, InPlace, Layout
from protosuite.chatlog.tables import rooms
from protosuite.chatlog.wire import Entry, encode_entry
from protosuite.errors import BadRequest
from protosuite.storage import Database, engines
from protosuite.storage.locking import Rows
from protosuite.storage.upsert import insert

_SEED = ""  # the name under which it is
_COUNT = sa.select(sa.func.count()).select_from(rooms).where(rooms.c.name != _SEED)
_SWEEP_BATCH = 1000  # entries deleted at once: the writer is needed for other things too


@frozen
class RoomState:
    """A room as it is stored. One that is not has the `epoch` that it will get, and no entries."""

    epoch: str
    latest: int = 0
    first: int = 1


@define
class Committed:
    """What became of an append: its entry, encoded too; `is_new` is False if its key was there before."""

    append: Append
    fields: Fields
    encoded: bytes
    is_new: bool

    @property
    def slot(self) -> int:
        """Of the entry."""
        return self.fields[0]

    @property
    def entry(self) -> Entry:
        """The entry itself."""
        return entry_of(self.fields)


@frozen
class Declined:
    """An append that cannot be stored, and what its sender is told."""

    append: Append
    error: BadRequest


Outcome = Committed | Declined
_Done = tuple[list[Outcome], Mapping[str, End]]  # what became of a batch, and where its rooms end now


@frozen
class Page:
    """Some entries of a room, encoded, in slot order, the first of them `low`; and the lowest slot held."""

    entries: list[bytes]
    low: int
    first: int


class ChatLogStore:
    """The logs of all rooms. Times are milliseconds since the epoch, handed in.

    A store that `is_alone`, because nobody else adds to these rooms, keeps where they end.
    """

    def __init__(self, database: Database, max_rooms: int, is_alone: bool = False) -> None:
        self._database = database
        self._max_rooms = max_rooms
        self._is_file = engines.is_file(database.url)
        self._layout: Layout = Filed() if self._is_file else InPlace()
        self._is_alone = is_alone
        self._heads = Heads() if is_alone else Heads(most=0)
        self._version = 0  # of the database, for the writer's thread

    def seed(self, proposal: str) -> str:
        """What all nodes on this database make epochs of; `proposal` if there is nothing yet.

        It is where the epoch of a room is, under a name that no room has. Blocks; before the reactor runs.
        """
        with self._database.at_start() as connection:
            made = {"name": _SEED, "epoch": proposal, "head": 0, "hash": proposal, "first": 1}
            connection.execute(insert(connection, rooms).on_conflict_do_nothing(), [made])
            query = sa.select(rooms.c.epoch).where(rooms.c.name == _SEED)
            return str(connection.execute(query).scalar_one())

    def open(self, room: str, epoch: str) -> Deferred[RoomState]:
        """A room; `epoch` is what it will get if there is none of that name yet."""

        def work(connection: Connection) -> RoomState:
            query = sa.select(rooms.c.epoch, self._layout.latest, rooms.c.first).where(rooms.c.name == room)
            row = connection.execute(query).first()
            return RoomState(epoch) if row is None else RoomState(*row)

        return self._database.read(work)

    def states(self, names: Sequence[str]) -> Deferred[dict[str, RoomState]]:
        """Those of these rooms that are stored."""

        def work(connection: Connection) -> dict[str, RoomState]:
            query = sa.select(rooms.c.name, rooms.c.epoch, self._layout.latest, rooms.c.first)
            found = connection.execute(query.where(rooms.c.name.in_(names)))
            return {name: RoomState(*state) for name, *state in found}

        return self._database.read(work)

    def commit(self, batch: Sequence[Append], epochs: Mapping[str, str], now: int) -> Deferred[list[Outcome]]:
        """Give each append its slot and store it, in this order; what became of each, in this order too.

        All of it is on stable storage when the Deferred fires. A room that is not there yet is made,
        with its epoch out of `epochs`.
        """

        ends = self._heads.take(epochs)

        def work(connection: Connection) -> _Done:
            known = ends if self._is_alone and self._is_unchanged(connection) else {}
            return _Commit(connection, self._layout, batch, self._max_rooms, known).run(epochs, now)

        done = self._database.write(work, Rows(rooms.c.name, list(epochs)))
        return done.addCallbacks(self._stored, self._not_stored)

    def _is_unchanged(self, connection: Connection) -> bool:
        """Whether nobody else has written since this was asked before, though that should not be."""
        before, self._version = self._version, self._layout.version(connection)
        return self._version == before

    def _stored(self, done: _Done) -> list[Outcome]:
        outcomes, ends = done
        self._heads.stored(ends)
        return outcomes

    def _not_stored(self, failure: Failure) -> Failure:
        self._heads.failed()
        return failure

    def newest(self, room: str, low: int, high: int, most: int, max_bytes: int) -> Deferred[Page]:
        """The entries from `low` to `high`, or as many of the newest of them as are within both bounds."""

        def work(connection: Connection) -> Page:
            found, first = _read(connection, self._layout, room, low, high, most, max_bytes, sa.desc("slot"))
            return Page(found[::-1], high - len(found) + 1, first)

        return self._database.read(work)

    def oldest(self, room: str, low: int, high: int, most: int, max_bytes: int) -> Deferred[Page]:
        """The entries from `low` to `high`, or as many of the oldest of them as are within both bounds."""

        def work(connection: Connection) -> Page:
            found, first = _read(connection, self._layout, room, low, high, most, max_bytes, sa.asc("slot"))
            return Page(found, max(low, first), first)

        return self._database.read(work)

    def sweep(self, keep: int, before: int) -> Deferred[dict[str, int]]:
        """Delete some of what is past the newest `keep` of its room (0: no limit) or older than `before`.

        Returns the rooms that lost something with the lowest slot that they still hold. Empty: all is done.
        """

        def work(connection: Connection) -> dict[str, int]:
            return dict(_sweep(connection, self._layout, keep, before))

        return self._database.write(work, Rows(rooms.c.name))

    def tidy(self) -> Deferred[None]:
        """Have all entries found in one way in a file that nobody serves."""
        return self._database.write(self._layout.settle) if self._is_file else succeed(None)


class _Commit:
    """One batch in one transaction: a statement each for rooms, entries and heads, one a room for keys.

    `ends` of some rooms are known, and need not be looked up.
    """

    def __init__(
        self,
        connection: Connection,
        layout: Layout,
        batch: Sequence[Append],
        max_rooms: int,
        ends: Mapping[str, End],
    ) -> None:
        self._connection = connection
        self._layout = layout
        self._batch = batch
        self._max_rooms = max_rooms
        self._ends = ends

    def run(self, epochs: Mapping[str, str], now: int) -> _Done:
        ids, heads = self._open(epochs)
        known = self._known(ids)
        before = dict(heads)
        rows: list[tuple[Any, ...]] = []
        outcomes: list[Outcome] = []
        for append in self._batch:
            room = append.room
            if room not in ids:
                full = BadRequest(
                    "too-many-rooms", f"there are {self._max_rooms} rooms, and no more are made"
                )
                outcomes.append(Declined(append, full))
                continue
            key = append.message.key
            fields = None if key is None else known.get((ids[room], key))
            is_new = fields is None
            if fields is None:
                fields, encoded = extend(heads[room], append, now)
                heads[room] = Head(fields[0], fields[7])
                rows.append((ids[room], *fields))
                if key is not None:
                    known[ids[room], key] = fields
            else:
                encoded = encode_entry(*fields)
            outcomes.append(Committed(append, fields, encoded, is_new))
        moved = {ids[room]: head for room, head in heads.items() if head is not before[room]}
        self._layout.put(self._connection, rows, moved)
        return outcomes, {room: (ids[room], head) for room, head in heads.items()}

    def _open(self, epochs: Mapping[str, str]) -> tuple[dict[str, int], dict[str, Head]]:
        """The ids and heads of the batch's rooms, which are made where they are not there."""
        names = dict.fromkeys(append.room for append in self._batch)
        found = dict(self._ends)
        if unknown := [name for name in names if name not in found]:
            found |= self._layout.ends(self._connection, unknown)
        missing = [name for name in names if name not in found]
        if missing:
            count = self._connection.execute(_COUNT).scalar_one()
            made = [
                {"name": name, "epoch": epochs[name], "head": 0, "hash": epochs[name], "first": 1}
                for name in sorted(missing[: max(0, self._max_rooms - count)])  # another may make the same
            ]
            if made:
                put = insert(self._connection, rooms).on_conflict_do_nothing()
                self._connection.execute(put, made)
                found |= self._layout.ends(self._connection, missing[: len(made)])
        return {name: id for name, (id, _) in found.items()}, {
            name: head for name, (_, head) in found.items()
        }

    def _known(self, ids: Mapping[str, int]) -> dict[tuple[int, str], Fields]:
        """What is stored already under the keys of the batch."""
        keys: dict[int, set[str]] = {}
        for append in self._batch:
            if append.message.key is not None and append.room in ids:
                keys.setdefault(ids[append.room], set()).add(append.message.key)
        found: dict[tuple[int, str], Fields] = {}
        for room, wanted in keys.items():  # for all rooms at once, SQLite would read every entry there is
            found |= {(room, row[6]): row for row in self._layout.known(self._connection, room, wanted)}
        return found


def _read(
    connection: Connection,
    layout: Layout,
    room: str,
    low: int,
    high: int,
    most: int,
    max_bytes: int,
    order: Any,
) -> tuple[list[bytes], int]:
    """Encoded entries between two slots, in `order`, and the lowest slot that the room holds."""
    row = connection.execute(
        sa.select(rooms.c.id, rooms.c.first, rooms.c.head).where(rooms.c.name == room)
    ).first()
    if row is None:
        return [], 1
    query = layout.between(row.id, row.head, low, high).order_by(order).limit(most)
    found: list[bytes] = []
    size = 0
    result = connection.execute(query)
    for fields in result:
        encoded = encode_entry(*fields)
        size += len(encoded) + 1
        if found and size > max_bytes:
            result.close()
            break
        found.append(encoded)
    return found, row.first


def _sweep(connection: Connection, layout: Layout, keep: int, before: int) -> Iterable[tuple[str, int]]:
    layout.settle(connection)
    held = layout.held
    # Asked for each room, not joined: SQLite would begin with the entries, and read them all.
    oldest = held.alias()
    its_first = oldest.c.room == rooms.c.id, oldest.c.slot == rooms.c.first
    its_at = sa.select(oldest.c.at).where(*its_first).scalar_subquery()
    overdue = [its_at < before]
    if keep:
        is_there = its_at.is_not(None)  # else there would be no getting on with the room
        overdue.append(sa.and_(rooms.c.first <= rooms.c.head - keep, is_there))
    query = (
        sa.select(rooms.c.id, rooms.c.name, rooms.c.head, rooms.c.first)
        .where(sa.or_(*overdue))
        .limit(100)
        .with_for_update(of=rooms, skip_locked=True)  # what another node writes to can wait
    )
    left = _SWEEP_BATCH
    for id, name, head, first in connection.execute(query).all():
        if left <= 0:
            return
        ages = sa.select(held.c.slot, held.c.at).where(held.c.room == id, held.c.slot >= first)
        end = first
        for slot, at in connection.execute(ages.order_by(held.c.slot).limit(left)):
            if at >= before and not (keep and slot <= head - keep):
                break
            end = slot + 1
        left -= end - first
        layout.delete(connection, id, end)
        connection.execute(sa.update(rooms).where(rooms.c.id == id).values(first=end))
        yield name, end
