"""A load on a counter/1 server: so many connections, so many requests in flight on each, for so long.

Every reply is checked: on one connection the totals must rise with every request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime, ITransport
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from protosuite.counter.wire import ReplyDecoder, encode_request
from protosuite.net.latencies import Latencies


@frozen
class Report:
    """What a load did: requests answered in `seconds`, and how long their batches took."""

    requests: int
    unanswered: int
    seconds: float
    latencies: Latencies
    errors: tuple[str, ...]


class Load(ClientFactory):
    """Drives `connections` connections with batches of `depth` increments of 1.

    `finished` fires with a :class:`Report` when every connection has ended. `on_tick` gets the number
    of requests answered so far, once a second.
    """

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        connections: int,
        depth: int,
        seconds: float,
        on_tick: Callable[[int], None] | None = None,
    ) -> None:
        self.clock = clock
        self.depth = depth
        self.batch = encode_request(1) * depth
        self.requests = 0
        self.unanswered = 0
        self.latencies = Latencies()
        self.errors: list[str] = []
        self.finished: Deferred[Report] = Deferred()
        self.stopping = False
        self._left = connections
        self._began = clock.seconds()
        self._open: set[LoadConnection] = set()
        self._stop = clock.callLater(seconds, self.stop)
        self._ticking = LoopingCall(lambda: on_tick(self.requests) if on_tick else None)
        self._ticking.clock = clock
        self._ticking.start(1.0, now=False)

    def connect(self, reactor: Any, host: str, port: int) -> None:
        """Make the connections."""
        for _ in range(self._left):
            reactor.connectTCP(host, port, self, timeout=10)

    def stop(self) -> None:
        """Send nothing more; the connections end as their last answers come."""
        self.stopping = True

    def buildProtocol(self, addr: IAddress | None) -> LoadConnection:
        return LoadConnection(self)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.ended(f"cannot connect: {reason.getErrorMessage()}")

    def ended(self, error: str | None = None) -> None:
        """One connection is over."""
        if error is not None:
            self.errors.append(error)
            self.stop()
        self._left -= 1
        if self._left == 0:
            if self._stop.active():
                self._stop.cancel()
            self._ticking.stop()
            took = self.clock.seconds() - self._began
            self.finished.callback(
                Report(self.requests, self.unanswered, took, self.latencies, tuple(self.errors))
            )


class LoadConnection(Protocol):
    """Writes a batch, reads its replies, and again."""

    transport: ITransport

    def __init__(self, load: Load) -> None:
        self._load = load
        self._decoder = ReplyDecoder()
        self._due = 0
        self._last = 0
        self._sent_at = 0.0
        self._error: str | None = None

    def connectionMade(self) -> None:
        self._send()

    def dataReceived(self, data: bytes) -> None:
        for totals in self._decoder.feed(data):
            for total in totals:
                if total <= self._last:
                    self._error = f"the counter went from {self._last} to {total}"
                self._last = total
            self._due -= len(totals)
            self._load.requests += len(totals)
        if self._due == 0:
            self._load.latencies.add(self._load.clock.seconds() - self._sent_at)
            self._send()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._due:
            self._load.unanswered += self._due
            self._error = self._error or "the server closed a connection with requests unanswered"
        self._load.ended(self._error)

    def _send(self) -> None:
        load = self._load
        if load.stopping or self._error:
            self.transport.loseConnection()
            return
        self._due = load.depth
        self._sent_at = load.clock.seconds()
        self.transport.write(load.batch)
