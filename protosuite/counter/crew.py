"""The processes that serve the counter's connections with ``workers`` above 1, as the suite sees them.

That one listens, lets connections in by their limits, and hands each to a worker as soon as something has
come over it. Everything that is known of a connection stays known here: what it counts for, that it has
ended, that it has to.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IDelayedCall, IReadDescriptor
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from protosuite.config import CounterConfig
from protosuite.errors import PeerFault
from protosuite.figures import Traffic
from protosuite.net.channel import Channel, pair
from protosuite.net.connection import Connection, Registry
from protosuite.net.tls import innermost

# Seconds from one start of a worker to the next: one that cannot live does not take the machine with it.
_PAUSE = 1.0
# Connections that a worker may have more than twice as many as another one has.
_MORE = 32
# Seconds that a worker has to end when there is nothing left for it to do.
_PATIENCE = 5.0


def encode(word: str, *values: object) -> bytes:
    """A packet between the suite and a worker."""
    return json.dumps([word, *values]).encode()


class Keeper(Registry, Protocol):
    """Whose workers they are."""

    config: CounterConfig
    reactor: Any
    log: Logger

    def refused(self, connection: Any, fault: PeerFault) -> None:
        """Count a frame that was not applied, and say why. Of the connection only `peer` is looked at."""


@implementer(IReadDescriptor)
class Passage:
    """A transport of a connection that will be handed over: nothing is read, and nothing is sent."""

    def __init__(
        self,
        accepted: socket.socket,
        protocol: HandedConnection,
        client: Any,
        server: object,
        number: int,
        reactor: Any,
    ) -> None:
        self.socket: socket.socket | None = accepted
        self.client = client
        self._protocol = protocol
        self._reactor = reactor

    def wait(self) -> None:
        """Tell the protocol when there is something to read."""
        self._reactor.addReader(self)

    def fileno(self) -> int:
        """For the reactor, while it waits."""
        return -1 if self.socket is None else self.socket.fileno()

    def doRead(self) -> None:
        """There is something to read, perhaps the end of it."""
        self._protocol.speaks()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has found that it is gone while it waited."""
        self.loseConnection()

    def logPrefix(self) -> str:
        """For the reactor's log."""
        return "counter"

    def getPeer(self) -> IAddress:
        """Where it comes from."""
        address = IPv6Address if len(self.client) == 4 else IPv4Address
        return address("TCP", *self.client)

    def loseConnection(self) -> None:
        """Close it; it has not been handed over."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
        self.close()
        self._protocol.connectionLost(Failure(ConnectionDone()))

    def abortConnection(self) -> None:
        """Cut it off, wherever it is."""
        self._protocol.cut_off()

    def close(self) -> None:
        """It is not ours any more."""
        if self.socket is not None:
            self._reactor.removeReader(self)
            self.socket.close()
            self.socket = None


class HandedConnection(Connection):
    """A connection that a worker serves: what the suite's own process keeps of it."""

    transport: Passage

    def __init__(self, keeper: Keeper, crew: Crew) -> None:
        super().__init__(keeper, keeper.reactor, keeper.config)
        self._keeper = keeper
        self._crew = crew
        self._worker: Worker | None = None
        self.number = 0

    def opened(self) -> None:
        self.transport.wait()

    def speaks(self) -> None:
        """Something has come: a worker is to read it."""
        assert self.transport.socket is not None, "nobody else has it"
        self._stop_watching()
        self._worker = self._crew.worker_for(self.transport.socket)
        if self._worker is None:
            super().refuse(PeerFault("overloaded", "no worker runs; try again later"))
        else:
            self._worker.take(self, self.transport)

    def refuse(self, fault: PeerFault) -> None:
        """There was no whole frame in time: that is one more that was not applied."""
        self._keeper.refused(self, fault)
        self.finish()

    def finish(self) -> None:
        self.finishing = True
        self.transport.loseConnection()

    def shut_down(self) -> None:
        if self._worker is None:
            self.finish()
        else:
            self._worker.tell("shut down", self.number)

    def cut_off(self) -> None:
        """Cut it off, wherever it is."""
        if self._worker is None:
            self.finish()
        else:
            self._worker.tell("abort", self.number)


