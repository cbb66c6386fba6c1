"""The chat log's client against the real service, in memory."""

from __future__ import annotations

from random import Random
from typing import Any

import sqlalchemy as sa
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from protosuite.chatlog.chain import Append
from protosuite.chatlog.client import ChatLogClientFactory, room_url
from protosuite.chatlog.server import ChatLogService
from protosuite.chatlog.store import ChatLogStore
from protosuite.chatlog.tables import filed, filing, log, rooms
from protosuite.chatlog.view import Change
from protosuite.chatlog.wire import ClientAppend, Entry
from protosuite.config import ChatLogConfig
from protosuite.errors import Overloaded, ServerRefused, StorageError
from protosuite.testing import HandWorker, Line, database


class ClientTests(SynchronousTestCase):
    """One client, one service, and a line between them that can be cut."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.writer = HandWorker(at_once=True)
        self.database = database(self.mktemp(), self.writer)
        self.addCleanup(self.database.close)
        self.store = ChatLogStore(self.database, 100)
        self.service = self.make_service()
        self.changes: list[Change] = []
        self.said: list[str] = []
        self.client = self.make_client()
        self.line = self.connect(self.client)

    def make_service(self, **settings: Any) -> ChatLogService:
        config = ChatLogConfig(**settings)
        return ChatLogService(config, self.store, self.clock, Random(1), self.clock.seconds)

    def make_client(self, **options: Any) -> ChatLogClientFactory:
        return ChatLogClientFactory(
            self.clock,
            room_url("localhost", 8082, "main"),
            self.changes.append,
            random=Random(2),
            on_status=self.said.append,
            **options,
        )

    def connect(self, client: ChatLogClientFactory) -> Line:
        server: Any = self.service.factory()
        line = Line(self.clock, client, server)
        line.connect()
        line.pump()
        return line

    def come_back(self) -> None:
        """Let the client reconnect."""
        self.line.advance(2)

    def write(self, *contents: str) -> None:
        """Entries of somebody else, put past the service."""
        batch = [Append("main", "other", ClientAppend(n, "ben", text)) for n, text in enumerate(contents)]
        self.successResultOf(self.store.commit(batch, {"main": "e" * 32}, 5))

    def told(self) -> list[str]:
        """The content of every entry that was told as new."""
        return [entry.content for change in self.changes for entry in change.new]

    def stored(self) -> list[str]:
        with self.database.at_start() as connection:
            return list(connection.execute(sa.select(log.c.content).order_by(log.c.slot)).scalars())

    def appended(self, text: str) -> Deferred[Entry]:
        """Append and let it travel."""
        answer = self.client.append("ana", text)
        self.line.pump()
        return answer

    def test_append(self) -> None:
        """An append is answered with its entry, and the view has it, once."""
        entry = self.successResultOf(self.appended("hello"))
        self.assertEqual((entry.slot, entry.author, entry.content), (1, "ana", "hello"))
        self.assertEqual((self.told(), self.stored()), (["hello"], ["hello"]))

    def test_others_are_told(self) -> None:
        """What one appends another is told."""
        other = self.make_client()
        line = self.connect(other)
        other.append("ben", "hi")
        line.pump()
        self.line.pump()
        self.assertEqual([e.content for e in self.client.view.entries], ["hi"])

    def test_resumes_after_a_cut(self) -> None:
        """What was committed while the connection was away is told after it, in order, none twice."""
        self.appended("one")
        self.line.cut()
        self.write(*[f"away {n}" for n in range(120)])
        self.come_back()
        self.assertEqual(self.told(), ["one", *[f"away {n}" for n in range(120)]])

    def test_append_while_away(self) -> None:
        """What is appended while there is no connection is appended when there is one, in order."""
        self.line.cut()
        answers = [self.client.append("ana", f"{n}") for n in range(5)]
        self.come_back()
        self.assertEqual([self.successResultOf(answer).slot for answer in answers], [1, 2, 3, 4, 5])
        self.assertEqual(self.stored(), ["0", "1", "2", "3", "4"])

    def test_lost_acknowledgement(self) -> None:
        """An append whose acknowledgement was lost is sent again and is in the log once."""
        self.writer.at_once = False
        answers = [self.client.append("ana", f"{n}") for n in range(3)]
        self.line.pump()
        self.line.cut()
        self.writer.run()
        self.writer.at_once = True
        self.come_back()
        self.assertEqual([self.successResultOf(answer).slot for answer in answers], [1, 2, 3])
        self.assertEqual(self.stored(), ["0", "1", "2"])

    def test_storage_that_fails_for_a_while(self) -> None:
        """Appends that could not be stored are stored when it works again, in the order of the calls."""
        failing: list[bool] = [True]
        commit = self.store.commit

        def sometimes(*arguments: Any) -> Any:
            if failing[0]:
                broken: Deferred[Any] = Deferred()
                broken.errback(Failure(StorageError("disk full")))
                return broken
            return commit(*arguments)

        self.store.commit = sometimes  # type: ignore[method-assign, assignment]
        answers = [self.client.append("ana", f"{n}") for n in range(3)]
        self.line.pump()
        for _ in range(5):
            self.line.advance(30)
        self.assertNoResult(answers[0])
        failing[0] = False
        self.line.advance(60, step=1)
        self.assertEqual([self.successResultOf(answer).slot for answer in answers], [1, 2, 3])
        self.assertEqual(self.stored(), ["0", "1", "2"])

    def test_refused_append(self) -> None:
        """What the server refuses for good fails by its name, and what comes behind it goes on."""
        self.service.store = ChatLogStore(self.database, 0)  # no room may be made
        self.service.config = ChatLogConfig(max_rooms=1)
        answer = self.appended("hello")
        self.assertEqual(self.failureResultOf(answer, ServerRefused).value.code, "too-many-rooms")
        self.service.store = self.store
        self.assertEqual(self.successResultOf(self.appended("again")).slot, 1)

    def test_what_no_server_takes(self) -> None:
        """Text that no server would take is refused before it is sent, with the field and the rule."""
        for author, content, field in (("", "x", "author"), ("a", "", "content"), ("a", "\ud800", "")):
            with self.assertRaisesRegex(ValueError, field):
                self.client.append(author, content)

    def test_more_bytes_than_the_server_takes(self) -> None:
        """An entry of more bytes than the server takes fails by its name, once, and the others go on."""
        self.service = self.make_service(max_message=1024)
        self.line.cut()
        self.line = self.connect(self.client)
        short, long = self.client.append("ana", "short"), self.client.append("ana", "\U0001f600" * 300)
        self.line.pump()
        self.assertEqual(self.failureResultOf(long, ServerRefused).value.code, "too-large")
        behind = self.client.append("ana", "behind")
        self.come_back()
        self.successResultOf(short)
        self.successResultOf(behind)
        self.assertEqual(self.stored(), ["short", "behind"])

    def test_bounds(self) -> None:
        """Past `max_waiting` an append fails at once; no more than `max_in_flight` are with the server."""
        self.client = self.make_client(max_waiting=3, max_in_flight=2)
        self.line = self.connect(self.client)
        self.writer.at_once = False
        answers = [self.client.append("ana", f"{n}") for n in range(4)]
        self.failureResultOf(answers[3], Overloaded)
        self.line.pump()
        self.assertEqual(self.service.rooms["main"].pending, 2)
        self.writer.run()
        self.line.pump()
        self.writer.run()
        self.line.pump()
        self.assertEqual(self.stored(), ["0", "1", "2"])

    def test_cancelled_append(self) -> None:
        """An append that has not been sent is taken back when it is cancelled."""
        self.line.cut()
        answer = self.client.append("ana", "never")
        answer.cancel()
        self.failureResultOf(answer)
        self.come_back()
        self.assertEqual(self.stored(), [])

    def test_idle_poll(self) -> None:
        """What no ack has told of is found by asking when nothing happens."""
        self.write("unheard")
        self.service.rooms["main"].latest = 1
        self.line.advance(31)
        self.assertEqual(self.told(), ["unheard"])

    def test_scrolls_back(self) -> None:
        """Older entries are read on demand until there are none; the view is one run."""
        self.line.cut()
        self.write(*[f"{n}" for n in range(100)])
        self.client = self.make_client(last=10)
        self.line = self.connect(self.client)
        asked = self.client.scroll_back(60)
        self.line.pump()
        self.assertEqual(len(self.successResultOf(asked)), 60)
        asked = self.client.scroll_back(60)
        self.line.pump()
        self.assertEqual(len(self.successResultOf(asked)), 30)
        self.assertEqual(self.successResultOf(self.client.scroll_back(60)), [])
        self.assertEqual([e.content for e in self.client.view.entries], [f"{n}" for n in range(100)])

    def test_read_is_asked_again(self) -> None:
        """A request for entries whose reply was lost is sent again after the reconnect."""
        self.write("one", "two")
        asked = self.client.update(2)
        self.line.cut()
        self.come_back()
        self.successResultOf(asked)

    def test_another_epoch(self) -> None:
        """A room that was made anew is another log: the change says so, and the view is that one's."""
        self.appended("old")
        self.line.cut()
        self.successResultOf(self.store.tidy())
        with self.database.at_start() as connection:
            for table in (log, filed, filing, rooms):
                connection.execute(sa.delete(table))
        self.write("new")
        self.come_back()
        self.assertTrue(self.changes[-1].is_reset)
        self.assertEqual([e.content for e in self.client.view.entries], ["new"])

    def test_broken_chain(self) -> None:
        """An entry that was changed in the database is reported by its slot."""
        self.line.cut()
        self.write("one", "two", "three")
        self.successResultOf(self.store.tidy())
        with self.database.at_start() as connection:
            connection.execute(sa.update(log).where(log.c.slot == 2).values(content="forged"))
        self.come_back()
        self.assertEqual(self.changes[-1].problems, ["slot 2 does not fit the hash of the log before it"])

    def test_callback_that_fails(self) -> None:
        """An exception of the callback is logged, and the client goes on."""

        def fail(change: Change) -> None:
            raise KeyError("mine")

        self.client = ChatLogClientFactory(self.clock, room_url("localhost", 1, "main"), fail)
        self.line = self.connect(self.client)
        self.successResultOf(self.appended("one"))
        self.successResultOf(self.appended("two"))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)

    def test_close(self) -> None:
        """A close ends what waits with an error, closes the connection and leaves no timer behind."""
        self.writer.at_once = False
        append, update = self.client.append("ana", "x"), self.client.update(1)
        closed = self.client.close()
        self.line.pump()
        self.failureResultOf(append, ConnectionError)
        self.failureResultOf(update, ConnectionError)
        self.successResultOf(closed)
        self.failureResultOf(self.client.append("ana", "y"), ConnectionError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_fails_ends_another(self) -> None:
        """Who is told that a read has failed may cancel the others, which wait no longer either."""
        first, second = self.client.read(1), self.client.read(1)
        first.addErrback(lambda failure: second.cancel())
        self.client.close()
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)

    def test_refusal_is_told(self) -> None:
        """What the server says instead of a handshake is told, and the client tries again."""
        self.client.url = "ws://localhost:8082/elsewhere"
        self.line.cut()
        self.come_back()
        self.assertTrue(any("404" in text for text in self.said), self.said)
        self.client.url = room_url("localhost", 8082, "main")
        self.line.advance(30)
        self.successResultOf(self.appended("hello"))


class UrlTests(SynchronousTestCase):
    """Where a room is."""

    def test_urls(self) -> None:
        """IPv6 addresses are in brackets, TLS is wss, and what is no room is named."""
        self.assertEqual(room_url("::1", 1, "a.b", secure=True), "wss://[::1]:1/rooms/a.b")
        with self.assertRaisesRegex(ValueError, "'a/b' is no room"):
            room_url("localhost", 1, "a/b")
