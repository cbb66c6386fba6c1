"""Media as files: parts that grow, whole files under their hashes, and what a sweep deletes."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from protosuite.errors import StorageError
from protosuite.mediachat.media import folder
from protosuite.mediachat.media.folder import FilePart, MediaFolder
from protosuite.mediachat.media.interface import WrongHash
from protosuite.mediachat.wire import Head
from protosuite.test.mediachat_peers import OPEN, PARIS, Fixture, digest

HOUR = 3600


def age(path: Path, seconds: float) -> None:
    """Let a file be so old."""
    os.utime(path, (PARIS - seconds, PARIS - seconds))


class FolderTests(SynchronousTestCase):
    """The folder by itself."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.folder = MediaFolder(self.root)
        self.folder.open()
        self.count = 0

    def begin(self, size: int = 3, **more: Any) -> FilePart:
        self.count += 1
        return self.folder.begin(1, Head("a", size, "file", **more), f"{self.count:032}")

    def store(self, data: bytes, **more: Any) -> str:
        part = self.begin(len(data), **more)
        part.write([data])
        return part.finish().sha256

    def parts(self) -> list[Path]:
        return [path for path in (self.root / "parts").iterdir() if path.name != ".boot"]

    def test_restart(self) -> None:
        """At a start the parts with names stay, and those that nobody can come back to go."""
        for upload in ("u", None):
            part = self.begin(upload=upload)
            part.write([b"ab"])
            part.file.close()
        self.folder.open()
        self.assertEqual(len(self.parts()), 1)
        self.assertEqual(self.begin(upload="u").offset, 2)

    def test_unfinished_uploads_are_bounded(self) -> None:
        """Of more unfinished uploads than a chat may have the one left alone for longest goes."""
        for number in range(20):
            part = self.begin(upload=f"u{number}")
            part.write([b"ab"])
            part.close(keep=True)
            os.utime(part.path, (number, number))
        other = self.folder.begin(11, Head("a", 3, "file", upload="u"), "x")
        other.close(keep=True)
        self.assertEqual(len(self.parts()), 16 + 1)
        self.assertEqual([self.begin(upload=f"u{number}").offset for number in (19, 4)], [2, 2])
        self.assertEqual(self.begin(upload="u0").offset, 0)

    def test_other_boot(self) -> None:
        """After the machine was started again no part is trusted; whole files stay."""
        part = self.begin(upload="u")
        part.close(keep=True)
        name = self.store(b"abc")
        self.patch(folder, "_BOOT_ID", self.root / "boot")
        (self.root / "boot").write_text("another\n")
        self.folder.open()
        self.assertEqual((self.parts(), self.folder.read(name).read()), ([], b"abc"))

    def test_longer_part(self) -> None:
        """A part that is longer than its upload, which we never write, begins again."""
        part = self.begin(upload="u")
        part.write([b"abcdef"])
        part.close(keep=True)
        part = self.begin(upload="u")
        self.assertEqual(part.offset, 0)
        part.write([b"abc"])
        self.assertEqual(part.finish().sha256, digest(b"abc"))

    def test_unreadable_part(self) -> None:
        """A part that cannot be read is not left open, and stays."""
        part = self.begin(upload="u")
        part.write([b"abc"])
        part.close(keep=True)
        opened: list[FilePart] = []

        def broken(part: FilePart, piece: bytes) -> None:
            opened.append(part)
            raise OSError(errno.EIO, "broken")

        self.patch(FilePart, "see", broken)
        with self.assertRaises(OSError):
            self.begin(upload="u")
        self.assertEqual(([each.file.closed for each in opened], len(self.parts())), ([True], 1))

    def test_wrong_hash(self) -> None:
        """Nothing stays of what is not what it should be."""
        part = self.begin(upload="u", sha256=digest(b"abd"))
        part.write([b"abc"])
        with self.assertRaises(WrongHash):
            part.finish()
        self.assertEqual(self.parts(), [])

    def test_close_that_fails(self) -> None:
        """A part goes even if the last of it cannot be written."""
        part = self.begin()
        part.write([b"abc"])

        class Full:
            def close(self) -> None:
                raise OSError(errno.ENOSPC, "no room")

        part.file.close()
        part.file = Full()  # type: ignore[assignment]
        with self.assertRaises(OSError):
            part.close(keep=False)
        self.assertEqual(self.parts(), [])

    def test_synced_in_order(self) -> None:
        """R2: a part is synced before it gets its name, and its folder after that, also for a second one."""
        done: list[str] = []
        fsync, replace = os.fsync, os.replace

        def note_sync(descriptor: int) -> None:
            done.append("file" if os.path.isfile(f"/proc/self/fd/{descriptor}") else "folder")
            fsync(descriptor)

        def note_name(old: Path, new: Path) -> None:
            done.append("name")
            replace(old, new)

        self.patch(os, "fsync", note_sync)
        self.patch(os, "replace", note_name)
        self.store(b"abc")
        self.assertEqual(done, ["file", "name", "folder", "folder"])
        done.clear()
        self.store(b"abc")
        self.assertEqual(done, ["file", "folder", "folder"])

    def test_type(self) -> None:
        """A type is found for anything, from its bytes alone."""
        for data, kind in (
            (b"", "application/octet-stream"),
            (b"\0\1\2", "application/octet-stream"),
            (b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01", "image/jpeg"),
            (b"GIF89a" + bytes(10), "image/gif"),
            (b"%PDF-1.7\n", "application/pdf"),
        ):
            part = self.begin(len(data))
            part.write([data])
            self.assertEqual(part.finish().type, kind)

    def test_begin_is_small(self) -> None:
        """What is kept of the beginning is bounded, whether it came or was there."""
        part = self.begin(5_000_000, upload="u")
        part.write([bytes(3_000_000), bytes(1_000_000)])
        self.assertLessEqual(len(part.begin), 1 << 16)
        part.close(keep=True)
        part = self.begin(5_000_000, upload="u")
        self.assertEqual((part.offset, len(part.begin)), (4_000_000, 1 << 16))
        part.close(keep=False)

    def test_taken_up_while_it_is_swept(self) -> None:
        """An old part that is taken up again is young, also in the eyes of a sweep that has begun."""
        self.begin(upload="u").close(keep=True)
        age(self.parts()[0], 0)
        part = self.begin(upload="u")
        self.folder.old_parts(PARIS + 1, [])
        self.assertTrue(part.path.exists())
        part.close(keep=True)

    def test_whole_file_while_it_is_swept(self) -> None:
        """A file that gets its name, again or at last, is young: its row is on its way."""
        part = self.begin(upload="u")
        part.write([b"abc"])
        part.file.flush()
        age(part.path, HOUR)
        name = part.finish().sha256
        self.assertEqual(self.folder.old_files(name[:2], PARIS + 1), [])
        age(self.folder.path(name), HOUR)
        old = self.folder.old_files(name[:2], PARIS + 1)
        self.assertEqual(old, [name])
        self.store(b"abc")
        self.assertEqual(self.folder.sweep(old, PARIS + 1), 0)
        age(self.folder.path(name), HOUR)
        self.assertEqual(self.folder.sweep([*old, "0" * 64], PARIS + 1), 1)


class SweepTests(Fixture):
    """The service sweeps at its start and each ``sweep_interval``."""

    config = evolve(OPEN, ping_interval=1e9)  # nobody answers pings here

    def sweep(self) -> None:
        self.clock.advance(self.config.sweep_interval)
        self.settle()

    def make_young(self) -> None:
        for path in self.root.rglob("*"):
            if path.is_file():
                os.utime(path, (self.clock.seconds(), self.clock.seconds()))

    def test_parts(self) -> None:
        """A part goes when nobody has added to it for ``upload_ttl``, but not while somebody holds it."""
        left = self.client().begin(9, upload="left").binary(b"abc")
        held = self.client(8).begin(9, upload="held").binary(b"abc")
        left.lose()
        self.make_young()
        self.clock.advance(self.config.upload_ttl - 2 * self.config.sweep_interval)
        self.sweep()
        self.assertEqual(len(self.parts()), 2)
        self.clock.advance(2 * self.config.sweep_interval)
        self.sweep()
        self.assertEqual(len(self.parts()), 1)
        self.assertEqual(held.binary(b"defghi").heard()[-1]["status"], "saved")

    def test_files(self) -> None:
        """A file without a message goes when it is an hour old; one with a message never does."""
        self.client().begin(3).binary(b"abc")
        part = self.folder.begin(1, Head("x", 3, "file"), "0" * 32)
        part.write([b"xyz"])
        part.finish()
        self.make_young()
        self.sweep()
        self.assertEqual(len(self.files()), 2)
        self.sweep()
        self.assertEqual(self.files(), [digest(b"abc")])

    def test_discarded_by_the_database(self) -> None:
        """R6: a file whose row could not be stored goes; sent again it is there."""
        client = self.client()
        self.database.no_writes = StorageError("no")
        client.begin(3).binary(b"abc")
        self.assertEqual(client.statuses(), [("error", "storage")])
        self.make_young()
        self.sweep()
        self.sweep()
        self.assertEqual(self.files(), [])
        self.database.no_writes = None
        self.assertEqual(client.begin(3).binary(b"abc").statuses(), [("saved", 1)])
        self.assertEqual(self.ask("GET", "/media/1").body, b"abc")

    def test_a_defect(self) -> None:
        """A failure that is none of the storage is the same to a client, and is logged as what it is."""
        client = self.client()
        self.database.no_writes = ValueError("a defect")
        self.assertEqual(client.text("hi").statuses(), [("error", "storage")])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_goes_on(self) -> None:
        """A sweep that fails is logged once, and the next one sweeps."""
        self.client().begin(9, upload="u").binary(b"abc").lose()
        real = MediaFolder.old_parts

        def fail(*arguments: Any) -> None:
            raise PermissionError("no")

        self.patch(MediaFolder, "old_parts", fail)
        self.clock.advance(self.config.upload_ttl)
        self.settle()
        self.patch(MediaFolder, "old_parts", real)
        for path in (self.root / "parts").iterdir():
            os.utime(path, (0, 0))
        self.sweep()
        self.assertEqual(self.parts(), [])
