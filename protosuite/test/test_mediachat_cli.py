"""``protosuite-mediachat`` without a process: its command line, its lines, and what it reads over HTTP."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone

from protosuite.auth.tokens import Identity
from protosuite.errors import PeerFault, ServerRefused
from protosuite.mediachat.cli import parse
from protosuite.mediachat.commands import Bar, Listening, Reading, Run, guess_kind
from protosuite.mediachat.history import History
from protosuite.mediachat.lines import clock, size, text_lines
from protosuite.mediachat.receiving import Received
from protosuite.mediachat.wire import Status
from protosuite.program import shown
from protosuite.reaching import TOKEN_VARIABLE
from protosuite.test.bearers import KEYS

NOON = 1_700_000_000_000  # 22:13 UTC


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
            ([], "COMMAND"),
            (["say"], "TEXT"),
            (["say", ""], "not text of 1 to 16384"),
            (["say", "x" * 16_385], "not text of 1 to 16384"),
            (["say", "\x1b"], "without control characters"),
            (["send"], "FILE"),
            (["send", "x", "--kind", "novel"], "invalid choice"),
            (["--client", "0", "listen"], "whole number from 1"),
            (["--client", "x", "listen"], "whole number from 1"),
            (["--timezone", "Mars/Olympus", "listen"], "is no time zone"),
            (["--timezone", "../../etc/passwd", "listen"], "is no time zone"),
            (["--timezone", "", "listen"], "is no time zone"),
            (["--timezone", "/etc/localtime", "listen"], "is no time zone"),
            (["--timeout", "0", "listen"], "number of seconds"),
            (["--save", "x", "history"], "--save and --state are for listen"),
            (["--state", "x", "send", "y"], "--save and --state are for listen"),
            (["history", "--limit", "0"], "whole number from 1"),
            (["history", "--before", "-1"], "whole number from 1"),
        ]:
            self.assertIn(why, self.refused(*argv), argv)

    def test_kinds(self) -> None:
        """What a file is follows from its name."""
        for name, kind in {
            "a.jpg": "image",
            "a.PNG": "image",
            "a.mp3": "voice",
            "a.mp4": "video",
            "a.pdf": "file",
            "a": "file",
            "a.jpg.gz": "image",
            "": "file",
        }.items():
            self.assertEqual(guess_kind(Path(name)), kind, name)


class LineTests(SynchronousTestCase):
    """Messages as lines."""

    def test_no_line_moves_the_cursor(self) -> None:
        """What somebody else says cannot write elsewhere on the terminal, nor look like another message."""
        bad = "\x1b[2Jx\r\x9b\x7f\u2028\u202eevil\u200f\ud800\x00"
        text = text_lines(f"12 \n{bad}", f"one{bad}\ntwo{bad}")
        text.encode()
        self.assertEqual(text.count("\n"), 1)
        for character in "\x1b\r\x9b\x7f\u2028\u202e\u200f\x00":
            self.assertNotIn(character, text)
        self.assertEqual(shown("plain · ünï ✓ 👩‍💻"), "plain · ünï ✓ 👩‍💻")

    def test_times(self) -> None:
        """A time is by the clock of the zone; one that no calendar has is not a reason to fail."""
        self.assertEqual(clock(NOON, ZoneInfo("Asia/Tokyo")), "2023-11-15 07:13")
        self.assertEqual(clock(2**53, None), "????-??-?? ??:??")

    def test_sizes(self) -> None:
        """Bytes for a person."""
        found = [size(n) for n in (0, 1023, 1024, 1 << 20, 3 << 30, 1 << 50)]
        self.assertEqual(found, ["0 bytes", "1023 bytes", "1.0 KiB", "1.0 MiB", "3.0 GiB", "1048576.0 GiB"])


class OutputTests(SynchronousTestCase):
    """What is printed where."""

    def setUp(self) -> None:
        self.output, self.errors = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.output)
        self.patch(sys, "stderr", self.errors)

    def printed(self, status: Status, *argv: str) -> tuple[bool, str, str]:
        """What becomes of a status of an image."""
        run = Run(parse(["--timezone", "Asia/Tokyo", *argv, "send", "x"]))
        is_saved = run.outcome(status, "image", "a\x1bb.png")
        return is_saved, self.output.getvalue(), self.errors.getvalue()

    def test_saved(self) -> None:
        """What was saved is printed with its id."""
        self.assertEqual(self.printed(Status("saved", 5)), (True, "saved 5 a\ufffdb.png\n", ""))

    def test_json(self) -> None:
        """With --json it is an object, and a discard is said on standard error as well."""
        is_saved, output, errors = self.printed(Status("discarded", 5, next_open_at=NOON), "--json")
        self.assertEqual(
            json.loads(output),
            {"status": "discarded", "message": 5, "name": "a\x1bb.png", "next_open_at": NOON},
        )
        self.assertEqual((is_saved, errors.count("\n")), (False, 1))

    def test_discarded(self) -> None:
        """What was discarded is said with the next opening by the clock of the zone."""
        _, output, errors = self.printed(Status("discarded", 5, next_open_at=NOON))
        self.assertEqual(output, "")
        self.assertEqual(
            errors,
            "protosuite-mediachat: a\ufffdb.png: discarded, for this is no hour for images; "
            "it is taken again from 2023-11-15 07:13 JST\n",
        )
        self.assertIn("it is never taken", self.printed(Status("discarded", 5))[2])

    def test_received(self) -> None:
        """What the desk says is a line, with the file where media are."""
        run = Listening(parse(["--timezone", "Asia/Tokyo", "listen"]))
        text = Received(1, "text", NOON, text="one\ntwo")
        self.assertEqual(run.line(text), "07:13: one\n    two")
        image = Received(2, "image", NOON, name="x\n\x1b", size=5, sha256="a", url="/media/2")
        self.assertEqual(run.line(image), "07:13: image x\ufffd\ufffd (5 bytes) at /media/2")
        self.assertEqual(
            json.loads(run.json_line(Received(2, "image", NOON, name="x", path=Path("a/x")))),
            {"id": 2, "kind": "image", "at": NOON, "name": "x", "path": "a/x"},
        )

    def test_history(self) -> None:
        """Both sides' messages are lines; what was discarded is said so."""
        run = Reading(parse(["--timezone", "Asia/Tokyo", "history"]))
        message: dict[str, Any] = {
            "id": 1,
            "from": "client",
            "kind": "text",
            "status": "discarded",
            "at": NOON,
        }
        self.assertEqual(run.line(message), "1 2023-11-15 07:13 client: [text discarded]")
        message |= {"status": "saved", "kind": "file", "name": "x\x1b", "size": "many", "url": "/media/1"}
        self.assertEqual(run.line(message), "1 2023-11-15 07:13 client: file x\ufffd (0 bytes) at /media/1")

    def test_no_bar_in_a_pipe(self) -> None:
        """Where standard error is no terminal there is no bar."""
        bar = Bar("x")
        for done in (0, 5, 3, 10):
            bar.show(done, 10)
        bar.close()
        self.assertEqual(self.errors.getvalue(), "")


