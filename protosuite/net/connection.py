"""One connection on the server's side: registered, named, and closed so that the last bytes arrive."""

from __future__ import annotations

from typing import Any
from typing import Protocol as Interface

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer


class Registry(Interface):
    """Where connections are counted, so that a stop can reach them."""

    def joined(self, connection: Connection) -> None:
        """`connection` is open."""

    def left(self, connection: Connection) -> None:
        """`connection` is closed."""


@implementer(IHalfCloseableProtocol)
class Connection(Protocol):
    """A server's end of a stream.

    A subclass implements `opened`, `received`, `shut_down` and, if it likes, `peer_finished` and
    `closed`. After :meth:`finish` nothing more arrives at `received`.
    """

    transport: Any  # ITCPTransport and ITransport of a push producer; TLS adds to it

    def __init__(self, registry: Registry, clock: IReactorTime, close_timeout: float) -> None:
        self._registry = registry
        self.clock = clock
        self._close_timeout = close_timeout
        self._abort: IDelayedCall | None = None
        self._peer_finished = False
        self.finishing = False
        self.peer = "?"

    # For the subclass.

    def opened(self) -> None:
        """The connection is there."""

    def received(self, data: bytes) -> None:
        """Bytes came."""

    def peer_finished(self) -> None:
        """The peer closed its side and can still read. Finishing is right where nothing is owed."""
        self.finish()

    def closed(self) -> None:
        """The connection is gone."""

    def shut_down(self) -> None:
        """The service stops: tell the peer, answer what was accepted, then :meth:`finish`."""
        self.finish()

    def finish(self) -> None:
        """Close once what was written has left; cut the connection if the peer does not close too.

        Closing a socket at once while the peer still sends makes the kernel answer with a reset, and
        a reset can destroy the reply that is on its way. So our side is closed first, and what still
        comes is read and dropped until the peer closes, or `close_timeout` is over.
        """
        if self.finishing:
            return
        self.finishing = True
        self.resume_reading()
        # Under TLS the closing alert and the peer's are exchanged by loseConnection itself.
        if self._peer_finished or ISSLTransport.providedBy(self.transport):
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()
        self._abort = self.clock.callLater(self._close_timeout, self.transport.abortConnection)

    def resume_reading(self) -> None:
        """Read again after ``transport.pauseProducing``; nothing where there is nothing left to read."""
        if not self._peer_finished:
            self.transport.resumeProducing()

    # For Twisted.

    def connectionMade(self) -> None:
        self.peer = _name(self.transport.getPeer())
        self._registry.joined(self)
        self.opened()

    def dataReceived(self, data: bytes) -> None:
        if not self.finishing:
            self.received(data)

    def readConnectionLost(self) -> None:
        self._peer_finished = True
        if self.finishing:
            self.transport.loseConnection()
        else:
            self.peer_finished()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.finishing = True
        if self._abort is not None and self._abort.active():
            self._abort.cancel()
        self._registry.left(self)
        self.closed()


@implementer(IPushProducer)
class PacedConnection(Connection):
    """A connection that is not read while its peer does not read, nor while `must_wait` says so.

    A subclass calls :meth:`pace` whenever the answer of `must_wait` may have changed, and
    :meth:`start_pacing` when it is opened.
    """

    is_blocked = False  # the transport has enough to send
    is_paused = False

    def must_wait(self) -> bool:
        """Whether reading on must wait for what was asked for already."""
        return False

    def unblocked(self) -> None:
        """The transport takes more."""

    def start_pacing(self) -> None:
        """Let the transport say when the peer is behind with reading."""
        self.transport.registerProducer(self, True)

    def pace(self) -> None:
        """Read, or do not, as it stands now."""
        pause = not self.finishing and (self.is_blocked or self.must_wait())
        if pause != self.is_paused:
            self.is_paused = pause
            if pause:
                self.transport.pauseProducing()
            else:
                self.resume_reading()

    def finish(self) -> None:
        self.transport.unregisterProducer()  # a transport that has one waits for it before it closes
        super().finish()

    # IPushProducer

    def pauseProducing(self) -> None:
        self.is_blocked = True
        self.pace()

    def resumeProducing(self) -> None:
        self.is_blocked = False
        self.unblocked()
        self.pace()

    def stopProducing(self) -> None:
        """The connection is being lost."""


def _name(address: IAddress) -> str:
    """An address as one prints it."""
    host = getattr(address, "host", None)
    if host is None:
        return "local"
    port = getattr(address, "port", 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
