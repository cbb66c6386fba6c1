"""The counter's total in the database: one row."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Connection, Integer, String, Table
from twisted.internet.defer import Deferred

from protosuite.storage import Database, metadata

counter = Table(
    "counter",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("total", String(20), nullable=False),  # decimal digits: no engine has unsigned 64 bits
    CheckConstraint("id = 1", name="one_row"),
)

# As text, which both engines take: made anew for each commit it was a third of what `always` computed.
_PUT = sa.text(
    "INSERT INTO counter (id, total) VALUES (1, :total) ON CONFLICT (id) DO UPDATE SET total = excluded.total"
)


class CounterStore:
    """Loads the total at the start, and stores it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self) -> int:
        """The stored total, 0 in a new database. Blocks; before the reactor runs."""
        with self._database.at_start() as connection:
            return int(connection.execute(sa.select(counter.c.total)).scalar() or 0)

    def save(self, total: int) -> Deferred[None]:
        """Store the total. The Deferred fires when it is on stable storage."""

        def work(connection: Connection) -> None:
            connection.execute(_PUT, {"total": str(total)})

        return self._database.write(work)
