"""Media in a folder that nodes share, and the setting that says where media are."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from io import StringIO
from pathlib import Path

from attrs import evolve
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from protosuite.config import MediaChatConfig
from protosuite.errors import StartError
from protosuite.logs import TextObserver
from protosuite.mediachat.media.address import Address, parse, problem
from protosuite.mediachat.media.folder import FilePart, MediaFolder
from protosuite.mediachat.media.interface import MediaStore, MediaUnavailable
from protosuite.mediachat.media.making import make
from protosuite.mediachat.media.shared import SharedFolder
from protosuite.mediachat.wire import Head
from protosuite.test.media_contract import DATA, MIB, PART, MediaContract, digest
from protosuite.test.mediachat_peers import OPEN, Fixture

MINIO = "http://127.0.0.1:9000"


class SharedFolderTests(MediaContract, SynchronousTestCase):
    """Two nodes with one folder."""

    def node(self) -> MediaStore:
        if not hasattr(self, "root"):
            self.root = Path(self.mktemp())
            self.root.mkdir()
        folder = SharedFolder(self.root, PART)
        folder.open()
        return folder

    def parts(self) -> list[str]:
        return sorted(path.name for path in (self.root / "parts").iterdir())

    def test_no_folder(self) -> None:
        """A folder that is not there is not made: a file system that is not mounted would look so."""
        with self.assertRaises(StartError) as caught:
            SharedFolder(self.root / "else", PART).open()
        self.assertIn("is it mounted?", str(caught.exception))
        file = self.root / "file"
        file.touch()
        with self.assertRaises(StartError):
            SharedFolder(file, PART).open()

    def test_start_of_another_node(self) -> None:
        """A node that starts leaves the parts of the others alone."""
        named, nameless = self.begin(self.one, DATA, upload="u"), self.begin(self.one, DATA)
        self.node()
        for part in (named, nameless):
            part.write([DATA])
            self.assertEqual(part.finish().sha256, digest(DATA))
        self.assertEqual(self.parts(), [])

    def test_only_what_is_synced(self) -> None:
        """R1: another node relies on no byte that may be in the cache of a machine that is gone."""
        synced: list[int] = []
        fsync = os.fsync

        def note(descriptor: int) -> None:
            fsync(descriptor)
            synced.append(os.fstat(descriptor).st_size)

        self.patch(os, "fsync", note)
        part = self.begin(self.one, DATA, upload="u")
        part.write([DATA[:PART]])
        part.write([DATA[PART : PART + 1000]])
        self.assertEqual(synced, [PART])
        self.assertEqual(self.begin(self.two, DATA, upload="u").offset, PART)

    def test_closed_in_order(self) -> None:
        """All that came of an upload that was broken off is there, if its node could put it on the disk."""
        part = self.begin(self.one, DATA, upload="u")
        part.write([DATA[:1000]])
        part.close(keep=True)
        self.assertEqual(self.begin(self.two, DATA, upload="u").offset, 1000)
        empty = self.begin(self.one, DATA, upload="v")
        empty.close(keep=True)
        self.assertEqual(len(self.parts()), 1)

    def test_taken_over(self) -> None:
        """Who goes on with an upload leaves one part of it; the other writer hears that it is over."""
        left = self.begin(self.one, DATA, upload="u")
        left.write([DATA[:PART]])
        part = self.begin(self.two, DATA, upload="u")
        self.assertEqual(len(self.parts()), 1)
        with self.assertRaises(MediaUnavailable):
            left.write([DATA[PART : 2 * PART]])
        left.close(keep=False)
        self.assertEqual(len(self.parts()), 1)
        part.write([DATA[PART:]])
        self.assertEqual(part.finish().sha256, digest(DATA))
        self.assertEqual(self.parts(), [])

    def test_no_room_to_take_over(self) -> None:
        """R6: where an upload cannot be taken over for want of room no copy stays, and it can be later."""
        left = self.begin(self.one, DATA, upload="u")
        left.write([DATA[:PART]])
        before = self.parts()
        real = FilePart.write

        def full(part: FilePart, pieces: Iterable[bytes]) -> None:
            real(part, pieces)
            if part.offset >= 2 * MIB:
                raise OSError(errno.ENOSPC, "no room")

        self.patch(FilePart, "write", full)
        for _ in range(3):
            with self.assertRaises(OSError):
                self.begin(self.two, DATA, upload="u")
        self.assertEqual(self.parts(), before)
        self.patch(FilePart, "write", real)
        self.assertEqual(self.begin(self.two, DATA, upload="u").offset, PART)

    def test_two_owners_at_once(self) -> None:
        """Two nodes that name the owner at once do not come between each other, wherever they are."""
        link = os.link

        def late(old: Path, new: Path) -> None:
            self.patch(os, "link", link)
            self.assertTrue(self.two.belongs_to("1.abc.5"))  # with the same process id, as in two containers
            link(old, new)

        self.patch(os, "link", late)
        self.assertTrue(self.one.belongs_to("1.abc.5"))
        self.assertEqual(((self.root / "owner").read_text(), self.parts()), ("1.abc.5", []))

    def test_hidden_files(self) -> None:
        """What a file system keeps under hidden names is no media: a sweep leaves it alone."""
        name = self.store(b"abc")
        folders = (
            self.root / "parts",
            self.root / "media",
            self.root / "media" / name[:2],
            self.root / "aside",
        )
        for folder in folders:
            (folder / ".nfs0001").touch()
            os.utime(folder / ".nfs0001", (0, 0))
        late = time.time() + 3600
        self.one.old_parts(late, [])
        self.assertEqual((self.all(self.one), self.one.put_aside(late)), ([name], []))
        for folder in folders:
            self.assertTrue((folder / ".nfs0001").exists(), folder)

    def test_longer_part(self) -> None:
        """A part that is longer than its upload, which we never write, is not gone on with."""
        part = self.begin(self.one, DATA, upload="u")
        part.write([DATA + b"x"])
        part.close(keep=True)
        self.assertEqual(self.begin(self.two, DATA, upload="u").offset, 0)


class SweepTests(Fixture):
    """A service whose media are in a shared folder sweeps it."""

    config = evolve(OPEN, ping_interval=1e9)  # nobody answers pings here

    def folder_of(self, root: Path) -> MediaStore:
        self.shared = root / "shared"
        self.shared.mkdir(parents=True, exist_ok=True)
        return SharedFolder(self.shared, PART)

    def sweep(self) -> None:
        """A sweep, later than all that there is."""
        for path in self.shared.rglob("*"):
            os.utime(path, (0, 0))
        self.clock.advance(self.config.sweep_interval)
        self.settle()

    def add(self, data: bytes) -> None:
        """A file without a message."""
        part = self.folder.begin(1, Head("x", len(data), "file"), "0" * 32)
        part.write([data])
        part.finish()

    def there(self) -> list[str]:
        """The hashes of all files."""
        return sorted(path.parent.name + path.name for path in (self.shared / "media").glob("*/*"))

    def test_aside_first(self) -> None:
        """A file without a message is put aside by one sweep, and deleted by the next; one with one stays."""
        self.client().begin(3).binary(b"abc")
        self.add(b"xyz")
        self.sweep()
        aside = self.shared / "aside" / digest(b"xyz")
        self.assertEqual((self.there(), aside.exists()), ([digest(b"abc")], True))
        self.sweep()
        self.assertEqual((self.there(), aside.exists()), ([digest(b"abc")], False))

    def test_brought_back(self) -> None:
        """R1: a file that was put aside while its message was being stored is brought back."""
        self.client().begin(3).binary(b"abc")
        os.replace(self.folder.path(digest(b"abc")), self.shared / "aside" / digest(b"abc"))
        self.sweep()
        self.assertEqual(self.there(), [digest(b"abc")])

    def test_media_of_others(self) -> None:
        """A suite that has no media, or others, deletes no file where another keeps its own."""
        self.add(b"theirs")
        self.sweep()
        self.sweep()
        self.assertEqual(self.there(), [digest(b"theirs")])
        (self.shared / "owner").write_text("1.abc.5")
        self.client().begin(3).binary(b"abc")
        self.sweep()
        self.sweep()
        self.assertEqual(self.there(), sorted([digest(b"theirs"), digest(b"abc")]))


class Counting(SharedFolder):
    """A folder that counts how often it is asked for its room, and says what it is told to, or fails."""

    asked = 0
    answer: int | None = None  # None: it fails

    def free(self) -> int | None:
        """How much there is."""
        self.asked += 1
        if self.answer is None:
            raise OSError(errno.ESTALE, "Stale file handle")
        return self.answer


class RoomTests(Fixture):
    """How much room there is for media in a shared folder, as the metrics tell it."""

    def folder_of(self, root: Path) -> MediaStore:
        return Counting(root, PART)

    def setUp(self) -> None:
        super().setUp()
        self.threads.by_hand()

    def told(self) -> float | None:
        """What the metrics say now."""
        [figure] = [each for each in self.service.figures() if each.name == "mediachat_folder_free_bytes"]
        values = [value for _, value in figure.samples if isinstance(value, int)]
        return values[0] if values else None

    def test_seen_now_and_then(self) -> None:
        """Whoever asks is told what was seen seconds ago; before that, and when it fails, nothing."""
        self.folder.answer = 1000
        self.assertIsNone(self.told())
        self.settle()
        self.folder.answer = 2000
        self.assertEqual((self.told(), self.threads.is_busy), (1000, False))
        self.clock.advance(5)
        self.assertEqual(self.told(), 1000)
        self.settle()
        self.assertEqual(self.told(), 2000)
        self.folder.answer = None
        self.clock.advance(5)
        self.told()
        self.settle()
        self.assertIsNone(self.told())

    def test_a_folder_that_hangs(self) -> None:
        """However often it is asked for while the folder hangs, one thread at most waits for the answer."""
        self.folder.answer = 1000
        for _ in range(100):
            self.told()
            self.clock.advance(5)
        self.settle()
        self.assertEqual((self.folder.asked, self.told()), (1, 1000))

    def test_other_places(self) -> None:
        """A folder of one node is on the disk of the data, of which others tell, and S3 has no end."""
        for media in ("local", "s3://bucket"):
            store = make(evolve(MediaChatConfig(), media=media), Path(self.mktemp()))
            self.assertIsNone(store.free(), media)


class StopTests(Fixture):
    """R31: a stop while media are being written in a shared folder."""

    def folder_of(self, root: Path) -> MediaStore:
        return SharedFolder(root, PART)

    def setUp(self) -> None:
        super().setUp()
        self.client().begin(10, upload="u")
        self.threads.by_hand()
        self.said = StringIO()
        observer = TextObserver(self.said)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def test_a_folder_that_hangs(self) -> None:
        """R31: it is waited for as long as it was said, the log says which it is, and the stop goes on."""
        self.sockets[0].binary(b"abc")
        stopping = self.service.stopService()
        self.clock.advance(9.9)
        self.assertNoResult(stopping)
        self.assertEqual(self.said.getvalue(), "")
        self.clock.advance(0.1)
        self.successResultOf(stopping)
        self.assertIn(f"media in {self.root}: no answer within 10 s", self.said.getvalue())
        self.settle()
        self.assertEqual(len(self.parts()), 1)  # it was let go on, and ends as it should

    def test_nothing_is_written(self) -> None:
        """R31: nor does a folder that hangs keep the stop where nobody but the metrics has asked for it."""
        self.sockets[0].binary(bytes(10))
        self.settle()
        list(self.service.figures())
        stopping = self.service.stopService()
        self.assertNoResult(stopping)
        self.clock.advance(10)
        self.successResultOf(stopping)
        self.assertIn("does not wait for 1 calls", self.said.getvalue())

    def test_a_folder_that_answers(self) -> None:
        """R31: what has come of an upload is written, and then nothing is waited for."""
        self.sockets[0].binary(b"abc")
        timers = self.clock.getDelayedCalls()
        stopping = self.service.stopService()
        self.assertNoResult(stopping)
        self.settle()
        self.successResultOf(stopping)
        self.assertEqual((len(self.parts()), self.said.getvalue()), (1, ""))
        self.assertIn(".3.", self.parts()[0])
        self.assertLessEqual(set(self.clock.getDelayedCalls()), set(timers))


class SettingTests(SynchronousTestCase):
    """``[mediachat] media``."""

    def test_urls(self) -> None:
        """A URL says bucket, prefix, endpoint, region and style."""
        for url, address in (
            ("s3://bucket", Address("bucket")),
            ("s3://bucket/", Address("bucket")),
            ("s3://bucket/a/b_c/", Address("bucket", "a/b_c/")),
            (f"s3://bucket/a?endpoint={MINIO}", Address("bucket", "a/", MINIO)),
            (
                "s3://b.k.t?region=eu-central-1&style=virtual",
                Address("b.k.t", "", None, "eu-central-1", "virtual"),
            ),
        ):
            self.assertEqual(parse(url), address)

    def test_wrong_urls(self) -> None:
        """R38: what is wrong with a URL is said, and no credentials with it."""
        for url, what in (
            ("s4://bucket", "begins with s3://"),
            ("s3://", "name of a bucket"),
            ("s3://Bucket", "name of a bucket"),
            ("s3://bu", "name of a bucket"),
            ("s3://KEY:SECRET@bucket", "AWS_ACCESS_KEY_ID"),
            ("s3://bucket/../x", "a prefix is made of"),
            ("s3://bucket/a//b", "a prefix is made of"),
            ("s3://bucket/" + "x" * 600, "a prefix is made of"),
            ("s3://bucket?endpiont=x", "not 'endpiont'"),
            ("s3://bucket?region=a&region=b", "twice"),
            ("s3://bucket?region", "name=value"),
            ("s3://bucket?region=EU", "region is a name"),
            ("s3://bucket?style=both", "style is one of"),
            ("s3://bucket#x", "behind a #"),
            ("s3://bucket?endpoint=host:9000", "endpoint is as"),
            ("s3://bucket?endpoint=http://host/path", "endpoint is as"),
            ("s3://bucket?endpoint=http://host:x", "endpoint is no URL"),
            ("s3://bucket?endpoint=http://KEY:SECRET@host", "AWS_ACCESS_KEY_ID"),
        ):
            with self.assertRaises(ValueError, msg=url) as caught:
                parse(url)
            self.assertIn(what, str(caught.exception))
            self.assertNotIn("SECRET@", str(caught.exception))

    def test_shown(self) -> None:
        """An address is told as a person would write it."""
        self.assertEqual(str(parse(f"s3://bucket/a?endpoint={MINIO}")), f"s3://bucket/a/ at {MINIO}")

    def test_made(self) -> None:
        """Each form of the setting means a store of its own; a wrong URL is no start."""
        root = Path(self.mktemp())
        config = MediaChatConfig()
        self.assertEqual(type(make(config, root)), MediaFolder)
        shared = make(evolve(config, media="/mnt/media"), root)
        self.assertEqual(type(shared), SharedFolder)
        s3 = make(evolve(config, media="s3://bucket"), root)
        self.assertEqual(type(s3).__name__, "S3Store")
        with self.assertRaises(StartError) as caught:
            make(evolve(config, media="s3://Bucket"), root)
        self.assertIn("[mediachat] media: behind s3://", str(caught.exception))

    def test_looked_at(self) -> None:
        """Only a URL has more to it than its form; without boto3 it says what to install."""
        self.assertIsNone(problem("local"))
        self.assertIsNone(problem("/mnt/media"))
        self.assertIn("bucket", problem("s3://Bucket") or "")
