"""HTTP and WebSockets on one port: connections of ``twisted.web`` that may become WebSockets."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import ILogObserver, LogEvent, Logger, globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, parse_qs
from twisted.web.resource import IResource
from twisted.web.server import Request, Site
from zope.interface import directlyProvides, providedBy, provider

from protosuite.auth.tokens import Identity
from protosuite.config import HttpConfig
from protosuite.errors import PeerFault
from protosuite.net.connection import CHANNEL, TALK, Connection, Registry
from protosuite.net.handshake import Terms, is_allowed, upgrade, wants_upgrade
from protosuite.net.inflow import Inflow, Intake, Intakes, kept
from protosuite.net.websocket import Limits, Talk, WebSocket
from protosuite.net.websocket_rules import ServerRules

_TARGET = re.compile(rb"[!-~]+")  # of a request: whatever else is percent-encoded (RFC 9112, 3.2)
MAX_BODY = 256 << 10  # bytes of a request's body; 16,384 characters as JSON with escapes can be 192 KiB


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
        self._site = _Site(root, reactor=clock, timeout=None)
        self._site.displayTracebacks = False
        self._intakes = intakes

    def connection(self, address: IAddress | None) -> WebConnection:
        """A new connection."""
        channel = self._site.buildProtocol(address)
        channel.intakes = self._intakes
        return WebConnection(self, channel)


class WebConnection(Connection):
    """A connection that speaks HTTP until it is upgraded, on whichever of its requests that may be."""

    def __init__(self, website: Website, channel: _Channel) -> None:
        super().__init__(website.registry, website.clock, website.config)
        self.is_held = False  # an intake has enough for now
        self.socket: WebSocket | None = None
        self._channel: _Channel | None = channel
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

    def upgrade(self, answer: bytes, rules: ServerRules, limits: Limits, talk: Talk, early: bytes) -> None:
        """Answer the handshake, and speak WebSocket from here on; `early` came behind it."""
        self.has_request()
        self.reads()
        self._channel = None
        self.transport.unregisterProducer()  # that was the channel
        self.transport.write(answer)
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


class _Site(Site):
    """Builds our channels. Twisted's access log would be a line a request; none is written."""

    protocol: Any  # of HTTPChannel

    def log(self, request: Any) -> None:
        """Nothing."""


@provider(ILogObserver)
def _only_failures(event: LogEvent) -> None:
    """Leave out what Twisted says of requests that it finds odd: anybody can make any number of them."""
    if "log_failure" in event:
        globalLogPublisher(event)


_failures = Logger("protosuite.net.web", observer=_only_failures)


class _Request(Request):
    """A request whose body is left to its resource: Twisted's parser of forms raises at many that are bad."""

    _log = _failures
    intake: Intake | None = None
    peer = "?"  # whom it comes from, for what is logged
    peer_host = ""  # the address of that, if it has one
    who: Identity | None = None  # the same by a token, once that has been looked at
    _types: Sequence[bytes] | None = None

    def announced(self, command: bytes, uri: bytes) -> None:
        """The head has come: let an intake see what is asked for."""
        self.method, self.uri = command, uri
        self.path, _, query = uri.partition(b"?")
        self.args = parse_qs(query, True)

    def gotLength(self, length: int | None) -> None:
        if self.intake is None:
            super().gotLength(length)
        else:
            self.content = self.intake

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self._types = self.requestHeaders.getRawHeaders(b"Content-Type")
        self.requestHeaders.removeHeader(b"Content-Type")  # so it sees no form
        super().requestReceived(command, path, version)

    def process(self) -> None:
        if self._types is not None:
            self.requestHeaders.setRawHeaders(b"Content-Type", self._types)
        super().process()


