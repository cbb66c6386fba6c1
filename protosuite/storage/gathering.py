"""Writes that are gathered while one is under way: one statement for many, one write in flight."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.lull import Lull
from protosuite.storage.database import Database
from protosuite.storage.locking import Rows

C = TypeVar("C", bound=Sized)

log = Logger()


class Gathering(Generic[C]):
    """Collects into `items`, a container that `empty` makes, and stores it whole.

    Put into `items`, then call :meth:`touch`. `store` is the work for the database; `done` is told, in
    the reactor's thread, what was stored and how it went (None: well). The container is the caller's to
    bound. With a `clock` what comes in the turns of the reactor right behind the first is stored with it, and
    with a `pause`, in seconds, what comes within so long: for what nobody waits for. Who asks for
    :meth:`flushed` ends the pause. `rows` says what is changed that other nodes may change as well.
    """

    def __init__(
        self,
        database: Database,
        empty: Callable[[], C],
        store: Callable[[Connection, C], object],
        done: Callable[[C, Failure | None], None],
        clock: Any = None,
        pause: float = 0.0,
        rows: Callable[[C], Rows] | None = None,
    ) -> None:
        self.items = empty()
        self._database = database
        self._empty = empty
        self._store = store
        self._done = done
        self._clock = clock
        self._lull = Lull(clock, lambda: len(self.items))
        self._pause = pause
        self._rows = rows
        self._pausing: Any = None  # the call that ends the pause
        self._is_hurried = False  # somebody waits until all is stored
        self._flushing: Deferred[None] | None = None

    def touch(self) -> None:
        """There is something in `items`: it goes with the next write."""
        if self._flushing is None:
            self._flushing = Deferred()
            self._gather()

    def flushed(self) -> Deferred[None]:
        """Fires when all that is in `items` now has been stored, or has failed to be."""
        if self._flushing is None:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._flushing.addCallback(lambda _: done.callback(None))
        self._is_hurried = True
        if self._pausing is not None:
            self._pausing.cancel()
            self._flush()
        return done

    def _gather(self) -> None:
        if self._is_hurried or self._clock is None:
            self._flush()
        elif self._pause:
            self._pausing = self._clock.callLater(self._pause, self._flush)
        else:
            self._lull.over().addCallback(self._flush)

    def _flush(self, _: object = None) -> None:
        self._pausing = None
        items, self.items = self.items, self._empty()
        rows = None if self._rows is None else self._rows(items)
        writing = self._database.write(lambda connection: self._store(connection, items), rows)
        writing.addBoth(self._written, items)

    def _written(self, outcome: object, items: C) -> None:
        try:
            self._done(items, outcome if isinstance(outcome, Failure) else None)
        except Exception:  # a defect of who is told must not keep from the database what comes next
            log.failure("what became of a write was not told to all who wait for it")
        if self.items:
            self._gather()
            return
        done, self._flushing = self._flushing, None
        self._is_hurried = False
        assert done is not None
        done.callback(None)
