"""R22-R24 over HTTP and WebSocket: every route and every role, the login, and what a token's end does."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any, cast
from urllib.parse import quote, urlencode

from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from protosuite.auth.guard import Guard
from protosuite.auth.rules import ROLES, may
from protosuite.mediachat.store import MediaChatStore
from protosuite.net.access import COOKIE, own_path
from protosuite.test.bearers import Bearers
from protosuite.test.mediachat_peers import PNG, Answer, Fixture, Socket
from protosuite.test.web_peers import handshake
from protosuite.test.web_routes import ASKED, BODIES, HIDDEN, SOCKETS

OWN = "http://127.0.0.1"
HTML = "Accept: text/html,application/xhtml+xml"

HOSTILE = (
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example/",
    "javascript:alert(1)",
    "/\t/evil.example",
    "/a\r\nSet-Cookie: x=y",
    "/a\nb",
    "/ b",
    "evil.example",
    "/é",
    "/a\x00",
    "",
    "/login",
    "/login?next=/login",
    "/logout",
    "/" + "a" * 3000,
)


class Guarded(Fixture):
    """A media chat with ``[auth]`` and two clients, who have sent a picture each."""

    def make_guard(self) -> Guard:
        self.bearers = Bearers(cast(SynchronousTestCase, self), self.database, self.clock)
        return self.bearers.guard

    def setUp(self) -> None:
        super().setUp()
        self.observer = EventLoggingObserver.createWithCleanup(cast(TestCase, self), globalLogPublisher)
        self.tokens = {role: self.token(role, "7") for role in ROLES}
        for client in (7, 8):
            socket = self.enter(f"/ws/{client}", self.token("client", str(client)))
            socket.say(timezone="Europe/Paris").begin(len(PNG), "a.png", "image").binary(PNG)
            self.settle()
            self.assertEqual([each["type"] for each in socket.heard()], ["welcome", "status"])
        self.service.refusals.clear()

    def tearDown(self) -> None:
        """R29: nothing of a token is ever logged."""
        self.assertNotIn("eyJ", self.logged())

    def token(self, role: str, subject: str, **options: Any) -> str:
        return self.bearers.token(role, subject, **options)

    def bad(self, role: str, subject: str) -> dict[str, str]:
        """Tokens that are no good, by what is wrong with them."""
        found = self.bearers.bad(role, subject)
        self.settle()
        return found

    def enter(self, path: str, token: str | None, *headers: bytes) -> Socket:
        """A WebSocket, or the refusal of one."""
        mine = () if token is None else (f"Authorization: Bearer {token}".encode(),)
        return self.connect(path, *mine, *headers)

    def ask_as(self, token: str | None, route: str, *headers: str, body: Any = None) -> Answer:
        """One request with a token in its header."""
        method, _, path = route.partition(" ")
        mine = () if token is None else (f"Authorization: Bearer {token}",)
        return self.ask(method, path, BODIES.get(route, b"") if body is None else body, *mine, *headers)

    def log_in(self, token: str, *headers: str, body: Any = None) -> Answer:
        return self.ask_as(None, "POST /login", *headers, body={"token": token} if body is None else body)

    def ask_from(self, token: str, route: str, *headers: str) -> Answer:
        """One request of a browser that has logged in."""
        return self.ask_as(None, route, f"Cookie: a=b; {COOKIE}={token}; c=d", *headers)

    def logged(self) -> str:
        return "\n".join(formatEvent(event) for event in self.observer)


class RouteTests(Guarded):
    """Every route that there is, for everybody."""

    def test_all_are_decided(self) -> None:
        """R24: each call that openapi.json describes is one whose access is tested here."""
        described = json.loads((files("protosuite.mediachat") / "openapi.json").read_text("utf-8"))["paths"]
        routes = {f"{method.upper()} {path}" for path, calls in described.items() for method in calls}
        tested = {re.sub("/[0-9]+", "/N", route.partition("?")[0]) for route in ASKED}
        self.assertEqual({re.sub(r"/\{[a-z_]+\}", "/N", route) for route in routes} - tested, set())

    def test_every_cell(self) -> None:
        """R24: each role gets from each route what the table allows, and is refused and counted otherwise."""
        for route, asked in ASKED.items():
            self.clock.advance(10)  # so that each is logged
            for role in ROLES:
                allowed = asked is None or may(role, "7", *asked)
                self.service.refusals.clear()
                line = f"{role} 7, refused: forbidden: {route.partition('?')[0]}: may not"
                before = self.logged().count(line)
                status = self.ask_as(self.tokens[role], route).status
                hidden = route.startswith(HIDDEN)
                self.assertEqual(
                    status in (401, 403) or (hidden and status == 404), not allowed, (route, role)
                )
                counted = self.service.refusals["forbidden"]
                self.assertEqual(counted, 0 if allowed else 1, (route, role, status))
                self.assertEqual(self.logged().count(line) - before, counted, (route, role))

    def test_nobody(self) -> None:
        """R23: without a token, or with one that is no good, everything that the table knows is refused."""
        bad = {"none": None, **self.bad("service", "7")}
        for route, asked in ASKED.items():
            self.clock.advance(10)  # so that each is logged
            for why, token in bad.items():
                if asked is None and route != "GET /whoami":
                    self.assertNotEqual(self.ask_as(token, route).status, 403, route)
                    continue
                answer = self.ask_as(token, route)
                expected = 200 if asked is None and token is None else 401
                self.assertEqual(answer.status, expected, (route, why))
                if expected == 401:
                    self.assertEqual(answer.headers["www-authenticate"], "Bearer")
                    self.assertEqual(answer.headers["content-type"], "application/problem+json")
                    self.assertEqual(answer.fields["code"], "unauthenticated")
        self.assertIn("POST /chats/1/messages: the token has been revoked", self.logged())

    def test_sockets(self) -> None:
        """R24: a WebSocket opens for whom the table allows it, and for nobody else, before the upgrade."""
        for path, asked in SOCKETS.items():
            for role in ROLES:
                status = int(self.enter(path, self.tokens[role]).head.split(b" ")[1])
                self.assertEqual(status, 101 if may(role, "7", *asked) else 403, (path, role))
            for why, token in {"none": None, **self.bad("service", "7")}.items():
                socket = self.enter(path, token)
                self.assertIn(b" 401 ", socket.head, (path, why))
                self.assertIn(b"WWW-Authenticate: Bearer", socket.head)
        self.assertIn("client 7, refused: forbidden: GET /ws/8: may not talk as a client id", self.logged())

    def test_others_are_not_revealed(self) -> None:
        """R24: what is another client's is answered byte for byte as what is not there."""
        mine = self.tokens["client"]
        for there, nowhere in (("/media/2", "/media/99"), ("/messages?chat_id=2", "/messages?chat_id=99")):
            answers = [self.ask_as(mine, f"GET {path}") for path in (there, nowhere)]
            self.assertEqual([answer.status for answer in answers], [404, 404])
            first, second = (re.sub("[0-9]+", "N", answer.fields["detail"]) for answer in answers)
            self.assertEqual(first, second)
        self.assertIn("GET /media/2: may not read the messages and media", self.logged())

    def test_nothing_is_read_for_others(self) -> None:
        """R24: messages of another client's are not looked up: how long that takes would tell of them."""
        pages = []
        real = MediaChatStore.page

        def page(store: MediaChatStore, chat_id: int, *arguments: Any, **named: Any) -> Any:
            pages.append(chat_id)
            return real(store, chat_id, *arguments, **named)

        self.patch(MediaChatStore, "page", page)
        statuses = [
            self.ask_as(self.tokens["client"], f"GET /messages?chat_id={chat}").status for chat in (1, 2, 99)
        ]
        self.assertEqual((statuses, pages), ([200, 404, 404], [1]))

    def test_names_that_are_not_numbers(self) -> None:
        """R24: no other writing of a client id is that of the token."""
        for subject in ("07", "7 ", "+7", "７", "7\u200b"):
            token = self.token("client", subject)
            self.assertIn(b" 403 ", self.enter("/ws/7", token).head, subject)
            self.assertEqual(self.ask_as(token, "GET /media/1").status, 404, subject)

    def test_a_file_is_refused_before_it_comes(self) -> None:
        """R14, R23: of a file that may not be posted nothing is kept, and its sender need not send it all."""
        for token, status in ((None, 401), (self.tokens["client"], 403)):
            pipe = self.http()
            mine = "" if token is None else f"Authorization: Bearer {token}\r\n"
            head = "POST /chats/1/media?name=a&kind=file HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            pipe.arrive(f"{head}{mine}Content-Length: 100000000\r\n\r\n".encode())
            self.settle()
            self.assertEqual(Answer(bytes(pipe.sent)).status, status)
            self.assertTrue(pipe.lost or pipe.eof_sent)
        self.assertEqual(self.parts(), [])
        self.assertEqual(
            (self.service.refusals["unauthenticated"], self.service.refusals["forbidden"]), (1, 1)
        )

    def test_other_schemes_and_two_tokens(self) -> None:
        """A proxy's own Authorization is passed over; two tokens are none."""
        token = self.tokens["service"]
        cookie = f"Cookie: {COOKIE}={token}"
        self.assertEqual(self.ask("GET", "/chats", b"", "Authorization: Basic eA==", cookie).status, 200)
        self.assertEqual(self.ask("GET", "/chats", b"", f"Authorization: bearer  {token} ").status, 200)
        twice = [f"Authorization: Bearer {token}"] * 2
        self.assertEqual(self.ask("GET", "/chats", b"", *twice).status, 401)
        self.assertEqual(self.ask("GET", "/chats", b"", *twice, HTML).status, 303)
        bad = self.ask("GET", "/chats", b"", "Authorization: Bearer x", cookie)
        self.assertEqual(bad.status, 401)  # who says who they are is not taken for somebody else

    def test_headers_that_are_no_text(self) -> None:
        """R13: headers with any bytes in them are read as headers that are no good."""
        for header in (b"Authorization: Bearer \xff\xcc", b"Cookie: protosuite_token=\xff", b"Origin: \xcc"):
            pipe = self.http()
            pipe.arrive(b"GET /chats HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n\r\n" % header)
            self.settle()
            self.assertIn(Answer(bytes(pipe.sent)).status, (401, 403), header)

    def test_preflight_needs_no_token(self) -> None:
        """What a browser asks before it sends a token is answered, and says that it may send one."""
        answer = self.ask("OPTIONS", "/chats", b"", f"Origin: {OWN}")
        self.assertEqual(answer.status, 204)
        self.assertIn("Authorization", answer.headers["access-control-allow-headers"])

    def test_what_is_cached(self) -> None:
        """A browser asks for media each time: who has logged out does not see them, nor who comes after."""
        first = self.ask_as(self.tokens["client"], "GET /media/1")
        self.assertEqual(first.headers["cache-control"], "private, no-cache")
        tag = f"If-None-Match: {first.headers['etag']}"
        self.assertEqual(self.ask_as(self.tokens["client"], "GET /media/1", tag).status, 304)
        self.assertEqual(self.ask_as(None, "GET /media/1", tag).status, 401)


