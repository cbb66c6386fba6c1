"""Clients that send all they have to say, close their side, and then read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.bus import wire as bus
from protosuite.counter.wire import encode_replies, encode_request
from protosuite.testing import decoded
from tests.peers import Peer, connect
from tests.processes import LIMIT, Program, Suite, free_port, poll
from tests.requirements import require
from tests.test_websocket import listens

HAPROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
"""
LISTEN = """
listen {name}
    bind 127.0.0.1:{port}
    server own 127.0.0.1:{behind} {how}
"""
PAGE = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
REQUESTS: dict[str, bytes] = {
    "numbers": b'{"type":"start","client":"%s","max":5}\n',
    "counter": b"".join(map(encode_request, (0, 1, 0))),
    "bus": b"".join(
        map(
            bus.encode_request,
            (pb.EchoMessage(content="x"), pb.AddRequest(a=1, b=2), pb.Publish(topic="a", id=9)),
        )
    ),
    "chatlog": PAGE * 2,
    "mediachat": PAGE * 2,
    "admin": PAGE.replace(b"/", b"/healthz", 1) * 2,
}


class HalfCloseTests(TestCase):
    """R15: each service, directly and behind proxies."""

    timeout = 2 * LIMIT

    async def serve(self, prefix: str = "") -> Suite:
        """A suite whose listeners stand behind `prefix`."""
        suite = Suite(self, numbers={"interval": 0.01})
        listen = {
            name: {"listen": f"{prefix}tcp:{suite.ports[name]}:interface=127.0.0.1"} for name in REQUESTS
        }
        suite.write(**listen)
        await suite.start()
        return suite

    async def check(self, ports: dict[str, int], client: str) -> None:
        """Hold that each port answers in whole who closes its side behind its requests."""
        for name, request in REQUESTS.items():
            peer = await connect(self, ports[name], Peer(stubborn=True))
            peer.send(request % client.encode() if name == "numbers" else request)
            peer.finish()
            self.assert_whole(name, await peer.everything())
            await peer.abort()

    def assert_whole(self, name: str, answer: bytes) -> None:
        """Hold that all of an answer is there."""
        if name == "numbers":
            session, *numbers, end = [json.loads(line) for line in answer.splitlines()]
            self.assertEqual((session["type"], end["type"]), ("session", "end"))
            self.assertEqual(len(numbers), session["count"])
        elif name == "counter":
            first = int.from_bytes(answer[:8], "big")
            self.assertEqual(answer, encode_replies([first, first + 1, first + 1]))
        elif name == "bus":
            found = decoded(bus.Decoder(bus.FROM_SERVER), answer)
            kinds: Any = {type(body) for body in found}
            self.assertEqual((len(found), kinds), (3, {pb.EchoMessage, pb.AddResponse, pb.Receipt}))
        else:
            self.assertEqual(answer.count(b"HTTP/1.1 200 "), 2, answer[:200])
            self.assertTrue(answer.rstrip().endswith((b"</html>", b"}")), answer[-200:])

    async def test_directly(self) -> None:
        """R15: who closes its side gets its whole answer, from each service."""
        suite = await self.serve()
        await self.check(suite.ports, "one")
        self.assertEqual(await suite.terminate(), 0)

    async def test_behind_haproxy(self) -> None:
        """R15: so it is behind HAProxy, with each version of the PROXY protocol."""
        require("haproxy")
        suite = await self.serve("haproxy:")
        await self.check(await self.haproxy(suite, "send-proxy"), "one")
        await self.check(await self.haproxy(suite, "send-proxy-v2"), "two")

    async def haproxy(self, suite: Suite, how: str) -> dict[str, int]:
        """The ports of an HAProxy that says `how` whom it connects for."""
        ports = {name: free_port() for name in REQUESTS}
        sections = [
            LISTEN.format(name=name, port=port, behind=suite.ports[name], how=how)
            for name, port in ports.items()
        ]
        path = Path(suite.folder, f"{how}.conf")
        path.write_text("".join([HAPROXY, *sections]), "ascii")
        proxy = Program(self, "haproxy", "-db", "-f", path, folder=suite.folder)
        await poll(lambda: proxy.over or all(map(listens, ports.values())), "haproxy listens")
        self.assertFalse(proxy.over, proxy.story())
        return ports
