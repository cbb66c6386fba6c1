"""A service of each section: how it is made of its settings and of what all share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.logger import Logger

from protosuite import fabric
from protosuite.config import Config
from protosuite.errors import StartError
from protosuite.net.listening import ListeningService
from protosuite.storage import engines
from protosuite.storage.workers import Calls
from protosuite.suite import checking
from protosuite.suite.shared import Shared

if TYPE_CHECKING:
    from protosuite.bus.server import BusService
    from protosuite.bus.shared_store import SharedStore

log = Logger(namespace="protosuite.suite")


# Imported when they are asked for: a service that is off costs nothing at the start.


def make_bus(config: Config, shared: Shared) -> BusService:
    """The bus, on which all others publish: it is made before them."""
    from protosuite.bus.server import BusService
    from protosuite.bus.store import BusStore

    fabric, database = shared.fabric, shared.database
    store: BusStore | SharedStore = BusStore(database)
    if fabric is not None and fabric.is_shared:
        from protosuite.bus.shared_store import SharedStore

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

    is_alone = engines.is_file(shared.database.url) and not shared.is_one_of_several
    store = ChatLogStore(shared.database, config.chatlog.max_rooms, is_alone)
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
    lane = shared.random.randrange(LANES) if shared.is_one_of_several else None
    if checking.has_media_to_itself(config):
        log.warn("{warning}", warning=checking.MEDIA_TO_ITSELF)
    return MediaChatService(
        own,
        MediaChatStore(shared.database, own.quota_per_chat, lane, shared.reactor),
        making.make(own, shared.data),
        Calls(shared.pools.make("media", own.media_threads), shared.reactor.callFromThread),
        shared.reactor,
        shared.random,
        shared.wall,
        shared.publish,
        shared.guard,
        config.auth.secure_cookie,
        shared.fabric,
        config.suite.drain_timeout,
    )


def _admin(config: Config, shared: Shared) -> ListeningService:
    from protosuite.admin.overseen import Overseen
    from protosuite.admin.server import AdminService

    calls = Calls(shared.pools.make("admin", 2), shared.reactor.callFromThread)
    suite = Overseen(
        config, shared.services, shared.database, shared.pools.made, shared.data, calls, shared.fabric
    )
    return AdminService(suite, shared.reactor, shared.wall, shared.guard, config.auth.secure_cookie)


SERVICES: dict[str, Callable[[Config, Shared], ListeningService]] = {
    "numbers": _numbers,
    "counter": _counter,
    "bus": make_bus,
    "chatlog": _chatlog,
    "mediachat": _mediachat,
    "admin": _admin,
}


def make(name: str, config: Config, shared: Shared) -> ListeningService:
    """The service of that name, be it one of the suite's or another's. :exc:`StartError`."""
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