class BrowserTests(Guarded):
    """What a browser does for a page of ours counts; what a page of others makes it do does not."""

    def test_navigation(self) -> None:
        """Who opens a page without a good token is sent to the login, and from there back."""
        for path in ("/", "/console", "/console?a=b&c", "/media/1"):
            answer = self.ask_as(None, f"GET {path}", HTML)
            self.assertEqual(answer.status, 303)
            self.assertEqual(answer.headers["location"], f"/login?next={quote(path, safe='')}")
        self.assertEqual(self.service.refusals, {})  # there was nothing to refuse
        self.assertEqual(self.ask_from("x", "GET /console", HTML).status, 303)
        self.assertEqual(self.service.refusals["unauthenticated"], 1)

    def test_another_page_than_theirs(self) -> None:
        """Who may not see a page gets the login with 403, which says so, and is counted."""
        answer = self.ask_from(self.tokens["client"], "GET /console", HTML)
        self.assertEqual((answer.status, answer.headers["content-type"]), (403, "text/html; charset=utf-8"))
        self.assertIn(b'id="token"', answer.body)
        self.assertEqual(self.service.refusals["forbidden"], 1)

    def test_hostile_addresses(self) -> None:
        """R22: from the login nobody is sent elsewhere, whatever an address was made to say."""
        token = self.tokens["operator"]
        for text in HOSTILE:
            self.assertEqual(own_path(text), "/", text)
            body = urlencode({"token": token, "next": text}).encode()
            answer = self.log_in(token, "Content-Type: application/x-www-form-urlencoded", body=body)
            self.assertEqual((answer.status, answer.headers["location"]), (303, "/"), text)
            self.assertEqual(self.log_in(token, body={"token": token, "next": text}).fields["next"], "/")
        for good in ("/console", "/console?a=b&c=%0a#12", "/a//b", "/.."):
            self.assertEqual(own_path(good), good)
        for start in ("//evil.example/", "http://evil.example/x", "/\\evil.example"):
            pipe = self.http()
            pipe.arrive(f"GET {start} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/html\r\n\r\n".encode())
            self.settle()
            self.assertNotIn(b"evil", bytes(pipe.sent).partition(b"Location")[2], start)

    def test_foreign_pages(self) -> None:
        """R22: with the cookie nothing is changed without an Origin or a Sec-Fetch-Site of ours."""
        route, token = "POST /chats/1/messages", self.tokens["operator"]
        for headers, allowed in (
            ([f"Origin: {OWN}"], True),
            ([f"Origin: {OWN}", "Sec-Fetch-Site: same-origin"], True),
            (["Sec-Fetch-Site: same-origin"], True),
            ([], False),
            (["Sec-Fetch-Site: same-site"], False),
            (["Sec-Fetch-Site: cross-site"], False),
            (["Sec-Fetch-Site: none"], False),
            (["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"], False),
            (["Origin: null"], False),
            (["Origin: http://127.0.0.1.evil.example"], False),
            (["Origin: http://evil.example"], False),
            (["Origin: http://127.0.0.1:81"], False),
            ([f"Origin: {OWN}", "Origin: http://evil.example"], False),
            (["Origin: http://evil.example", f"Origin: {OWN}"], False),
        ):
            answer = self.ask_from(token, route, *headers)
            self.assertEqual(answer.status, 201 if allowed else 403, headers)
        self.assertEqual(len(self.rows_as(token)), 4)
        for headers, status in (
            ([], 200),
            (["Sec-Fetch-Site: none"], 200),
            (["Sec-Fetch-Site: same-origin"], 200),
            (["Sec-Fetch-Site: same-site"], 403),
            (["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"], 200),
        ):
            self.assertEqual(self.ask_from(token, "GET /media/1", *headers).status, status, headers)

    def rows_as(self, token: str) -> list[Any]:
        return list(self.ask_as(token, "GET /messages?chat_id=1").fields["items"])

    def test_sockets_of_foreign_pages(self) -> None:
        """R22: with the cookie a WebSocket opens for our own pages alone."""
        cookie = f"Cookie: {COOKIE}={self.tokens['operator']}".encode()
        for header, status in (
            (b"Origin: http://127.0.0.1:80", b" 101 "),
            (b"Origin: http://evil.example", b" 403 "),
            (b"Origin: null", b" 403 "),
            (b"Sec-Fetch-Site: same-site", b" 403 "),
            (b"X: y", b" 403 "),
        ):
            self.assertIn(status, self.connect("/console/ws", cookie, header).head, header)

    def test_who_am_i(self) -> None:
        """A page is told whom the server takes its reader for, and when that ends."""
        expires = (int(self.clock.seconds()) + 3600) * 1000
        them = {"authentication": True, "role": "operator", "subject": "7", "expires": expires}
        self.assertEqual(self.ask_from(self.tokens["operator"], "GET /whoami").fields, them)
        nobody = {"authentication": True, "role": None, "subject": None, "expires": None}
        self.assertEqual(self.ask_as(None, "GET /whoami").fields, nobody)
        self.assertEqual(self.ask_from("x", "GET /whoami").status, 401)


