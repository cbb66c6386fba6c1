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

from protosuite.config import ServiceConfig
from protosuite.errors import PeerFault
from protosuite.figures import Traffic
from protosuite.net.limits import Rate
from protosuite.net.unfinished import Unfinished

# Why a connection is not read for now; it is read on when none of these is left.
RATE, PACE, CHANNEL, TALK, LENT = 1, 2, 4, 8, 16


class Registry(Interface):
    """Where connections are let in and counted, so that a stop can reach them."""

    traffic: Traffic

    def joined(self, connection: Connection) -> PeerFault | None:
        """`connection` is open, or has said where it comes from; or why it may not stay."""

    def left(self, connection: Connection) -> None:
        """`connection` is closed."""

    def turned_down(self, peer: str, code: str, reason: str) -> bool:
        """Count something that was refused or given up, and log it unless there was much of it."""

    def slowed_down(self) -> None:
        """Count a connection that is read no faster than its rate."""


@implementer(IHalfCloseableProtocol)
class Connection(Protocol):
    """A server's end of a stream.

    A subclass implements `opened`, `received`, `shut_down` and, if it likes, the other ones below. After
    :meth:`finish` nothing more arrives at `received`. The limits are those of `config`: the subclass says
    with :meth:`greeted` that the first whole message has come, and with :meth:`spend` how many have.
    """

    transport: Any  # ITCPTransport and ITransport of a push producer; TLS adds to it
    overdue_code = "handshake-timeout"  # of a connection without a first message in time
    is_proxied = False  # where it comes from is said by its first bytes (the PROXY protocol)

    def __init__(self, registry: Registry, clock: IReactorTime, config: ServiceConfig) -> None:
        self._registry = registry
        self.traffic = registry.traffic
        self.clock = clock
        self._limits = config
        self._rate = Rate(config.message_rate, clock.seconds()) if config.message_rate else None
        self._abort: IDelayedCall | None = None
        self._slowed: IDelayedCall | None = None  # runs while it is not read for its rate
        self._watch: IDelayedCall | None = None  # for the first message, then for silence
        self.heard = 0.0  # when something came last; 0 until the first whole message has
        self._holds = 0
        self._is_unknown = False  # the address is yet to come
        self._peer_finished = False
        self.finishing = False
        self.peer = "?"
        self.host: str | None = None  # the peer's IP address

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

    def refuse(self, fault: PeerFault) -> None:
        """The peer broke a rule or exceeded a limit: tell it, if there is a way, and :meth:`finish`."""
        self._registry.turned_down(self.peer, fault.code, fault.message)
        self.finish()

    def turned_away(self, fault: PeerFault) -> None:
        """It may not stay. What is written here is sent if that can be done at once."""

    def reads_again(self) -> None:
        """Nothing is against reading any more."""

    def is_owed(self) -> bool:
        """Whether the peer may be silent because it waits for us."""
        return False

    def last_heard(self) -> float:
        """When something came last."""
        return self.heard

    def watch(self) -> None:
        """Begin to hold the peer against the clock. By default: one first message, then no long silence."""
        self._watch = self.clock.callLater(self._limits.handshake_timeout, self._first_overdue)

    def greeted(self) -> None:
        """The first whole message has come; every one may call this."""
        if not self.heard and not self.finishing:
            self._stop_watching()
            self.heard = self.clock.seconds()
            self._watch = self.clock.callLater(self._limits.idle_timeout, self._look_for_silence)

    def spend(self, messages: int = 1) -> None:
        """So many messages have come. If that is faster than may be, nothing is read for a while."""
        self.traffic.messages += messages
        if self._rate is not None and messages:
            wait = self._rate.spend(messages, self.clock.seconds())
            if wait and not self.finishing:
                if self._slowed is None:
                    self._registry.slowed_down()
                else:
                    self._slowed.cancel()
                self._slowed = self.clock.callLater(wait, self._no_longer_slow)
                self.hold_reading(RATE)

    def send(self, data: bytes) -> None:
        """Write to the transport."""
        self.traffic.sent += len(data)
        self.transport.write(data)

    def finish(self) -> None:
        """Close once what was written has left; cut the connection if the peer does not close too.

        Closing a socket at once while the peer still sends makes the kernel answer with a reset, and
        a reset can destroy the reply that is on its way. So our side is closed first, and what still
        comes is read and dropped until the peer closes, or `close_timeout` is over.
        """
        if self.finishing:
            return
        self.finishing = True
        self._stop_watching()
        self._read_all()
        # Under TLS the closing alert and the peer's are exchanged by loseConnection itself.
        if self._peer_finished or ISSLTransport.providedBy(self.transport):
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()
        self._abort = self.clock.callLater(self._limits.close_timeout, self.transport.abortConnection)

    def hold_reading(self, why: int) -> None:
        """Read nothing for now; what was read already may still come. Once finishing, all is read."""
        if not self.finishing:
            if not self._holds:
                self.transport.pauseProducing()
            self._holds |= why

    def release_reading(self, why: int) -> None:
        """Read on, if nothing else is against it."""
        if self._holds & why:
            self._holds &= ~why
            if not self._holds:
                self._read_on()

    def _read_all(self) -> None:
        self._holds = 0
        if self._slowed is not None:
            self._slowed.cancel()
            self._slowed = None
        self._read_on()

    def _read_on(self) -> None:
        if self.heard:
            self.heard = self.clock.seconds()  # the silence was ours
        if not self._peer_finished:  # else there is nothing left to read
            self.transport.resumeProducing()
            self.reads_again()

    def _no_longer_slow(self) -> None:
        self._slowed = None
        self.release_reading(RATE)

    # The clock.

    def _first_overdue(self) -> None:
        self._watch = None
        seconds = self._limits.handshake_timeout
        self.refuse(PeerFault(self.overdue_code, f"no whole message within {seconds:g} seconds"))

    def _look_for_silence(self) -> None:
        seconds = self._limits.idle_timeout
        rest = self.last_heard() + seconds - self.clock.seconds()
        if rest > 0 or self._holds or self.is_owed():
            self._watch = self.clock.callLater(rest if rest > 0 else seconds, self._look_for_silence)
        else:
            self._watch = None
            self.refuse(PeerFault("idle-timeout", f"nothing came for {seconds:g} seconds"))

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    # For Twisted.

    def connectionMade(self) -> None:
        if self.is_proxied:
            self._is_unknown = True
        else:
            self._learn_address()
        if self._is_let_in():
            self.watch()
            self.opened()

    def dataReceived(self, data: bytes) -> None:
        self.traffic.received += len(data)
        if self._is_unknown and not self.finishing:
            self._is_unknown = False
            self._learn_address()
            if not self._is_let_in():
                return
        if self.heard:
            self.heard = self.clock.seconds()
        self.arrived(data)

    def arrived(self, data: bytes) -> None:
        """Bytes came, perhaps after :meth:`finish`."""
        if not self.finishing:
            self.received(data)

    def _learn_address(self) -> None:
        address = self.transport.getPeer()
        self.peer, self.host = shown_address(address), getattr(address, "host", None)

    def _is_let_in(self) -> bool:
        fault = self._registry.joined(self)
        if fault is None:
            return True
        self.finishing = True
        self._stop_watching()
        self._registry.turned_down(self.peer, fault.code, fault.message)
        self.turned_away(fault)
        if ISSLTransport.providedBy(self.transport):  # its farewell would take a handshake
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()
        return False

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
        self._stop_watching()
        for call in (self._abort, self._slowed):
            if call is not None and call.active():
                call.cancel()
        self._registry.left(self)
        self.closed()


