"""R13: whatever strangers send, the suite goes on as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase
from websockets.frames import Frame, Opcode

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.wire import encode_request as encode_bus
from protosuite.config import SERVICES
from protosuite.counter.wire import encode_request as encode_counter
from tests.chatlog_peers import assert_sound, join
from tests.peers import Peer, add, connect
from tests.processes import LIMIT, Suite, resident_kib

STRINGS = 2000  # a port
AT_ONCE = 50
GROWTH = 6 * 1024  # KiB that a second round may add to what the first one took: allocators keep some


def handshake(path: str) -> bytes:
    """A request for a WebSocket."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


def frame(opcode: Opcode, data: bytes) -> bytes:
    """A frame of a client."""
    return Frame(opcode, data).serialize(mask=True)


GOOD: dict[str, list[bytes]] = {
    "numbers": [b'{"type":"start","client":"x","max":3}\n', b'{"type":"ack","index":0}\n'],
    "counter": [encode_counter(n) for n in (0, 1, 255)],
    "bus": [
        encode_bus(body)
        for body in (
            pb.EchoMessage(content="x"),
            pb.AddRequest(a=-1, b=1),
            pb.Subscribe(pattern="a.#", replay=3),
            pb.Subscribe(pattern="#", durable="d"),
            pb.Publish(topic="a.b", payload=b"x", id=1),
            pb.Ack(delivery=1),
            pb.Unsubscribe(pattern="a.#"),
        )
    ],
    "chatlog": [
        handshake("/rooms/main"),
        frame(Opcode.TEXT, b'{"type":"ClientAppend","seq":0,"author":"a","content":"x","key":"k"}'),
        frame(Opcode.TEXT, b'{"type":"ClientUpdate","n":5,"upto":-1}'),
        frame(Opcode.PING, b"x"),
        frame(Opcode.CLOSE, b"\x03\xe8"),
    ],
    "mediachat": [
        handshake("/ws/7"),
        frame(Opcode.TEXT, b"Europe/Paris"),
        frame(Opcode.TEXT, b"hello"),
        frame(Opcode.BINARY, b'{"name":"x","size":3,"kind":"file"}'),
        frame(Opcode.BINARY, b"abc"),
        frame(Opcode.CLOSE, b"\x03\xe8"),
    ],
}
WEB = ("chatlog", "mediachat")  # the first good message is a handshake, without which the rest means nothing


def hostile(service: str, chance: random.Random) -> Iterator[bytes]:
    """Noise, good messages cut and glued, and good messages with bytes changed."""
    good = GOOD[service]
    while True:
        yield chance.randbytes(chance.randrange(1, 400))
        glued = b"".join(chance.choices(good, k=chance.randrange(1, 8)))
        if service in WEB:
            glued = good[0] + glued
        yield glued[: chance.randrange(1, len(glued) + 1)]
        changed = bytearray(glued)
        for _ in range(chance.randrange(1, 4)):
            first = len(good[0]) if service in WEB and chance.random() < 0.7 else 0
            changed[chance.randrange(first, len(changed))] = chance.randrange(256)
        yield bytes(changed)
        yield good[0] + b"\xff" * chance.randrange(1, 3000)


SETTINGS: dict[str, Any] = {
    "numbers": {"interval": 0.01, "handshake_timeout": 0.5, "ack_timeout": 0.5, "close_timeout": 0.5},
    "counter": {"frame_timeout": 0.5, "close_timeout": 0.5},
    "bus": {"close_timeout": 0.5, "publish_timeout": 0.5, "max_durable_events": 50},
    "chatlog": {"close_timeout": 0.5, "handshake_timeout": 0.5},
    "mediachat": {"close_timeout": 0.5, "handshake_timeout": 0.5},
}


