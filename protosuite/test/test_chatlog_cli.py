"""``protosuite-chatlog`` without a process: its command line, lines, pages, and what is on the screen."""

from __future__ import annotations

import errno
import gc
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import attrs
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.utils import get_cwidth
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from protosuite.auth.tokens import Identity
from protosuite.chatlog.chain import Append, Head, entry_of, extend
from protosuite.chatlog.cli import WholeFile, parse
from protosuite.chatlog.lines import Line, LineSplitter, json_line, text_lines
from protosuite.chatlog.pane import Pane, entry_rows, wrap
from protosuite.chatlog.piping import Printer, is_null
from protosuite.chatlog.reading import Broken, Checking, Report
from protosuite.chatlog.view import Change, View
from protosuite.chatlog.wire import MAX_CONTENT, ClientAppend, Entry, ServerReply
from protosuite.program import shown
from protosuite.reaching import TOKEN_VARIABLE
from protosuite.test.bearers import KEYS

EPOCH = "e" * 32
NOON = 1_700_000_000_000


def log(*contents: str, author: str = "ana", step: int = 1) -> list[Entry]:
    """A log of these contents, one `step` milliseconds after the other."""
    head = Head(0, EPOCH)
    entries: list[Entry] = []
    for n, content in enumerate(contents):
        append = Append("main", "s", ClientAppend(n, author, content, f"key {n}"))
        entry = entry_of(extend(head, append, NOON + n * step)[0])
        entries.append(entry)
        head = Head(entry.slot, entry.hash)
    return entries


def numbered(count: int) -> list[Entry]:
    """A log of so many entries."""
    return log(*[f"entry {n}" for n in range(1, count + 1)])


class CommandLineTests(SynchronousTestCase):
    """What is asked for makes sense, or is refused with exit code 2 and the reason."""

    def refused(self, *argv: str) -> str:
        """What is said about a command line."""
        errors = io.StringIO()
        self.patch(sys, "stderr", errors)
        error = self.assertRaises(SystemExit, parse, argv)
        self.assertEqual(error.code, 2)
        return errors.getvalue().splitlines()[-1]

    def test_refused(self) -> None:
        """What cannot be, or has no meaning together, is named."""
        for argv, why in [
            ([], "the following arguments are required: ROOM"),
            (["a/b"], "argument ROOM: 'a/b' is not 1 to 64"),
            (["x" * 65], "is not 1 to 64"),
            (["main", "--author", ""], "argument --author: '' is not text of 1 to 64"),
            (["main", "--author", "a\x1bb"], "is not text of 1 to 64 characters, without control"),
            (["main", "--last", "-1"], "is not a whole number from 0"),
            (["main", "--port", "0"], "is not a whole number from 1 to 65535"),
            (["main", "--timeout", "0"], "is not a number of seconds"),
            (["main", "--send", "--follow"], "not allowed with argument"),
            (["main", "--verify", "--export"], "not allowed with argument"),
            (["main", "--from", "3"], "--from and --to are for --verify and --export"),
            (["main", "--verify", "--from", "0"], "is not a whole number from 1"),
            (["main", "--verify", "--from", "3", "--to", "2"], "--from is above --to"),
            (["main", "--verify", "--output", "f"], "--output is for --export"),
            (["main", "--verify", "--last", "0"], "--last and --author are not for"),
            (["main", "--export", "--author", "ana"], "--last and --author are not for"),
        ]:
            self.assertIn(why, self.refused(*argv), argv)

    def test_author_of_the_token(self) -> None:
        """With a token entries are its subject's, unless the command line says otherwise."""
        token = KEYS.sign(Identity("t", "client", "Ana B", 5), 1)
        self.patch(os, "environ", {**os.environ, "LOGNAME": "lena", TOKEN_VARIABLE: token})
        self.assertEqual(parse(["main"]).author, "Ana B")
        self.assertEqual(parse(["main", "--author", "ben"]).author, "ben")
        self.assertIn("cannot read the token in", self.refused("main", "--token-file", "/nowhere"))
        os.environ[TOKEN_VARIABLE] = "nonsense"
        self.assertEqual(parse(["main"]).author, "lena")

    def test_author_is_the_login(self) -> None:
        """By default entries are the person's. For a login that no author may have, one is asked for."""
        for variable in ("LOGNAME", "USER"):
            self.patch(os, "environ", {**os.environ, variable: "lena"})
        self.assertEqual(parse(["main"]).author, "lena")
        self.patch(os, "environ", {**os.environ, "LOGNAME": "l" * 65})
        self.assertIn("give an --author", self.refused("main"))

    def test_nothing_to_read(self) -> None:
        """The null device and a closed descriptor hold no lines to wait for; a file and a pipe may."""
        with open(os.devnull, "rb") as null, open(__file__, "rb") as file:
            self.assertTrue(is_null(null.fileno()))
            self.assertFalse(is_null(file.fileno()))
            closed = os.dup(file.fileno())
        os.close(closed)
        self.assertTrue(is_null(closed))


