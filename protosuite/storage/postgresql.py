"""PostgreSQL as this suite uses it: durable commits, one snapshot a read, and an end to every wait."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from protosuite.errors import StartError, StorageError, StorageFull
from protosuite.logs import first_line
from protosuite.storage.attempts import Attempts, Verdict
from protosuite.storage.marks import Mark
from protosuite.storage.overdue import SOCKET, Overdue
from protosuite.storage.timeouts import Timeouts

# SQLSTATEs, whole or by their class. https://www.postgresql.org/docs/current/errcodes-appendix.html
_FULL = ("53100",)
_LOCKED = "55P03"
_BUSY = ("40001", "40P01", _LOCKED)  # somebody else was first, or has the row
_AWAY = ("08", "57P", "25006", "25P03", "53300")  # it stops, starts, or is now a standby
_BROKEN = ("28", "3D000", "42501", "42P01", "53", "57014", "58", "XX")
_DUPLICATE = ("23505",)

_NAME = "protosuite"  # of a session, as the server shows it
_MESSAGES = {_LOCKED: "a row stays locked by another node", "57014": "a statement took too long"}


def writing(url: URL, timeouts: Timeouts, clock: Callable[[], float]) -> Attempts:
    """The transactions of one connection that writes."""
    engine = _engine(url, 1, timeouts, "READ COMMITTED")
    configure = _configuring(timeouts, read_only=False)
    overdue = Overdue(clock)
    return Attempts(engine, timeouts.whole, clock, verdict, configure, overdue, Mark(), _freeing(timeouts))


def reading(url: URL, count: int, timeouts: Timeouts, clock: Callable[[], float]) -> Attempts:
    """The transactions of `count` connections that cannot write, each of which sees one state."""
    engine = _engine(url, count, timeouts, "REPEATABLE READ")
    configure = _configuring(timeouts, read_only=True)
    return Attempts(engine, timeouts.whole, clock, _read_verdict, configure, Overdue(clock))


def verdict(error: Exception) -> Verdict:
    """What went wrong, and whether trying again may help. A statement's own fault has no failure."""
    if not isinstance(error, DBAPIError):
        return Verdict()
    state = getattr(error.orig, "sqlstate", None) or ""
    if state.startswith(_FULL):
        return Verdict(
            StorageFull("the disk that holds the database is full; free some room, writing goes on by itself")
        )
    if state.startswith(_BUSY):
        return Verdict(
            StorageError(_MESSAGES.get(state, "other nodes wrote the same at the same time")),
            True,
            is_locked=state == _LOCKED,
        )
    if error.connection_invalidated or state.startswith(_AWAY) or (not state and _is_operational(error)):
        # The first line is enough. Of several hosts, those behind it name each.
        failure = StorageError(f"the database cannot be reached ({first_line(error.orig)})")
        return Verdict(failure, True, is_away=True)
    if state.startswith(_BROKEN):
        what = _MESSAGES.get(state)
        return Verdict(StorageError(what or f"the database cannot be used ({first_line(error.orig)})"))
    # Two nodes may have put the same at the same time: who looks again finds it.
    return Verdict(is_passing=state.startswith(_DUPLICATE), most=1)


def _read_verdict(error: Exception) -> Verdict:
    """The same for a reader, which may not write anywhere."""
    if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == "25006":
        return Verdict()
    return verdict(error)


def _is_operational(error: DBAPIError) -> bool:
    return type(error.orig).__name__ in ("OperationalError", "ConnectionTimeout", "InterfaceError")


