"""HTTP and WebSockets on one port: connections of ``twisted.web`` that may become WebSockets."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from zope.interface import directlyProvides, providedBy

from protosuite.config import HttpConfig
from protosuite.errors import PeerFault
from protosuite.net.connection import CHANNEL, LENT, TALK, Connection, Registry
from protosuite.net.http import MAX_BODY, BoundedSite, Channel
from protosuite.net.inflow import Inflow, Intakes, kept
from protosuite.net.prompt import PromptServer
from protosuite.net.sendfile import FileSender, Run
from protosuite.net.websocket import Limits, Talk, WebSocket
from protosuite.net.websocket_rules import ServerRules


class Website:
    """What is served below `root`, to the connections that it makes.

    A request must be there, complete, within `handshake_timeout` seconds of the opening of its connection,
    and a later one of its first byte, for which there is `idle_timeout`. A body that one of `intakes` takes
    has a second more for each `min_rate` bytes that have come, and what its intake paused. An answer may take
    its time, but a client that takes nothing of it for `write_timeout` is cut off.
    """

    def __init__(
        self,
        root: IResource,
        registry: Registry,
        clock: IReactorTime,
        config: HttpConfig,
        intakes: Intakes = kept,
        min_rate: int = MAX_BODY,
    ) -> None:
        self.registry = registry
        self.clock = clock
        self.config = config
        self.min_rate = min_rate
        self._site = BoundedSite(root, clock)
        self._intakes = intakes

    def connection(self, address: IAddress | None) -> WebConnection:
        """A new connection."""
        channel = self._site.buildProtocol(address)
        channel.intakes = self._intakes
        return WebConnection(self, channel)


class WebConnection(Connection):
    """A connection that speaks HTTP until it is upgraded, on whichever of its requests that may be."""

    def __init__(self, website: Website, channel: Channel) -> None:
        super().__init__(website.registry, website.clock, website.config)
        self.is_held = False  # an intake has enough for now
        self.socket: WebSocket | None = None
        self._channel: Channel | None = channel
        self._min_rate = website.min_rate
        self._is_idle = False  # between two requests
        self._overdue: IDelayedCall | None = None  # runs while no complete request is there
        self._stuck: IDelayedCall | None = None  # runs while the client does not read
        self._is_stopping = False
        channel.connection = self

    # Of a Connection.

    def watch(self) -> None:
        self._overdue = self.clock.callLater(self._limits.handshake_timeout, self._request_overdue)

    def opened(self) -> None:
        self.transport.setTcpNoDelay(True)
        assert self._channel is not None
        self._channel.makeConnection(_ChannelTransport(self))

    def dataReceived(self, data: bytes) -> None:
        if self.socket is None or self.finishing:
            super().dataReceived(data)
        else:  # without the steps that are for what comes before
            self.traffic.received += len(data)
            self.socket.received(data)

    def received(self, data: bytes) -> None:
        if self.socket is not None:
            self.socket.received(data)
        elif self._channel is not None:
            if self._is_idle:
                self._is_idle = False
                _cancel(self._overdue)
                self.watch()
            self._channel.dataReceived(data)

    def peer_finished(self) -> None:
        if self.socket is not None:
            self.socket.end_of_stream()
        else:
            self._stop()

    def reads_again(self) -> None:
        if self.socket is not None:
            self.socket.read_on()

    def shut_down(self) -> None:
        if self.socket is not None:
            self.socket.stop()
        else:
            self._stop()

    def closed(self) -> None:
        self.has_request()
        self.reads()
        channel, self._channel = self._channel, None
        if self.socket is not None:
            self.socket.lost()
        elif channel is not None:
            channel.connectionLost(Failure(connectionDone.value))

    def finish(self) -> None:
        self.has_request()  # none is waited for any more
        super().finish()

    def _stop(self) -> None:
        """Answer the requests that are there, and close."""
        self._is_stopping = True
        if self._overdue is not None:  # there is none
            self.finish()

    # For its channel.

    def awaits_request(self) -> None:
        """The next request may take its time, and no more."""
        self._is_idle = True
        self._overdue = self.clock.callLater(self._limits.idle_timeout, self.finish)

    def _request_overdue(self) -> None:
        self._overdue = None
        seconds = self._limits.handshake_timeout
        self.refuse(PeerFault("handshake-timeout", f"no whole request within {seconds:g} seconds"))

    def has_inflow(self, inflow: Inflow) -> None:
        """The head of a request has come. Its body may take longer, the more of it has come."""
        wait = inflow.allowance(self._limits.handshake_timeout, self._min_rate)
        _cancel(self._overdue)
        if wait > 0:
            self._overdue = self.clock.callLater(wait, self.has_inflow, inflow)
        else:
            self._request_overdue()

    def has_request(self) -> None:
        """A complete request has come, or none ever will."""
        self._is_idle = False
        _cancel(self._overdue)
        self._overdue = None

    def settled(self) -> None:
        """All that came has been looked at."""
        if self._is_stopping:
            self._stop()

    def does_not_read(self) -> None:
        """The client takes nothing for now."""
        if self._stuck is None:
            self._stuck = self.clock.callLater(self._limits.write_timeout, self._not_read)

    def _not_read(self) -> None:
        seconds = self._limits.write_timeout
        self._registry.turned_down(self.peer, "write-timeout", f"nothing was read for {seconds:g} seconds")
        self.transport.abortConnection()

    def reads(self) -> None:
        """The client took all that there was, or never will."""
        _cancel(self._stuck)
        self._stuck = None

    # For a resource.

    def file_sender(self, run: Run) -> FileSender | None:
        """What has the system send files, by calls in threads; None where that cannot be, as under TLS."""
        if not isinstance(self.transport, PromptServer):
            return None
        try:
            return FileSender(self.transport, run, self.does_not_read, self.reads, self._file_sent)
        except OSError:  # no descriptor is left for it
            return None

    def _file_sent(self, count: int) -> None:
        self.traffic.sent += count

    def upgrade(self, answer: bytes, rules: ServerRules, limits: Limits, talk: Talk, early: bytes) -> None:
        """Answer the handshake, and speak WebSocket from here on; `early` came behind it."""
        self.has_request()
        self.reads()
        self._channel = None
        self.transport.unregisterProducer()  # that was the channel
        self.send(answer)
        self.socket = WebSocket(
            rules,
            _Transport(self, TALK),
            self.clock,
            limits,
            talk,
            self.finish,
            self.peer,
            self.spend,
            partial(self._registry.turned_down, self.peer),
            lambda: not self._holds,
        )
        self.release_reading(CHANNEL)  # it may have had enough
        self.socket.begin()
        if early:
            self.socket.received(early)
        if self._peer_finished:
            self.socket.end_of_stream()
        elif self._is_stopping:
            self.shut_down()


def _cancel(call: IDelayedCall | None) -> None:
    if call is not None and call.active():
        call.cancel()


class _Transport:
    """The connection's transport, for a part of it: its pause is not another's."""

    def __init__(self, connection: WebConnection, why: int) -> None:
        self._connection = connection
        self._why = why
        self._traffic = connection.traffic
        self._write = connection.transport.write  # not looked up for each
        directlyProvides(self, providedBy(connection.transport))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection.transport, name)

    def write(self, data: bytes) -> None:
        """Send."""
        self._traffic.sent += len(data)
        self._write(data)

    def writeSequence(self, pieces: Sequence[bytes]) -> None:
        """Send them all."""
        self._traffic.sent += sum(map(len, pieces))
        self._connection.transport.writeSequence(pieces)

    def lend(self) -> socket.socket | None:
        """A descriptor of its own of the socket, for a thread to receive from instead of us.

        Until :meth:`taken_back`, that is. None where that cannot be, as under TLS.
        """
        transport = self._connection.transport
        if not isinstance(transport, PromptServer):
            return None
        try:
            own = transport.socket.dup()
        except OSError:  # no descriptor is left for it
            return None
        self._connection.hold_reading(LENT)
        return own

    def taken_back(self, received: int) -> None:
        """So many bytes were received by what was lent, and nothing more is."""
        self._traffic.received += received
        self._connection.release_reading(LENT)

    def pauseProducing(self) -> None:
        """Read nothing for now."""
        self._connection.hold_reading(self._why)

    def resumeProducing(self) -> None:
        """Read on, if others want to."""
        self._connection.release_reading(self._why)


class _ChannelTransport(_Transport):
    """For the channel: its close is the connection's."""

    def __init__(self, connection: WebConnection) -> None:
        super().__init__(connection, CHANNEL)

    @property
    def disconnecting(self) -> bool:
        """The channel reads no further then."""
        return self._connection.finishing

    def resumeProducing(self) -> None:
        """Read again, unless an intake has enough."""
        if not self._connection.is_held:
            super().resumeProducing()

    def loseConnection(self) -> None:
        """Close so that the answer arrives."""
        self._connection.finish()
