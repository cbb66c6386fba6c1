"""A page that is also a WebSocket, which sends every message back: ``ENDPOINT [SETTING=N ...]``.

The page, and the answer to the text ``where``, say on which connection they came: ``connection 1``.
"""

from __future__ import annotations

import sys
from typing import Any

from attrs import evolve
from twisted.internet import reactor as _reactor
from twisted.internet.endpoints import serverFromString
from twisted.python import log
from twisted.web.resource import Resource
from twisted.web.server import Request

from protosuite.config import ChatLogConfig
from protosuite.figures import Traffic
from protosuite.net.listening import ConnectionFactory
from protosuite.net.web import Terms, Website, upgrade, wants_upgrade
from protosuite.net.websocket import GOING_AWAY, Limits, WebSocket

reactor: Any = _reactor

REQUEST_TIMEOUT = 2  # seconds
LIMITS = Limits(max_message=32 << 20, max_backlog=128 << 20)  # the largest cases send 16 MiB


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


class Page(Resource):
    """The page, and the registry of connections."""

    isLeaf = True

    def __init__(self, terms: Terms) -> None:
        super().__init__()
        self.traffic = Traffic()
        self._terms = terms
        self._count = 0
        self._numbers: dict[Any, int] = {}

    def joined(self, connection: Any) -> None:
        """It gets the next number."""
        self._count += 1
        self._numbers[connection] = self._count

    def left(self, connection: Any) -> None:
        """Its number is not given again."""
        del self._numbers[connection]

    def turned_down(self, peer: str, code: str, reason: str) -> bool:
        """Nobody counts here."""
        return False

    def slowed_down(self) -> None:
        """Nor here."""

    def render_GET(self, request: Request) -> Any:
        channel: Any = request.channel
        where = f"connection {self._numbers[channel.connection]}"
        if wants_upgrade(request):
            return upgrade(request, self._terms, lambda: Echo(where))
        return where.encode()


def main(endpoint: str, *settings: str) -> None:
    """Serve until SIGTERM."""
    log.startLogging(sys.stdout)
    values: dict[str, Any] = {
        name: float(value) for name, value in (setting.split("=") for setting in settings)
    }
    compression = bool(values.pop("compression", 0))
    page = Page(Terms("echo", evolve(LIMITS, **values), compression=compression))
    config = ChatLogConfig(handshake_timeout=REQUEST_TIMEOUT, write_timeout=REQUEST_TIMEOUT)
    website = Website(page, page, reactor, config)
    factory = ConnectionFactory(website.connection)
    serverFromString(reactor, endpoint).listen(factory).addCallback(
        lambda port: print("listening", flush=True)
    )
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
