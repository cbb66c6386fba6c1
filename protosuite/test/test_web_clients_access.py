"""R23, R24 for who uses the chat log and the media chat: members of a room, and the clients' own classes."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from protosuite.auth.guard import Guard
from protosuite.chatlog.client import ChatLogClientFactory, room_url
from protosuite.chatlog.server import ChatLogService
from protosuite.chatlog.store import ChatLogStore
from protosuite.chatlog.wire import Error
from protosuite.config import ChatLogConfig, MediaChatConfig
from protosuite.errors import ServerRefused
from protosuite.hours import ALWAYS
from protosuite.mediachat.client import MediaChatClientFactory, chat_url
from protosuite.mediachat.media.folder import MediaFolder
from protosuite.mediachat.server import MediaChatService
from protosuite.mediachat.store import MediaChatStore
from protosuite.storage.workers import Calls
from protosuite.test.bearers import Bearers
from protosuite.test.chatlog_peers import Client, Fixture
from protosuite.test.web_peers import Pipe, handshake
from protosuite.testing import HandWorker, Line, database

HOST = "Host: 127.0.0.1"


class RoomTests(Fixture):
    """A chat log with ``[auth]``, frame by frame."""

    def make_guard(self) -> Guard:
        self.bearers = Bearers(self, self.workers.database, self.clock)
        return self.bearers.guard

    def member(self, role: str, subject: str, **options: Any) -> Client:
        token = self.bearers.token(role, subject, **options)
        return self.join("r", f"Authorization: Bearer {token}".encode())

    def head(self, start: str, *headers: str) -> bytes:
        """The head of the answer to a request."""
        factory: Any = self.service.factory()
        pipe = Pipe(factory.buildProtocol(None))
        self.addCleanup(pipe.lose, ConnectionError())
        pipe.arrive("\r\n".join([f"{start} HTTP/1.1", HOST, *headers, "", ""]).encode())
        pipe.pump()
        return bytes(pipe.sent).partition(b"\r\n\r\n")[0]

    def test_door(self) -> None:
        """R23: without a good token neither a room nor the page opens; the files of the page are public."""
        for token in (None, *self.bearers.bad("service", "x").values()):
            headers = [] if token is None else [f"Authorization: Bearer {token}"]
            for path in ("/", "/rooms/r"):
                factory: Any = self.service.factory()
                pipe = Pipe(factory.buildProtocol(None))
                mine = [header.encode() for header in headers]
                pipe.arrive(handshake(*mine, start=f"GET {path} HTTP/1.1".encode()))
                self.assertIn(b" 401 ", bytes(pipe.sent), path)
                pipe.lose(ConnectionError())
            self.assertIn(b" 401 ", self.head("GET /", *headers))
            self.assertIn(b" 401 ", self.head("GET /rooms/r", *headers))
            self.assertIn(b" 200 ", self.head("GET /page.js", *headers))
        found = self.head("GET /?room=a", "Accept: text/html")
        self.assertIn(b" 303 ", found)
        self.assertIn(b"Location: /login?next=%2F%3Froom%3Da", found)
        for name in ("/index.html", "/assets/login.html"):
            self.assertNotIn(b"room-name", self.head(f"GET {name}"))

    def test_everybody_reads(self) -> None:
        """Every role sees the page and the entries of every room."""
        self.member("service", "x").append("hello", author="ana")
        for role in ("client", "operator", "service"):
            self.assertEqual(self.member(role, "eve").log(), ["hello"])
            token = self.bearers.token(role, "eve")
            self.assertIn(b" 200 ", self.head("GET /", "Accept: text/html", f"Authorization: Bearer {token}"))

    def test_authors(self) -> None:
        """R24: a client appends as themselves; as another it is refused, and its connection stays."""
        ana = self.member("client", "ana")
        ana.append("mine", author="ana").append("not mine", author="bob").append("mine again", author="ana")
        said = ana.heard()
        self.assertEqual(
            [each.entry.content for each in said if not isinstance(each, Error)], ["mine", "mine again"]
        )
        (error,) = [each for each in said if isinstance(each, Error)]
        self.assertEqual((error.code, error.seq), ("forbidden", 1))
        self.assertIn("only as ana", error.message)
        self.assertEqual(self.service.refusals, {"forbidden": 1})
        for role in ("operator", "service"):
            self.assertEqual(len(self.member(role, "ana").append("as bob", author="bob").slots()), 1)

    def test_revoked(self) -> None:
        """R23: whose token is revoked is told why and closed; what was accepted before is in the log."""
        ana, ben = self.member("client", "ana", id="hers"), self.member("client", "ben")
        ana.reply(), ben.reply()
        self.workers.by_hand()
        ana.append("before", author="ana")
        self.workers.by_hand(False)
        self.bearers.revoke("hers")
        self.settle()
        self.clock.advance(1)
        ana.append("after", author="ana")
        self.settle()
        said = [each for each in ana.heard() if isinstance(each, Error)]
        self.assertEqual(
            [(each.code, each.message) for each in said], [("unauthenticated", "the token has been revoked")]
        )
        self.assertEqual((ana.close_code, ben.close_code), (4401, None))
        self.assertEqual(ben.log(), ["before"])

    def test_expired(self) -> None:
        """R23: a token that runs out closes what lives on it."""
        ana = self.member("client", "ana", lifetime=10)
        self.clock.advance(14)
        self.assertEqual((ana.heard(), ana.close_code), ([], None))
        self.clock.advance(1)
        self.assertEqual(
            ([each.message for each in ana.heard()], ana.close_code), (["the token has expired"], 4401)
        )

    def test_gone_before(self) -> None:
        """A member that left is not missed when its token ends."""
        self.member("client", "ana", id="hers").leave()
        self.bearers.revoke("hers")
        self.assertEqual(self.service.refusals, {})


class ClientCase(SynchronousTestCase):
    """A client, a service that asks for tokens, and a line between them."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.database = database(self.mktemp(), HandWorker(at_once=True))
        self.addCleanup(self.database.close)
        self.bearers = Bearers(self, self.database, self.clock)
        self.said: list[str] = []
        self.refusals: list[ServerRefused] = []

    def line(self, client: Any, service: Any) -> Line:
        server: Any = service.factory()
        line = Line(self.clock, client, server)
        line.connect()
        line.pump()
        return line

    def refusal(self, answer: Deferred[Any]) -> tuple[str, str]:
        error = self.failureResultOf(answer, ServerRefused).value
        return error.code, error.message

    def assert_final(self, line: Line, attempts: int) -> None:
        """The client does not come back, and nothing was said of trying again."""
        line.advance(300, 1)
        self.assertEqual(line.attempts, attempts)
        self.assertEqual([text for text in self.said if "trying again" in text], [])


