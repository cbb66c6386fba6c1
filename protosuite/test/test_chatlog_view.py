"""The client's view of a room: whatever comes in whatever order, it has one run of slots, and all of them."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from protosuite.chatlog.chain import Append, Head, entry_of, extend
from protosuite.chatlog.view import Change, View
from protosuite.chatlog.wire import ClientAppend, ClientUpdate, Entry, ServerReply

EPOCH = "e" * 32


def log(length: int, epoch: str = EPOCH) -> list[Entry]:
    """A log of so many entries."""
    head = Head(0, epoch)
    entries: list[Entry] = []
    for n in range(length):
        entry = entry_of(extend(head, Append("main", "s", ClientAppend(n, "ana", f"entry {n}")), 1000 + n)[0])
        entries.append(entry)
        head = Head(entry.slot, entry.hash)
    return entries


def reply(entries: Sequence[Entry], latest: int, first: int = 1, epoch: str = EPOCH) -> ServerReply:
    """What a server answers."""
    return ServerReply(tuple(entries), latest, first, epoch, "s")


def slots(entries: Sequence[Entry]) -> list[int]:
    """Their slots."""
    return [entry.slot for entry in entries]


class ViewTests(SynchronousTestCase):
    """One thing at a time."""

    def setUp(self) -> None:
        self.log = log(100)
        self.view = View()

    def test_opens_with_the_last(self) -> None:
        """The first reply is the beginning of the view, and what is acknowledged follows."""
        self.assertEqual(slots(self.view.reply(reply(self.log[40:50], 50)).new), list(range(41, 51)))
        self.assertEqual(slots(self.view.ack(self.log[50]).new), [51])
        self.assertEqual((self.view.low, self.view.high, self.view.missing()), (41, 51, None))

    def test_empty_room(self) -> None:
        """In an empty room the first entry is slot 1, and it is checked against the epoch."""
        self.assertEqual(self.view.reply(reply([], 0)), Change())
        self.assertEqual(self.view.ack(self.log[0]), Change(new=[self.log[0]]))

    def test_acks_before_the_first_reply(self) -> None:
        """What is acknowledged before the view is open is there when it opens, once."""
        self.assertEqual(self.view.ack(self.log[50]).new, [])
        self.assertEqual(self.view.ack(self.log[51]).new, [])
        self.assertEqual(slots(self.view.reply(reply(self.log[45:51], 51)).new), list(range(46, 53)))

    def test_hole_is_filled(self) -> None:
        """An ack behind a hole waits until the hole has been asked for and filled; nothing comes twice."""
        self.view.reply(reply(self.log[:10], 10))
        self.assertEqual(self.view.ack(self.log[14]), Change())
        self.assertEqual(self.view.missing(), ClientUpdate(4, 14))
        self.assertEqual(self.view.ack(self.log[15]), Change())
        self.assertEqual(slots(self.view.reply(reply(self.log[10:14], 16)).new), list(range(11, 17)))
        self.assertIsNone(self.view.missing())

    def test_long_hole_is_filled_in_parts(self) -> None:
        """A hole of more than a page is filled a page at a time, from below."""
        view = View(page=20)
        view.reply(reply(self.log[:10], 10))
        view.reply(reply(self.log[90:], 100))
        self.assertEqual(view.missing(), ClientUpdate(20, 30))
        view.reply(reply(self.log[10:30], 100))
        self.assertEqual(view.missing(), ClientUpdate(20, 50))

    def test_part_that_is_too_long_for_a_reply(self) -> None:
        """Where the server sends only the newest of what was asked for, less is asked for."""
        view = View(page=20)
        view.reply(reply(self.log[:10], 10))
        view.reply(reply(self.log[90:], 100))
        view.reply(reply(self.log[26:30], 100))
        self.assertEqual(view.missing(), ClientUpdate(2, 12))
        view.reply(reply(self.log[10:12], 100))
        self.assertEqual(view.missing(), ClientUpdate(20, 32))

    def test_scrolls_back(self) -> None:
        """What is before the lowest slot is asked for until the first that the server has."""
        self.view.reply(reply(self.log[40:50], 50, first=31))
        self.assertEqual(self.view.before(6), ClientUpdate(6, 40))
        self.assertEqual(slots(self.view.reply(reply(self.log[34:40], 50, first=31)).older), [*range(35, 41)])
        self.assertEqual(self.view.before(6), ClientUpdate(4, 34))
        self.view.reply(reply(self.log[30:34], 50, first=31))
        self.assertIsNone(self.view.before(6))

    def test_what_came_before_does_not_come_again(self) -> None:
        """Entries that are held are not told again, in whatever reply or ack they come."""
        self.view.reply(reply(self.log[:10], 10))
        self.assertEqual(self.view.reply(reply(self.log[4:10], 10)), Change())
        self.assertEqual(self.view.ack(self.log[3]), Change())

    def test_another_epoch(self) -> None:
        """Another epoch is another log: what was held is void, and the change says so."""
        self.view.reply(reply(self.log[:10], 10))
        other = log(3, "f" * 32)
        change = self.view.reply(reply(other, 3, epoch="f" * 32))
        self.assertEqual((change.is_reset, change.new, change.problems), (True, other, []))

    def test_another_epoch_after_a_reconnect(self) -> None:
        """What is acknowledged on a new connection before it is known which log it is has its place then."""
        self.view.reply(reply(self.log[:10], 10))
        self.view.reconnected()
        other = log(12, "f" * 32)
        self.assertEqual(self.view.ack(other[10]), Change())
        change = self.view.reply(reply(other[7:10], 10, epoch="f" * 32))
        self.assertEqual((change.is_reset, slots(change.new), change.problems), (True, [8, 9, 10, 11], []))

    def test_room_that_begins_while_watched(self) -> None:
        """A room that was empty may have got another epoch when it began: nothing was lost by that."""
        self.view.reply(reply([], 0, epoch="f" * 32))
        self.assertFalse(self.view.reply(reply(self.log[:2], 2)).is_reset)

    def test_deleted_before_it_was_read(self) -> None:
        """Slots that were deleted before they came are named, and the view goes on behind them."""
        self.view.reply(reply(self.log[:10], 10))
        change = self.view.reply(reply(self.log[60:65], 65, first=51))
        self.assertEqual(change.problems, ["slots 11 to 50 have been deleted unread"])
        self.assertTrue(change.is_reset)
        self.assertEqual(self.view.missing(), ClientUpdate(10, 60))

    def test_keeps_a_bounded_number(self) -> None:
        """Past `keep` the oldest go, and can be asked for again."""
        view = View(keep=5)
        view.reply(reply(self.log[:10], 10))
        view.ack(self.log[10])
        self.assertEqual(slots(view.entries), [7, 8, 9, 10, 11])
        self.assertEqual(view.before(3), ClientUpdate(3, 6))

    def test_changed_entry(self) -> None:
        """An entry whose content does not fit its hash is named, however it comes."""
        forged = attrs.evolve(self.log[10], content="forged")
        self.view.reply(reply(self.log[:10], 10))
        self.assertEqual(
            self.view.ack(forged).problems, ["slot 11 does not fit the hash of the log before it"]
        )
        other = View()
        other.reply(reply(self.log[11:15], 15))
        self.assertEqual(
            other.reply(reply([*self.log[5:10], forged], 15)).problems,
            ["slot 11 does not fit the hash of the log before it"],
        )

    def test_rewritten_entry(self) -> None:
        """An entry that comes again and is not what it was is named."""
        self.view.reply(reply(self.log[:10], 10))
        rewritten = [*self.log[8:9], attrs.evolve(self.log[9], content="rewritten")]
        self.assertEqual(
            self.view.reply(reply(rewritten, 10)).problems, ["slot 10 is not what it was before"]
        )

    def test_reply_with_a_hole(self) -> None:
        """A reply whose slots have a hole is not taken in."""
        change = self.view.reply(reply([self.log[0], self.log[2]], 3))
        self.assertEqual(change.problems, ["the server left out a slot in the middle of a reply"])


class AnyOrder(RuleBasedStateMachine):
    """A server of a log that grows, and a view that hears of it with losses, late and twice."""

    def __init__(self) -> None:
        super().__init__()
        self.log = log(400)
        self.latest = 0
        self.limit = 7  # entries in a reply
        self.view = View(keep=1000, page=20)
        self.new: list[Entry] = []
        self.answer(ClientUpdate(3, -1))

    def answer(self, update: ClientUpdate) -> None:
        high = self.latest if update.upto == -1 else min(update.upto, self.latest)
        low = max(1, high - min(update.n, self.limit) + 1)
        change = self.view.reply(reply(self.log[low - 1 : high], self.latest))
        assert not change.problems
        assert not change.is_reset
        self.new += change.new

    @precondition(lambda self: self.latest < 390)
    @rule(count=st.integers(1, 9), told=st.integers(0, 2**9 - 1))
    def grow(self, count: int, told: int) -> None:
        """Entries are committed, and the view is told of some of them."""
        for n in range(count):
            self.latest += 1
            if told >> n & 1:
                self.new += self.view.ack(self.log[self.latest - 1]).new

    @rule(slot=st.integers(1, 400))
    def tell_again(self, slot: int) -> None:
        """An entry is told once more."""
        if slot <= self.latest:
            self.new += self.view.ack(self.log[slot - 1]).new

    @rule()
    def fill(self) -> None:
        """The view asks for what is missing."""
        if (update := self.view.missing()) is not None:
            self.answer(update)

    @rule(n=st.integers(1, 10))
    def poll(self, n: int) -> None:
        """The view asks for the latest."""
        self.answer(ClientUpdate(n, -1))

    @rule()
    def reconnect(self) -> None:
        """The connection is another one: what is said on it comes before the first reply, too."""
        self.view.reconnected()

    @rule(n=st.integers(1, 10))
    def back(self, n: int) -> None:
        """The view asks for what is before it."""
        if (update := self.view.before(n)) is not None:
            self.answer(update)

    @invariant()
    def one_run(self) -> None:
        """What is held is one run of the log, and what was told as new is that run's end."""
        held = list(self.view.entries)
        assert held == self.log[self.view.low - 1 : self.view.high]
        if self.new:
            assert slots(self.new) == list(range(self.new[0].slot, self.view.high + 1))

    def teardown(self) -> None:
        """In the end asking brings everything."""
        self.answer(ClientUpdate(1, -1))
        for _ in range(1000):
            update = self.view.missing()
            if update is None:
                break
            self.answer(update)
        assert self.view.high == self.latest


class AnyOrderTests(SynchronousTestCase):
    """Whatever comes in whatever order."""

    def test_any_order(self) -> None:
        """The view is one run of the log at any time, tells each entry once, and has all once it asked."""
        run_state_machine_as_test(
            AnyOrder, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
        )
