"""chatlog.v1 from end to end in memory: frames in, frames out, and a real database, thread by thread."""

from __future__ import annotations

import json
import sqlite3
from functools import partial
from typing import Any

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred

from protosuite.chatlog.chain import Append, Verifier
from protosuite.chatlog.wire import ClientAppend, ServerAck, ServerReply
from protosuite.config import ChatLogConfig
from protosuite.errors import Overloaded, StorageError
from protosuite.test.chatlog_peers import Client, Fixture
from protosuite.test.web_peers import Pipe, handshake, text


class CommitTests(Fixture):
    """Commit, then tell."""

    def test_commit_then_tell(self) -> None:
        """Nobody hears of an append before it is on the disk; then everybody in the room does."""
        ana, bob, eve = self.join(), self.join(), self.join("elsewhere")
        self.workers.by_hand()
        ana.append("hello", author="ana")
        self.assertEqual((ana.heard(), bob.heard()), ([], []))
        self.workers.write()  # on the disk, and the reactor does not know yet
        self.assertEqual((ana.heard(), bob.heard()), ([], []))
        self.workers.answer()
        (ack,) = ana.heard()
        self.assertEqual(bob.heard(), [ack])
        self.assertEqual(eve.heard(), [])
        self.assertEqual((ack.entry.slot, ack.entry.author, ack.entry.content), (1, "ana", "hello"))
        self.assertEqual(ack.entry.at, 1_700_000_000_000)
        self.workers.by_hand(False)
        reply = ana.reply()
        self.assertEqual((reply.entries, reply.latest, reply.first), ((ack.entry,), 1, 1))
        self.assertEqual((ack.entry.session, ack.entry.seq), (reply.session, 0))
        self.assertNotEqual(bob.reply().session, reply.session)

    def test_one_order_for_everybody(self) -> None:
        """All members of a room see all its entries in slot order, each connection's in its own order."""
        clients = [self.join() for _ in range(5)]
        self.workers.by_hand()
        for n in range(20):
            for client in clients[: n % 5 + 1]:
                client.append(str(n))
            if n % 3 == 0:
                self.workers.write()
                self.workers.answer()
        self.settle()
        first, *others = [client.heard() for client in clients]
        self.assertEqual([ack.entry.slot for ack in first], list(range(1, 61)))
        for other in others:
            self.assertEqual(other, first)
        for session in {ack.entry.session for ack in first}:
            seqs = [ack.entry.seq for ack in first if ack.entry.session == session]
            self.assertEqual(seqs, list(range(len(seqs))))
        self.assertIsNone(Verifier(clients[0].reply().epoch).first_problem(ack.entry for ack in first))

    def test_a_flood_delays_nobody(self) -> None:
        """With hundreds of appends of one connection waiting, another's is taken within two rounds."""
        flood, other = self.join(), self.join()
        self.workers.by_hand()
        for _ in range(500):
            flood.append("flood")
        other.append("other")
        self.settle()  # the first was under way when the others came
        entries = [ack.entry for ack in other.heard()]
        self.assertEqual(len(entries), 501)
        self.assertLessEqual([entry.content for entry in entries].index("other"), 3)

    def test_batches(self) -> None:
        """What comes while one batch is written goes with the next, and no batch is larger than it may be."""
        self.service.config = evolve(self.config, max_batch=10)
        ana = self.join()
        self.workers.by_hand()
        sizes = []
        for _ in range(25):
            ana.append()
        while self.workers.writer.tasks:
            self.workers.write()
            self.workers.answer()
            sizes.append(len(ana.slots()))
        self.assertEqual(sizes, [1, 10, 10, 4])

    def test_events(self) -> None:
        """Each committed entry is an event on the bus, once; a dot in a room's name is no new level."""
        ana = self.join("a.b")
        ana.append("hello", key="k").append("again", key="k").append("")
        self.assertEqual(
            self.events,
            [("chatlog.a_b.append", {"room": "a.b", "slot": 1, "author": "ana", "content": "hello"})],
        )