class HostileTests(TestCase):
    """Random and mutated bytes into every port."""

    timeout = 2 * LIMIT

    async def attack(self, suite: Suite, service: str, strings: Iterator[bytes], count: int) -> None:
        """Send each string over a connection of its own, half-close, and wait until the server closes."""
        for _ in range(count):
            peer = await connect(self, suite.ports[service])
            peer.send(next(strings))
            if service != "numbers":  # there a client that only reads gets its whole stream first
                peer.finish()
            else:
                peer.send(b"\n\n")
            await peer.everything()
            await peer.abort()

    async def round(self, suite: Suite, chance: random.Random) -> None:
        for service in SERVICES:
            strings = hostile(service, chance)
            await gatherResults(
                [
                    Deferred.fromCoroutine(self.attack(suite, service, strings, STRINGS // AT_ONCE))
                    for _ in range(AT_ONCE)
                ],
                consumeErrors=True,
            )

    async def test_random_bytes(self) -> None:
        """R13: two thousand strings into each port, twice: all answer as before, and memory stays."""
        seed = random.randrange(2**32)
        suite = Suite(self, **SETTINGS)
        await suite.start()
        chance = random.Random(seed)
        await self.round(suite, chance)
        first = resident_kib(suite.program.pid)
        await self.round(suite, chance)
        self.assertLess(resident_kib(suite.program.pid) - first, GROWTH, f"seed {seed}")
        await self.assert_well(suite, f"seed {seed}")

    async def assert_well(self, suite: Suite, note: str) -> None:
        """Every service answers, and nothing in the log speaks of a failure."""
        before = await add(self, suite)
        self.assertEqual(await add(self, suite, 5) - before, 5, note)
        peer = await connect(self, suite.numbers)
        peer.say("start", client="after", max=1)
        self.assertEqual((await peer.message())["type"], "session", note)
        peer = await connect(self, suite.ports["bus"])
        echo = encode_bus(pb.EchoMessage(content="after"))
        peer.send(echo)
        self.assertEqual(await peer.exactly(len(echo)), echo, note)
        member = await join(self, suite, "after")
        member.say("ClientAppend", seq=0, author="after", content="x")
        self.assertEqual((await member.next("ServerAck"))["entry"]["slot"], 1, note)
        assert_sound(self, suite, note)
        signs = ("Traceback", "Unhandled", " critical ")
        wrong = [line for line in suite.log if any(sign in line for sign in signs)]
        self.assertEqual(wrong, [], note)
        self.assertEqual(await suite.terminate(), 0, note)


class UnreadTests(TestCase):
    """R16: clients that ask and do not read."""

    timeout = LIMIT

    async def flood(self, suite: Suite, port: int, request: bytes) -> Peer:
        """A connection that never reads, with as much written to it as it takes.

        That is all when the server has answered so many others since it took the last of it.
        """
        peer, other = await connect(self, port), await connect(self, suite.counter)
        peer.transport.pauseProducing()
        flood = _Flood(peer, request * 1000)
        peer.transport.registerProducer(flood, True)
        written = -1
        while written != flood.written:
            written = flood.written
            for _ in range(200):
                other.send(encode_counter(0))
                await other.total()
        await other.abort()
        return peer

    async def test_replies_that_are_not_read(self) -> None:
        """R16: a client that does not read is not read: memory is bounded, others are served."""
        suite = Suite(self)
        await suite.start()
        echo = encode_bus(pb.EchoMessage(content="x" * 500))
        for service, request in (("counter", GOOD["counter"][0]), ("bus", echo)):
            before = resident_kib(suite.program.pid)
            peers = [await self.flood(suite, suite.ports[service], request) for _ in range(10)]
            # Were it read, each would have made the server keep some of what comes until this is over.
            self.assertLess(resident_kib(suite.program.pid) - before, 10 * 1024)
            await add(self, suite, 1)
            for peer in peers:
                await peer.abort()


class _Flood:
    """Writes whenever the transport asks; `written` counts how often."""

    def __init__(self, peer: Peer, data: bytes) -> None:
        self.written = 0
        self._peer = peer
        self._data = data
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self.written += 1
        self._peer.send(self._data)

    def pauseProducing(self) -> None:
        """Enough for now."""

    def stopProducing(self) -> None:
        """The connection is closed."""