class LoginTests(Guarded):
    """The page that asks for a token."""

    def test_page(self) -> None:
        """It is for everybody, may not be framed, and may send its form to nobody but us."""
        answer = self.ask_as(None, "GET /login?next=/console", HTML)
        self.assertEqual((answer.status, answer.headers["cache-control"]), (200, "no-store"))
        self.assertIn("form-action 'self'", answer.headers["content-security-policy"])
        self.assertIn("frame-ancestors 'none'", answer.headers["content-security-policy"])
        self.assertIn(b'type="password" autocomplete="current-password"', answer.body)

    def test_where_to_go(self) -> None:
        """The form knows where to go, and nothing in an address becomes a part of the page."""
        for path, value in (
            ("/login?next=/console?a=b%26c", "/console?a=b&amp;c"),
            ("/login?next=/%22%3E%3Cscript%3E", "/&quot;&gt;&lt;script&gt;"),
            ("/login?next=//evil.example", "/"),
            ("/login", "/"),
        ):
            page = self.ask_as(None, f"GET {path}", HTML).body.decode()
            self.assertIn(f'name="next" value="{value}"', page, path)
        page = self.ask_from(self.tokens["client"], "GET /console?a", HTML).body.decode()
        self.assertIn('name="next" value="/console?a"', page)

    def test_cookie(self) -> None:
        """R23: the cookie lives as long as the token, and is for no script and no page of others."""
        token = self.token("operator", "ana", lifetime=100)
        answer = self.log_in(f" {token}\n")
        expires = (int(self.clock.seconds()) + 100) * 1000
        fields = {"role": "operator", "subject": "ana", "expires": expires, "next": "/"}
        self.assertEqual((answer.status, answer.fields), (200, fields))
        name, *flags = answer.headers["set-cookie"].split("; ")
        self.assertEqual(name, f"{COOKIE}={token}")
        self.assertEqual(flags, ["Path=/", "Max-Age=100", "HttpOnly", "SameSite=Strict"])

    def test_form(self) -> None:
        """Without JavaScript it works, too: there, and back with a sign that it failed."""
        form = "Content-Type: application/x-www-form-urlencoded"
        good = urlencode({"token": self.tokens["operator"], "next": "/console?a=b"}).encode()
        answer = self.log_in("", form, f"Origin: {OWN}", body=good)
        self.assertEqual((answer.status, answer.headers["location"]), (303, "/console?a=b"))
        self.assertIn(COOKIE, answer.headers["set-cookie"])
        answer = self.log_in("", form, body=b"token=x&next=/console")
        self.assertEqual(answer.headers["location"], "/login?next=%2Fconsole#failed")
        self.assertNotIn("set-cookie", answer.headers)
        for body in (b"token=\xff", b"&".join([b"token=x"] * 9)):
            self.assertEqual(self.log_in("", form, body=body).status, 400)

    def test_wrong_tokens(self) -> None:
        """R23: what is no good sets no cookie, and is told, counted and logged, without the token."""
        for why, token in self.bad("operator", "ana").items():
            answer = self.log_in(token)
            self.assertEqual((answer.status, answer.fields["code"]), (401, "unauthenticated"), why)
            self.assertNotIn("set-cookie", answer.headers)
        self.assertEqual(self.service.refusals["unauthenticated"], 5)
        self.assertIn("POST /login: the token has expired", self.logged())
        for body in (b"{", b"[]", {"token": 5}, {}, {"token": "x", "next": 5}):
            self.assertEqual(self.log_in("", "Content-Type: application/json", body=body).status, 400, body)

    def test_too_many(self) -> None:
        """After ten wrong tokens an address has to wait for each other one; a good one waits, too."""
        statuses = [self.log_in("x").status for _ in range(12)]
        self.assertEqual(statuses, [401] * 10 + [429] * 2)
        answer = self.log_in(self.tokens["operator"])
        self.assertEqual((answer.status, answer.headers["retry-after"]), (429, "7"))
        self.clock.advance(6)
        self.assertEqual([self.log_in("x").status for _ in "ab"], [401, 429])
        self.clock.advance(6)
        self.assertEqual(self.log_in(self.tokens["operator"]).status, 200)
        self.assertEqual(self.service.refusals["login-rate"], 4)

    def test_foreign_pages(self) -> None:
        """R22: no page of others logs anybody in or out."""
        token = self.tokens["operator"]
        for header in ("Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"):
            for route in ("POST /login", "POST /logout"):
                answer = self.ask_as(None, route, header, body={"token": token})
                self.assertEqual(answer.status, 403, (route, header))
                self.assertNotIn("set-cookie", answer.headers)

    def test_log_out(self) -> None:
        """Who logs out has no cookie any more; the token stays good."""
        answer = self.ask_from(self.tokens["operator"], "POST /logout", f"Origin: {OWN}")
        self.assertEqual(answer.status, 204)
        self.assertTrue(answer.headers["set-cookie"].startswith(f"{COOKIE}=; Path=/; Max-Age=0;"))
        self.assertEqual(self.ask_as(self.tokens["operator"], "GET /chats").status, 200)