class SequenceTests(Fixture):
    """The `seq` of a connection."""

    config = ChatLogConfig(reorder_limit=4)

    def test_reordered(self) -> None:
        """Appends that come early wait for the missing one."""
        ana = self.join()
        for seq in (2, 1, 4, 3):
            ana.append(str(seq), seq)
        self.assertEqual(ana.heard(), [])
        ana.append("0", 0)
        self.assertEqual([ack.entry.content for ack in ana.heard()], ["0", "1", "2", "3", "4"])

    def test_gap_and_bad_sequence(self) -> None:
        """Too far ahead is ``gap``, what was used is ``bad-sequence``; both change nothing."""
        ana = self.join()
        ana.append("0", 0).append("5", 5).append("again", 0).append("6", 6).append("again", 5)
        acks, *errors = ana.heard()
        self.assertEqual(acks.entry.content, "0")
        self.assertEqual(
            [(e.code, e.seq) for e in errors], [("bad-sequence", 0), ("gap", 6), ("bad-sequence", 5)]
        )
        for seq in (1, 2, 3, 4):
            ana.append(str(seq), seq)
        self.assertEqual([ack.entry.content for ack in ana.heard()], ["1", "2", "3", "4", "5"])

    def test_what_is_refused_is_used_up(self) -> None:
        """An append that is refused for what it says keeps nobody waiting; an update has no number."""
        ana = self.join()
        ana.append("", 0).append("\x00", 2).append("1", 1).say("ClientUpdate", n=0, upto=-1, seq=3)
        ana.append("3", 3).append("", 99)
        heard = ana.heard()
        self.assertEqual([m.entry.content for m in heard if isinstance(m, ServerAck)], ["1", "3"])
        self.assertEqual(
            [(m.code, m.seq) for m in heard if not isinstance(m, ServerAck)],
            [("bad-field", 0), ("bad-field", 2), ("bad-field", None), ("bad-field", 99)],
        )

    def test_what_is_not_a_message(self) -> None:
        """Each message that is none gets its Error, the connection goes on, and nothing is in the log."""
        ana = self.join()
        for wrong in ("", "{", "[]", '{"seq":NaN}', "[" * 50_000):
            self.assertEqual(ana.raw(wrong).errors(), [("bad-json", None)])
        self.assertEqual(
            ana.binary(b'{"type":"ClientUpdate","n":1,"upto":-1}').errors(), [("bad-json", None)]
        )
        self.assertEqual(ana.say("Append", seq=0).errors(), [("unknown-type", None)])
        self.assertEqual(ana.append(author="\ud800").errors(), [("bad-field", 0)])
        self.assertEqual((ana.log(), ana.append().slots()), ([], [1]))

    def test_too_long(self) -> None:
        """A message that is too long ends the connection with 1009, and nothing is in the log."""
        ana, bob = self.join(), self.join()
        ana.append("x" * (64 << 10))
        self.assertEqual((ana.heard(), ana.close_code), ([], 1009))
        self.assertEqual(bob.log(), [])


class KeyTests(Fixture):
    """A retry is harmless."""

    def test_on_another_connection(self) -> None:
        """A key that is there is acknowledged with its first slot, to who sent it and nobody else."""
        ana = self.join()
        ana.append("once", key="k").append("more")
        first = ana.heard()[0]
        ana.lose()
        again, bob = self.join(), self.join()
        again.append("once", key="k").append("new", key="l")
        retried, new = again.heard()
        self.assertEqual((retried, new.entry.slot), (first, 3))
        self.assertEqual(bob.slots(), [3])
        self.assertEqual(bob.log(), ["once", "more", "new"])

    def test_twice_at_once(self) -> None:
        """A key that comes twice before either is committed is committed once, and each is answered."""
        ana, bob = self.join(), self.join()
        self.workers.by_hand()
        ana.append("first").append("a", key="k").append("a", key="k")
        bob.append("b", key="k")
        self.settle()
        self.assertEqual([sorted(client.slots()) for client in (ana, bob)], [[1, 2, 2], [1, 2, 2]])
        self.assertEqual(self.service.rooms["r"].pending, 0)

    def test_after_a_restart(self) -> None:
        """A key is known after a restart."""
        self.join().append("once", key="k")
        self.service = self.make_service()
        ana = self.join()
        self.assertEqual(ana.append("once", key="k").append("new", key="l").slots(), [1, 2])


