"""A service whose page is also a WebSocket, which sends every message back.

Its arguments are ``SERVICE ENDPOINT [SETTING=N ...]``.

It has the settings of SERVICE, ``chatlog`` or ``mediachat``, and opens its WebSockets as that does.
The page, and the answer to the text ``where``, say on which connection they came: ``connection 1``.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from attrs import evolve
from twisted.internet import reactor as _reactor
from twisted.python import log
from twisted.web.resource import Resource
from twisted.web.server import Request

from protosuite.auth.rules import Action
from protosuite.config import Config
from protosuite.errors import PeerFault
from protosuite.net.connection import Connection
from protosuite.net.handshake import wants_upgrade
from protosuite.net.web_service import WebService
from protosuite.net.websocket import GOING_AWAY, WebSocket

reactor: Any = _reactor

REQUEST_TIMEOUT = 2  # seconds
SETTINGS = {
    "max_message": 32 << 20,  # the largest cases send 16 MiB
    "max_backlog": 128 << 20,
    "handshake_timeout": REQUEST_TIMEOUT,
}


class Echo:
    """Sends everything back."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._socket: Any = None

    def began(self, socket: WebSocket) -> None:
        self._socket = socket

    def text(self, text: str) -> None:
        self._socket.send_text((self._where if text == "where" else text).encode())

    def binary(self, data: bytes) -> None:
        self._socket.send_binary(data)

    def stopping(self) -> None:
        self._socket.close(*GOING_AWAY)

    def drained(self) -> None:
        """It sends what it is sent, whether that is read or not."""

    def ended(self, code: int, reason: str) -> None:
        """There is nothing to put away."""


class EchoService(WebService):
    """The service. Its connections are numbered as they come."""

    def __init__(self, config: Any) -> None:
        super().__init__("echo", "echo", config, reactor, time.time)
        self.numbers: dict[Connection, int] = {}
        self.serve(Page(self))

    def joined(self, connection: Connection) -> PeerFault | None:
        self.numbers[connection] = len(self.numbers) + 1
        return super().joined(connection)


class Page(Resource):
    """The page."""

    isLeaf = True

    def __init__(self, service: EchoService) -> None:
        super().__init__()
        self._service = service

    def render_GET(self, request: Request) -> Any:
        channel: Any = request.channel
        where = f"connection {self._service.numbers[channel.connection]}"
        if wants_upgrade(request):
            access, terms = self._service.access, self._service.terms
            return access.door(request, terms, Action.CHATLOG_READ, "main", lambda who: Echo(where))
        return where.encode()


def main(service: str, endpoint: str, *settings: str) -> None:
    """Serve until SIGTERM."""
    log.startLogging(sys.stdout)
    values: dict[str, Any] = {
        name: float(value) for name, value in (setting.split("=") for setting in settings)
    }
    if "compression" in values:
        values["compression"] = bool(values["compression"])
    config = evolve(getattr(Config(), service), listen=(endpoint,), **{**SETTINGS, **values})
    echo = EchoService(config)
    echo.privilegedStartService()
    echo.startService()
    reactor.callWhenRunning(print, "listening", flush=True)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