class LineTests(SynchronousTestCase):
    """Entries as lines."""

    def setUp(self) -> None:
        self.clock = text_lines(*log("x")).split()[0]  # in whatever zone this runs

    def test_text(self) -> None:
        """One entry begins with time and author, and the lines of a longer one are indented."""
        self.assertRegex(self.clock, r"^\d\d:\d\d$")
        self.assertEqual(text_lines(*log("hello")), f"{self.clock} ana: hello")
        self.assertEqual(text_lines(*log("a\n\tb\n")), f"{self.clock} ana: a\n      \tb\n      ")

    def test_no_line_moves_the_cursor(self) -> None:
        """What a server sends cannot write elsewhere on the terminal, nor look like another entry."""
        [entry] = log("x")
        bad = "\x1b[2Jx\r\x9b\x7f\u2028\u202eevil\ud800\x00"
        entry = attrs.evolve(entry, author=f"a\n12:00 b{bad}", content=f"one{bad}\ntwo{bad}")
        text = text_lines(entry)
        self.assertEqual(text.count("\n"), 1)
        text.encode()
        for character in "\x1b\r\x9b\x7f\u2028\u202e\x00":
            self.assertNotIn(character, text)
            self.assertNotIn(character, json_line(entry))
        self.assertEqual(shown("plain · ünï ✓ 👩‍💻"), "plain · ünï ✓ 👩‍💻")

    def test_a_time_that_no_calendar_has(self) -> None:
        """A time from the far future is not a reason to fail."""
        [entry] = log("x")
        self.assertEqual(text_lines(attrs.evolve(entry, at=2**53 - 1)), "??:?? ana: x")

    def test_json(self) -> None:
        """The fields of the wire, on one line; no key where there is none."""
        [entry] = log("a\nb ü")
        line = json_line(entry)
        self.assertTrue(line.isascii())
        self.assertNotIn("\n", line)
        self.assertEqual(Entry(**json.loads(line)), entry)
        self.assertNotIn("key", json.loads(json_line(attrs.evolve(entry, key=None))))


def split(*pieces: bytes) -> list[Line]:
    """The lines of an input that comes in pieces."""
    splitter = LineSplitter()
    return [line for piece in pieces for line in splitter.feed(piece)] + list(splitter.finish())


class SplitterTests(SynchronousTestCase):
    """Lines of input."""

    def test_lines(self) -> None:
        """They are numbered with the empty ones, which are left out; the last needs no end."""
        self.assertEqual(
            split(b"a\n\n\r\nb\r\n c \nd"), [Line(1, "a"), Line(4, "b"), Line(5, " c "), Line(6, "d")]
        )
        self.assertEqual(split(b""), [])
        self.assertEqual(split(b"\n\n"), [])

    def test_what_no_entry_can_hold(self) -> None:
        """A line that is too long, not UTF-8 or has control characters is named; others are not touched."""
        image = (
            b"ok\n\xff\na\x1bb\n" + b"x" * (MAX_CONTENT + 1) + b"\nok\n" + b"y" * 10 * MAX_CONTENT + b"\nend"
        )
        found = split(image)
        self.assertEqual([line.number for line in found], [1, 2, 3, 4, 5, 6, 7])
        self.assertEqual([line.text for line in found if line.problem is None], ["ok", "ok", "end"])
        self.assertEqual(found[1].problem, "not UTF-8")
        self.assertIn("without control characters", str(found[2].problem))
        self.assertIn("1 to 16384 characters", str(found[3].problem))
        self.assertIn("1 to 16384 characters", str(found[5].problem))

    def test_the_longest(self) -> None:
        """A line of the most characters is one, also when each of them takes four bytes."""
        text = "\U0001f600" * MAX_CONTENT
        self.assertEqual(split(text.encode() + b"\r\n"), [Line(1, text)])

    def test_a_line_without_end_is_not_kept(self) -> None:
        """However long a line is, what is kept of it is bounded."""
        splitter = LineSplitter()
        for _ in range(1000):
            self.assertEqual(list(splitter.feed(b"x" * 65536)), [])
            self.assertLess(len(splitter._rest), 4 * 65536)
        [line] = splitter.finish()
        self.assertIsNotNone(line.problem)

    @given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4))
    def test_cuts_do_not_matter(self, image: bytes, cuts: list[int]) -> None:
        """Whole or in any pieces, the lines are the same."""
        ends = [0, *sorted(cuts), len(image)]
        pieces = [image[a:b] for a, b in pairwise(ends)]
        self.assertEqual(split(*pieces), split(image))