class FailureTests(Fixture):
    """The database fails."""

    max_queue = 2

    def test_writing_fails(self) -> None:
        """The batch is refused, with what its senders sent behind it, and they are let go; others go on."""
        ana, bob, eve = self.join(), self.join(), self.join("other")
        self.workers.by_hand()
        ana.append("0")  # under way, alone
        ana.append("1").append("2").append("9", seq=9)
        eve.append("e0")
        self.workers.database.no_writes = StorageError("no room")
        self.workers.write()
        self.workers.database.no_writes = None
        self.workers.answer()
        bob.append("b0")
        self.settle()
        self.assertEqual(ana.errors(), [("storage", 0), ("storage", 1), ("storage", 2), ("storage", 9)])
        self.assertEqual([ack.entry.content for ack in bob.heard()], ["b0"])
        self.assertEqual([ack.entry.content for ack in eve.heard()], ["e0"])
        self.workers.by_hand(False)
        ana.append("3")  # this was on its way
        self.assertEqual(ana.heard(), [])
        again = self.join()
        again.append("0")
        self.assertEqual([ack.entry.content for ack in again.heard()], ["0"])
        self.assertEqual(bob.log(), ["b0", "0"])
        self.assertEqual([room.pending for room in self.service.rooms.values()], [0, 0])

    def test_writing_fails_for_one_that_is_gone(self) -> None:
        """What a connection sent behind a batch that failed is not committed when it is gone either."""
        ana, bob = self.join(), self.join()
        self.workers.by_hand()
        ana.append("0").append("1").append("5", seq=5)
        ana.lose()
        self.workers.database.no_writes = StorageError("no room")
        self.workers.write()
        self.workers.database.no_writes = None
        self.settle()
        bob.append("b")
        self.settle()
        self.assertEqual([ack.entry.content for ack in bob.heard()], ["b"])
        self.assertEqual(len(self.service._members), 1)

    def test_a_defect(self) -> None:
        """A failure of another sort is the same to clients, and is logged as what it is."""
        ana = self.join()
        self.workers.database.no_writes = ValueError("a defect")
        self.assertEqual(ana.append().errors(), [("storage", 0)])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.workers.database.no_writes = None
        self.assertEqual(self.join().append().slots(), [1])

    def test_overloaded(self) -> None:
        """While too much waits for the database an append is refused as such, and later is not."""
        ana, bob = self.join(), self.join("other")
        self.workers.by_hand()
        done: list[Deferred[None]] = [self.workers.database.write(lambda c: None) for _ in range(2)]
        ana.append("0").append("1")
        bob.append("0")
        self.assertEqual((ana.errors(), bob.errors()), ([("overloaded", 0)], [("overloaded", 0)]))
        self.assertEqual((ana.close_code, bob.close_code), (1013, 1013))
        self.settle()
        for each in done:
            self.successResultOf(each)
        again = self.join()
        self.settle()
        again.append("2")
        self.settle()
        self.assertEqual(again.slots(), [1])

    def test_overloaded_for_many(self) -> None:
        """However many wait, one in a batch, each gets its Error."""
        self.service.config = evolve(self.config, max_batch=1)
        ana, clients = self.join(), [self.join() for _ in range(100)]
        self.workers.by_hand()
        ana.append("0")
        for client in clients:
            client.append("1").append("2")
        self.workers.database.max_queue = 0
        self.settle()
        for client in clients:
            self.assertEqual(client.errors(), [("overloaded", 0), ("overloaded", 1)])

    def test_reading_fails(self) -> None:
        """What cannot be read is an Error, the connection goes on and misses nothing."""
        self.join().append("0").append("1").append("2")
        self.service = self.make_service(cache_entries=0)
        ana = self.join()
        for error, code in ((StorageError("broken"), "storage"), (Overloaded("full"), "overloaded")):
            self.workers.database.no_reads = error
            self.assertEqual(ana.update().update(1, 2).errors(), [(code, None), (code, None)])
            self.workers.database.no_reads = None
            self.assertEqual(ana.log(2, 2), ["0", "1"])
        self.assertEqual(ana.append("3").slots(), [4])

    def test_reading_fails_for_many(self) -> None:
        """However many updates wait while nothing can be read, each gets its Error."""
        self.join().append()
        self.service = self.make_service(cache_entries=0)
        ana = self.join()
        self.workers.by_hand()
        ana.update()
        for _ in range(15):
            ana.update(1, 1)
        ana.pipe.reading = True  # all of these came in one piece
        for _ in range(3000):
            ana.update()
        self.workers.database.no_reads = Overloaded("full")
        self.settle()
        heard = ana.heard()
        self.assertIsInstance(heard[0], ServerReply)
        self.assertEqual([e.code for e in heard[1:]], ["overloaded"] * 3015)

    def test_a_room_that_cannot_be_read(self) -> None:
        """Who comes into a room that cannot be read is told to try again, and the next one can."""
        self.join().append("0")
        self.service = self.make_service()
        self.workers.database.no_reads = StorageError("broken")
        ana = self.join()
        ana.append("lost").update()
        self.assertEqual((ana.heard(), ana.close_code), ([], 1013))
        (member,) = self.service._members.values()
        ana.append("x" * 1000).append("x" * 1000)  # it may go on until it sees the close
        self.assertEqual(member._unread, [])
        self.workers.database.no_reads = None
        self.assertEqual(self.join().log(), ["0"])

    def test_a_room_that_was_left_and_entered_again(self) -> None:
        """An answer for those who left the room does not end it for those who came after."""
        self.workers.by_hand()
        ana = self.join()
        tasks, self.workers.reader.tasks[:] = self.workers.reader.tasks[:], []
        ana.lose()
        bob = self.join()
        self.settle()
        room = self.service.rooms["r"]
        opening = Deferred[Any]()
        opening.addErrback(self.service._not_read, type(room)("r", "e", 0, 0))
        opening.errback(StorageError("broken"))
        self.workers.reader.tasks += tasks
        self.settle()
        bob.append("x")
        self.settle()
        self.assertEqual((bob.slots(), self.service.rooms["r"]), ([1], room))

    def test_losing_track(self) -> None:
        """Who cannot be told what came while it was answered is told to come back, and misses nothing."""
        self.service = self.make_service(cache_entries=0)
        ana, bob = self.join(), self.join()
        bob.append("0")
        self.assertEqual(ana.slots(), [1])
        self.workers.by_hand()
        ana.update()
        bob.append("1")
        self.workers.write()
        self.workers.answer()  # what ana is told next
        self.workers.read()
        self.workers.database.no_reads = StorageError("broken")
        self.settle()
        (reply,) = ana.heard()
        self.assertEqual((reply.latest, ana.close_code), (1, 1013))
        self.assertEqual(bob.slots(), [1, 2])


