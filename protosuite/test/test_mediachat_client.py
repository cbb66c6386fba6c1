"""The media chat's client against the real service, in memory."""

from __future__ import annotations

import errno
import fcntl
import gc
import io
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import sqlalchemy as sa
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from protosuite.config import MediaChatConfig
from protosuite.errors import Overloaded, ServerRefused, StorageError
from protosuite.hours import parse
from protosuite.mediachat.client import MediaChatClientFactory, Received, chat_url
from protosuite.mediachat.media.folder import FilePart, MediaFolder
from protosuite.mediachat.saving import SaveFolder, StateFile, Taken, WrongBytes, numbered, safe_name
from protosuite.mediachat.server import MediaChatService
from protosuite.mediachat.store import MediaChatStore
from protosuite.mediachat.tables import New, messages
from protosuite.mediachat.wire import KINDS, Status, encode
from protosuite.storage.workers import Calls, Task
from protosuite.testing import HandWorker, Line, database

ALWAYS = {f"hours_{kind}": parse("always") for kind in ("text", *KINDS)}
PIECE = 64 << 10


class Later(HandWorker):
    """A worker that is never done before its task has been given to it. With `at_once` it is soon."""

    def do(self, task: Task) -> None:
        self.tasks.append(task)


class WorkedLine(Line):
    """A line; while bytes travel on it, `workers` work."""

    workers: tuple[Later, ...] = ()

    def pump(self) -> None:
        super().pump()
        while sum(worker.run() for worker in self.workers if worker.at_once):
            super().pump()


def by_hand(worker: HandWorker) -> Calls:
    """Calls on a worker that a test steps."""
    return Calls(worker, lambda call, *arguments: call(*arguments))


class ClientCase(SynchronousTestCase):
    """One client, one service, and a line between them that can be cut."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.writer = HandWorker(at_once=True)
        self.media = Later(at_once=True)  # of the server
        self.threads = Later(at_once=True)  # of the client
        self.database = database(self.mktemp(), self.writer)
        self.addCleanup(self.database.close)
        self.store = MediaChatStore(self.database, 1 << 30)
        self.root = Path(self.mktemp())
        self.folder = MediaFolder(self.root)
        self.folder.open()
        self.saves = Path(self.mktemp())
        self.state = Path(self.mktemp())
        self.service = self.make_service()
        self.failure: Failure
        self.got: list[Received] = []
        self.said: list[str] = []
        self.begin()

    def begin(self, **options: Any) -> None:
        """A client, connected."""
        self.client = self.make_client(**options)
        self.line = self.connect(self.client)

    def make_service(self, **settings: Any) -> MediaChatService:
        config = MediaChatConfig(**{**ALWAYS, **settings})
        calls, clock = by_hand(self.media), self.clock
        return MediaChatService(config, self.store, self.folder, calls, clock, Random(1), clock.seconds)

    def make_client(self, **options: Any) -> MediaChatClientFactory:
        settings: dict[str, Any] = {
            "timezone": "Europe/Paris",
            "random": Random(len(self.said)),
            "on_status": self.said.append,
            **options,
        }
        take = settings.pop("take", self.got.append)
        url = chat_url("localhost", 8000, 7)
        client = MediaChatClientFactory(self.clock, url, by_hand(self.threads).run, take, **settings)
        client.done.addErrback(self.failed)
        return client

    def failed(self, failure: Failure) -> None:
        """The client cannot go on."""
        self.failure = failure

    def listen(self, **options: Any) -> None:
        """A client that saves what comes, and remembers it, in the place of the one that there was."""
        self.client.close()
        self.line.pump()
        self.begin(folder=SaveFolder(self.saves), state=StateFile(self.state, 7), **options)

    def connect(self, client: MediaChatClientFactory) -> WorkedLine:
        server: Any = self.service.factory()
        line = WorkedLine(self.clock, client, server)
        line.workers = (self.media, self.threads)
        line.connect()
        line.pump()
        return line

    def come_back(self) -> None:
        """Let the client reconnect."""
        self.line.advance(2)

    def file(self, data: bytes, name: str = "photo.bin") -> Path:
        """A file of the client."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / name).write_bytes(data)
        return folder / name

    def send(self, data: bytes, **options: Any) -> Deferred[Status]:
        """Send a file and let it travel."""
        sent = self.client.send_file(self.file(data), "file", **options)
        self.line.pump()
        return sent

    def say(self, text: str) -> Deferred[Status]:
        """Say something and let it travel."""
        answer = self.client.say(text)
        self.line.pump()
        return answer

    def server_talk(self) -> Any:
        """The server's side of the latest connection."""
        return list(self.service._clients[1])[-1]

    def rows(self) -> list[tuple[str, Any]]:
        """What is stored: a text, or the hash of media."""
        query = sa.select(messages).order_by(messages.c.id)
        with self.database.at_start() as connection:
            return [
                (row.status, row.text if row.kind == "text" else row.sha256)
                for row in connection.execute(query)
            ]

    def desk_says(self, *texts: str) -> list[int]:
        """The desk says something; the ids."""
        ids = []
        for text in texts:
            new = New(1, "desk", "text", 5, text=text)
            message, _ = self.successResultOf(self.store.add(new))
            self.service.added(message)
            ids.append(message.id)
        self.line.pump()
        return ids

    def desk_sends(self, data: bytes, name: str = "map.png") -> int:
        """The desk sends a file; its id."""
        digest = sha256(data).hexdigest()
        path = self.folder.path(digest)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        new = New(1, "desk", "image", 5, name=name, size=len(data), type="image/png", sha256=digest)
        message, _ = self.successResultOf(self.store.add(new))
        self.service.added(message)
        return message.id

    def saved(self) -> dict[str, bytes]:
        """The files that were saved, hidden ones too."""
        return {path.name: path.read_bytes() for path in self.saves.iterdir()}