class PrinterTests(SynchronousTestCase):
    """Entries are printed once each."""

    def setUp(self) -> None:
        self.output = io.StringIO()
        self.patch(sys, "stdout", self.output)
        self.said: list[str] = []
        self.printer = Printer(lambda entry: str(entry.slot), self.said.append)
        self.log = numbered(9)

    def test_what_was_there_is_not_new(self) -> None:
        """Nothing is printed before it begins, and nothing twice after."""
        self.printer.take(Change(new=self.log[:5]))
        self.printer.begin(self.log[3:5], 5)
        self.printer.take(Change(new=self.log[4:7]))
        self.printer.take(Change(older=self.log[:3]))
        self.assertEqual(self.output.getvalue().split(), ["4", "5", "6", "7"])

    def test_reached(self) -> None:
        """Who waits for a slot hears of it when it has been printed."""
        self.printer.begin([], 5)
        self.successResultOf(self.printer.reached(5))
        reached = self.printer.reached(7)
        self.printer.take(Change(new=self.log[5:6]))
        self.assertNoResult(reached)
        self.printer.take(Change(new=self.log[6:8]))
        self.successResultOf(reached)

    def test_another_log(self) -> None:
        """When the room is another one that is said, and its slots are printed from the first."""
        self.printer.begin([], 5)
        self.printer.take(Change(new=self.log[:2], is_reset=True))
        self.printer.take(Change(new=[], problems=["slot 2 is\x1b odd"]))
        self.assertEqual(self.output.getvalue().split(), ["1", "2"])
        self.assertIn("another one", self.said[0])
        self.assertEqual(self.said[1], "slot 2 is\ufffd odd")


class Server:
    """Answers as one does: with the newest of what was asked for, at most `most`."""

    def __init__(self, entries: Sequence[Entry], most: int = 1000) -> None:
        self.entries = {entry.slot: entry for entry in entries}
        self.latest = max(self.entries, default=0)
        self.most = most
        self.first = 1
        self.epoch = EPOCH
        self.asked: list[tuple[int, int]] = []
        self.held: list[Callable[[], None]] | None = None

    def read(self, n: int, upto: int) -> Deferred[ServerReply]:
        """As the client's."""
        self.asked.append((n, upto))
        if self.held is None:
            return succeed(self.reply(n, upto))
        reply: Deferred[ServerReply] = Deferred()
        self.held.append(lambda: reply.callback(self.reply(n, upto)))
        return reply

    def reply(self, n: int, upto: int) -> ServerReply:
        """The answer now."""
        high = min(upto, self.latest)
        low = max(self.first, high - min(n, self.most) + 1)
        found = tuple(self.entries[slot] for slot in range(low, high + 1) if slot in self.entries)
        return ServerReply(found, self.latest, self.first, self.epoch, "s")


