"""What holds wherever nodes keep their media together: the same tests for a shared folder and for S3."""

from __future__ import annotations

import contextlib
import time
from hashlib import sha256
from random import Random
from typing import Any

from protosuite.mediachat.media.interface import (
    MOST_PARTS,
    MediaStore,
    MediaUnavailable,
    Part,
    WrongHash,
)
from protosuite.mediachat.wire import Head

PART = 5 << 20  # bytes: the least that S3 takes
MIB = 1 << 20
DATA = Random(8).randbytes(12 * MIB + 345)  # two parts, and a rest
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(300)


def digest(data: bytes) -> str:
    """A SHA-256 as the protocol has it."""
    return sha256(data).hexdigest()


class MediaContract:
    """Mixed into a test case. :meth:`node` gives another node's view of the same place."""

    def node(self) -> MediaStore:
        """Of a node that has started."""
        raise NotImplementedError

    def setUp(self) -> None:
        self.one, self.two = self.node(), self.node()
        self.count = 0

    def begin(self, node: MediaStore, data: bytes, chat: int = 1, **more: Any) -> Part:
        """Begin an upload of these bytes."""
        self.count += 1
        return node.begin(chat, Head("a.bin", len(data), "file", **more), f"{self.count:032}")

    def store(self, data: bytes, **more: Any) -> str:
        """Store a file at the first node: its hash."""
        part = self.begin(self.one, data, **more)
        part.write([data])
        return part.finish().sha256

    def bytes_of(self, node: MediaStore, name: str) -> bytes:
        """A whole file, read as a download does."""
        file = node.read(name)
        try:
            return b"".join(iter(lambda: file.read(64 << 10), b""))
        finally:
            file.close()

    def all(self, node: MediaStore) -> list[str]:
        """The hashes of all files, also of those that have just been stored."""
        late = time.time() + 3600
        return sorted(name for prefix in node.prefixes() for name in node.old_files(prefix, late))

    def test_sizes(self: Any) -> None:
        """R28: what is read at another node is what was written, for every size around that of a part."""
        for size in (0, 1, PART - 1, PART, PART + 1, 2 * PART, len(DATA)):
            data = DATA[:size]
            part = self.begin(self.one, data)
            part.write([data[at : at + MIB] for at in range(0, size, MIB)])
            stored = part.finish()
            self.assertEqual((stored.sha256, stored.size), (digest(data), size))
            self.assertEqual(self.bytes_of(self.two, stored.sha256), data)

    def test_unknown_size(self: Any) -> None:
        """What says no size before it comes is stored as well."""
        for size in (0, 1, PART, len(DATA)):
            part = self.one.begin(1, Head("a", 0, "file"), f"unknown{size}")
            part.write([DATA[:size]])
            self.assertEqual(part.finish().sha256, digest(DATA[:size]))

    def test_type(self: Any) -> None:
        """The type is that of the bytes, wherever the first of them were taken."""
        self.assertEqual(self.begin(self.one, b"").finish().type, "application/octet-stream")
        data = PNG + DATA
        part = self.begin(self.one, data, upload="u")
        part.write([data[: 2 * PART]])
        part = self.begin(self.two, data, upload="u")
        part.write([data[part.offset :]])
        self.assertEqual(part.finish().type, "image/png")

    def test_another_node_goes_on(self: Any) -> None:
        """An upload whose node was killed goes on at another, from where it says, and is whole then."""
        left = self.begin(self.one, DATA, upload="u")
        left.write([DATA[: 11 * MIB]])  # and nobody closes it
        part = self.begin(self.two, DATA, upload="u")
        self.assertLessEqual(11 * MIB - part.offset, PART)
        self.assertGreater(part.offset, 0)
        part.write([DATA[part.offset :]])
        stored = part.finish()
        self.assertEqual((stored.sha256, stored.size), (digest(DATA), len(DATA)))
        self.assertEqual(self.bytes_of(self.one, stored.sha256), DATA)

    def test_node_thaws(self: Any) -> None:
        """What a node still writes of an upload that another has finished harms nothing, and is refused."""
        frozen = self.begin(self.one, DATA, upload="u")
        frozen.write([DATA[: 11 * MIB]])
        part = self.begin(self.two, DATA, upload="u")
        part.write([DATA[part.offset :]])
        name = part.finish().sha256
        with self.assertRaises(MediaUnavailable):
            frozen.write([bytes(len(DATA) - 11 * MIB)])
            frozen.finish()
        frozen.close(keep=True)
        self.assertEqual(self.bytes_of(self.two, name), DATA)
        self.assertEqual(self.all(self.two), [name])

    def test_two_nodes_at_once(self: Any) -> None:
        """Of two nodes that have the same upload at once none puts a wrong file under a name."""
        one = self.begin(self.one, DATA, upload="u")
        one.write([DATA[: PART + 1]])
        two = self.begin(self.two, DATA, upload="u")
        wrong = bytes(len(DATA) - two.offset)
        for part, data in ((two, wrong[: 6 * MIB]), (one, DATA[PART + 1 :]), (two, wrong[6 * MIB :])):
            with contextlib.suppress(MediaUnavailable):
                part.write([data])
        for part in (one, two):
            with contextlib.suppress(MediaUnavailable):
                part.finish()
            part.close(keep=True)
        stored = self.all(self.one)
        self.assertNotEqual(stored, [])
        for name in stored:
            self.assertEqual(digest(self.bytes_of(self.one, name)), name)

    def test_other_head(self: Any) -> None:
        """An upload that differs in its size, its name or its hash is another, and begins anew."""
        part = self.begin(self.one, DATA, upload="u")
        part.write([DATA])
        part.close(keep=True)
        self.assertEqual(self.begin(self.two, DATA[:-1], upload="u").offset, 0)
        self.assertEqual(self.begin(self.two, DATA, upload="u", sha256="0" * 64).offset, 0)
        self.assertEqual(self.begin(self.two, DATA, upload="u", chat=2).offset, 0)

    def test_nothing_is_seen_before(self: Any) -> None:
        """No file has a name before it is whole, and one that was given up never has."""
        part = self.begin(self.one, DATA)
        part.write([DATA])
        self.assertEqual(self.all(self.two), [])
        part.close(keep=True)  # it has no name to be found by
        self.assertEqual(self.all(self.two), [])
        with self.assertRaises(FileNotFoundError):
            self.two.read(digest(DATA))

    def test_wrong_hash(self: Any) -> None:
        """Nothing stays of what is not what was announced, whether one node has seen all of it or not."""
        for taken in (False, True):
            part = self.begin(self.one, DATA, upload="u", sha256=digest(b"else"))
            part.write([DATA[: 11 * MIB]])
            if taken:
                part = self.begin(self.two, DATA, upload="u", sha256=digest(b"else"))
            part.write([DATA[part.offset :]])
            with self.assertRaises(WrongHash):
                part.finish()
            part.close(keep=True)
            again = self.begin(self.two, DATA, upload="u", sha256=digest(b"else"))
            self.assertEqual(again.offset, 0)
            again.close(keep=False)
        self.assertEqual(self.all(self.two), [])

    def test_small_wrong_hash(self: Any) -> None:
        """The same for what is less than a part."""
        part = self.begin(self.one, b"abc", sha256=digest(b"abd"))
        part.write([b"abc"])
        with self.assertRaises(WrongHash):
            part.finish()
        part.close(keep=False)
        self.assertEqual(self.all(self.two), [])

    def test_ranges(self: Any) -> None:
        """R28: any range of a file is that of the bytes, forth and back."""
        name = self.store(DATA)
        file = self.two.read(name)
        random = Random(1)
        for _ in range(20):
            first = random.randrange(len(DATA))
            size = random.choice((1, 1000, 64 << 10, 900_000))
            file.seek(first)
            found = b""
            while len(found) < size and (block := file.read(min(64 << 10, size - len(found)))):
                found += block
            self.assertEqual(found, DATA[first : first + size])
        file.seek(len(DATA))
        self.assertEqual(file.read(10), b"")
        file.close()

    def test_unfinished_uploads_are_bounded(self: Any) -> None:
        """Of more unfinished uploads than a chat may have the oldest go, wherever they were begun."""
        for number in range(MOST_PARTS + 2):
            node = (self.one, self.two)[number % 2]
            part = self.begin(node, DATA, upload=f"u{number}")
            part.write([DATA[: PART + 1]])
            part.close(keep=True)
        found = []
        for number in reversed(range(MOST_PARTS + 2)):
            part = self.begin(self.one, DATA, upload=f"u{number}")
            found.append(part.offset > 0)
            part.close(keep=True)
        self.assertEqual(sum(found), MOST_PARTS)

    def test_old_parts(self: Any) -> None:
        """What nobody comes back for goes; what somebody has in hand here, or came lately, stays."""
        left = self.begin(self.one, DATA, upload="left")
        held = self.begin(self.two, DATA, upload="held")
        for part in (left, held):
            part.write([DATA[: PART + 1]])
        self.two.old_parts(time.time() - 3600, [])
        self.two.old_parts(time.time() + 3600, [held])
        self.assertEqual(self.begin(self.one, DATA, upload="left").offset, 0)
        held.write([DATA[PART + 1 :]])
        self.assertEqual(held.finish().sha256, digest(DATA))

    def test_swept(self: Any) -> None:
        """A file that no message has is put aside, and deleted the next time."""
        late = time.time() + 3600
        name = self.store(b"abc")
        self.assertEqual(self.one.sweep([name, "0" * 64], late), 1)
        self.assertEqual(self.all(self.two), [])
        self.assertEqual(self.two.put_aside(time.time() - 3600), [])
        self.assertEqual(self.two.put_aside(late), [name])
        self.two.forget([name])
        self.one.forget([name])  # it sweeps at the same time
        self.assertEqual(self.two.put_aside(late), [])
        with self.assertRaises(FileNotFoundError):
            self.one.read(name)

    def test_wanted_after_all(self: Any) -> None:
        """What is swept while another node stores a message with it can be had again."""
        late = time.time() + 3600
        for back in (lambda name: self.bytes_of(self.two, name), lambda name: self.two.restore([name])):
            name = self.store(b"abc")
            self.one.sweep([name], late)
            back(name)
            self.assertEqual(self.bytes_of(self.one, name), b"abc")
            self.assertEqual(self.one.put_aside(late), [])

    def test_stored_again(self: Any) -> None:
        """The same bytes are one file, which is young again each time."""
        name = self.store(b"abc")
        after = int(time.time()) + 1  # S3 tells whole seconds
        while time.time() < after + 0.1:  # the clock of a file system is a little behind
            self.assertEqual(self.store(b"abc"), name)
        self.store(b"abc")
        self.assertEqual(self.one.old_files(name[:2], after), [])
        self.assertEqual(self.all(self.two), [name])

    def test_owner(self: Any) -> None:
        """The media of one database are told from those of another by all nodes."""
        self.assertFalse(self.one.belongs_to(None))
        self.assertTrue(self.one.belongs_to("1.abc.5"))
        self.assertTrue(self.two.belongs_to("1.abc.5"))
        self.assertFalse(self.two.belongs_to(None))
        with self.assertRaises(MediaUnavailable):
            self.two.belongs_to("1.abd.5")
        self.one.old_parts(time.time() + 3600, [])
        self.assertTrue(self.one.belongs_to("1.abc.5"))
