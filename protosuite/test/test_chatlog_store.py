"""The chat log's store, in a real database file."""

from __future__ import annotations

import itertools
import json
import sqlite3
from typing import Any

from sqlalchemy import Connection, event, select
from twisted.trial.unittest import SynchronousTestCase

from protosuite.chatlog import layout
from protosuite.chatlog.chain import Append, Verifier
from protosuite.chatlog.store import ChatLogStore, Committed, Declined, Outcome, Page, RoomState
from protosuite.chatlog.tables import rooms
from protosuite.chatlog.wire import ClientAppend, Entry, ServerAck, encode_ack, from_server
from protosuite.errors import StorageError
from protosuite.storage import sqlite
from protosuite.testing import HandWorker, database

EPOCH = "e" * 32
NOW = 1_700_000_000_000
ALL = 2**53


_seqs = itertools.count(100_000)  # of one length, so that entries are


def append(room: str = "r", content: str = "x", key: str | None = None, session: str = "s") -> Append:
    return Append(room, session, ClientAppend(next(_seqs), "ana", content, key))


def decoded(encoded: list[bytes]) -> list[Entry]:
    found = []
    for each in encoded:
        ack = from_server(encode_ack(each).decode())
        assert isinstance(ack, ServerAck)
        found.append(ack.entry)
    return found


class Fixture(SynchronousTestCase):
    open_database = staticmethod(database)  # as tests with another engine replace it

    def setUp(self) -> None:
        self.folder = self.mktemp()
        self.writer = HandWorker(at_once=True)
        self.database = self.open_database(self.folder, self.writer)
        self.addCleanup(self.database.close)
        self.store = ChatLogStore(self.database, 100)

    def commit(self, *batch: Append, now: int = NOW, store: ChatLogStore | None = None) -> list[Outcome]:
        epochs = {each.room: (each.room * 32)[:32] for each in batch}
        return self.successResultOf((store or self.store).commit(batch, epochs, now))

    def slots(self, *batch: Append, now: int = NOW) -> list[int | str]:
        """The slot of each append, or the code of what declined it."""
        return [
            outcome.entry.slot if isinstance(outcome, Committed) else outcome.error.code
            for outcome in self.commit(*batch, now=now)
        ]

    def fill(self, count: int, room: str = "r", content: str = "x", now: int = NOW) -> None:
        self.commit(*(append(room, content) for _ in range(count)), now=now)

    def newest(
        self, low: int = 1, high: int = ALL, most: int = 1000, size: int = ALL, room: str = "r"
    ) -> Page:
        return self.successResultOf(self.store.newest(room, low, high, most, size))

    def oldest(
        self, low: int = 1, high: int = ALL, most: int = 1000, size: int = ALL, room: str = "r"
    ) -> Page:
        return self.successResultOf(self.store.oldest(room, low, high, most, size))

    def log(self, room: str = "r") -> list[Entry]:
        return decoded(self.oldest(most=100_000, room=room).entries)

    def state(self, room: str = "r") -> RoomState:
        return self.successResultOf(self.store.open(room, EPOCH))

    def reopened(self) -> None:
        """The same file, after a restart."""
        self.database.close()
        self.database = self.open_database(self.folder, self.writer)
        self.addCleanup(self.database.close)
        self.store = ChatLogStore(self.database, 100)

    def traced(self) -> list[str]:
        """Statements that the writer will carry out, with their values."""
        seen: list[str] = []
        with self.database.at_start() as connection:
            sqlite.driver(connection).set_trace_callback(seen.append)
        seen.clear()
        return seen

    def raw(self) -> sqlite3.Connection:
        connection = sqlite3.connect(str(self.database.url.database))
        self.addCleanup(connection.close)
        return connection


