"""One console: it is told of everything that happens, in all chats, and says nothing."""

from __future__ import annotations

from typing import Protocol as Interface

from protosuite.auth.guard import Hold
from protosuite.auth.tokens import Identity
from protosuite.errors import Unauthenticated
from protosuite.mediachat.wire import Status, encode
from protosuite.net.access import Access
from protosuite.net.websocket import GOING_AWAY, UNAUTHENTICATED, WebSocket


class Desks(Interface):
    """Where consoles are counted."""

    access: Access

    def desk_entered(self, desk: DeskTalk) -> None:
        """A console is there."""

    def desk_departed(self, desk: DeskTalk) -> None:
        """It is gone."""

    def desk_refused(self, desk: DeskTalk, reason: Unauthenticated) -> None:
        """It was told that its token is no longer good."""


class DeskTalk:
    """A :class:`~protosuite.net.websocket.Talk` that only listens; what a console does goes over HTTP."""

    socket: WebSocket

    def __init__(self, desks: Desks, who: Identity | None = None) -> None:
        self._desks = desks
        self.who = who
        self._hold = Hold()

    def began(self, socket: WebSocket) -> None:
        self.socket = socket
        self._hold = self._desks.access.guard.hold(self.who, self._expel)
        self._desks.desk_entered(self)

    def text(self, text: str) -> None:
        """Nothing is asked for here."""

    def binary(self, data: bytes) -> None:
        """Nothing is sent here."""
        self.socket.spend()

    def drained(self) -> None:
        """It is told what happens when it happens."""

    def stopping(self) -> None:
        self.socket.close(*GOING_AWAY)

    def ended(self, code: int, reason: str) -> None:
        self._hold.release()
        self._desks.desk_departed(self)

    def dismiss(self, why: str) -> None:
        """It cannot be told what comes next."""
        if self.socket.is_open:
            self.socket.close(1013, why)

    def _expel(self, reason: Unauthenticated) -> None:
        """The token is no longer good."""
        if self.socket.is_open:
            self._desks.desk_refused(self, reason)
            self.socket.send_text(encode(Status("error", code=reason.code, detail=reason.message)))
            self.socket.close(UNAUTHENTICATED, reason.message)
