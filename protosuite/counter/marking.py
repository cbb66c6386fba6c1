"""Noting in the database how far a total in Redis has got, so that Redis may lose it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from protosuite.counter.holding import Held
from protosuite.counter.store import MarkStore
from protosuite.errors import Overloaded, StorageError

log = Logger(namespace="protosuite.counter")

# Seconds from one look at who has the total to the next.
_LOOK = 1.0


class Marking:
    """For one node: every `interval` seconds the total is noted, if it has risen.

    `changed` is called when the database names another total than the one that was marked, and `claimed` when
    somebody does not find that one. Where the database is away, counting goes on, and the mark stays behind.
    """

    def __init__(
        self,
        store: MarkStore,
        interval: float,
        reactor: Any,
        changed: Callable[[], None],
        claimed: Callable[[], Deferred[None]],
    ) -> None:
        self.fails = False  # the last mark could not be stored
        self.marked = 0  # what the database has, as far as is known
        self._store = store
        self._interval = interval
        self._reactor = reactor
        self._changed = changed
        self._claimed = claimed
        self._holder: str | None = None
        self._reached = 0
        self._looked = 0.0
        self._is_stopping = False
        self._timer = LoopingCall(self._note)
        self._timer.clock = reactor

    def begin_with(self, holder: str, floor: int) -> None:
        """It is the total of this name, which the database knows to have reached `floor`."""
        self._holder = holder
        self.marked = max(self.marked, floor)

    def reached(self, total: int) -> None:
        """Somebody will be told of this total."""
        self._reached = max(self._reached, total)

    def start(self) -> None:
        """Begin."""
        self._timer.start(self._interval)

    def stop(self) -> Deferred[None]:
        """Note what has not been, and end."""
        self._is_stopping = True
        self._timer.stop()
        return self._note()

    def _note(self) -> Deferred[None]:
        """Fires when it is done, and does not fail: the timer waits for that."""
        noting = Deferred.fromCoroutine(self._note_now())
        return noting.addErrback(lambda failure: log.failure("the counter was not noted", failure))

    async def _note_now(self) -> None:
        holder, total = self._holder, self._reached
        if holder is None:
            return
        try:
            is_there = total <= self.marked or await self._store.mark(holder, total)
            if is_there:
                self.marked = max(self.marked, total)
            held = await self._look()
        except (StorageError, Overloaded) as error:
            self._cannot(error)
            return
        self._can()
        if holder != self._holder or self._is_stopping:
            return
        if not is_there or (held is not None and held.holder != holder):
            self._changed()
        elif held is not None and held.claim:
            await self._claimed()

    async def _look(self) -> Held | None:
        """Who has it now, if it is time to ask."""
        if self._is_stopping or self._reactor.seconds() < self._looked + _LOOK:
            return None
        self._looked = self._reactor.seconds()
        return await self._store.look()

    def _can(self) -> None:
        if self.fails:
            self.fails = False
            log.info("how far the counter has got can be noted in the database again")

    def _cannot(self, error: Exception) -> None:
        if not self.fails:
            self.fails = True
            log.error("how far the counter has got cannot be noted in the database: {why}", why=str(error))
