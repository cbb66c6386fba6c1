"""A media chat in memory whose threads work when a test says so, and peers that speak to it byte by byte."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Opcode

from protosuite.auth import guard
from protosuite.auth.guard import Guard
from protosuite.config import MediaChatConfig
from protosuite.hours import ALWAYS
from protosuite.mediachat.media.folder import MediaFolder
from protosuite.mediachat.media.interface import MediaStore
from protosuite.mediachat.server import MediaChatService
from protosuite.mediachat.store import MediaChatStore
from protosuite.storage.workers import Calls
from protosuite.test.chatlog_peers import Workers
from protosuite.test.web_peers import Pipe, close, frame, handshake, parse, text
from protosuite.testing import HandWorker

Fields = dict[str, Any]
OPEN = MediaChatConfig(
    hours_text=ALWAYS, hours_voice=ALWAYS, hours_image=ALWAYS, hours_file=ALWAYS, hours_video=ALWAYS
)
PARIS = 1_700_000_000  # seconds: 23:13:20 in Paris
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(300)


class Threads(Workers):
    """Those of media as well. Nothing of what they do is seen before the reactor's next turn."""

    def __init__(self, folder: str, max_queue: int = 1000) -> None:
        super().__init__(folder, max_queue)
        self.media = HandWorker()
        self.calls = Calls(self.media, self._call_in_reactor)
        super().by_hand()
        self.is_slow = False

    def by_hand(self, by_hand: bool = True) -> None:
        """From now on nothing is done until :meth:`settle`, or one of the threads, is told to."""
        self.is_slow = by_hand

    def turn(self) -> None:
        """Something has happened."""
        if not self.is_slow:
            self.settle()

    @property
    def is_busy(self) -> bool:
        return bool(self.media.tasks) or super().is_busy

    def settle(self) -> None:
        while self.is_busy:
            self.media.run()
            self.write()
            self.read()
            self.answer()


class Socket:
    """A WebSocket to a service; what came on it that no test has looked at is in :meth:`heard`."""

    def __init__(self, service: MediaChatService, threads: Threads, path: str, *headers: bytes) -> None:
        factory: Any = service.factory()
        self._threads = threads
        self.pipe = Pipe(factory.buildProtocol(None))
        self.code: int | None = None
        self.unread: list[Any] = []
        self._taken = 0
        self.pipe.arrive(handshake(*headers, start=f"GET {path} HTTP/1.1".encode()))
        self.head, _, _ = bytes(self.pipe.sent).partition(b"\r\n\r\n")
        self._taken = len(self.head) + 4

    def send(self, data: bytes | None) -> Socket:
        """Bytes, or a half-close."""
        self.pipe.arrive(data)
        self.turn()
        return self

    def turn(self) -> None:
        """Let the threads do what this led to, unless they are slow."""
        while not self._threads.is_slow and self._threads.is_busy:
            self._threads.turn()
            self.pipe.pump()

    def raw(self, data: str) -> Socket:
        """A text frame, whatever it is."""
        return self.send(text(data))

    def say(self, **fields: Any) -> Socket:
        return self.raw(json.dumps(fields))

    def text(self, text: str, key: str | None = None) -> Socket:
        return self.say(type="text", text=text, key=key)

    def binary(self, data: bytes) -> Socket:
        return self.send(frame(Opcode.BINARY, data))

    def begin(self, size: int, name: str = "a.bin", kind: str = "file", **more: Any) -> Socket:
        """The head of a media message."""
        return self.binary(json.dumps({"name": name, "size": size, "kind": kind, **more}).encode())

    def heard(self) -> list[Any]:
        """What the server has said since the last look: objects, and bytes."""
        self.pipe.pump()
        data = bytes(self.pipe.sent[self._taken :])
        self._taken = len(self.pipe.sent)
        found, self.unread = self.unread, []
        for kind, *what in parse(data):
            if kind == "text":
                found.append(json.loads(what[0]))
            elif kind == "binary":
                found.append(what[0])
            elif kind == "close":
                self.code = what[0]
        return found

    def one(self) -> Any:
        """The one thing that was said."""
        (found,) = self.heard()
        return found

    def statuses(self) -> list[tuple[Any, ...]]:
        """What was said since the last look, which is statuses: each with what tells it from others."""
        return [(each["status"], each.get("code") or each.get("message")) for each in self.heard()]

    def leave(self) -> None:
        """Close the connection in order."""
        self.send(close(1000)).send(None)

    def lose(self) -> None:
        """The connection breaks."""
        self.pipe.lose(ConnectionError())
        self._threads.turn()


