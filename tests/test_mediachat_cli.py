"""``protosuite-mediachat`` as a process: over kills of either side, outside the hours, on a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import random
import sqlite3
import struct
import termios
from functools import partial
from hashlib import sha256
from pathlib import Path
from time import gmtime, strftime, time
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.protocol import connectionDone as done
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.processes import BIN, LIMIT, Program, Suite, Watched, free_port, left_on, poll, reactor

PROGRAM = BIN / "protosuite-mediachat"
ALWAYS = {f"hours_{kind}": "always" for kind in ("text", "voice", "image", "file", "video")}
MIB = 1 << 20


class Gate(Factory, Watched):
    """Stands between a client and the server, and lets `allowed` bytes of each connection through.

    `passed` has how many bytes of the client went through each connection.
    """

    noisy = False

    def __init__(self, case: TestCase, port: int) -> None:
        Watched.__init__(self)
        self.allowed: float = float("inf")
        self.passed: list[int] = []
        self.server = HostnameEndpoint(reactor, "127.0.0.1", port)
        listening = reactor.listenTCP(0, self, interface="127.0.0.1")
        case.addCleanup(listening.stopListening)
        self.port = listening.getHost().port
        self.ends: set[Protocol] = set()
        case.addCleanup(self.close)

    def buildProtocol(self, addr: Any) -> Protocol:
        self.passed.append(0)
        return _Front(self, len(self.passed) - 1)

    def is_full(self) -> bool:
        """Whether the latest connection has come as far as it may."""
        return bool(self.passed) and self.passed[-1] >= self.allowed

    def close(self) -> None:
        """Drop all connections."""
        for end in list(self.ends):
            end.transport.abortConnection()  # type: ignore[union-attr]

    def story(self) -> str:
        return f"a gate that let {self.passed} bytes through"


class _End(Protocol):
    """Of a connection through the gate."""

    transport: Any
    other: _End | None = None

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def connectionMade(self) -> None:
        self.gate.ends.add(self)

    def dataReceived(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = done) -> None:
        self.gate.ends.discard(self)
        if self.other is not None:
            self.other.transport.loseConnection()


class _Front(_End):
    """The client's end."""

    def __init__(self, gate: Gate, number: int) -> None:
        super().__init__(gate)
        self.number = number

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.pauseProducing()
        connecting = connectProtocol(self.gate.server, _End(self.gate))
        connecting.addCallbacks(self.joined, lambda _: self.transport.abortConnection())

    def joined(self, back: _End) -> None:
        self.other, back.other = back, self
        self.transport.registerProducer(back.transport, True)
        back.transport.registerProducer(self.transport, True)
        self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        gate = self.gate
        gate.passed[self.number] += len(data)
        if gate.passed[self.number] >= gate.allowed:
            assert self.other is not None
            self.other.transport.unregisterProducer()
            self.transport.pauseProducing()
        gate.changed()


class MediaChatCase(TestCase):
    """A suite, and programs that use its media chat."""

    timeout = LIMIT

    async def begin(self, **settings: object) -> Suite:
        """Start a suite that is always open."""
        self.suite = Suite(self, mediachat={**ALWAYS, **settings})
        await self.suite.start()
        return self.suite

    def client(self, *arguments: str | Path, port: int | None = None, **options: Any) -> Program:
        """Start the program against the suite."""
        command = (PROGRAM, "--port", str(port or self.suite.ports["mediachat"]), "--timezone", "UTC")
        return Program(self, *command, *arguments, folder=self.suite.folder, **options)

    async def run_client(self, *arguments: str | Path, code: int = 0, **options: Any) -> Program:
        """Run it to its end."""
        run = self.client(*arguments, **options)
        self.assertEqual(await run.exit(), code, run.story())
        return run

    def file(self, size: int, name: str = "photo.bin") -> tuple[Path, str]:
        """A file, and its SHA-256."""
        data = random.Random(size).randbytes(size)
        path = self.suite.folder / name
        path.write_bytes(data)
        return path, sha256(data).hexdigest()

    def rows(self, columns: str = "kind, status, size, sha256") -> list[tuple[Any, ...]]:
        """What is stored."""
        path = self.suite.data / "protosuite.sqlite3"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return list(connection.execute(f"SELECT {columns} FROM mediachat_message ORDER BY id"))

    def assert_stored_once(self, path: Path, digest: str) -> None:
        """One message with these bytes, and nothing half."""
        self.assertEqual(self.rows(), [("file", "saved", path.stat().st_size, digest)])
        stored = self.suite.data / "media" / digest[:2] / digest[2:]
        self.assertEqual(sha256(stored.read_bytes()).hexdigest(), digest)
        self.assertEqual([p.name for p in (self.suite.data / "parts").iterdir()], [".boot"])

    async def desk(self, path: str, body: bytes, kind: str = "application/octet-stream") -> dict[str, Any]:
        """The desk says or sends something."""
        url = f"http://127.0.0.1:{self.suite.ports['mediachat']}{path}"
        request = Request(url, data=body, headers={"Content-Type": kind})

        def post() -> dict[str, Any]:
            with urlopen(request, timeout=LIMIT) as response:
                fields: dict[str, Any] = json.load(response)
                return fields

        return await deferToThread(post)

    async def desk_says(self, text: str) -> dict[str, Any]:
        """The desk says something in the first chat."""
        return await self.desk("/chats/1/messages", json.dumps({"text": text}).encode(), "application/json")

    async def desk_sends(self, data: bytes, name: str) -> dict[str, Any]:
        """The desk sends something in the first chat."""
        return await self.desk(f"/chats/1/media?{urlencode({'name': name, 'kind': 'image'})}", data)


