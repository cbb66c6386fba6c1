"""Connections, workers and databases for tests that need no network, no thread and no sleep."""

from __future__ import annotations

import errno
import functools
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IAddress, IConnector
from twisted.internet.protocol import ClientFactory, ServerFactory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.test.iosim import FakeAddress, FakeTransport, connect
from zope.interface import implementer

from protosuite.storage import Database, engines
from protosuite.storage.migrate import upgrade
from protosuite.storage.timeouts import Timeouts
from protosuite.storage.workers import Task


class HandWorker:
    """A worker whose tasks wait until :meth:`run`; with `at_once`, they run as they come."""

    def __init__(self, at_once: bool = False) -> None:
        self.at_once = at_once
        self.tasks: list[Task] = []

    def do(self, task: Task) -> None:
        self.tasks.append(task)
        if self.at_once:
            self.run()

    def run(self) -> int:
        """Run what waits; how many tasks that were."""
        count = 0
        while self.tasks:
            self.tasks.pop(0)()
            count += 1
        return count

    def stop(self) -> None:
        self.run()


def begin_file(file: Path) -> None:
    """Make the file of a database if it is not there, its schema in place."""
    if not file.exists():
        file.write_bytes(_migrated())


@functools.cache
def _migrated() -> bytes:
    """The file of an empty database. Migrating one takes ten times as long as the start of a small test."""
    with TemporaryDirectory() as folder:
        worker = HandWorker(at_once=True)
        made = Database(
            url=engines.resolve("sqlite:///empty.sqlite3", Path(folder)),
            writer=worker,
            readers=worker,
            call_in_reactor=lambda call, *args: call(*args),
            max_queue=1,
        )
        upgrade(made)
        made.close()
        return (Path(folder) / "empty.sqlite3").read_bytes()


def database(
    path: str,
    writer: HandWorker | None = None,
    max_queue: int = 1000,
    url: str = "sqlite:///test.sqlite3",
    timeouts: Timeouts | None = None,
) -> Database:
    """A real database, its schema in place, whose work runs at once or by hand; a file is below `path`.

    `timeouts` are for a server; those of the suite may be too short where the machine does other things.
    """
    Path(path).mkdir(parents=True, exist_ok=True)
    resolved = engines.resolve(url, Path(path).absolute())
    if engines.is_file(resolved):
        begin_file(Path(resolved.database or ""))
    result = Database(
        url=resolved,
        writer=writer or HandWorker(at_once=True),
        readers=HandWorker(at_once=True),
        call_in_reactor=lambda call, *args: call(*args),
        max_queue=max_queue,
        timeouts=timeouts or Timeouts(),
    )
    upgrade(result)
    return result


class MemoryTransport(FakeTransport):
    """A transport that remembers what was done with it, and closes whole where TCP would close a half."""

    def __init__(self, protocol: Any, isServer: bool) -> None:
        super().__init__(protocol, isServer)
        self.reading = True
        self.aborted = False

    def loseWriteConnection(self) -> None:
        self.loseConnection()

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True


@implementer(IConnector)
class Line:
    """Connects `client` to `server` in memory, again and again as the client asks. An ``IConnector``.

    While `up` is False attempts are refused. :meth:`pump` carries bytes until both sides are quiet,
    :meth:`cut` drops the connection with what is on its way, :meth:`advance` lets time pass.
    """

    def __init__(self, clock: Clock, client: ClientFactory, server: ServerFactory) -> None:
        self.clock = clock
        self.up = True
        self.state = "disconnected"
        self.attempts = 0
        self.server_protocol: Any = None
        self._client = client
        self._server = server
        self._io: Any = None

    def connect(self) -> None:
        """Make the connection, or refuse it."""
        self.attempts += 1
        self.state = "connecting"
        self._client.startedConnecting(self)
        if not self.up:
            self.state = "disconnected"
            self._client.clientConnectionFailed(self, Failure(ConnectionRefusedError(errno.ECONNREFUSED)))
            return
        self.state = "connected"
        server: Any = self._server.buildProtocol(None)
        client: Any = self._client.buildProtocol(None)
        self.server_protocol = server
        self._io = connect(
            server, MemoryTransport(server, True), client, MemoryTransport(client, False), clock=self.clock
        )
        self.pump()

    def stopConnecting(self) -> None:
        """Nothing is ever half made here."""

    def disconnect(self) -> None:
        """As the connector of a real connection."""
        self.cut()

    def getDestination(self) -> IAddress:
        """An address without content."""
        address: IAddress = FakeAddress()
        return address

    def pump(self) -> None:
        """Carry bytes both ways until nothing moves; tell the client's factory if that ended it."""
        while self._io is not None:
            io = self._io
            if io.pump():
                continue
            if io.serverIO.disconnected or io.clientIO.disconnected:
                self._ended(ConnectionDone())
            return

    def cut(self) -> None:
        """Drop the connection, if there is one: what is on its way is lost, and both sides hear of it."""
        io = self._io
        if io is None:
            return
        for transport in (io.serverIO, io.clientIO):
            transport.disconnected = True
            transport.protocol.connectionLost(Failure(ConnectionLost()))
        self._ended(ConnectionLost())

    def advance(self, seconds: float, step: float = 0.0) -> None:
        """Let `seconds` pass, at once or in steps, carrying bytes after each."""
        left = seconds
        while left > 1e-9:
            part = min(step or left, left)
            left -= part
            self.clock.advance(part)
            self.pump()

    def _ended(self, reason: Exception) -> None:
        self._io = None
        self.state = "disconnected"
        self._client.clientConnectionLost(self, Failure(reason))
