"""Media of three nodes with one database: whatever becomes of the node that has an upload in hand."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.cluster.nodes import Node, Nodes
from tests.mediachat_peers import OPEN, Client, ask, come, cut
from tests.processes import LIMIT, poll
from tests.s3 import ENVIRONMENT, shared

PART = 5 << 20
DATA = random.Random(8).randbytes(23 << 20)
BEFORE = 17 << 20  # bytes that come before something happens
HEAD: dict[str, Any] = {"upload": "film", "sha256": sha256(DATA).hexdigest()}


class Place:
    """Where media are: `setting` says it, and `parts` tells how many parts of uploads are safe there."""

    def __init__(self, setting: str, parts: Callable[[], int]) -> None:
        self.setting = setting
        self.parts = parts


class MediaCase:
    """Mixed into a test case: the same for every place."""

    timeout = 2 * LIMIT

    def place(self: Any) -> Place:
        """A new one."""
        raise NotImplementedError

    async def start(self: Any) -> list[Node]:
        """Three nodes."""
        self.patch(os, "environ", {**os.environ, **ENVIRONMENT})
        self.where = self.place()
        media = OPEN | {"media": self.where.setting, "media_part": PART}
        nodes = Nodes(self, 3, suite={"services": "mediachat, admin"}, mediachat=media)
        await nodes.start()
        return nodes.nodes

    async def send_some(self: Any, node: Node) -> Client:
        """A client that has sent a part of its file, of which a part is safe."""
        client = await come(self, node, media="link")
        client.begin(len(DATA), **HEAD)
        self.assertEqual((await client.next())["offset"], 0)
        await client.send(cut(DATA[:BEFORE]))
        await poll(lambda: self.where.parts() >= BEFORE // PART, "parts are safe")
        return client

    async def go_on(self: Any, node: Node) -> int:
        """The client goes on at a node: the message."""
        client = await come(self, node, media="link")
        client.begin(len(DATA), **HEAD)
        ready = await client.next()
        self.assertEqual(ready["status"], "ready", ready)
        self.assertLessEqual(BEFORE - BEFORE % PART, ready["offset"])
        self.assertLessEqual(ready["offset"], BEFORE)
        await client.send(cut(DATA[ready["offset"] :]))
        saved = await client.next()
        self.assertEqual(saved["status"], "saved", saved)
        return int(saved["message"])

    async def assert_there(self: Any, node: Node, message: int) -> None:
        """The file is right, whole and in part."""
        status, headers, body = await ask(self, node, "GET", f"/media/{message}")
        self.assertEqual((status, sha256(body).hexdigest()), (200, HEAD["sha256"]))
        self.assertEqual(headers["etag"], f'"{HEAD["sha256"]}"')
        first, last = PART - 10, 2 * PART + 10
        some = f"Range: bytes={first}-{last}"
        status, headers, body = await ask(self, node, "GET", f"/media/{message}", None, some)
        self.assertEqual((status, body), (206, DATA[first : last + 1]))

    async def test_node_is_killed(self: Any) -> None:
        """R1, R28: an upload whose node is killed goes on at another, and a third has the file."""
        one, two, three = await self.start()
        await self.send_some(one)
        await one.kill()
        await self.assert_there(three, await self.go_on(two))
        for node in (one, two, three):
            self.assertEqual(node.defects, [])

    async def test_node_is_frozen(self: Any) -> None:
        """R3, R28: a node that thaws when its upload has been finished elsewhere harms nothing."""
        one, two, three = await self.start()
        client = await self.send_some(one)
        one.program.signal("STOP")
        rest = Deferred.fromCoroutine(client.send(cut(DATA[BEFORE:])))  # and more, to the one that is frozen
        message = await self.go_on(two)
        one.program.signal("CONT")
        await rest
        heard = await client.next()
        self.assertIn((heard["status"], heard.get("code")), [("error", "storage"), ("saved", None)])
        if heard["status"] == "saved":
            self.assertEqual(heard["message"], message)
        await self.assert_there(three, message)
        await self.assert_there(one, message)
        for node in (one, two, three):
            self.assertEqual(node.defects, [])

    async def test_client_comes_back_elsewhere(self: Any) -> None:
        """R3: asked again at another node an upload that has been stored is said to be, and is there once."""
        one, two, _ = await self.start()
        await self.send_some(one)
        message = await self.go_on(one)
        client = await come(self, two, media="link")
        client.begin(len(DATA), **HEAD)
        again = await client.next()
        self.assertEqual((again["status"], again["message"]), ("saved", message))


class SharedFolderTests(MediaCase, TestCase):
    """In a folder."""

    def place(self) -> Place:
        root = Path(self.mktemp()).absolute()
        root.mkdir(parents=True)

        def parts() -> int:
            names = [path.name.split(".") for path in (root / "parts").iterdir()]
            return max((int(name[1]) for name in names if len(name) == 3), default=0) // PART

        return Place(str(root), parts)


class S3Tests(MediaCase, TestCase):
    """In S3."""

    kind: ClassVar = "nanio"

    def place(self) -> Place:
        server = shared(self.kind)
        bucket = server.bucket()
        client = server.client()

        def parts() -> int:
            uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
            counts = [
                len(client.list_parts(Bucket=bucket, Key=u["Key"], UploadId=u["UploadId"]).get("Parts", ()))
                for u in uploads
            ]
            return max(counts, default=0)

        return Place(server.url(bucket), parts)


class MotoTests(S3Tests):
    """In another S3."""

    kind: ClassVar = "moto"
