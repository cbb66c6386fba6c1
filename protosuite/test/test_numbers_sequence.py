"""The rules of numbers/1."""

from __future__ import annotations

import zlib

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protosuite.errors import PeerFault
from protosuite.numbers.sequence import (
    EMPTY_CHECKSUM,
    Progress,
    Session,
    Stream,
    check_agreement,
    checksum,
    extend,
    new_session,
    resume_at,
    value,
)
from protosuite.numbers.wire import End, Number, Start

SEED = 0x0123456789ABCDEF
FIRST_EIGHT = [41344, 46441, 37836, 56998, 54912, 47516, 60448, 5262]
SESSION = Session("ana", SEED, 8)


def stream(session: Session = SESSION, index: int = 0, **changes: float) -> Stream:
    """A stream that begins at time 0 with round figures."""
    settings = {"interval": 1.0, "window": 4, "ack_timeout": 10.0, "started": 0.0} | changes
    return Stream(session, index, checksum(session.seed, index), **settings)  # type: ignore[arg-type]


def indexes(messages: list[Number | End]) -> list[int | str]:
    """The numbers' indexes, and "end"."""
    return [m.index if isinstance(m, Number) else "end" for m in messages]


class ValueTests(SynchronousTestCase):
    """What a stream holds."""

    def test_the_contracts_values(self) -> None:
        """The seed of the contract gives its eight values, their checksum and their sum."""
        self.assertEqual([value(SEED, i) for i in range(8)], FIRST_EIGHT)
        self.assertEqual(checksum(SEED, 8), 0xCBBC0855)
        self.assertEqual(sum(FIRST_EIGHT), 350757)

    @given(st.integers(0, 2**64 - 1), st.integers(0, 200))
    def test_checksum_is_adler32_of_the_text(self, seed: int, stop: int) -> None:
        """Carried on number by number or computed at once, it is zlib's Adler-32 of the lines."""
        carried = EMPTY_CHECKSUM
        for i in range(stop):
            carried = extend(carried, value(seed, i))
        text = "".join(f"{value(seed, i)}\n" for i in range(stop))
        self.assertEqual({carried, checksum(seed, stop)}, {zlib.adler32(text.encode())})


class SessionTests(SynchronousTestCase):
    """How a session begins and where a client goes on."""

    @given(st.none() | st.integers(1, 65_535), st.floats(0, 1, exclude_max=True), st.integers(1, 65_535))
    def test_a_new_length_is_in_its_bounds(self, most: int | None, chance: float, max_messages: int) -> None:
        """A new stream has 1 to min(max, the server's) numbers."""
        session = new_session(Start("a", most), SEED, chance, max_messages)
        self.assertTrue(1 <= session.count <= min(most or max_messages, max_messages))

    def test_every_length_can_be_drawn(self) -> None:
        """Chance from 0 to just below 1 covers every length from 1 to the bound."""
        found = {new_session(Start("a", 5), SEED, i / 100, 20).count for i in range(100)}
        self.assertEqual(found, {1, 2, 3, 4, 5})

    def test_where_to_resume(self) -> None:
        """At `next` where it is given, else after the last acknowledged number."""
        session = evolve(SESSION, acknowledged=3)
        self.assertEqual(resume_at(Start("ana"), session), 3)
        for index in range(9):
            self.assertEqual(resume_at(Start("ana", next=index), session), index)
        self.assertEqual(resume_at(Start("ana", next=0), None), 0)
        self.assertEqual(resume_at(Start("ana"), None), 0)

    def test_refusals(self) -> None:
        """Past the end is out-of-range, into a session that is not there is expired."""
        for start, session, code in (
            (Start("ana", next=9), SESSION, "out-of-range"),
            (Start("ana", next=1), None, "expired"),
        ):
            with self.assertRaises(PeerFault) as caught:
                resume_at(start, session)
            self.assertEqual(caught.exception.code, code)

    def test_diverged(self) -> None:
        """A checksum that is not the server's is refused; one without `next` is not looked at."""
        check_agreement(Start("ana", next=3, checksum=7), 7)
        check_agreement(Start("ana", checksum=8), 7)
        with self.assertRaises(PeerFault) as caught:
            check_agreement(Start("ana", next=3, checksum=8), 7)
        self.assertEqual(caught.exception.code, "diverged")


