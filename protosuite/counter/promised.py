"""Whether the Redis that has the counter's total keeps it as well as the settings want it kept."""

from __future__ import annotations

from random import Random
from typing import Any

from protosuite.config import CounterConfig
from protosuite.counter.engine import promise
from protosuite.fabric.address import Address
from protosuite.fabric.interface import Away
from protosuite.fabric.sentinel import connect

_RANKS = {"no": 0, "everysec": 1, "always": 2}


def shortfall(wanted: str, promised: str | None) -> str | None:
    """A sentence if Redis promises less than is wanted; None if it does not."""
    if wanted == "no":
        return None
    remedy = f"set appendonly yes and appendfsync {wanted} there, or durability lower"
    if promised is None:
        return f"[counter] durability = {wanted}: Redis does not say what it keeps; {remedy}"
    if _RANKS.get(promised, 0) >= _RANKS[wanted]:
        return None
    has = "appendonly no" if promised == "no" else f"appendfsync {promised}"
    return f"[counter] durability = {wanted}: Redis has {has}: {remedy}"


async def look(
    config: CounterConfig, address: Address, timeout: float, reactor: Any, random: Random
) -> str | None:
    """The same of the Redis at an address, which is asked; or that it cannot be. None: all is well."""
    try:
        connection = await connect(reactor, random, address, timeout)
        try:
            return shortfall(config.durability, await promise(connection.command))
        finally:
            connection.abort()
    except Away as away:
        return f"[counter] durability: Redis at {address} cannot be asked what it keeps: {away}"