class Response:
    """An answer of a server."""

    def __init__(self, code: int, body: bytes) -> None:
        self.code = code
        self._body = body

    def deliverBody(self, protocol: Any) -> None:
        """At once, whole."""
        protocol.makeConnection(self)
        protocol.dataReceived(self._body)
        protocol.connectionLost(Failure(ResponseDone()))

    def abortConnection(self) -> None:
        """There is none."""


class Server:
    """As an Agent: answers with pages of `count` messages, or with what it was told to."""

    def __init__(self, count: int = 0) -> None:
        self.messages = [
            {"id": n, "from": "desk", "kind": "text", "status": "saved", "at": 5} for n in range(1, count + 1)
        ]
        self.asked: list[dict[str, str]] = []
        self.answers: dict[str, tuple[int, bytes]] = {}

    def request(self, method: bytes, url: bytes, headers: Any) -> Deferred[Any]:
        """Answer."""
        parts = urlsplit(url.decode())
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.asked.append(query)
        if parts.path in self.answers:
            return succeed(Response(*self.answers[parts.path]))
        if parts.path == "/chats":
            items: Sequence[dict[str, Any]] = [{"id": 3}] if self.messages else []
        else:
            below = [m for m in self.messages if int(str(m["id"])) < int(query["before"])]
            items = below[-int(query["limit"]) :]
        return succeed(Response(200, json.dumps({"items": items}).encode()))


