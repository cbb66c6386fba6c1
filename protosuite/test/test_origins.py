"""R22: pages of others, on everything that they could open or change."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from protosuite.test import admin_peers, chatlog_peers, mediachat_peers
from protosuite.test.places_served import Running
from protosuite.test.test_paths import made
from protosuite.test.web_peers import Pipe, handshake

MINE = "https://shop.example"
HOST = "127.0.0.1:8000"
FOREIGN = (
    *("null", "", "file://", "about:blank", "https://evil.example", "http://evil.example:8000", "*"),
    *("https://shop.example.evil.example", "https://evilshop.example", "https://shop.example:444"),
    *(
        "http://shop.example",
        "https://shop.example/",
        "https://shop.example#",
        "https://shop.example@evil.example",
    ),
    *("https://evil.example/https://shop.example", "https://shop.example,https://evil.example"),
    *("https://shop.example https://evil.example", "//shop.example", "shop.example", "https://shop.examplé"),
    *("http://127.0.0.1.evil.example", "http://127.0.0.1:8001", "http://127.0.0.1", "http://127.0.0.1:80000"),
    *(
        "http://127.0.0.1:8000.evil.example",
        "http://127.0.0.1:8000@evil.example",
        "http://evil.example#127.0.0.1:8000",
    ),
    *("ftp://127.0.0.1:8000", "http://[127.0.0.1]:8000", "http://0x7f000001:8000", "http://2130706433:8000"),
    *("http://localhost:8000", "chrome-extension://abc", "javascript://127.0.0.1:8000"),
)
SOCKETS = {"chatlog": ("/", "/rooms/main"), "mediachat": ("/ws/7", "/console/ws")}
CHANGES = {
    "chatlog": ("/login", "/logout"),
    "mediachat": (
        "/chats/1/messages",
        "/chats/1/read",
        "/chats/1/media?name=a&kind=file",
        "/login",
        "/logout",
    ),
    "admin": ("/login", "/logout"),
}


class OriginTests(SynchronousTestCase):
    """Every WebSocket, and every request that changes something."""

    def setUp(self) -> None:
        chatlog = made(self, chatlog_peers.Fixture)
        mediachat = made(self, mediachat_peers.Fixture)
        admin = admin_peers.Overview(self)
        mediachat.client(7)
        self.running = {
            "chatlog": Running(chatlog.make_service(origins=(MINE,)), chatlog.clock, chatlog.settle),
            "mediachat": Running(mediachat.start(origins=(MINE,)), mediachat.clock, mediachat.settle),
            "admin": Running(admin.admin, admin.clock),
        }
        self.rows = mediachat.rows

    def status(self, name: str, request: bytes) -> int:
        """The status of the answer to a request."""
        running = self.running[name]
        pipe = Pipe(running.service.factory().buildProtocol(None))
        self.addCleanup(pipe.lose, ConnectionError())
        pipe.arrive(request)
        for _ in range(3):
            running.settle()
            pipe.pump()
        status = int(bytes(pipe.sent)[9:12])
        pipe.lose(ConnectionError())
        return status

    def sockets(self, *headers: bytes) -> dict[str, int]:
        """What each WebSocket answers to a handshake."""
        return {
            name + path: self.status(
                name, handshake(b"Host: " + HOST.encode(), *headers, start=f"GET {path} HTTP/1.1".encode())
            )
            for name, paths in SOCKETS.items()
            for path in paths
        }

    def changes(self, origin: str, kind: str = "application/json") -> dict[str, int]:
        """What each request that changes something answers to a page."""
        body = b'{"text":"forged","upto":0,"token":"x"}'
        head = f"HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\nContent-Type: {kind}"
        return {
            name + path: self.status(name, f"POST {path} {head}\r\nOrigin: {origin}\r\n\r\n".encode() + body)
            for name, paths in CHANGES.items()
            for path in paths
        }

    def test_websockets(self) -> None:
        """R22: no foreign page, none without an origin and none that looks like ours opens a WebSocket."""
        for origin in FOREIGN:
            found = self.sockets(b"Origin: " + origin.encode())
            self.assertEqual(set(found.values()), {403}, (origin, found))
        for origin in (MINE, f"http://{HOST}", f"https://{HOST}"):
            self.assertEqual(set(self.sockets(b"Origin: " + origin.encode()).values()), {101}, origin)
        self.assertEqual(set(self.sockets().values()), {101})  # no page, but a program
        for first, second in ((MINE, FOREIGN[4]), (FOREIGN[4], MINE)):
            both = f"Origin: {first}\r\nOrigin: {second}".encode()
            self.assertLessEqual(set(self.sockets(both).values()), {400, 403}, both)

    def test_changes(self) -> None:
        """R22: nor does one change anything, however a form of it might be made to look."""
        for origin in FOREIGN:
            for kind in ("application/json", "text/plain"):
                found = self.changes(origin, kind)
                self.assertEqual(set(found.values()), {403}, (origin, found))
        self.assertEqual(self.rows(), [])

    def test_ours(self) -> None:
        """Our own pages may: what they are told is about what they sent."""
        for origin in (MINE, f"http://{HOST}"):
            for path, status in self.changes(origin).items():
                if not path.startswith("admin") or origin != MINE:
                    self.assertNotEqual(status, 403, (origin, path))
        self.assertGreater(len(self.rows()), 0)