class Joining(RuleBasedStateMachine):
    """Writers and readers come, ask and go while the database's threads and the reactor take their turns."""

    rooms = 0

    def __init__(self, fixture: Fixture) -> None:
        super().__init__()
        self.fixture = fixture
        self.workers = fixture.workers
        fixture.service = fixture.make_service(cache_entries=2, max_entries=3, max_batch=3)
        Joining.rooms += 1
        self.room = f"room-{Joining.rooms}"
        self.workers.by_hand()
        self.clients = fixture.clients = []
        self.asked: dict[Client, list[int]] = {}  # `upto` of the updates that are not answered
        self.told: dict[Client, int | None] = {}  # the slot up to which it knows all
        self.appended = 0

    @rule()
    def join(self) -> None:
        if len(self.clients) < 4:
            client = Client(self.fixture.service, self.room)
            self.clients.append(client)
            self.asked[client], self.told[client] = [], None

    @rule(at=st.integers(0, 3), again=st.booleans())
    def leave(self, at: int, again: bool) -> None:
        if at < len(self.clients) and again:
            self.clients.pop(at).lose()

    @rule(at=st.integers(0, 3), count=st.integers(1, 4))
    def append(self, at: int, count: int) -> None:
        if at < len(self.clients):
            for _ in range(count):
                self.appended += 1
                self.clients[at].append(str(self.appended))

    @rule(at=st.integers(0, 3), n=st.integers(1, 4), upto=st.sampled_from([-1, -1, -1, 0, 1, 3, 99]))
    def update(self, at: int, n: int, upto: int) -> None:
        if at < len(self.clients):
            self.clients[at].update(n, upto)
            self.asked[self.clients[at]].append(upto)

    @rule(steps=st.lists(st.sampled_from("wra"), min_size=1, max_size=4))
    def work(self, steps: list[str]) -> None:
        for step in steps:
            {"w": self.workers.write, "r": self.workers.read, "a": self.workers.answer}[step]()
        for client in self.clients:
            self.look(client)

    def look(self, client: Client) -> None:
        """Nothing is missing and nothing comes twice, from the first thing that is heard."""
        for message in client.heard():
            told = self.told[client]
            if isinstance(message, ServerAck):
                assert told is None or message.entry.slot == told + 1, (told, message)
                self.told[client] = message.entry.slot
                continue
            assert isinstance(message, ServerReply)
            slots = [entry.slot for entry in message.entries]
            upto = self.asked[client].pop(0)
            high = message.latest if upto == -1 else min(upto, message.latest)
            assert len(slots) <= 3
            assert slots == list(range(high - len(slots) + 1, high + 1)), (upto, message)
            assert slots or not high
            if upto == -1 or upto >= message.latest:
                assert told in (None, message.latest), (told, message)
                self.told[client] = message.latest

    def teardown(self) -> None:
        self.fixture.settle()
        service = self.fixture.service
        for client in self.clients:
            self.look(client)
            assert self.asked[client] == [], self.asked[client]
        latest = service.rooms[self.room].latest if self.clients else 0
        for client in self.clients:
            assert self.told[client] in (None, latest), (self.told[client], latest)
            client.append("last")
        self.fixture.settle()
        for client in self.clients:
            self.look(client)
            assert self.told[client] == latest + len(self.clients)
            client.lose()
        assert service.rooms == {}
        assert service._members == {}
        self.workers.by_hand(False)


class JoinTests(Fixture):
    """Those who come while others write."""

    def test_nothing_missing_and_nothing_twice(self) -> None:
        """However reads, commits and answers interleave, acks follow a reply without a hole or a repeat."""
        machine: Any = partial(Joining, self)
        run_state_machine_as_test(
            machine, settings=settings(max_examples=150, stateful_step_count=30, deadline=None)
        )

    def test_acks_wait_for_the_reply(self) -> None:
        """While an answer for the latest is read its connection is told of nothing; the others are."""
        self.service = self.make_service(cache_entries=1)
        ana, bob = self.join(), self.join()
        for n in range(3):
            bob.append(str(n))
        ana.heard(), bob.heard()
        self.workers.by_hand()
        ana.update()
        bob.append("3").append("4")
        self.workers.write()
        self.workers.answer(2)
        self.assertEqual((ana.heard(), bob.slots()), ([], [4]))
        self.settle()
        reply, *acks = ana.heard()
        self.assertEqual(([entry.slot for entry in reply.entries], reply.latest), ([1, 2, 3], 3))
        self.assertEqual([ack.entry.slot for ack in acks], [4, 5])

    def test_who_reads_history_is_told(self) -> None:
        """While an older page is read its connection hears what is committed."""
        self.service = self.make_service(cache_entries=1)
        ana = self.join()
        ana.append("0").append("1").append("2").heard()
        self.workers.by_hand()
        ana.update(2, 2)
        self.join().append("3")
        self.workers.write()
        self.workers.answer()
        self.assertEqual(ana.slots(), [4])
        self.settle()
        (reply,) = ana.heard()
        self.assertEqual(([entry.slot for entry in reply.entries], reply.latest), ([1, 2], 4))


