"""The sequencer against a naive model, and how long a flood keeps others waiting."""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from protosuite.chatlog.chain import Append
from protosuite.chatlog.sequencer import Sequencer, Writer
from protosuite.chatlog.wire import ClientAppend
from protosuite.errors import BadRequest

LIMIT = 3


def message(seq: int) -> ClientAppend:
    return ClientAppend(seq, "a", "x")


def code(call: Any, *arguments: Any) -> str | None:
    """How a call is refused, if it is."""
    try:
        call(*arguments)
    except BadRequest as error:
        return error.code
    return None


def names(appends: list[Append]) -> list[tuple[str, int]]:
    return [(append.session, append.message.seq) for append in appends]


@frozen
class Item:
    """An append that came."""

    room: str
    session: str
    seq: int
    arrival: int


@define
class Model:
    """The sequencer, as one would say it: lists that are searched from the beginning."""

    came: dict[tuple[str, int], Item | None] = field(factory=dict)  # None: used up by what was refused
    taken: set[Item] = field(factory=set)
    turns: list[str] = field(factory=list)  # rooms, whose turn is next first
    rounds: dict[str, list[str]] = field(factory=dict)  # who is still to come in a room's round

    def next(self, session: str) -> int:
        """The lowest `seq` that has not come."""
        return next(seq for seq in range(10_000) if (session, seq) not in self.came)

    def put(self, room: str, session: str, seq: int, item: Item | None) -> str | None:
        if (session, seq) in self.came:
            return "bad-sequence"
        if seq > self.next(session) + LIMIT:
            return "gap"
        self.came[session, seq] = item
        if room not in self.turns and self.ready(room, session):
            self.turns.append(room)
        return None

    def ready(self, room: str, session: str | None = None) -> list[Item]:
        """What may be taken, by arrival for one connection's first, in its order behind that."""
        return [
            item
            for item in self.came.values()
            if item is not None
            and item not in self.taken
            and item.room == room
            and session in (None, item.session)
            and item.seq < self.next(item.session)
        ]

    def head(self, room: str, session: str) -> Item:
        return min(self.ready(room, session), key=lambda item: item.seq)

    def take(self) -> Item | None:
        if not self.turns:
            return None
        room = self.turns.pop(0)
        waiting = {item.session for item in self.ready(room)}
        todo = self.rounds.pop(room, [])
        todo = todo or sorted(waiting, key=lambda session: self.head(room, session).arrival)
        item = self.head(room, todo.pop(0))
        self.taken.add(item)
        if self.ready(room):
            self.turns.append(room)
            self.rounds[room] = todo
        return item

    def drop(self, session: str, early_only: bool) -> list[tuple[str, int]]:
        limit = self.next(session)
        gone = [
            item
            for item in self.came.values()
            if item is not None
            and item.session == session
            and item not in self.taken
            and (item.seq > limit or not early_only)
        ]
        for item in gone:
            self.came[session, item.seq] = None
            if not self.ready(item.room, session):
                self.rounds[item.room] = [each for each in self.rounds.get(item.room, []) if each != session]
            if not self.ready(item.room) and item.room in self.turns:
                self.turns.remove(item.room)
        return [(session, item.seq) for item in sorted(gone, key=lambda item: item.seq)]