class CommitTests(Fixture):
    """Slots are given in the transaction that stores them."""

    def test_slots(self) -> None:
        """Slots begin at 1 and have no hole, over batches and restarts, and the hashes are a chain."""
        self.assertEqual(self.state(), RoomState(EPOCH, 0, 1))
        self.assertEqual(self.slots(append(), append(), append()), [1, 2, 3])
        self.assertEqual(self.slots(append()), [4])
        self.reopened()
        self.assertEqual(self.slots(append(), append()), [5, 6])
        self.assertEqual(self.state(), RoomState("r" * 32, 6, 1))
        log = self.log()
        self.assertEqual([entry.slot for entry in log], [1, 2, 3, 4, 5, 6])
        verifier = Verifier("r" * 32)
        self.assertIsNone(verifier.first_problem(log))
        self.assertEqual(verifier.checked, 6)

    def test_outcomes(self) -> None:
        """Each append gets what became of it, as it will be read."""
        batch = [append("r", "one\n😀"), append("r", "two", "k", "t")]
        outcomes = self.commit(*batch)
        self.assertEqual([outcome.append for outcome in outcomes], batch)
        entries = [outcome.entry for outcome in outcomes if isinstance(outcome, Committed)]
        self.assertEqual(self.log(), entries)
        self.assertEqual(
            self.oldest().entries, [outcome.encoded for outcome in outcomes if isinstance(outcome, Committed)]
        )
        self.assertEqual(
            [(e.author, e.content, e.at, e.session, e.seq, e.key) for e in entries],
            [
                ("ana", "one\n😀", NOW, "s", batch[0].message.seq, None),
                ("ana", "two", NOW, "t", batch[1].message.seq, "k"),
            ],
        )

    def test_rooms(self) -> None:
        """A batch across rooms gives each its own slots, and makes those that are not there."""
        self.fill(2, "b")
        found = self.slots(append("a"), append("b"), append("a"), append("c"), append("b"))
        self.assertEqual(found, [1, 3, 2, 1, 4])
        for room in "abc":
            self.assertEqual(self.state(room).epoch, room * 32)
            self.assertIsNone(Verifier(room * 32).first_problem(self.log(room)))

    def test_max_rooms(self) -> None:
        """No more rooms are made than may be, within a batch either; those that are there go on."""
        self.store = ChatLogStore(self.database, 3)
        self.fill(1, "a")
        found = self.slots(append("b"), append("c"), append("d"), append("a"), append("d"), append("c"))
        self.assertEqual(found, [1, 1, "too-many-rooms", 2, "too-many-rooms", 2])
        self.assertEqual(self.slots(append("e"), append("b")), ["too-many-rooms", 2])
        declined = self.commit(append("e"))[0]
        assert isinstance(declined, Declined)
        self.assertIn("3 rooms", declined.error.message)
        self.assertEqual(self.state("d"), RoomState(EPOCH, 0, 1))

    def test_what_nodes_share_is_no_room(self) -> None:
        """What all nodes make epochs of is not counted among the rooms."""
        self.store = ChatLogStore(self.database, 2)
        self.store.seed(EPOCH)
        found = self.slots(append("a"), append("b"), append("c"))
        self.assertEqual(found, [1, 1, "too-many-rooms"])

    def test_large_batches(self) -> None:
        """As many appends as a batch may have, each with a key, are one commit; so are as many rooms."""
        self.assertEqual(self.slots(*(append(key=str(n)) for n in range(10_000))), list(range(1, 10_001)))
        self.store = ChatLogStore(self.database, 100_000)
        found = self.slots(*(append(f"room-{n}", key="k") for n in range(2000)))
        self.assertEqual(found, [1] * 2000)


class KeyTests(Fixture):
    """A key is committed once."""

    def test_once(self) -> None:
        """A key that is there is not committed again: whoever sends it gets the first slot."""
        self.assertEqual(self.slots(append(key="k"), append(), append(key="l")), [1, 2, 3])
        again, new = self.commit(append(content="other", key="k", session="t"), append())
        assert isinstance(again, Committed)
        assert isinstance(new, Committed)
        self.assertEqual((again.is_new, again.entry), (False, self.log()[0]))
        self.assertEqual(again.encoded, self.oldest().entries[0])
        self.assertEqual((new.is_new, new.entry.slot), (True, 4))

    def test_in_one_batch(self) -> None:
        """Nor twice in one batch."""
        outcomes = self.commit(append(key="k"), append(), append(key="k"), append(key="k"))
        found = [(o.entry.slot, o.is_new) for o in outcomes if isinstance(o, Committed)]
        self.assertEqual(found, [(1, True), (2, True), (1, False), (1, False)])
        self.assertEqual(len(self.log()), 2)

    def test_after_a_restart(self) -> None:
        """Nor after a restart."""
        self.commit(append(key="k"))
        self.reopened()
        self.assertEqual(self.slots(append(key="k"), append(key="l")), [1, 2])

    def test_a_key_is_its_rooms(self) -> None:
        """The same key in another room is another one, and upper case another than lower."""
        self.assertEqual(
            self.slots(append("a", key="k"), append("b", key="k"), append("a", key="K")), [1, 1, 2]
        )

    def test_without_a_key(self) -> None:
        """Entries without a key are as many as were sent."""
        self.assertEqual(self.slots(append(), append()), [1, 2])


