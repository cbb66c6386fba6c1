"""Connections that a proxy makes for others: their first bytes say for whom (the PROXY protocol, 1 and 2).

It is what ``haproxy:`` in front of an endpoint means here. Twisted has one of that name; to it a header that
is cut within its first bytes is no header, and who closes its own side behind it loses its answers.
"""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address as V4
from ipaddress import IPv6Address as V6
from ipaddress import ip_address
from typing import Any

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IListeningPort,
    IProtocolFactory,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import alsoProvides, implementer

from protosuite.errors import PeerFault
from protosuite.logs import Muffled
from protosuite.net.connection import shown_address

PROXIED = "haproxy"
_MAX_LINE = 107  # bytes of version 1, its end included: so says its specification
_MAX_BINARY = 4096  # bytes behind the first 16 of version 2; addresses take 36, HAProxy adds some hundred
_TEXT = b"PROXY "
_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_LINE = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f.:]{2,39}) [0-9A-Fa-f.:]{2,39} (\d{1,5}) \d{1,5}", re.ASCII)
_LOCAL, _PROXY = 0x20, 0x21
_OVER_TCP = {0x11: (V4, 4), 0x21: (V6, 16)}  # a family: its addresses, and the bytes of one


@frozen
class Header:
    """Where a connection comes from; None if the proxy speaks for itself, or does not know."""

    source: tuple[str, int] | None
    rest: bytes  # that came behind it


class HeaderDecoder:
    """Bytes in, a header out, however the bytes are cut. Keeps no more than a header may have."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> Header | None:
        """The header, once it is complete. :exc:`PeerFault` ``bad-header`` as soon as there is none."""
        self._data += data
        if self._data[:12] == _SIGNATURE:
            return self._binary()
        if self._data[:6] == _TEXT:
            return self._text()
        if not (_SIGNATURE.startswith(self._data) or _TEXT.startswith(self._data)):
            raise _no_header()
        return None

    def _text(self) -> Header | None:
        line, found, rest = self._data.partition(b"\r\n")
        if len(line) > _MAX_LINE - 2:
            raise _no_header()
        if not found:
            return None
        if line.split(b" ")[1] == b"UNKNOWN":
            return Header(None, rest)
        match = _LINE.fullmatch(line)
        if match is None:
            raise _no_header()
        try:
            host = ip_address(match[2].decode())
        except ValueError:
            raise _no_header() from None
        port = int(match[3])
        if host.version != int(match[1]) or port > 65_535:
            raise _no_header()
        return Header((str(host), port), rest)

    def _binary(self) -> Header | None:
        if len(self._data) < 16:
            return None
        command, family, length = struct.unpack_from(">BBH", self._data, 12)
        if command not in (_LOCAL, _PROXY) or length > _MAX_BINARY:
            raise _no_header()
        if len(self._data) < 16 + length:
            return None
        body, rest = self._data[16 : 16 + length], self._data[16 + length :]
        if command == _LOCAL or family not in _OVER_TCP:
            return Header(None, rest)
        make, size = _OVER_TCP[family]
        if length < 2 * size + 4:
            raise _no_header()
        (port,) = struct.unpack_from(">H", body, 2 * size)
        return Header((str(make(body[:size])), port), rest)


def _no_header() -> PeerFault:
    return PeerFault("bad-header", "a connection from a proxy has to begin with where it comes from")


class Proxied(ProtocolWrapper):
    """One connection. Nothing reaches its protocol before the header is complete."""

    factory: Any
    transport: Any
    wrappedProtocol: Any

    def __init__(self, factory: Any, wrappedProtocol: Any) -> None:
        super().__init__(factory, wrappedProtocol)
        self._header: HeaderDecoder | None = HeaderDecoder()
        self._source: tuple[str, int] | None = None

    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)
        if IHalfCloseableProtocol.providedBy(self.wrappedProtocol):
            alsoProvides(self, IHalfCloseableProtocol)

    def dataReceived(self, data: bytes) -> None:
        if self._header is not None:
            try:
                header = self._header.feed(data)
            except PeerFault as fault:
                proxy = shown_address(self.getPeer())
                self.factory.strangers.info("{proxy}: {fault}", proxy=proxy, fault=str(fault))
                self.transport.abortConnection()
                return
            if header is None:
                return
            self._header, self._source, data = None, header.source, header.rest
        if data:
            self.wrappedProtocol.dataReceived(data)

    def readConnectionLost(self) -> None:
        """The peer closed its side."""
        self.wrappedProtocol.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Our side is closed."""
        self.wrappedProtocol.writeConnectionLost()

    def getPeer(self) -> IAddress:
        """Whom the proxy speaks for, once that is known."""
        if self._source is None:
            peer: IAddress = self.transport.getPeer()
            return peer
        host, port = self._source
        return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)


class ProxiedFactory(WrappingFactory):
    """Puts a header before what another factory builds."""

    protocol = Proxied
    noisy = False

    def __init__(self, factory: IProtocolFactory, clock: IReactorTime) -> None:
        super().__init__(factory)
        self.strangers = Muffled(Logger("protosuite.net"), clock)


@implementer(IStreamServerEndpoint)
class ProxiedEndpoint:
    """Another endpoint, behind a proxy."""

    def __init__(self, inner: Any, clock: IReactorTime) -> None:
        self._inner = inner
        self._clock = clock

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen."""
        listening: Deferred[IListeningPort] = self._inner.listen(ProxiedFactory(protocolFactory, self._clock))
        return listening


def server_from_string(reactor: Any, text: str) -> Any:
    """The endpoint for a string, as Twisted has it, but for ``haproxy:``."""
    kind, _, rest = text.partition(":")
    if kind.lower() == PROXIED:
        return ProxiedEndpoint(server_from_string(reactor, rest), reactor)
    return serverFromString(reactor, text)
