"""A load on a bus/1 server: so many connections, so many echoes in flight on each, for so long.

Every answer is checked: each must have the text of the request whose turn it is.
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

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.wire import FROM_SERVER, Decoder, encode_request
from protosuite.errors import PeerFault
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
    """Drives `connections` connections with batches of `depth` echoes.

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
        self.requests = 0
        self.unanswered = 0
        self.latencies = Latencies()
        self.finished: Deferred[Report] = Deferred()
        self.stopping = False
        self._errors: list[str] = []
        self._made = 0
        self._left = connections
        self._began = clock.seconds()
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
        self._made += 1
        return LoadConnection(self, self._made)

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


class LoadConnection(Protocol):
    """Writes a batch, reads its answers, and again."""

    transport: ITransport

    def __init__(self, load: Load, number: int) -> None:
        self._load = load
        self._decoder = Decoder(FROM_SERVER)
        # No two requests of all connections are alike, so no answer can pass for another.
        self._texts = [f"echo {turn} of connection {number}" for turn in range(load.depth)]
        self._batch = b"".join(encode_request(pb.EchoMessage(content=text)) for text in self._texts)
        self._answered = load.depth
        self._sent_at = 0.0
        self._error: str | None = None

    def connectionMade(self) -> None:
        self._send()

    def dataReceived(self, data: bytes) -> None:
        try:
            for body in self._decoder.feed(data):
                self._take(body)
        except PeerFault as fault:
            self._error = self._error or str(fault)
        if self._error:
            self.transport.loseConnection()
        elif self._answered == self._load.depth:
            self._load.latencies.add(self._load.clock.seconds() - self._sent_at)
            self._send()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if left := self._load.depth - self._answered:
            self._load.unanswered += left
            self._error = self._error or "the server closed a connection with requests unanswered"
        self._load.ended(self._error)

    def _take(self, body: object) -> None:
        if isinstance(body, pb.Error):
            raise PeerFault(body.code, body.message)
        if self._answered == self._load.depth:
            raise PeerFault("bad-answer", "an answer that nobody asked for")
        wanted = self._texts[self._answered]
        if not isinstance(body, pb.EchoMessage) or body.content != wanted:
            raise PeerFault("bad-answer", f"an answer is not the echo of {wanted!r}")
        self._answered += 1
        self._load.requests += 1

    def _send(self) -> None:
        if self._load.stopping:
            self.transport.loseConnection()
            return
        self._answered = 0
        self._sent_at = self._load.clock.seconds()
        self.transport.write(self._batch)