class FailureTests(Fixture):
    """What is not committed is not there at all."""

    def test_a_batch_that_is_run_again(self) -> None:
        """A batch whose neighbour in the same transaction fails is run again, and is there once."""
        self.writer.at_once = False

        def fault(connection: Connection) -> None:
            raise ValueError("a neighbour's")

        first = self.store.commit([append("new", key="k"), append("new")], {"new": EPOCH}, NOW)
        wrong = self.database.write(fault)
        self.writer.run()
        self.failureResultOf(wrong, ValueError)
        self.assertEqual(
            [o.entry.slot for o in self.successResultOf(first) if isinstance(o, Committed)], [1, 2]
        )
        self.assertEqual([entry.slot for entry in self.log("new")], [1, 2])

    def test_two_stores(self) -> None:
        """Two stores on one file, each with connections of its own, take turns in one chain."""
        other = self.open_database(self.folder)
        self.addCleanup(other.close)
        second = ChatLogStore(other, 100)
        for n in range(5):
            self.commit(append(key=f"a-{n}"))
            self.commit(append(key=f"b-{n}"), append(key=f"a-{n}"), store=second)
        self.assertEqual([entry.slot for entry in self.log()], list(range(1, 11)))
        self.assertIsNone(Verifier("r" * 32).first_problem(self.log()))

    def test_commits_that_overlap(self) -> None:
        """Commits that are asked for before others have ended go on where those end, and so does the next."""
        self.store = ChatLogStore(self.database, 100, is_alone=True)
        self.assertEqual(self.slots(append(), append("q")), [1, 1])
        self.writer.at_once = False
        asked = [
            self.store.commit([append(room) for room in batch], {"r": EPOCH, "q": EPOCH}, NOW)
            for batch in ("rq", "r", "rr")
        ]
        self.writer.run()
        found = [[o.entry.slot for o in self.successResultOf(d) if isinstance(o, Committed)] for d in asked]
        self.assertEqual(found, [[2, 2], [3], [4, 5]])
        self.writer.at_once = True
        self.assertEqual(self.slots(append(), append("q"), append()), [6, 3, 7])


class PageTests(Fixture):
    """Reading."""

    def setUp(self) -> None:
        super().setUp()
        self.fill(20)

    def slots_of(self, page: Page) -> list[int]:
        return [entry.slot for entry in decoded(page.entries)]

    def test_a_range(self) -> None:
        """A range is what it says, both ends included, and what is not there is left out."""
        for read in (self.newest, self.oldest):
            self.assertEqual(self.slots_of(read(3, 6)), [3, 4, 5, 6])
            self.assertEqual(self.slots_of(read(20, 20)), [20])
            self.assertEqual(self.slots_of(read(19, 99)), [19, 20])
            self.assertEqual((read(7, 6).entries, read(1, 0).entries, read(21, 99).entries), ([], [], []))
            self.assertEqual(read(room="none"), read(room="nothing"))

    def test_most(self) -> None:
        """Of more than may be sent, the newest come, or the oldest, without a hole."""
        page = self.newest(1, 18, most=5)
        self.assertEqual((self.slots_of(page), page.low, page.first), ([14, 15, 16, 17, 18], 14, 1))
        page = self.oldest(3, 20, most=5)
        self.assertEqual((self.slots_of(page), page.low, page.first), ([3, 4, 5, 6, 7], 3, 1))

    def test_bytes(self) -> None:
        """Entries are sent up to a number of bytes, commas included; one is sent however long it is."""
        size = len(self.newest(18, 18).entries[0]) + 1
        for room, expected in ((3 * size, 3), (3 * size - 1, 2), (size, 1), (1, 1)):
            self.assertEqual(self.slots_of(self.newest(1, 20, size=room)), list(range(21 - expected, 21)))
            self.assertEqual(self.slots_of(self.oldest(10, 20, size=room)), list(range(10, 10 + expected)))

    def test_other_rooms(self) -> None:
        """A page is of its room."""
        self.fill(3, "other")
        self.assertEqual(self.slots_of(self.newest(room="other")), [1, 2, 3])
        self.assertEqual(len(self.newest().entries), 20)

    def test_as_sent(self) -> None:
        """What is read is what was told when it was committed."""
        outcome = self.commit(append("r", '"\\\n😀', "k"))[0]
        assert isinstance(outcome, Committed)
        self.assertEqual(self.newest(21, 21).entries, [outcome.encoded])
        self.assertEqual(json.loads(outcome.encoded)["content"], '"\\\n😀')


