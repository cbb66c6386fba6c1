"""Where Redis is now, and what has to be said before it is asked anything."""

from __future__ import annotations

from random import Random
from typing import Any

from protosuite.fabric.address import Address, Host
from protosuite.fabric.connection import Connection, Push, Refused, dial
from protosuite.fabric.interface import Away


async def connect(
    reactor: Any, random: Random, address: Address, timeout: float, on_push: Push | None = None
) -> Connection:
    """A connection to the Redis of `address` that may be used. Raises :exc:`Away`."""
    host = address.hosts[0] if address.master is None else await _master(reactor, random, address, timeout)
    connection = await dial(reactor, host, address, timeout, on_push)
    try:
        await _introduce(connection, address.username, address.password)
        if address.database:
            await connection.command("SELECT", address.database)
        if address.master is not None and (await connection.command("ROLE"))[0] != b"master":
            raise Away("the Sentinels name a Redis that is no master (any more)")
        await connection.command("PING")  # the system accepts connections for a server that hangs
    except Refused as refused:
        connection.abort()
        raise Away(f"Redis refuses: {refused}") from None
    except BaseException:
        connection.abort()
        raise
    return connection


async def _introduce(connection: Connection, username: str | None, password: str | None) -> None:
    if password is not None:
        words = (password,) if username is None else (username, password)
        await connection.command("AUTH", *words)


async def _master(reactor: Any, random: Random, address: Address, timeout: float) -> Host:
    """Ask one Sentinel after the other, in any order."""
    troubles = []
    for host in random.sample(address.hosts, len(address.hosts)):
        try:
            found = await _ask(reactor, host, address, timeout)
        except (Away, Refused) as error:
            troubles.append(f"{host[0]}:{host[1]}: {error}")
        else:
            if found is not None:
                return found
            troubles.append(f"{host[0]}:{host[1]} knows no {address.master}")
    raise Away(f"no Sentinel helps ({'; '.join(troubles)})")


async def _ask(reactor: Any, host: Host, address: Address, timeout: float) -> Host | None:
    connection = await dial(reactor, host, address, timeout)
    try:
        await _introduce(connection, None, address.sentinel_password)
        answer = await connection.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", str(address.master))
    finally:
        connection.abort()
    return None if answer is None else (answer[0].decode(), int(answer[1]))
