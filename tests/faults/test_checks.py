"""The checks themselves: each says nothing of what is right, and finds what is wrong."""

from __future__ import annotations

import random
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from protosuite.chatlog.chain import Append, Head, entry_of, extend
from protosuite.chatlog.wire import ClientAppend, Entry
from tests.faults.checks import Violation
from tests.faults.checks.bus import BusCheck
from tests.faults.checks.chatlog import RoomCheck
from tests.faults.checks.counter import CounterCheck
from tests.faults.checks.linearizable import History, Operation, first_problem
from tests.faults.checks.mediachat import ChatsCheck, Row, Said
from tests.faults.checks.numbers import StreamsCheck, whole

EPOCH = "0123456789abcdef" * 2


class CheckCase(SynchronousTestCase):
    """What the tests below share."""

    def finds(self, text: str, call: Any, *args: Any) -> None:
        """Hold that `call` finds a violation, and says `text` of it."""
        self.assertIn(text, str(self.assertRaises(Violation, call, *args)))


class StreamsCheckTests(CheckCase):
    """Numbers."""

    def test_right(self) -> None:
        """A stream that is told of twice and comes to its right end is right."""
        check, stream = StreamsCheck(), whole(7, 20)
        check.opened("ana", 20)
        check.opened("ana", 20)
        check.ended("ana", stream.sum, 20, stream.checksum)
        check.settle({"ana": stream})
        check.settle({})  # it has been settled

    def test_another_stream(self) -> None:
        """A stream whose length changes is another one."""
        check = StreamsCheck()
        check.opened("ana", 20)
        self.finds("had 20 numbers and has 21", check.opened, "ana", 21)

    def test_twice(self) -> None:
        """A stream has one end."""
        check = StreamsCheck()
        check.ended("ana", 1, 1, 1)
        self.finds("ended twice", check.ended, "ana", 1, 1, 1)

    def test_wrong_result(self) -> None:
        """A sum, a count or a checksum that is not that of the stored session is found."""
        stream = whole(7, 20)
        for wrong in (
            (stream.sum + 1, 20, stream.checksum),
            (stream.sum, 19, stream.checksum),
            (stream.sum, 20, stream.checksum ^ 1),
        ):
            check = StreamsCheck()
            check.ended("ana", *wrong)
            self.finds("and not", check.settle, {"ana": stream})
        self.finds("is not stored", check.settle, {})


class CounterCheckTests(CheckCase):
    """The counter."""

    def test_right(self) -> None:
        """Requests under way at the same time may be applied in any order; what is lost counted or not."""
        for total in (17, 117):
            check = CounterCheck(10)
            first, second, lost, reading = (check.sent(amount) for amount in (3, 4, 100, 0))
            check.answered(second, 14)
            check.answered(first, 17)
            check.answered(reading, 10)
            check.unknown(lost)
            check.settle(total)

    def test_too_low(self) -> None:
        """A total below one that was known when its request was sent, and its own increment, is found."""
        check = CounterCheck()
        before, late = check.sent(5), check.sent(5)
        check.answered(late, 10)
        check.answered(before, 5)
        self.finds("10 had been reached", check.answered, check.sent(5), 14)
        self.finds("10 had been reached", check.answered, check.sent(0), 9)

    def test_too_high(self) -> None:
        """A total above everything that was ever sent is found."""
        check = CounterCheck(10)
        self.finds("at most 15", check.answered, check.sent(5), 16)

    def test_overlap(self) -> None:
        """Two increments that cannot both have counted are found: the same total, and steps that overlap."""
        for first, second in (((5, 5), (5, 5)), ((5, 5), (3, 6)), ((3, 6), (5, 5)), ((9, 9), (1, 5))):
            check = CounterCheck()
            requests = [check.sent(amount) for amount, _ in (first, second)]
            check.answered(requests[0], first[1])
            self.finds("and one of", check.answered, requests[1], second[1])

    def test_end(self) -> None:
        """What the counter has at the end is between what was acknowledged and what was sent."""
        check = CounterCheck()
        check.answered(check.sent(5), 5)
        check.unknown(check.sent(3))
        self.finds("5 was acknowledged", check.settle, 4)
        self.finds("8 was sent in all", check.settle, 9)
        check.sent(10)
        check.answered(check.sent(1), 9)
        self.finds("had 9 before", check.settle, 8)

    def test_fallen_back(self) -> None:
        """After a kill that may lose something totals come again; below what was stored they may not be."""
        check = CounterCheck()
        for _ in range(3):
            check.answered(check.sent(5), check.highest + 5)
        unsent = check.sent(5)
        check.fell_back(10)
        check.answered(unsent, 15)
        check.settle(15)
        self.finds("10 had been", CounterCheck.answered, *self.fallen(10), 9)
        self.finds("10 was ack", check_of(10).settle, 9)

    def fallen(self, total: int) -> tuple[CounterCheck, int]:
        check = check_of(total)
        return check, check.sent(1)


