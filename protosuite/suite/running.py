"""All services of a configuration, from the first socket to the last word."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random, SystemRandom
from typing import IO, Any

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite import fabric
from protosuite.auth import tokens
from protosuite.auth.guard import OPEN, Guard, TokenGuard
from protosuite.auth.rules import OWN_TOPICS
from protosuite.config import Config
from protosuite.errors import StartError, StorageError
from protosuite.fabric import Fabric
from protosuite.net import exposure
from protosuite.net.listening import ListeningService
from protosuite.storage import Database, engines
from protosuite.storage.migrate import take, upgrade, upgrade_own
from protosuite.storage.timeouts import Timeouts
from protosuite.suite.making import make, make_bus
from protosuite.suite.shared import Pools, Shared

log = Logger(namespace="protosuite.suite")


class Suite(Service):
    """All services of a configuration, and the database beneath them.

    Sockets are bound first (with the rights that the process starts with), then the data folder is
    taken, the schema brought up to date and the services started: when the reactor turns, everything is
    ready. What fails on the way is a :exc:`StartError`.
    """

    def __init__(
        self,
        config: Config,
        reactor: Any,
        random: Random | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.setName("protosuite")
        self._config = config
        self._reactor = reactor
        self._random = random or SystemRandom()
        self._wall = wall
        # Resolved now: a daemon changes its folder later.
        self._data = Path(config.suite.data).absolute()
        self._secret_file = Path(config.auth.secret_file).absolute() if config.auth.secret_file else None
        self._lock: IO[str] | None = None
        self._database: Database | None = None
        self._fabric: Fabric | None = None
        self._guard = OPEN
        self._exposed: list[str] = []
        self.services: list[ListeningService] = []
        self._pools = Pools()

    def privilegedStartService(self) -> None:
        """Bind every socket. The database is made here, and opened only in :meth:`startService`."""
        super().privilegedStartService()
        self._database = self._make_database()
        self._guard = self._make_guard(self._database)
        self._fabric = self._make_fabric()
        shared = Shared(
            self._reactor,
            self._random,
            self._wall,
            self._database,
            self._data,
            self._guard,
            fabric=self._fabric,
            services=self.services,
            pools=self._pools,
            secure_cookie=self._config.auth.secure_cookie,
        )
        names = self._config.suite.services
        if "bus" in names:  # first: the others publish there
            bus = make_bus(self._config, shared)
            self.services.append(bus)
            shared = evolve(shared, publish=bus.exchange.publish)
        self.services += [make(name, self._config, shared) for name in names if name != "bus"]
        for service in self.services:
            service.privilegedStartService()
        self._check_exposure()

    def startService(self) -> None:
        super().startService()
        try:
            self._begin()
        except StorageError as error:
            raise StartError(f"{error}: start it, or change [suite] database") from error

    def _begin(self) -> None:
        assert self._database is not None, "privilegedStartService comes first"
        assert self._fabric is not None
        self._lock = take(self._data)
        upgrade(self._database)
        for extended in self._config.extensions:
            if extended.extension.migrations is not None and extended.name in self._config.suite.services:
                upgrade_own(self._database, extended.name, extended.extension.migrations)
        self._database.open_readers()
        self._guard.start()
        self._fabric.start()
        for service in self.services:
            service.startService()
        for service in self.services:
            log.info("{service} listens on {addresses}", service=service.name, addresses=service.addresses())
        if self._exposed:
            log.warn(
                "anybody from elsewhere can use {listeners}: [suite] insecure = yes",
                listeners=", ".join(self._exposed),
            )
        self._reactor.callWhenRunning(log.info, "ready; data in {folder}", folder=str(self._data))

    def stopService(self) -> Deferred[None]:
        """Stop in an order that loses nothing: accept no more, drain, store, close the database.

        The admin service says before anything else that the suite is not ready, and goes last. A service that
        fails at it is logged, and keeps neither the others nor the database from their end.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        config = self._config.suite
        await _together("take note", self.services, lambda service: service.stop_begins())
        if config.drain_delay:
            log.info("stopping in {delay:g} s", delay=config.drain_delay)
            await deferLater(self._reactor, config.drain_delay)
        log.info("stopping; connections get {timeout:g} s", timeout=config.drain_timeout)
        for is_last in (False, True):
            group = [service for service in self.services if (service.name == "admin") == is_last]
            await _together("stop listening", group, lambda service: service.stop_listening())
            await _together("drain", group, lambda service: service.drain(config.drain_timeout))
            await _together("stop", group, lambda service: service.stopService())
        self._guard.stop()
        if self._fabric is not None:
            await maybeDeferred(self._fabric.stop).addErrback(_logged, "the fabric", "stop")
        database, self._database = self._database, None
        if database is not None:
            database.close()
        if self._lock is not None:
            self._lock.close()
        log.info("stopped")

    def _check_exposure(self) -> None:
        """R30. What an endpoint's text does not tell about who can reach it, its port does now."""
        found = []
        for service in self.services:
            name, endpoints = str(service.name), service.limits.listen
            if len(service.ports) != len(endpoints):
                raise StartError(f"[{name}] listen: an endpoint does not listen at once: who can reach it?")
            for endpoint, port in zip(endpoints, service.ports, strict=True):
                if exposure.is_exposed(self._config, name, endpoint, port):
                    found.append((name, endpoint))
        if found and not self._config.suite.insecure:
            raise StartError("; ".join(exposure.sentence(self._config, *each) for each in found))
        self._exposed = [f"[{name}] {endpoint}" for name, endpoint in found]

    def _make_guard(self, database: Database) -> Guard:
        if self._secret_file is None:
            return OPEN
        keys = tokens.load(self._secret_file)
        interval = self._config.auth.revocation_interval
        own_topics = (*OWN_TOPICS, *(extended.name for extended in self._config.extensions))
        return TokenGuard(keys, database, interval, self._reactor, self._wall, own_topics)

    def _make_fabric(self) -> Fabric:
        config = self._config.suite
        timing = fabric.Timing(config.fabric_timeout, config.catch_up_interval, config.presence_ttl)
        return fabric.make(config.fabric, timing, self._reactor, self._random)

    def _make_database(self) -> Database:
        config = self._config.suite
        return Database(
            url=engines.resolve(config.database, self._data),
            writer=self._pools.make("database-writer"),
            readers=self._pools.make("database-reader", config.database_readers),
            call_in_reactor=self._reactor.callFromThread,
            max_queue=config.database_queue,
            reader_connections=config.database_readers,
            timeouts=Timeouts(
                config.database_timeout, config.database_connect_timeout, config.database_lock_timeout
            ),
        )


def _together(
    what: str, services: Sequence[ListeningService], do: Callable[[ListeningService], object]
) -> Deferred[Any]:
    """Have each service do something at a stop; fires when all of them have, or have failed."""
    return gatherResults([maybeDeferred(do, each).addErrback(_logged, each.name, what) for each in services])


def _logged(failure: Failure, name: object, what: str) -> None:
    log.failure("{name} did not {what} as it should: the rest does", failure, name=name, what=what)