class SweepTests(Fixture):
    """Retention."""

    def sweep(self, keep: int = 0, before: int = 0) -> dict[str, int]:
        """Sweep until all is done; the lowest slots that were told last."""
        told: dict[str, int] = {}
        while found := self.successResultOf(self.store.sweep(keep, before)):
            for room, first in found.items():
                self.assertGreater(first, told.get(room, 0))
            told |= found
        return told

    def test_nothing_is_deleted_by_default(self) -> None:
        """Without limits all is kept, and so is what is within them."""
        self.fill(5)
        self.assertEqual(self.sweep(0, -(2**62)), {})
        self.assertEqual(self.sweep(5, NOW), {})
        self.assertEqual(len(self.log()), 5)

    def test_by_count(self) -> None:
        """Of each room its newest are kept; the slots go on, and the chain is right from any slot."""
        self.fill(12)
        self.fill(3, "small")
        self.assertEqual(self.sweep(5), {"r": 8})
        self.assertEqual([entry.slot for entry in self.log()], [8, 9, 10, 11, 12])
        self.assertEqual(self.state(), RoomState("r" * 32, 12, 8))
        self.assertEqual(self.state("small").first, 1)
        self.assertEqual(self.slots(append()), [13])
        verifier = Verifier("r" * 32)
        self.assertIsNone(verifier.first_problem(self.log()))
        self.assertEqual(verifier.checked, 5)

    def test_by_age(self) -> None:
        """What is older than it may be goes, up to the first that is not."""
        for age, count in ((3000, 4), (2000, 2), (1000, 3)):
            self.fill(count, now=NOW - age)
        self.fill(2, "old", now=NOW - 9000)
        self.assertEqual(self.sweep(before=NOW - 2000), {"r": 5, "old": 3})
        self.assertEqual((len(self.log()), self.log("old")), (5, []))
        self.assertEqual(self.state("old"), RoomState("old" * 10 + "ol", 2, 3))
        self.assertEqual(self.slots(append("old")), [3])
        self.assertEqual(self.sweep(before=NOW - 2000), {})

    def test_a_clock_that_was_set_back(self) -> None:
        """An old entry behind a young one stays until that one goes: the log has no hole."""
        for at in (NOW, NOW - 9000, NOW):
            self.fill(1, now=at)
        self.assertEqual(self.sweep(before=NOW - 2000), {})
        self.assertEqual(self.sweep(before=NOW + 1), {"r": 4})

    def test_both(self) -> None:
        """Whichever limit is passed is enough."""
        self.fill(3, now=NOW - 9000)
        self.fill(7)
        self.assertEqual(self.sweep(8, NOW - 5000), {"r": 4})
        self.assertEqual(self.sweep(2, NOW - 5000), {"r": 9})

    def test_parts(self) -> None:
        """Much is deleted in parts, so that others may write between them, across rooms."""
        self.fill(2500)
        for room in "abc":
            self.fill(10, room)
        first = self.successResultOf(self.store.sweep(1, 0))
        self.assertLessEqual(sum(slot - 1 for slot in first.values()), 1000)
        self.assertEqual(self.slots(append()), [2501])
        self.sweep(1)
        self.assertEqual([len(self.log(room)) for room in "rabc"], [1, 1, 1, 1])

    def test_a_beginning_that_is_not_there(self) -> None:
        """A log whose beginning somebody took away is left alone: a sweep of it would never be done."""
        self.fill(12)
        self.assertEqual(self.sweep(12), {})
        with self.database.at_start() as connection:
            room = connection.execute(select(rooms.c.id).where(rooms.c.name == "r")).scalar_one()
            self.store._layout.delete(connection, room, 9)
        self.assertEqual(self.successResultOf(self.store.sweep(5, 0)), {})
        self.assertEqual(self.slots(append()), [13])

    def test_pages_tell_what_is_held(self) -> None:
        """A page says the lowest slot held, and one from below it begins there."""
        self.fill(12)
        self.sweep(5)
        page = self.oldest(3, 10)
        self.assertEqual((page.low, page.first, len(page.entries)), (8, 8, 3))
        self.assertEqual((self.newest(1, 7).entries, self.newest(1, 7).first), ([], 8))

    def test_keys_that_are_kept(self) -> None:
        """The key of an entry that is held is still known."""
        self.commit(*(append(key=str(n)) for n in range(10)))
        self.sweep(5)
        self.assertEqual(self.slots(append(key="9"), append(key="5")), [10, 6])