class CheckingTests(SynchronousTestCase):
    """A log is read whole, in order, and its first problem is found."""

    def setUp(self) -> None:
        self.log = numbered(1200)

    def check(self, server: Server, low: int = 1, high: int | None = None) -> tuple[list[int], Report]:
        """The slots that were right, and what was found."""
        report = Report(EPOCH, server.first, low, server.latest if high is None else high)
        checking = Checking(server.read, report)
        right: list[int] = []

        async def run() -> str | None:
            try:
                while entries := await checking.next():
                    right.extend(entry.slot for entry in entries)
            except Broken as broken:
                return str(broken)
            return None

        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(run())), report.problem)
        return right, report

    def test_right(self) -> None:
        """All is read and every hash is checked, whatever fits into a reply."""
        for most in (1000, 500, 499, 7, 1):
            right, report = self.check(Server(self.log, most))
            self.assertEqual(right, list(range(1, 1201)), most)
            self.assertEqual((report.entries, report.hashes, report.last), (1200, 1200, 1200))

    def test_part(self) -> None:
        """From a slot on, the hash of the first is checked too: with the slot before, where it is held."""
        right, report = self.check(Server(self.log), 600, 700)
        self.assertEqual((right, report.hashes), (list(range(600, 701)), 101))
        server = Server(self.log)
        server.first = 600
        right, report = self.check(server, 600)
        self.assertEqual((right, report.hashes), (list(range(600, 1201)), 600))
        right, report = self.check(Server(self.log, 1), 600, 600)
        self.assertEqual((right, report.hashes), ([600], 1))

    def test_empty(self) -> None:
        """In an empty room there is nothing to read."""
        server = Server([])
        self.assertEqual(self.check(server)[0], [])
        self.assertEqual(server.asked, [])

    def test_damage(self) -> None:
        """The first entry that is not what it was is named, and all before it is handed on."""
        for slot in (1, 57, 500, 501, 1200):
            for most in (1000, 3):
                server = Server(self.log, most)
                server.entries[slot] = attrs.evolve(self.log[slot - 1], content="forged")
                right, report = self.check(server)
                self.assertEqual(right, list(range(1, slot)))
                self.assertIn(f"the hash of slot {slot} ", str(report.problem))

    def test_missing(self) -> None:
        """A slot that is not there is named, be it one, many or the last."""
        for slots in (range(1, 2), range(57, 58), range(40, 900), range(1, 1201), range(1200, 1201)):
            for most in (1000, 7):
                server = Server(self.log, most)
                for slot in slots:
                    del server.entries[slot]
                right, report = self.check(server)
                self.assertEqual(right, list(range(1, slots[0])), (slots, most))
                self.assertRegex(
                    str(report.problem),
                    rf"slot {slots[0]} is missing|slot {slots[-1] + 1} comes after slot {slots[0] - 1}",
                )

    def test_another_room(self) -> None:
        """A room that is made anew meanwhile cannot be read on."""
        server = Server(self.log)
        server.held = []
        checking = Checking(server.read, Report(EPOCH, 1, 1, 1200))
        reading = Deferred.fromCoroutine(checking.next())
        server.epoch = "f" * 32
        server.held[0]()
        self.failureResultOf(reading, Broken)

    def test_deleted_meanwhile(self) -> None:
        """What is deleted while it is read is passed over, and what is left is checked."""
        server = Server(self.log)
        server.held = []
        checking = Checking(server.read, Report(EPOCH, 1, 1, 1200))
        reading = Deferred.fromCoroutine(checking.next())
        server.held.pop(0)()
        self.assertEqual(len(self.successResultOf(reading)), 500)
        server.first, server.held = 1100, None
        server.asked.clear()

        async def rest() -> list[Entry]:
            return [entry for _ in range(2) for entry in await checking.next()]

        # What had been asked for before the deletion is answered after it, out of what is left.
        checking._pages.forget()
        entries = self.successResultOf(Deferred.fromCoroutine(rest()))
        self.assertEqual([entry.slot for entry in entries], list(range(1100, 1201)))
        self.assertIsNone(checking.report.problem)

    def test_some_pages_are_asked_for_ahead(self) -> None:
        """The next pages are on their way while one is checked, and no more than a few."""
        server = Server(numbered(5000))
        server.held = []
        checking = Checking(server.read, Report(EPOCH, 1, 1, 5000))
        reading = Deferred.fromCoroutine(checking.next())
        self.assertEqual(server.asked, [(500, 500), (500, 1000), (500, 1500), (500, 2000)])
        server.held[0]()
        self.successResultOf(reading)
        self.assertEqual(len(server.asked), 4)
        Deferred.fromCoroutine(checking.next())
        self.assertEqual(server.asked[4:], [(500, 2500)])

    def test_a_connection_that_is_gone(self) -> None:
        """What ends the reading of a page is told once: nobody waits for the others any more."""
        asked: list[Deferred[ServerReply]] = []

        def read(n: int, upto: int) -> Deferred[ServerReply]:
            asked.append(Deferred())
            return asked[-1]

        reading = Deferred.fromCoroutine(Checking(read, Report(EPOCH, 1, 1, 5000)).next())
        for reply in asked:
            if not reply.called:
                reply.errback(ConnectionError("gone"))
        self.failureResultOf(reading, ConnectionError)
        self.assertEqual(len(asked), 4)
        del asked[:], reply
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_server_that_sends_something_else(self) -> None:
        """Entries that nobody asked for do not make it go on for ever."""
        server = Server(self.log)
        wrong = ServerReply(tuple(self.log[700:710]), 1200, 1, EPOCH, "s")
        self.patch(server, "reply", lambda n, upto: wrong)
        self.assertEqual(self.check(server)[1].problem, "slot 1 is missing")


