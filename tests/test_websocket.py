"""WebSockets between processes: the Autobahn cases, TLS, real proxies, and clients that do not read."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from websockets.frames import Frame, Opcode

from protosuite.net.websocket import Limits, WebSocket, text_frame
from protosuite.net.websocket_client import WebSocketClient
from tests.peers import Peer
from tests.processes import LIMIT, Program, Watched, free_port, poll, reactor, resident_kib, together
from tests.requirements import require, require_tls
from tests.websocket_echo import REQUEST_TIMEOUT

ROOT = Path(__file__).parent.parent

# What a case may find beside OK. The rules of the protocol leave these open.
LENIENT = {
    "7.1.6": "INFORMATIONAL INFORMATIONAL",  # 256 KiB, a close and a ping, without waiting
    "7.13.1": "INFORMATIONAL INFORMATIONAL",  # close codes beyond those that have a meaning
    "7.13.2": "INFORMATIONAL INFORMATIONAL",
}

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

HAPROXY = """
defaults
    mode http
    http-reuse always
    timeout connect 5s
    timeout client {idle}s
    timeout server {idle}s
    timeout tunnel {idle}s
listen echo
    bind 127.0.0.1:{port}
    server echo 127.0.0.1:{behind}
"""

NGINX = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path t1;
    proxy_temp_path t2;
    fastcgi_temp_path t3;
    uwsgi_temp_path t4;
    scgi_temp_path t5;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream echo {{ server 127.0.0.1:{behind}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://echo;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_read_timeout {idle}s;
            proxy_send_timeout {idle}s;
        }}
    }}
}}
"""


class Talker(Watched):
    """A talk that keeps what it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str | bytes] = []
        self.socket: Any = None
        self.code: int | None = None

    def began(self, socket: WebSocket) -> None:
        self.socket = socket
        self.changed()

    def text(self, text: str) -> None:
        self.messages.append(text)
        self.changed()

    def binary(self, data: bytes) -> None:
        self.messages.append(data)
        self.changed()

    def stopping(self) -> None:
        """Clients are not stopped by a service."""

    def drained(self) -> None:
        self.changed()

    def ended(self, code: int, reason: str) -> None:
        self.code = code
        self.over = True
        self.changed()

    async def next(self) -> str | bytes:
        """The next message."""
        await self.until(lambda: bool(self.messages))
        return self.messages.pop(0)

    async def end(self) -> int:
        """The code with which it ended."""
        return await self.until(lambda: self.code, after_end=True)


class EchoTests(TestCase):
    """What is the same in all of these: a server that echoes, and clients."""

    timeout = LIMIT

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    async def serve(self, *settings: str, tls: str = "", like: str = "chatlog") -> tuple[int, Program]:
        """Start an echo server that opens WebSockets `like` a service; its port."""
        port = free_port()
        endpoint = f"{'ssl' if tls else 'tcp'}:{port}:interface=127.0.0.1{tls}"
        program = Program(
            self,
            sys.executable,
            "-m",
            "tests.websocket_echo",
            like,
            endpoint,
            *settings,
            folder=self.folder,
            environment={"PYTHONPATH": str(ROOT)},
        )
        await program.says("listening")
        return port, program

    async def talk(self, endpoint: IStreamClientEndpoint, url: str) -> Talker:
        """Open a WebSocket."""
        talker = Talker()
        client = WebSocketClient(url, "echo", reactor, Limits(max_message=32 << 20), talker)
        await endpoint.connect(Factory.forProtocol(lambda: client))
        self.addCleanup(lambda: talker.over or client.transport.abortConnection())
        await poll(lambda: bool(talker.socket or client.refusal), "an answer to the handshake")
        self.assertEqual(client.refusal, "")
        return talker

    async def peer(self, port: int) -> Any:
        """A connection of bare bytes."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        peer: Any = await endpoint.connect(Factory.forProtocol(Peer))
        self.addCleanup(peer.transport.abortConnection)
        return peer


class AutobahnTests(EchoTests):
    """R11: the cases that implementations of the protocol hold themselves against."""

    timeout = 5 * LIMIT

    async def cases(self, like: str, groups: str, at_once: int, *settings: str) -> None:
        """Run all cases of `groups` against WebSockets `like` those of a service, some at once."""
        port, _ = await self.serve(*settings, like=like)
        run = Program(
            self,
            sys.executable,
            ROOT / "tests" / "autobahn.py",
            f"127.0.0.1:{port}",
            str(at_once),
            "0" if os.environ.get("PROTOSUITE_NIGHTLY") == "1" else "6",
            *groups.split(),
            folder=self.folder,
        )
        self.assertEqual(await run.late_exit(), 0, run.story())
        *lines, last = run.output
        wrong = []
        for line in lines:
            case, found, of_close, *_ = line.split(" ")
            if f"{found} {of_close}" != LENIENT.get(case, "OK OK"):
                wrong.append(line)
        self.assertEqual(wrong, [])
        self.assertEqual(last, f"{len(lines)} of {len(lines)} cases")
        self.assertGreaterEqual(len(lines), 30)

    async def test_rules(self) -> None:
        """R11: every case of groups 1 to 7, 9 and 10, for the chat log's WebSockets and the media chat's."""
        for like in ("chatlog", "mediachat"):
            await self.cases(like, "1 2 3 4 5 6 7 9 10", 2)

    async def test_compression(self) -> None:
        """R11: groups 12 and 13, which compress: at night every case, else the six smallest of each sort."""
        ways = (("chatlog", "12"), ("mediachat", "13"))
        if os.environ.get("PROTOSUITE_NIGHTLY") == "1":
            ways = (("chatlog", "12 13"), ("mediachat", "12 13"))
        await together(self.cases(like, groups, 1, "compression=1") for like, groups in ways)