class Machine(RuleBasedStateMachine):
    """Connections in three rooms say what they like, and somebody takes."""

    writers = Bundle("writers")

    def __init__(self) -> None:
        super().__init__()
        self.sequencer = Sequencer()
        self.model = Model()
        self.arrivals = 0
        self.sessions = 0
        self.seen: dict[str, int] = {}  # by session: the last seq taken
        self.waits: dict[str, dict[str, int]] = {}  # of those who wait: what others have been given since

    @rule(target=writers, room=st.sampled_from("ABC"))
    def join(self, room: str) -> Writer:
        self.sessions += 1
        return Writer(room, f"s{self.sessions}", LIMIT)

    @rule(
        writer=writers, ahead=st.sampled_from([0, 0, 0, 1, 2, -1, LIMIT, LIMIT + 1, 99]), skip=st.booleans()
    )
    def say(self, writer: Writer, ahead: int, skip: bool) -> None:
        seq = max(0, self.model.next(writer.session) + ahead)
        self.arrivals += 1
        item = None if skip and ahead < 2 else Item(writer.room, writer.session, seq, self.arrivals)
        expected = self.model.put(writer.room, writer.session, seq, item)
        if item is None:
            found = code(self.sequencer.skip, writer, seq)
        else:
            found = code(self.sequencer.offer, writer, message(seq))
        assert found == expected, (found, expected)

    @rule(writer=writers, count=st.integers(2, 5))
    def flood(self, writer: Writer, count: int) -> None:
        for _ in range(count):
            self.say(writer, 0, False)

    @rule(most=st.integers(1, 8))
    def take(self, most: int) -> None:
        found = self.sequencer.take(most)
        assert len(found) <= most
        for append in found:
            item = self.model.take()
            assert item is not None
            assert (append.room, append.session, append.message.seq) == (item.room, item.session, item.seq)
            self._look(append)
        if len(found) < most:
            assert self.model.take() is None

    def _look(self, append: Append) -> None:
        """What holds whatever the algorithm: order, and nobody is passed more than twice by anybody."""
        assert append.message.seq > self.seen.get(append.session, -1)
        self.seen[append.session] = append.message.seq
        for session, passed in self.waits.items():
            if session != append.session and session.startswith(append.room):
                passed[append.session] = passed.get(append.session, 0) + 1
                assert passed[append.session] <= 2, passed
        self.waits.pop(append.room + append.session, None)

    @rule(writer=writers, early_only=st.booleans())
    def drop(self, writer: Writer, early_only: bool) -> None:
        found = (self.sequencer.drop_early if early_only else self.sequencer.drop)(writer)
        assert names(found) == self.model.drop(writer.session, early_only)
        assert not writer.held

    @invariant()
    def nothing_is_kept(self) -> None:
        """It keeps the rooms that have something ready, in the order of their turns, and no others."""
        assert list(self.sequencer._rooms) == self.model.turns
        assert self.sequencer.is_waiting == any(self.model.ready(room) for room in "ABC")

    @invariant()
    def who_waits(self) -> None:
        """Begin to count for those who have something ready; forget those who have not."""
        ready = {room + item.session for room in "ABC" for item in self.model.ready(room)}
        self.waits = {session: self.waits.get(session, {}) for session in ready}


class MachineTests(SynchronousTestCase):
    """Hypothesis drives it."""

    def test_against_the_model(self) -> None:
        """Order, fairness, repeated and missing `seq`, refused ones, what is dropped: all as in the model."""
        run_state_machine_as_test(
            Machine, settings=settings(max_examples=120, stateful_step_count=40, deadline=None)
        )


class FairnessTests(SynchronousTestCase):
    """Who floods waits for himself."""

    def setUp(self) -> None:
        self.sequencer = Sequencer()

    def offer(self, writer: Writer, count: int) -> None:
        for _ in range(count):
            self.sequencer.offer(writer, message(writer.next_seq))

    def test_a_flood(self) -> None:
        """With 10,000 appends of one connection waiting, another's is taken within two rounds."""
        flood, other = Writer("r", "flood", 64), Writer("r", "other", 64)
        self.offer(flood, 10_000)
        for taken in range(500):
            self.offer(other, 1)
            rounds = 0  # the flood is in each of them, once
            while self.sequencer.take(1)[0].session != "other":
                rounds += 1
            self.assertLessEqual(rounds, 2, taken)

    def test_many_floods(self) -> None:
        """With a hundred that flood, a round is a hundred and one appends, and two of them suffice."""
        floods = [Writer("r", f"flood-{n}", 64) for n in range(100)]
        for flood in floods:
            self.offer(flood, 100)
        self.sequencer.take(250)
        other = Writer("r", "other", 64)
        self.offer(other, 1)
        sessions = [append.session for append in self.sequencer.take(1000)]
        before = sessions[: sessions.index("other")]
        self.assertLessEqual(max(map(before.count, before)), 2)

    def test_in_order_of_arrival(self) -> None:
        """A round is in the order in which its appends came, and one a connection."""
        ana, bob, eve = (Writer("r", name, 64) for name in ("ana", "bob", "eve"))
        for writer in (bob, bob, ana, eve, ana, bob):
            self.offer(writer, 1)
        found = [append.session for append in self.sequencer.take(100)]
        self.assertEqual(found, ["bob", "ana", "eve", "bob", "ana", "bob"])

    def test_who_comes_during_a_round(self) -> None:
        """An append that comes during a round is in the next, however few are left of this one."""
        ana, bob, eve = (Writer("r", name, 64) for name in ("ana", "bob", "eve"))
        self.offer(ana, 3)
        self.offer(bob, 3)
        self.assertEqual(names(self.sequencer.take(1)), [("ana", 0)])
        self.offer(eve, 1)
        self.assertEqual(names(self.sequencer.take(4)), [("bob", 0), ("ana", 1), ("bob", 1), ("eve", 0)])

    def test_who_goes_during_a_round(self) -> None:
        """What is dropped during a round is left out of it, and the others are not passed over."""
        ana, bob, eve = (Writer("r", name, 64) for name in ("ana", "bob", "eve"))
        for writer in (ana, bob, eve):
            self.offer(writer, 2)
        self.sequencer.take(1)
        self.sequencer.drop(bob)
        self.assertEqual(names(self.sequencer.take(10)), [("eve", 0), ("ana", 1), ("eve", 1)])

    def test_back_within_a_round(self) -> None:
        """Who drops what it has during a round, and comes back, is in the next one."""
        ana, bob, eve = (Writer("r", name, 64) for name in ("ana", "bob", "eve"))
        for writer in (ana, bob, eve, ana):
            self.offer(writer, 1)
        self.sequencer.take(1)
        self.sequencer.drop(bob)
        self.offer(bob, 1)
        self.assertEqual(names(self.sequencer.take(10)), [("eve", 0), ("ana", 1), ("bob", 1)])

    def test_a_storm_in_another_room(self) -> None:
        """Of what is taken, a room gets as much as any other, however many connections storm there."""
        for n in range(100):
            self.offer(Writer("storm", f"storm-{n}", 64), 100)
        self.sequencer.take(500)
        quiet, other = Writer("quiet", "quiet", 64), Writer("other", "other", 64)
        self.offer(quiet, 50)
        self.offer(other, 2)
        rooms = [append.room for append in self.sequencer.take(120)]
        self.assertEqual(rooms.count("quiet"), 50)
        self.assertLessEqual(rooms.index("quiet"), 2)
        self.assertLessEqual(rooms.index("other"), 2)
        self.assertEqual(rooms[:6].count("other"), 2)

    def test_nothing_is_kept(self) -> None:
        """When all has been taken or dropped nothing is left of rooms and connections."""
        writers = [Writer(f"room-{n}", f"s{n}", 64) for n in range(10)]
        for writer in writers:
            self.offer(writer, 3)
        self.sequencer.drop(writers[0])
        self.assertEqual(len(self.sequencer.take(1000)), 27)
        self.assertEqual(self.sequencer._rooms, {})


