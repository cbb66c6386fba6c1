"""What a database URL means: which engine, and how its transactions are run."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from attrs import define, field
from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from protosuite.errors import StartError, StorageError
from protosuite.storage import sqlite
from protosuite.storage.timeouts import Timeouts

T = TypeVar("T")


class Transactions(Protocol):
    """Runs work in transactions on one sort of connections. Blocks; for threads, as many as connections."""

    @property
    def engine(self) -> Engine:
        """Of its connections."""

    def run(self, work: Callable[[Connection], T], asked: float) -> T:
        """The result of `work`, once it is committed. Whoever waits for it does so since `asked`.

        Raises :exc:`StorageError` when the storage cannot do it, or what `work` raised. `work` may be run
        several times; all but the last are undone.
        """

    def at_start(self) -> AbstractContextManager[Connection]:
        """A connection in a transaction that is committed at the end of the block."""

    def open_all(self, count: int) -> None:
        """Open so many connections at once, each with all that it needs; later there may be too many files.

        Blocks; raises :exc:`StorageError` as :meth:`run` does.
        """

    def failure(self, error: Exception) -> StorageError | None:
        """What a driver's error means if the storage itself failed; None if the statement was at fault."""

    def stop(self) -> None:
        """Close all connections."""


@define(eq=False, repr=False)
class FileTransactions:
    """Those of SQLite that read: they wait for nobody."""

    engine: Engine

    def run(self, work: Callable[[Connection], T], asked: float) -> T:
        try:
            with self.engine.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            raise self.failure(error) or error from error

    def at_start(self) -> AbstractContextManager[Connection]:
        return self.engine.begin()

    def open_all(self, count: int) -> None:
        with ExitStack() as opened:
            for _ in range(count):
                connection = opened.enter_context(self.engine.connect())
                connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema")

    def failure(self, error: Exception) -> StorageError | None:
        cause = error.orig if isinstance(error, DBAPIError) else error
        return sqlite.storage_error(cause) if isinstance(cause, sqlite3.Error) else None

    def stop(self) -> None:
        self.engine.dispose()


@define(eq=False, repr=False)
class FileWriting(FileTransactions):
    """Those of SQLite that write, one after the other, on one connection that is kept.

    The driver is told where they begin and end. To take the connection out of a pool and put it back, and to
    have SQLAlchemy begin and commit, was 37 of the 70 µs that a commit of one statement computed; to have it
    carry out the statement is 23 of what is left.
    """

    _turn: threading.Lock = field(init=False, factory=threading.Lock)
    _kept: Connection | None = field(init=False, default=None)

    def run(self, work: Callable[[Connection], T], asked: float) -> T:
        try:
            with self._turn, self._connected() as connection:
                driver = sqlite.driver(connection)
                driver.execute(sqlite.BEGIN_WRITING)
                result = work(connection)
                driver.commit()
                if connection.in_transaction():
                    connection.commit()
                return result
        except (DBAPIError, sqlite3.Error) as error:
            raise self.failure(error) or error from error

    @contextmanager
    def at_start(self) -> Iterator[Connection]:
        with self._turn, self._connected() as connection, connection.begin():
            yield connection

    def stop(self) -> None:
        with self._turn:
            if self._kept is not None:
                self._kept.close()
                self._kept = None
        super().stop()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """The connection; one that failed goes back to the pool, which undoes what it has begun."""
        kept, self._kept = self._kept or self.engine.connect(), None
        try:
            yield kept
        except BaseException:
            kept.close()
            raise
        self._kept = kept


def is_file(url: URL) -> bool:
    """Whether the database is a file of this machine, which one process at a time uses."""
    return url.get_backend_name() == "sqlite"


def resolve(url: str, data: Path) -> URL:
    """The URL as it is opened: a relative file path is inside `data`. :exc:`StartError` if it is none."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # as of a port that is no number; the text may have a password
        raise StartError(
            "[suite] database is no URL that can be read: behind its @ may stand one host and one port;"
            " several go to its end, as ?host=one,other&port=5432,5432"
        ) from None
    return sqlite.resolve(url, data) if is_file(parsed) else parsed


def shown(url: URL) -> str:
    """What a person calls the database: its file, or the URL without its password."""
    if is_file(url):
        return str(url.database)
    secret = {"password": "***", "sslpassword": "***"}
    return url.set(
        query={name: secret.get(name, value) for name, value in url.query.items()}
    ).render_as_string(hide_password=True)


def writing(url: URL, timeouts: Timeouts, clock: Callable[[], float]) -> Transactions:
    """One connection, whose commits are on stable storage when they return."""
    if is_file(url):
        return FileWriting(sqlite.writer(url))
    from protosuite.storage import postgresql  # who has SQLite needs no driver

    return postgresql.writing(url, timeouts, clock)


def reading(url: URL, count: int, timeouts: Timeouts, clock: Callable[[], float]) -> Transactions:
    """`count` connections that cannot write. A read sees one state of the database."""
    if is_file(url):
        return FileTransactions(sqlite.readers(url, count))
    from protosuite.storage import postgresql

    return postgresql.reading(url, count, timeouts, clock)
