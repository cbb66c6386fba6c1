"""What all nodes publish, told here in its order: as this node has stored it, or read from the database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from protosuite.bus.delivery import Event
from protosuite.bus.shared_store import SharedStore
from protosuite.errors import Overloaded, StorageError
from protosuite.logs import Muffled


class Following:
    """A listener of the fabric. `tell` is called with events, each once and in the order of all nodes.

    What this node commits is told at once where it comes right behind what was told before. Otherwise
    somebody else has stored what is between: all of it is read, and told from there. While nobody listens,
    which `is_needed` says, nothing is read.
    """

    def __init__(
        self,
        store: SharedStore,
        tell: Callable[[Sequence[Event]], None],
        is_needed: Callable[[], bool],
        troubles: Muffled,
        log: Logger,
    ) -> None:
        self.position = 0  # up to here all has been told
        self.pages = 0  # that were read
        self.gaps = 0  # times that what was to be told had been deleted
        self._store = store
        self._tell = tell
        self._is_needed = is_needed
        self._troubles = troubles
        self._log = log
        self._wanted = 0
        self._is_reading = False
        self._is_looking = False
        self._waiting: list[tuple[int, Callable[[], None]]] = []

    def begin(self, position: int) -> None:
        """Nothing up to here is to be told."""
        self.position = self._wanted = position

    def committed(self, events: Sequence[Event]) -> None:
        """This node has stored these, one right behind the other."""
        if events[0].order == self.position + 1:
            self._told(events, events[-1].order)
        self.want(events[-1].order)

    def when_at(self, position: int, call: Callable[[], None]) -> None:
        """Call when all up to `position` has been told: now, or later."""
        if self.position >= position:
            call()
        else:
            self._waiting.append((position, call))
            self.want(position)

    def want(self, position: int) -> None:
        """All nodes together have come to `position`: tell what has not been told of it."""
        self._wanted = max(self._wanted, position)
        if self.position < self._wanted and not self._is_reading:
            self._is_reading = True
            Deferred.fromCoroutine(self._read()).addErrback(self._not_read)

    def retry(self) -> None:
        """Go on where reading failed."""
        self.want(self._wanted)

    # A listener of the fabric.

    def woken(self, topic: str, number: int) -> None:
        """Another node has published, up to `number`."""
        self.want(number)

    def catch_up(self, topics: Collection[str]) -> None:
        """Somebody may have published: look where everything ends."""
        if not self._is_looking:
            self._is_looking = True
            self._store.head().addCallbacks(self._looked, self._not_looked)

    def _looked(self, position: int) -> None:
        self._is_looking = False
        self.want(position)

    def _not_looked(self, failure: Any) -> None:
        self._is_looking = False
        self._note(failure)  # the fabric asks again before long

    # Reading.

    async def _read(self) -> None:
        while self.position < self._wanted:
            if not self._is_needed():
                self._told((), self._wanted)
                break
            wanted = self._wanted
            page = await self._store.after(self.position)
            self.pages += 1
            if page.has_gap and page.upto > self.position:
                self.gaps += 1
                self._troubles.info("some events were deleted before this node could tell them")
            behind = [event for event in page.events if event.order > self.position]
            if page.upto > self.position:
                self._told(behind, page.upto)
            if page.is_last and page.upto < wanted == self._wanted:
                self._wanted = self.position  # it does not go that far: whoever said so was wrong
        self._is_reading = False

    def _told(self, events: Sequence[Event], position: int) -> None:
        self.position = position
        self._tell(events)
        waiting, self._waiting = self._waiting, []
        for place, call in waiting:
            if place <= position:
                call()
            else:
                self._waiting.append((place, call))

    def _not_read(self, failure: Any) -> None:
        self._is_reading = False
        self._note(failure)

    def _note(self, failure: Any) -> None:
        if failure.check(StorageError, Overloaded):
            self._troubles.info("events cannot be read: {reason}", reason=str(failure.value))
        else:
            self._log.failure("events of other nodes were not read", failure)