class Worker(ProcessProtocol):
    """One worker: its process, the channel to it, and the connections that it has."""

    transport: Any

    def __init__(self, keeper: Keeper, memory: int, ended: Callable[[Worker], object]) -> None:
        self.connections: dict[int, HandedConnection] = {}
        self.since = keeper.reactor.seconds()
        self.is_lost = False  # it is ending, or has ended
        self.gone: Deferred[None] = Deferred()
        self._keeper = keeper
        self._ended = ended
        self._is_stopping = False
        self._last = 0
        self._told = Traffic()
        self._killing: IDelayedCall | None = None
        ours, theirs = pair()
        self._channel = Channel(keeper.reactor, ours, self._received, self._lost)
        with theirs, open(os.devnull, "rb") as nothing:
            files = {0: nothing.fileno(), 1: 1, 2: 2, 3: theirs.fileno(), 4: memory}
            # As PYTHONPATH: what twistd and a virtual environment have made of it holds for a child, too.
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            environment.pop("NOTIFY_SOCKET", None)
            command = [sys.executable, "-P", "-m", "protosuite.counter.worker"]
            try:
                keeper.reactor.spawnProcess(self, sys.executable, command, environment, childFDs=files)
            except BaseException:
                self._channel.close()
                raise
        self.tell("settings", _settings(keeper.config))
        keeper.log.info("process {pid} is a worker", pid=self.pid)

    @property
    def pid(self) -> int:
        """The number of its process."""
        pid: int = self.transport.pid
        return pid

    def tell(self, word: str, *values: object) -> None:
        """Send it a packet."""
        self._channel.send(encode(word, *values))

    def take(self, connection: HandedConnection, passage: Passage) -> None:
        """Give it a connection."""
        assert passage.socket is not None, "it is given once"
        self._last += 1
        connection.number = self._last
        self.connections[self._last] = connection
        packet = encode("take", self._last, passage.client)
        self._channel.send(packet, passage.socket.fileno())
        passage.close()

    def stop(self) -> Deferred[None]:
        """Have it end, with whatever it still has; the Deferred fires when it has."""
        self.is_lost = self._is_stopping = True
        self._channel.close()
        if self.transport.pid is not None:
            self._killing = self._keeper.reactor.callLater(_PATIENCE, self.transport.signalProcess, "KILL")
        return self.gone

    # What it says.

    def _received(self, packet: bytes, descriptor: int | None) -> None:
        word, *values = json.loads(packet)
        keeper = self._keeper
        if word == "ended":
            self._has_ended(self.connections.pop(values[0]))
        elif word == "figures":
            self._add_up(Traffic(0, *values))
        elif word == "turned down":
            keeper.turned_down(*values)
        elif word == "refused":
            keeper.refused(_Stranger(values[0]), PeerFault(*values[1:]))
        elif word == "slowed down":
            keeper.slowed_down()
        elif word == "failed":
            keeper.log.error("a worker failed: {what}", what=values[0])

    def _add_up(self, traffic: Traffic) -> None:
        """Take its figures into the sum over all workers there ever were."""
        total, told, self._told = self._keeper.traffic, self._told, traffic
        total.messages += traffic.messages - told.messages
        total.received += traffic.received - told.received
        total.sent += traffic.sent - told.sent

    def _has_ended(self, connection: HandedConnection) -> None:
        connection.connectionLost(Failure(ConnectionDone()))

    # Its end.

    def _lost(self) -> None:
        """It says nothing any more: then it is not to serve anybody either."""
        self.is_lost = True
        if self.transport.pid is not None:
            self.transport.signalProcess("KILL")

    def processEnded(self, reason: Failure) -> None:
        if self._killing is not None and self._killing.active():
            self._killing.cancel()
        # What it had sent before it died is read first.
        self._channel.read_rest()
        self._channel.close()
        connections, self.connections = self.connections, {}
        if not self._is_stopping:
            self._keeper.log.error(
                "a worker has ended ({reason}); its {count} connections are lost",
                reason=reason.getErrorMessage(),
                count=len(connections),
            )
        for connection in connections.values():
            connection.connectionLost(Failure(ConnectionLost()))
        self._ended(self)
        self.gone.callback(None)