class UpdateTests(Fixture):
    """What a ClientUpdate gets."""

    def ranges(self) -> None:
        """The same, wherever it comes from."""
        ana = self.join()
        for n, upto, expected in (
            (3, -1, [8, 9, 10]),
            (100, -1, [6, 7, 8, 9, 10]),
            (2, 10, [9, 10]),
            (2, 11, [9, 10]),
            (1, 2**53 - 1, [10]),
            (3, 5, [3, 4, 5]),
            (2**53 - 1, 2, [1, 2]),
            (1, 1, [1]),
            (5, 0, []),
        ):
            reply = ana.reply(n, upto)
            self.assertEqual([entry.slot for entry in reply.entries], expected, (n, upto))
            self.assertEqual((reply.latest, reply.first), (10, 1))

    def test_ranges(self) -> None:
        """The range that was asked for, or the newest of it; from memory, from the disk and from both."""
        ana = self.join()
        for n in range(10):
            ana.append(str(n))
        for cache in (0, 1, 4, 100):
            self.service = self.make_service(cache_entries=cache, max_entries=5)
            if cache:  # what was there before is not in memory
                self.service.rooms.clear()
            self.ranges()

    def test_from_memory(self) -> None:
        """The last entries of a room are answered without the database, within the bytes of a reply."""
        self.service = self.make_service(max_entries=5, max_reply=1024)
        ana = self.join()
        for n in range(10):
            ana.append(str(n))
        self.ranges_in_memory(ana, [6, 7, 8, 9, 10])
        for _ in range(3):
            ana.append("x" * 300)
        self.ranges_in_memory(ana, [12, 13])
        ana.append("x" * 3000)
        self.ranges_in_memory(ana, [14])

    def ranges_in_memory(self, ana: Client, expected: list[int]) -> None:
        self.workers.database.no_reads = StorageError("not now")
        self.assertEqual([entry.slot for entry in ana.reply(100).entries], expected)
        self.workers.database.no_reads = None
        self.service.config, whole = evolve(self.service.config, cache_entries=0), self.service.config
        page = self.service.store.newest("r", 1, expected[-1], 5, 1024)
        self.assertEqual(self.successResultOf(page).low, expected[0])
        self.service.config = whole

    def test_an_empty_room(self) -> None:
        """An empty room has no entries, latest 0 and first 1, and its epoch is that which it keeps."""
        ana = self.join()
        reply = ana.reply()
        self.assertEqual((reply.entries, reply.latest, reply.first), ((), 0, 1))
        self.assertEqual(ana.reply(5, 3).entries, ())
        ana.append()
        self.assertEqual(ana.reply().epoch, reply.epoch)
        self.assertNotEqual(self.join("other").reply().epoch, reply.epoch)

    def test_memory_is_bounded(self) -> None:
        """A room keeps as many entries, and bytes, as it may."""
        for limits, expected in (
            ({"cache_entries": 3}, 3),
            ({"cache_bytes": 500}, 2),
            ({"cache_bytes": 0}, 0),
        ):
            self.service = self.make_service(**limits)
            ana = self.join(f"r{expected}")
            for _ in range(10):
                ana.append("x" * 50)
            self.assertEqual(len(self.service.rooms[f"r{expected}"]._recent), expected)

    def test_retention(self) -> None:
        """What need not be kept goes, at the start and then now and again; `first` is told."""
        ana = self.join()
        for n in range(10):
            ana.append(str(n))
        self.service = self.make_service(keep_entries=4, sweep_interval=60.0)
        bob = self.join()
        reply = bob.reply()
        self.assertEqual(([entry.slot for entry in reply.entries], reply.first), ([7, 8, 9, 10], 7))
        for n in range(3):
            bob.append(str(n))
        self.assertEqual(bob.reply().first, 7)
        self.clock.advance(60)
        reply = bob.reply()
        self.assertEqual(([entry.slot for entry in reply.entries], reply.first), ([10, 11, 12, 13], 10))
        self.assertEqual((bob.reply(5, 8).entries, bob.reply(5, 8).first), ((), 10))

    def test_retention_by_age(self) -> None:
        """What is too old goes; a room may be empty then, and its slots go on."""
        self.service = self.make_service(keep_for=100.0, sweep_interval=10.0, ping_interval=1e6)
        ana = self.join()
        ana.append("0").append("1")
        self.clock.advance(95)
        ana.append("2")
        self.clock.pump([1] * 20)
        self.assertEqual((ana.log(), ana.reply().first), (["2"], 3))
        self.clock.pump([10] * 12)
        reply = ana.reply()
        self.assertEqual((reply.entries, reply.latest, reply.first), ((), 3, 4))
        self.assertEqual(ana.append("3").slots(), [4])

    def test_a_sweep_that_fails(self) -> None:
        """A sweep that fails is tried again at the next; a long one is not begun twice."""
        self.service = self.make_service(keep_entries=1, sweep_interval=10.0, ping_interval=1e6)
        ana = self.join()
        ana.append("0").append("1")
        for error in (StorageError("broken"), ValueError("a defect")):
            self.workers.database.no_writes = error
            self.clock.advance(10)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.workers.database.no_writes = None
        self.workers.by_hand()
        for _ in range(5):
            self.clock.advance(10)
        self.assertEqual(len(self.workers.database._waiting), 1)
        self.settle()
        self.workers.by_hand(False)
        self.assertEqual(ana.reply().first, 2)

    def test_a_long_sweep(self) -> None:
        """More than one part can hold is deleted by one sweep."""
        batch = [Append("r", "s", ClientAppend(seq, "ana", "x")) for seq in range(2500)]
        self.successResultOf(self.service.store.commit(batch, {"r": "e" * 32}, 0))
        self.service = self.make_service(keep_entries=10)
        self.assertEqual(self.join().reply().first, 2491)

    def test_a_sweep_while_an_answer_is_read(self) -> None:
        """An answer that was read behind a sweep says what is held since then."""
        self.service = self.make_service(cache_entries=0)
        ana = self.join()
        for n in range(5):
            ana.append(str(n))
        ana.heard()
        self.workers.by_hand()
        ana.update()
        self.service.store.sweep(2, 0)
        self.workers.write()  # and whoever began it does not know yet
        self.workers.read()
        self.workers.answer(2)
        (reply,) = ana.heard()
        self.assertEqual(([entry.slot for entry in reply.entries], reply.first), ([4, 5], 4))

    def test_a_sweep_while_a_room_is_opened(self) -> None:
        """What was swept after a room was read, and before it was open, is not told as held."""
        ana = self.join()
        for n in range(5):
            ana.append(str(n))
        ana.lose()
        self.workers.by_hand()
        bob = self.join()
        self.workers.read()
        self.service.rooms["r"].holds_from(3)
        self.settle()
        bob.update()
        self.settle()
        self.assertEqual(bob.heard()[-1].first, 3)