class SecureTests(Guarded):
    """Behind a proxy that ends TLS."""

    secure_cookie = True

    def test_secure(self) -> None:
        """With ``secure_cookie = yes`` the cookie never goes over a connection without TLS."""
        self.assertIn("; Secure", self.log_in(self.tokens["operator"]).headers["set-cookie"])


class EndTests(Guarded):
    """What a token's end does to what lives on it."""

    def setUp(self) -> None:
        super().setUp()
        self.mine = self.token("client", "7", id="mine")
        self.desk = self.token("operator", "ana", id="desk")

    def revoke(self, id: str) -> None:
        self.bearers.revoke(id)
        self.settle()
        self.clock.advance(1)
        self.settle()

    def test_revoked(self) -> None:
        """R23: a socket whose token is revoked is told why and closed; others live on."""
        client = self.enter("/ws/7", self.mine).say(timezone="Europe/Paris")
        console = self.enter("/console/ws", self.desk)
        other = self.enter("/ws/7", self.token("client", "7")).say(timezone="Europe/Paris")
        for socket in (client, console, other):
            socket.heard()
        self.revoke("mine")
        reason = {"code": "unauthenticated", "detail": "the token has been revoked"}
        self.assertEqual(client.one(), {"type": "status", "status": "error", **reason})
        self.assertEqual((client.code, console.code, other.code), (4401, None, None))
        self.revoke("desk")
        self.assertEqual(console.heard()[-1]["code"], "unauthenticated")
        self.assertEqual((console.code, other.code), (4401, None))
        self.assertEqual(self.service.refusals["unauthenticated"], 2)
        self.assertIn(b" 401 ", self.enter("/ws/7", self.mine).head)

    def test_expired(self) -> None:
        """R23: a socket whose token runs out is told so and closed."""
        short = self.enter("/ws/7", self.token("client", "7", lifetime=10)).say(timezone="Europe/Paris")
        short.heard()
        self.clock.advance(9)
        self.assertEqual(short.heard(), [])
        for _ in range(7):  # five of them are those that clocks may differ by
            self.clock.advance(1)
        self.assertEqual((short.one()["detail"], short.code), ("the token has expired", 4401))

    def test_before_the_hello(self) -> None:
        """R23: a socket that has said nothing yet is closed, too, and what it says then is not heard."""
        socket = self.enter("/ws/7", self.mine)
        self.revoke("mine")
        socket.say(timezone="Europe/Paris")
        self.assertEqual(([each["type"] for each in socket.heard()], socket.code), (["status"], 4401))

    def test_gone_before(self) -> None:
        """A socket or a request that is over before its token ends is not missed, and not remembered."""
        before = self.held()
        self.enter("/ws/7", self.mine).say(timezone="Europe/Paris").leave()
        self.enter("/console/ws", self.desk).leave()
        self.ask_as(self.mine, "GET /media/1")
        self.ask_as(self.desk, "POST /chats/1/media?name=a&kind=file")
        self.assertEqual(self.held(), before)
        self.revoke("mine")
        self.assertEqual(self.service.refusals["unauthenticated"], 0)

    def held(self) -> int:
        """How much lives on tokens."""
        return sum(map(len, self.bearers.guard._live.values()))

    def test_a_file_on_its_way_in(self) -> None:
        """R23: of a file whose sender's token is revoked meanwhile nothing is stored."""
        pipe = self.http()
        head = "POST /chats/1/media?name=a&kind=file HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        pipe.arrive(f"{head}Authorization: Bearer {self.desk}\r\nContent-Length: 10\r\n\r\n12345".encode())
        self.settle()
        self.assertEqual(len(self.parts()), 1)
        self.revoke("desk")
        pipe.pump()
        self.assertEqual(Answer(bytes(pipe.sent)).status, 401)
        self.assertEqual((self.parts(), len(self.files())), ([], 1))

    def test_a_file_on_its_way_out(self) -> None:
        """R23: what a revoked token was being sent stops coming."""
        big = bytes(4 << 20)
        route = "POST /chats/1/media?name=a&kind=file"
        self.assertEqual(self.ask_as(self.tokens["service"], route, body=big).status, 201)
        pipe = self.http()
        pipe.peer_reads = False
        pipe.arrive(
            f"GET /media/3 HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.mine}\r\n\r\n".encode()
        )
        self.settle()
        self.assertFalse(pipe.aborted)
        self.revoke("mine")
        self.assertTrue(pipe.aborted)
        self.assertIn("GET /media/3: the token has been revoked", self.logged())
        pipe.pump()
        self.settle()


class OpenTests(Fixture):
    """Without ``[auth]`` nobody is asked for anything."""

    def test_as_ever(self) -> None:
        """All is open, pages are told so, and the login leads on to where one wanted to go."""
        nobody = {"authentication": False, "role": None, "subject": None, "expires": None}
        self.assertEqual(self.ask("GET", "/whoami").fields, nobody)
        self.assertEqual(self.ask("GET", "/whoami", b"", "Authorization: Bearer x").fields, nobody)
        answer = self.ask("GET", "/login?next=/console")
        self.assertEqual((answer.status, answer.headers["location"]), (303, "/console"))
        self.assertEqual(self.ask("GET", "/login?next=//evil").headers["location"], "/")
        self.assertNotIn("set-cookie", self.ask("POST", "/login", {"token": "x"}).headers)
        self.assertEqual(self.ask("GET", "/console", b"", HTML).status, 200)
        self.assertIn(b" 101 ", self.connect("/console/ws").head)
        self.assertIn(b"Upgrade: websocket", handshake())