class SayTests(ClientCase):
    """Texts."""

    def test_say(self) -> None:
        """A text is stored, and its status says so."""
        status = self.successResultOf(self.say("hello"))
        self.assertEqual((status.status, self.rows()), ("saved", [("saved", "hello")]))
        self.assertEqual(self.client.welcome and self.client.welcome["chat"], 1)

    def test_outside_the_hours(self) -> None:
        """A text outside the hours is discarded, and the status says when they begin again."""
        self.service.hours["text"] = parse("00:00-00:01")
        self.line.cut()
        self.come_back()
        status = self.successResultOf(self.say("hello"))
        self.assertEqual((status.status, self.rows()), ("discarded", [("discarded", None)]))
        self.assertGreater(status.next_open_at or 0, self.clock.seconds() * 1000)

    def test_while_away(self) -> None:
        """What is said while there is no connection is stored when there is one, in order."""
        self.line.cut()
        answers = [self.client.say(str(n)) for n in range(5)]
        self.come_back()
        self.assertEqual([self.successResultOf(a).status for a in answers], ["saved"] * 5)
        self.assertEqual([text for _, text in self.rows()], ["0", "1", "2", "3", "4"])

    def test_lost_status(self) -> None:
        """Texts whose status was lost are sent again, in order, and stored once."""
        self.writer.at_once = False
        answers = [self.say(str(n)) for n in range(3)]
        self.line.cut()
        self.writer.run()
        self.writer.at_once = True
        answers.append(self.client.say("3"))
        self.come_back()
        self.assertEqual([self.successResultOf(a).status for a in answers], ["saved"] * 4)
        self.assertEqual([text for _, text in self.rows()], ["0", "1", "2", "3"])

    def test_storage_that_fails_for_a_while(self) -> None:
        """Texts that could not be stored are stored when it works again, in the order of the calls."""
        failing = [True]
        put = self.store.put

        def sometimes(new: New, told: Callable[[Any], object]) -> None:
            if failing[0]:
                told(Failure(StorageError("disk")))
            else:
                put(new, told)

        self.store.put = sometimes  # type: ignore[method-assign]
        answers = [self.client.say(str(n)) for n in range(3)]
        self.line.advance(200, step=1)
        self.assertNoResult(answers[0])
        failing[0] = False
        self.line.advance(60, step=1)
        self.assertEqual([self.successResultOf(a).status for a in answers], ["saved"] * 3)
        self.assertEqual([text for _, text in self.rows()], ["0", "1", "2"])

    def test_refused(self) -> None:
        """What the server refuses for good fails by its code."""
        answer = self.client.say("hello")
        [key] = self.client._texts
        self.client.text(encode(Status("error", code="quota", detail="no", key=key)).decode())
        self.assertEqual(self.failureResultOf(answer, ServerRefused).value.code, "quota")

    def test_what_no_server_takes(self) -> None:
        """Text that no server would take is refused before it is sent, with the rule."""
        for text, why in (("", "1 to 16384"), ("a\x1bb", "control"), ("\ud800", "surrogates")):
            with self.assertRaisesRegex(ValueError, why):
                self.client.say(text)

    def test_bounds(self) -> None:
        """Past `max_waiting` a text fails at once; no more than `max_in_flight` are with the server."""
        self.begin(max_waiting=3, max_in_flight=2)
        self.writer.at_once = False
        answers = [self.say(str(n)) for n in range(4)]
        self.failureResultOf(answers[3], Overloaded)
        self.assertEqual(sum(text.is_sent for text in self.client._texts.values()), 2)
        self.writer.at_once = True
        self.writer.run()
        self.line.pump()
        self.assertEqual([text for _, text in self.rows()], ["0", "1", "2"])

    def test_cancelled(self) -> None:
        """A text that has not been sent is taken back when it is cancelled; one that has been is not."""
        sent = self.client.say("sent")
        self.line.cut()
        answer = self.client.say("never")
        for each in (sent, answer):
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.come_back()
        self.assertEqual([text for _, text in self.rows()], ["sent"])


