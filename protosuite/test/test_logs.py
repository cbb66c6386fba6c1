"""Logging: one line an event, and a bound on what strangers cause."""

from __future__ import annotations

import io
import json
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from protosuite.logs import JSONObserver, Muffled, TextObserver, first_line, redacted


class ObserverTests(SynchronousTestCase):
    """What is written for an event."""

    def logged(self, observer_class: Any, how: str, *args: Any, **fields: Any) -> str:
        out = io.StringIO()
        getattr(Logger("protosuite.numbers", observer=observer_class(out)), how)(*args, **fields)
        return out.getvalue()

    def test_text(self) -> None:
        """Time, level, service, message."""
        line = self.logged(TextObserver, "info", "{peer} said {what}", peer="1.2.3.4:5", what="hello")
        self.assertRegex(
            line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info     numbers: 1\.2\.3\.4:5 said hello\n$"
        )

    def test_nobody_begins_a_line(self) -> None:
        """R29: an event is one line to whoever reads it; nothing in it moves a cursor or turns text."""
        what = "a\r\nforged\x1b[2J\u2028b\x85c\x0b\x0c\x1c\u202edlrow\x7f\ud800\U000e0041\N{SNOWMAN}"
        for observer in (TextObserver, JSONObserver):
            line = self.logged(observer, "info", "{what}", what=what)
            self.assertEqual((len(line.splitlines()), line[-1]), (1, "\n"))
            self.assertTrue(line[:-1].isprintable(), line)
            self.assertIn("\N{SNOWMAN}", line)
            line.encode()
        self.assertEqual(json.loads(line)["what"], what)
        text = self.logged(TextObserver, "info", "{what}", what="\n\u2028\U000e0041")
        self.assertTrue(text.endswith(r" \x0a\u{2028}\u{e0041}" + "\n"), text)

    def test_no_token(self) -> None:
        """R29: what looks like a token is left out, wherever it stands in an event, a traceback among it."""
        token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbmEifQ.c2lnbmF0dXJl-_"
        for observer in (TextObserver, JSONObserver):
            try:
                raise ValueError(f"GET /?token={token}&x=1")
            except ValueError:
                line = self.logged(observer, "failure", "{what} from a stranger", what=f"<{token}>")
            self.assertNotIn("eyJ", line)
            self.assertNotIn(token[-8:], line)
            self.assertEqual(line.count("<token>"), 2 if observer is TextObserver else 3)
            self.assertIn("from a stranger", line)
            self.assertIn("&x=1", line)
        self.assertIn("eyJ.", self.logged(TextObserver, "info", "eyJ. eyJabc eyJabcdefgh"))

    def test_no_password(self) -> None:
        """R29: the password in a URL is left out, whatever it is for."""
        for url in (
            "postgresql+psycopg://ana:s3cr%21t@db.example:5432/x",
            "postgresql+psycopg://ana@corp:/s3cr/@s3cr/?#s3cr@db.example/x",  # SQLAlchemy takes it so
            "redis://:s3cr%21t@cache/0",
        ):
            for observer in (TextObserver, JSONObserver):
                line = self.logged(observer, "error", "cannot reach {url}", url=url)
                self.assertNotIn("s3cr", line)
                self.assertIn(url.rpartition("@")[2], line)
        line = self.logged(TextObserver, "info", "at postgresql+psycopg:///x?password=s3cr%21t&host=db")
        self.assertNotIn("s3cr", line)
        self.assertIn("&host=db", line)

    def test_what_is_no_password(self) -> None:
        """A URL without a password is written as it is, and one that follows it keeps what it is."""
        for text in (
            "redis://cache:6379/0 and ana@x",
            "https://a:1/b,https://c/d",
            "s3://b/p?endpoint=http://h:9",
        ):
            self.assertEqual(redacted(text), text)
        self.assertEqual(redacted("redis://a:1,redis://:x@b"), "redis://a:1,redis://:***@b")

    def test_json(self) -> None:
        """One object a line, with the event's own fields beside its message."""
        line = self.logged(JSONObserver, "warn", "{peer} said {what}", peer="p", what="a\nb", count=3)
        self.assertEqual(line.count("\n"), 1)
        record = json.loads(line)
        self.assertEqual((record["level"], record["namespace"]), ("warn", "protosuite.numbers"))
        self.assertEqual((record["message"], record["peer"], record["count"]), ("p said a\nb", "p", 3))

    def test_failures(self) -> None:
        """A failure's traceback is there, below its line or in a field of its own."""
        try:
            raise LookupError("gone")
        except LookupError:
            failure = Failure()
        text = self.logged(TextObserver, "failure", "it failed", failure)
        first, *rest = text.splitlines()
        self.assertTrue(first.endswith("it failed"))
        self.assertTrue(all(line.startswith("    | ") for line in rest))
        self.assertIn(
            "LookupError: gone", json.loads(self.logged(JSONObserver, "failure", "x", failure))["traceback"]
        )


class LineTests(SynchronousTestCase):
    """What somebody else's error says, in one line."""

    def test_first(self) -> None:
        """Its first line, without what is around it; something also where it says nothing."""
        self.assertEqual(first_line(ValueError("\n  gone\n\tfor good\n")), "gone")
        self.assertEqual([first_line(ValueError(text)) for text in ("", "\n")], ["no reason given"] * 2)


class MuffledTests(SynchronousTestCase):
    """A bound on what strangers cause."""

    def test_bounded(self) -> None:
        """A burst is written, the rest is counted, and the count is told with the next one."""
        out, clock = io.StringIO(), Clock()
        muffled = Muffled(Logger("x", observer=TextObserver(out)), clock, burst=3, every=10)
        for i in range(1000):
            muffled.info("refused {n}", n=i)
        self.assertEqual(len(out.getvalue().splitlines()), 3)
        clock.advance(10)
        muffled.info("refused {n}", n=1000)
        muffled.info("refused {n}", n=1001)
        lines = out.getvalue().splitlines()
        self.assertTrue(lines[3].endswith("refused 1000 (997 more like this were not logged)"))
        self.assertTrue(lines[4].endswith("refused 1001"))