class WrapTests(SynchronousTestCase):
    """Text is wrapped by the columns that it takes."""

    def test_words(self) -> None:
        """Lines are broken behind spaces, and in words that are longer than a line."""
        self.assertEqual(wrap("one two three", 8), ["one two ", "three"])
        self.assertEqual(wrap("one two three", 7), ["one two ", "three"])
        self.assertEqual(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"])
        self.assertEqual(wrap("a abcdefgh", 4), ["a ", "abcd", "efgh"])
        self.assertEqual(wrap("", 4), [""])
        self.assertEqual(wrap("日本語です", 4), ["日本", "語で", "す"])

    @given(st.text(alphabet="ab 日é\u0301👩", max_size=40), st.integers(2, 12))
    def test_nothing_is_lost(self, text: str, width: int) -> None:
        """The lines together are the text, and none is wider than there is room."""
        lines = wrap(text, width)
        self.assertEqual("".join(lines), text)
        for line in lines:
            self.assertLessEqual(sum(map(get_cwidth, line.rstrip(" "))), width)

    def test_entry(self) -> None:
        """The name has its style, also when it is wrapped, and what follows is indented."""
        [entry] = log("hello\n\tyou", author="ana")
        rows = entry_rows(entry, 20, "ana")
        self.assertEqual([style for style, _ in rows[0]], ["class:time", "class:own", ""])
        self.assertEqual("".join(text for _, text in rows[0])[5:], " ana: hello")
        self.assertEqual("".join(text for _, text in rows[1]), " " * 6 + " " * 4 + "you")
        self.assertEqual(entry_rows(entry, 20, "bob")[0][1], ("class:author", "ana:"))
        narrow = entry_rows(log("x", author="n" * 64)[0], 16, "")
        named = "".join(text for row in narrow for style, text in row if style == "class:author")
        self.assertEqual(named, "n" * 64 + ":")


class PaneTests(SynchronousTestCase):
    """What is on the screen."""

    def setUp(self) -> None:
        self.log = numbered(300)
        self.view = View()
        self.view.reply(ServerReply(tuple(self.log[100:200]), 200, 1, EPOCH, "s"))
        self.pane = Pane(self.view, "ana")
        self.pane.resize(40, 10)

    def shown(self) -> list[str]:
        """The screen's lines, without time and author."""
        rows = ["".join(text for _, text in row) for row in self.pane.rows()]
        self.assertEqual(len(rows), self.pane.height)
        return [row.partition("ana: ")[2] or row for row in rows]

    def entries(self, low: int, high: int) -> list[str]:
        return [f"entry {n}" for n in range(low, high + 1)]

    def test_follows(self) -> None:
        """At the end it shows what comes."""
        self.assertEqual(self.shown(), self.entries(191, 200))
        self.view.ack(self.log[200])
        self.assertEqual(self.shown(), self.entries(192, 201))
        self.assertEqual((self.pane.below, self.pane.is_at_end), (0, True))

    def test_stays(self) -> None:
        """Scrolled up, what is shown stays, and what comes is counted until it has been seen."""
        self.shown()
        self.pane.scroll(5)
        self.assertEqual(self.shown(), self.entries(186, 195))
        for entry in self.log[200:203]:
            self.view.ack(entry)
        self.assertEqual(self.shown(), self.entries(186, 195))
        self.assertEqual((self.pane.below, self.pane.is_at_end), (3, False))
        self.pane.scroll(-6)
        self.assertEqual(self.shown(), self.entries(192, 201))
        self.assertEqual(self.pane.below, 2)
        self.pane.scroll(-100)
        self.assertEqual(self.shown(), self.entries(194, 203))
        self.assertTrue(self.pane.is_at_end)

    def test_top(self) -> None:
        """It stops with the first row at the top, and older entries that come do not move it."""
        self.pane.scroll(1000)
        date, *rest = self.shown()
        self.assertRegex(date, r"\d{4}-\d\d-\d\d$")
        self.assertEqual(rest, self.entries(101, 109))
        self.assertTrue(self.pane.is_near_top)
        self.view.reply(ServerReply(tuple(self.log[:100]), 200, 1, EPOCH, "s"))
        self.assertEqual(self.shown(), self.entries(100, 109))
        self.assertFalse(self.pane.is_near_top)
        self.pane.scroll(9)
        self.assertEqual(self.shown(), self.entries(91, 100))

    def test_long_entries(self) -> None:
        """It scrolls by rows, through an entry that is longer than the screen too."""
        view = View()
        entries = log("first", "\n".join(f"row {n}" for n in range(50)), "last")
        view.reply(ServerReply(tuple(entries), 3, 1, EPOCH, "s"))
        self.pane = Pane(view, "ana")
        self.pane.resize(40, 5)
        seen = [line.strip() for line in self.shown()]
        while not seen[0].endswith("first"):
            self.pane.scroll(1)
            line = self.shown()[0].strip()
            seen.insert(0, line)
        self.assertEqual(seen, ["first", *[f"row {n}" for n in range(50)], "last"])

    def test_few(self) -> None:
        """What does not fill the screen is at its end, and there is nothing to scroll."""
        view = View()
        self.pane = Pane(view, "ana")
        self.pane.resize(40, 4)
        self.pane.scroll(3)
        self.assertEqual(self.shown(), [""] * 4)
        view.reply(ServerReply(tuple(self.log[:2]), 2, 1, EPOCH, "s"))
        self.assertEqual(self.shown()[2:], ["entry 1", "entry 2"])
        self.pane.scroll(3)
        self.assertTrue(self.pane.is_at_end)

    def test_what_is_held_no_more(self) -> None:
        """When what is shown is dropped from memory, the oldest that is held is shown."""
        self.view.keep = 100
        self.pane.scroll(1000)
        for entry in self.log[200:]:
            self.view.ack(entry)
        self.assertEqual(self.view.low, 201)
        self.assertEqual(self.shown()[1:], self.entries(201, 209))

    def test_resize(self) -> None:
        """Another width wraps anew."""
        self.pane.resize(14, 10)
        self.assertEqual([line.strip() for line in self.shown()[-2:]], ["entry", "200"])

    def test_another_log(self) -> None:
        """A room that is another one is shown from its end."""
        self.pane.scroll(20)
        change = self.view.reply(ServerReply(tuple(log("new")), 1, 1, "f" * 32, "s"))
        self.assertTrue(change.is_reset)
        self.pane.reset()
        self.assertEqual(self.shown()[-1], "new")

    def test_days(self) -> None:
        """The date comes before the first entry of each day."""
        view = View()
        entries = log("one", "two", "three", step=20 * 3_600_000)
        view.reply(ServerReply(tuple(entries), 3, 1, EPOCH, "s"))
        self.pane = Pane(view, "ana")
        self.pane.resize(40, 6)
        dates = [line for line in self.shown() if line.endswith(("-14", "-15", "-16", "-17"))]
        self.assertIn(len(dates), (2, 3))  # by the zone


class WholeFileTests(SynchronousTestCase):
    """A file is written whole or not at all."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "log.jsonl"

    def left(self) -> Iterator[str]:
        return (path.name for path in self.folder.iterdir())

    def test_whole(self) -> None:
        """It is there when all is written, and not before."""
        with WholeFile(self.path) as write:
            write("one")
            write("two\nthree")
            self.assertFalse(self.path.exists())
        self.assertEqual(self.path.read_text(), "one\ntwo\nthree\n")
        self.assertEqual(list(self.left()), ["log.jsonl"])

    def test_not_at_all(self) -> None:
        """What fails leaves what was there before, and nothing else."""
        self.path.write_text("before")

        def fail() -> None:
            with WholeFile(self.path) as write:
                write("one")
                raise Broken("a slot is missing")

        self.assertRaises(Broken, fail)
        self.assertEqual(self.path.read_text(), "before")
        self.assertEqual(list(self.left()), ["log.jsonl"])

    def test_a_link_stays_one(self) -> None:
        """The file behind a symbolic link is written, and the link stays."""
        link = self.folder / "link"
        link.symlink_to("log.jsonl")
        with WholeFile(link) as write:
            write("one")
        self.assertTrue(link.is_symlink())
        self.assertEqual(self.path.read_text(), "one\n")

    def test_what_is_no_file(self) -> None:
        """A device or a folder is not replaced by a file."""
        for path in (Path(os.devnull), self.folder):
            error = self.assertRaises(OSError, WholeFile(path).__enter__)
            self.assertEqual(error.errno, errno.EINVAL)
