"""Sessions of numbers in the database. Acknowledgements are gathered, one statement for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, String, Table
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.numbers.sequence import EMPTY_CHECKSUM, Session, checksum, resume_at
from protosuite.numbers.wire import Start
from protosuite.storage import Database, metadata
from protosuite.storage.gathering import Gathering
from protosuite.storage.locking import Rows
from protosuite.storage.prepared import Prepared
from protosuite.storage.upsert import insert

log = Logger()

sessions = Table(
    "numbers_session",
    metadata,
    Column("client", String(64), primary_key=True),
    Column("seed", LargeBinary(8), nullable=False),  # unsigned 64 bits, big-endian
    Column("count", Integer, nullable=False),
    Column("acknowledged", Integer, nullable=False),  # how many, which is the index that comes next
    Column("used_at", BigInteger, nullable=False, index=True),  # milliseconds since the epoch
)

_SWEEP_BATCH = 1000  # a sweep shares the writer: this many rows take a few milliseconds


class NumbersStore:
    """The sessions of all clients. Times are milliseconds since the epoch, handed in.

    Acknowledgements are gathered for `flush_interval` seconds of `clock`. One that was not stored costs its
    client numbers that it gets again; each in a commit of its own cost more than all else of a stream.
    """

    def __init__(
        self, database: Database, session_ttl: float, clock: Any = None, flush_interval: float = 0.0
    ) -> None:
        self._database = database
        self._ttl = int(session_ttl * 1000)
        self._putting: Any = None
        # At most one entry a session that was used since the last commit: client to (count, time).
        self._acknowledged: Gathering[dict[str, tuple[int, int]]] = Gathering(
            database, dict, _store_acknowledged, _log_failure, clock, flush_interval, _sessions_of
        )

    def open(self, start: Start, fresh: Session, now: int) -> Deferred[tuple[Session, int]]:
        """The client's session and the index that comes first; `fresh` becomes its session if it has none.

        It is stored when the Deferred fires. Fails with :exc:`PeerFault` if `start` asks for what is not.
        """
        # What is on its way to the database is ahead of this in the queue; what is not goes with it.
        unstored, _ = self._acknowledged.items.pop(start.client, (0, 0))

        def work(connection: Connection) -> tuple[Session, int]:
            stored = connection.execute(_FIND, {"b_client": start.client}).one_or_none()
            found = self._session(stored, now, unstored)
            index = resume_at(start, found)
            session = found or fresh
            row = {
                "client": session.client,
                "seed": session.seed.to_bytes(8, "big"),
                "count": session.count,
                "acknowledged": index,  # a client that says `next` says what it has
                "used_at": now,
            }
            if stored is not None:
                connection.execute(_USE, {"b_client": session.client, **row})
            elif connection.execute(self._put(connection), row).first() is None:
                return work(connection)  # another node has just made it
            return session, index

        return self._database.write(work, Rows(sessions.c.client, [start.client]))

    def checksum(self, session: Session, index: int) -> Deferred[int]:
        """Adler-32 over the session's numbers before `index`, computed off the reactor's thread."""
        if not index:
            return succeed(EMPTY_CHECKSUM)
        return self._database.compute(lambda: checksum(session.seed, index))

    def acknowledge(self, client: str, count: int, now: int) -> None:
        """Note that `count` numbers are with the client. Stored with the next commit; nobody waits for it."""
        self._acknowledged.items[client] = (count, now)
        self._acknowledged.touch()

    def flushed(self) -> Deferred[None]:
        """Fires when every acknowledgement so far has been stored, or has failed to be."""
        return self._acknowledged.flushed()

    def sweep(self, now: int) -> Deferred[int]:
        """Remove some of the sessions that have expired; how many. 0: there are no more."""

        def work(connection: Connection) -> int:
            before = now - self._ttl
            old = sa.select(sessions.c.client).where(sessions.c.used_at < before).limit(_SWEEP_BATCH)
            old = old.with_for_update(skip_locked=True)  # those that another node uses are wanted again
            return connection.execute(sa.delete(sessions).where(sessions.c.client.in_(old))).rowcount

        return self._database.write(work, Rows(sessions.c.client))

    def _put(self, connection: Connection) -> Any:
        """The statement for a new session, in the dialect of `connection`."""
        if self._putting is None:
            put = insert(connection, sessions).on_conflict_do_nothing()
            self._putting = put.returning(sessions.c.client)
        return self._putting

    def _session(self, row: Sequence[Any] | None, now: int, unstored: int) -> Session | None:
        if row is None:
            return None
        client, seed, count, acknowledged, used_at = row
        if used_at < now - self._ttl:
            return None
        return Session(client, int.from_bytes(seed, "big"), count, min(max(acknowledged, unstored), count))


# Made once: to make one, with its values in it, took three times as long as to run it.
# Until the end of the transaction no other node opens the session.
_FIND = sa.select(sessions).where(sessions.c.client == sa.bindparam("b_client")).with_for_update()
_USE = (
    sa.update(sessions)
    .where(sessions.c.client == sa.bindparam("b_client"))
    .values({column.name: sa.bindparam(column.name) for column in sessions.c})
)
_ACKNOWLEDGE = Prepared(
    sa.update(sessions)
    # What comes late from the node where the client was before does not count any more.
    .where(sessions.c.client == sa.bindparam("b_client"), sessions.c.used_at <= sa.bindparam("b_used_at"))
    .values(acknowledged=sa.bindparam("b_acknowledged"), used_at=sa.bindparam("b_used_at")),
    *("b_client", "b_acknowledged", "b_used_at"),
)


def _sessions_of(items: dict[str, tuple[int, int]]) -> Rows:
    """What storing these changes."""
    return Rows(sessions.c.client, list(items))


def _store_acknowledged(connection: Connection, items: dict[str, tuple[int, int]]) -> None:
    # In the order of the key: neighbours are on one page, and nodes take their locks in one order.
    _ACKNOWLEDGE.many(connection, [(client, *what) for client, what in sorted(items.items())])


def _log_failure(items: object, failure: Failure | None) -> None:
    # What is not stored costs a client some numbers that it gets again: the next one repairs it.
    if failure is not None:
        log.debug("acknowledgements not stored: {why}", why=str(failure.value))
