"""What all that ``protosuite-chatlog`` does has in common: a client, patience with it, and output."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from tqdm import tqdm
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.python.failure import Failure

from protosuite import program, reaching
from protosuite.chatlog.client import ChatLogClientFactory, connect, room_url
from protosuite.chatlog.view import Change
from protosuite.errors import Overloaded, ServerRefused
from protosuite.program import shown

NAME = "protosuite-chatlog"
_CLOSE_TIMEOUT = 5.0  # seconds that a server has to answer a close

T = TypeVar("T")


class Session:
    """A client of the room that the command line names, connecting.

    With `is_patient` it waits for a server for as long as it takes, and says on standard error how that goes.
    Otherwise nothing may take longer than ``--timeout``; each attempt is told of on a terminal only, and
    elsewhere, once, that the server has been away for a while.
    `on_refusal` is called when the server does not take the token, or not any more.
    """

    def __init__(
        self,
        reactor: Any,
        arguments: Namespace,
        on_change: Callable[[Change], None],
        *,
        last: int = 1,
        keep: int = 1000,
        is_patient: bool = False,
        on_refusal: Callable[[Failure], object] = lambda failure: None,
    ) -> None:
        self._reactor = reactor
        self._arguments = arguments
        self._is_patient = is_patient
        self._is_over = False

        def refused(refusal: ServerRefused) -> None:
            on_refusal(Failure(program.Failed(refusal_line(refusal))))

        url = room_url(arguments.host, arguments.port, arguments.room, arguments.tls)
        self.factory = ChatLogClientFactory(
            reactor,
            url,
            on_change,
            last=last,
            keep=keep,
            on_status=self._status,
            token=reaching.token(arguments),
            on_refusal=refused,
        )
        factory = self.factory
        self._absence = reaching.Absence(reactor, NAME, arguments, lambda: factory.is_connected, _show)
        start(reactor, factory)

    def within(self, answer: Deferred[T]) -> Deferred[T]:
        """`answer`, or :exc:`program.Failed` if it fails or takes too long."""
        if not self._is_patient:
            answer.addTimeout(self._arguments.timeout, self._reactor)
        return answer.addErrback(self._failed)

    def over(self) -> None:
        """That the connection is lost from now on is not news."""
        self._is_over = True
        self._absence.over()

    async def close(self) -> None:
        """Let what was written leave, and leave."""
        self.over()
        with suppress(DeferredTimeout):  # a server that does not read
            await self.factory.close().addTimeout(_CLOSE_TIMEOUT, self._reactor)

    def _status(self, text: str) -> None:
        if not self._is_over:
            is_shown = self._is_patient or sys.stderr.isatty()
            self._absence.status(shown(text), is_shown)
            if is_shown:
                _show(shown(text))

    def _failed(self, failure: Failure) -> Any:
        error = failure.value
        if isinstance(error, CancelledError):
            return failure
        if isinstance(error, DeferredTimeout):
            raise self._absence.late() from None
        if isinstance(error, ServerRefused):
            raise program.Failed(refusal_line(error)) from None
        if isinstance(error, (Overloaded, ConnectionError)):
            raise program.Failed(shown(str(error))) from None
        return failure


_ADVICE = {
    "unauthenticated": reaching.NO_GOOD_TOKEN,
    "forbidden": "the role of the token does not allow it",
}


def refusal_line(refusal: ServerRefused) -> str:
    """What the server refuses, and what to do, in one line."""
    advice = f" ({_ADVICE[refusal.code]})" if refusal.code in _ADVICE else ""
    return shown(str(refusal)) + advice


def start(reactor: Any, factory: ChatLogClientFactory) -> None:
    """Connect."""
    with reaching.needing_tls():
        connect(reactor, factory)


def _show(text: str) -> None:
    """A line for the person, above the bar that there may be."""
    with tqdm.external_write_mode(file=sys.stderr):
        program.say(text)