class ChatLogClientTests(ClientCase):
    """The class of the chat log."""

    def setUp(self) -> None:
        super().setUp()
        store = ChatLogStore(self.database, 100)
        wall, guard = self.clock.seconds, self.bearers.guard
        self.service = ChatLogService(ChatLogConfig(), store, self.clock, Random(1), wall, guard=guard)

    def client(self, token: str | None) -> ChatLogClientFactory:
        return ChatLogClientFactory(
            self.clock,
            room_url("localhost", 8082, "main"),
            lambda change: None,
            random=Random(2),
            on_status=self.said.append,
            token=token,
            on_refusal=self.refusals.append,
        )

    def test_token(self) -> None:
        """With a token it reads and appends; in another's name its append is refused, and it goes on."""
        client = self.client(self.bearers.token("client", "ana"))
        line = self.line(client, self.service)
        bad, good = client.append("bob", "x"), client.append("ana", "y")
        line.pump()
        self.assertEqual(self.refusal(bad)[0], "forbidden")
        self.assertEqual(self.successResultOf(good).author, "ana")
        self.assertEqual(self.refusals, [])

    def test_not_let_in(self) -> None:
        """R23: without a good token it does not try again; what waits or comes fails with the reason."""
        for token, why in ((None, "this needs a token"), ("x", "the token is not valid")):
            self.refusals.clear()
            client = self.client(token)
            waiting: list[Deferred[Any]] = [client.append("ana", "x"), client.update(1), client.read(1)]
            line = self.line(client, self.service)
            waiting += [client.append("ana", "x"), client.update(1)]
            for answer in waiting:
                self.assertEqual(self.refusal(answer), ("unauthenticated", why))
            self.assertEqual([each.message for each in self.refusals], [why])
            self.assert_final(line, 1)

    def test_revoked(self) -> None:
        """R23: it does not come back with a token that was revoked, and what waits fails with that."""
        client = self.client(self.bearers.token("client", "ana", id="hers"))
        line = self.line(client, self.service)
        self.assertTrue(client.is_connected)
        self.bearers.revoke("hers")
        waiting = client.append("ana", "x")
        line.pump()
        self.assertEqual(self.refusal(waiting), ("unauthenticated", "the token has been revoked"))
        self.assertEqual(len(self.refusals), 1)
        self.assert_final(line, 1)
        self.successResultOf(client.close())