class PlanTests(Fixture):
    """How SQLite finds things."""

    def test_keys_are_looked_up(self) -> None:
        """Whether a key is there is found by an index, however many entries there are."""
        self.commit(append("a"), append("b"))
        seen = self.traced()
        self.commit(append("a", key="k"), append("a", key="m"), append("b", key="l"))
        lookups = [query for query in seen if query.startswith("SELECT")]
        self.assertEqual(len(lookups), 6)  # the two rooms, what is not filed, and each key
        for query in lookups:
            plan = [step[3] for step in self.raw().execute(f"EXPLAIN QUERY PLAN {query}")]
            steps = [step for step in plan if " USING " in step]
            self.assertTrue(steps)
            self.assertTrue(all("SEARCH" in step for step in steps), (query, plan))
            if "key = '" in query:  # else all entries of the room would be read
                self.assertTrue(all(step.endswith("(room=? AND key=?)") for step in steps), plan)

    def test_pages_are_looked_up(self) -> None:
        """A page is found by an index too, and what is not filed is all that is looked through and sorted."""
        self.patch(layout, "MOST", 11)
        for _ in range(3):
            self.fill(6)
            self.fill(2, "other")
        head = self.raw().execute("SELECT head FROM chatlog_room WHERE name = 'r'").fetchone()[0]
        self.assertEqual(head, 12)
        seen: list[tuple[str, Any]] = []
        event.listen(
            self.database._read_engine,
            "before_cursor_execute",
            lambda connection, cursor, statement, parameters, *more: (
                seen.append((statement, parameters)) if statement.startswith("SELECT") else None
            ),
        )
        for low, high in ((1, 5), (14, 16), (10, 15)):
            self.assertEqual(len(self.newest(low, high).entries), high - low + 1)
        self.assertEqual(len(seen), 6)
        for query, parameters in seen:
            plan = [step[3] for step in self.raw().execute(f"EXPLAIN QUERY PLAN {query}", parameters)]
            steps = [step for step in plan if " USING " in step]
            self.assertTrue(steps)
            self.assertTrue(all("SEARCH" in step for step in steps), (query, plan))
            looks_through = int("chatlog_filing" in query)
            self.assertEqual(sum("TEMP B-TREE" in step for step in plan), looks_through, plan)
            through = sum("chatlog_log USING INTEGER PRIMARY KEY (rowid>?)" in step for step in plan)
            self.assertEqual(through, looks_through, plan)

    def test_sweeps_look_at_rooms(self) -> None:
        """A sweep reads what it deletes, and of other rooms no more than when they begin."""
        for room in "abc":
            self.fill(20, room)
        for keep, before in ((0, NOW), (5, NOW), (5, 0)):
            seen = self.traced()
            self.successResultOf(self.store.sweep(keep, before))
            queries = [query for query in seen if query.startswith(("SELECT", "DELETE FROM chatlog_log"))]
            self.assertTrue(queries)
            for query in queries:
                plan = [step[3] for step in self.raw().execute(f"EXPLAIN QUERY PLAN {query}")]
                self.assertLessEqual({step for step in plan if "SCAN" in step}, {"SCAN chatlog_room"}, query)


