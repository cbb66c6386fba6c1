"""A load on a server: so many connections, so many requests in flight on each, for so long.

A service adds a :class:`LoadConnection` that makes its requests and checks every answer.
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

from protosuite.errors import PeerFault
from protosuite.net.latencies import Latencies
from protosuite.net.reconnect import CONNECT_TIMEOUT


@frozen
class Report:
    """What a load did: requests answered in `seconds`, and how long their batches took."""

    requests: int
    unanswered: int
    seconds: float
    latencies: Latencies
    errors: tuple[str, ...]

    def fields(self) -> dict[str, float]:
        """The figures by name, times of batches in milliseconds."""
        return {
            "requests": self.requests,
            "unanswered": self.unanswered,
            "seconds": self.seconds,
            "requests_per_second": self.requests / self.seconds,
            "p50_ms": self.latencies.quantile(0.5) * 1000,
            "p99_ms": self.latencies.quantile(0.99) * 1000,
        }

    def __str__(self) -> str:
        figures = self.fields()
        return (
            f"{self.requests:,} requests in {self.seconds:.1f} s: "
            f"{figures['requests_per_second']:,.0f} a second, "
            f"p50 {figures['p50_ms']:.2f} ms, p99 {figures['p99_ms']:.2f} ms"
        )


class LoadConnection(Protocol):
    """Writes a batch, reads its answers, and again. A subclass makes the batch and checks the answers."""

    transport: ITransport

    def __init__(self, load: Load, number: int) -> None:
        self.depth = load.depth
        self.number = number
        self._load = load
        self._due = 0
        self._sent_at = 0.0
        self._error: str | None = None

    def batch(self) -> bytes:
        """The next `depth` requests."""
        raise NotImplementedError

    def check(self, data: bytes) -> int:
        """How many answers `data` completes. Raises :exc:`PeerFault` if one is wrong."""
        raise NotImplementedError

    def connectionMade(self) -> None:
        self._send()

    def dataReceived(self, data: bytes) -> None:
        try:
            answers = self.check(data)
        except PeerFault as fault:
            self._fail(str(fault))
            return
        self._due -= answers
        self._load.requests += answers
        if self._due < 0:
            self._fail("an answer that nobody asked for")
        elif self._due == 0:
            self._load.latencies.add(self._load.clock.seconds() - self._sent_at)
            self._send()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._due > 0:
            self._load.unanswered += self._due
            self._error = self._error or "the server closed a connection with requests unanswered"
        self._load.ended(self._error)

    def _send(self) -> None:
        if self._load.stopping or self._error:
            self.transport.loseConnection()
            return
        self._due = self.depth
        self._sent_at = self._load.clock.seconds()
        self.transport.write(self.batch())

    def _fail(self, error: str) -> None:
        self._error = self._error or error
        self.transport.loseConnection()


class Load(ClientFactory):
    """Drives `connections` connections, which `make` makes, with batches of `depth` requests.

    `finished` fires with a :class:`Report` when every connection has ended. `on_tick` gets the number
    of requests answered so far, once a second.
    """

    noisy = False

    def __init__(
        self,
        make: Callable[[Load, int], LoadConnection],
        clock: IReactorTime,
        connections: int,
        depth: int,
        seconds: float,
        on_tick: Callable[[int], None] | None = None,
    ) -> None:
        self.clock = clock
        self.depth = depth
        self.requests = 0
        self.unanswered = 0
        self.latencies = Latencies()
        self.finished: Deferred[Report] = Deferred()
        self.stopping = False
        self._make = make
        self._made = 0
        self._errors: list[str] = []
        self._left = connections
        self._began = clock.seconds()
        self._stop = clock.callLater(seconds, self.stop)
        self._ticking = LoopingCall(lambda: on_tick(self.requests) if on_tick else None)
        self._ticking.clock = clock
        self._ticking.start(1.0, now=False)

    def connect(self, reactor: Any, host: str, port: int) -> None:
        """Make the connections."""
        for _ in range(self._left):
            reactor.connectTCP(host, port, self, timeout=CONNECT_TIMEOUT)

    def stop(self) -> None:
        """Send nothing more; the connections end as their last answers come."""
        self.stopping = True

    def buildProtocol(self, addr: IAddress | None) -> LoadConnection:
        self._made += 1
        return self._make(self, self._made)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.ended(f"cannot connect: {reason.getErrorMessage()}")

    def ended(self, error: str | None = None) -> None:
        """One connection is over."""
        if error is not None:
            self._errors.append(error)
            self.stop()
        self._left -= 1
        if self._left == 0:
            if self._stop.active():
                self._stop.cancel()
            self._ticking.stop()
            took = self.clock.seconds() - self._began
            self.finished.callback(
                Report(self.requests, self.unanswered, took, self.latencies, tuple(self._errors))
            )