@implementer(IPushProducer)
class PacedConnection(Connection):
    """A connection that is not read while its peer does not read, nor while `must_wait` says so.

    A subclass calls :meth:`pace` whenever the answer of `must_wait` may have changed, and
    :meth:`start_pacing` when it is opened. A peer that takes nothing for `write_timeout` of what the
    transport holds (64 KiB, or one larger piece) is cut off.

    A message has `message_timeout` seconds from its first byte to its last: :attr:`unfinished` has to look
    whenever something has been read.
    """

    unfinished_code = "message-timeout"
    is_blocked = False  # the transport has enough to send
    _unread: IDelayedCall | None = None  # runs while that is so

    def __init__(
        self, registry: Registry, clock: IReactorTime, config: ServiceConfig, message_timeout: float
    ) -> None:
        super().__init__(registry, clock, config)
        self._message_timeout = message_timeout
        self.unfinished = Unfinished(
            clock, message_timeout, self.is_within_message, lambda: not self.is_paused, self._not_finished
        )

    def is_within_message(self) -> bool:
        """Whether a message has been begun and its end has not come."""
        raise NotImplementedError

    def reads_again(self) -> None:
        self.unfinished.read_on()

    def _not_finished(self) -> None:
        seconds = self._message_timeout
        self.refuse(PeerFault(self.unfinished_code, f"a message was not whole after {seconds:g} seconds"))

    def readConnectionLost(self) -> None:
        self.unfinished.stop()  # it never will be
        super().readConnectionLost()

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
        if self.is_blocked or self.must_wait():
            self.hold_reading(PACE)
        else:
            self.release_reading(PACE)

    @property
    def is_paused(self) -> bool:
        """Whether nothing is read for now."""
        return bool(self._holds)

    def finish(self) -> None:
        self.transport.unregisterProducer()  # a transport that has one waits for it before it closes
        self._is_read()
        self.unfinished.stop()
        super().finish()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_read()
        self.unfinished.stop()
        super().connectionLost(reason)

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _not_read(self) -> None:
        self._unread = None
        seconds = self._limits.write_timeout
        self._registry.turned_down(self.peer, "write-timeout", f"nothing was read for {seconds:g} seconds")
        self.transport.abortConnection()

    # IPushProducer

    def pauseProducing(self) -> None:
        self.is_blocked = True
        if self._unread is None:
            self._unread = self.clock.callLater(self._limits.write_timeout, self._not_read)
        self.pace()

    def resumeProducing(self) -> None:
        self.is_blocked = False
        self._is_read()
        self.unblocked()
        self.pace()

    def stopProducing(self) -> None:
        """The connection is being lost."""


def shown_address(address: IAddress) -> str:
    """An address as one prints it."""
    host = getattr(address, "host", None)
    if host is None:
        return "local"
    port = getattr(address, "port", 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