class FileTests(Fixture):
    """With SQLite's own triggers, locks and disk: what is not committed is not there at all."""

    def test_ends_are_looked_up_once(self) -> None:
        """A store that is alone reads where a room ends for its first commit, and behind one that failed."""
        self.store = ChatLogStore(self.database, 100, is_alone=True)
        self.commit(append())
        seen = self.traced()
        self.assertEqual(self.slots(append(), append()), [2, 3])
        self.assertEqual(self.words(seen), ["BEGIN", "PRAGMA", "INSERT", "COMMIT"])
        self.raw().execute("CREATE TRIGGER t BEFORE INSERT ON chatlog_log BEGIN SELECT RAISE(ABORT, ''); END")
        self.failureResultOf(self.store.commit([append()], {"r": EPOCH}, NOW))
        self.raw().execute("DROP TRIGGER t")
        seen = self.traced()
        self.assertEqual(self.slots(append()), [4])
        self.assertEqual(self.words(seen), ["BEGIN", "PRAGMA", "SELECT", "SELECT", "INSERT", "COMMIT"])

    def words(self, statements: list[str]) -> list[str]:
        """The first word of each."""
        return [statement.split()[0] for statement in statements]

    def test_somebody_else(self) -> None:
        """What somebody stores though the store should be alone is not written over."""
        self.store = ChatLogStore(self.database, 100, is_alone=True)
        other = self.open_database(self.folder)
        self.addCleanup(other.close)
        second = ChatLogStore(other, 100)
        self.commit(append(content="a"))
        self.commit(append(content="b"), store=second)
        self.assertEqual(self.slots(append(content="c")), [3])
        self.assertEqual([entry.content for entry in self.log()], ["a", "b", "c"])
        self.assertIsNone(Verifier("r" * 32).first_problem(self.log()))

    def test_a_batch_that_fails(self) -> None:
        """A batch that fails half way leaves nothing: neither entries nor rooms nor a moved head."""
        self.fill(2)
        self.raw().executescript(
            "CREATE TRIGGER t BEFORE INSERT ON chatlog_log WHEN NEW.content = 'bad' "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
        failing = self.store.commit(
            [append(), append("new"), append(content="bad"), append()], {"r": EPOCH, "new": EPOCH}, NOW
        )
        self.failureResultOf(failing)
        self.assertEqual((len(self.log()), self.log("new"), self.state().latest), (2, [], 2))
        self.assertEqual(self.raw().execute("SELECT name FROM chatlog_room").fetchall(), [("r",)])
        self.assertEqual(self.slots(append(), append("new")), [3, 1])
        self.assertIsNone(Verifier("r" * 32).first_problem(self.log()))

    def test_two_writers(self) -> None:
        """Two that write to one file at the same time cannot give one slot, or take one key, twice."""
        other = self.open_database(self.folder)
        self.addCleanup(other.close)
        ours, theirs = (ChatLogStore(each, 100, is_alone=True) for each in (self.database, other))
        for slot in range(1, 9):  # each believes that it is alone
            (outcome,) = self.commit(append(), store=ours if slot % 3 else theirs)
            assert isinstance(outcome, Committed)
            self.assertEqual(outcome.slot, slot)
        self.assertIsNone(Verifier("r" * 32).first_problem(self.log()))
        self.commit(append(key="k"), store=ours)
        one, two = self.raw(), self.raw()
        one.isolation_level = two.isolation_level = None
        two.execute("PRAGMA busy_timeout = 0")
        put = (
            "INSERT INTO chatlog_log (room, slot, author, content, at, session, seq, key, hash) "
            "VALUES (1, ?, 'b', 'y', 0, 's', 0, ?, '')"
        )
        one.execute("BEGIN IMMEDIATE")
        one.execute(put, (10, None))
        with self.assertRaisesRegex(sqlite3.OperationalError, "locked"):
            two.execute(put, (10, None))
        one.execute("COMMIT")
        with self.assertRaisesRegex(sqlite3.IntegrityError, r"UNIQUE.*room.*key"):
            two.execute(put, (11, "k"))

    def test_a_full_disk(self) -> None:
        """A full disk is a StorageError, and when there is room again it is as if nothing had been."""
        self.fill(1)
        self.limit_pages(1)  # SQLite takes as many as there are
        self.failureResultOf(
            self.store.commit([append(content="x" * 16_000)] * 9, {"r": EPOCH}, NOW), StorageError
        )
        self.limit_pages(1_000_000)
        self.assertEqual(self.slots(append()), [2])
        self.assertIsNone(Verifier("r" * 32).first_problem(self.log()))

    def limit_pages(self, count: int) -> None:
        with self.database.at_start() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {count}")
