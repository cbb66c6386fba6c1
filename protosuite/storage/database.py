"""Reads in a small pool, writes in one thread that commits all that are waiting at once."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from attrs import define, field
from sqlalchemy import URL, Connection, Engine
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.errors import Overloaded, StorageError
from protosuite.figures import Figure, gauge
from protosuite.storage import engines
from protosuite.storage.engines import Transactions
from protosuite.storage.locking import Rows, in_turn, locked
from protosuite.storage.measures import Measures
from protosuite.storage.timeouts import Timeouts
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
    asked: float  # when, in seconds of the database's clock
    rows: Rows | None = None
    outcome: Any = None


@define(eq=False, repr=False)
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
    timeouts: Timeouts = field(factory=Timeouts)
    measures: Measures = field(factory=Measures)

    _writes: Transactions = field(init=False)
    _reads: Transactions = field(init=False)
    _is_alone: bool = field(init=False)  # nobody else can write
    _lock: threading.Lock = field(init=False, factory=threading.Lock)
    _waiting: deque[_Request] = field(init=False, factory=deque)  # under _lock
    _committing: bool = field(init=False, default=False)  # under _lock
    _reading: int = field(init=False, default=0)
    _healthy: bool = field(init=False, default=True)  # of the writer's thread
    _written: float = field(init=False, default=0.0)  # when it last committed

    def __attrs_post_init__(self) -> None:
        self._is_alone = engines.is_file(self.url)
        self._writes = engines.writing(self.url, self.timeouts, self.clock)
        self._reads = engines.reading(self.url, self.reader_connections, self.timeouts, self.clock)

    @property
    def _write_engine(self) -> Engine:
        return self._writes.engine

    @property
    def _read_engine(self) -> Engine:
        return self._reads.engine

    def beside(self, writer: Worker) -> Database:
        """The same one, for writes alone, by a `writer` of its own: what waits there holds up nobody here."""
        return Database(
            url=self.url,
            writer=writer,
            readers=writer,
            call_in_reactor=self.call_in_reactor,
            max_queue=self.max_queue,
            reader_connections=1,
            clock=self.clock,
            timeouts=self.timeouts,
        )

    @contextmanager
    def at_start(self) -> Iterator[Connection]:
        """A connection for work before the reactor runs: it blocks. Committed when the block ends."""
        with self._writes.at_start() as connection:
            yield connection

    def open_readers(self) -> None:
        """Open all that reading needs; later there may be too many files. Blocks; for the start."""
        self._reads.open_all(self.reader_connections)

    def write(self, work: Callable[[Connection], T], rows: Rows | None = None) -> Deferred[T]:
        """Run `work` in the next commit. The Deferred fires when it is on stable storage.

        If another work of the same commit fails, `work` may be run again in a transaction of its own, and
        with a server that was away for a moment: it must do nothing but use the connection. `rows` are what
        it changes and other nodes may change too. With a server, requests that say so come behind those that
        do not, table by table: all nodes lock rows in one order.
        Requests are answered in order. Fails with :exc:`StorageError` when the storage cannot do it, with
        :exc:`CommitUnknown` when that cannot be known, or with what `work` raised.
        """
        request = _Request(work, Deferred(), self.clock(), rows)
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
        return self._in_reader(work, lambda request: self._run(self._reads, [request]))

    def compute(self, work: Callable[[], T]) -> Deferred[T]:
        """Run `work` where reads run. It has no connection, so it is done while the database is away, too."""

        def run(request: _Request) -> None:
            try:
                request.outcome = work()
            except Exception as error:  # the thread must live; whoever asked is told
                request.outcome = Failure(error)

        return self._in_reader(work, run)

    def _in_reader(self, work: Callable[..., T], run: Callable[[_Request], object]) -> Deferred[T]:
        request = _Request(work, Deferred(), self.clock())
        if self._reading >= self.max_queue:
            self.measures.refused += 1
            request.answer.errback(Overloaded("too many reads are waiting for the database"))
            return request.answer
        self._reading += 1

        def task() -> None:
            run(request)
            self.call_in_reactor(self._read_done, request)

        self.readers.do(task)
        return request.answer

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
        self._writes.stop()
        self._reads.stop()

    # In the reactor's thread.

    def _read_done(self, request: _Request) -> None:
        self._reading -= 1
        self.measures.read_seconds.observe(self.clock() - request.asked)
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
            in_order = group if self._is_alone else in_turn(group)
            if not self._run(self._writes, in_order):
                # Still one commit: what somebody did wrong may not cost the others one each.
                self._run(self._writes, in_order, apart=True)
            self.call_in_reactor(_answer, group)

    def _run(self, transactions: Transactions, group: list[_Request], apart: bool = False) -> bool:
        """Run a group in one transaction and set the outcomes. False: one of several is at fault.

        With `apart`, which takes longer, the one that is at fault fails alone.
        """
        began = worked = self.clock()

        def work(connection: Connection) -> list[Any]:
            nonlocal worked
            requests = group if self._is_alone else locked(connection, group)
            outcomes = [self._one(request, transactions, connection, apart) for request in requests]
            worked = self.clock()
            return outcomes

        try:
            outcomes = transactions.run(work, group[0].asked)
        except Exception as error:  # the loop must live; whoever asked is told
            storage = error if isinstance(error, StorageError) else None
            if storage is None and len(group) > 1 and not apart:
                return False
            outcomes = [Failure(error) for _ in group]
            if storage is not None and transactions is self._writes:
                self._note_health(storage)
                self.measures.failures += 1
        else:
            if transactions is self._writes:
                self._written = self.clock()
                self.measures.committed(len(group), began, worked, self._written)
                self._note_health(None)
        for request, outcome in zip(group, outcomes, strict=True):
            request.outcome = outcome
        return True

    def _one(self, request: _Request, transactions: Transactions, connection: Connection, apart: bool) -> Any:
        """The outcome of a request; `apart`, one that fails changes nothing. Raises what is the storage's."""
        if not apart:
            return request.work(connection)
        savepoint = connection.begin_nested()
        try:
            outcome = request.work(connection)
        except Exception as error:
            if isinstance(error, StorageError) or transactions.failure(error) is not None:
                raise  # there may be no transaction any more
            savepoint.rollback()
            return Failure(error)
        savepoint.commit()
        return outcome

    def _note_health(self, error: StorageError | None) -> None:
        """Log once when writing begins to fail and once when it works again."""
        if self._healthy == (error is None):
            return
        self._healthy = error is None
        if error is None:
            log.info("the database accepts writes again")
        else:
            log.error("the database refuses: {reason}", reason=str(error))


def _answer(group: list[_Request]) -> None:
    for request in group:
        if request.answer.called:  # cancelled: it has been told already
            continue
        if isinstance(request.outcome, Failure):
            request.answer.errback(request.outcome)
        else:
            request.answer.callback(request.outcome)
