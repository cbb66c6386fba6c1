"""R25: paths and names, wherever a stranger may give one: nothing beyond what is meant is reached."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protosuite.chatlog.wire import is_room
from protosuite.mediachat.saving import SaveFolder, StateFile
from protosuite.test import admin_peers, chatlog_peers, mediachat_peers
from protosuite.test.places_served import Running
from protosuite.test.web_peers import Pipe

UP = ("..", "%2e%2e", ".%2e", "%2E.", "..%00", "%c0%ae%c0%ae", "%252e%252e", "..;", "\\..", "%5c..", "....//")
SLASHES = ("/", "%2f", "\\", "/./")
NAMES = (
    *("etc/passwd", "etc%2fpasswd", "protosuite.sqlite3", "test.sqlite3", "parts/.boot", "SECRET", "tap.py"),
    *(
        "CON",
        "nul",
        "aux.txt",
        "COM1",
        ".git/config",
        "%00",
        "x%00.png",
        "~root",
        "C:\\boot.ini",
        "C:/boot.ini",
    ),
    *("file:///etc/passwd", "\\\\host\\share", "a%0d%0aSet-Cookie:%20x=y", "\u202egnp".encode().hex("%")),
)
ROUTES = {
    "chatlog": ("/", "/assets", "/rooms", "/rooms/main"),
    "mediachat": ("/", "/assets", "/media", "/media/1", "/ws", "/console", "/chats", "/chats/1", "/messages"),
    "admin": ("/", "/assets", "/healthz", "/metrics", "/status", "/live"),
}
SECRET = b"nobody is to read this"


def paths(route: str) -> Iterator[str]:
    """Ways to leave the folder that `route` seems to be."""
    route = route.rstrip("/")
    for name in NAMES:
        yield f"{route}/{name}"
        yield f"{route}//{name}"
    for up, slash, (depth, name) in product(UP, SLASHES, ((1, "SECRET"), (5, "etc/passwd"))):
        yield f"{route}/{(up + slash) * depth}{name}"


class RouteTests(SynchronousTestCase):
    """Every route of every service over HTTP."""

    def connect(self, factory: Any) -> Pipe:
        pipe = Pipe(factory.buildProtocol(None))
        self.addCleanup(pipe.lose, ConnectionError())
        pipe.pump()
        return pipe

    def check(self, running: Running, route: str) -> None:
        """Hold that no path below `route` gives anything."""
        for path in paths(route):
            pipe = self.connect(running.service.factory())
            pipe.arrive(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            for _ in range(3):
                running.settle()
                pipe.pump()
            answer = bytes(pipe.sent)
            self.assertIn(answer[9:12], (b"400", b"404", b"405", b"426"), (path, answer[:200]))
            self.assertNotIn(SECRET, answer)
            self.assertNotIn(b"root:", answer)
            self.assertEqual(answer.lower().count(b"set-cookie"), 0, path)
            pipe.lose(ConnectionError())

    def prepare(self, folder: Path) -> None:
        """Put a secret where somebody might look for it."""
        for place in (folder, folder.parent, folder / "media"):
            place.mkdir(parents=True, exist_ok=True)
            (place / "SECRET").write_bytes(SECRET)

    def test_chatlog(self) -> None:
        """R25: the pages and the rooms of the chat log."""
        fixture = made(self, chatlog_peers.Fixture)
        for route in ROUTES["chatlog"]:
            self.check(Running(fixture.service, fixture.clock, fixture.settle), route)

    def test_mediachat(self) -> None:
        """R25: the pages, media, chats and doors of the media chat."""
        fixture = made(self, mediachat_peers.Fixture)
        self.prepare(fixture.root)
        fixture.client().begin(3).binary(b"abc")
        self.assertEqual(fixture.ask("GET", "/media/1").body, b"abc")
        for route in ROUTES["mediachat"]:
            self.check(Running(fixture.service, fixture.clock, fixture.settle), route)

    def test_admin(self) -> None:
        """R25: the dashboard and what it asks for."""
        overview = admin_peers.Overview(self)
        self.prepare(overview.folder)
        for route in ROUTES["admin"]:
            self.check(Running(overview.admin, overview.clock), route)

    def test_media_by_any_name(self) -> None:
        """R25: a file is asked for by the number of its message, and by nothing else that may mean it."""
        fixture = made(self, mediachat_peers.Fixture)
        fixture.client().begin(3).binary(b"abc")
        name = sha256(b"abc").hexdigest()
        for path in (
            name,
            f"{name[:2]}/{name[2:]}",
            "01",
            "+1",
            "1.0",
            "%31%00",
            "1%20",
            "٣",
            "1/..",
            "0",
            "-1",
        ):
            self.assertIn(fixture.ask("GET", f"/media/{path}").status, (400, 404), path)
        self.assertEqual(fixture.ask("GET", "/media/%31").status, 200)  # spelt in another way


class NameTests(SynchronousTestCase):
    """Names that are no paths."""

    def test_rooms(self) -> None:
        """R25: a room is a name in the database, whatever it looks like; no file has it."""
        fixture = made(self, chatlog_peers.Fixture)
        before = _files(Path(fixture.workers.database.url.database or "").parent)
        for room in ("..", ".", "con", "-rf", ".git", "a..b", "%2e%2e"):
            if is_room(room):
                member = fixture.join(room)
                member.append("x")
                fixture.settle()
                self.assertEqual(member.slots(), [1], room)
        self.assertEqual(_files(Path(fixture.workers.database.url.database or "").parent), before)
        for bad in ("a/b", "a\\b", "a%2fb", "..%2f..", "a\0", "a b"):
            pipe = Pipe(fixture.factory().buildProtocol(None))
            pipe.arrive(f"GET /rooms/{bad} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            self.assertIn(bytes(pipe.sent)[9:12], (b"400", b"404"), bad)
            pipe.lose(ConnectionError())

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.text(min_size=1, max_size=64), st.text(min_size=1, max_size=64))
    def test_uploads(self, name: str, upload: str) -> None:
        """R25: whatever a file and its upload are called, files are ours, in folders of ours."""
        fixture = made(self, mediachat_peers.Fixture)
        around = fixture.root.parent
        before = _files(around) - _files(fixture.root)
        socket = fixture.client()
        head = json.dumps({"name": name, "size": 4, "kind": "file", "upload": upload})
        socket.binary(head.encode()).binary(b"ab")
        for path in _files(fixture.root):
            where = path.relative_to(fixture.root).parts
            self.assertIn(where[0], ("parts", "media", *(p for p in where if p.startswith("test.sqlite3"))))
            if where[0] == "parts":
                self.assertRegex(where[1], r"^(\.boot|[0-9]+-[0-9a-f]{40}|once-[0-9a-f]{32})$")
        self.assertEqual(_files(around) - _files(fixture.root), before)
        self.doCleanups()

    def test_links(self) -> None:
        """R25: a link that lies where a file is to be saved is left alone, and so is what it points to."""
        root = Path(self.mktemp()).absolute()
        folder = SaveFolder(root)
        folder.open()
        outside = root.parent / f"{root.name}-outside"
        outside.write_bytes(b"mine")
        (root / "a.txt").symlink_to(outside)
        (root / "b.txt").symlink_to(root.parent / "nowhere")
        (root / "c").symlink_to(root.parent)
        for name in ("a.txt", "b.txt", "c"):
            incoming = folder.begin()
            incoming.write([b"theirs"])
            path = incoming.finish(name, 6, sha256(b"theirs").hexdigest(), lambda name: None)
            self.assertFalse(path.is_symlink())
            self.assertEqual((path.parent, path.read_bytes()), (root, b"theirs"))
            self.assertIsNone(folder.has(name, 6, sha256(b"theirs").hexdigest()))
        self.assertEqual(outside.read_bytes(), b"mine")
        self.assertFalse((root.parent / "nowhere").exists())

    def test_state_files(self) -> None:
        """R25: a state file that names a file elsewhere is none: nothing is looked for there."""
        path = Path(self.mktemp())
        for name in ("../x", "/etc/passwd", "..", ".", "", "a/b", "a\0"):
            path.write_text(json.dumps({"client": 7, "after": 1, "saving": [2, name]}))
            self.assertRaises(ValueError, StateFile(path, 7).load)


def _files(folder: Path) -> set[Path]:
    """All files below, with whatever is beside them."""
    return {path for path in folder.rglob("*") if path.is_file() and "sqlite3-" not in path.name}


def made(case: SynchronousTestCase, fixture: Any) -> Any:
    """A fixture of other tests, which ends with `case`."""
    found = type("Found", (fixture,), {"runTest": lambda self: None})()
    found.addCleanup = case.addCleanup
    found.mktemp = case.mktemp
    found.setUp()
    return found
