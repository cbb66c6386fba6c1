"""Where a store has entries with SQLite: its tests once more with filing all the time, and the filing."""

from __future__ import annotations

from random import Random

from protosuite.chatlog import layout
from protosuite.chatlog.chain import Verifier
from protosuite.chatlog.store import ChatLogStore, Committed, RoomState
from protosuite.chatlog.wire import Entry
from protosuite.test import test_chatlog_store as stores
from protosuite.test.test_chatlog_store import EPOCH, NOW, append, decoded


class Filing(stores.Fixture):
    """Entries are filed all the time: some of what is read is filed, some is not."""

    def setUp(self) -> None:
        self.patch(layout, "MOST", 3)
        super().setUp()


class FilingCommitTests(Filing, stores.CommitTests):
    """Slots are the same wherever entries are."""


class FilingKeyTests(Filing, stores.KeyTests):
    """Keys are known wherever entries are."""


class FilingPageTests(Filing, stores.PageTests):
    """Pages are the same wherever entries are."""


class FilingSweepTests(Filing, stores.SweepTests):
    """What is swept is the same wherever entries are."""


class FiledTests(stores.Fixture):
    """Entries stay where they came, and their places are filed by room and slot."""

    def tables(self) -> tuple[list[int], list[int], list[int]]:
        """The slots of room 1 that are filed and those that are not, and the heads of all rooms."""
        execute = self.raw().execute
        rest = (
            "SELECT slot FROM chatlog_log WHERE room = 1"
            " AND id > (SELECT coalesce(max(upto), 0) FROM chatlog_filing) ORDER BY id"
        )
        return (
            [slot for (slot,) in execute("SELECT slot FROM chatlog_filed WHERE room = 1 ORDER BY slot")],
            [slot for (slot,) in execute(rest)],
            [head for (head,) in execute("SELECT head FROM chatlog_room ORDER BY id")],
        )

    def test_filed_when_there_are_enough(self) -> None:
        """R1: all are filed in the commit that makes them many, and the next ones are few again."""
        self.patch(layout, "MOST", 5)
        self.fill(3)
        self.fill(1, "other")
        self.assertEqual(self.tables(), ([], [1, 2, 3], [0, 0]))
        self.fill(2)
        self.assertEqual(self.tables(), ([1, 2, 3, 4, 5], [], [5, 1]))
        self.fill(4)
        self.assertEqual(self.tables(), ([1, 2, 3, 4, 5], [6, 7, 8, 9], [5, 1]))
        self.reopened()
        self.assertEqual(self.slots(append(), append("other")), [10, 2])
        self.assertEqual(self.tables()[2], [10, 2])
        self.assertIsNone(Verifier("r" * 32).first_problem(self.log()))

    def test_filed_when_they_are_long(self) -> None:
        """Long ones are filed before they are many: those that are not are looked through."""
        self.patch(layout, "MOST_CHARACTERS", 1000)
        self.fill(2, content="x" * 300)
        self.assertEqual(self.tables(), ([], [1, 2], [0]))
        self.fill(2, content="x" * 200)
        self.assertEqual(self.tables(), ([1, 2, 3, 4], [], [4]))
        self.fill(3, content="x" * 300)
        self.assertEqual(self.tables(), ([1, 2, 3, 4], [5, 6, 7], [4]))

    def test_filing_that_fails(self) -> None:
        """What cannot be filed takes the commit with it, and all is as it was before."""
        self.patch(layout, "MOST", 4)
        self.fill(3)
        self.raw().execute(
            "CREATE TRIGGER t BEFORE UPDATE ON chatlog_room BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        self.failureResultOf(self.store.commit([append()], {"r": EPOCH}, NOW))
        self.assertEqual(self.tables(), ([], [1, 2, 3], [0]))
        self.raw().execute("DROP TRIGGER t")
        self.assertEqual(self.slots(append()), [4])
        self.assertEqual(self.tables(), ([1, 2, 3, 4], [], [4]))

    def test_swept_to_the_end(self) -> None:
        """Where the newest entries were deleted, what comes has their numbers in the log, and is found."""
        self.patch(layout, "MOST", 4)
        self.fill(2, "other")
        self.fill(9)
        self.assertEqual(self.successResultOf(self.store.sweep(0, NOW + 1)), {"other": 3, "r": 10})
        self.assertEqual(self.tables(), ([], [], [2, 9]))
        for slot in range(10, 30):
            self.assertEqual(self.slots(append()), [slot])
            self.assertEqual([entry.slot for entry in self.log()], [*range(10, slot + 1)])
            self.assertLess(len(self.tables()[1]), 4)

    def test_any_order(self) -> None:
        """Whatever is asked for in whatever order, it is as with one table."""
        random = Random(5)
        self.patch(layout, "MOST", 9)
        logs: dict[str, list[Entry]] = {}
        firsts: dict[str, int] = {}
        for turn in range(300):
            self.store = ChatLogStore(self.database, 100, is_alone=True) if turn % 50 == 0 else self.store
            batch = [
                append(f"r-{random.randrange(6)}", key=random.choice([None, f"k-{turn}-{n}"]))
                for n in range(random.randrange(1, 8))
            ]
            for outcome in self.commit(*batch):
                assert isinstance(outcome, Committed)
                log = logs.setdefault(outcome.append.room, [])
                log.append(outcome.entry)
                self.assertEqual(outcome.entry.slot, len(log))
            if turn % 40 == 39:
                before = NOW + 1 if turn % 120 == 119 else 0  # all of it, once in a while
                while swept := self.successResultOf(self.store.sweep(20, before)):
                    firsts |= swept
            room, log = random.choice(sorted(logs.items()))
            first, low, high = (
                firsts.get(room, 1),
                random.randrange(len(log) + 2),
                random.randrange(len(log) + 3),
            )
            expected = log[max(low, first, 1) - 1 : max(high, 0)]
            page = self.oldest(low, high, room=room)
            self.assertEqual((decoded(page.entries), page.first), (expected, first))
            self.assertEqual(decoded(self.newest(low, high, most=3, room=room).entries), expected[-3:])
            self.assertEqual(self.state(room), RoomState((room * 32)[:32], len(log), first))
            if (entry := random.choice(log)).key is not None and entry.slot >= first:
                again = self.commit(append(room, key=entry.key))[0]
                assert isinstance(again, Committed)
                self.assertEqual((again.is_new, again.entry), (False, entry))