class _Channel(HTTPChannel):
    """Twisted's parser of requests, which tells its connection where a request begins and ends."""

    connection: WebConnection
    intakes: Intakes = staticmethod(kept)
    _inflow: Inflow | None = None  # of the body that is coming
    _is_busy = False  # an intake is being called

    def headerReceived(self, line: bytes) -> bool:
        try:
            return bool(super().headerReceived(line))
        except ValueError:  # a Content-Length of thousands of digits
            self._respondToBadRequestAndDisconnect()
            return False

    def allHeadersReceived(self) -> None:
        self.connection.spend()
        if not _TARGET.fullmatch(self._path):  # Twisted fails at some of those
            self._respondToBadRequestAndDisconnect()
            return
        request = self.requests[-1]
        request.peer, request.peer_host = self.connection.peer, self.connection.host or ""
        request.announced(self._command, self._path)
        inflow = self._inflow = Inflow(self, self.connection.clock)
        self._is_busy = True
        request.intake = self.intakes(request, self.length, inflow)
        self._is_busy = False
        if request.intake is None:
            self._inflow = None
            if self.length is None or self.length > MAX_BODY:
                self._refuse_body()
                return
        elif inflow.is_stopped:
            request.requestHeaders.removeHeader(b"Expect")  # what it asks for is answered by the refusal
        else:
            self.connection.has_inflow(inflow)
        super().allHeadersReceived()
        if inflow.is_stopped:
            self._ends_here()
            self.length = 0  # the parser goes on as if nothing followed

    def _refuse_body(self) -> None:
        # An unknown length is one that nobody has to keep to.
        status = (411, "Length Required") if self.length is None else (413, "Content Too Large")
        self.connection.transport.write(_refusal(*status))
        self.connection.finish()

    def has_inflow(self, inflow: Inflow) -> bool:
        """Whether this is the body that is coming."""
        return inflow is self._inflow

    def hold(self, on: bool) -> None:
        """Read nothing until an intake can take more; then go on, if nothing else is against it."""
        self.connection.is_held = on
        if on:
            self._networkProducer.pauseProducing()
        elif not self._waitingForTransport:
            self._networkProducer.resumeProducing()

    def cut_short(self, inflow: Inflow) -> None:
        """Nothing more of a body is wanted."""
        if inflow is self._inflow and not self._is_busy and not self.connection.finishing:
            self._ends_here()
            self.allContentReceived()

    def _ends_here(self) -> None:
        self.persistent = False
        self.requests[-1].responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def allContentReceived(self) -> None:
        if not self.connection.finishing:
            if self._inflow is not None:
                self._inflow.resume()
                self._inflow = None
            self.connection.has_request()
            super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        self.connection.awaits_request()
        super().requestDone(request)
        self._settle()

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self._settle()

    def _settle(self) -> None:
        if not self._busyReceiving:  # all that came has been looked at
            self.connection.settled()

    def rawDataReceived(self, data: bytes) -> None:
        if self.connection.socket is not None:  # it came in one piece with the handshake
            self.connection.received(data)
        elif self._inflow is not None:
            self._take(self._inflow, data)
        elif not self.connection.finishing:
            super().rawDataReceived(data)

    def _take(self, inflow: Inflow, data: bytes) -> None:
        """Give the next of a body to its intake."""
        inflow.received += len(data)
        self._is_busy = True
        super().rawDataReceived(data)
        self._is_busy = False
        if inflow.is_stopped:
            self.cut_short(inflow)

    def pauseProducing(self) -> None:
        self.connection.does_not_read()
        super().pauseProducing()

    def resumeProducing(self) -> None:
        self.connection.reads()
        super().resumeProducing()

    def upgrade(self, answer: bytes, rules: ServerRules, limits: Limits, talk: Talk) -> None:
        """Hand the connection over to a WebSocket, with what has come for it already."""
        early, self._dataBuffer = b"".join(self._dataBuffer), []
        self.connection.upgrade(answer, rules, limits, talk, early)


_Site.protocol = _Channel
_Site.requestFactory = _Request


def _refusal(status: int, phrase: str) -> bytes:
    """An answer to a request whose body nobody takes, which ends its connection."""
    fields = {"type": "about:blank", "title": phrase, "status": status}
    body = json.dumps(fields).encode()
    return (
        b"HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (status, phrase.encode(), len(body), body)
    )


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


__all__ = ["MAX_BODY", "Terms", "WebConnection", "Website", "is_allowed", "upgrade", "wants_upgrade"]