class SendTests(ClientCase):
    """Files to the desk."""

    def setUp(self) -> None:
        super().setUp()
        self.data = Random(3).randbytes(10 * PIECE + 17)
        self.digest = sha256(self.data).hexdigest()
        self.progress: list[int] = []
        self.stop = -1  # bytes

    def send_it(self) -> Deferred[Status]:
        """Begin to send a file, always the same."""
        return self.client.send_file(
            io.BytesIO(self.data), "file", "photo.bin", on_progress=lambda done, _: self.progress.append(done)
        )

    def assert_stored(self, answer: Deferred[Status]) -> None:
        """The file is there, whole, once, and nothing else is."""
        self.assertEqual(self.successResultOf(answer).status, "saved")
        self.assertEqual(self.rows(), [("saved", self.digest)])
        self.assertEqual(self.folder.path(self.digest).read_bytes(), self.data)
        self.assertEqual([p.name for p in (self.root / "parts").iterdir()], [".boot"])

    def test_send(self) -> None:
        """A file arrives, and progress is told up to its end."""
        answer = self.send_it()
        self.line.pump()
        self.assert_stored(answer)
        self.assertEqual((self.progress[-1], self.progress), (len(self.data), sorted(self.progress)))

    def test_path(self) -> None:
        """A path is sent under its name, and closed afterwards; one of nothing is sent too."""
        for data in (b"x", b""):
            self.assertEqual(self.successResultOf(self.send(data)).status, "saved")
        query = sa.select(messages.c.name, messages.c.size).order_by(messages.c.id)
        with self.database.at_start() as connection:
            rows = [tuple(row) for row in connection.execute(query)]
        self.assertEqual(rows, [("photo.bin", 1), ("photo.bin", 0)])

    def test_cut_before_ready(self) -> None:
        """A connection that is lost before the server is ready costs nothing but time."""
        self.media.at_once = False
        answer = self.send_it()
        self.line.pump()
        self.line.cut()
        self.media.at_once = True
        self.media.run()
        self.come_back()
        self.assert_stored(answer)

    def pause(self) -> None:
        """The connection takes no more."""
        self.line._io.clientIO.producer.pauseProducing()

    def sent_upto(self, pieces: int) -> Deferred[Status]:
        """Send so many pieces, and no more: the connection takes no more."""
        self.stop = pieces * PIECE
        sent = self.client.send_file(io.BytesIO(self.data), "file", "photo.bin", on_progress=self.stop_at)
        self.line.pump()
        return sent

    def stop_at(self, done: int, size: int) -> None:
        self.progress.append(done)
        if done == self.stop and done:
            self.pause()

    def test_cut_in_the_middle(self) -> None:
        """After a break the file goes on where the server has it."""
        answer = self.sent_upto(6)
        self.line.cut()
        self.stop = -1
        self.progress.clear()
        self.come_back()
        self.assert_stored(answer)
        self.assertGreater(self.progress[0], 0)
        self.assertEqual(self.progress[0] % PIECE, 0)

    def test_cut_at_every_piece(self) -> None:
        """Wherever it is cut, and however often, it arrives whole and once."""
        for pieces in range(11):
            self.stop = pieces * PIECE
            if pieces == 0:
                answer = self.sent_upto(0)
            self.line.cut()
            self.stop = (pieces + 1) * PIECE
            self.come_back()
        self.stop = -1
        self.line.cut() if self.line.state == "connected" else None
        self.come_back()
        self.assert_stored(answer)

    def test_cut_before_saved(self) -> None:
        """A file whose bytes were all sent when the connection was lost is stored once."""
        for step in range(4):
            with self.subTest(step=step):
                self.tearDown()
                self.setUp()
                answer = self.sent_upto(10)
                self.media.at_once = self.writer.at_once = False
                self.stop = -1
                self.line._io.clientIO.producer.resumeProducing()
                self.line.pump()
                for _ in range(step):
                    if self.media.tasks:
                        self.media.tasks.pop(0)()
                    self.writer.run()
                    self.line.pump()
                self.line.cut()
                self.media.at_once = self.writer.at_once = True
                self.media.run()
                self.writer.run()
                self.come_back()
                self.assert_stored(answer)

    def test_lost_status(self) -> None:
        """A file whose status was lost is not sent again: the server says what became of it."""
        self.writer.at_once = False
        answer = self.sent_upto(-1)
        while self.writer.run():
            if len(self.rows()) == 1:
                break
            self.line.pump()
        self.line.cut()
        self.writer.at_once = True
        self.progress.clear()
        self.come_back()
        self.assert_stored(answer)
        self.assertEqual(self.progress, [])

    def test_program_killed(self) -> None:
        """Another run of the program goes on with the same file, by its content."""
        self.sent_upto(6).addErrback(lambda _: None)
        self.line.cut()
        self.client.stopTrying()
        self.progress.clear()
        self.begin()
        answer = self.sent_upto(-1)
        self.assert_stored(answer)
        self.assertIn(6 * PIECE, self.progress)
        self.assertNotIn(PIECE, self.progress)

    def test_again(self) -> None:
        """The same file is stored once, unless another upload name is given."""
        first = self.successResultOf(self.send(b"x"))
        self.assertEqual(self.successResultOf(self.send(b"x")).message, first.message)
        self.assertNotEqual(self.successResultOf(self.send(b"x", upload="again")).message, first.message)
        self.assertEqual(len(self.rows()), 2)

    def test_one_at_a_time(self) -> None:
        """Files are sent one after the other, in order; too many are refused; a text does not wait."""
        self.begin(max_files=2)
        self.stop = 3 * PIECE
        first = self.client.send_file(io.BytesIO(self.data), "file", "a", on_progress=self.stop_at)
        second = self.client.send_file(io.BytesIO(b"x"), "file", "b")
        self.failureResultOf(self.client.send_file(io.BytesIO(b"y"), "file", "c"), Overloaded)
        said = self.client.say("hello")
        self.line.pump()
        self.assertEqual(self.progress[-1], self.stop)
        self.line._io.clientIO.producer.resumeProducing()
        self.line.pump()
        self.assertEqual([self.successResultOf(each).message for each in (said, first, second)], [1, 2, 3])

    def test_next_is_sent_from_a_callback(self) -> None:
        """A file that is sent because another one has arrived is sent."""
        second: list[Deferred[Status]] = []
        first = self.client.send_file(io.BytesIO(b"x"), "file", "a")
        first.addCallback(lambda _: second.append(self.client.send_file(io.BytesIO(b"y"), "file", "b")))
        self.line.pump()
        self.assertEqual(self.successResultOf(second[0]).message, 2)

    def test_memory(self) -> None:
        """While the connection takes nothing, nothing more is read than a few pieces."""
        read = 0

        class Counted(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                nonlocal read
                data = super().read(size)
                read += len(data)
                return data

        self.stop = PIECE
        self.client.send_file(Counted(self.data), "file", "a", on_progress=self.stop_at)
        self.line.pump()
        self.assertEqual(read, len(self.data) + 4 * PIECE)

    def test_backpressure(self) -> None:
        """Nothing is sent while the connection takes nothing; and it goes on when it does."""
        answer = self.sent_upto(2)
        self.assertEqual(self.progress[-1], 2 * PIECE)
        for _ in range(5):
            self.line.pump()
            self.client.drained()
        self.assertEqual(self.progress[-1], 2 * PIECE)
        self.assertEqual(self.client._socket and self.client._socket.backlog, 0)
        self.stop = -1
        self.line._io.clientIO.producer.resumeProducing()
        self.line.pump()
        self.assert_stored(answer)

    def test_cancelled(self) -> None:
        """A file that is cancelled is not stored; the next one is; and it can be sent again from there."""
        answer = self.sent_upto(3)
        after = self.client.send_file(io.BytesIO(b"x"), "file", "b")
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.line._io.clientIO.producer.resumeProducing()
        self.line.pump()
        self.assertEqual(self.successResultOf(after).message, 1)
        self.assertEqual(self.said, [])
        self.progress.clear()
        answer = self.sent_upto(-1)
        self.assertEqual(self.successResultOf(answer).message, 2)
        self.assertIn(3 * PIECE, self.progress)

    def test_cancelled_at_any_time(self) -> None:
        """Whenever a file is cancelled, what comes behind it arrives, on the same connection."""
        for steps in range(20):
            with self.subTest(steps=steps):
                self.tearDown()
                self.setUp()
                self.threads.at_once = self.media.at_once = self.writer.at_once = False
                answer = self.send_it()
                after = self.client.send_file(io.BytesIO(b"x"), "file", "b")
                for _ in range(steps):
                    for worker in (self.threads, self.writer, self.media):
                        if worker.tasks:
                            worker.tasks.pop(0)()
                            break
                    self.line.pump()
                is_late = answer.called
                answer.cancel()
                self.threads.at_once = self.media.at_once = self.writer.at_once = True
                for _ in range(10):
                    for worker in (self.threads, self.writer, self.media):
                        worker.run()
                    self.line.pump()
                if not is_late:
                    self.failureResultOf(answer, CancelledError)
                self.assertEqual(self.successResultOf(after).status, "saved")
                self.assertEqual(self.said, [])

    def test_cancelled_in_the_queue(self) -> None:
        """A file that waits can be taken back."""
        first = self.sent_upto(3)
        second = self.client.send_file(io.BytesIO(b"x"), "file", "b")
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.line._io.clientIO.producer.resumeProducing()
        self.line.pump()
        self.assert_stored(first)

    def test_place_in_the_queue(self) -> None:
        """A file that was taken back leaves its place to another one."""
        self.begin(max_files=2)
        self.sent_upto(3)
        self.client.send_file(io.BytesIO(b"x"), "file", "b").addErrback(lambda _: None).cancel()
        third = self.client.send_file(io.BytesIO(b"x"), "file", "c")
        self.line._io.clientIO.producer.resumeProducing()
        self.line.pump()
        self.assertEqual(self.successResultOf(third).message, 2)

    def test_status_of_another(self) -> None:
        """What the server says about another upload says nothing about this one."""
        answer = self.sent_upto(3)
        self.client.text(encode(Status("saved", 9, upload="another")).decode())
        self.assertNoResult(answer)
        self.line._io.clientIO.producer.resumeProducing()
        self.line.pump()
        self.assert_stored(answer)

    def test_silence(self) -> None:
        """A server that says nothing about an upload is left for a new connection."""
        self.begin(answer_timeout=15)
        self.media.at_once = False
        answer = self.send_it()
        self.line.advance(31, step=1)
        self.assertTrue(any("no answer for 15 s" in text for text in self.said), self.said)
        self.media.at_once = True
        self.line.advance(30, step=1)
        self.assert_stored(answer)

    def test_discarded(self) -> None:
        """Outside the hours no bytes are sent, and the status says when they begin again."""
        self.service.hours["file"] = parse("00:00-00:01")
        self.line.cut()
        self.come_back()
        answer = self.send_it()
        self.line.pump()
        status = self.successResultOf(answer)
        self.assertEqual(status.status, "discarded")
        self.assertIsNotNone(status.next_open_at)
        self.assertEqual(set(self.progress), {0})

    def test_refused_in_the_middle(self) -> None:
        """What the server refuses while it is sent ends at once, and what comes behind it arrives."""
        answer = self.sent_upto(3)
        after = self.client.send_file(io.BytesIO(b"x"), "file", "b")
        [upload] = self.service.uploads
        self.server_talk().upload_done(upload, Failure(OSError(28, "no space")))
        self.line.pump()
        self.line._io.clientIO.producer.resumeProducing()
        self.line.pump()
        self.assertEqual(self.failureResultOf(answer, ServerRefused).value.code, "full")
        self.assertEqual(self.successResultOf(after).status, "saved")
        self.assertEqual(self.said, [])

    def test_storage_that_fails_for_a_while(self) -> None:
        """A file that cannot be stored now is sent again until it can."""
        finish = FilePart.finish
        failing = [True]

        def sometimes(part: FilePart) -> Any:
            if failing:
                failing.pop()
                raise OSError(5, "input/output error")
            return finish(part)

        self.patch(FilePart, "finish", sometimes)
        answer = self.send_it()
        self.line.pump()
        self.assertNoResult(answer)
        self.come_back()
        self.assert_stored(answer)

    def test_file_that_changes(self) -> None:
        """A file that changes while it is sent is refused, and one that shrinks fails: neither is stored."""
        path = self.file(self.data)
        self.threads.at_once = False
        for content, error in ((bytes(len(self.data)), ServerRefused), (b"short", OSError)):
            path.write_bytes(self.data)
            answer = self.client.send_file(path, "file")
            while not self.threads.tasks or "_read" not in str(self.threads.tasks[0]):
                self.threads.run()
                self.line.pump()
                if self.service.uploads:
                    break
            path.write_bytes(content)
            for _ in range(20):
                self.threads.run()
                self.line.pump()
            self.failureResultOf(answer, error)
        self.assertEqual(self.rows(), [])

    def test_no_file(self) -> None:
        """What is not there, not a file, or has a name that no server takes, is named."""
        missing = self.client.send_file(self.file(b"x").with_name("missing"), "file")
        folder = self.client.send_file(self.saves.parent, "file")
        self.line.pump()
        self.failureResultOf(missing, FileNotFoundError)
        self.failureResultOf(folder, OSError)
        with self.assertRaisesRegex(ValueError, "name of a media message"):
            self.client.send_file(io.BytesIO(), "file", "a\nb")
        with self.assertRaisesRegex(ValueError, "kind of a media message"):
            self.client.send_file(io.BytesIO(), "novel", "a")
        self.assertEqual(self.successResultOf(self.send(b"x")).status, "saved")


class ReceiveTests(ClientCase):
    """What the desk says."""

    def texts(self) -> list[str | None]:
        return [received.text for received in self.got]

    def test_texts(self) -> None:
        """Texts come in order, each once, over cuts."""
        self.desk_says("one", "two")
        self.line.cut()
        self.desk_says("three")
        self.come_back()
        self.desk_says("four")
        self.assertEqual(self.texts(), ["one", "two", "three", "four"])

    def test_state(self) -> None:
        """With a state file it begins with the first message, and another run goes on behind the last."""
        self.desk_says("one")
        self.got.clear()
        self.listen()
        self.desk_says("two")
        self.listen()
        [last] = self.desk_says("three")
        self.assertEqual(self.texts(), ["one", "two", "three"])
        self.assertEqual(StateFile(self.state, 7).load(), Taken(last))

    def test_state_of_another(self) -> None:
        """A state file of another client, or no state file at all, is a reason to stop."""
        StateFile(self.state, 8).save(Taken(5))
        self.listen()
        self.assertIn("is of client 8, not 7", str(self.failure.value))
        for text in ("{}", "[1]", "x", '{"client": 7, "after": 1, "saving": [2, "../x"]}'):
            self.state.write_text(text)
            self.listen()
            self.assertIn("remove it to start anew", str(self.failure.value), text)

    def test_media(self) -> None:
        """Media are saved before they are handed on, with their bytes; texts behind them wait."""
        self.listen()
        data = Random(4).randbytes(3 * PIECE + 5)
        self.threads.at_once = False
        self.desk_sends(data)
        self.desk_says("behind")
        self.assertEqual(self.got, [])
        self.threads.at_once = True
        self.threads.run()
        self.assertEqual([received.kind for received in self.got], ["image", "text"])
        self.assertEqual(self.got[0].path, self.saves / "map.png")
        self.assertEqual(self.saved(), {"map.png": data})

    def test_empty_media(self) -> None:
        """A file of nothing is saved."""
        self.listen()
        self.desk_sends(b"", "nothing")
        self.desk_says("behind")
        self.assertEqual((self.saved(), len(self.got)), ({"nothing": b""}, 2))

    def test_links(self) -> None:
        """Without a folder media are handed on with their address, and no bytes come."""
        self.desk_sends(b"x")
        self.line.pump()
        self.assertEqual((self.got[0].path, self.got[0].url), (None, "/media/1"))

    def test_never_over_a_file(self) -> None:
        """A name that is taken, by whatever, gets a number."""
        self.listen()
        (self.saves / "map.png").write_bytes(b"mine")
        (self.saves / "map-2.png").symlink_to("/nowhere")
        self.desk_sends(b"new")
        self.desk_sends(b"newer")
        self.line.pump()
        self.assertEqual((self.saves / "map.png").read_bytes(), b"mine")
        self.assertEqual([r.path and r.path.name for r in self.got], ["map-3.png", "map-4.png"])
        self.assertTrue((self.saves / "map-2.png").is_symlink())

    def test_cut_in_media(self) -> None:
        """Media that were cut off come again; nothing of the first part stays."""
        self.listen()
        data = bytes(20 * PIECE)
        self.media.at_once = False
        self.desk_sends(data)
        for _ in range(3):
            self.media.tasks.pop(0)()
            self.line.pump()
        self.assertEqual(len(self.saved()), 1)
        self.line.cut()
        self.threads.run()
        self.assertEqual(self.saved(), {})
        self.media.at_once = True
        self.media.run()
        self.come_back()
        self.assertEqual((self.saved(), len(self.got)), ({"map.png": data}, 1))

    def test_cut_while_saving(self) -> None:
        """Media that were whole when the connection was lost are saved once, though they come again."""
        for steps in range(8):
            with self.subTest(steps=steps):
                self.tearDown()
                self.setUp()
                self.listen()
                self.threads.at_once = False
                self.desk_sends(b"x")
                self.line.pump()
                for _ in range(steps):
                    if self.threads.tasks:
                        self.threads.tasks.pop(0)()
                self.line.cut()
                self.come_back()
                self.threads.at_once = True
                self.threads.run()
                self.desk_says("behind")
                self.assertEqual([r.kind for r in self.got], ["image", "text"])
                self.assertEqual(self.saved(), {"map.png": b"x"})

    def test_killed_at_every_step(self) -> None:
        """A program that is killed wherever while it saves has, after another run, each file once."""
        for steps in range(10):
            with self.subTest(steps=steps):
                self.tearDown()
                self.setUp()
                self.listen()
                self.threads.at_once = False
                self.desk_sends(b"x")
                self.desk_sends(b"x")  # the same again is another message, and another file
                self.line.pump()
                for _ in range(steps):
                    if self.threads.tasks:
                        self.threads.tasks.pop(0)()
                self.kill()
                self.threads = Later(at_once=True)
                self.begin(folder=SaveFolder(self.saves), state=StateFile(self.state, 7))
                self.assertEqual(self.saved(), {"map.png": b"x", "map-2.png": b"x"})

    def kill(self) -> None:
        """The client's program ends: what it would have done is not done, and its locks are gone."""
        self.client.stopTrying()
        self.line.cut()
        self.threads.tasks.clear()
        gc.collect()

    def test_duplicates_and_disorder(self) -> None:
        """What comes a second time, or from before, is passed over."""
        self.listen()
        self.desk_says("one", "two")
        for number in (1, 2, 1):
            self.client.text(f'{{"type":"message","id":{number},"text":"again","at":1}}')
        self.desk_says("three")
        self.assertEqual(self.texts(), ["one", "two", "three"])

    def test_wrong_bytes(self) -> None:
        """Media whose bytes are not what was announced are not kept; they come again on a new connection."""
        self.listen()
        self.desk_sends(b"right")
        digest = sha256(b"right").hexdigest()
        self.folder.path(digest).write_bytes(b"wrong")
        self.desk_says("behind")
        self.assertEqual((self.got, self.saved()), ([], {}))
        self.assertIn("another SHA-256", self.said[0])
        self.folder.path(digest).write_bytes(b"right")
        self.line.advance(60, step=1)
        self.assertEqual([r.kind for r in self.got], ["image", "text"])
        self.assertEqual(self.saved(), {"map.png": b"right"})

    def test_cut_while_others_wait(self) -> None:
        """What came and waits for its turn when the connection is lost is not passed over."""
        slow: list[Deferred[None]] = [Deferred()]

        def take(received: Received) -> Deferred[None] | None:
            self.got.append(received)
            return slow.pop() if slow else None

        self.listen(take=take)
        first = slow[0]
        self.desk_says("first")
        self.desk_sends(b"x")
        self.desk_says("last")
        self.line.cut()
        first.callback(None)
        self.come_back()
        self.assertEqual([r.text or r.name for r in self.got], ["first", "map.png", "last"])

    def test_other_bytes_under_the_name(self) -> None:
        """A file that somebody put under the name that was about to be given is not taken for the message."""
        self.saves.mkdir()
        (self.saves / "map.png").write_bytes(b"y")
        StateFile(self.state, 7).save(Taken(0, (1, "map.png")))
        self.desk_sends(b"x")
        self.listen()
        self.assertEqual(self.saved(), {"map.png": b"y", "map-2.png": b"x"})

    def test_from_now_on(self) -> None:
        """Who begins with what is new misses nothing over a cut, where the server says what that is."""
        self.client.text('{"type":"welcome","chat":1,"hours":{},"after":0}')
        self.line.cut()
        self.desk_says("while away")
        self.come_back()
        self.assertEqual(self.texts(), ["while away"])

    def test_behind_nonsense(self) -> None:
        """What comes on a connection that is being left is not taken: it comes again."""
        self.client.text("[]")
        self.client.text('{"type":"message","id":2,"text":"behind","at":1}')
        self.client.binary(b"bytes")
        self.assertEqual((self.got, len(self.said)), ([], 1))

    def test_nonsense(self) -> None:
        """Frames that cannot be are a reason for another connection, and nothing is lost."""
        for frame in ("[]", "{", '{"type":"message"}', '{"type":"status","status":"novel"}', b"bytes"):
            attempts = self.line.attempts
            if isinstance(frame, bytes):
                self.client.binary(frame)
            else:
                self.client.text(frame)
            self.line.pump()
            self.line.advance(60, step=1)
            self.assertEqual(self.line.attempts, attempts + 1, frame)
        self.client.text('{"type":"of a later version"}')
        self.desk_says("one")
        self.assertEqual(self.texts(), ["one"])

    def test_not_read_ahead(self) -> None:
        """While what came cannot be taken, no more is read."""
        taken: list[Deferred[None]] = []

        def slowly(received: Received) -> Deferred[None]:
            taken.append(Deferred())
            return taken[-1]

        self.begin(take=slowly)
        self.desk_says(*[str(n) for n in range(150)])
        self.assertFalse(self.client._protocol.transport.reading)
        for n in range(150):
            taken[n].callback(None)
        self.line.pump()
        self.assertTrue(self.client._protocol.transport.reading)

    def test_callback_that_fails(self) -> None:
        """An exception of the callback is logged, and the client goes on."""

        def fail(received: Received) -> None:
            raise KeyError("mine")

        self.begin(take=fail)
        self.desk_says("one", "two")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)

    def test_folder_that_cannot_be_written(self) -> None:
        """When what comes cannot be saved the client ends with the reason, and nothing counts as taken."""
        self.listen()
        folder: Any = self.client._receiving._folder
        folder.root = self.saves / "gone"
        self.desk_sends(b"x")
        self.line.pump()
        self.failure.trap(FileNotFoundError)
        self.line.pump()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.listen()
        self.assertEqual(self.saved(), {"map.png": b"x"})


