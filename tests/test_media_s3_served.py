"""A suite whose media are in S3, and what its clients see when that is in trouble."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from twisted.trial.unittest import TestCase

from protosuite.test.media_contract import PART, PNG, digest
from tests.mediachat_peers import FRAME, Reader, ask, come, cut, head, settings
from tests.peers import connect
from tests.processes import LIMIT, Suite, poll, resident_kib, together
from tests.s3 import ENVIRONMENT, KEY, SECRET, Server, shared


class ServedTests(TestCase):
    """A suite whose media are in S3."""

    timeout = 2 * LIMIT

    async def start(self, server: Server, environment: dict[str, str] = ENVIRONMENT, **more: Any) -> Suite:
        self.patch(os, "environ", {**os.environ, **environment})
        media = {"media": server.url(server.bucket()), "media_part": PART, **more}
        suite = Suite(self, **settings(**media))
        await suite.start()
        return suite

    def own(self) -> Server:
        """A server that this test may ill-treat."""
        server = Server("nanio")
        self.addCleanup(server.discard)
        server.start()
        return server

    def assert_quiet(self, suite: Suite) -> None:
        """No defect, and no credentials, are in the log."""
        self.assertEqual(suite.defects, [])
        for line in suite.log:
            self.assertNotIn(SECRET, line)
            self.assertNotIn(KEY, line)

    async def test_everything(self) -> None:
        """R28: what clients and the desk send, small and large, is had by both, whole and in ranges."""
        suite = await self.start(shared("nanio"))
        client = await come(self, suite, media="inline")
        expected = 0
        large = random.Random(1).randbytes(11 << 20)
        for data in (PNG, large):
            client.begin(len(data), name="a.png")
            await client.send(cut(data))
            message = (await client.next())["message"]
            status, headers, body = await ask(self, suite, "GET", f"/media/{message}")
            self.assertEqual((status, body), (200, data))
            status, headers, body = await ask(self, suite, "HEAD", f"/media/{message}")
            self.assertEqual((status, headers["content-length"], body), (200, str(len(data)), b""))
            spans = "Range: bytes=0-0, 100-299, -5"
            status, headers, body = await ask(self, suite, "GET", f"/media/{message}", None, spans)
            self.assertEqual(status, 206)
            self.assertIn(data[100:300], body)
            status, _, _ = await ask(self, suite, "POST", "/chats/1/media?name=b&kind=file", data)
            self.assertEqual(status, 201)
            media = await client.next("media")
            self.assertEqual(media["sha256"], digest(data))
            expected += len(data)
            await client.until(lambda: client.bytes == expected)  # noqa: B023
        self.assertFalse((suite.data / "media").exists())
        self.assert_quiet(suite)

    async def test_wrong_credentials(self) -> None:
        """Whom S3 does not know cannot keep media: clients are told to try again, and texts go on."""
        suite = await self.start(shared("nanio"), {**ENVIRONMENT, "AWS_SECRET_ACCESS_KEY": "wrong"})
        client = await come(self, suite)
        client.begin(len(PNG))
        await client.send(cut(PNG))
        status = await client.next()
        self.assertEqual((status["status"], status["code"]), ("error", "storage"))
        client.say(type="text", text="hello")
        self.assertEqual((await client.next())["status"], "saved")
        status_code, headers, _ = await ask(self, suite, "POST", "/chats/1/media?name=b&kind=file", PNG)
        self.assertEqual((status_code, headers["retry-after"]), (503, "5"))
        self.assertTrue(any("SignatureDoesNotMatch" in line for line in suite.log), suite.log)
        self.assert_quiet(suite)

    async def test_wrong_setting(self) -> None:
        """R38: what is wrong with the URL is found by ``--check`` and by a start, with its place."""
        suite = Suite(self, **settings(media="s3://bucket?endpoint=minio:9000"))
        for option in ((), ("--check",)):
            errors = await suite.refusal(*option)
            self.assertIn("[mediachat] media: endpoint is as https://HOST", "\n".join(errors))
            self.assertIn("suite.ini:", errors[0])

    async def test_frozen(self) -> None:
        """R36: while S3 does not answer texts do, media are refused in time, and the suite stops in time."""
        server = self.own()
        suite = await self.start(server, media_timeout=2, media_threads=1)
        client = await come(self, suite)
        client.begin(len(PNG))
        await client.send(cut(PNG))
        message = (await client.next())["message"]
        server.signal("STOP")
        self.addCleanup(server.signal, "CONT")
        client.begin(len(PNG), upload="u")
        await client.next()
        await client.send(cut(PNG))
        client = await come(self, suite, id=8)  # a hello needs a time zone, and that a thread
        client.say(type="text", text="hello")
        self.assertEqual((await client.next())["status"], "saved")
        status, headers, _ = await ask(self, suite, "GET", f"/media/{message}")
        self.assertEqual((status, headers["retry-after"]), (503, "5"))
        server.signal("CONT")

        async def is_back() -> bool:
            status, _, body = await ask(self, suite, "GET", f"/media/{message}")
            return (status, body) == (200, PNG)

        while not await is_back():
            pass
        server.signal("STOP")
        client.begin(len(PNG))
        await client.send(cut(PNG))
        self.assertEqual(await suite.terminate(), 0)
        self.assert_quiet(suite)

    async def test_broken_off(self) -> None:
        """An upload goes on when S3 is back, from what it has."""
        server = self.own()
        suite = await self.start(server, media_timeout=2)
        data = random.Random(2).randbytes(12 << 20)
        client = await come(self, suite)
        client.begin(len(data), upload="u")
        await client.next()
        await client.send(cut(data[: 7 << 20]))
        await poll(
            lambda: any(path.stat().st_size for path in server.folder.glob("**/parts/*.md5")), "a part"
        )
        server.stop()
        await client.send(cut(data[7 << 20 :]))
        self.assertEqual((await client.next())["code"], "storage")
        server.start()
        offsets = []
        while True:
            client.begin(len(data), upload="u")
            status = await client.next()
            if status["status"] == "ready":
                offsets.append(status["offset"])
                await client.send(cut(data[status["offset"] :]))
                status = await client.next()
            if status["status"] == "saved":
                break
            self.assertEqual(status["code"], "storage")
        self.assertEqual(offsets[0], PART)  # where S3 is slow it is broken off again
        _, _, body = await ask(self, suite, "GET", f"/media/{status['message']}")
        self.assertEqual(digest(body), digest(data))
        self.assert_quiet(suite)

    async def test_memory(self) -> None:
        """Large media do not grow the suite: not eight that come at once, nor as many that are not read."""
        suite = await self.start(shared("nanio"), write_timeout=LIMIT)
        size = 24 << 20
        block = random.Random(3).randbytes(FRAME)

        def pieces(number: int) -> Iterator[bytes]:
            for at in range(0, size, FRAME):
                yield number.to_bytes(4, "big") + at.to_bytes(8, "big") + block[12:]

        clients = [await come(self, suite, id=n) for n in range(1, 9)]
        before = resident_kib(suite.program.pid)
        for client in clients:
            client.begin(size)
        await together(client.send(pieces(n)) for n, client in enumerate(clients))
        messages = [(await client.next())["message"] for client in clients]
        self.assertLess(resident_kib(suite.program.pid) - before, 32 << 10)
        readers = [Reader() for _ in messages]
        for reader, message in zip(readers, messages, strict=True):
            await connect(self, suite.ports["mediachat"], reader)
            reader.send(head("GET", f"/media/{message}", None))
            reader.transport.pauseProducing()
        _, _, body = await ask(self, suite, "GET", f"/media/{messages[0]}")
        self.assertEqual(len(body), size)
        self.assertLess(resident_kib(suite.program.pid) - before, 32 << 10)
        for reader in readers:
            reader.transport.resumeProducing()
        for number, reader in enumerate(readers):
            await reader.until(lambda: reader.bytes == size or reader.over, after_end=True)  # noqa: B023
            digests = sha256()
            for piece in pieces(number):
                digests.update(piece)
            self.assertEqual((reader.bytes, reader.hash.digest()), (size, digests.digest()))
        self.assertLess(resident_kib(suite.program.pid) - before, 32 << 10)
        self.assert_quiet(suite)
