"""HTTP and WebSockets on one port: connections of ``twisted.web`` that may become WebSockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET, Request, Site
from websockets.datastructures import Headers
from websockets.http11 import Request as Handshake
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Origin, Subprotocol
from zope.interface import directlyProvides, providedBy

from protosuite.net.connection import Connection, Registry
from protosuite.net.websocket import Limits, ServerRules, Talk, WebSocket, deflate, silent

MAX_BODY = 64 << 10  # bytes of a request's body, where a resource does not take it as it comes


@frozen
class Terms:
    """How WebSockets are served: `subprotocol` is the one that is spoken, also with a client that names none.

    `origins` are pages of other hosts that may connect, as browsers name them: ``https://example.org``.
    """

    subprotocol: str
    limits: Limits = field(factory=Limits)
    origins: Sequence[str] = ()
    compression: bool = False


class WebFactory(Factory):
    """Builds connections that serve the resources below `root`.

    A request must be there, complete, within `request_timeout` seconds of the connection or of the
    answer before it; while one is being answered there is no limit.
    """

    noisy = False

    def __init__(
        self,
        root: IResource,
        registry: Registry,
        clock: IReactorTime,
        close_timeout: float,
        request_timeout: float,
        has_room: Callable[[IAddress | None], bool],
    ) -> None:
        self._site = _Site(root, reactor=clock, timeout=None)
        self._site.displayTracebacks = False
        self._registry = registry
        self._clock = clock
        self._close_timeout = close_timeout
        self._request_timeout = request_timeout
        self._has_room = has_room

    def buildProtocol(self, addr: IAddress | None) -> WebConnection | None:
        if not self._has_room(addr):
            return None
        channel = self._site.buildProtocol(addr)
        return WebConnection(self._registry, self._clock, self._close_timeout, channel, self._request_timeout)


class WebConnection(Connection):
    """A connection that speaks HTTP until it is upgraded, on whichever of its requests that may be."""

    def __init__(
        self,
        registry: Registry,
        clock: IReactorTime,
        close_timeout: float,
        channel: _Channel,
        request_timeout: float,
    ) -> None:
        super().__init__(registry, clock, close_timeout)
        self.socket: WebSocket | None = None
        self._channel: _Channel | None = channel
        self._request_timeout = request_timeout
        self._overdue: IDelayedCall | None = None
        self._is_stopping = False
        channel.connection = self

    # Of a Connection.

    def opened(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.awaits_request()
        assert self._channel is not None
        self._channel.makeConnection(_ChannelTransport(self))

    def received(self, data: bytes) -> None:
        if self.socket is not None:
            self.socket.received(data)
        else:
            assert self._channel is not None
            self._channel.dataReceived(data)

    def peer_finished(self) -> None:
        if self.socket is not None:
            self.socket.end_of_stream()
        else:
            self._finish_when_idle()

    def shut_down(self) -> None:
        if self.socket is not None:
            self.socket.close(1001, "the server stops")
        else:
            self._finish_when_idle()

    def closed(self) -> None:
        self.has_request()
        if self.socket is not None:
            self.socket.lost()
        elif self._channel is not None:
            self._channel.connectionLost(Failure(connectionDone.value))
        self._channel = None

    def _finish_when_idle(self) -> None:
        """Answer what is being answered, and close."""
        self._is_stopping = True
        assert self._channel is not None
        if self._overdue is not None:  # no complete request is there
            self.finish()
        else:
            self._channel.persistent = 0

    # For its channel.

    def awaits_request(self) -> None:
        """The next request may take its time, and no more."""
        self._overdue = self.clock.callLater(self._request_timeout, self._too_late)

    def has_request(self) -> None:
        """A complete request has come, or none ever will."""
        if self._overdue is not None:
            if self._overdue.active():
                self._overdue.cancel()
            self._overdue = None

    def _too_late(self) -> None:
        self.finish()

    # For a resource.

    def upgrade(self, answer: bytes, rules: ServerRules, limits: Limits, talk: Talk) -> None:
        """Answer the handshake, and speak WebSocket from here on."""
        self.has_request()
        self._channel = None
        self.transport.unregisterProducer()  # that was the channel
        self.transport.write(answer)
        self.socket = WebSocket(rules, self.transport, self.clock, limits, talk, self.finish, self.peer)
        self.socket.begin()
        if self._is_stopping:
            self.shut_down()


class _Site(Site):
    """Builds our channels. Twisted's access log would be a line a request; none is written."""

    protocol: Any  # of HTTPChannel

    def log(self, request: Any) -> None:
        """Nothing."""


