"""What several nodes have stored is found by whoever looks, whatever was committed when."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import event, func, select

from protosuite.mediachat.cuts import Cut, Cuts
from protosuite.mediachat.places import Reached
from protosuite.mediachat.store import MediaChatStore
from protosuite.mediachat.tables import Message, New, chats, lanes, messages
from protosuite.test import test_mediachat_store


class Fixture(test_mediachat_store.Fixture):
    """Two nodes, each with a lane and a store of its own, on one database; and one that is alone."""

    def setUp(self) -> None:
        super().setUp()
        self.alone = self.store
        self.stores = [MediaChatStore(self.database, 1000, lane) for lane in (3, 200)]
        self.cuts = Cuts(self.database)

    def at(self, number: int) -> Fixture:
        """What is stored next this node stores."""
        self.store = self.stores[number]
        return self

    def end(self) -> Reached:
        return self.successResultOf(self.cuts.end())

    def since(self, seen: Reached, most: int = 100) -> Cut | None:
        return self.successResultOf(self.cuts.since(seen, most))

    def cut(self, seen: Reached) -> Cut:
        found = self.since(seen)
        assert found is not None
        return found


class CutTests(Fixture):
    """Cut behind cut."""

    def test_all_of_it_once(self) -> None:
        """Each cut has what was stored behind the one before, of all nodes and by its ids, and its chats."""
        begin = self.end()
        self.assertEqual(begin, {})
        self.at(0).enter(7)
        self.at(1).enter(8)
        first = self.cut(begin)
        self.assertEqual(([chat.client_id for chat in first.chats], first.messages), ([7, 8], []))
        self.at(0).add(1)
        self.at(1).add(2)
        self.at(0).add(2, sender="desk")
        second = self.cut(first.lanes)
        self.assertEqual(second.messages, [1, 2, 3])
        self.assertEqual([chat.unread for chat in second.chats], [1, 1])
        self.assertEqual(self.cut(second.lanes), Cut(second.lanes, [], []))
        self.assertEqual(self.cut(begin), Cut(second.lanes, [1, 2, 3], second.chats))
        self.assertEqual(self.end(), second.lanes)

    def test_what_changes(self) -> None:
        """A chat that was read, or whose client is in another zone now, has changed; otherwise it has not."""
        self.at(0).enter(7)
        self.add(1)
        end = self.end()
        self.enter(7)
        self.successResultOf(self.store.delivered(1, 1))
        self.successResultOf(self.store.read(1, 0))
        self.assertEqual(self.end(), end)
        self.successResultOf(self.at(1).store.read(1, 1))
        read = self.cut(end)
        self.assertEqual([(chat.id, chat.unread) for chat in read.chats], [(1, 0)])
        self.successResultOf(self.store.enter(7, "Asia/Tokyo", 5))
        self.assertEqual([chat.timezone for chat in self.cut(read.lanes).chats], ["Asia/Tokyo"])

    def test_in_one_go(self) -> None:
        """What a node stores in one commit has one place, and what was there before has none again."""
        self.at(0).enter(7)
        end = self.end()
        news = [New(1, "client", "text", 1, text="x", key=key) for key in ("a", "b", "a", None)]
        self.all_at_once(*news)
        self.assertEqual(self.end(), {3: end[3] + 2})  # `before` has one as well
        self.assertEqual(len(self.cut(end).messages), 4)
        now = self.end()
        self.successResultOf(self.store.add(news[0]))
        self.assertEqual(self.end(), now)

    def test_too_much(self) -> None:
        """Who asks for at most so much is told if it is more, of messages and of chats."""
        begin = self.end()
        for number in range(3):
            self.at(0).enter(number + 1)
        self.assertIsNone(self.since(begin, 2))
        self.assertEqual(len(self.cut(begin).chats), 3)
        end = self.end()
        for _ in range(3):
            self.add(1)
        self.assertIsNone(self.since(end, 2))
        found = self.since(end, 3)
        assert found is not None
        self.assertEqual(found.messages, [1, 2, 3])

    def test_alone(self) -> None:
        """A node that is alone notes no places, and asks for none."""
        seen: list[str] = []
        event.listen(
            self.database._write_engine,
            "before_cursor_execute",
            lambda connection, cursor, sql, *rest: seen.append(sql),
        )
        self.store = self.alone
        self.enter()
        self.add()
        self.successResultOf(self.store.read(1, 1))
        asking = [sql for sql in seen if not sql.startswith("INSERT INTO mediachat_")]
        self.assertFalse([sql for sql in asking if "lane" in sql or "place" in sql])
        with self.database.at_start() as connection:
            self.assertEqual(connection.execute(select(func.count()).select_from(lanes)).scalar(), 0)
            self.assertEqual(connection.execute(select(func.count(messages.c.place))).scalar(), 0)
            self.assertEqual(connection.execute(select(func.count(chats.c.place))).scalar(), 0)

    def test_messages(self) -> None:
        """Messages are read by their ids, in their order."""
        self.at(0).enter(7)
        ids = [self.add(1, text=str(number)) for number in range(5)]
        found: list[Message] = self.successResultOf(self.cuts.messages(ids[3:0:-1]))
        self.assertEqual([message.text for message in found], ["1", "2", "3"])

    def test_said(self) -> None:
        """The last message of the desk is found for each chat that has any."""
        for number in range(3):
            self.at(0).enter(number + 1)
        self.add(1, sender="desk")
        last = self.add(1, sender="desk")
        self.add(1), self.add(2)
        self.assertEqual(self.successResultOf(self.cuts.said([1, 2, 3, 99])), {1: last})
        self.assertEqual(self.successResultOf(self.cuts.said(range(5, 5000))), {})


class PlanTests(Fixture):
    """What it costs, with SQLite."""

    def test_plans(self) -> None:
        """All is found by an index: what it costs does not grow with what was stored before."""
        self.at(0).enter(7)
        self.add(1)
        seen: list[tuple[str, Any]] = []
        event.listen(
            self.database._read_engine,
            "before_cursor_execute",
            lambda connection, cursor, sql, args, *rest: seen.append((sql, args)),
        )
        self.since({})
        self.successResultOf(self.cuts.messages([1, 2]))
        self.successResultOf(self.cuts.said([1, 2]))
        plans = "\n".join(self.plan(sql, args) for sql, args in list(seen))
        self.assertIn("ix_mediachat_message_place (place>? AND place<?)", plans)
        self.assertIn("ix_mediachat_chat_place (place>? AND place<?)", plans)
        self.assertIn("ix_mediachat_message_desk (chat_id=?)", plans)
        self.assertIsNone(re.search(r"SCAN (?!mediachat_lane)|TEMP B-TREE", plans), plans)