class TlsTests(EchoTests):
    """WebSockets over TLS."""

    async def test_wss(self) -> None:
        """Messages of all sizes come back over TLS, and the closes of either side are told."""
        require_tls()
        cert, key = self.folder / "cert.pem", self.folder / "key.pem"
        make = Program(
            self,
            *[
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
            ],
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert),
            folder=self.folder,
        )
        self.assertEqual(await make.exit(), 0, make.story())
        port, program = await self.serve(tls=f":privateKey={key}:certKey={cert}")
        trusted = optionsForClientTLS("localhost", Certificate.loadPEM(cert.read_bytes()))
        tcp = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        for closing in (1000, 4321):
            talker = await self.talk(wrapClientTLS(trusted, tcp), f"wss://localhost:{port}/")
            for size in (0, 1, 70_000, 3_000_000):
                talker.socket.send_binary(b"x" * size)
            for size in (0, 1, 70_000, 3_000_000):
                self.assertEqual(len(await talker.next()), size)
            talker.socket.close(closing, "enough")
            self.assertEqual(await talker.end(), closing)
        self.assertNotIn("Traceback", "\n".join(program.output))


class ProxyTests(EchoTests):
    """HAProxy and nginx in front."""

    IDLE = 2  # seconds after which they drop what is idle

    async def behind(self, name: str, configuration: str, *command: str | Path) -> int:
        """An echo server that asks for life often, behind a proxy; the proxy's port."""
        require(name)
        behind, _ = await self.serve("ping_interval=0.5")
        port = free_port()
        path = self.folder / f"{name}.conf"
        path.write_text(configuration.format(port=port, behind=behind, idle=self.IDLE), "ascii")
        proxy = Program(self, name, *command, path, folder=self.folder)
        await poll(lambda: proxy.over or listens(port), f"{name} listens")
        self.assertFalse(proxy.over, proxy.story())
        return port

    async def check(self, port: int) -> None:
        """Requests and then an upgrade on one connection, and idle WebSockets."""
        peer = await self.peer(port)
        for _ in range(3):
            peer.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            self.assertTrue((await _head(peer)).startswith(b"HTTP/1.1 200 "))
            self.assertEqual(await peer.exactly(12), b"connection 1")
        peer.send(HANDSHAKE)
        self.assertTrue((await _head(peer)).startswith(b"HTTP/1.1 101 "))
        peer.send(Frame(Opcode.TEXT, b"where").serialize(mask=True))
        answer = text_frame(b"connection 1")
        self.assertEqual(await peer.exactly(len(answer)), answer)

        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        url = f"ws://127.0.0.1:{port}/"
        talkers = await together(self.talk(endpoint, url) for _ in range(5))
        await deferLater(reactor, 2.5 * max(self.IDLE, REQUEST_TIMEOUT))
        for talker in talkers:
            talker.socket.send_text(b"still there")
            self.assertEqual(await talker.next(), "still there")
            talker.socket.close(4000, "enough")
            self.assertEqual(await talker.end(), 4000)

    async def test_haproxy(self) -> None:
        """Behind HAProxy the third request of a connection is upgraded, and idle WebSockets stay."""
        await self.check(await self.behind("haproxy", HAPROXY, "-db", "-f"))

    async def test_nginx(self) -> None:
        """Behind nginx the third request of a connection is upgraded, and idle WebSockets stay."""
        await self.check(await self.behind("nginx", NGINX, "-p", self.folder, "-c"))


class OverloadTests(EchoTests):
    """Clients that do not read."""

    async def test_does_not_read(self) -> None:
        """R16: a client that sends 100 MiB and reads nothing is cut off; memory is bounded, others served."""
        port, program = await self.serve("max_backlog=4194304", "max_message=65536")
        other = await self.talk(TCP4ClientEndpoint(reactor, "127.0.0.1", port), f"ws://127.0.0.1:{port}/")
        before = resident_kib(program.pid)
        peer = await self.peer(port)
        peer.transport.pauseProducing()
        peer.send(HANDSHAKE)
        message = Frame(Opcode.BINARY, b"x" * 65536).serialize(mask=True)
        for _ in range(1600):
            peer.send(message)
        # One who neither reads nor writes is not told that the connection is gone.
        await poll(lambda: peer.lost or peer.send(b"x"), "the end of the connection")
        self.assertLess(resident_kib(program.pid) - before, 24 << 10)
        other.socket.send_text(b"x")
        self.assertEqual(await other.next(), "x")


async def _head(peer: Peer) -> bytes:
    """The head of the next answer."""
    end = b"\r\n\r\n"
    await peer.until(lambda: end in peer.received)
    return await peer.exactly(peer.received.index(end) + len(end))


def listens(port: int) -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