class SequenceTests(SynchronousTestCase):
    """The `seq` of one connection."""

    def setUp(self) -> None:
        self.sequencer = Sequencer()
        self.writer = Writer("r", "s", LIMIT)

    def test_reordered(self) -> None:
        """Appends that come in any order within the limit are taken in theirs."""
        for seq in (3, 1, 2):
            self.sequencer.offer(self.writer, message(seq))
            self.assertEqual(self.sequencer.take(10), [])
        self.assertEqual(self.writer.held, 3)
        self.sequencer.offer(self.writer, message(0))
        self.assertEqual(names(self.sequencer.take(10)), [("s", 0), ("s", 1), ("s", 2), ("s", 3)])
        self.assertEqual(self.writer.held, 0)

    def test_refused(self) -> None:
        """A `seq` that is too far ahead, or was used, taken or not, is refused and changes nothing."""
        self.sequencer.offer(self.writer, message(0))
        self.sequencer.offer(self.writer, message(2))
        for seq, expected in (
            (0, "bad-sequence"),
            (2, "bad-sequence"),
            (1 + LIMIT + 1, "gap"),
            (2**53, "gap"),
        ):
            self.assertEqual(code(self.sequencer.offer, self.writer, message(seq)), expected)
            self.assertEqual(code(self.sequencer.skip, self.writer, seq), expected)
        self.sequencer.offer(self.writer, message(1))
        self.assertEqual([seq for _, seq in names(self.sequencer.take(10))], [0, 1, 2])

    def test_skipped(self) -> None:
        """What was refused for what it says does not keep those behind it."""
        self.sequencer.offer(self.writer, message(1))
        self.sequencer.skip(self.writer, 0)
        self.sequencer.skip(self.writer, 3)
        self.sequencer.offer(self.writer, message(2))
        self.sequencer.offer(self.writer, message(4))
        self.assertEqual([seq for _, seq in names(self.sequencer.take(10))], [1, 2, 4])

    def test_dropped(self) -> None:
        """What is dropped is never taken, its `seq` is used up, and what comes behind it goes on."""
        for seq in (0, 1, 3):
            self.sequencer.offer(self.writer, message(seq))
        self.assertEqual(names(self.sequencer.drop(self.writer)), [("s", 0), ("s", 1), ("s", 3)])
        self.assertEqual(self.sequencer.take(10), [])
        self.assertEqual(code(self.sequencer.offer, self.writer, message(3)), "bad-sequence")
        self.sequencer.offer(self.writer, message(2))
        self.sequencer.offer(self.writer, message(4))
        self.assertEqual([seq for _, seq in names(self.sequencer.take(10))], [2, 4])