class EndTests(ClientCase):
    """How it ends, and what it does about silence."""

    def test_close(self) -> None:
        """A close ends what waits with an error, closes the connection and leaves no timer behind."""
        self.writer.at_once = False
        texts = [self.client.say("x"), self.client.send_file(io.BytesIO(b"x"), "file", "a")]
        texts.append(self.client.send_file(io.BytesIO(b"y"), "file", "b"))
        closed = self.client.close()
        self.line.pump()
        for text in texts:
            self.failureResultOf(text, ConnectionError)
        self.successResultOf(closed)
        self.successResultOf(self.client.done)
        self.failureResultOf(self.client.say("y"), ConnectionError)
        self.failureResultOf(self.client.send_file(io.BytesIO(), "file", "a"), ConnectionError)
        self.writer.run()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_while_away(self) -> None:
        """Closed while it waits to come back, it does not come back."""
        self.line.cut()
        self.successResultOf(self.client.close())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_before_the_handshake(self) -> None:
        """Closed while the server has not answered the handshake, it leaves at once."""
        client = self.make_client()
        silent: Any = Factory.forProtocol(Protocol)
        line = Line(self.clock, client, silent)
        self.client.close()
        self.line.pump()
        line.connect()
        self.successResultOf(client.close())
        self.assertEqual((line.state, self.clock.getDelayedCalls()), ("disconnected", []))

    def test_no_time_zone(self) -> None:
        """A time zone that is none ends the client."""
        self.begin(timezone="Mars/Olympus")
        self.failure.trap(ServerRefused)
        self.assertIn("invalid-timezone", str(self.failure.value))
        self.failureResultOf(self.client.say("x"), ConnectionError)

    def test_silence(self) -> None:
        """A server that owes an answer and says nothing is left for a new connection."""
        self.begin(answer_timeout=15)
        self.writer.at_once = False
        answer = self.say("x")
        tasks, self.writer.tasks = self.writer.tasks, []
        self.line.advance(31, step=1)
        self.assertTrue(any("no answer for 15 s" in text for text in self.said), self.said)
        self.writer.tasks = tasks
        self.writer.at_once = True
        self.writer.run()
        self.line.advance(30, step=1)
        self.successResultOf(answer)
        self.assertEqual(len(self.rows()), 1)

    def test_idle(self) -> None:
        """A connection on which nothing is owed is kept."""
        self.begin(answer_timeout=15)
        self.line.advance(300, step=1)
        self.assertEqual((self.line.attempts, self.said), (1, []))

    def test_said_late(self) -> None:
        """What is said just before the server is looked at has its time, however long it was quiet."""
        self.begin(answer_timeout=15)
        self.line.advance(299, step=1)
        self.writer.at_once = False
        answer = self.say("x")
        self.line.advance(14, step=1)
        self.writer.run()
        self.line.advance(100, step=1)
        self.successResultOf(answer)
        self.assertEqual((self.line.attempts, self.said), (1, []))

    def test_urls(self) -> None:
        """IPv6 addresses are in brackets, and TLS is wss."""
        self.assertEqual(chat_url("::1", 1, 7, secure=True), "wss://[::1]:1/ws/7")


