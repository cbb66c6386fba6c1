"""Clients that take their time, on every port of a real suite."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import LoopingCall
from twisted.trial.unittest import TestCase
from websockets.frames import Frame, Opcode

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.wire import encode_request as encode_bus
from protosuite.counter.wire import encode_request as encode_counter
from protosuite.test.web_peers import handshake
from tests.peers import Peer, add, connect
from tests.processes import LIMIT, Suite, reactor, together

TIMES = {"handshake_timeout": 1, "close_timeout": 1}
SETTINGS: dict[str, Any] = {
    "numbers": TIMES | {"message_timeout": 1, "interval": 1000},
    "counter": TIMES | {"frame_timeout": 1},
    "bus": TIMES | {"message_timeout": 1},
    "chatlog": TIMES | {"message_timeout": 1},
    "mediachat": TIMES | {"message_timeout": 1},
    "admin": TIMES,
}
ENDLESS = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 500
BODY = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900\r\n\r\n"
PAGE = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\n\r\n"
LINE = b'{"type":"ack","index":0,"x":"' + b"x" * 500
FRAME = Frame(Opcode.TEXT, b"x" * 900).serialize(mask=True)
ECHO = encode_bus(pb.EchoMessage(content="x" * 900))

# What a client of each says at once, and what it then says byte by byte.
SLOW: dict[str, list[tuple[bytes, bytes]]] = {
    "numbers": [(b"", b""), (b"", LINE), (b'{"type":"start","client":"a"}\n', LINE)],
    "counter": [(b"", b""), (b"", encode_counter(1)[:15]), (encode_counter(0), encode_counter(1)[:15])],
    "bus": [(b"", b""), (b"", ECHO), (ECHO, ECHO)],
    "chatlog": [
        *((b"", b""), (b"", ENDLESS), (b"", b"GE"), (BODY, b"x" * 800), (PAGE, ENDLESS)),
        *((handshake(start=b"GET /rooms/r HTTP/1.1"), data) for data in (FRAME, FRAME[:3])),
    ],
    "mediachat": [
        *((b"", b""), (b"", ENDLESS), (BODY, b"x" * 800), (PAGE, ENDLESS)),
        (BODY.replace(b"/ ", b"/chats/1/media?name=a&kind=file "), b"x" * 800),
        (handshake(start=b"GET /ws/7 HTTP/1.1") + Frame(Opcode.TEXT, b"UTC").serialize(mask=True), FRAME),
    ],
    "admin": [(b"", b""), (b"", ENDLESS), (BODY, b"x" * 800), (PAGE, ENDLESS)],
}


class SlowTests(TestCase):
    """R18: nobody may be slow for ever."""

    timeout = 2 * LIMIT

    async def drip(self, port: int, first: bytes, then: bytes) -> None:
        """Say `first`, then a byte of `then` every now and then, until the server closes."""
        peer = await connect(self, port, Peer(stubborn=True))
        peer.send(first)
        rest = iter(then)

        def more() -> None:
            if (byte := next(rest, None)) is not None and not peer.lost:
                peer.send(bytes([byte]))

        dripping = LoopingCall(more)
        dripping.clock = reactor
        dripping.start(0.05)
        try:
            await peer.everything()
        finally:
            dripping.stop()
        if len(then) > 100:
            self.assertIsNotNone(next(rest, None), "the server waited for all of it")
        await peer.abort()

    async def test_everywhere(self) -> None:
        """R18: on every port who is silent, or says any message byte by byte, is closed in time."""
        suite = Suite(self, **SETTINGS)
        await suite.start()
        await together(
            self.drip(suite.ports[name], first, then) for name, ways in SLOW.items() for first, then in ways
        )
        self.assertEqual(await add(self, suite, 1), 1)
        self.assertFalse([line for line in suite.log if " critical " in line])
        self.assertEqual(await suite.terminate(), 0)