class _Channel(HTTPChannel):
    """Twisted's parser of requests, which tells its connection where a request begins and ends."""

    connection: WebConnection

    def allHeadersReceived(self) -> None:
        super().allHeadersReceived()
        # An unknown length is one that nobody has to keep to.
        if self.length is None or self.length > MAX_BODY:
            self.length = 0  # nothing of it is read
            self.connection.transport.write(
                b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            )
            self.connection.finish()

    def allContentReceived(self) -> None:
        if not self.connection.finishing:
            self.connection.has_request()
            super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        self.connection.awaits_request()
        super().requestDone(request)

    def rawDataReceived(self, data: bytes) -> None:
        if self.connection.socket is not None:  # it came in one piece with the handshake
            self.connection.received(data)
        else:
            super().rawDataReceived(data)


_Site.protocol = _Channel


class _ChannelTransport:
    """The connection's transport, for the channel: its close is the connection's."""

    def __init__(self, connection: WebConnection) -> None:
        self._connection = connection
        directlyProvides(self, providedBy(connection.transport))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection.transport, name)

    def loseConnection(self) -> None:
        """Close so that the answer arrives."""
        self._connection.finish()


def wants_upgrade(request: Request) -> bool:
    """Whether a request asks for a WebSocket."""
    return b"websocket" in (request.getHeader(b"upgrade") or b"").lower()


def upgrade(request: Request, terms: Terms, talk: Callable[[], Talk]) -> Any:
    """Answer a handshake, for a resource's ``render``: 101 and a talk, or why not."""
    headers = Headers(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, values in request.requestHeaders.getAllRawHeaders()
        for value in values
    )
    origin = headers.get_all("Origin")
    if origin and not is_allowed(origin[0], request.getHeader(b"host"), terms.origins):
        return _refuse(
            request, 403, f"pages of {origin[0]} may not connect: a setting `origins` says which may\n"
        )
    rules = ServerRules(
        origins=[None, Origin(origin[0])] if origin else None,
        subprotocols=[Subprotocol(terms.subprotocol)],
        select_subprotocol=_select,
        extensions=deflate() if terms.compression else None,
        max_size=terms.limits.max_message,
        logger=silent,
        state=State.OPEN,  # the request has been read already
    )
    asked = Handshake(
        request.uri.decode("latin-1"), headers, request.method.decode(), request.clientproto.decode()
    )
    response = rules.accept(asked)
    if response.status_code != 101:
        return _answer(request, response)
    channel: Any = request.channel
    channel.connection.upgrade(response.serialize(), rules, terms.limits, talk())
    return NOT_DONE_YET


def is_allowed(origin: str, host: str | bytes | None, origins: Sequence[str]) -> bool:
    """Whether a page of `origin` may connect to us, whom it called `host`.

    A page of ours may, if we are called by an address or as localhost: a foreign name in both could be
    one that was made to point here (DNS rebinding). Other names have to be among `origins`.
    """
    if origin in origins:
        return True
    name = host.decode("latin-1") if isinstance(host, bytes) else host
    try:
        parts = urlsplit(origin)
        own = urlsplit(f"//{name}").hostname
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or name is None or parts.netloc.lower() != name.lower():
        return False
    return own == "localhost" or _is_address(own or "")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _select(rules: Any, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Ours, if it is offered; without any offer none is named, and ours is spoken."""
    ours: list[Subprotocol] = rules.available_subprotocols
    if not offered:
        return None
    return next((name for name in offered if name in ours), None)


def _refuse(request: Request, status: int, text: str) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
    return text.encode("utf-8", "backslashreplace")


def _answer(request: Request, response: Response) -> bytes:
    """The answer of the rules to a handshake that is none."""
    for name, value in response.headers.raw_items():
        if name.lower() not in ("connection", "content-length", "date"):
            request.setHeader(name.encode(), value.encode())
    request.setResponseCode(response.status_code)
    return bytes(response.body or b"")
