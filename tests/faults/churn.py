"""Connections that come, say a little or nothing, and go, in whatever way connections go."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from websockets.frames import Frame, Opcode

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.wire import encode_request as encode_bus
from protosuite.counter.wire import encode_request as encode_counter
from protosuite.test.web_peers import handshake
from tests.faults.loads import Load
from tests.peers import Peer
from tests.processes import LIMIT, reactor


def frame(text: bytes) -> bytes:
    """A text message of a client."""
    return Frame(Opcode.TEXT, text).serialize(mask=True)


def _web(path: bytes, *messages: bytes) -> list[bytes]:
    opening = handshake(start=b"GET %b HTTP/1.1" % path)
    return [b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", opening, *map(frame, messages)]


# What may be said without a trace in what is checked.
WORDS: dict[str, list[bytes]] = {
    "numbers": [b'{"type":"start","client":"churn-%d","max":50}\n' % n for n in range(10)] + [b'{"type":'],
    "counter": [encode_counter(0), encode_counter(0)[:7], b"x" * 16],
    "bus": [
        encode_bus(pb.EchoMessage(content="x")),
        encode_bus(pb.Subscribe(pattern="#", replay=5)),
        encode_bus(pb.Subscribe(pattern="churn.*", depth=3)),
        encode_bus(pb.Publish(topic="churn.x", payload=b"x", id=1)),
        encode_bus(pb.Publish(topic="churn.x", payload=b"x" * 5000, id=1))[:100],
    ],
    "chatlog": _web(
        b"/rooms/churn",
        b'{"type":"ClientUpdate","n":5,"upto":-1}',
        b'{"type":"ClientAppend","seq":0,"author":"a","content":"x","key":"k"}',
    ),
    "mediachat": _web(b"/ws/1000000", b'{"timezone":"Europe/Paris"}'),
    "admin": [b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"GET /readyz"],
}
TALKS = {"chatlog": 1, "mediachat": 1}  # where that many words come after the first, or nothing is understood


class Churn(Load):
    """`at_once` connections at a time to `ports`, each `pace` seconds after the one before it."""

    def __init__(
        self, ports: Mapping[str, int], chance: Random, at_once: int = 5, pace: float = 0.05
    ) -> None:
        super().__init__("churn", 0, chance, pace)
        self._ports = ports
        self._at_once = at_once
        self._peers: set[Peer] = set()

    async def begin(self) -> None:
        for _ in range(self._at_once):
            self.work(self._come_and_go())

    async def _come_and_go(self) -> None:
        while not self.is_finishing:
            began, service = reactor.seconds(), self.chance.choice(sorted(self._ports))
            try:
                await self._visit(service)
            except ConnectError:
                await deferLater(reactor, 0.1)
            await self.did(began)

    async def _visit(self, service: str) -> None:
        peer = Peer()
        factory = Factory.forProtocol(lambda: peer)
        factory.noisy = False
        await TCP4ClientEndpoint(reactor, "127.0.0.1", self._ports[service], timeout=LIMIT).connect(factory)
        self._peers.add(peer)
        try:
            await self._say_and_leave(service, peer)
        finally:
            if not peer.lost:
                peer.transport.abortConnection()
            self._peers.discard(peer)

    async def _say_and_leave(self, service: str, peer: Peer) -> None:
        words, chance = WORDS[service], self.chance
        if service in TALKS and chance.random() < 0.7:
            said = [words[1], *chance.choices(words[2:], k=chance.randrange(4))]
        else:
            said = chance.choices(words, k=chance.randrange(4))
        peer.send(b"".join(said))
        if chance.random() < 0.1:
            peer.send(chance.randbytes(50))
        await deferLater(reactor, chance.random() ** 2)
        if peer.lost:
            return
        way = chance.choice(("abort", "close", "finish"))
        if way == "close":
            peer.transport.loseConnection()
        elif way == "finish":
            peer.finish()
        if way != "abort":
            await deferLater(reactor, chance.random())

    @property
    def is_connected(self) -> bool:
        return bool(self._peers)

    def close(self) -> None:
        for peer in self._peers:
            peer.transport.abortConnection()
