"""How several nodes hear of each other: wake-ups, and who is where.

::

    a service ──publish──► fabric ──────── Redis ────────► fabric ──woken──► a service
        │                                                     └──catch_up──►    │
        └──────────────── commits to ── database ◄── reads what is new from ────┘

A wake-up says "something is new in this topic, up to this number" and nothing else: what is new is in the
database. The fabric is a hint. It never blocks anybody; it may lose wake-ups, and then tells the listeners
to catch up: when it has come back, when more was to be told than it keeps, and now and then anyway.

``interface`` is what services see, ``local`` the one for a node alone, ``redis`` the one for several.
Beneath that: ``address`` (URLs), ``outgoing`` (wake-ups that wait, pure), ``presence`` (who is where,
in Redis), ``subscriptions`` (what is heard), ``sentinel`` (where Redis is now), ``link`` (a connection
that is made again when it is lost).
"""

from __future__ import annotations

from random import Random
from typing import Any

from protosuite.errors import StartError
from protosuite.fabric.interface import Fabric, Listener, Timing
from protosuite.fabric.local import Hub, LocalFabric

__all__ = ["Fabric", "Hub", "Listener", "LocalFabric", "Timing", "make", "problem"]

LOCAL = "local"


def make(url: str, timing: Timing, reactor: Any, random: Random) -> Fabric:
    """The fabric of a setting: ``local``, or the URL of a Redis. Raises :exc:`StartError` if it cannot be."""
    if url == LOCAL:
        return Hub(reactor).node(f"{random.getrandbits(48):012x}")
    if (why := problem(url)) is not None:
        raise StartError(f"[suite] fabric: {why}")
    from protosuite.fabric.address import parse
    from protosuite.fabric.redis import RedisFabric  # it needs what one node alone need not have

    return RedisFabric(parse(url), timing, reactor, random)


def problem(url: str) -> str | None:
    """What is wrong with a setting, for a person; None if nothing is. Nobody is asked over the network."""
    if url == LOCAL:
        return None
    from protosuite.fabric.address import check

    return check(url)
