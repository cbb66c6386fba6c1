"""Transactions with a server that may go away: tried again while that is safe, and for a limited time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from attrs import define, frozen
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from protosuite.errors import CommitUnknown, StorageError
from protosuite.storage.marks import Mark
from protosuite.storage.overdue import SOCKET, Overdue

T = TypeVar("T")

_FIRST_DELAY, _LONGEST_DELAY = 0.02, 1.0  # seconds between attempts; the first comes at once


@frozen
class Verdict:
    """What an error means. `failure`: what is told of it, None if the statement itself was at fault.

    Where it `is_passing` nothing was done, and another attempt may go well; `most` bounds how many.
    """

    failure: StorageError | None = None
    is_passing: bool = False
    is_away: bool = False  # there is nobody to ask at all
    is_locked: bool = False  # somebody else has what was needed, and keeps it
    most: int = 1_000_000


class _Cut(Exception):
    """The connection was lost during the commit of the transaction with this number, whose work is done."""

    def __init__(self, number: int, result: Any) -> None:
        self.number = number
        self.result = result


@define(eq=False, repr=False)
class Attempts:
    """The transactions of one engine. `timeout` bounds each, with all its attempts, in seconds.

    Serialization failures, deadlocks, lost connections and a server that is gone for a while lead to another
    attempt of the whole transaction: it is not in the database, and its work uses nothing else. Where the
    commit itself was cut short, `mark` tells whether it took place. `configure` is done with each new
    connection before its first use, and `free` by a transaction that did not get a lock, when it is undone.
    """

    engine: Engine
    timeout: float
    clock: Callable[[], float]
    verdict: Callable[[Exception], Verdict]
    configure: Callable[[Connection], None]
    overdue: Overdue
    mark: Mark | None = None
    free: Callable[[Connection], None] | None = None
    sleep: Callable[[float], None] = time.sleep
    _is_away: bool = False  # the last attempt of anybody found nobody

    def run(self, work: Callable[[Connection], T], asked: float) -> T:
        """See :class:`~.engines.Transactions`.

        Who has waited in line while the server was away waits no longer than if its turn had come at once.
        """
        deadline = (asked if self._is_away else self.clock()) + self.timeout
        if self.clock() >= deadline:
            raise StorageError("the database cannot be reached")
        return self._repeated(lambda: self._transact(work, deadline), deadline)

    @contextmanager
    def at_start(self) -> Iterator[Connection]:
        """A transaction for the start: it waits for the server as any does, but then takes its time."""
        deadline = self.clock() + self.timeout
        connection = self._repeated(lambda: self._connect(deadline), deadline)
        try:
            with connection.begin():
                yield connection
        finally:
            connection.close()

    def open_all(self, count: int) -> None:
        deadline = self.clock() + self.timeout
        with ExitStack() as opened:
            for _ in range(count):
                connection = self._repeated(lambda: self._connect(deadline), deadline)
                opened.callback(connection.close)

    def failure(self, error: Exception) -> StorageError | None:
        return self.verdict(error).failure

    def stop(self) -> None:
        self.overdue.stop()
        self.engine.dispose()

    def _repeated(self, attempt: Callable[[], T], deadline: float) -> T:
        """The first result of `attempt`. Ends in time for `deadline`, with the last failure."""
        tried, delay = 0, 0.0
        while True:
            try:
                result = attempt()
            except StorageError:
                raise
            except Exception as error:
                verdict = self.verdict(error)
                self._is_away = verdict.is_away
                tried += 1
                if not verdict.is_passing or tried > verdict.most or self.clock() + delay >= deadline:
                    raise (verdict.failure or error) from error
            else:
                self._is_away = False
                return result
            self.sleep(delay)
            delay = min(max(_FIRST_DELAY, delay * 2), _LONGEST_DELAY)

    def _transact(self, work: Callable[[Connection], T], deadline: float) -> T:
        try:
            with self._connect(deadline) as connection, self._watched(connection, deadline):
                return self._commit(connection, work)
        except _Cut as cut:
            if self._took_place(cut.number, deadline):
                return cut.result  # type: ignore[no-any-return]
            raise cut.__cause__ or cut from None  # another attempt

    def _commit(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        transaction = connection.begin()
        try:
            result = work(connection)
            number = None if self.mark is None else self.mark.put(connection)
        except BaseException as error:
            try:
                transaction.rollback()
                self._free_locks(connection, error)
            except DBAPIError as lost:  # it is undone anyway: nobody has committed it
                # The driver may not know that it is over, as within many rows (psycopg's pipelines): the pool
                # would ask for it once more, and log how that went.
                connection.invalidate(lost)
            raise
        try:
            transaction.commit()
        except DBAPIError as error:
            if number is None or not error.connection_invalidated:
                raise
            raise _Cut(number, result) from error
        return result

    def _free_locks(self, connection: Connection, error: BaseException) -> None:
        if self.free is not None and isinstance(error, DBAPIError) and self.verdict(error).is_locked:
            with connection.begin():
                self.free(connection)

    def _took_place(self, number: int, deadline: float) -> bool:
        """Whether a transaction was committed whose commit was not answered."""
        mark = self.mark
        assert mark is not None, "who has no mark gives no number"

        def ask() -> bool:
            with (
                self._connect(deadline) as connection,
                self._watched(connection, deadline),
                connection.begin(),
            ):
                return mark.is_there(connection, number)

        try:
            return self._repeated(ask, deadline)
        except StorageError as error:
            raise CommitUnknown(
                f"the database was lost during a commit, so this may be stored or not ({error})"
            ) from error

    def _connect(self, deadline: float) -> Connection:
        connection = self.engine.connect()
        try:
            self._ready(connection, deadline)
        except BaseException:
            connection.close()
            raise
        return connection

    def _ready(self, connection: Connection, deadline: float) -> None:
        if "protosuite.ready" not in connection.info:
            with self._watched(connection, deadline):
                self.configure(connection)
                connection.commit()
            connection.info["protosuite.ready"] = True

    def _watched(self, connection: Connection, deadline: float) -> Any:
        return self.overdue.watch(connection.info[SOCKET], deadline)