class SayTests(MediaChatCase):
    """Texts, and what was said."""

    async def test_say_and_history(self) -> None:
        """What is said is stored, and read again page by page, with nothing that moves a cursor."""
        await self.begin()
        self.assertEqual((await self.run_client("say", "hello\nyou")).output, ["saved 1"])
        run = await self.run_client("--json", "say", "two")
        self.assertEqual(json.loads(run.output[0]), {"status": "saved", "message": 2})
        await self.desk_says("evil \u202e\u2028 text")
        await self.desk_sends(b"x", "map.png")
        run = await self.run_client("history")
        self.assertRegex(run.output[0], r"^1 \d{4}-\d\d-\d\d \d\d:\d\d client: hello$")
        self.assertEqual(run.output[1], "    you")
        self.assertRegex(run.output[3], r"^3 .* desk: evil \ufffd\ufffd text$")
        self.assertRegex(run.output[4], r"^4 .* desk: image map.png \(1 bytes\) at /media/4$")
        run = await self.run_client("--json", "history", "--limit", "2", "--before", "4")
        self.assertEqual([json.loads(line)["id"] for line in run.output], [2, 3])
        self.assertEqual((await self.run_client("--client", "2", "history")).output, [])

    async def test_long_history(self) -> None:
        """A history longer than a page comes whole, in order."""
        await self.begin()
        await self.run_client("say", "first")
        await self.suite.terminate()
        with contextlib.closing(sqlite3.connect(self.suite.data / "protosuite.sqlite3")) as connection:
            insert = "INSERT INTO mediachat_message (chat_id, sender, kind, status, at, text) VALUES "
            connection.executemany(
                f"{insert} (1, 'desk', 'text', 'saved', 5, ?)", [(str(n),) for n in range(350)]
            )
            connection.commit()
        await self.suite.start()
        run = await self.run_client("--json", "history", "--limit", "1000")
        texts = [json.loads(line)["text"] for line in run.output]
        self.assertEqual(texts, ["first", *[str(n) for n in range(350)]])

    async def test_outside_the_hours(self) -> None:
        """What is discarded is said so, with the next opening by the clock of the zone, and exit code 1."""
        opening = strftime("%H:%M", gmtime(time() + 12 * 3600))
        hours = f"{opening}-{opening}"
        await self.begin(hours_text=hours, hours_image=hours, hours_video="never")
        path, _ = self.file(10, "photo.jpg")
        for arguments, what in ((("say", "hello"), "texts"), (("send", path), "images")):
            run = await self.run_client(*arguments, code=1)
            [line] = run.errors
            self.assertRegex(
                line,
                rf"^protosuite-mediachat: .*discarded, for this is no hour for {what}; it is taken again "
                rf"from \d{{4}}-\d\d-\d\d {opening} UTC$",
            )
        run = await self.run_client("--json", "say", "hello", code=1)
        self.assertIn("next_open_at", json.loads(run.output[0]))
        run = await self.run_client("send", path, "--kind", "video", code=1)
        self.assertIn("it is never taken", run.errors[0])

    async def test_no_server(self) -> None:
        """Without a server each command fails with one line, after the time that it was given."""
        self.suite = Suite(self)
        path, _ = self.file(10)
        for arguments in (["say", "x"], ["send", path], ["history"]):
            run = await self.run_client("--timeout", "0.3", *arguments, code=1, port=free_port())
            self.assertEqual(len(run.errors), 1, run.story())
            self.assertRegex(run.errors[0], r"^protosuite-mediachat: .*(refused|no answer)")

    async def test_server_comes_late(self) -> None:
        """While there is no server one line on standard error says so; when it comes, texts are saved."""
        self.suite = Suite(self, mediachat=ALWAYS)
        run = self.client("--timeout", str(LIMIT), "say", "hello")
        line = await run.until(lambda: next(iter(run.errors), None))
        self.assertRegex(
            line, r"^protosuite-mediachat: 127.0.0.1:\d+ cannot be reached so far: cannot connect"
        )
        await self.suite.start()
        self.assertEqual(await run.exit(), 0, run.story())
        self.assertEqual((run.output, len(run.errors)), (["saved 1"], 1))

    async def test_wrong_command_line(self) -> None:
        """A wrong command line is exit code 2, with what is wrong; --help has an example."""
        self.suite = Suite(self)
        for arguments, why in (
            (["say"], "TEXT"),
            (["say", "\x1b[2J"], "not text"),
            (["--timezone", "../x", "say", "x"], "no time zone"),
            (["--client", "0", "say", "x"], "whole number"),
            (["--save", "x", "say", "x"], "for listen"),
            (["send"], "FILE"),
        ):
            run = await self.run_client(*arguments, code=2, port=1)
            self.assertIn(why, run.errors[-1])
        run = await self.run_client("--help", port=1)
        self.assertIn("example:", run.output)
        self.assertRegex((await self.run_client("--version", port=1)).output[0], r"^protosuite-mediachat \d")