class MediaChatClientTests(ClientCase):
    """The class of the media chat."""

    def setUp(self) -> None:
        super().setUp()
        self.workers = [HandWorker(at_once=True), HandWorker(at_once=True)]
        folder = MediaFolder(Path(self.mktemp()))
        folder.open()
        wall, guard = self.clock.seconds, self.bearers.guard
        self.service = MediaChatService(
            MediaChatConfig(hours_text=ALWAYS),
            MediaChatStore(self.database, 1 << 30),
            folder,
            self.calls(0),
            self.clock,
            Random(1),
            wall,
            guard=guard,
        )

    def calls(self, number: int) -> Calls:
        return Calls(self.workers[number], lambda call, *arguments: call(*arguments))

    def client(self, token: str | None) -> MediaChatClientFactory:
        client = MediaChatClientFactory(
            self.clock,
            chat_url("localhost", 8000, 7),
            self.calls(1).run,
            lambda received: None,
            timezone="Europe/Paris",
            random=Random(2),
            on_status=self.said.append,
            token=token,
        )
        client.done.addErrback(self.refused)
        return client

    def refused(self, failure: Failure) -> None:
        assert isinstance(failure.value, ServerRefused)
        self.refusals.append(failure.value)

    def test_token(self) -> None:
        """With a token of its own it talks."""
        client = self.client(self.bearers.token("client", "7"))
        answer = client.say("x")
        line = self.line(client, self.service)
        line.pump()
        self.assertEqual(self.successResultOf(answer).status, "saved")

    def test_not_let_in(self) -> None:
        """R23, R24: without a good token, or with another's, it ends with the reason, once and for all."""
        for token, code, why in (
            (None, "unauthenticated", "this needs a token"),
            (
                self.bearers.token("client", "8"),
                "forbidden",
                "may not talk as a client id: with this token only as 8",
            ),
            (
                self.bearers.token("operator", "7"),
                "forbidden",
                "may not talk as a client id: not with the role operator",
            ),
        ):
            self.refusals.clear()
            client = self.client(token)
            answer = client.say("x")
            line = self.line(client, self.service)
            self.assertEqual(self.refusal(answer), (code, why))
            self.assertEqual([(each.code, each.message) for each in self.refusals], [(code, why)])
            self.assert_final(line, 1)

    def test_revoked(self) -> None:
        """R23: it does not come back with a token that was revoked."""
        client = self.client(self.bearers.token("client", "7", id="mine"))
        line = self.line(client, self.service)
        self.assertTrue(client.is_connected)
        self.bearers.revoke("mine")
        waiting = client.say("x")
        line.pump()
        self.assertEqual(self.refusal(waiting), ("unauthenticated", "the token has been revoked"))
        self.assertEqual(len(self.refusals), 1)
        self.assert_final(line, 1)
