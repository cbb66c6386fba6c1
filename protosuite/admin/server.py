"""The service that tells how all the others are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from protosuite.admin.checks import Checks
from protosuite.admin.health import Health, Ready
from protosuite.admin.pulse import Pulse
from protosuite.admin.readiness import Readiness
from protosuite.config import Config
from protosuite.figures import Figure, Source
from protosuite.net.listening import ListeningService
from protosuite.net.web import WebConnection, Website
from protosuite.storage import Database
from protosuite.storage.workers import Calls

_LOOK_INTERVAL = 10.0  # seconds between two looks at the readiness that nobody asked for


@frozen
class Overseen:
    """What there is to tell of: the services, this one among them, and what they share.

    `calls` is for asking the disk of the folder `data`, with a thread of its own.
    """

    config: Config
    services: Sequence[ListeningService]
    database: Database
    pools: Sequence[Source]
    data: Path
    calls: Calls


class AdminService(ListeningService):
    """Health, metrics, the dashboard. It stops behind all others, and says meanwhile that they do."""

    def __init__(self, suite: Overseen, reactor: Any, wall: Callable[[], float]) -> None:
        config = suite.config.admin
        super().__init__("admin", reactor, config)
        self.suite = suite
        self.pulse = Pulse(reactor)
        self.checks = Checks(suite.database, suite.data, config.min_free, suite.calls)
        self.readiness = Readiness(self.checks.looks(), config.probe_timeout, reactor)
        self._wall = wall
        self._started = reactor.seconds()
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor
        self.website = Website(self._root(), self, reactor, config)

    def connection(self, address: IAddress | None) -> WebConnection:
        return self.website.connection(address)

    def startService(self) -> None:
        super().startService()
        self._started = self.reactor.seconds()
        self.pulse.start()
        self._looking.start(_LOOK_INTERVAL)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self.pulse.stop()
        if self._looking.running:
            self._looking.stop()
        return maybeDeferred(self.suite.calls.stop)

    def stop_begins(self) -> None:
        self.readiness.stop()

    def uptime(self) -> float:
        """Seconds since the start."""
        return float(self.reactor.seconds() - self._started)

    def figures(self) -> Iterator[Figure]:
        yield from super().figures()
        for source in (self.readiness, self.checks, self.pulse):
            yield from source.figures()

    def everything(self) -> Iterator[Figure]:
        """The figures of the whole suite."""
        sources: Iterable[Source] = (*self.suite.services, self.suite.database, *self.suite.pools)
        for source in sources:
            yield from source.figures()

    def _root(self) -> Resource:
        root = Resource()
        root.putChild(b"healthz", Health(self.uptime))
        root.putChild(b"readyz", Ready(self.readiness))
        return root

    def _look(self) -> None:
        self.readiness.look().addErrback(self._not_looked)

    def _not_looked(self, failure: Failure) -> None:
        self.log.failure("the readiness was not looked at; it goes on", failure)