class NameTests(SynchronousTestCase):
    """Names of files that somebody else has chosen."""

    def test_names(self) -> None:
        """R25: whatever a name says, it becomes a plain file name that looks like it."""
        for name, safe in {
            "photo.jpg": "photo.jpg",
            "../../etc/passwd": "passwd",
            "/etc/passwd": "passwd",
            "C:\\Windows\\x.dll": "x.dll",
            "..": "file",
            ".": "file",
            "": "file",
            "...": "file",
            "a/": "file",
            "/": "file",
            "\0": "file",
            "a\0b.txt": "ab.txt",
            ".bashrc": "bashrc",
            "-rf": "_-rf",
            "CON": "_CON",
            "nul.txt": "_nul.txt",
            "Com1.tar.gz": "_Com1.tar.gz",
            "lpt¹": "_lpt¹",
            "console.txt": "console.txt",
            "a:b?.txt": "a_b_.txt",
            "\u202egpj.exe": "gpj.exe",
            "a\u200fb\ufeff.txt": "ab.txt",
            "a\x1b[2Jb": "a[2Jb",
            "two\nlines.txt": "two lines.txt",
            "end. . ": "end",
            "\ud800x": "x",
            "ünï ✓ 😀.png": "ünï ✓ 😀.png",
            "e\u0301": "é",
        }.items():
            self.assertEqual(safe_name(name), safe, repr(name))

    def test_long_names(self) -> None:
        """R25: a long name is cut, whole characters and its end are kept."""
        for name in ("x" * 300 + ".jpg", "😀" * 300 + ".jpg", "x" * 300, "a." + "y" * 300, "." * 300 + "x"):
            safe = safe_name(name)
            self.assertLessEqual(len(safe.encode()), 200, name)
            self.assertEqual(safe.endswith(".jpg"), name.endswith(".jpg"))
            self.assertEqual(safe_name(safe), safe)

    def test_numbers(self) -> None:
        """A number goes before the end."""
        self.assertEqual([numbered("a.b.c", n) for n in (1, 2)], ["a.b.c", "a.b-2.c"])
        self.assertEqual(numbered("a", 3), "a-3")