class RoomTests(Fixture):
    """Rooms are in memory while somebody needs them."""

    def test_left_and_entered_again(self) -> None:
        """A room that everybody left is forgotten; who comes again finds the log as it was."""
        ana = self.join()
        epoch = ana.append("0").reply().epoch
        ana.leave()
        self.assertEqual((self.service.rooms, self.service._members), ({}, {}))
        bob = self.join()
        reply = bob.reply()
        self.assertEqual((reply.epoch, reply.latest, [e.content for e in reply.entries]), (epoch, 1, ["0"]))
        self.assertEqual(bob.append("1").slots(), [2])

    def test_left_while_appends_are_under_way(self) -> None:
        """What was accepted is committed though its sender is gone, and then the room is forgotten."""
        ana = self.join()
        self.workers.by_hand()
        ana.append("0").append("1").append("2")
        ana.lose()
        self.assertEqual(list(self.service.rooms), ["r"])
        bob = self.join()
        self.settle()
        self.assertEqual(bob.slots(), [1, 2, 3])
        bob.lose()
        self.assertEqual((self.service.rooms, self.service._members), ({}, {}))

    def test_left_with_an_early_append(self) -> None:
        """An append that waited for one that will never come is forgotten, with its room."""
        ana = self.join()
        ana.append("1", seq=1).append("2", seq=2)
        ana.lose()
        self.assertEqual((self.service.rooms, self.service._members), ({}, {}))
        self.assertEqual(self.join().log(), [])

    def test_left_before_it_was_open(self) -> None:
        """Who leaves before the room is open leaves nothing."""
        self.workers.by_hand()
        ana, bob = self.join(), self.join()
        ana.lose()
        bob.lose()
        self.assertEqual(self.service.rooms, {})
        eve = self.join()
        self.settle()
        self.assertEqual(list(self.service.rooms["r"].followers), list(self.service._members.values()))
        eve.append()
        self.settle()
        self.assertEqual(eve.slots(), [1])

    def test_left_while_it_is_answered(self) -> None:
        """Who leaves while an answer is read is told nothing more, and is forgotten."""
        self.service = self.make_service(cache_entries=0)
        for upto in (-1, 1):
            ana = self.join()
            ana.append().heard()
            self.workers.by_hand()
            ana.update(1, upto)
            ana.lose()
            self.settle()
            self.workers.by_hand(False)
            self.assertEqual((self.service.rooms, self.service._members), ({}, {}))

    def test_what_comes_with_the_handshake(self) -> None:
        """Messages that came before the room was open are taken when it is."""
        self.workers.by_hand()
        first = {"type": "ClientAppend", "seq": 0, "author": "ana", "content": "x"}
        ana = Client(self.service, "r", text(json.dumps(first)) + text("no message"))
        self.addCleanup(ana.lose)
        self.assertEqual((ana.pipe.reading, ana.heard()), (False, []))
        self.settle()
        self.assertTrue(ana.pipe.reading)
        error, ack = ana.heard()
        self.assertEqual((error.code, ack.entry.slot), ("bad-json", 1))

    def test_too_many_rooms(self) -> None:
        """No more rooms are made than may be; reading one that is not there makes none."""
        self.service = self.make_service(max_rooms=2)
        for room in ("a", "b"):
            self.assertEqual(self.join(room).append().slots(), [1])
        eve = self.join("c")
        self.assertEqual(eve.append().errors(), [("too-many-rooms", 0)])
        self.assertEqual((eve.log(), eve.append().errors()), ([], [("too-many-rooms", 1)]))
        self.assertEqual(self.join("a").append().slots(), [2])

    def test_addresses(self) -> None:
        """``/`` is the room main; a room's name is in its address, and what is none is not found."""
        for path, status in (
            (b"/", 101),
            (b"/rooms/main", 101),
            (b"/rooms/A.b_c-9", 101),
            (b"/rooms/a%2Db", 101),
            (b"/rooms/" + b"x" * 64, 101),
            (b"/rooms/" + b"x" * 65, 404),
            (b"/rooms/a%2Fb", 404),
            (b"/rooms/a/b", 404),
            (b"/rooms/", 404),
            (b"/rooms/%C3%A9", 404),
            (b"/other", 404),
        ):
            pipe = Pipe(self.factory().buildProtocol(None))
            pipe.arrive(handshake(start=b"GET " + path + b" HTTP/1.1"))
            pipe.pump()
            self.assertEqual(int(bytes(pipe.sent).split(b" ")[1]), status, path)
            names = set(self.service.rooms)
            pipe.lose(ConnectionError())
            self.assertLessEqual(names, {"main", "A.b_c-9", "a-b", "x" * 64})

    def test_too_many_connections(self) -> None:
        """A connection above the limit is closed, and one that ends makes room."""
        self.service = self.make_service(max_connections=2)
        ana, _ = self.join(), self.join()
        self.assertTrue(Pipe(self.factory().buildProtocol(None))._closing)
        ana.lose()
        self.join()


