"""Connections behind a proxy: whom they are from, and that nothing else is different about them."""

from __future__ import annotations

import struct
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protosuite.config import CounterConfig
from protosuite.counter.server import CounterService
from protosuite.counter.store import CounterStore
from protosuite.counter.wire import encode_replies, encode_request
from protosuite.errors import PeerFault
from protosuite.net.proxied import Header, HeaderDecoder, ProxiedEndpoint, ProxiedFactory, server_from_string
from protosuite.test.web_peers import Pipe
from protosuite.testing import database

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = b"\x0a\x00\x00\x01\x7f\x00\x00\x01" + struct.pack(">HH", 4000, 80)
V6 = bytes(15) + b"\x01" + bytes(15) + b"\x02" + struct.pack(">HH", 4001, 80)
TLV = b"\x04\x00\x03abc"


def binary(command: int, family: int, body: bytes) -> bytes:
    """A header of version 2."""
    return SIGNATURE + struct.pack(">BBH", command, family, len(body)) + body


GOOD: dict[bytes, tuple[str, int] | None] = {
    b"PROXY TCP4 10.0.0.1 127.0.0.1 4000 80\r\n": ("10.0.0.1", 4000),
    b"PROXY TCP6 2001:db8::1 ::1 65535 80\r\n": ("2001:db8::1", 65_535),
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n": None,
    binary(0x21, 0x11, V4): ("10.0.0.1", 4000),
    binary(0x21, 0x11, V4 + TLV): ("10.0.0.1", 4000),
    binary(0x21, 0x21, V6): ("::1", 4001),
    binary(0x21, 0x21, V6 + bytes(4060)): ("::1", 4001),
    binary(0x20, 0x00, b""): None,
    binary(0x20, 0x11, V4): None,
    binary(0x21, 0x31, bytes(216)): None,
    binary(0x21, 0x00, b""): None,
}
BAD = (
    b"GET / HTTP/1.1\r\n",
    b"PROXX",
    b"PROXY TCP4 10.0.0.1 127.0.0.1 4000\r\n",
    b"PROXY TCP4 10.0.0.1 127.0.0.1 4000 80 \r\n",
    b"PROXY TCP4 ::1 ::1 4000 80\r\n",
    b"PROXY TCP6 10.0.0.1 10.0.0.1 4000 80\r\n",
    b"PROXY TCP4 10.0.0.256 127.0.0.1 4000 80\r\n",
    b"PROXY TCP4 10.0.0.1 127.0.0.1 65536 80\r\n",
    b"PROXY TCP4 10.0.0.1 127.0.0.1 -1 80\r\n",
    b"PROXY TCP9 10.0.0.1 127.0.0.1 1 80\r\n",
    b"PROXY UNKNOWNED\r\n",
    b"PROXY \r\n",
    b"PROXY " + b"x" * 200,
    b"\r\n\r\n\x00\r\nQUIT\r",
    binary(0x11, 0x11, V4),
    binary(0x22, 0x11, V4),
    binary(0x21, 0x11, V4[:11]),
    binary(0x21, 0x21, V6[:35]),
)


class DecoderTests(SynchronousTestCase):
    """What is a header, and what is none."""

    def decoded(self, *pieces: bytes) -> Any:
        decoder, rest = HeaderDecoder(), list(pieces)
        try:
            while rest:
                if (header := decoder.feed(rest.pop(0))) is not None:
                    return Header(header.source, header.rest + b"".join(rest))
        except PeerFault as fault:
            return fault.code
        return None

    def test_headers(self) -> None:
        """R12: each header says where a connection is from, wherever it is cut and whatever is behind it."""
        for image, source in GOOD.items():
            for tail in (b"", b"x", b"\r\n" + image):
                data = image + tail
                expected = Header(source, tail)
                self.assertEqual(self.decoded(*(data[i : i + 1] for i in range(len(data)))), expected)
                for at in range(min(len(data), 300) + 1):
                    self.assertEqual(self.decoded(data[:at], data[at:]), expected, (data, at))
            for at in range(len(image)):
                self.assertIsNone(self.decoded(image[:at]), image[:at])

    def test_none(self) -> None:
        """R12: what is no header is known for that, cut at every place."""
        for image in BAD:
            for at in range(len(image) + 1):
                self.assertEqual(self.decoded(image[:at], image[at:]), "bad-header", (image, at))

    def test_bounded(self) -> None:
        """R14: a header that says it is longer than any is refused from its length alone."""
        self.assertEqual(self.decoded(SIGNATURE + b"\x21\x11\x10\x01"), "bad-header")
        self.assertIsNone(self.decoded(SIGNATURE + b"\x21\x11\x10\x00"))
        self.assertEqual(self.decoded(b"PROXY UNKNOWN " + b"x" * 100), "bad-header")


