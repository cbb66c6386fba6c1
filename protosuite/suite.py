"""Configuration to one service: what is shared is made here and handed in."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random, SystemRandom
from typing import IO, TYPE_CHECKING, Any

from attrs import evolve, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.logger import Logger

from protosuite import fabric
from protosuite.auth import tokens
from protosuite.auth.guard import OPEN, Guard, TokenGuard
from protosuite.auth.rules import OWN_TOPICS
from protosuite.config import Config
from protosuite.errors import StartError, StorageError
from protosuite.fabric import Fabric
from protosuite.net import exposure
from protosuite.net.listening import ListeningService, Publish, server_endpoint, unheard
from protosuite.storage import Database, engines
from protosuite.storage.migrate import take, upgrade, upgrade_own
from protosuite.storage.timeouts import Timeouts
from protosuite.storage.workers import Calls, Threads

if TYPE_CHECKING:
    from protosuite.bus.server import BusService

log = Logger(namespace="protosuite.suite")


class Pools:
    """All threads that the suite has made, so that it can tell of them."""

    def __init__(self) -> None:
        self.made: list[Threads] = []

    def make(self, name: str, count: int = 1) -> Threads:
        """Some more."""
        self.made.append(Threads(name, count))
        return self.made[-1]


@frozen
class Shared:
    """What every service is handed: time, chance, the reactor, the database, a guard, a way to tell others.

    `publish` puts an event of the suite's own on the bus: a topic, and fields for JSON. Without the bus
    it does nothing. `secure_cookie` is for a service with a login: see :class:`~.net.access.Access`.
    """

    reactor: Any
    random: Random
    wall: Callable[[], float]
    database: Database
    data: Path  # the folder for everything that is kept
    guard: Guard = OPEN
    publish: Publish = unheard
    fabric: Fabric | None = None  # how other nodes are told
    services: list[ListeningService] = field(factory=list)  # all of them, once they are made
    pools: Pools = field(factory=Pools)
    secure_cookie: bool = False


# Imported when they are asked for: a service that is off costs nothing at the start.


def _bus(config: Config, shared: Shared) -> BusService:
    from protosuite.bus.server import BusService
    from protosuite.bus.shared_store import SharedStore
    from protosuite.bus.store import BusStore

    fabric, database = shared.fabric, shared.database
    store: BusStore | SharedStore = BusStore(database)
    if fabric is not None and fabric.is_shared:
        # All nodes publish one after the other. Who waits for that keeps nobody else waiting.
        own = database if engines.is_file(database.url) else database.beside(shared.pools.make("bus-writer"))
        store = SharedStore(database, own, fabric.node, config.bus.node_timeout, shared.wall)
    return BusService(config.bus, store, shared.reactor, shared.wall, shared.guard, fabric)


def _numbers(config: Config, shared: Shared) -> ListeningService:
    from protosuite.numbers.server import NumbersService
    from protosuite.numbers.store import NumbersStore

    own = config.numbers
    store = NumbersStore(shared.database, own.session_ttl, shared.reactor, own.flush_interval)
    return NumbersService(
        config.numbers,
        store,
        shared.reactor,
        shared.random,
        shared.wall,
        shared.publish,
        shared.guard,
    )


def _counter(config: Config, shared: Shared) -> ListeningService:
    if config.suite.fabric != fabric.LOCAL:
        return _counter_of_nodes(config, shared)
    from protosuite.counter.server import CounterService
    from protosuite.counter.store import CounterStore

    return CounterService(config.counter, CounterStore(shared.database), shared.reactor, shared.publish)


def _counter_of_nodes(config: Config, shared: Shared) -> ListeningService:
    from protosuite.counter.nodes import NodesCounterService
    from protosuite.counter.store import MarkStore
    from protosuite.fabric.address import parse

    return NodesCounterService(
        config.counter,
        parse(config.suite.fabric),
        config.suite.fabric_timeout,
        MarkStore(shared.database),
        shared.reactor,
        shared.random,
        shared.publish,
    )


def _chatlog(config: Config, shared: Shared) -> ListeningService:
    from protosuite.chatlog.server import ChatLogService
    from protosuite.chatlog.store import ChatLogStore

    store = ChatLogStore(shared.database, config.chatlog.max_rooms)
    return ChatLogService(
        config.chatlog,
        store,
        shared.reactor,
        shared.random,
        shared.wall,
        shared.publish,
        shared.guard,
        config.auth.secure_cookie,
        shared.fabric,
    )


def _mediachat(config: Config, shared: Shared) -> ListeningService:
    from protosuite.mediachat.media import making
    from protosuite.mediachat.places import LANES
    from protosuite.mediachat.server import MediaChatService
    from protosuite.mediachat.store import MediaChatStore

    own = config.mediachat
    is_shared = shared.fabric is not None and shared.fabric.is_shared
    lane = shared.random.randrange(LANES) if is_shared else None
    if _has_media_to_itself(config):
        log.warn("{warning}", warning=_TO_ITSELF)
    return MediaChatService(
        own,
        MediaChatStore(shared.database, own.quota_per_chat, lane),
        making.make(own, shared.data),
        Calls(shared.pools.make("media", own.media_threads), shared.reactor.callFromThread),
        shared.reactor,
        shared.random,
        shared.wall,
        shared.publish,
        shared.guard,
        config.auth.secure_cookie,
        shared.fabric,
    )


def _admin(config: Config, shared: Shared) -> ListeningService:
    from protosuite.admin.overseen import Overseen
    from protosuite.admin.server import AdminService

    calls = Calls(shared.pools.make("admin"), shared.reactor.callFromThread)
    suite = Overseen(
        config, shared.services, shared.database, shared.pools.made, shared.data, calls, shared.fabric
    )
    return AdminService(suite, shared.reactor, shared.wall, shared.guard, config.auth.secure_cookie)


SERVICES: dict[str, Callable[[Config, Shared], ListeningService]] = {
    "numbers": _numbers,
    "counter": _counter,
    "bus": _bus,
    "chatlog": _chatlog,
    "mediachat": _mediachat,
    "admin": _admin,
}


def _made(name: str, config: Config, shared: Shared) -> ListeningService:
    extended = config.extended(name)
    if extended is None:
        return SERVICES[name](config, shared)
    try:
        service = extended.extension.make(extended.config, shared)
    except StartError:
        raise
    except Exception as error:  # another's code: its author wants to see where
        log.failure("the service {name} cannot be made", name=name)
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise StartError(f"the service {name} cannot be made ({reason}): see the log") from error
    if not isinstance(service, ListeningService) or service.name != name:
        raise StartError(
            f"the service {name} cannot be used: what it makes is no ListeningService of that name"
        )
    return service


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
            bus = _bus(self._config, shared)
            self.services.append(bus)
            shared = evolve(shared, publish=bus.exchange.publish)
        self.services += [_made(name, self._config, shared) for name in names if name != "bus"]
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

        The admin service says before anything else that the suite is not ready, and goes last.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        config = self._config.suite
        for service in self.services:
            service.stop_begins()
        if config.drain_delay:
            log.info("stopping in {delay:g} s", delay=config.drain_delay)
            await deferLater(self._reactor, config.drain_delay)
        log.info("stopping; connections get {timeout:g} s", timeout=config.drain_timeout)
        for is_last in (False, True):
            group = [service for service in self.services if (service.name == "admin") == is_last]
            await self._stop_together(group, config.drain_timeout)
        self._guard.stop()
        if self._fabric is not None:
            await self._fabric.stop()
        database, self._database = self._database, None
        if database is not None:
            database.close()
        if self._lock is not None:
            self._lock.close()
        log.info("stopped")

    async def _stop_together(self, services: Sequence[ListeningService], timeout: float) -> None:
        await gatherResults([service.stop_listening() for service in services])
        await gatherResults([service.drain(timeout) for service in services])
        await gatherResults([service.stopService() or _done() for service in services])

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


def _done() -> Deferred[None]:
    done: Deferred[None] = Deferred()
    done.callback(None)
    return done


def check(config: Config, reactor: Any) -> list[tuple[str, str, str]]:
    """What is wrong with a configuration beyond its single values: (section, key, sentence)."""
    problems = []
    if config.auth.secret_file:
        try:
            tokens.load(Path(config.auth.secret_file))
        except StartError as error:
            problems.append(("auth", "secret_file", f"[auth] secret_file: {error}"))
    if why := fabric.problem(config.suite.fabric):
        problems.append(("suite", "fabric", f"[suite] fabric: {why}"))
    if why := _wrong_with_media(config.mediachat.media):
        problems.append(("mediachat", "media", f"[mediachat] media: {why}"))
    if config.counter.workers > 1 and config.counter.durability == "always":
        remedy = "set workers = 1, or durability = everysec"
        why = f"[counter] workers: with durability = always one process has to answer: {remedy}"
        problems.append(("counter", "workers", why))
    if config.counter.workers > 1 and _counts_in_redis(config):
        from protosuite.counter.holding import ALONE

        problems.append(("counter", "workers", ALONE))
    for name in config.suite.services:
        for endpoint in config.section(name).listen:
            if what := _wrong(config, reactor, name, endpoint):
                problems.append((name, "listen", what))
    return problems


async def warnings(config: Config, reactor: Any) -> list[str]:
    """What may be, and perhaps is not what is wanted. Others are asked, over the network."""
    found = [_TO_ITSELF] if _has_media_to_itself(config) else []
    if not _counts_in_redis(config):
        return found
    from protosuite.counter import promised
    from protosuite.fabric.address import parse

    own = config.suite
    less = await promised.look(config.counter, parse(own.fabric), own.fabric_timeout, reactor, SystemRandom())
    return found if less is None else [*found, less]


_HERE = "local"  # of [mediachat] media
_TO_ITSELF = (
    "[mediachat] media = local: what is sent to this node other nodes do not have; name a folder that all of"
    " them share, or a bucket"
)


def _wrong_with_media(media: str) -> str | None:
    if media == _HERE:
        return None
    from protosuite.mediachat.media.address import problem

    return problem(media)


def _has_media_to_itself(config: Config) -> bool:
    is_here = config.mediachat.media == _HERE
    return "mediachat" in config.suite.services and config.suite.fabric != fabric.LOCAL and is_here


def _counts_in_redis(config: Config) -> bool:
    return "counter" in config.suite.services and config.suite.fabric != fabric.LOCAL


def _wrong(config: Config, reactor: Any, service: str, endpoint: str) -> str | None:
    try:
        server_endpoint(reactor, service, endpoint)
    except StartError as error:
        return str(error)
    if exposure.is_exposed(config, service, endpoint) and not config.suite.insecure:
        return exposure.sentence(config, service, endpoint)
    return None
