"""A service that speaks HTTP and WebSocket, as its section of the settings says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.web.resource import IResource

from protosuite.auth.guard import OPEN, Guard
from protosuite.config import ChatLogConfig, MediaChatConfig
from protosuite.net.access import Access
from protosuite.net.handshake import Terms
from protosuite.net.inflow import Intakes, kept
from protosuite.net.listening import ListeningService
from protosuite.net.web import MAX_BODY, WebConnection, Website
from protosuite.net.websocket import Limits


class WebService(ListeningService):
    """`terms` are those of its WebSockets, `access` decides who may use it."""

    website: Website

    def __init__(
        self,
        name: str,
        subprotocol: str,
        config: ChatLogConfig | MediaChatConfig,
        reactor: Any,
        wall: Callable[[], float],
        guard: Guard = OPEN,
        secure_cookie: bool = False,
    ) -> None:
        super().__init__(name, reactor, config)
        self._web = config
        self.access = Access(guard, self.turned_down, wall, config.origins, secure_cookie)
        self.terms = Terms(
            subprotocol,
            Limits(
                max_message=config.max_message,
                max_backlog=config.max_backlog,
                write_timeout=config.write_timeout,
                message_timeout=config.message_timeout,
                ping_interval=config.ping_interval,
                ping_timeout=config.ping_timeout,
                close_timeout=config.close_timeout,
            ),
            config.origins,
            config.compression,
        )

    def serve(self, root: IResource, intakes: Intakes = kept, min_rate: int = MAX_BODY) -> None:
        """Serve what is below `root`; before anybody connects."""
        self.website = Website(root, self, self.reactor, self._web, intakes, min_rate)

    def connection(self, address: IAddress | None) -> WebConnection:
        return self.website.connection(address)