def check_of(total: int) -> CounterCheck:
    """One that has fallen back to `total`."""
    check = CounterCheck()
    check.answered(check.sent(20), 20)
    check.fell_back(total)
    return check


class BusCheckTests(CheckCase):
    """The bus."""

    def begun(self, is_ordered: bool = True) -> BusCheck:
        """Five events of one topic, of which four were confirmed."""
        check = BusCheck()
        check.subscribed("d", is_ordered)
        for number in range(1, 6):
            check.published("t", b"%d" % number)
        for number in range(1, 5):
            check.confirmed(b"%d" % number, number)
        return check

    def test_right(self) -> None:
        """Events may come again, and those without a receipt may come."""
        check = self.begun()
        for number in (1, 2, 1, 2, 3, 4, 2, 5):
            check.delivered("d", "t", b"%d" % number, number)
        check.settle()

    def test_lost(self) -> None:
        """A confirmed event that never came is found."""
        check = self.begun()
        for number in (1, 2, 4, 5):
            check.delivered("d", "t", b"%d" % number, number)
        self.assertEqual(check.missing(), {"d": 1})
        self.finds("never delivered", check.settle)

    def test_out_of_turn(self) -> None:
        """An event that comes first behind a later one is found, where an order was promised."""
        for is_ordered in (True, False):
            check = self.begun(is_ordered)
            check.delivered("d", "t", b"3", 3)
            if is_ordered:
                self.finds("for the first time behind", check.delivered, "d", "t", b"2", 2)
            else:
                check.delivered("d", "t", b"2", 2)

    def test_before_it_is_there(self) -> None:
        """What was sent before a subscription was there may come, and need not, whenever it is confirmed."""
        check = BusCheck()
        check.subscribing("d")
        for payload in (b"1", b"2"):
            check.published("t", payload)
        check.delivered("d", "t", b"1", 1)
        check.subscribed("d")
        for number in (1, 2):
            check.confirmed(b"%d" % number, number)
        check.settle()
        check.published("t", b"3")
        check.confirmed(b"3", 3)
        self.assertEqual(check.missing(), {"d": 1})

    def test_invented(self) -> None:
        """What nobody published is found, on whatever topic it comes, and so is a wrong topic."""
        check = self.begun()
        self.finds("nobody published", check.delivered, "d", "t", b"6", 6)
        self.finds("nobody published", check.noticed, "n", 1, "t", b"6", 6)
        self.finds("was published on t", check.delivered, "d", "u", b"1", 1)

    def test_sequence_of_another(self) -> None:
        """One sequence of a topic is one event."""
        check = self.begun()
        self.finds("is b'2' and was b'1'", check.delivered, "d", "t", b"2", 1)

    def test_noticed(self) -> None:
        """On one connection sequences rise; on another one they may begin anew."""
        check = self.begun()
        check.noticed("n", 1, "t", b"2", 2)
        check.noticed("n", 1, "t", b"5", 5)
        check.noticed("n", 2, "t", b"1", 1)
        self.finds("behind event 5", check.noticed, "n", 1, "t", b"3", 3)
        self.finds("behind event 1", check.noticed, "n", 2, "t", b"1", 1)


def log(*contents: str) -> list[Entry]:
    """A log of entries with a right chain of hashes. Contents are ``author-number``."""
    head, entries = Head(0, EPOCH), []
    for content in contents:
        message = ClientAppend(0, content.split("-")[0], content)
        entries.append(entry_of(extend(head, Append("main", "00000000000000aa", message), 0)[0]))
        head = Head(entries[-1].slot, entries[-1].hash)
    return entries


