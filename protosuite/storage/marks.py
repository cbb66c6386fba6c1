"""What a writer committed last, in the database itself: so a commit whose answer was lost is found or not.

Whatever a server forgets when it dies, or a standby never got when it took over, this row goes the same way
as what was written beside it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import sqlalchemy as sa
from attrs import define, field
from sqlalchemy import BigInteger, Column, Connection, String, Table

from protosuite.storage.schema import metadata
from protosuite.storage.upsert import insert

writers = Table(
    "storage_writer",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("commits", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),  # milliseconds since the epoch, when it last committed
)

_KEPT = 7 * 86_400_000  # milliseconds: far longer than any commit is waited for


def _new_id() -> str:
    return secrets.token_hex(16)


@define(eq=False, repr=False)
class Mark:
    """The row of one writer, and the number of its commits. `wall` gives seconds since the epoch."""

    wall: Callable[[], float] = time.time
    id: str = field(factory=_new_id)
    _count: int = 0

    def put(self, connection: Connection) -> int:
        """Mark the transaction; its number."""
        self._count += 1
        self._upsert(connection, self._count, "commits", "at")
        return self._count

    def is_there(self, connection: Connection, number: int) -> bool:
        """Whether that transaction was committed. One that still may be is waited for.

        Only an upsert waits for a row that somebody has locked as well as for one that is still unseen.
        """
        return self._upsert(connection, 0, "at") >= number

    def _upsert(self, connection: Connection, commits: int, *changed: str) -> int:
        put = insert(connection, writers).values(id=self.id, commits=commits, at=int(self.wall() * 1000))
        put = put.on_conflict_do_update(
            index_elements=["id"], set_={name: put.excluded[name] for name in changed}
        )
        return int(connection.execute(put.returning(writers.c.commits)).scalar_one())


def sweep(connection: Connection, now: int) -> None:
    """Remove the rows of writers that have been gone for long; `now` in milliseconds since the epoch."""
    connection.execute(sa.delete(writers).where(writers.c.at < now - _KEPT))
