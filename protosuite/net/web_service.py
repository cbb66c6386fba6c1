"""A service that speaks HTTP and WebSocket, as its section of the settings says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import Protocol as Interface

from twisted.internet.interfaces import IAddress

from protosuite.logs import Muffled
from protosuite.net.handshake import Terms
from protosuite.net.listening import ListeningService
from protosuite.net.websocket import Limits


class WebSettings(Interface):
    """What such a section has; :class:`protosuite.config.WebConfig` says what each means."""

    @property
    def listen(self) -> Sequence[str]:
        """Endpoints."""

    @property
    def origins(self) -> Sequence[str]:
        """Pages that may connect."""

    @property
    def compression(self) -> bool:
        """Whether long messages are compressed."""

    @property
    def max_connections(self) -> int:
        """Most at once."""

    @property
    def max_message(self) -> int:
        """Bytes of one message."""

    @property
    def max_backlog(self) -> int:
        """Bytes that wait for one connection."""

    @property
    def write_timeout(self) -> float:
        """Seconds."""

    @property
    def ping_interval(self) -> float:
        """Seconds."""

    @property
    def ping_timeout(self) -> float:
        """Seconds."""

    @property
    def close_timeout(self) -> float:
        """Seconds."""


class WebService(ListeningService):
    """`terms` are those of its WebSockets; `strangers` is where what clients cause is logged."""

    def __init__(self, name: str, subprotocol: str, settings: WebSettings, reactor: Any) -> None:
        super().__init__(name, reactor, settings.listen, settings.max_connections)
        self.strangers = Muffled(self.log, reactor)
        self.terms = Terms(
            subprotocol,
            Limits(
                max_message=settings.max_message,
                max_backlog=settings.max_backlog,
                write_timeout=settings.write_timeout,
                ping_interval=settings.ping_interval,
                ping_timeout=settings.ping_timeout,
                close_timeout=settings.close_timeout,
            ),
            settings.origins,
            settings.compression,
        )

    def has_room(self, address: IAddress | None) -> bool:
        """Whether one more connection may come."""
        if len(self.connections) < self.max_connections:
            return True
        self.strangers.info("{peer} closed: too many connections", peer=str(address))
        return False
