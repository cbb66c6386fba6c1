"""Configuration to one service: what is shared is made here and handed in."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random, SystemRandom
from typing import IO, TYPE_CHECKING, Any

from attrs import evolve, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from protosuite.config import Config
from protosuite.errors import StartError
from protosuite.net.listening import ListeningService, Publish, server_endpoint, unheard
from protosuite.storage import Database, sqlite
from protosuite.storage.migrate import take, upgrade
from protosuite.storage.workers import Calls, Threads

if TYPE_CHECKING:
    from protosuite.bus.server import BusService

log = Logger(namespace="protosuite.suite")


@frozen
class Shared:
    """What every service is handed: time, chance, the reactor, the database and a way to tell the others.

    `publish` puts an event of the suite's own on the bus: a topic, and fields for JSON. Without the bus
    it does nothing.
    """

    reactor: Any
    random: Random
    wall: Callable[[], float]
    database: Database
    data: Path  # the folder for everything that is kept
    publish: Publish = unheard


# Imported when they are asked for: a service that is off costs nothing at the start.


def _bus(config: Config, shared: Shared) -> BusService:
    from protosuite.bus.server import BusService
    from protosuite.bus.store import BusStore

    return BusService(config.bus, BusStore(shared.database), shared.reactor, shared.wall)


def _numbers(config: Config, shared: Shared) -> ListeningService:
    from protosuite.numbers.server import NumbersService
    from protosuite.numbers.store import NumbersStore

    store = NumbersStore(shared.database, config.numbers.session_ttl)
    return NumbersService(config.numbers, store, shared.reactor, shared.random, shared.wall, shared.publish)


def _counter(config: Config, shared: Shared) -> ListeningService:
    from protosuite.counter.server import CounterService
    from protosuite.counter.store import CounterStore

    return CounterService(config.counter, CounterStore(shared.database), shared.reactor, shared.publish)


def _chatlog(config: Config, shared: Shared) -> ListeningService:
    from protosuite.chatlog.server import ChatLogService
    from protosuite.chatlog.store import ChatLogStore

    store = ChatLogStore(shared.database, config.chatlog.max_rooms)
    return ChatLogService(config.chatlog, store, shared.reactor, shared.random, shared.wall, shared.publish)


def _mediachat(config: Config, shared: Shared) -> ListeningService:
    from protosuite.mediachat.media import MediaFolder
    from protosuite.mediachat.server import MediaChatService
    from protosuite.mediachat.store import MediaChatStore

    own = config.mediachat
    return MediaChatService(
        own,
        MediaChatStore(shared.database, own.quota_per_chat),
        MediaFolder(shared.data),
        Calls(Threads("media", own.media_threads), shared.reactor.callFromThread),
        shared.reactor,
        shared.random,
        shared.wall,
        shared.publish,
    )


SERVICES: dict[str, Callable[[Config, Shared], ListeningService]] = {
    "numbers": _numbers,
    "counter": _counter,
    "bus": _bus,
    "chatlog": _chatlog,
    "mediachat": _mediachat,
}


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
        self._lock: IO[str] | None = None
        self._database: Database | None = None
        self.services: list[ListeningService] = []

    def privilegedStartService(self) -> None:
        """Bind every socket. The database is made here, and opened only in :meth:`startService`."""
        super().privilegedStartService()
        shared = Shared(self._reactor, self._random, self._wall, self._make_database(), self._data)
        self._database = shared.database
        names = self._config.suite.services
        if "bus" in names:  # first: the others publish there
            bus = _bus(self._config, shared)
            self.services.append(bus)
            shared = evolve(shared, publish=bus.exchange.publish)
        self.services += [SERVICES[name](self._config, shared) for name in names if name != "bus"]
        for service in self.services:
            service.privilegedStartService()

    def startService(self) -> None:
        assert self._database is not None, "privilegedStartService comes first"
        super().startService()
        self._lock = take(self._data)
        upgrade(self._database)
        for service in self.services:
            service.startService()
        for service in self.services:
            log.info("{service} listens on {addresses}", service=service.name, addresses=service.addresses())
        self._reactor.callWhenRunning(log.info, "ready; data in {folder}", folder=str(self._data))

    def stopService(self) -> Deferred[None]:
        """Stop in an order that loses nothing: accept no more, drain, store, close the database."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        log.info("stopping; connections get {timeout:g} s", timeout=self._config.suite.drain_timeout)
        await gatherResults([service.stop_listening() for service in self.services])
        await gatherResults([service.drain(self._config.suite.drain_timeout) for service in self.services])
        await gatherResults([service.stopService() or _done() for service in self.services])
        database, self._database = self._database, None
        if database is not None:
            database.close()
        if self._lock is not None:
            self._lock.close()
        log.info("stopped")

    def _make_database(self) -> Database:
        config = self._config.suite
        return Database(
            url=sqlite.resolve(config.database, self._data),
            writer=Threads("database-writer"),
            readers=Threads("database-reader", config.database_readers),
            call_in_reactor=self._reactor.callFromThread,
            max_queue=config.database_queue,
            reader_connections=config.database_readers,
        )


def _done() -> Deferred[None]:
    done: Deferred[None] = Deferred()
    done.callback(None)
    return done


def check_endpoints(config: Config, reactor: Any) -> list[tuple[str, str, str]]:
    """What is wrong with the ``listen`` of each service that is on: (section, key, sentence)."""
    problems = []
    for name in config.suite.services:
        for endpoint in getattr(config, name).listen:
            try:
                server_endpoint(reactor, name, endpoint)
            except StartError as error:
                problems.append((name, "listen", str(error)))
    return problems
