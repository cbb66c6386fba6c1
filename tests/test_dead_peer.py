"""R19: machines that are gone without a word. Their connections end, those of the living do not."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.chatlog.wire import SUBPROTOCOL as CHATLOG
from protosuite.counter.wire import encode_request
from protosuite.mediachat.wire import SUBPROTOCOL as MEDIACHAT
from protosuite.net.websocket_client import WebSocketClient
from tests.chatlog_peers import LIMITS, Member, join
from tests.mediachat_peers import OPEN, Client, come
from tests.networks import Elsewhere, connections
from tests.peers import Peer, connect
from tests.processes import LIMIT, Suite, poll, reactor
from tests.test_bus import BusPeer, bus_peer

FOR_EVER = 3600
WEB = {"ping_interval": 1, "ping_timeout": 5, "keepalive": FOR_EVER, "write_timeout": FOR_EVER}


class DeadPeerTests(TestCase):
    """A machine elsewhere, with a connection to every service, falls silent."""

    timeout = 2 * LIMIT

    def suite_for(self, elsewhere: Elsewhere, **settings: dict[str, Any]) -> Suite:
        """It listens for this machine and for that one; nothing but what a test sets ends a connection."""
        suite = Suite(self)
        own = {}
        for name, port in suite.ports.items():
            listen = [f"tcp:{port}:interface={host}" for host in ("127.0.0.1", elsewhere.address)]
            own[name] = {
                "listen": "\n    ".join(["", *listen]),
                "allow": f"127.0.0.0/8, {elsewhere.network}",
                **settings.get(name, {}),
            }
        suite.write(**own)
        return suite

    async def gone(self, suite: Suite, service: str, elsewhere: Elsewhere) -> None:
        """Wait until the system knows of no connection from there."""
        port, pid = suite.ports[service], suite.program.pid
        await poll(lambda: connections(pid, port, elsewhere.own) == 0, f"{service} has given its peer up")

    async def test_websockets(self) -> None:
        """R19: a dead peer of a WebSocket is given up after the ping that it does not answer."""
        elsewhere = Elsewhere(self)
        suite = self.suite_for(elsewhere, chatlog=WEB, mediachat=WEB | OPEN)
        await suite.start()
        living, client = await join(self, suite), await come(self, suite)
        dead, lost = Member(), Client()
        peers: list[tuple[int, str, str, Member | Client]] = [
            (suite.ports["chatlog"], "/rooms/main", CHATLOG, dead),
            (suite.ports["mediachat"], "/ws/8", MEDIACHAT, lost),
        ]
        for port, path, subprotocol, talk in peers:
            url = f"ws://{elsewhere.address}:{port}{path}"
            socket = WebSocketClient(url, subprotocol, reactor, LIMITS, talk, LIMIT)
            elsewhere.connect(port, socket)
            self.addCleanup(talk.leave)
            talk.transport = socket.transport
            await talk.until(lambda talk=talk: talk.socket is not None)  # type: ignore[misc]
        dead.say("ClientAppend", seq=0, author="eve", content="last words")
        await dead.next("ServerAck")
        lost.say(timezone="Europe/Paris")
        await lost.next("welcome")
        self.assertEqual(connections(suite.program.pid, suite.ports["chatlog"], elsewhere.own), 1)
        elsewhere.falls_silent()
        for service in ("chatlog", "mediachat"):
            await self.gone(suite, service, elsewhere)
            await suite.program.until(lambda name=service: said(suite, name, "ping-timeout"))  # type: ignore[misc]
        self.assertEqual((await living.next("ServerAck"))["entry"]["content"], "last words")
        living.say("ClientAppend", seq=0, author="ana", content="still here")
        self.assertEqual((await living.next("ServerAck"))["entry"]["content"], "still here")
        client.say(type="text", text="still here", key="one")
        self.assertEqual((await client.next())["status"], "saved")

    async def test_streams(self) -> None:
        """R19: a dead peer of the other services is given up by the system, asked to or owed something."""
        elsewhere = Elsewhere(self)
        quiet: dict[str, Any] = {"keepalive": 6, "idle_timeout": FOR_EVER, "write_timeout": FOR_EVER}
        own = {"interval": 3600, "ack_timeout": FOR_EVER, "max_messages": 65535}
        suite = self.suite_for(elsewhere, numbers=quiet | own, counter=quiet, bus=quiet)
        await suite.start()
        living = await connect(self, suite.counter)
        numbers, counter, owed = Peer(), Peer(), BusPeer()
        for service, peer in (("numbers", numbers), ("counter", counter), ("bus", owed)):
            elsewhere.connect(suite.ports[service], peer)
            self.addCleanup(peer.abort)
        numbers.say("start", client="eve")
        await numbers.message()
        counter.send(encode_request(1))
        await counter.total()
        owed.tell(pb.Subscribe(pattern="#", durable="eve"), pb.EchoMessage(content="done"))
        await owed.until(lambda: bool(owed.messages))
        elsewhere.falls_silent()
        publisher = await bus_peer(self, suite)
        publisher.tell(pb.Publish(topic="a", payload=b"nobody takes this", id=1))
        for service in ("numbers", "counter", "bus"):
            await self.gone(suite, service, elsewhere)
        living.send(encode_request(1))
        self.assertEqual(await living.total(), 2)


def said(suite: Suite, service: str, code: str) -> bool:
    """Whether a service has logged something with a code."""
    return any(f" {service}: " in line and code in line for line in suite.log)