class StreamTests(SynchronousTestCase):
    """When each number is due."""

    def test_pace_without_drift(self) -> None:
        """A number that is sent late does not push back those after it."""
        s = stream(window=100)
        self.assertEqual(indexes(s.due(0.0)), [0])
        self.assertEqual(s.wake_at(), 1.0)
        self.assertEqual(indexes(s.due(1.7)), [1])
        self.assertEqual(s.wake_at(), 2.0)
        self.assertEqual(indexes(s.due(1.99)), [])
        self.assertEqual(indexes(s.due(4.5)), [2, 3, 4])
        self.assertEqual(s.wake_at(), 5.0)

    def test_end_follows_the_last_number(self) -> None:
        """The end comes with the last number, once, and carries count and checksum."""
        s = stream(window=100)
        messages = s.due(100.0)
        self.assertEqual(indexes(messages), [*range(8), "end"])
        self.assertEqual(messages[-1], End(8, 0xCBBC0855))
        self.assertEqual([m.value for m in messages if isinstance(m, Number)], FIRST_EIGHT)
        self.assertIsNone(s.wake_at())
        self.assertEqual(s.due(200.0), [])

    def test_resuming_at_each_index(self) -> None:
        """From any index on the rest comes, first at once, and the same end."""
        for index in range(9):
            s = stream(index=index, window=100)
            self.assertEqual(indexes(s.due(0.0))[:1], [index] if index < 8 else ["end"])
            s.due(100.0)
            self.assertEqual(s.checksum, 0xCBBC0855)

    def test_the_window_waits(self) -> None:
        """With `window` numbers unacknowledged nothing is sent; an acknowledgement makes room."""
        s = stream(window=2)
        self.assertEqual(indexes(s.due(5.0)), [0, 1])
        self.assertEqual(s.wake_at(), 15.0)
        self.assertTrue(s.acknowledge(0, 6.0))
        self.assertEqual(indexes(s.due(6.0)), [2])
        self.assertTrue(s.acknowledge(2, 6.0))
        self.assertEqual(indexes(s.due(6.0)), [3, 4])

    def test_ack_timeout(self) -> None:
        """Without an acknowledgement for `ack_timeout` since one was due, the stream is refused."""
        s = stream(interval=3.0)
        s.due(0.0)
        s.acknowledge(0, 1.0)
        s.due(3.0)  # number 1: from now on an acknowledgement is due
        s.due(12.0)
        self.assertEqual(indexes(s.due(12.99)), [])
        with self.assertRaises(PeerFault) as caught:
            s.due(13.0)
        self.assertEqual(caught.exception.code, "ack-timeout")

    def test_a_slow_pace_is_no_timeout(self) -> None:
        """Where everything has been acknowledged, no acknowledgement is due."""
        s = stream(interval=60.0)
        s.due(0.0)
        s.acknowledge(0, 1.0)
        self.assertEqual(s.wake_at(), 60.0)
        self.assertEqual(indexes(s.due(60.0)), [1])
        self.assertEqual(s.wake_at(), 70.0)

    def test_acknowledging(self) -> None:
        """An old acknowledgement is nothing new; one of a number not sent is out-of-range."""
        s = stream()
        s.due(3.0)
        self.assertTrue(s.acknowledge(2, 3.0))
        self.assertFalse(s.acknowledge(2, 3.0))
        self.assertFalse(s.acknowledge(0, 3.0))
        with self.assertRaises(PeerFault) as caught:
            s.acknowledge(4, 3.0)
        self.assertEqual(caught.exception.code, "out-of-range")

    @given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 8)), max_size=30), st.integers(1, 8))
    def test_any_course(self, steps: list[tuple[float, int]], window: int) -> None:
        """Whatever the times and acknowledgements, numbers come in order, in time and within the window."""
        s = stream(window=window, ack_timeout=1e9)
        now, sent = 0.0, 0
        for wait, acknowledged in steps:
            now += wait
            for message in s.due(now):
                if isinstance(message, Number):
                    self.assertEqual(message.index, sent)
                    self.assertLessEqual(sent * 1.0, now)
                    sent += 1
            self.assertLessEqual(sent - s.acknowledged, window)
            if acknowledged < sent:
                s.acknowledge(acknowledged, now)
        self.assertEqual(s.checksum, checksum(SEED, sent))


class ProgressTests(SynchronousTestCase):
    """What a client carries along."""

    def test_the_contracts_stream(self) -> None:
        """All eight numbers, in pieces, give the contract's sum and checksum."""
        progress = Progress()
        for i, v in enumerate(FIRST_EIGHT):
            progress = progress.take([Number(i, v)])
        self.assertEqual(progress, Progress(8, 350757, 0xCBBC0855))
        progress.verify(End(8, 0xCBBC0855))

    def test_what_cannot_be_right(self) -> None:
        """A number out of turn, a wrong count and a wrong checksum are faults."""
        progress = Progress(8, 350757, 0xCBBC0855)
        for wrong in (7, 9):
            with self.assertRaises(PeerFault):
                progress.take([Number(wrong, 1)])
        for end in (End(9, 0xCBBC0855), End(8, 1)):
            with self.assertRaises(PeerFault) as caught:
                progress.verify(end)
            self.assertEqual(caught.exception.code, "diverged")
