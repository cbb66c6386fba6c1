"""What a client has said and not been answered: stored, and answered, in the order in which it came."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable

from attrs import define
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from protosuite.errors import BadRequest, Overloaded, StorageFull
from protosuite.mediachat.media.interface import WrongHash
from protosuite.mediachat.media.upload import TakenOver
from protosuite.mediachat.store import MediaChatStore
from protosuite.mediachat.tables import Message, New
from protosuite.mediachat.wire import Status


@define(eq=False)
class Turn:
    """One message. It waits while it has neither `new`, to be stored, nor a `status`."""

    key: str | None = None
    upload: str | None = None
    next_open_at: int | None = None
    new: New | None = None
    status: Status | None = None


class Turns:
    """The messages of one connection.

    `timed` measures what is waited for, `added` is told of each that was stored, `say` is given each status,
    `failed` is told what the storage could not do, and `settled` that something has been answered.
    """

    def __init__(
        self,
        store: MediaChatStore,
        timed: Callable[[Deferred[tuple[Message, bool]]], Deferred[tuple[Message, bool]]],
        added: Callable[[Message], None],
        say: Callable[[Status], None],
        failed: Callable[[str, Failure], None],
        settled: Callable[[], None],
    ) -> None:
        self._store = store
        self._timed = timed
        self._added = added
        self._say = say
        self._failed = failed
        self._settled = settled
        self._unbegun: deque[Turn] = deque()
        self._unsaid: deque[Turn] = deque()

    def __len__(self) -> int:
        return len(self._unsaid)

    def add(self, turn: Turn) -> None:
        """A message has come."""
        self._unbegun.append(turn)
        self._unsaid.append(turn)
        self.go_on()

    def fail(self, turn: Turn, failure: Failure) -> None:
        """It cannot be stored. :meth:`go_on` says so in its turn."""
        code, detail = _why(failure)
        if code in ("storage", "full"):
            self._failed("a message cannot be stored", failure)
        turn.status = Status("error", code=code, detail=detail, key=turn.key, upload=turn.upload)

    def go_on(self) -> None:
        """Store what can be, and answer what has been."""
        while self._unbegun and (self._unbegun[0].new or self._unbegun[0].status):
            turn = self._unbegun.popleft()
            if turn.status is None and turn.new is not None:
                storing = self._timed(self._store.add(turn.new))
                storing.addCallbacks(self._stored, self._not_stored, (turn,), errbackArgs=(turn,))
        self._answer()

    def _not_stored(self, failure: Failure, turn: Turn) -> None:
        self.fail(turn, failure)
        self._answer()

    def _stored(self, outcome: tuple[Message, bool], turn: Turn) -> None:
        message, is_new = outcome
        turn.status = Status(
            message.status, message.id, next_open_at=turn.next_open_at, key=turn.key, upload=turn.upload
        )
        try:
            if is_new:
                self._added(message)
        finally:  # a defect there does not take back that it is stored
            self._answer()

    def _answer(self) -> None:
        while self._unsaid and (status := self._unsaid[0].status) is not None:
            self._unsaid.popleft()
            self._say(status)
        self._settled()


def _why(failure: Failure) -> tuple[str, str]:
    """What a client is told of a failure."""
    error = failure.value
    if isinstance(error, BadRequest):
        return error.code, error.message
    if isinstance(error, WrongHash):
        return "bad-hash", str(error)
    if isinstance(error, TakenOver):
        return "taken-over", "another connection goes on with this upload"
    if isinstance(error, Overloaded):
        return "overloaded", "too much waits to be stored: try again"
    if isinstance(error, StorageFull) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
        return "full", "there is no room for it now"
    return "storage", "it cannot be stored now"