class RoomCheckTests(CheckCase):
    """The chat log."""

    def begun(self) -> tuple[RoomCheck, list[Entry]]:
        """Four appends and the log that came of three of them, of which two were acknowledged."""
        check, entries = RoomCheck(), log("a-1", "b-1", "a-2")
        for content in ("a-1", "b-1", "a-2", "b-2"):
            check.appended(content)
        check.acknowledged("a-1", entries[0])
        check.acknowledged("b-1", entries[1])
        return check, entries

    def test_right(self) -> None:
        """What all agree on is right, what was not acknowledged too."""
        check, entries = self.begun()
        check.read("r", entries)
        check.read("s", entries[1:2])
        check.settle(EPOCH, entries)
        self.assertEqual((check.last_acknowledged, check.read_up_to("r"), check.read_up_to("t")), (2, 3, 0))

    def test_lost(self) -> None:
        """An acknowledged entry that is not stored, or was moved, is found; so is one that was shown."""
        check, entries = self.begun()
        self.finds("is stored as None", check.settle, EPOCH, entries[:1])
        check, entries = self.begun()
        check.read("r", entries)
        self.finds("slot 3 was shown", check.settle, EPOCH, entries[:2])
        check, _ = self.begun()
        self.finds("to one and another to others", check.settle, EPOCH, log("b-1", "a-1", "a-2"))

    def test_hole(self) -> None:
        """A hole is found, in what is stored and in what a reader gets."""
        check, entries = self.begun()
        self.finds("is stored where", check.settle, EPOCH, [entries[0], entries[2]])
        check.read("r", entries[:1])
        self.finds("slot 3 behind slot 1", check.read, "r", entries[2:])
        check.shown(3, entries[1:])
        self.finds("slot 3 was shown behind slot 1", check.shown, 3, [entries[0], entries[2]])
        self.finds("and the last is 2", check.shown, 2, entries[1:])

    def test_twice(self) -> None:
        """What is in the log twice is found."""
        check, _ = self.begun()
        self.finds("is in slot", check.settle, EPOCH, log("a-1", "b-1", "a-2", "a-1"))

    def test_disagreement(self) -> None:
        """Readers that are told different things of one slot are found, and wrong hashes."""
        check, entries = self.begun()
        check.read("r", entries)
        self.finds("and another to others", check.read, "s", log("b-1"))
        check, entries = RoomCheck(), log("a-1", "a-2")
        entries[1] = evolve(entries[1], at=1)
        for entry in entries:
            check.appended(entry.content)
        self.finds("the hash of slot 2", check.settle, EPOCH, entries)

    def test_invented(self) -> None:
        """What nobody appended is found, and an answer to something else."""
        check, entries = self.begun()
        self.finds("nobody appended", check.read, "r", log("c-1"))
        self.finds("was answered with", check.acknowledged, "a-2", entries[1])

    def test_out_of_turn(self) -> None:
        """Entries of one writer that are not in its order are found."""
        check = RoomCheck()
        for content in ("a-1", "a-2"):
            check.appended(content)
        self.finds("entry 1 of a is stored behind its entry 2", check.settle, EPOCH, log("a-2", "a-1"))


def append(slot: int, asked: float, answered: float) -> Operation:
    """An append."""
    return Operation(f"append {slot}", False, slot, asked, answered)


def read(latest: int, asked: float, answered: float) -> Operation:
    """A read."""
    return Operation(f"read of {latest}", True, latest, asked, answered)


class LinearizableTests(CheckCase):
    """Histories of one room."""

    def test_right(self) -> None:
        """What happens at the same time may come in any order, and the same read twice."""
        for history in (
            [append(1, 0, 9), append(2, 1, 2), read(0, 0, 3), read(2, 3, 4), read(2, 3, 4)],
            [append(1, 0, 1), read(1, 2, 3), append(2, 4, 5), read(2, 6, 7)],
            [Operation("unanswered", False, 1, 0), read(1, 5, 6), append(2, 7, 8)],
            [],
        ):
            self.assertIsNone(first_problem(history))

    def test_planted(self) -> None:
        """Stale reads, reads of the future and appends in the wrong order are found, and say why."""
        for history, text in (
            ([append(1, 0, 1), read(0, 2, 3)], "append 1 made slot 1"),  # it had been acknowledged
            ([append(1, 2, 3), read(1, 0, 1)], "read of 1"),  # before anybody asked for it
            ([append(2, 0, 1), append(1, 2, 3)], "append 2"),
            ([read(5, 0, 1), read(4, 2, 3)], "read of 5"),  # the log shrank
            ([read(5, 0, 1), append(5, 2, 3)], "read of 5"),
            ([append(1, 0, 1), append(1, 2, 3)], "two appends made slot 1"),
        ):
            self.assertIn(text, str(first_problem(history)), history)

    def test_random_histories(self) -> None:
        """Any history of a right log is right, and one operation moved out of its time is found."""
        chance = random.Random(4)
        for _ in range(100):
            history, slot = [], 0
            for moment in range(1, 60):
                is_read = chance.random() < 0.5
                slot += not is_read
                asked, answered = moment - chance.random() * 5, moment + chance.random() * 5
                history.append(Operation(str(moment), is_read, slot, asked, answered))
            chance.shuffle(history)
            self.assertIsNone(first_problem(history))
            moved = chance.choice([each for each in history if each.after < slot - 15])
            late = evolve(moved, asked=100.0, answered=101.0)
            history[history.index(moved)] = late
            self.assertIsNotNone(first_problem(history))

    def test_recorded(self) -> None:
        """What is recorded has the order in which it was asked and answered."""
        history = History()
        history.asked("a", False)
        history.asked("b", False)
        history.answered("a", 1)
        history.asked("r", True)
        history.answered("r", 1)
        history.found("b", 2)
        self.assertIsNone(first_problem(history.operations))
        history.asked("s", True)
        history.answered("s", 0)
        self.assertIn("s found slot 0", str(first_problem(history.operations)))


