"""A client factory that comes back: bounded exponential backoff with jitter, reset by progress."""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.interfaces import IConnector, IReactorTime
from twisted.internet.protocol import ReconnectingClientFactory
from twisted.python.failure import Failure

Status = Callable[[str], None]

# Seconds after which a client that has had nothing to say says that it is there: servers close connections
# on which no first message comes.
GREETING = 1.0

CONNECT_TIMEOUT = 10.0  # seconds that a connection may take to be made


class ResumingClientFactory(ReconnectingClientFactory):
    """What the clients of all services share. For ``connectTCP``, ``connectSSL`` and ``connectUNIX``.

    The k-th attempt after progress waits ``initialDelay`` * ``factor`` ** k seconds, at most
    ``maxDelay``, of which `random` takes up to half away: many clients of one server that died do not
    come back at one moment. Call :meth:`progressed` when the server has done something useful, not
    when it merely accepted the connection.

    `on_status` gets a sentence for a person whenever the connection is lost or cannot be made.
    """

    noisy = False
    initialDelay = 0.25
    maxDelay: float = 30.0  # type: ignore[assignment]  # Twisted's own says int
    factor = 2.0
    clock: Any  # IReactorTime

    def __init__(self, clock: IReactorTime, random: Random, on_status: Status | None = None) -> None:
        self.clock = clock
        self.delay = self.initialDelay
        self.reconnects = 0
        self._random = random
        self._on_status = on_status or (lambda text: None)

    def progressed(self) -> None:
        """The connection has proved useful: the next loss starts with the shortest delay."""
        self.delay = self.initialDelay
        self.retries = 0

    def lost(self) -> None:
        """An established connection ended. For the subclass; called before the next attempt is planned."""

    def startedConnecting(self, connector: IConnector) -> None:
        self.connector = connector

    def clientConnectionLost(self, connector: IConnector, unused_reason: Failure) -> None:
        if not self.continueTrying:
            return
        self.lost()
        if self.continueTrying:
            self.reconnects += 1
            self.retry(connector, "connection lost")

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        if self.continueTrying:
            self.retry(connector, f"cannot connect ({_reason(reason)})")

    def retry(self, connector: Any = None, why: str = "connection lost") -> None:
        """Plan the next attempt."""
        wait = self.delay * (1 - self._random.random() / 2)
        self.delay = min(self.delay * self.factor, self.maxDelay)
        self.retries += 1
        self._callID = self.clock.callLater(wait, self._reconnect, connector or self.connector)
        self._on_status(f"{why}; trying again in {wait:.1f} s")  # who hears of it may give up

    def _reconnect(self, connector: IConnector) -> None:
        self._callID = None
        connector.connect()

    def stopTrying(self) -> None:
        """Give up for good. A connection that is being made is cancelled; an open one stays."""
        connector = self.connector
        self.continueTrying = 0
        if self._callID is not None:
            self._callID.cancel()
            self._callID = None
        elif connector is not None and connector.state == "connecting":
            connector.stopConnecting()


def _reason(failure: Failure) -> str:
    number = getattr(failure.value, "osError", None)
    return os.strerror(number).lower() if isinstance(number, int) else failure.getErrorMessage()
