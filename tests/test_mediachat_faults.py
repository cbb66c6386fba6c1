"""The media chat under large files, kills, stopped readers, a full disk and a stop, in whole processes."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.mediachat_peers import (
    FRAME,
    Reader,
    ask,
    come,
    cut,
    files,
    head,
    parsed,
    parts,
    say,
    settings,
)
from tests.peers import Peer, add, connect, stored_total
from tests.processes import LIMIT, Suite, poll, reactor, resident_kib
from tests.requirements import require, require_root
from tests.test_admin import get

SIZE = 256 << 20
GROWTH = 32 << 10  # KiB
ROUNDS = 50


def pattern(size: int, seed: int = 0) -> Iterator[bytes]:
    """Bytes of any number that are no repetition of one frame."""
    block = random.Random(seed).randbytes(FRAME)
    for number in range(0, size, FRAME):
        piece = number.to_bytes(8, "big") + block[8:]
        yield piece[: size - number]


def hashed(pieces: Iterator[bytes]) -> str:
    digest = sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


class Case(TestCase):
    """What the tests below share."""

    timeout = 4 * LIMIT

    def assert_quiet(self, suite: Suite) -> None:
        """Nothing in the server's log speaks of a defect."""
        self.assertEqual(suite.defects, [])


class Memory:
    """The most that a suite has had in memory since this was made, beyond what it had then."""

    def __init__(self, suite: Suite) -> None:
        self._pid = suite.program.pid
        self._begin = self.highest = resident_kib(self._pid)
        self._call = reactor.callLater(0, self._look)

    def _look(self) -> None:
        self.highest = max(self.highest, resident_kib(self._pid))
        self._call = reactor.callLater(0.02, self._look)

    def growth(self) -> int:
        """In KiB; no more looks are taken."""
        if self._call.active():
            self._call.cancel()
        return self.highest - self._begin


class LargeTests(Case):
    """256 MiB, up and down, through both doors."""

    async def test_memory(self) -> None:
        """R28: 256 MiB go up and come down whole, and the server's memory grows by less than 32 MiB."""
        suite = Suite(self, **settings(quota_per_chat="2 GiB"))
        await suite.start()
        wanted = hashed(pattern(SIZE))
        client = await come(self, suite)
        client.begin(9)
        await client.send(iter([b"warm it up"[:9]]))
        await client.next()
        memory = Memory(suite)
        self.addCleanup(memory.growth)

        client.begin(SIZE, sha256=wanted, upload="large")
        self.assertEqual((await client.next())["offset"], 0)
        await client.send(pattern(SIZE))
        saved = await client.next()
        self.assertEqual(saved["status"], "saved", saved)
        await self.get(suite, saved["message"], wanted)
        await client.leave()

        inline = await come(self, suite, media="inline")
        posted = await self.post(suite)
        await inline.until(lambda: inline.bytes >= SIZE)
        self.assertEqual((inline.bytes, inline.hash.hexdigest()), (SIZE, wanted))
        await self.get(suite, posted, wanted)
        growth = memory.growth()
        self.assertLess(growth, GROWTH)
        self.assertEqual(list(files(suite)).count(wanted), 1)
        self.assert_quiet(suite)

    async def get(self, suite: Suite, id: int, wanted: str) -> None:
        """Read a file over HTTP, and compare."""
        reader = Reader()
        await connect(self, suite.ports["mediachat"], reader)
        reader.send(head("GET", f"/media/{id}", None))
        await reader.until(lambda: reader.over, after_end=True)
        self.assertEqual((reader.bytes, reader.hash.hexdigest()), (SIZE, wanted))

    async def post(self, suite: Suite) -> int:
        """Send the file over HTTP: the id."""
        peer = await connect(self, suite.ports["mediachat"])
        peer.send(head("POST", "/chats/1/media?name=large&kind=file", SIZE))
        done = Source(peer, pattern(SIZE))
        status, _, body = parsed(await peer.everything())
        self.assertEqual((status, done.is_over), (201, True), body)
        return int(body.split(b'"id":')[1].split(b",")[0])


class Source:
    """Writes pieces as its connection takes them. A pull producer."""

    def __init__(self, peer: Peer, pieces: Iterator[bytes]) -> None:
        self._peer = peer
        self._pieces = pieces
        self.is_over = False
        peer.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """The connection takes more."""
        piece = next(self._pieces, None)
        if piece is None:
            self.is_over = True
            self._peer.transport.unregisterProducer()
        else:
            self._peer.send(piece)

    def stopProducing(self) -> None:
        """The connection is gone."""