class WhoTests(SynchronousTestCase):
    """Who one is, where the command line does not say it."""

    def test_client_of_the_token(self) -> None:
        """The client is the token's subject, if that can be one, and 1 without; the option says otherwise."""
        for subject, client in (("7", 7), ("ana", 1), ("07", 1), ("9007199254740992", 1), ("７", 1)):
            self.patch(os, "environ", {TOKEN_VARIABLE: KEYS.sign(Identity("t", "client", subject, 5), 1)})
            self.assertEqual(parse(["say", "x"]).client, client)
            self.assertEqual(parse(["--client", "9", "say", "x"]).client, 9)
        for token in ("", "x", "a.b.c", "..", "a.W10.c", "a.eyJzdWIiOjd9.c", "\udc80.é.x"):
            self.patch(os, "environ", {TOKEN_VARIABLE: token})
            self.assertEqual(parse(["say", "x"]).client, 1)


class HistoryTests(SynchronousTestCase):
    """What was said, read over HTTP."""

    def read(self, server: Server, limit: int, before: int | None = None) -> Deferred[Any]:
        """What is read."""
        agent: Any = server
        history = History(agent, "http://x", 7, lambda: None)
        return Deferred.fromCoroutine(history.read(limit, before))

    def ids(self, count: int, limit: int, before: int | None = None) -> list[int]:
        """The ids of what is read from a server with `count` messages."""
        return [message["id"] for message in self.successResultOf(self.read(Server(count), limit, before))]

    def test_pages(self) -> None:
        """Whatever the number of messages is, the last of them come, in order, each once."""
        for count in (0, 1, 99, 100, 101, 250):
            for limit in (1, 99, 100, 101, 200, 1000):
                expected = list(range(1, count + 1))[-limit:]
                self.assertEqual(self.ids(count, limit), expected, (count, limit))
        self.assertEqual(self.ids(250, 120, 200), list(range(80, 200)))

    def test_whose(self) -> None:
        """It asks for the chat of the client."""
        server = Server(1)
        self.successResultOf(self.read(server, 5))
        self.assertEqual(server.asked[0]["client_id"], "7")
        self.assertEqual(server.asked[1]["chat_id"], "3")

    def test_refused(self) -> None:
        """What the server refuses is said in its words."""
        server = Server(1)
        server.answers["/messages"] = (404, b'{"detail": "there is no chat 3"}')
        self.assertIn("no chat 3", str(self.failureResultOf(self.read(server, 5), ServerRefused).value))
        server.answers["/messages"] = (502, b"<html>")
        self.failureResultOf(self.read(server, 5), ServerRefused)

    def test_nonsense(self) -> None:
        """An answer that makes no sense is named, and never read for ever."""
        whole = {"id": 5, "from": "desk", "kind": "text", "status": "saved", "at": 5}
        bad: list[tuple[str, bytes]] = [
            ("/chats", b""),
            ("/chats", b"[]"),
            ("/chats", b'{"items": 5}'),
            ("/chats", b'{"items": [5]}'),
            ("/chats", b'{"items": [{"id": "x"}]}'),
            ("/messages", b'{"items": [{"id": 5}]}'),
            ("/messages", b"[" * 100_000),
            ("/messages", json.dumps({"items": [whole] * 100}).encode()),
        ]
        for path, body in bad:
            server = Server(1)
            server.answers[path] = (200, body)
            self.failureResultOf(self.read(server, 500), PeerFault)
        server.answers[path] = (200, b" " * (17 << 20))
        self.assertIn("no end", str(self.failureResultOf(self.read(server, 500), PeerFault).value))
