"""What a client has said and not been answered: stored, and answered, in the order in which it came."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol as Interface

from attrs import define
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from protosuite.errors import BadRequest, Overloaded, is_full
from protosuite.figures import Histogram
from protosuite.mediachat.adding import Added
from protosuite.mediachat.media.interface import WrongHash
from protosuite.mediachat.media.upload import TakenOver
from protosuite.mediachat.store import MediaChatStore
from protosuite.mediachat.tables import Message, New
from protosuite.mediachat.wire import Status, encode_stored


@define(eq=False, repr=False)
class Turn:
    """One message. It waits while it has neither `new`, to be stored, nor an `answer`.

    That is what is said to the client: a status, or one that is encoded.
    """

    key: str | None = None
    upload: str | None = None
    next_open_at: int | None = None
    new: New | None = None
    answer: Status | bytes | None = None
    asked: float = 0.0  # when it began to be stored, in seconds


class Office(Interface):
    """What the messages of all connections go through."""

    store: MediaChatStore
    reactor: IReactorTime
    latency: Histogram

    def added(self, message: Message) -> None:
        """A message has been stored: tell whom it concerns."""

    def failed(self, what: str, failure: Failure) -> None:
        """Something could not be stored."""


class Turns:
    """The messages of one connection.

    `say` is given each answer, and `settled` is told that something has been answered.
    """

    def __init__(
        self, office: Office, say: Callable[[Status | bytes], None], settled: Callable[[], None]
    ) -> None:
        self._office = office
        self._say = say
        self._settled = settled
        self.unsaid: deque[Turn] = deque()  # what has not been answered
        self._unbegun: deque[Turn] = deque()  # what is not being stored

    def add(self, turn: Turn) -> None:
        """A message has come."""
        self.unsaid.append(turn)
        if self._unbegun or (turn.new is None and turn.answer is None):
            self._unbegun.append(turn)
        else:
            self._begin(turn)

    def fail(self, turn: Turn, failure: Failure) -> None:
        """It cannot be stored. :meth:`go_on` says so in its turn."""
        code, detail = _why(failure)
        if code in ("storage", "full"):
            self._office.failed("a message cannot be stored", failure)
        turn.answer = Status("error", code=code, detail=detail, key=turn.key, upload=turn.upload)

    def go_on(self) -> None:
        """Store what can be, and answer what has been."""
        while self._unbegun and (self._unbegun[0].new or self._unbegun[0].answer):
            self._begin(self._unbegun.popleft())

    def _begin(self, turn: Turn) -> None:
        if turn.answer is not None or turn.new is None:
            self._answer()
        else:
            turn.asked = self._office.reactor.seconds()
            self._office.store.put(turn.new, partial(self._stored, turn))

    def _stored(self, turn: Turn, outcome: Added | Failure) -> None:
        office = self._office
        office.latency.observe(office.reactor.seconds() - turn.asked)
        if isinstance(outcome, Failure):
            self.fail(turn, outcome)
            self._answer()
            return
        message, is_new = outcome
        if turn.next_open_at is None and turn.upload is None:
            turn.answer = encode_stored(message.status, message.id, turn.key)
        else:
            turn.answer = Status(
                message.status, message.id, next_open_at=turn.next_open_at, key=turn.key, upload=turn.upload
            )
        try:
            if is_new:
                office.added(message)
        finally:  # a defect there does not take back that it is stored
            self._answer()

    def _answer(self) -> None:
        """Say what can be said in its turn."""
        unsaid = self.unsaid
        if unsaid and unsaid[0].answer is not None:
            while unsaid and (answer := unsaid[0].answer) is not None:
                unsaid.popleft()
                self._say(answer)
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
    if is_full(error):
        return "full", "there is no room for it now"
    return "storage", "it cannot be stored now"
