"""The limits of every service, with real sockets and addresses."""

from __future__ import annotations

import re
from functools import partial

from twisted.trial.unittest import TestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.wire import encode_request as encode_bus
from protosuite.config import SERVICES
from protosuite.counter.wire import REPLY_SIZE
from protosuite.counter.wire import encode_request as encode_counter
from tests.peers import Peer, connect
from tests.processes import LIMIT, Suite

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
ASK = {
    "numbers": b'{"type":"start","client":"ana"}\n',
    "counter": encode_counter(1),
    "bus": encode_bus(pb.EchoMessage(content="x")),
    "chatlog": GET,
    "mediachat": GET,
}
ANSWER = {
    "numbers": re.compile(rb'{"type":"session"'),
    "counter": re.compile(rb".{%d}" % REPLY_SIZE, re.DOTALL),
    "bus": re.compile(re.escape(ASK["bus"])),
    "chatlog": re.compile(rb"HTTP/1.1 200 "),
    "mediachat": re.compile(rb"HTTP/1.1 200 "),
}
WIRE = sorted(set(SERVICES) & ASK.keys())
# Of numbers: a stream that does not end meanwhile, and its connection with it, as one in twenty would.
LONG = {"interval": 60, "max_messages": 65_535}


def settings(**others: object) -> dict[str, dict[str, object]]:
    """Settings for each service, under which who is served stays."""
    return {name: {**others, **(LONG if name == "numbers" else {})} for name in WIRE}


class LimitTests(TestCase):
    """What a stranger can have."""

    timeout = LIMIT

    async def is_served(self, peer: Peer, name: str) -> bool:
        """Whether it gets a proper answer, or a close, maybe behind a refusal."""
        peer.send(ASK[name])
        proper = ANSWER[name]
        await peer.until(lambda: peer.over or proper.match(peer.received), after_end=True)
        return proper.match(peer.received) is not None

    async def test_one_address(self) -> None:
        """R20: an address has its share of each service, others have theirs, and who leaves makes room."""
        suite = Suite(self)
        suite.write(**settings(max_connections_per_address=1))
        await suite.start()
        for name in WIRE:
            port = suite.ports[name]
            first = await connect(self, port)
            self.assertTrue(await self.is_served(first, name), name)
            self.assertFalse(await self.is_served(await connect(self, port), name), name)
            other = await connect(self, port, source="127.0.0.2")
            self.assertTrue(await self.is_served(other, name), name)
            await first.abort()
            while not await self.is_served(await connect(self, port), name):
                pass  # the server has not seen yet that the first is gone
        self.assertEqual(await suite.terminate(), 0)
        counted = [line for line in suite.log if "refused or given up: overloaded" in line]
        self.assertEqual(len(counted), len(WIRE), suite.program.story())

    async def test_networks(self) -> None:
        """Each service lets in only who comes from the networks that it names."""
        suite = Suite(self)
        suite.write(**settings(allow="127.0.0.2, 10.0.0.0/8"))
        await suite.start()
        for name in WIRE:
            stranger = await connect(self, suite.ports[name])
            self.assertFalse(await self.is_served(stranger, name), name)
            friend = await connect(self, suite.ports[name], source="127.0.0.2")
            self.assertTrue(await self.is_served(friend, name), name)

    async def test_behind_a_proxy(self) -> None:
        """Behind `haproxy:` it is the client that the PROXY header names that the limits see."""
        suite = Suite(self)
        behind = settings(allow="10.0.0.0/8", max_connections_per_address=1)
        for name, section in behind.items():
            section["listen"] = f"haproxy:tcp:{suite.ports[name]}:interface=127.0.0.1"
        suite.write(**behind)
        await suite.start()
        for name in WIRE:
            port, found = suite.ports[name], []
            for host in ("10.0.0.1", "10.0.0.1", "10.0.0.2", "192.0.2.1"):
                peer = await connect(self, port)
                peer.send(f"PROXY TCP4 {host} 127.0.0.1 4000 80\r\n".encode())
                found.append(await self.is_served(peer, name))
            self.assertEqual(found, [True, False, True, False], name)
        said = [line for line in suite.log if "refused" in line]
        self.assertTrue(any("10.0.0.1:4000" in line for line in said), said)

    async def test_message_rate(self) -> None:
        """R20: who sends more than `message_rate` gets every answer, and a neighbour need not wait for it."""
        suite = Suite(self, counter={"message_rate": 1000})
        await suite.start()
        flood, neighbour = await connect(self, suite.counter), await connect(self, suite.counter)
        flood.send(encode_counter(1) * 5000)
        while (seen := len(flood.received)) < 5000 * REPLY_SIZE:
            neighbour.send(encode_counter(0))
            await neighbour.total()
            await flood.until(partial(_has_more, flood, seen))
        self.assertEqual(len(flood.received), 5000 * REPLY_SIZE)
        self.assertEqual(await suite.terminate(), 0)
        self.assertTrue(any("message-rate" in line for line in suite.log), suite.program.story())


def _has_more(peer: Peer, seen: int) -> bool:
    return len(peer.received) > seen
