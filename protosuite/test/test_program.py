"""What the client programs share."""

from __future__ import annotations

from argparse import Namespace

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.cli import _text_line
from protosuite.program import shown
from protosuite.reaching import ABSENCE, Absence

LINE = "p: h:1 cannot be reached so far"


class AbsenceTests(SynchronousTestCase):
    """A server that is not there is told of once, to somebody who would see nothing otherwise."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.is_there = False
        self.lines: list[str] = []
        arguments = Namespace(host="h", port=1, timeout=30.0)
        self.absence = Absence(self.clock, "p", arguments, lambda: self.is_there, self.lines.append)

    def wait(self) -> None:
        self.clock.advance(ABSENCE)

    def test_once(self) -> None:
        """However often it is tried, there is one line, after a while, with the latest reason."""
        for attempt in range(8):
            self.absence.status(f"cannot connect ({attempt}); trying again in 1 s", is_shown=False)
            self.assertEqual(self.lines, [])
            self.clock.advance(ABSENCE / 8)
        self.assertEqual(self.lines, [f"{LINE}: cannot connect (7); still trying"])
        self.absence.status("connection lost; trying again in 1 s", is_shown=False)
        self.wait()
        self.assertEqual(len(self.lines), 1)

    def test_silence(self) -> None:
        """A server that takes the connection and says nothing is absent too."""
        self.wait()
        self.assertEqual(self.lines, [f"{LINE}; still trying"])

    def test_later(self) -> None:
        """A server that is lost later, and stays away, is told of; one that comes back in time is not."""
        self.is_there = True
        self.wait()
        for is_there in (True, False):
            self.is_there = False
            self.absence.status("connection lost; trying again in 1 s", is_shown=False)
            self.is_there = is_there
            self.wait()
        self.assertEqual(self.lines, [f"{LINE}: connection lost; still trying"])

    def test_nobody_needs_it(self) -> None:
        """Nothing is said to somebody who reads of each attempt, and nothing when the program ends."""
        self.absence.status("cannot connect; trying again in 1 s", is_shown=True)
        self.wait()
        over = Absence(self.clock, "p", Namespace(host="h", port=1), lambda: False, self.lines.append)
        over.over()
        self.wait()
        self.assertEqual(self.lines, [])

    def test_late(self) -> None:
        """Who has waited long enough is told why, as long as that still holds."""
        self.absence.status("cannot connect (refused); trying again in 1 s", is_shown=True)
        said = "no answer from h:1 within 30 s"
        self.assertEqual(str(self.absence.late()), f"{said} (cannot connect (refused))")
        self.is_there = True
        self.assertEqual(str(self.absence.late()), said)


class ShownTests(SynchronousTestCase):
    """What others say, on a terminal."""

    def test_unsafe(self) -> None:
        """What moves the cursor, ends a line or turns the direction of text is seen, and does nothing."""
        for unsafe in "\x00\x1b\n\r\x7f\x9b\u2028\u200f\u202e\u2066\ud800":
            self.assertEqual(shown(f"a{unsafe}b"), "a\ufffdb")
        self.assertEqual(shown("a\tü\u00a0漢"), "a\tü\u00a0漢")

    def test_events(self) -> None:
        """R29: an event that would do such a thing is printed in hexadecimal."""
        event = pb.Event(topic="a", sequence=1, payload="\u202ex".encode())
        self.assertEqual(_text_line(event), "a 1 e280ae78")
