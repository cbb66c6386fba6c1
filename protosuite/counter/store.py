"""The counter in the database: one row, with its total, and who has it."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from sqlalchemy import BigInteger, CheckConstraint, Column, Connection, Integer, String, Table
from twisted.internet.defer import Deferred

from protosuite.counter.holding import PROCESS, Held, Kept
from protosuite.storage import Database, metadata, sqlite

counter = Table(
    "counter",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("total", String(20), nullable=False),  # decimal digits: no engine has unsigned 64 bits
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    Column("holder", String(48), nullable=False, server_default=""),
    Column("claim", String(48), nullable=False, server_default=""),
    CheckConstraint("id = 1", name="one_row"),
)

# As text, which both engines take: made anew for each commit it was a third of what `always` computed.
_TAKE = sa.text(
    "INSERT INTO counter (id, total, epoch, holder) VALUES (1, '0', 1, :holder)"
    " ON CONFLICT (id) DO UPDATE SET epoch = counter.epoch + 1, holder = excluded.holder RETURNING total"
)
_PUT = sa.text(
    "INSERT INTO counter (id, total, holder) VALUES (1, :total, :holder)"
    " ON CONFLICT (id) DO UPDATE SET total = excluded.total WHERE counter.holder = excluded.holder"
)

_TOTAL = "CAST(:total AS VARCHAR(20))"
# The larger of two numbers without leading zeros is the longer one, or the later one of two as long.
_LARGER = (
    f"CASE WHEN length(counter.total) < length({_TOTAL})"
    f" OR (length(counter.total) = length({_TOTAL}) AND counter.total < {_TOTAL})"
    f" THEN {_TOTAL} ELSE counter.total END"
)
_RAISE = sa.text(f"UPDATE counter SET total = {_LARGER} WHERE id = 1 AND holder = :holder")
_NAME = sa.text(
    "INSERT INTO counter (id, total, epoch, holder) VALUES (1, :total, :epoch, :holder)"
    f" ON CONFLICT (id) DO UPDATE SET total = {_LARGER}, epoch = excluded.epoch, holder = excluded.holder,"
    " claim = '' WHERE counter.epoch < excluded.epoch"
)
_CLAIM = sa.text("UPDATE counter SET claim = :claim WHERE id = 1 AND holder = :holder")


class CounterStore:
    """The total of a process that runs alone. It has it from :meth:`take` until another one takes it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._holder = ""
        # Whether processes that do not know of each other may use the same database: a folder is locked.
        self.can_be_shared = database.url.get_backend_name() != "sqlite"

    def load(self) -> int:
        """The stored total, 0 in a new database. Blocks; before the reactor runs."""
        with self._database.at_start() as connection:
            return int(connection.execute(sa.select(counter.c.total)).scalar() or 0)

    def take(self) -> int:
        """Take the counter, from whoever has it: the stored total. Blocks; before the reactor runs.

        Where nobody else can have it, nothing is written: it can be read where the disk is full.
        """
        with self._database.at_start() as connection:
            if self.can_be_shared:
                self._holder = PROCESS + secrets.token_hex(8)
                return int(connection.execute(_TAKE, {"holder": self._holder}).scalar_one())
            row = connection.execute(sa.select(counter.c.total, counter.c.holder)).first()
            total, self._holder = ("0", "") if row is None else row
            return int(total)

    def save(self, total: int) -> Deferred[bool]:
        """Store the total, unless another process has taken it. Fires when that is on stable storage."""

        def work(connection: Connection) -> bool:
            values = {"total": str(total), "holder": self._holder}
            if connection.dialect.name == "sqlite":  # 10 µs a commit; through SQLAlchemy 33
                return sqlite.driver(connection).execute(_PUT.text, values).rowcount == 1
            return connection.execute(_PUT, values).rowcount == 1

        return self._database.write(work)

    def is_ours(self) -> Deferred[bool]:
        """Whether no other process has taken the counter."""

        def work(connection: Connection) -> bool:
            return connection.execute(sa.select(counter.c.holder)).scalar() == self._holder

        return self._database.read(work)


class MarkStore:
    """What the database knows of a total that is in a Redis: which one it is, and how far it has got."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def look(self) -> Deferred[Held]:
        """What is there."""

        def work(connection: Connection) -> Held:
            row = connection.execute(sa.select(counter)).first()
            return Held() if row is None else Held(int(row.total), row.epoch, row.holder, row.claim)

        return self._database.read(work)

    def mark(self, holder: str, total: int) -> Deferred[bool]:
        """Note that the total has reached this. False: it is not with this holder any more."""

        def work(connection: Connection) -> bool:
            return connection.execute(_RAISE, {"total": str(total), "holder": holder}).rowcount == 1

        return self._database.write(work)

    def claim(self, holder: str, claim: str) -> Deferred[None]:
        """Say that the total of this holder cannot be found; without a `claim`, that it can."""

        def work(connection: Connection) -> None:
            connection.execute(_CLAIM, {"holder": holder, "claim": claim})

        return self._database.write(work)

    def name(self, kept: Kept) -> Deferred[None]:
        """Have a total be the one that counts, if its epoch is later than that of the one that does."""
        values = {"total": str(kept.total), "epoch": kept.epoch, "holder": kept.holder}

        def work(connection: Connection) -> None:
            connection.execute(_NAME, values)

        return self._database.write(work)
