"""Twisted's parser of HTTP requests, held to our limits, which lets an intake take a body as it comes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, Logger, globalLogPublisher
from twisted.web.http import HTTPChannel, parse_qs
from twisted.web.resource import IResource
from twisted.web.server import Request, Site
from zope.interface import provider

from protosuite.auth.tokens import Identity
from protosuite.net.inflow import Inflow, Intake, Intakes, kept
from protosuite.net.prompt import expect
from protosuite.net.websocket import Limits, Talk
from protosuite.net.websocket_rules import ServerRules

_TARGET = re.compile(rb"[!-~]+")  # of a request: whatever else is percent-encoded (RFC 9112, 3.2)
MAX_BODY = 256 << 10  # bytes of a request's body; 16,384 characters as JSON with escapes can be 192 KiB


@provider(ILogObserver)
def _only_failures(event: LogEvent) -> None:
    """Leave out what Twisted says of requests that it finds odd: anybody can make any number of them."""
    if "log_failure" in event:
        globalLogPublisher(event)


_failures = Logger("protosuite.net.http", observer=_only_failures)


class BoundedRequest(Request):
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


class Channel(HTTPChannel):
    """Twisted's parser of requests, which tells its connection where a request begins and ends."""

    connection: Any  # the WebConnection that reads for it
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
        self.connection.send(_refusal(*status))
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
        coming = self._inflow  # this one, unless the next has begun
        left = 0 if coming is None or self.length is None else self.length - coming.received
        expect(self.connection.transport, max(0, left))
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


def _refusal(status: int, phrase: str) -> bytes:
    """An answer to a request whose body nobody takes, which ends its connection."""
    fields = {"type": "about:blank", "title": phrase, "status": status}
    body = json.dumps(fields).encode()
    return (
        b"HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (status, phrase.encode(), len(body), body)
    )


class BoundedSite(Site):
    """What is below a root, on our channels. Twisted would log a line a request; none is written."""

    protocol: Any = Channel
    requestFactory: Any = BoundedRequest
    displayTracebacks = False

    def __init__(self, root: IResource, clock: IReactorTime) -> None:
        super().__init__(root, reactor=clock, timeout=None)

    def log(self, request: Any) -> None:
        """Nothing."""