class StopTests(Case):
    """SIGTERM."""

    async def test_upload_goes_on(self) -> None:
        """R31: a stop in the middle of an upload exits 0 within its time, and the upload goes on after it."""
        suite = Suite(self, **settings())
        await suite.start()
        data = random.randbytes(3_000_000)
        client, posting = await come(self, suite), await connect(self, suite.ports["mediachat"])
        client.begin(len(data), upload="u", sha256=sha256(data).hexdigest())
        await client.next()
        await client.send(cut(data[:1_000_000]))
        posting.send(head("POST", "/chats/1/media?name=a&kind=file", 1000) + b"half of it")
        client.say(type="text", text="last words", key="k")
        self.assertEqual((await client.next())["key"], "k")
        self.assertEqual(await suite.terminate(), 0)
        self.assertEqual(await client.end(), 1001)
        self.assertEqual(len(parts(suite)), 1)
        self.assertFalse(any("did not finish in time" in line for line in suite.log))
        await suite.start()
        client = await come(self, suite)
        client.begin(len(data), upload="u", sha256=sha256(data).hexdigest())
        offset = (await client.next())["offset"]
        self.assertGreater(offset, 0)
        await client.send(cut(data[offset:]))
        self.assertEqual((await client.next())["status"], "saved")
        self.assert_quiet(suite)

    async def test_folder_that_hangs(self) -> None:
        """R31: a stop while a folder of media hangs is one for all others, and says which folder it is."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        own = settings(media=folder)
        own["suite"] = {"services": "admin, counter, mediachat", "drain_timeout": 0.5}
        own["counter"] = {"durability": "no"}  # a clean stop stores it
        suite = Suite(self, **own)
        await suite.start()
        client = await come(self, suite)
        client.begin(100_000, upload="u")
        await client.next()
        await client.send(iter([bytes(1000)]))
        client.say(type="text", text="it has come")
        await client.next()
        self.assertEqual(await suite.terminate(), 0)
        [part] = (folder / "parts").iterdir()
        part.unlink()
        os.mkfifo(part)  # whoever opens it waits for somebody at its other end
        await suite.start()
        await add(self, suite, 5)
        client = await come(self, suite)
        client.begin(100_000, upload="u")
        while b"protosuite_mediachat_uploads 1.0" not in (await get(self, suite, "/metrics")).body:
            pass
        self.assertEqual(await suite.terminate(), 0)
        [line] = [line for line in suite.log if "no answer within 0.5 s" in line]
        self.assertIn(f"media in {folder}: ", line)
        self.assertEqual(stored_total(suite), 5)
        self.assert_quiet(suite)


class StoppedReaderTests(Case):
    """R16: those who ask and do not read."""

    async def test_cut_off(self) -> None:
        """R16: stopped readers of a large file, through both doors, are cut off; others get theirs."""
        suite = Suite(self, **settings(write_timeout=3, handshake_timeout=3, close_timeout=1))
        await suite.start()
        size = 64 << 20
        sender = await come(self, suite)
        sender.begin(9)
        await sender.send(iter([b"warm it  "]))
        await sender.next()
        memory = Memory(suite)
        self.addCleanup(memory.growth)
        sender.begin(size)
        await sender.send(pattern(size))
        id = (await sender.next())["message"]
        stopped = [await connect(self, suite.ports["mediachat"], Reader()) for _ in range(10)]
        for reader in stopped:
            reader.send(head("GET", f"/media/{id}", None))
            reader.transport.pauseProducing()
        inline = await come(self, suite, id=8, media="inline")
        inline.transport.pauseProducing()
        peer = await connect(self, suite.ports["mediachat"])
        peer.send(head("POST", "/chats/2/media?name=a&kind=file", size))
        Source(peer, pattern(size))
        self.assertEqual(parsed(await peer.everything())[0], 201)
        good = Reader()
        await connect(self, suite.ports["mediachat"], good)
        good.send(head("GET", f"/media/{id}", None))
        await good.until(lambda: good.over, after_end=True)
        self.assertEqual(good.bytes, size)
        await poll(lambda: self.connections(suite) <= 1, "stopped readers are cut off")
        self.assertLess(memory.growth(), GROWTH)
        self.assert_quiet(suite)

    @staticmethod
    def connections(suite: Suite) -> int:
        """How many sockets the server has, besides those that it listens on."""
        port = f":{suite.ports['mediachat']:04X}"
        lines = Path(f"/proc/{suite.program.pid}/net/tcp").read_text("ascii").splitlines()[1:]
        held: set[str] = set()
        for descriptor in Path(f"/proc/{suite.program.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it has been closed since
                held.add(os.readlink(descriptor))
        fields = [line.split() for line in lines]
        return sum(
            each[1].endswith(port) and each[3] != "0A" and f"socket:[{each[9]}]" in held for each in fields
        )


class PolyglotTests(Case):
    """R26: a file that is a picture and a page."""

    async def test_never_a_page(self) -> None:
        """R26: a polyglot of JPEG and HTML is served as a picture that no browser takes for a page."""
        suite = Suite(self, **settings())
        await suite.start()
        script = b"<html><body><script>alert(document.domain)</script></body></html>"
        data = (
            b"\xff\xd8\xff\xe0\x2f\x2a\x4a\x46\x49\x46\0\x01\x01\x01\0\x48\0\x48\0\0"
            + bytes(40)
            + b"*/=1;"
            + script
        )
        for name, content in (
            ("x.html", data),
            ("x.jpg", data),
            ("x.png", script),
            ("x.svg", b"<svg onload='alert(1)'/>"),
        ):
            client = await come(self, suite)
            client.begin(len(content), name=name, kind="image", type="text/html")
            await client.send(iter([content]))
            id = (await client.next())["message"]
            status, headers, body = await ask(self, suite, "GET", f"/media/{id}")
            self.assertEqual((status, body), (200, content))
            self.assertIn(headers["content-type"], ("image/jpeg", "application/octet-stream"))
            if headers["content-type"] != "image/jpeg":
                self.assertTrue(headers["content-disposition"].startswith("attachment;"))
            self.assertEqual(headers["x-content-type-options"], "nosniff")
            self.assertIn("sandbox", headers["content-security-policy"])
            self.assertIn("default-src 'none'", headers["content-security-policy"])


class FullDiskTests(Case):
    """R6: a file system of a few megabytes under the data folder."""

    def mounted(self) -> Path:
        """A file system of its own, which goes with the test."""
        require_root()
        require("mount", "umount")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=True)
        self.addCleanup(lambda: subprocess.run(["umount", folder], check=True))
        return folder

    async def test_folder_that_nodes_share(self) -> None:
        """R6: how much is free in a shared folder of media is in the metrics, before nothing is."""
        folder = self.mounted()
        (folder / "filler").write_bytes(bytes(3 << 20))
        own = settings()
        own["suite"]["services"] = "mediachat, admin"
        own["mediachat"]["media"] = folder
        suite = Suite(self, **own)
        await suite.start()

        told = -1.0
        while told != shutil.disk_usage(folder).free:  # it is seen again every few seconds
            text = (await get(self, suite, "/metrics")).body.decode()
            found = re.search(r"^protosuite_mediachat_folder_free_bytes (.*)$", text, re.M)
            told = -1.0 if found is None else float(found[1])
        self.assertEqual(await suite.terminate(), 0)

    async def test_refused_and_recovered(self) -> None:
        """R6: with no room texts and media get a clear status, files are served; later all works again."""
        folder = self.mounted()
        suite = Suite(self, **settings() | {"suite": {"services": "mediachat", "data": folder / "data"}})
        suite.data = folder / "data"
        self.addCleanup(suite.kill)
        await suite.start()
        client = await come(self, suite)
        client.begin(1000)
        await client.send(iter([bytes(1000)]))
        self.assertEqual((await client.next())["status"], "saved")
        for more in ({}, {"upload": "u"}):
            size = 20 << 20
            client.begin(size, **more)
            if more:
                await client.next()
            await client.send(pattern(size))
            status = await client.next()
            self.assertEqual((status["status"], status.get("code")), ("error", "full"))
        peer = await connect(self, suite.ports["mediachat"])
        peer.send(head("POST", "/chats/1/media?name=a&kind=file", 20 << 20))
        Source(peer, pattern(20 << 20))
        self.assertEqual(parsed(await peer.everything())[0], 507)
        self.assertEqual((await ask(self, suite, "GET", "/media/1"))[2], bytes(1000))
        await poll(lambda: parts(suite) == [], "nothing is left of what had no room")
        with (folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        code = None
        while code is None:  # what the log of the database has left takes a few commits
            client.say(type="text", text="x" * 10_000)
            code = (await client.next()).get("code")
        self.assertEqual(code, "full")
        (folder / "filler").unlink()
        client.say(type="text", text="and now")
        self.assertEqual((await client.next())["status"], "saved")
        client.begin(1_000_000)
        await client.send(pattern(1_000_000))
        self.assertEqual((await client.next())["status"], "saved")
        await say(self, suite, "hi")
        self.assert_quiet(suite)
        self.assertEqual(await suite.terminate(), 0)