class PaceTests(Fixture):
    """A connection that asks for more than is done for it is not read."""

    config = ChatLogConfig(max_unacknowledged=5, reorder_limit=8, max_backlog=64 << 10, cache_entries=0)

    def test_appends(self) -> None:
        """With so many appends waiting a connection is not read until some are answered."""
        ana = self.join()
        self.workers.by_hand()
        for n in range(12):
            ana.append(str(n))
        member = self.service._members.copy().popitem()[1]
        self.assertEqual((ana.pipe.reading, member.unacknowledged), (False, 5))
        self.settle()
        self.assertEqual(ana.slots(), list(range(1, 13)))
        self.assertTrue(ana.pipe.reading)

    def test_long_appends(self) -> None:
        """Nor with so many characters in them."""
        self.service = self.make_service(max_unacknowledged=1000)
        ana = self.join()
        self.workers.by_hand()
        for _ in range(100):
            ana.append("x" * 16_384)
        member = self.service._members.copy().popitem()[1]
        self.assertEqual((ana.pipe.reading, member.unacknowledged), (False, 64))
        self.settle()
        self.assertEqual((len(ana.slots()), ana.pipe.reading), (100, True))

    def test_early_ones(self) -> None:
        """Those that wait for a missing one do not keep it from being read."""
        ana = self.join()
        for seq in range(8, -1, -1):
            ana.append(str(seq), seq)
        self.assertEqual([ack.entry.content for ack in ana.heard()], [str(n) for n in range(9)])
        self.workers.by_hand()
        for seq in (9, 11, 12, 13, 14, 15, 10):
            ana.append(str(seq), seq)
        self.settle()
        self.assertEqual([ack.entry.content for ack in ana.heard()], [str(n) for n in range(9, 16)])

    def test_updates(self) -> None:
        """With so many updates waiting a connection is not read; they are answered in turn."""
        ana = self.join()
        ana.append("0").append("1").heard()
        self.workers.by_hand()
        for n in range(40):
            ana.update(1, n % 2 + 1)
        self.assertFalse(ana.pipe.reading)
        self.assertEqual(len(self.workers.reader.tasks), 1)
        self.settle()
        found = [reply.entries[0].slot for reply in ana.heard()]
        self.assertEqual(found, [n % 2 + 1 for n in range(40)])
        self.assertTrue(ana.pipe.reading)

    def test_answers_that_are_not_read(self) -> None:
        """A client that does not read gets no more answers than the transport holds, until it does."""
        self.service = self.make_service(max_reply=20_000)
        ana = self.join()
        for _ in range(8):
            ana.append("x" * 8000)
        ana.heard()
        ana.pipe.peer_reads = False
        for _ in range(100):
            ana.update(2)
        self.assertFalse(ana.pipe.reading)
        self.assertLess(sum(map(len, ana.pipe.pieces)), 100_000)
        ana.pipe.peer_reads = True
        self.assertEqual([len(reply.entries) for reply in ana.heard()], [2] * 100)

    def test_who_does_not_read_is_cut_off(self) -> None:
        """Who does not read what others say is let go with 4008 at the bound; the others see all of it."""
        ana, bob = self.join(), self.join()
        ana.pipe.peer_reads = False
        for n in range(40):
            bob.append(str(n) * 4000)
        self.assertEqual(bob.slots(), list(range(1, 41)))
        ana.pipe.peer_reads = True
        slots = ana.slots()
        self.assertEqual((slots, ana.close_code), (list(range(1, len(slots) + 1)), 4008))
        self.assertLess(len(slots), 30)
        ana.lose()
        again = self.join()
        self.assertEqual([entry.slot for entry in again.reply(1000).entries], list(range(1, 41)))


