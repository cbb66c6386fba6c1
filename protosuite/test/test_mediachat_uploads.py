"""Uploads on their way to the disk: how much is written at once, and how much may wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from protosuite.mediachat.media import folder
from protosuite.mediachat.media.folder import FilePart, MediaFolder
from protosuite.mediachat.media.interface import Stored
from protosuite.mediachat.media.upload import GATHER, TakenOver, Upload
from protosuite.mediachat.media.uploads import Uploads
from protosuite.mediachat.wire import Head
from protosuite.storage.workers import Calls
from protosuite.test.mediachat_peers import OPEN
from protosuite.testing import HandWorker

KIB, MIB = 1 << 10, 1 << 20


class Sending:
    """Where the bytes of an upload come from."""

    def __init__(self) -> None:
        self.relieved = 0
        self.outcome: Stored | Failure | None = None

    def upload_begun(self, upload: Upload, offset: int) -> None:
        """It may begin."""

    def upload_relieved(self) -> None:
        self.relieved += 1

    def upload_done(self, upload: Upload, outcome: Stored | Failure) -> None:
        self.outcome = outcome


class UploadTests(SynchronousTestCase):
    """With a thread that works when it is told to."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.root = Path(self.mktemp())
        self.thread = HandWorker()
        self.answers: deque[tuple[Any, ...]] = deque()
        self.uploads = self.make()
        self.sizes: list[int] = []  # of what each call has written
        self.pieces: list[int] = []  # of what the last of them has
        write = FilePart.write

        def written(part: FilePart, pieces: Iterable[bytes]) -> None:
            kept = list(pieces)
            self.pieces = list(map(len, kept))
            self.sizes.append(sum(self.pieces))
            write(part, kept)

        self.patch(FilePart, "write", written)

    def make(self, **changes: Any) -> Uploads:
        """Those of a node."""
        self.folder = MediaFolder(self.root)
        self.folder.open()
        calls = Calls(self.thread, lambda *call: self.answers.append(call))
        return Uploads(self.folder, calls, self.clock, Random(1), evolve(OPEN, **changes))

    def hear(self) -> None:
        """Let the reactor hear of one call."""
        call, *arguments = self.answers.popleft()
        call(*arguments)

    def work(self) -> None:
        """Let the thread do what it has to, and the reactor hear of it."""
        while self.thread.tasks or self.answers:
            self.thread.run()
            while self.answers:
                self.hear()

    def begin(self, size: int = 1 << 30) -> tuple[Upload, Sending]:
        sending = Sending()
        upload = self.uploads.begin(1, Head("a", size, "file"), sending)
        self.work()
        return upload, sending

    def test_gathered(self) -> None:
        """What comes fast is written in calls of half of what may wait; nothing waits longer than GATHER."""
        upload, sending = self.begin()
        for _ in range(9):
            upload.feed(bytes(256 * KIB))
            self.work()
        self.assertEqual((self.sizes, sending.relieved, upload.waiting), ([MIB, MIB], 2, 256 * KIB))
        self.clock.advance(GATHER * 0.9)
        upload.feed(b"x")
        self.work()
        self.assertEqual(self.sizes, [MIB, MIB])
        self.clock.advance(GATHER * 0.1)
        self.work()
        self.assertEqual((self.sizes[2:], upload.waiting), ([256 * KIB + 1], 0))
        self.clock.advance(60)
        self.work()
        self.assertEqual(len(self.sizes), 3)
        upload.feed(b"y")
        self.clock.advance(GATHER)
        self.work()
        self.assertEqual(self.sizes[3:], [1])
        upload.abandon()
        self.work()

    def test_while_the_disk_is_slow(self) -> None:
        """What comes while a call is writing waits for its end, and is written with one call then."""
        upload, sending = self.begin()
        upload.feed(bytes(MIB))
        for _ in range(8):
            upload.feed(bytes(256 * KIB))
            self.clock.advance(GATHER)
        self.assertEqual((upload.waiting, sending.relieved), (3 * MIB, 0))
        self.thread.run()
        self.hear()
        self.assertEqual((self.sizes, sending.relieved), ([MIB], 0))  # as much waits as may
        self.thread.run()
        upload.feed(bytes(MIB))
        self.hear()
        self.assertEqual((self.sizes, upload.waiting, sending.relieved), ([MIB, 2 * MIB], MIB, 1))
        self.work()
        self.assertEqual((self.sizes, sending.relieved), ([MIB, 2 * MIB, MIB], 2))
        upload.abandon()
        self.work()

    def test_end(self) -> None:
        """At its end the rest is written at once, and no timer is left; so it is where one is given up."""
        data = bytes(range(256)) * 4096
        upload, sending = self.begin(len(data))
        upload.feed(data[:-9])
        self.work()
        upload.feed(data[-9:])
        upload.finish()
        self.assertEqual(len(self.thread.tasks), 1)
        self.work()
        assert isinstance(sending.outcome, Stored)
        self.assertEqual(sending.outcome.sha256, sha256(data).hexdigest())
        self.assertEqual(self.folder.path(sending.outcome.sha256).read_bytes(), data)
        upload, sending = self.begin()
        upload.feed(b"abc")
        upload.abandon()
        self.work()
        self.assertEqual(self.sizes[1:], [3])
        upload = self.uploads.begin(1, Head("a", 9, "file"), sending)  # its file is not open
        upload.feed(b"abc")
        upload.abandon()
        self.work()
        self.assertEqual((len(self.uploads), self.clock.getDelayedCalls()), (0, []))

    def test_given_up_behind_another(self) -> None:
        """One that is given up while it waits for another writes nothing, and no timer is left."""
        first, sending = self.begin()
        second = self.uploads.begin(1, Head("a", 9, "file"), sending, first)
        second.feed(b"abc")
        second.abandon()
        first.abandon()
        self.work()
        self.assertEqual((len(self.uploads), self.sizes, self.clock.getDelayedCalls()), (0, [], []))

    def test_small_pieces(self) -> None:
        """Single bytes are kept as what they are, and not as so many objects; all arrive in their order."""
        data = bytes(range(256)) * 40
        upload, sending = self.begin(len(data) + 5000)
        for at in range(5000):
            upload.feed(data[at : at + 1])
        upload.feed(bytes(5000))
        for at in range(5000, len(data)):
            upload.feed(data[at : at + 1])
        upload.finish()
        self.work()
        self.assertEqual(self.pieces, [5000, 5000, len(data) - 5000])
        assert isinstance(sending.outcome, Stored)
        stored = self.folder.path(sending.outcome.sha256).read_bytes()
        self.assertEqual(stored, data[:5000] + bytes(5000) + data[5000:])

    def test_failure(self) -> None:
        """Where the disk fails, what waits is dropped, and no timer is left."""

        def fail(part: FilePart, pieces: Iterable[bytes]) -> None:
            raise OSError(5, "input/output error")

        self.patch(FilePart, "write", fail)
        upload, sending = self.begin()
        upload.feed(bytes(MIB))
        upload.feed(b"x")
        self.work()
        self.assertIsInstance(sending.outcome, Failure)
        self.assertEqual((upload.waiting, self.clock.getDelayedCalls()), (0, []))

    def test_received_in_a_thread(self) -> None:
        """What a thread receives comes behind what has come, and other work gets its turn in between."""
        data = bytes(range(256)) * 40
        upload, sending = self.begin(len(data))
        turns: list[str] = []
        rest = [data[at : at + 1000] for at in range(5000, 9000, 1000)]

        def receive(give: Callable[[bytes], None]) -> bool:
            turns.append("received")
            give(rest.pop(0))
            return len(rest) > 0

        def other() -> None:
            turns.append("other")

        upload.feed(data[:5000])
        upload.receive(receive, lambda: turns.append("done"))
        self.thread.do(other)
        self.work()
        self.assertEqual(turns, ["received", "other", "received", "received", "received", "done"])
        self.assertEqual((self.sizes, upload.waiting, sending.relieved), ([5000] + [1000] * 4, 0, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        upload.feed(data[9000:])
        upload.finish()
        self.work()
        assert isinstance(sending.outcome, Stored)
        self.assertEqual(sending.outcome.sha256, sha256(data).hexdigest())

    def test_received_no_longer(self) -> None:
        """An upload that is given up while a thread receives ends with what that has, and is done then."""
        upload, sending = self.begin()
        turns: list[str] = []

        def receive(give: Callable[[bytes], None]) -> bool:
            give(b"abc")
            upload.take_over()
            return True

        upload.receive(receive, lambda: turns.append("done"))
        self.work()
        self.assertEqual((self.sizes, turns, len(self.uploads)), ([3], ["done"], 0))
        assert isinstance(sending.outcome, Failure)
        self.assertIsInstance(sending.outcome.value, TakenOver)

    def test_received_and_failed(self) -> None:
        """Whatever fails, whoever lent what is received from has it back before it hears of the failure."""

        def fail(part: FilePart, pieces: Iterable[bytes]) -> None:
            raise OSError(5, "input/output error")

        self.patch(FilePart, "write", fail)
        outcomes: list[object] = []

        def receive(give: Callable[[bytes], None]) -> bool:
            give(b"abc")
            return True

        upload, sending = self.begin()
        upload.receive(receive, lambda: outcomes.append(sending.outcome))
        self.work()
        self.assertIsInstance(sending.outcome, Failure)
        upload, other = self.begin()
        upload.feed(bytes(MIB))  # which is about to fail
        upload.receive(receive, lambda: outcomes.append(other.outcome))
        self.work()
        self.assertIsInstance(other.outcome, Failure)
        self.assertEqual((outcomes, self.clock.getDelayedCalls()), ([None, None], []))

    def test_shares(self) -> None:
        """All uploads together have so much waiting, each at least 64 KiB: the more, the less each has."""
        self.uploads = self.make(max_unwritten=2 * MIB, max_unwritten_total=8 * MIB)
        self.assertEqual(self.uploads.allowance, 2 * MIB)
        begun = [self.begin()[0] for _ in range(4)]
        self.assertEqual(self.uploads.allowance, 2 * MIB)
        begun += [self.begin()[0] for _ in range(12)]
        self.assertEqual(self.uploads.allowance, MIB // 2)
        for upload in begun:
            upload.feed(bytes(MIB // 4))
        self.assertEqual(self.uploads.unwritten, 4 * MIB)
        self.work()
        self.assertEqual((self.uploads.unwritten, self.sizes), (0, [MIB // 4] * 16))
        begun += [self.begin()[0] for _ in range(184)]
        self.assertEqual(self.uploads.allowance, 64 * KIB)
        for upload in begun:
            upload.abandon()
        self.work()
        self.assertEqual((len(self.uploads), self.uploads.allowance), (0, 2 * MIB))

    def test_disk_begins(self) -> None:
        """The disk is told to begin with each block of 8 MiB that is complete, and of each once."""
        told: list[tuple[int, int]] = []
        self.patch(folder, "_begin_writing", lambda file, begin, end: told.append((begin, end)))
        upload, _ = self.begin()
        for _ in range(17):
            upload.feed(bytes(MIB))
            self.work()
        self.assertEqual(told, [(0, 8 * MIB), (8 * MIB, 16 * MIB)])
        upload.abandon()
        self.work()

    def test_disk_begins_behind_what_is_there(self) -> None:
        """Of an upload that goes on the disk is told from the block on in which that is."""
        told: list[tuple[int, int]] = []
        self.patch(folder, "_begin_writing", lambda file, begin, end: told.append((begin, end)))
        for size in (20 * MIB, 3 * MIB, 3 * MIB):
            part = self.folder.begin(1, Head("a", 1 << 30, "file", upload="u"), "1")
            part.write([bytes(size)])
            part.close(keep=True)
        self.assertEqual(told, [(0, 16 * MIB), (16 * MIB, 24 * MIB)])
