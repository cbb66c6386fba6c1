"""The configurations of HAProxy and nginx in the documentation, in front of a suite."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterable
from configparser import ConfigParser
from functools import partial
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from tests.certificates import Authority
from tests.mediachat_peers import OPEN
from tests.processes import BIN, LIMIT, Program, Suite, free_port, poll
from tests.requirements import missing, require
from tests.test_websocket import listens

HOWTO = Path(__file__).parent.parent / "docs" / "howto"
STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
OUTSIDE = ("443", "5501", "8443", "8444")  # where the proxies of the page listen
INSIDE = {"numbers": 5500, "counter": 8080, "bus": 8081, "chatlog": 8082, "mediachat": 8000, "admin": 8001}
FRIEND, STRANGER = "127.0.0.2", "127.0.0.3"
NGINX = """
load_module {stream};
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
    include http.conf;
}}
stream {{ include stream.conf; }}
"""


class ProxyPageTests(TestCase):
    """As somebody out there: over TLS, from one address or another."""

    timeout = LIMIT

    async def serve(self, proxied: Iterable[str] = INSIDE) -> None:
        """A suite with the settings of the page, where only `FRIEND` may use numbers.

        Those of `proxied` listen for the PROXY protocol, if the page says so, and the others do not.
        """
        self.suite = suite = Suite(self, mediachat=OPEN, numbers={"allow": FRIEND, "interval": 0.01})
        page = ConfigParser()
        page.read(HOWTO / "proxies.ini", "utf-8")
        written = {
            section: {key: self.moved(value) for key, value in page[section].items()}
            for section in page.sections()
        }
        written["auth"]["secret_file"] = "keys"
        for name in {*INSIDE} - {*proxied, "admin"}:
            written[name]["listen"] = written[name]["listen"].removeprefix("haproxy:")
        suite.write(**written)
        await self.token("init", "keys")
        self.secret = await self.token("make", "--role", "service", "--subject", "gateway")
        await suite.start()

    async def token(self, *arguments: str) -> str:
        """What protosuite-token prints."""
        command = (BIN / "protosuite-token", "--config", self.suite.config)
        program = Program(self, *command, *arguments, folder=self.suite.folder)
        self.assertEqual(await program.exit(), 0, program.story())
        return "".join(program.output)

    def moved(self, text: str) -> str:
        """A line of the page with this suite's ports in the place of the defaults."""
        for name, port in INSIDE.items():
            text = re.sub(rf"\b{port}\b(?!;?\))", str(self.suite.ports[name]), text)
        return text

    def outside(self, text: str, listen: str) -> str:
        """A file of the page with ports of 127.0.0.1, and certificates made for the test."""
        text = self.moved(text).replace("/etc/haproxy/suite.pem", str(self.both))
        text = text.replace("/etc/nginx/suite.pem", str(self.both)).replace(
            "/etc/nginx/suite.key", str(self.both)
        )
        for port in OUTSIDE:
            found = f"{listen}{port} ssl"
            if found in text:
                here = self.doors.setdefault(port, free_port())
                text = text.replace(found, f"{listen.rstrip(':')}127.0.0.1:{here} ssl")
        return text

    async def run_proxy(self, *command: str | Path) -> None:
        """Start it, and wait until it listens everywhere."""
        proxy = Program(self, *command, folder=self.suite.folder)
        for port in self.doors.values():
            await poll(partial(self.listens_or_is_over, proxy, port), "the proxy listens")
        self.assertFalse(proxy.over, proxy.story())

    def listens_or_is_over(self, proxy: Program, port: int) -> bool:
        return proxy.over or listens(port)

    def setUp(self) -> None:
        self.doors: dict[str, int] = {}
        authority = Authority(self)
        own = authority.issue("server")
        self.both = own.cert.with_name("both.pem")
        self.both.write_bytes(own.cert.read_bytes() + own.key.read_bytes())
        self.trusted = ssl.create_default_context(cafile=str(authority.cert))

    # As somebody out there.

    def tls(self, port: str, source: str = FRIEND) -> ssl.SSLSocket:
        """A connection to a port of the proxy."""
        raw = socket.create_connection(("127.0.0.1", self.doors[port]), LIMIT, (source, 0))
        return self.trusted.wrap_socket(raw, server_hostname="localhost")

    def first_of_a_stream(self, source: str) -> str:
        """What the server says first to who asks for a stream: the type, or the code of the error."""
        with self.tls("5501", source) as connection:
            start = {"type": "start", "client": "ana", "token": self.secret}
            connection.sendall(json.dumps(start).encode() + b"\n")
            said = json.loads(connection.makefile("rb").readline())
            return str(said.get("code", said["type"]))

    def request(
        self, host: str, method: str, path: str, body: bytes | None = None, type: str = ""
    ) -> HTTPResponse:
        """An answer of a service on HTTP, read to its end."""
        connection = HTTPConnection(host)
        connection.sock = self.tls("443")
        headers = {"Authorization": f"Bearer {self.secret}", "Origin": f"https://{host}"}
        connection.request(method, path, body, headers | ({"Content-Type": type} if type else {}))
        answer = connection.getresponse()
        answer.text = answer.read()  # type: ignore[attr-defined]
        connection.close()
        return answer

    def socket(self, host: str, path: str, protocol: str, origin: str = "") -> ClientConnection:
        """A WebSocket."""
        raw = socket.create_connection(("127.0.0.1", self.doors["443"]), LIMIT, (FRIEND, 0))
        return connect(
            f"wss://{host}{path}",
            sock=raw,
            ssl=self.trusted,
            server_hostname="localhost",
            origin=Origin(origin or f"https://{host}"),
            subprotocols=[Subprotocol(protocol)],
            additional_headers={"Authorization": f"Bearer {self.secret}"},
        )

    def talk(self) -> None:
        """Use the two services that have pages."""
        with self.socket("log.example.org", "/rooms/main", "chatlog.v1") as room:
            append = {"type": "ClientAppend", "seq": 0, "author": "ana", "content": "hello"}
            room.send(json.dumps(append))
            self.assertEqual(json.loads(room.recv())["entry"]["content"], "hello")
        with self.assertRaises(InvalidStatus) as refused:
            self.socket("log.example.org", "/rooms/main", "chatlog.v1", "https://example.com")
        self.assertEqual(refused.exception.response.status_code, 403)
        with self.socket("chat.example.org", "/ws/7", "mediachat.v1") as chat:
            chat.send(json.dumps({"timezone": "Europe/Paris"}))
            self.assertEqual(json.loads(chat.recv())["type"], "welcome")
        path = "/chats/1/media?name=a.bin&kind=file"
        posted = self.request("chat.example.org", "POST", path, bytes(3 << 20), "application/octet-stream")
        self.assertIn(posted.status, (201, 202), posted.text)  # type: ignore[attr-defined]
        login = json.dumps({"token": self.secret}).encode()
        cookie = self.request("chat.example.org", "POST", "/login", login, "application/json")
        self.assertIn("Secure", cookie.getheader("Set-Cookie") or "")

    def check(self) -> None:
        """The services on HTTP, and who is let in to one that is not."""
        self.talk()
        self.assertEqual(self.first_of_a_stream(FRIEND), "session")
        self.assertEqual(self.first_of_a_stream(STRANGER), "not-allowed")
        with self.tls("8443") as connection:
            connection.sendall(bytes.fromhex("000000000000000a4b48550ea3b07f17"))
            self.assertEqual(connection.recv(8), (10).to_bytes(8, "big"))
        with self.tls("8444") as connection:  # and not an answer without a token
            connection.sendall(bytes.fromhex("0a070a0568656c6c6f"))
            self.assertIn(b"unauthenticated", connection.recv(200))

    async def test_haproxy(self) -> None:
        """Behind HAProxy all services work, and know the addresses of their clients."""
        require("haproxy")
        await self.serve()
        file = self.suite.folder / "haproxy.cfg"
        file.write_text(self.outside((HOWTO / "haproxy.cfg").read_text("utf-8"), "bind :"), "utf-8")
        await self.run_proxy("haproxy", "-db", "-f", file)
        await deferToThread(self.check)
        status = await deferToThread(self.request, "admin.example.org", "GET", "/status")
        self.assertEqual(status.status, 200)
        refused = [line for line in self.suite.log if "not-allowed" in line]
        self.assertEqual(len(refused), 1)
        self.assertIn(STRANGER, refused[0])

    async def test_nginx(self) -> None:
        """Behind nginx all services work, and what is not HTTP knows the addresses of its clients."""
        require("nginx")
        if not STREAM.exists():
            missing("nginx has no module for streams: apt-get install libnginx-mod-stream")
        await self.serve(proxied=("numbers", "counter", "bus"))
        folder = self.suite.folder
        (folder / "nginx.conf").write_text(NGINX.format(stream=STREAM), "utf-8")
        for part in ("http", "stream"):
            text = (HOWTO / f"nginx-{part}.conf").read_text("utf-8")
            (folder / f"{part}.conf").write_text(self.outside(text, "listen "), "utf-8")
        await self.run_proxy("nginx", "-p", folder, "-c", folder / "nginx.conf")
        await deferToThread(self.check)
