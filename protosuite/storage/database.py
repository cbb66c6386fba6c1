"""Reads in a small pool, writes in one thread that commits all that are waiting at once."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from attrs import define, field
from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.errors import Overloaded, StorageError
from protosuite.figures import Figure, gauge
from protosuite.storage import sqlite
from protosuite.storage.measures import Measures
from protosuite.storage.workers import Worker

T = TypeVar("T")
Work = Callable[[Connection], Any]
CallInReactor = Callable[..., Any]

log = Logger()


@define
class _Request:
    """Work, and whom to tell: `outcome` is its result or a `Failure` once it has run."""

    work: Work
    answer: Deferred[Any]
    outcome: Any = None


@define(eq=False)
class Database:
    """Runs work on connections in threads and answers with Deferreds in the reactor.

    `call_in_reactor` is the reactor's ``callFromThread``. Everything public is for the reactor's
    thread. `max_queue` bounds the writes, and separately the reads, that wait: past it a request
    fails at once with :exc:`Overloaded`. `clock` gives seconds for what :meth:`figures` tells.
    """

    url: URL
    writer: Worker
    readers: Worker
    call_in_reactor: CallInReactor
    max_queue: int
    reader_connections: int = 4
    clock: Callable[[], float] = time.monotonic
    measures: Measures = field(factory=Measures)

    _write_engine: Engine = field(init=False)
    _read_engine: Engine = field(init=False)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)
    _waiting: deque[_Request] = field(init=False, factory=deque)  # under _lock
    _committing: bool = field(init=False, default=False)  # under _lock
    _reading: int = field(init=False, default=0)
    _healthy: bool = field(init=False, default=True)  # of the writer's thread
    _written: float = field(init=False, default=0.0)  # when it last committed

    def __attrs_post_init__(self) -> None:
        self._write_engine = sqlite.writer(self.url)
        self._read_engine = sqlite.readers(self.url, self.reader_connections)

    @contextmanager
    def at_start(self) -> Iterator[Connection]:
        """A connection for work before the reactor runs: it blocks. Committed when the block ends."""
        with self._write_engine.begin() as connection:
            yield connection

    def open_readers(self) -> None:
        """Open all that reading needs; later there may be too many files. Blocks; for the start."""
        with ExitStack() as opened:
            for _ in range(self.reader_connections):
                connection = opened.enter_context(self._read_engine.connect())
                connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema")

    def write(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """Run `work` in the next commit. The Deferred fires when it is on stable storage.

        If another work of the same commit fails, `work` may be run again in a transaction of its
        own: it must do nothing but use the connection. Requests are answered in order. Fails with
        :exc:`StorageError` when the storage cannot do it, or with what `work` raised.
        """
        request = _Request(work, Deferred())
        with self._lock:
            full = len(self._waiting) >= self.max_queue
            if not full:
                self._waiting.append(request)
                begin, self._committing = not self._committing, True
        if full:
            self.measures.refused += 1
            request.answer.errback(Overloaded("too many writes are waiting for the database"))
        elif begin:
            self.writer.do(self._commit_waiting)
        return request.answer

    def read(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """Run `work` on a reader's connection. It sees every write that was answered before."""
        request = _Request(work, Deferred())
        if self._reading >= self.max_queue:
            self.measures.refused += 1
            request.answer.errback(Overloaded("too many reads are waiting for the database"))
            return request.answer
        self._reading += 1
        asked = self.clock()

        def task() -> None:
            self._run(self._read_engine, [request])
            self.call_in_reactor(self._read_done, request, asked)

        self.readers.do(task)
        return request.answer

    def compute(self, work: Callable[[], T]) -> Deferred[T]:
        """Run `work`, which needs a thread but no connection, where reads run."""
        return self.read(lambda connection: work())

    @property
    def accepts_writes(self) -> bool:
        """Whether the last write did not fail for the storage's sake."""
        return self._healthy

    def idle_for(self) -> float:
        """Seconds since something was last committed."""
        return self.clock() - self._written

    def figures(self) -> Iterator[Figure]:
        """How busy it is, and how that goes."""
        yield gauge("database_writes_waiting", "Writes that wait for the next commit.", len(self._waiting))
        yield gauge("database_reads_waiting", "Reads that wait or are under way.", self._reading)
        yield gauge("database_accepts_writes", "1 if the last write did not fail.", self.accepts_writes)
        yield from self.measures.figures()

    def close(self) -> None:
        """Finish what is queued and close. Blocks; answers still come through the reactor."""
        self.writer.stop()
        self.readers.stop()
        self._write_engine.dispose()
        self._read_engine.dispose()

    # In the reactor's thread.

    def _read_done(self, request: _Request, asked: float) -> None:
        self._reading -= 1
        self.measures.read_seconds.observe(self.clock() - asked)
        _answer([request])

    # In the writer's thread.

    def _commit_waiting(self) -> None:
        """Commit group after group until nothing waits. A group is all that came during the last one."""
        while True:
            with self._lock:
                group = list(self._waiting)
                self._waiting.clear()
                if not group:
                    self._committing = False
                    return
            if not self._run(self._write_engine, group):
                # Still one commit: what somebody did wrong may not cost the others one each.
                self._run(self._write_engine, group, apart=True)
            self.call_in_reactor(_answer, group)

    def _run(self, engine: Engine, group: list[_Request], apart: bool = False) -> bool:
        """Run a group in one transaction and set the outcomes. False: one of several is at fault.

        With `apart`, which takes longer, the one that is at fault fails alone.
        """
        run = _run_apart if apart else _run_one
        began = self.clock()
        try:
            with engine.begin() as connection:
                outcomes = [run(request, connection) for request in group]
                worked = self.clock()
        except Exception as error:  # the loop must live; whoever asked is told
            storage = sqlite.storage_error(error) if isinstance(error, DBAPIError) else None
            if storage is None and len(group) > 1 and not apart:
                return False
            outcomes = [Failure(storage or error) for _ in group]
            if storage is not None:
                self._note_health(storage)
                self.measures.failures += engine is self._write_engine
        else:
            if engine is self._write_engine:
                self._written = self.clock()
                self.measures.committed(len(group), began, worked, self._written)
                self._note_health(None)
        for request, outcome in zip(group, outcomes, strict=True):
            request.outcome = outcome
        return True

    def _note_health(self, error: StorageError | None) -> None:
        """Log once when writing begins to fail and once when it works again."""
        if self._healthy == (error is None):
            return
        self._healthy = error is None
        if error is None:
            log.info("the database accepts writes again")
        else:
            log.error("the database refuses: {reason}", reason=str(error))


def _run_one(request: _Request, connection: Connection) -> Any:
    return request.work(connection)


def _run_apart(request: _Request, connection: Connection) -> Any:
    """The outcome of a request that changes nothing if it fails. Raises what is the storage's own failure."""
    savepoint = connection.begin_nested()
    try:
        outcome = request.work(connection)
    except Exception as error:
        if isinstance(error, DBAPIError) and sqlite.storage_error(error) is not None:
            raise  # there may be no transaction any more
        savepoint.rollback()
        return Failure(error)
    savepoint.commit()
    return outcome


def _answer(group: list[_Request]) -> None:
    for request in group:
        if request.answer.called:  # cancelled: it has been told already
            continue
        if isinstance(request.outcome, Failure):
            request.answer.errback(request.outcome)
        else:
            request.answer.callback(request.outcome)