class SendTests(MediaChatCase):
    """Files, while everything is killed."""

    async def test_send(self) -> None:
        """Files are sent one after the other, each of the kind of its name; what fails is named."""
        await self.begin()
        paths = [
            self.file(n, name)[0] for n, name in ((0, "a.txt"), (5, "b.png"), (6, "c.mp4"), (7, "d.ogg"))
        ]
        run = await self.run_client("send", *paths[:2], "missing", self.suite.folder, *paths[2:], code=1)
        self.assertEqual(run.output, ["saved 1 a.txt", "saved 2 b.png", "saved 3 c.mp4", "saved 4 d.ogg"])
        self.assertEqual([kind for (kind,) in self.rows("kind")], ["file", "image", "video", "voice"])
        self.assertEqual(len(run.errors), 2, run.story())
        self.assertIn("missing: No such file", run.errors[0])
        self.assertIn("not a file", run.errors[1])

    async def test_server_killed(self) -> None:
        """R1, R28: a file arrives whole, and once, though the server is killed again and again meanwhile."""
        await self.begin()
        path, digest = self.file(24 * MIB)
        gate = Gate(self, self.suite.ports["mediachat"])
        run = self.client("send", path, port=gate.port)
        for round in range(5):
            gate.allowed = (round + 1) * MIB
            await gate.until(gate.is_full)
            await self.suite.kill()
            gate.allowed = float("inf") if round == 4 else gate.allowed + MIB
            await self.suite.start()
        self.assertEqual(await run.exit(), 0, run.story())
        self.assert_stored_once(path, digest)
        self.assertEqual(run.output, ["saved 1 photo.bin"])
        self.assertEqual([line for line in run.errors if "still trying" not in line], [])
        self.assertLess(gate.passed[-1], 24 * MIB)

    async def test_client_killed(self) -> None:
        """The program that was killed goes on, when it is run again, where the server has the file."""
        await self.begin()
        path, digest = self.file(16 * MIB)
        gate = Gate(self, self.suite.ports["mediachat"])
        for signal, code in (("KILL", -9), ("INT", 130), ("TERM", 143)):
            gate.allowed = 4 * MIB
            run = self.client("send", path, port=gate.port)
            await gate.until(gate.is_full)
            gate.passed.append(0)
            run.signal(signal)
            self.assertEqual(await run.exit(), code, run.story())
            self.assertEqual((run.output, run.errors), ([], []))
        gate.allowed = float("inf")
        run = await self.run_client("send", path, port=gate.port)
        self.assertEqual(run.output, ["saved 1 photo.bin"])
        self.assertLess(gate.passed[-1], 6 * MIB)
        self.assert_stored_once(path, digest)
        await self.run_client("send", path)
        self.assert_stored_once(path, digest)
        self.assertEqual((await self.run_client("send", path, "--again")).output, ["saved 2 photo.bin"])

    async def test_bar(self) -> None:
        """On a terminal a bar shows how far it is; names cannot write on it."""
        await self.begin()
        path, _ = self.file(MIB, "pho\x1b[2Jto.bin")
        leader, follower = pty.openpty()
        self.addCleanup(os.close, leader)
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        run = self.client("send", path, descriptors={2: follower})
        os.close(follower)
        self.assertEqual(await run.exit(), 0, run.story())
        shown = left_on(leader)
        self.assertIn("100%|", shown)
        self.assertNotIn("\x1b[2J", shown + "".join(run.output))