class Crew:
    """All workers. One that ends is replaced."""

    transport = Passage  # for a port whose connections they take

    def __init__(self, keeper: Keeper, memory: int) -> None:
        self.workers: list[Worker] = []
        self._keeper = keeper
        self._memory = memory
        self._is_stopping = False
        self._starting: set[IDelayedCall] = set()

    @staticmethod
    def takes(endpoint: str) -> bool:
        """Whether connections of an endpoint are handed over: those of TCP, with nothing around it."""
        kind = endpoint.partition(":")[0].lower()
        is_passed = kind == "systemd" and innermost(endpoint)[1].get("domain") != "UNIX"
        return kind in ("tcp", "tcp6") or is_passed

    def connection(self, address: IAddress | None) -> HandedConnection:
        """What a factory builds for them."""
        return HandedConnection(self._keeper, self)

    def start(self) -> None:
        """Start them."""
        for _ in range(self._keeper.config.workers):
            self._start_one()

    def worker_for(self, accepted: socket.socket) -> Worker | None:
        """Who is to serve it; None if there is nobody.

        A client of this machine asks over all its connections from the processor that it runs on. Where they
        are one worker's, the two wake each other there, and nothing goes through the caches of another
        processor: two workers gave two loads 285,000 answers a second so, and 170,000 where each had
        connections of both. So a worker has those that come in on its share of the processors, unless it
        has many more than another.
        """
        living = [worker for worker in self.workers if not worker.is_lost]
        if not living:
            return None
        fewest = min(living, key=_load)
        nearest = min(_nearest(accepted, living), key=_load, default=fewest)
        return nearest if _load(nearest) <= 2 * _load(fewest) + _MORE else fewest

    def stop(self) -> Deferred[None]:
        """End them. Their connections have been drained before."""
        self._is_stopping = True
        for call in self._starting:
            call.cancel()
        return gatherResults([worker.stop() for worker in list(self.workers)]).addCallback(lambda _: None)

    def _start_one(self) -> None:
        try:
            self.workers.append(Worker(self._keeper, self._memory, self._ended))
        except OSError as error:
            self._keeper.log.error("no worker can be started: {reason}", reason=str(error))
            self._start_later(_PAUSE)

    def _ended(self, worker: Worker) -> None:
        self.workers.remove(worker)
        if not self._is_stopping:
            self._start_later(max(0.0, worker.since + _PAUSE - self._keeper.reactor.seconds()))

    def _start_later(self, seconds: float) -> None:
        def start() -> None:
            self._starting.discard(call)
            self._start_one()

        call = self._keeper.reactor.callLater(seconds, start)
        self._starting.add(call)


@attrs.frozen
class _Stranger:
    """Who is refused by a worker."""

    peer: str


def _settings(config: CounterConfig) -> dict[str, object]:
    """What a worker needs of the settings: who is let in, and where, is not its business."""
    return attrs.asdict(config, filter=lambda setting, _: setting.name not in ("listen", "allow"))


def _load(worker: Worker) -> int:
    return len(worker.connections)


def _nearest(accepted: socket.socket, workers: Sequence[Worker]) -> list[Worker]:
    """Those whose share of the processors has that on which something has come in last; none if none has."""
    option = getattr(socket, "SO_INCOMING_CPU", None)  # Linux
    if option is None:
        return []
    incoming = accepted.getsockopt(socket.SOL_SOCKET, option)
    processors, count = sorted(os.sched_getaffinity(0)), len(workers)
    if incoming not in processors:
        return []
    at, size = processors.index(incoming), len(processors)
    return [
        worker
        for place, worker in enumerate(workers)
        if place * size < (at + 1) * count and at * count < (place + 1) * size
    ]
