"""What services are handed, and the threads that were made for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from attrs import field, frozen

from protosuite.auth.guard import OPEN, Guard
from protosuite.fabric import Fabric
from protosuite.net.listening import ListeningService, Publish, unheard
from protosuite.storage import Database
from protosuite.storage.workers import Threads


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

    @property
    def is_one_of_several(self) -> bool:
        """Whether other nodes share what services store."""
        return self.fabric is not None and self.fabric.is_shared