def _engine(url: URL, size: int, timeouts: Timeouts, isolation: str) -> Engine:
    try:
        engine = create_engine(
            _with_hosts(url),
            poolclass=QueuePool,
            pool_size=size,
            max_overflow=0,
            pool_reset_on_return="rollback",
            isolation_level=isolation,
            use_native_hstore=False,  # it would look for that type in each new connection
            connect_args={
                "connect_timeout": max(2, round(timeouts.connect)),
                "application_name": _NAME,
            },
        )
    except ModuleNotFoundError as error:
        raise StartError(
            f"[suite] database needs {error.name}, which is not installed: pip install 'protosuite[postgres]'"
        ) from None

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, record: Any) -> None:
        # It stays known as long as the connection does, so that one that hangs can be cut from outside.
        record.info[SOCKET] = socket.socket(fileno=os.dup(connection.fileno()))

    @event.listens_for(engine, "close")
    @event.listens_for(engine, "invalidate")
    def _closed(connection: Any, record: Any, error: object = None) -> None:
        if SOCKET in record.info:
            record.info[SOCKET].close()

    return engine


def _with_hosts(url: URL) -> URL:
    """Of several hosts the one that takes writes, unless the URL says something else."""
    hosts = url.query.get("host", url.host or "")
    if "target_session_attrs" in url.query or (isinstance(hosts, str) and "," not in hosts):
        return url
    return url.update_query_dict({"target_session_attrs": "read-write"})


_CONFIGURE = text(
    """SELECT set_config('statement_timeout', :statement, false),
        set_config('lock_timeout', :lock, false),
        set_config('idle_in_transaction_session_timeout', :lock, false),
        set_config('default_transaction_read_only', :read_only, false),
        set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'),
            false)"""
)


def _configuring(timeouts: Timeouts, *, read_only: bool) -> Callable[[Connection], None]:
    """What each connection is told before its first use.

    Who is stopped in the midst of a transaction, with a lock that others need, loses it after a while; and
    a server that others let lose their commits does not lose ours.
    """
    settings = {
        "statement": f"{timeouts.whole * 1000:.0f}",
        "lock": f"{timeouts.lock * 1000:.0f}",
        "read_only": "on" if read_only else "off",
    }

    def configure(connection: Connection) -> None:
        connection.execute(_CONFIGURE, settings)

    return configure


# Rows are sent without waiting for each to be answered. Who stops in the midst of that is not idle in the
# server's eyes, and none of its own limits holds: not before `transaction_timeout` of version 17.
_FREE = text(
    """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND application_name = :name
        AND xact_start IS NOT NULL AND wait_event = 'ClientRead'
        AND state_change < clock_timestamp() - make_interval(secs => :lock)"""
)


def _freeing(timeouts: Timeouts) -> Callable[[Connection], None]:
    """What is done by who did not get a lock: transactions end that have heard nothing for too long.

    It is a node that hangs, and has what others need. One that is hit by chance does its transaction again.
    """

    def free(connection: Connection) -> None:
        connection.execute(_FREE, {"name": _NAME, "lock": timeouts.lock})

    return free


def take_time(connection: Connection) -> None:
    """Let what follows in this transaction last: one that moves the whole database."""
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        connection.exec_driver_sql(f"SET LOCAL {name} = 0")
    connection.exec_driver_sql(f"SET LOCAL application_name = '{_NAME}, taking its time'")


_MIGRATION = 0x70726F746F737569  # "protosui": the lock of whoever changes the schema


def exclude_others(connection: Connection, wait: float = 0.0) -> bool:
    """Wait until no other node is within this, up to the end of the transaction.

    With `wait`, in seconds, no longer than that: False. The transaction is then of no use.
    """
    take_time(connection)
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {wait * 1000:.0f}")
    try:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION})
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != "55P03":
            raise
        return False
    return True


def warnings(connection: Connection) -> list[str]:
    """What the server is set to that takes from what is promised."""
    found: dict[str, str] = dict(
        connection.execute(
            text(
                "SELECT name, reset_val FROM pg_settings WHERE name IN ('synchronous_commit', 'fsync', "
                "'full_page_writes')"
            )
        )
        .tuples()
        .all()
    )
    said = []
    if found["synchronous_commit"] == "off":
        said.append("synchronous_commit is off in the database: the suite has it on for its own commits")
    for name in ("fsync", "full_page_writes"):
        if found[name] == "off":
            said.append(
                f"{name} is off in the database: if its machine crashes, what was acknowledged is lost"
            )
    return said
