"""One console: it is told of everything that happens, in all chats, and says nothing."""

from __future__ import annotations

from typing import Protocol as Interface

from protosuite.net.websocket import GOING_AWAY, WebSocket


class Desks(Interface):
    """Where consoles are counted."""

    def desk_entered(self, desk: DeskTalk) -> None:
        """A console is there."""

    def desk_departed(self, desk: DeskTalk) -> None:
        """It is gone."""


class DeskTalk:
    """A :class:`~protosuite.net.websocket.Talk` that only listens; what a console does goes over HTTP."""

    socket: WebSocket

    def __init__(self, desks: Desks) -> None:
        self._desks = desks

    def began(self, socket: WebSocket) -> None:
        self.socket = socket
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
        self._desks.desk_departed(self)