class ChatsCheckTests(CheckCase):
    """The media chat."""

    def begun(self) -> tuple[ChatsCheck, list[Row]]:
        """Texts and a file of a client, words of the desk, and how they are stored."""
        check = ChatsCheck()
        rows = []
        for id, said in enumerate(
            (
                Said(7, "client", text="one"),
                Said(7, "client", text="two"),
                Said(7, "client", name="file", size=10, sha256="ab"),
                Said(7, "desk", text="hello"),
                Said(7, "desk", text="again"),
            ),
            1,
        ):
            check.saved(check.said(said), id)
            kind = "file" if said.name else "text"
            rows.append(Row(id, 7, said.sender, kind, "saved", said.text, said.name, said.size, said.sha256))
        check.received(7, 4, "hello")
        check.received(7, 5, "again")
        return check, rows

    def finds_in(self, text: str, rows: list[Row], files: dict[str, str] | None = None, **more: Any) -> None:
        """Hold that a violation is found in what is stored."""
        check, _ = self.begun()
        found = {"ab": "ab"} if files is None else files
        self.finds(text, lambda: check.settle(rows, found, **({"parts": 0} | more)))

    def test_right(self) -> None:
        """What is stored as it was said and delivered is right, at the quota too."""
        check, rows = self.begun()
        self.assertEqual((check.received_by(7), check.received_by(8)), (5, 0))
        check.settle(rows, {"ab": "ab"}, 0, quota=10)

    def test_rows(self) -> None:
        """Messages that are lost, double, changed, discarded, invented or out of turn are found."""
        _, rows = self.begun()
        self.finds_in("is stored as None", rows[1:])
        self.finds_in("stored twice", [*rows, evolve(rows[0], id=6)])
        self.finds_in("nobody said", [*rows, evolve(rows[0], id=6, text="three")])
        self.finds_in("and not", [evolve(rows[0], client=8), *rows[1:]])
        self.finds_in(
            "and not", [*rows[:2], evolve(rows[2], sha256="cd"), *rows[3:]], {"ab": "ab", "cd": "cd"}
        )
        self.finds_in("is discarded", [evolve(rows[0], status="discarded"), *rows[1:]])
        self.finds_in("out of turn", [rows[1], rows[0], *rows[2:]])

    def test_files(self) -> None:
        """Files that are missing, left over, damaged or incomplete are found, and a quota that was passed."""
        _, rows = self.begun()
        self.finds_in("are missing", rows, {})
        self.finds_in("no message has", rows, {"ab": "ab", "cd": "cd"})
        self.finds_in("has the hash", rows, {"ab": "cd"})
        self.finds_in("parts are left", rows, parts=1)
        self.finds_in("10 bytes of 9", rows, quota=9)

    def test_deliveries(self) -> None:
        """What came twice, out of turn, to another client or not at all is found."""
        check, rows = self.begun()
        self.finds("behind message", check.received, 7, 4, "hello")
        self.finds("did not say to it", check.received, 8, 4, "hello")
        self.finds("did not say to it", check.received, 7, 6, "one")
        check, rows = self.begun()
        check.saved(check.said(Said(7, "desk", text="lost")), 6)
        rows.append(Row(6, 7, "desk", "text", "saved", "lost"))
        self.finds("was given 2 messages", lambda: check.settle(rows, {"ab": "ab"}, 0))

    def test_two_ids(self) -> None:
        """One message has one id."""
        check, _ = self.begun()
        self.finds("is message 1 and message 9", check.saved, "one", 9)