class FolderTests(SynchronousTestCase):
    """The folder of what was saved."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.folder = SaveFolder(self.root)
        self.folder.open()
        self.noted: list[str] = []

    def put(self, name: str, data: bytes = b"x") -> Path:
        """Save a file."""
        incoming = self.folder.begin()
        incoming.write([data])
        return incoming.finish(name, len(data), sha256(data).hexdigest(), self.noted.append)

    def test_hostile_names_stay_inside(self) -> None:
        """R25: no name leads out of the folder, and none over a file."""
        names = ["../x", "/tmp/x", "x", "x\0", "..", "\u202ex", "a" * 300, "CON", "a/../../b", "~", ""]
        paths = [self.put(name) for name in names for _ in range(2)]
        self.assertEqual(len(set(paths)), 2 * len(names))
        for path in paths:
            self.assertEqual(path.resolve().parent, self.root.resolve())
        self.assertEqual([path.name for path in paths], self.noted)

    def test_no_locks(self) -> None:
        """In a file system without locks nothing can be saved, and nothing is left there."""

        def refuse(file: Any, operation: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        self.patch(fcntl, "flock", refuse)
        with self.assertRaises(OSError):
            self.folder.begin()
        self.assertEqual(list(self.root.iterdir()), [])

    def test_wrong(self) -> None:
        """What is not what was announced leaves nothing."""
        for size, data in ((1, b"xx"), (2, b"x"), (1, b"y")):
            incoming = self.folder.begin()
            incoming.write([data])
            with self.assertRaises(WrongBytes):
                incoming.finish("x", size, sha256(b"x").hexdigest(), self.noted.append)
        self.assertEqual(list(self.root.iterdir()), [])

    def test_left_over(self) -> None:
        """What a killed program left is removed; what another one is writing is not."""
        (self.root / ".mediachat-old.part").write_bytes(b"x")
        (self.root / "mine.part").write_bytes(b"x")
        incoming = self.folder.begin()
        SaveFolder(self.root).open()
        incoming.write([b"x"])
        incoming.finish("x", 1, sha256(b"x").hexdigest(), self.noted.append)
        self.assertEqual(sorted(os.listdir(self.root)), ["mine.part", "x"])

    def test_somebody_is_faster(self) -> None:
        """A name that is taken at the last moment is left to who took it."""

        def faster(name: str) -> None:
            if name == "x":
                (self.root / "x").write_bytes(b"theirs")

        incoming = self.folder.begin()
        path = incoming.finish("x", 0, sha256().hexdigest(), faster)
        self.assertEqual((path.name, (self.root / "x").read_bytes()), ("x-2", b"theirs"))
