"""Connections to a suite, byte for byte, and what it says about itself on disk."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from protosuite.counter.wire import REPLY_SIZE, encode_request
from tests.faults.checks.numbers import Whole, whole
from tests.processes import LIMIT, Scope, Suite, Watched, reactor


@implementer(IHalfCloseableProtocol)
class Peer(Protocol, Watched):
    """One connection. It keeps what it gets, and closes when the server does, unless it is `stubborn`."""

    transport: Any

    def __init__(self, stubborn: bool = False) -> None:
        Watched.__init__(self)
        self.stubborn = stubborn
        self.received = bytearray()
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.changed()

    def readConnectionLost(self) -> None:
        self.over = True
        if not self.stubborn:
            self.transport.loseConnection()
        self.changed()

    def writeConnectionLost(self) -> None:
        """Our side is closed."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.over = self.lost = True
        self.changed()

    def send(self, data: bytes) -> None:
        """Write bytes."""
        self.transport.write(data)

    def say(self, name: str, **fields: object) -> None:
        """Write one message of numbers/1."""
        self.send(json.dumps({"type": name, **fields}).encode() + b"\n")

    def finish(self) -> None:
        """Close our side only."""
        self.transport.loseWriteConnection()

    async def exactly(self, count: int) -> bytes:
        """The next `count` bytes."""
        await self.until(lambda: len(self.received) >= count)
        data = bytes(self.received[:count])
        del self.received[:count]
        return data

    async def message(self) -> dict[str, Any]:
        """The next line, as the JSON object that it is."""
        end = await self.until(lambda: (self.received.find(b"\n") + 1) or None)
        fields: dict[str, Any] = json.loads(await self.exactly(end))
        return fields

    async def total(self) -> int:
        """The next reply of counter/1."""
        return int.from_bytes(await self.exactly(REPLY_SIZE), "big")

    async def everything(self) -> bytes:
        """All that is left, when the server has closed."""
        await self.until(lambda: self.over)
        data = bytes(self.received)
        self.received.clear()
        return data

    async def abort(self) -> None:
        """Cut the connection, if it is still there."""
        if not self.lost:
            self.transport.abortConnection()
        await self.gone()

    async def gone(self) -> None:
        """Wait until the connection is closed both ways."""
        await self.until(lambda: self.lost, after_end=True)

    def story(self) -> str:
        return f"a connection, with {bytes(self.received[:200])!r} left unread"


async def connect(scope: Scope, port: int, peer: Peer | None = None, source: str | None = None) -> Peer:
    """A connection to `port`, from the address `source`, which ends with `scope`."""
    made = Peer() if peer is None else peer
    factory = Factory.forProtocol(lambda: made)
    factory.noisy = False
    bind = None if source is None else (source, 0)
    await TCP4ClientEndpoint(reactor, "127.0.0.1", port, timeout=LIMIT, bindAddress=bind).connect(factory)
    scope.addCleanup(made.abort)
    return made


async def add(scope: Scope, suite: Suite, amount: int = 0) -> int:
    """The counter after `amount` more, over a connection of its own."""
    peer = await connect(scope, suite.counter)
    peer.send(encode_request(amount))
    total = await peer.total()
    await peer.abort()
    return total


async def long_session(case: TestCase, suite: Suite, name: str, minimum: int) -> str:
    """The id of a client whose stream has at least `minimum` numbers: it asks until it gets such a one."""
    for attempt in range(1000):
        client = f"{name}-{attempt}"
        peer = await connect(case, suite.numbers)
        peer.say("start", client=client)
        session = await peer.message()
        await peer.abort()
        if session["count"] >= minimum:
            return client
    raise AssertionError(f"no stream of {minimum} numbers in 1000")


def undisturbed(suite: Suite) -> dict[str, Whole]:
    """Every session of the suite's database, computed from its seed."""
    return {
        client: whole(int.from_bytes(seed, "big"), count) for client, seed, count in _sessions(suite.data)
    }


def acknowledged(suite: Suite, client: str) -> int:
    """How many numbers the database says that a client has."""
    query = "SELECT acknowledged FROM numbers_session WHERE client = ?"
    return int(_query(suite.data, query, client)[0][0])


def stored_total(suite: Suite) -> int:
    """The counter as the database has it."""
    return int(next((total for (total,) in _query(suite.data, "SELECT total FROM counter")), 0))


def _sessions(data: Path) -> list[Any]:
    return _query(data, "SELECT client, seed, count FROM numbers_session")


def _query(data: Path, query: str, *values: str) -> list[Any]:
    connection = sqlite3.connect(data / "protosuite.sqlite3", timeout=LIMIT)
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()
