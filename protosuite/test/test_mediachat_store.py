"""The media chat's tables: what is there once, in which order, and what reading it costs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy import event, text
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from protosuite.errors import BadRequest, Overloaded, StorageFull
from protosuite.mediachat import store as mediachat_store
from protosuite.mediachat.adding import KNOWN_HERE
from protosuite.mediachat.store import MediaChatStore
from protosuite.mediachat.tables import Chat, Message, New
from protosuite.storage.sqlite import driver
from protosuite.testing import HandWorker, database

QUOTA = 100


class Fixture(SynchronousTestCase):
    """A store."""

    open_database = staticmethod(database)  # as tests with another engine replace it

    def setUp(self) -> None:
        self.writer = HandWorker(at_once=True)
        self.database = self.open_database(self.mktemp(), self.writer)
        self.addCleanup(self.database.close)
        self.store = MediaChatStore(self.database, QUOTA)

    def enter(self, client: int = 7, now: int = 1000) -> Chat:
        chat, _ = self.successResultOf(self.store.enter(client, "Europe/Paris", now))
        return chat

    def add(self, chat: int = 1, at: int = 1000, **more: Any) -> int:
        fields: Any = {"sender": "client", "kind": "text", "at": at, "text": "x"} | more
        new = New(chat, **fields)
        message, _ = self.successResultOf(self.store.add(new))
        return message.id

    def chat(self, id: int = 1) -> Chat:
        found = self.successResultOf(self.store.chats(100))
        return next(each for each in found if each.id == id)

    def all_at_once(self, *news: New) -> list[Any]:
        """What became of messages that come while the writer has something else to do."""
        self.writer.at_once = False
        adding = [self.store.add(new) for new in (New(1, "desk", "text", 1, text="before"), *news)]
        self.writer.run()
        self.writer.at_once = True
        return [self.outcome(each) for each in adding[1:]]

    def page(self, chat: int = 1) -> list[Message]:
        return self.successResultOf(self.store.page(chat, 100)) or []

    def outcome(self, answer: Deferred[Any]) -> Any:
        found: list[Any] = []
        answer.addBoth(found.append)
        if not isinstance(found[0], Failure):
            return found[0]
        return found[0].value.code if isinstance(found[0].value, BadRequest) else found[0].type

    def plan(self, sql: str, args: Any) -> str:
        """How SQLite would do it."""
        with self.database._read_engine.connect() as connection:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", args).fetchall()
        return "\n".join(row[3] for row in rows)


class StoreTests(Fixture):
    """Chats, and their messages."""

    def test_quota_in_parallel(self) -> None:
        """R27: of any number of files that come in one commit just those that fit are stored."""
        self.enter()
        self.writer.at_once = False
        sizes = [60, 50, 30, 20, 10, 1, 0]
        adding = [
            self.store.add(New(1, "client", "file", 1, name="x", size=size, sha256="0" * 64))
            for size in sizes
        ]
        for each in adding:
            each.addErrback(lambda failure: failure.trap(BadRequest))
        self.writer.run()
        outcomes: list[Any] = self.successResultOf(gatherResults(adding))
        stored = [each[0].size for each in outcomes if isinstance(each, tuple)]
        self.assertEqual(stored, [60, 30, 10, 0])
        self.assertEqual(self.failureResultOf(self.store.check_room(1, 1), BadRequest).value.code, "quota")
        self.successResultOf(self.store.check_room(1, 0))
        self.assertEqual(len(self.successResultOf(self.store.page(1, 100)) or ()), 4)

    def test_discarded_costs_nothing(self) -> None:
        """What was discarded counts neither for the quota nor as unread."""
        self.enter()
        self.add(kind="file", status="discarded", size=10**12, text=None)
        self.assertEqual(self.chat().unread, 0)
        self.successResultOf(self.store.check_room(1, QUOTA))

    def test_no_such_chat(self) -> None:
        """Nothing is stored in a chat that is not there."""
        for asked in (
            self.store.add(New(9, "desk", "text", 1, text="x")),
            self.store.check_room(9, 0),
            self.store.resume(9, "upload:u", 1),
        ):
            self.assertEqual(self.failureResultOf(asked, BadRequest).value.code, "no-such-chat")
        self.assertIsNone(self.successResultOf(self.store.page(9, 10)))
        self.assertIsNone(self.successResultOf(self.store.read(9, 1)))

    def test_key_in_one_commit(self) -> None:
        """R3: of two with one key that come at once the first is stored, and both get it."""
        self.enter()
        self.writer.at_once = False
        adding = [self.store.add(New(1, "client", "text", 1, text=each, key="k")) for each in "ab"]
        self.writer.run()
        (first, is_new), (second, is_new_too) = (self.successResultOf(each) for each in adding)
        self.assertEqual((first, is_new, is_new_too, first.text), (second, True, False, "a"))
        self.assertEqual(self.chat().unread, 1)

    def test_many_in_one_commit(self) -> None:
        """Of many that come at once each is stored, known before, or refused, as if it had come alone."""
        self.enter(), self.enter(8)
        self.add(key="old", text="old")
        commits = self.database.measures.commit_requests.count
        found = self.all_at_once(
            New(1, "client", "text", 2000, text="a"),
            New(9, "client", "text", 2001, text="nowhere"),
            New(1, "client", "text", 2002, text="b", key="k"),
            New(2, "client", "image", 2003, name="i", size=60, type="image/png", sha256="1" * 64, key="k"),
            New(2, "client", "image", 2004, name="i", size=50, type="image/png", sha256="2" * 64, key="l"),
            New(1, "client", "text", 2005, text="c", key="k"),
            New(1, "client", "text", 2006, text="d", key="old"),
            New(9, "client", "text", 2007, text="nowhere", key="k"),
            New(2, "desk", "image", 2008, name="i", size=40, type="image/png", sha256="3" * 64),
            New(1, "client", "text", 2009, "discarded"),
        )
        self.assertEqual(self.database.measures.commit_requests.count, commits + 2)
        told = [each if isinstance(each, str) else (each[0].id, each[0].text, each[1]) for each in found]
        self.assertEqual(
            told,
            [
                (3, "a", True),
                "no-such-chat",
                (4, "b", True),
                (5, None, True),
                "quota",
                (4, "b", False),
                (1, "old", False),
                "no-such-chat",
                (6, None, True),
                (7, None, True),
            ],
        )
        stored = {each.id: each for chat in (1, 2) for each in self.page(chat)}
        self.assertEqual(sorted(stored), [1, 2, 3, 4, 5, 6, 7])
        for each in found:
            if not isinstance(each, str):
                self.assertEqual(stored[each[0].id], each[0])
        first, second = self.chat(1), self.chat(2)
        self.assertEqual((first.unread, first.last_message_at, first.active_at), (3, 2009, 2009))
        self.assertEqual((second.unread, second.last_message_at), (1, 2008))
        self.assertEqual(self.outcome(self.store.check_room(2, 1)), "quota")
        self.assertEqual(
            self.outcome(self.store.add(New(2, "client", "text", 1, text="x", key="l")))[1], True
        )

    def test_too_many_wait(self) -> None:
        """Of more than may wait the rest is refused at once, counted, and not stored."""
        self.enter()
        self.database.max_queue = 3
        found = self.all_at_once(*(New(1, "client", "text", 1, text=str(n)) for n in range(5)))
        self.assertEqual([each for each in found if isinstance(each, type)], [Overloaded] * 2)
        self.assertEqual(self.database.measures.refused, 2)
        self.assertEqual(self.chat().unread, 3)

    def test_who_does_not_wait(self) -> None:
        """Whoever does not wait for the answer any more gets none, and the others do."""
        self.enter()
        self.writer.at_once = False
        adding = [self.store.add(New(1, "client", "text", 1, text="x")) for _ in range(3)]
        adding[1].cancel()
        self.writer.run()
        self.failureResultOf(adding[1], CancelledError)
        self.assertEqual([self.outcome(adding[each])[1] for each in (0, 2)], [True, True])

    def test_equal_times(self) -> None:
        """Chats with one time come in a fixed order, page by page, each once."""
        for client in range(1, 26):
            self.enter(client)
        seen: list[int] = []
        after = None
        while page := self.successResultOf(self.store.chats(4, after=after)):
            seen += [chat.id for chat in page]
            after = page[-1].active_at, page[-1].id
        self.assertEqual(seen, list(range(25, 0, -1)))

    def test_awaiting(self) -> None:
        """Chats that have something unread are counted, and the ones that wait for longest are found."""
        for client in range(1, 8):
            self.enter(client)
            self.add(client, at=1000 - client)
        self.add(3, at=2000, sender="desk")
        self.successResultOf(self.store.read(2, 2))
        count, chats = self.successResultOf(self.store.awaiting(4))
        self.assertEqual((count, [chat.client_id for chat in chats]), (6, [7, 6, 5, 4]))

    def test_ids_are_never_given_again(self) -> None:
        """An id is not used again, for its file may be in somebody's cache."""
        self.enter()
        self.add(), self.add()
        with self.database.at_start() as connection:
            connection.execute(text("DELETE FROM mediachat_message WHERE id = 2"))
        self.assertEqual(self.add(), 3)

    def test_desk_page(self) -> None:
        """What a client is told is what the desk said, and nothing of what it said itself."""
        self.enter(), self.enter(8)
        mine = [self.add(sender=sender) for sender in ("client", "desk", "client", "desk")]
        self.add(2, sender="desk")
        page = self.successResultOf(self.store.page(1, 10, after=mine[0], from_desk=True)) or []
        self.assertEqual([message.id for message in page], [mine[1], mine[3]])

    def test_offset(self) -> None:
        """A page may begin behind some that are skipped, from either end and between two messages."""
        self.enter()
        self.enter(8)
        mine = [self.add(1 + n % 2) for n in range(12)][::2]

        def page(offset: int, **asked: Any) -> list[int]:
            found = self.successResultOf(self.store.page(1, 2, offset=offset, **asked)) or []
            return [message.id for message in found]

        self.assertEqual(page(offset=3), mine[3:5])
        self.assertEqual(page(offset=1, after=mine[1]), mine[3:5])
        self.assertEqual(page(offset=1, before=mine[5]), mine[2:4])
        self.assertEqual(page(offset=9), [])