class StopTests(Fixture):
    """The service stops."""

    def stop(self) -> Deferred[None]:
        """As the suite does it."""
        return self.service.drain(60).addCallback(lambda _: self.service.stopService())

    def test_what_was_accepted_is_answered(self) -> None:
        """Every append that was accepted is committed and acknowledged, and then comes 1001."""
        ana, bob, eve = self.join(), self.join(), self.join("quiet")
        self.workers.by_hand()
        for n in range(5):
            ana.append(str(n))
        done = self.stop()
        self.assertEqual((eve.heard(), eve.close_code), ([], 1001))
        self.assertEqual((ana.heard(), ana.close_code), ([], None))
        self.assertFalse(ana.pipe.reading)
        self.settle()
        self.assertEqual((ana.slots(), ana.close_code), ([1, 2, 3, 4, 5], 1001))
        bob.heard()
        self.assertEqual(bob.close_code, 1001)
        self.assertNoResult(done)
        for client in (ana, bob, eve):
            client.leave()
        self.settle()
        self.successResultOf(done)

    def test_entries_that_cannot_be_filed(self) -> None:
        """A stop ends all the same when entries cannot be filed, and says why."""
        self.join().append("0")
        with self.workers.database.at_start() as connection:
            connection.exec_driver_sql(
                "CREATE TRIGGER t BEFORE INSERT ON chatlog_filed BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        self.successResultOf(self.service.stopService())
        with self.workers.database.at_start() as connection:
            connection.exec_driver_sql("DROP TRIGGER t")
        [failure] = self.flushLoggedErrors(sqlite3.IntegrityError)
        self.assertEqual(str(failure.value), "no")

    def test_what_was_asked_is_answered(self) -> None:
        """An answer that is being read is sent, and the acks that waited behind it, and then comes 1001."""
        self.service = self.make_service(cache_entries=0)
        ana, bob = self.join(), self.join()
        ana.append("0").heard()
        bob.heard()
        self.workers.by_hand()
        ana.update().append("1")
        self.stop()
        self.workers.write()
        self.workers.answer()
        self.assertEqual((ana.heard(), ana.close_code), ([], None))
        self.settle()
        reply, ack = ana.heard()
        self.assertEqual((reply.latest, ack.entry.slot, ana.close_code), (1, 2, 1001))

    def test_an_early_append_is_not_waited_for(self) -> None:
        """An append that waits for one that has not come does not hold up the stop."""
        ana = self.join()
        ana.append("1", seq=1)
        self.stop()
        self.assertEqual((ana.heard(), ana.close_code), ([], 1001))

    def test_appends_of_those_who_left(self) -> None:
        """A stop waits for the appends of connections that are gone."""
        ana = self.join()
        self.workers.by_hand()
        ana.append("0").append("1")
        ana.lose()
        done = self.stop()
        self.assertNoResult(done)
        self.settle()
        self.successResultOf(done)
        self.workers.by_hand(False)
        self.service = self.make_service()
        self.assertEqual(self.join().log(), ["0", "1"])

    def test_while_a_room_is_opened(self) -> None:
        """Who waits for a room to open is let go at once."""
        self.workers.by_hand()
        ana = self.join()
        self.stop()
        self.assertEqual((ana.heard(), ana.close_code), ([], 1001))
        self.settle()
        self.assertEqual(ana.heard(), [])