class ConnectionTests(SynchronousTestCase):
    """A service behind a proxy."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.database = database(self.mktemp())
        self.addCleanup(self.database.close)
        config = CounterConfig(handshake_timeout=10)
        self.service = CounterService(config, CounterStore(self.database), self.clock)
        self.service.startService()

    def connect(self) -> Pipe:
        factory = ProxiedFactory(self.service.factory("haproxy:tcp:0"), self.clock)
        pipe = Pipe(factory.buildProtocol(None), "192.0.2.1")
        self.addCleanup(pipe.lose, ConnectionError())
        pipe.pump()
        return pipe

    def test_peer(self) -> None:
        """The service sees the client that the proxy names, and the proxy itself if it names none."""
        for image, source in GOOD.items():
            pipe = self.connect()
            pipe.arrive(image[:5])
            pipe.arrive(image[5:] + encode_request(0))
            [connection] = self.service.connections
            self.assertEqual(connection.host, source[0] if source else "192.0.2.1")
            self.assertEqual(len(pipe.sent), 8)
            pipe.lose(ConnectionError())
        wrapper = ProxiedFactory(Factory(), self.clock).protocol(None, None)
        for host, kind in (("10.0.0.1", IPv4Address), ("::1", IPv6Address)):
            wrapper._source = host, 7
            self.assertEqual(wrapper.getPeer(), kind("TCP", host, 7))

    def test_half_close(self) -> None:
        """R15: who closes its own side behind a proxy gets its answers too."""
        pipe = self.connect()
        pipe.arrive(b"PROXY UNKNOWN\r\n" + encode_request(1) + encode_request(2))
        pipe.arrive(None)
        self.assertEqual(bytes(pipe.sent), encode_replies([1, 3]))
        self.assertTrue(pipe.lost)
        plain = ProxiedFactory(Factory.forProtocol(Protocol), self.clock)
        self.assertFalse(IHalfCloseableProtocol.providedBy(Pipe(plain.buildProtocol(None)).protocol))

    def test_no_header(self) -> None:
        """A connection without a header is cut, and nothing of it reaches the service."""
        pipe = self.connect()
        pipe.arrive(encode_request(1))
        self.assertEqual((pipe.lost, bytes(pipe.sent)), (True, b""))
        self.assertEqual((self.service.ledger.total, self.service.connections), (0, set()))

    def test_slow_header(self) -> None:
        """R18: a header that comes byte by byte, or not at all, has the time of the first message."""
        header = b"PROXY TCP4 10.0.0.1 127.0.0.1 4000 80\r\n"
        for is_silent in (True, False):
            pipe = self.connect()
            for second in range(10):
                self.assertFalse(pipe.eof_sent)
                if not is_silent:
                    pipe.arrive(header[second : second + 1])
                self.clock.advance(1)
                pipe.pump()
            self.assertTrue(pipe.eof_sent)
            pipe.arrive(None)
            self.assertTrue(pipe.lost)

    def test_endpoints(self) -> None:
        """``haproxy:`` in an endpoint is this, also within another and in capitals."""
        for text in ("haproxy:tcp:0", "HAProxy:unix:a", "haproxy:haproxy:tcp:1"):
            self.assertIsInstance(server_from_string(self.clock, text), ProxiedEndpoint, text)
        self.assertNotIsInstance(server_from_string(self.clock, "tcp:0"), ProxiedEndpoint)