class ListenTests(MediaChatCase):
    """What the desk says, while everything is killed."""

    async def test_listen(self) -> None:
        """Texts are printed and media saved; --count ends it; another run goes on behind."""
        await self.begin()
        await self.run_client("say", "hello")
        await self.desk_says("one\ntwo")
        await self.desk_sends(b"bytes", "../../map.png")
        listen = ("--save", "here", "--state", "state", "listen", "--count")
        run = await self.run_client(*listen, "2")
        self.assertRegex(run.output[0], r"^\d\d:\d\d: one$")
        self.assertRegex(run.output[2], r"^\d\d:\d\d: image ../../map.png \(5 bytes\) saved as here/map.png$")
        self.assertEqual((self.suite.folder / "here/map.png").read_bytes(), b"bytes")
        await self.desk_says("three")
        run = await self.run_client("--json", *listen, "1")
        self.assertEqual(json.loads(run.output[0])["text"], "three")

    async def test_interrupted(self) -> None:
        """Ctrl-C ends it without a word."""
        await self.begin()
        await self.run_client("say", "hello")
        run = self.client("listen")
        while not run.output:
            await self.desk_says("are you there?")
        run.signal("INT")
        self.assertEqual((await run.exit(), run.errors), (130, []))

    async def test_cannot_be_kept(self) -> None:
        """What cannot be saved ends it with one line."""
        await self.begin()
        (self.suite.folder / "taken").write_bytes(b"")
        run = await self.run_client("--save", "taken", "listen", code=1)
        self.assertEqual(len(run.errors), 1, run.story())
        self.assertIn("cannot keep what comes: taken", run.errors[0])

    async def test_cannot_be_noted(self) -> None:
        """A message that cannot be noted as taken does not count, even if it was the last one wanted."""
        await self.begin()
        await self.run_client("say", "hello")
        (self.suite.folder / "state.new").mkdir()  # where it is written first
        run = self.client("--state", "state", "listen", "--count", "1")
        while not run.output:
            await self.desk_says("are you there?")
        self.assertEqual(await run.exit(), 1, run.story())
        self.assertEqual(len(run.errors), 1, run.story())
        self.assertIn("cannot keep what comes", run.errors[0])

    def differs(self, folder: Path, names: set[str]) -> bool:
        """Whether there are other files than those."""
        return {path.name for path in folder.iterdir()} != names

    async def test_both_killed(self) -> None:
        """R1, R28: whichever side is killed, every file is there, once, and nothing was overwritten."""
        await self.begin()
        await self.run_client("say", "hello")
        folder = self.suite.folder / "here"
        folder.mkdir()
        (folder / "photo.jpg").write_bytes(b"mine")
        listen = ("--save", folder, "--state", "state", "listen")
        chance = random.Random(7)
        contents: list[bytes] = [b"mine"]
        listening = self.client(*listen)
        last = 0
        for round in range(16):
            for _ in range(2):
                contents.append(chance.randbytes(chance.randrange(600_000)))
                last = (await self.desk_sends(contents[-1], "photo.jpg"))["id"]
            if round % 2:  # half of them in the middle of saving
                names = {path.name for path in folder.iterdir()}
                await poll(partial(self.differs, folder, names), "a file that is being saved")
            if round % 3 == 0:
                await self.suite.kill()
                await self.suite.start()
            else:
                await listening.kill()
                listening = self.client(*listen)
        state = self.suite.folder / "state"
        await poll(lambda: state.exists() and json.loads(state.read_text())["after"] == last, "the last file")
        listening.signal("INT")
        self.assertEqual(await listening.exit(), 130, listening.story())
        self.assertEqual(sorted(path.read_bytes() for path in folder.iterdir()), sorted(contents))
        self.assertEqual((folder / "photo.jpg").read_bytes(), b"mine")
