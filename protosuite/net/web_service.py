"""Services that speak HTTP, and WebSocket besides, as their sections of the settings say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from protosuite.auth.guard import OPEN, Guard
from protosuite.config import HttpConfig, WebConfig
from protosuite.errors import Overloaded, StorageError
from protosuite.logs import Muffled
from protosuite.net.access import Access
from protosuite.net.handshake import Terms
from protosuite.net.http import MAX_BODY
from protosuite.net.inflow import Intakes, kept
from protosuite.net.listening import ListeningService
from protosuite.net.web import WebConnection, Website
from protosuite.net.websocket import Limits


class HttpService(ListeningService):
    """Speaks HTTP. `access` decides who may use it; :meth:`serve` says what there is."""

    website: Website

    def __init__(
        self,
        name: str,
        config: HttpConfig,
        reactor: Any,
        wall: Callable[[], float],
        guard: Guard = OPEN,
        secure_cookie: bool = False,
    ) -> None:
        super().__init__(name, reactor, config)
        self._http = config
        self.access = Access(guard, self.turned_down, wall, config.origins, secure_cookie)

    def serve(self, root: IResource, intakes: Intakes = kept, min_rate: int = MAX_BODY) -> None:
        """Serve what is below `root`; before anybody connects."""
        self.website = Website(root, self, self.reactor, self._http, intakes, min_rate)

    def connection(self, address: IAddress | None) -> WebConnection:
        return self.website.connection(address)


class WebService(HttpService):
    """Speaks HTTP and WebSocket; `terms` are those of its WebSockets."""

    def __init__(
        self,
        name: str,
        subprotocol: str,
        config: WebConfig,
        reactor: Any,
        wall: Callable[[], float],
        guard: Guard = OPEN,
        secure_cookie: bool = False,
    ) -> None:
        super().__init__(name, config, reactor, wall, guard, secure_cookie)
        self._troubles = Muffled(self.log, reactor)
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

    def failed(self, what: str, failure: Failure) -> None:
        """Something could not be read or stored; or it is a defect of ours."""
        if failure.check(StorageError, Overloaded, OSError):
            self._troubles.info("{what}: {reason}", what=what, reason=str(failure.value))
        else:
            self.log.failure("{what}", failure, what=what)