class FileTests(Fixture):
    """What SQLite alone does: its plans, its disk, what it does not take."""

    def test_one_that_cannot_be_stored(self) -> None:
        """What the database does not take fails alone: the rest of its commit is stored, once."""
        self.enter()
        found = self.all_at_once(
            New(1, "client", "text", 2, text="a"),
            New(1, "client", "text", 2, text="\ud800"),
            New(1, "client", "text", 2, text="b", key="k"),
            New(2**63, "client", "text", 2, text="x"),
            New(1, "client", "text", 2, text="b", key="k"),
        )
        self.assertEqual(
            [each for each in found if isinstance(each, type)], [UnicodeEncodeError, OverflowError]
        )
        self.assertEqual([each[1] for each in found if isinstance(each, tuple)], [True, True, False])
        self.assertEqual([each.text for each in self.page()], ["before", "a", "b"])
        self.assertEqual(self.chat().unread, 2)

    def test_a_disk_that_is_full(self) -> None:
        """Of a commit that the storage fails nothing is stored, and everybody is told; then it goes on."""
        self.enter()
        with self.database.at_start() as connection:
            connection.execute(text("PRAGMA max_page_count = 1"))  # as many as there are
        big = New(1, "client", "text", 2, text="x" * 100_000, key="k")
        self.assertEqual(self.all_at_once(big, big, New(9, "desk", "text", 2, text="x")), [StorageFull] * 3)
        with self.database.at_start() as connection:
            connection.execute(text("PRAGMA max_page_count = 1000000"))
        self.assertEqual([each[1] for each in self.all_at_once(big, big)], [True, False])
        self.assertEqual(self.chat().unread, 1)

    def test_few_statements(self) -> None:
        """Nothing is looked up for texts that come together, and their chat is written once."""
        self.enter()
        seen: list[str] = []
        kept = self.database._writes._kept  # type: ignore[attr-defined] # that of a file
        driver(kept).set_trace_callback(lambda sql: seen.append(sql.partition(" ")[0]))

        def statements(*news: New) -> dict[str, int]:
            seen.clear()
            self.all_at_once(*news)
            return Counter(seen)

        alone = {"BEGIN": 1, "SELECT": 1, "INSERT": 1, "UPDATE": 1, "COMMIT": 1}  # the last id is looked up
        many = alone | {"INSERT": 3}  # of 64, 32 and 4 rows
        texts = [New(1, "client", "text", 1, text=str(n)) for n in range(100)]
        self.assertEqual(statements(*texts), Counter(alone) + Counter(many))
        same = [New(1, "client", "text", 1, text="x", key="k")] * 3
        self.assertEqual(statements(*same), Counter(alone) + Counter(alone | {"SELECT": 2}))
        self.assertEqual(statements(*same), Counter(alone) + Counter({"BEGIN": 1, "SELECT": 3, "COMMIT": 1}))

    def test_known_chats(self) -> None:
        """A chat that no client has entered since the start is looked up, and so is each that gets media."""
        self.enter()
        self.enter(8)
        self.store = MediaChatStore(self.database, QUOTA)
        self.enter(8)
        media: Any = {"sender": "client", "kind": "file", "name": "f", "size": 60, "sha256": "0" * 64}
        found = self.all_at_once(
            New(1, "desk", "text", 5, text="a"),
            New(3, "desk", "text", 5, text="nowhere"),
            New(2, "client", "text", 5, text="b"),
            New(2, at=6, **media),
            New(2, at=7, **media),
            New(2, "client", "text", 8, text="c"),
        )
        stored = [True, "no-such-chat", True, True, "quota", True]
        self.assertEqual([each if isinstance(each, str) else each[1] for each in found], stored)
        self.assertEqual((self.chat(2).unread, self.chat(2).last_message_at), (3, 8))

    def test_defect_of_one(self) -> None:
        """Who fails at what became of a message keeps nobody else from being told."""
        self.enter()
        told: list[Any] = []

        def fail(outcome: object) -> None:
            raise ZeroDivisionError

        self.writer.at_once = False
        self.store.add(New(1, "client", "text", 1, text="before"))
        for told_to in (fail, told.append):
            self.store.put(New(1, "client", "text", 1, text="x"), told_to)
        self.writer.run()
        self.assertEqual([(message.id, is_new) for message, is_new in told], [(3, True)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_most_known_chats(self) -> None:
        """What is kept of chats does not grow without end, and goes for those that were entered long ago."""
        self.patch(mediachat_store, "_MOST_KNOWN", 2)
        for client in (7, 8, 7, 9):
            self.enter(client)
        self.assertEqual(list(self.store._known), [1, 3])
        self.assertEqual([self.add(chat) for chat in (1, 2, 3)], [1, 2, 3])

    def test_plans(self) -> None:
        """Every page is read by an index, in its order: its cost does not grow with what is not on it."""
        self.enter()
        seen: list[tuple[str, Any]] = []
        engine = self.database._read_engine
        event.listen(
            engine, "before_cursor_execute", lambda c, cur, sql, args, ctx, many: seen.append((sql, args))
        )
        store = self.store
        asked: list[tuple[Callable[[], Any], str]] = [
            (lambda: store.page(1, 10), "mediachat_filed USING PRIMARY KEY (chat_id=?)"),
            (lambda: store.page(1, 10, before=99), "mediachat_filed USING PRIMARY KEY (chat_id=? AND id<?)"),
            (lambda: store.page(1, 10, after=9), "mediachat_filed USING PRIMARY KEY (chat_id=? AND id>?)"),
            (lambda: store.page(1, 10, before=9, after=2), "PRIMARY KEY (chat_id=? AND id>? AND id<?)"),
            (lambda: store.page(1, 10), "mediachat_message USING INTEGER PRIMARY KEY (rowid>?)"),
            (lambda: store.page(1, 10, before=99), "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
            (
                lambda: store.page(1, 10, after=9, from_desk=True),
                "ix_mediachat_message_desk (chat_id=? AND id>?)",
            ),
            (lambda: store.chats(10), "ix_mediachat_chat_active"),
            (lambda: store.chats(10, after=(5, 5)), "ix_mediachat_chat_active (active_at<?)"),
            (lambda: store.chats(10, client_id=7), "INDEX sqlite_autoindex_mediachat_chat_1 (client_id=?)"),
            (lambda: store.awaiting(20), "USING INDEX ix_mediachat_chat_awaiting"),
            (lambda: store.message(1), "INTEGER PRIMARY KEY (rowid=?)"),
            (lambda: store.resume(1, "k", 0), "ix_mediachat_message_key (chat_id=? AND key=?)"),
            (lambda: store.referenced(["0" * 64]), "ix_mediachat_message_media (sha256=?)"),
        ]
        with self.database.at_start() as connection:
            connection.exec_driver_sql("INSERT INTO mediachat_filing VALUES (50)")
        for ask, index in asked:
            seen.clear()
            self.successResultOf(ask())
            plans = "\n".join(self.plan(sql, args) for sql, args in list(seen))
            self.assertIn(index, plans)
            self.assertIsNone(re.search(r"SCAN (?!mediachat_chat USING INDEX)|TEMP B-TREE", plans), plans)
        self.assertIn("ix_mediachat_message_key (chat_id=? AND key=?)", self.plan(KNOWN_HERE, (1, "k")))
