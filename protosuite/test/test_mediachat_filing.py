"""How the messages of a chat are found with SQLite: the store's tests once more with little to a file."""

from __future__ import annotations

from random import Random
from sqlite3 import IntegrityError

from protosuite.mediachat import filing
from protosuite.mediachat.store import MediaChatStore
from protosuite.mediachat.tables import New
from protosuite.storage import migrate
from protosuite.test import test_mediachat_store as stores

CHATS = 3


class Filing(stores.Fixture):
    """Messages are filed all the time: some of what is read is filed, some is not."""

    def setUp(self) -> None:
        self.patch(filing, "MOST", 3)
        super().setUp()


class FilingStoreTests(Filing, stores.StoreTests):
    """What is read is the same wherever messages are found."""


class FiledTests(stores.Fixture):
    """Messages that are filed by the thousand."""

    def filed(self) -> list[tuple[int, int]]:
        """Chats and messages, and then up to which one that is all."""
        with self.database.at_start() as connection:
            filed = connection.exec_driver_sql("SELECT chat_id, id FROM mediachat_filed").tuples().all()
            upto = connection.exec_driver_sql("SELECT upto FROM mediachat_filing").scalars().all()
        return [*filed, (0, *upto)]

    def test_when(self) -> None:
        """They are filed when there are enough, all at once, by chat."""
        self.patch(filing, "MOST", 4)
        self.enter(1)
        self.enter(2)
        for chat in (1, 2, 1):
            self.add(chat)
        self.assertEqual(self.filed(), [(0,)])
        self.add(2)
        self.assertEqual(self.filed(), [(1, 1), (1, 3), (2, 2), (2, 4), (0, 4)])
        for chat in (2, 1, 1):
            self.add(chat)
        self.assertEqual(self.filed()[-1], (0, 4))
        self.assertEqual([each.id for each in self.page()], [1, 3, 6, 7])

    def test_what_is_undone(self) -> None:
        """A commit that fails files nothing."""
        self.patch(filing, "MOST", 2)
        self.enter(1)
        with self.database.at_start() as connection:
            connection.exec_driver_sql(
                "CREATE TRIGGER t BEFORE INSERT ON mediachat_filing BEGIN SELECT RAISE(ABORT, ''); END"
            )
        self.add()
        self.failureResultOf(self.store.add(New(1, "client", "text", 2, text="a")), IntegrityError)
        self.assertEqual(self.filed(), [(0,)])
        self.assertEqual([each.id for each in self.page()], [1])

    def test_any_page(self) -> None:
        """Whatever part of a chat is asked for, it is what was said there, filed or not."""
        random = Random(3)
        self.patch(filing, "MOST", 7)
        model: dict[int, list[New]] = {n: [] for n in range(1, CHATS + 1)}
        ids: dict[int, list[int]] = {n: [] for n in model}
        for client in model:
            self.enter(client)
        for turn in range(200):
            chat = random.randrange(1, CHATS + 1)
            status = random.choice(["saved", "saved", "discarded"])
            new = New(chat, random.choice(["client", "desk"]), "text", turn, status, f"{turn}")
            ids[chat].append(self.successResultOf(self.store.add(new))[0].id)
            model[chat].append(new)
            asked = random.randrange(1, CHATS + 1)
            self._look(random, asked, list(zip(ids[asked], model[asked], strict=True)))

    def _look(self, random: Random, chat: int, expected: list[tuple[int, New]]) -> None:
        after, before = (random.choice([None, random.randrange(210)]) for _ in "ab")
        limit, offset = random.randrange(1, 12), random.choice([0, 0, 3])
        from_desk = random.random() < 0.3
        found = self.successResultOf(
            self.store.page(chat, limit, after=after, before=before, offset=offset, from_desk=from_desk)
        )
        wanted = [
            (id, new.text)
            for id, new in expected
            if (after is None or id > after)
            and (before is None or id < before)
            and (not from_desk or (new.sender, new.status) == ("desk", "saved"))
        ]
        step = 1 if before is None else -1
        wanted = wanted[::step][offset:][:limit][::step]
        self.assertEqual([(each.id, each.text) for each in found or []], wanted, (after, before))
        _, last = self.successResultOf(self.store.enter(chat, "Europe/Paris", 1))
        self.assertEqual(last, max((id for id, _ in expected), default=0))
        upto = random.randrange(210)
        unread = [id for id, new in expected if (new.sender, new.status) == ("client", "saved")]
        before_it = self.chat(chat).unread
        read = self.successResultOf(self.store.read(chat, upto))
        assert read is not None
        self.assertEqual(read.unread, min(before_it, sum(id > upto for id in unread)))

    def test_from_before(self) -> None:
        """R8: messages of a file of the version before are found, and those of this one by that one."""
        self.patch(filing, "MOST", 3)
        self.enter(1)
        self.enter(2)
        for chat in (1, 2, 2, 1):
            self.add(chat)
        migrate.downgrade(self.database, "0013")
        with self.database.at_start() as connection:
            index = "SELECT sql FROM sqlite_schema WHERE name = 'ix_mediachat_message_chat_id'"
            self.assertIn("(chat_id, id)", connection.exec_driver_sql(index).scalar())
        migrate.upgrade(self.database)
        self.assertEqual(self.filed(), [(1, 1), (1, 4), (2, 2), (2, 3), (0, 4)])
        self.store = MediaChatStore(self.database, stores.QUOTA)
        self.enter(1)
        self.add(1)
        self.assertEqual([each.id for each in self.page()], [1, 4, 5])