class Answer:
    """What came for one request over HTTP."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    @property
    def fields(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Fixture(SynchronousTestCase):
    """A service on a database in a file and a folder of media."""

    config = OPEN
    secure_cookie = False

    def folder_of(self, root: Path) -> MediaStore:
        """Where media are."""
        return MediaFolder(root)

    def make_guard(self) -> Guard:
        """Whom a service asks."""
        return guard.OPEN

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(PARIS)
        self.root = Path(self.mktemp())
        self.threads = Threads(str(self.root))
        self.database = self.threads.database
        self.addCleanup(self.database.close)
        self.addCleanup(self.threads.by_hand, False)
        self.events: list[tuple[str, Fields]] = []
        self.sockets: list[Socket] = []
        self.service = self.start()

    def start(self, **changes: Any) -> MediaChatService:
        """Another service on the same files: the same server after a restart."""
        config = evolve(self.config, **changes)
        self.store = MediaChatStore(self.database, config.quota_per_chat)
        self.folder: Any = self.folder_of(self.root)
        service = MediaChatService(
            config,
            self.store,
            self.folder,
            self.threads.calls,
            self.clock,
            Random(1),
            self.clock.seconds,
            lambda topic, fields: self.events.append((topic, dict(fields))),
            self.make_guard(),
            self.secure_cookie,
        )
        service.startService()
        self.threads.turn()
        self.addCleanup(service.stopService)
        return service

    def connect(self, path: str, *headers: bytes) -> Socket:
        socket = Socket(self.service, self.threads, path, *headers)
        self.sockets.append(socket)
        self.addCleanup(socket.lose)
        return socket

    def client(self, id: int = 7, **hello: Any) -> Socket:
        """A client that opens with an object, and has been welcomed."""
        socket = self.connect(f"/ws/{id}").say(timezone="Europe/Paris", **hello)
        self.settle()
        welcome, *socket.unread = socket.heard()
        self.assertEqual(welcome["type"], "welcome")
        return socket

    def plain(self, id: int = 7, zone: str = "Europe/Paris") -> Socket:
        """A client that opens with its zone alone."""
        return self.connect(f"/ws/{id}").raw(zone)

    def console(self) -> Socket:
        """A console that has been told the hours."""
        socket = self.connect("/console/ws")
        welcome, *socket.unread = socket.heard()
        self.assertEqual(welcome["type"], "welcome")
        return socket

    def settle(self) -> None:
        """Let all work be done, and all arrive that was not read before."""
        for socket in self.sockets:
            socket.pipe.pump()
        while self.threads.is_busy:
            self.threads.settle()
            for socket in self.sockets:
                socket.pipe.pump()

    def http(self) -> Pipe:
        """A connection that speaks HTTP."""
        factory: Any = self.service.factory()
        pipe = Pipe(factory.buildProtocol(None))
        self.addCleanup(pipe.lose, ConnectionError())
        return pipe

    def ask(self, method: str, path: str, body: bytes | Fields = b"", *headers: str) -> Answer:
        """One request, and what came for it."""
        pipe = self.http()
        usual = ["Host: 127.0.0.1", "Connection: close"]
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            usual.append("Content-Type: application/json")
        if body or method == "POST":
            usual.append(f"Content-Length: {len(body)}")
        names = {header.split(":")[0] for header in headers}
        lines = [line for line in usual if line.split(":")[0] not in names]
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, *headers, "", ""])
        pipe.arrive(head.encode() + body)
        self.settle()
        pipe.pump()
        return Answer(bytes(pipe.sent))

    def tell(self, text: str = "hi", chat: int = 1) -> int:
        """The desk says something: the id."""
        return int(self.ask("POST", f"/chats/{chat}/messages", {"text": text}).fields["id"])

    def post(self, data: bytes, query: str = "name=a&kind=file", chat: int = 1) -> Answer:
        """The desk sends a file."""
        return self.ask("POST", f"/chats/{chat}/media?{query}", data)

    def rows(self, chat: int = 1) -> list[Fields]:
        """All messages of a chat."""
        found: list[Fields] = self.ask("GET", f"/messages?chat_id={chat}&limit=100").fields["items"]
        return found

    def parts(self) -> list[str]:
        """The names of what is not complete."""
        return sorted(path.name for path in (self.root / "parts").iterdir() if path.name != ".boot")

    def files(self) -> list[str]:
        """The hashes of what is."""
        return sorted(
            folder.name + path.name for folder in (self.root / "media").iterdir() for path in folder.iterdir()
        )


def digest(data: bytes) -> str:
    """A SHA-256 as the protocol has it."""
    return sha256(data).hexdigest()
