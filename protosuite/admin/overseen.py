"""What there is to tell of, and what is told of it: the state of the suite as JSON has it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from heapq import nlargest
from pathlib import Path

from attrs import frozen
from twisted.internet.defer import Deferred, succeed

import protosuite
import twisted
from protosuite.admin.readiness import Findings, Look
from protosuite.config import Config
from protosuite.fabric import Fabric
from protosuite.fabric.interface import Away
from protosuite.figures import Figure, Source
from protosuite.logs import redacted
from protosuite.net.listening import ListeningService
from protosuite.settings import fields_of
from protosuite.storage import Database
from protosuite.storage.workers import Calls

_RECENT = 20  # refusals
_NODES = "nodes"  # the group in which the fabric has them


@frozen
class Overseen:
    """The suite: its services, the admin service among them, and what they share.

    `calls` has two threads of its own: the disk of the folder `data` is asked in one, and if that hangs the
    other makes long answers.
    """

    config: Config
    services: Sequence[ListeningService]
    database: Database
    pools: Sequence[Source]
    data: Path
    calls: Calls
    fabric: Fabric | None = None  # to other nodes

    def figures(self) -> Iterator[Figure]:
        """The figures of all of it."""
        sources: tuple[Source, ...] = (*self.services, self.database, *self.pools)
        for source in sources:
            yield from source.figures()
        if self.fabric is not None:
            yield from self.fabric.figures()


def reached(suite: Overseen) -> list[Look]:
    """Whether other nodes are reached, as far as is known: nobody waits for an answer of theirs."""
    fabric = suite.fabric
    if fabric is None or not fabric.is_shared:
        return []

    def ask() -> Deferred[Findings]:
        return succeed({"fabric": None if fabric.is_reachable else "other nodes are not reached"})

    return [Look(("fabric",), ask)]


def program() -> dict[str, object]:
    """What runs."""
    return {
        "version": protosuite.__version__,
        "python": platform.python_version(),
        "twisted": twisted.__version__,
        "pid": os.getpid(),
    }


def enter(suite: Overseen) -> None:
    """Have the other nodes know that this one is there: on which machine, and as which process."""
    if suite.fabric is not None:
        suite.fabric.enter(_NODES, f"{platform.node()} {os.getpid()}")


async def nodes(suite: Overseen) -> dict[str, object]:
    """This node's name and, by theirs, all that are there: machine and process; None if nobody can tell."""
    if suite.fabric is None:
        return {}
    try:
        present = await suite.fabric.present(_NODES)
    except Away:
        return {"node": suite.fabric.node, "nodes": None}
    found = {node: what for what, where in present.items() for node in where}
    return {"node": suite.fabric.node, "nodes": found}


def services(suite: Overseen) -> dict[str, object]:
    """Each service: where it listens, what has gone through it, and its overview."""
    return {str(service.name): _service(service) for service in suite.services}


def _service(service: ListeningService) -> dict[str, object]:
    traffic = service.traffic
    return {
        "listens": service.addresses(),
        "connections": len(service.connections),
        "max_connections": service.limits.max_connections,
        "accepted": traffic.accepted,
        "messages": traffic.messages,
        "received_bytes": traffic.received,
        "sent_bytes": traffic.sent,
        "refusals": dict(service.refusals.most_common()),
        "overview": service.overview(),
    }


def refusals(suite: Overseen, now: float, wall: float) -> list[dict[str, object]]:
    """The last that were turned down, of all services, latest first.

    `now` is by the reactor's clock, `wall` the same moment in seconds since the epoch.
    """
    every = ((refusal, service) for service in suite.services for refusal in service.recent)
    return [
        {
            "at": int((wall - (now - refusal.at)) * 1000),
            "service": str(service.name),
            "peer": refusal.peer,
            "code": refusal.code,
            "reason": refusal.reason,
        }
        for refusal, service in nlargest(_RECENT, every, key=lambda each: each[0].at)
    ]


def configuration(config: Config) -> Mapping[str, Mapping[str, str]]:
    """Every setting as it would be written, without the passwords in it."""
    return {
        name: {
            key: redacted(kind.write(getattr(section, key)).strip())
            for key, (_, kind, _) in fields_of(type(section)).items()
        }
        for name, section in config.sections().items()
    }
