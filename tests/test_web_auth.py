"""R22-R24 with real servers, programs and browsers: who gets in, and who is put out again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from selenium.webdriver.common.keys import Keys
from twisted.trial.unittest import TestCase
from twisted.web.server import Site
from twisted.web.static import Data

from protosuite.auth.rules import ROLES, may
from protosuite.net.access import COOKIE
from protosuite.test.web_routes import ASKED, BODIES, HIDDEN, SOCKETS
from tests.browser import Browser
from tests.certificates import Authority, connect_tls
from tests.mediachat_peers import ask, head, parsed
from tests.peers import Peer, connect
from tests.processes import BIN, LIMIT, Program, Suite, free_port, reactor
from tests.requirements import require

ALWAYS = {f"hours_{kind}": "always" for kind in ("text", "voice", "image", "file", "video")}
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(300)
STATE = "return document.querySelector('#status')?.dataset.state === arguments[0]"
SAYS = "return document.body.innerText.includes(arguments[0])"
AT = "return location.href === arguments[0]"
IS_LOGIN = "return document.querySelector('#token') !== null && document.readyState === 'complete'"
FOCUS = "return document.activeElement.id"
UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def bearer(token: str | None) -> tuple[str, ...]:
    """The header that says who asks."""
    return () if token is None else (f"Authorization: Bearer {token}",)


class Fixture(TestCase):
    """A suite with ``[auth]``, whose keys protosuite-token has made."""

    timeout = 3 * LIMIT  # it runs many programs, one after the other

    async def serve(self, **settings: Any) -> Suite:
        auth = {"secret_file": "keys", **settings.pop("auth", {})}
        self.suite = Suite(self, auth=auth, mediachat={**ALWAYS, **settings})
        await self.token("init", "keys")
        await self.suite.start()
        return self.suite

    async def token(self, *arguments: str) -> str:
        """Run protosuite-token; what it printed."""
        command = (BIN / "protosuite-token", "--config", self.suite.config)
        program = Program(self, *command, *arguments, folder=self.suite.folder)
        self.assertEqual(await program.exit(), 0, program.story())
        return "\n".join(program.output)

    async def make(self, role: str, subject: str) -> str:
        return await self.token("make", "--role", role, "--subject", subject)

    def file(self, token: str) -> Path:
        path = self.suite.folder / "token"
        path.write_text(token + "\n")
        return path

    async def ask_as(self, token: str | None, route: str, *headers: str) -> tuple[int, bytes]:
        """Status and body of the answer to a request."""
        method, _, path = route.partition(" ")
        body = BODIES.get(route, b"" if method == "POST" else None)
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            headers += ("Content-Type: application/json",)
        status, _, answer = await ask(self, self.suite, method, path, body, *bearer(token), *headers)
        return status, answer

    async def begin_chat(self, client: str) -> None:
        """A client has sent a picture."""
        path = self.suite.folder / "a.png"
        path.write_bytes(PNG)
        own = self.file(await self.make("client", client))
        run = self.run_mediachat("--client", client, "--token-file", own, "send", path)
        self.assertEqual(await run.exit(), 0, run.story())

    def run_mediachat(self, *arguments: str | Path) -> Program:
        port = self.suite.ports["mediachat"]
        return self.suite.client("protosuite-mediachat", port, "--timezone", "Europe/Paris", *arguments)

    def run_chatlog(self, *arguments: str | Path) -> Program:
        return self.suite.client("protosuite-chatlog", self.suite.ports["chatlog"], "main", *arguments)

    def assert_no_secret_is_logged(self) -> None:
        """R29: neither a token nor a key is in any line of the log."""
        log = "\n".join(self.suite.log)
        self.assertNotIn("eyJ", log)
        for line in (self.suite.folder / "keys").read_text().splitlines():
            self.assertNotIn(line.split()[1], log)


class RouteTests(Fixture):
    """Every route, over the network."""

    async def test_every_cell(self) -> None:
        """R24: each role gets what the table allows it, and is refused, logged and counted otherwise."""
        suite = await self.serve()
        for client in ("7", "8"):
            await self.begin_chat(client)
        tokens: dict[str, str | None] = {role: await self.make(role, "7") for role in ROLES}
        refused = {"forbidden": 0, "unauthenticated": 0}
        for role, token in (*tokens.items(), ("nobody", None)):
            for route, asked in (*ASKED.items(), *((f"GET {path}", each) for path, each in SOCKETS.items())):
                upgrade = UPGRADE if route.removeprefix("GET ") in SOCKETS else ()
                if route == "POST /login":
                    continue  # not JSON: see LoginTests
                if upgrade and may(role, "7", *(asked or ())):
                    status = await self.opened(route.removeprefix("GET "), token)
                else:
                    status, _ = await self.ask_as(token, route, *upgrade)
                if asked is None or may(role, "7", *asked):
                    self.assertIn(status, (101, 200, 201, 202, 204), (route, role))
                elif role == "nobody":
                    refused["unauthenticated"] += 1
                    self.assertEqual(status, 401, (route, role))
                else:
                    refused["forbidden"] += 1
                    self.assertEqual(status, 404 if route.startswith(HIDDEN) else 403, (route, role))
        await suite.program.says("client 7, refused: forbidden: GET /chats: may not answer clients")
        self.assertEqual(await suite.terminate(), 0)
        (line,) = (line for line in suite.log if "mediachat: refused or given up" in line)
        for code, count in refused.items():
            self.assertIn(f"{code} {count}", line)
        self.assert_no_secret_is_logged()

    async def opened(self, path: str, token: str | None) -> int:
        """The status of a WebSocket's handshake, which is let go then."""
        peer = await connect(self, self.suite.ports["mediachat"])
        lines = (f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *bearer(token), *UPGRADE, "", "")
        peer.send("\r\n".join(lines).encode())
        await peer.until(lambda: b"\r\n\r\n" in peer.received)
        await peer.abort()
        return int(bytes(peer.received).split(b" ")[1])

    async def test_forged(self) -> None:
        """R23: a token with another signature, and one of a role that it was not made for, are refused."""
        await self.serve()
        good, other = await self.make("client", "7"), await self.make("service", "7")
        mixed = ".".join([*other.split(".")[:2], good.split(".")[2]])
        for token in (good[:-6] + "AAAAAA", mixed, good.rpartition(".")[0] + "."):
            for route in ("GET /chats?client_id=7", "GET /whoami"):
                status, body = await self.ask_as(token, route)
                self.assertEqual((status, json.loads(body)["detail"]), (401, "the token is not valid"))
        self.assert_no_secret_is_logged()

    async def test_secure_over_tls(self) -> None:
        """The cookie of a login over TLS never goes over a connection without."""
        authority, port = Authority(self), free_port()
        own = authority.issue("server")
        listen = f"protosuite-tls:{port}:interface=127.0.0.1:cert={own.cert}:key={own.key}"
        await self.serve(listen=listen)
        body = json.dumps({"token": await self.make("operator", "ana")}).encode()
        peer: Peer = await connect_tls(self, port, authority)
        peer.send(head("POST", "/login", len(body), "Content-Type: application/json") + body)
        status, headers, _ = parsed(await peer.everything())
        self.assertEqual(status, 200)
        self.assertTrue(headers["set-cookie"].endswith("; HttpOnly; SameSite=Strict; Secure"))


class ProgramTests(Fixture):
    """The programs of the chat log and of the media chat."""

    async def test_with_a_token(self) -> None:
        """With a token they do what it is for."""
        await self.serve()
        own = self.file(await self.make("client", "7"))
        for arguments in (("--token-file", own, "--verify"), ("--token-file", own, "--export")):
            run = self.run_chatlog(*arguments)
            self.assertEqual(await run.exit(), 0, run.story())
        for words in (("say", "hello"), ("history",)):
            run = self.run_mediachat("--token-file", own, *words)  # it says which client that is
            self.assertEqual(await run.exit(), 0, run.story())
        self.assertIn("client: hello", run.output[0])

    async def test_over_tls(self) -> None:
        """The media chat's program takes its token to a server whose certificate is good, and to no other."""
        authority, port = Authority(self), free_port()
        own = authority.issue("server")
        await self.serve(listen=f"protosuite-tls:{port}:interface=127.0.0.1:cert={own.cert}:key={own.key}")
        token = self.file(await self.make("client", "7"))
        for words in (("say", "hello"), ("history",)):
            for trusted, code in (({"SSL_CERT_FILE": str(authority.cert)}, 0), ({}, 1)):
                run = Program(
                    self,
                    *(BIN / "protosuite-mediachat", "--tls", "--host", "localhost", "--port", str(port)),
                    *("--timezone", "Europe/Paris", "--timeout", "3" if code else "60"),
                    *("--token-file", token, *words),
                    folder=self.suite.folder,
                    environment=trusted,
                )
                self.assertEqual(await run.exit(), code, run.story())
                self.assertEqual(len(run.errors), code, run.story())

    async def test_without(self) -> None:
        """R23, R24: without the right token each ends at once, with one line that says why."""
        await self.serve()
        forged = self.file((await self.make("client", "7"))[:-6] + "AAAAAA")
        for start in (self.run_chatlog, self.run_mediachat):
            words = ("--verify",) if start == self.run_chatlog else ("say", "x")
            for own, why in (
                ((), "unauthenticated: this needs a token"),
                (("--token-file", forged), "unauthenticated: the token is not valid"),
            ):
                run = start(*own, *words)
                self.assertEqual(await run.exit(), 1, run.story())
                self.assertEqual(len(run.errors), 1, run.story())
                self.assertIn(why, run.errors[0])
                self.assertIn("--token-file, or PROTOSUITE_TOKEN", run.errors[0])
        other = self.file(await self.make("client", "8"))
        for words in (("listen",), ("say", "x"), ("history",)):
            run = self.run_mediachat("--token-file", other, "--client", "7", *words)
            self.assertEqual(await run.exit(), 1, run.story())
            self.assertEqual(len(run.errors), 1, run.story())
            self.assertIn("with this token only as 8", run.errors[0])
        self.assert_no_secret_is_logged()

    async def test_another_author(self) -> None:
        """R24: a line in the name of another is refused, and the others are appended."""
        suite = await self.serve()
        own = self.file(await self.make("client", "ana"))
        for author, code in (("bob", 1), ("ana", 0)):
            run = Program(
                self,
                *(BIN / "protosuite-chatlog", "--port", str(suite.ports["chatlog"]), "main"),
                *("--token-file", own, "--author", author, "--send"),
                folder=suite.folder,
                input=b"hello\n",
            )
            self.assertEqual(await run.exit(), code, run.story())
        await suite.program.says("client ana, in main refused: forbidden: may not append to a room")

    async def test_revoked_while_connected(self) -> None:
        """R23: programs whose token is revoked while they listen end within seconds, with the reason."""
        await self.serve()
        mine, kept = await self.make("client", "7"), await self.make("service", "gateway")
        own = self.file(mine)
        follower = self.run_chatlog("--token-file", own, "--author", "7", "--follow")
        listener = self.run_mediachat("--token-file", own, "--client", "7", "listen")
        (self.suite.folder / "kept").write_text(kept)
        other = self.run_mediachat("--token-file", "kept", "--client", "7", "listen")
        for run in (follower, listener, other):  # each is there when what somebody said has come
            await self.said_until_printed(run, kept)
        await self.token("revoke", mine)
        for run in (follower, listener):
            self.assertEqual(await run.exit(), 1, run.story())
            self.assertEqual(len(run.errors), 1, run.story())
            self.assertIn("unauthenticated: the token has been revoked", run.errors[0])
        printed = len(other.output)
        await self.ask_as(kept, "POST /chats/1/messages")
        await other.until(lambda: len(other.output) > printed)
        self.assertEqual((await self.ask_as(mine, "GET /media/1"))[0], 401)
        self.assert_no_secret_is_logged()

    async def said_until_printed(self, run: Program, token: str) -> None:
        """Say things, in the room and in the chat, until a program has printed one."""
        (self.suite.folder / "speaker").write_text(token)
        while not run.output:
            await self.ask_as(token, "POST /chats/1/messages")
            speaker = Program(
                self,
                *(BIN / "protosuite-chatlog", "--port", str(self.suite.ports["chatlog"]), "main"),
                *("--token-file", "speaker", "--author", "desk", "--send"),
                folder=self.suite.folder,
                input=b"x\n",
            )
            self.assertEqual(await speaker.exit(), 0, speaker.story())


class PageTests(Fixture):
    """Real browsers."""

    def setUp(self) -> None:
        require("chromium", "chromedriver")

    async def browse(self, path: str, service: str = "mediachat") -> Browser:
        browser = Browser(self)
        await browser.start()
        await browser.open(self.address(path, service))
        return browser

    def address(self, path: str = "/", service: str = "mediachat") -> str:
        return f"http://127.0.0.1:{self.suite.ports[service]}{path}"

    async def log_in(self, browser: Browser, token: str) -> None:
        """As a person does who pastes it."""
        await browser.until("the login", IS_LOGIN)
        await browser.until("the field has the focus", "return document.activeElement.id === 'token'")
        await browser.keys(token, Keys.ENTER)

    async def test_console(self) -> None:
        """R23: login, console, an answer; revoked: the login again, and what was written is there still."""
        suite = await self.serve()
        await self.begin_chat("7")
        mine = await self.make("operator", "ana")
        desk = await self.browse("/console#1")
        await self.log_in(desk, "rubbish")
        await desk.until("it is refused", SAYS, "Not logged in: the token is not valid.")
        self.assertEqual(await desk.js("return document.querySelector('#token').ariaInvalid"), "true")
        await desk.keys(mine, Keys.ENTER)
        await desk.until("connected", STATE, "connected")
        await desk.until("back where they wanted to go", AT, self.address("/console#1"))
        await desk.type("textbox", "Answer", "Hello", Keys.ENTER)
        await desk.until("it is sent", "return document.querySelectorAll('#unsent > li').length === 0")
        await desk.type("textbox", "Answer", "half a sen")
        await self.token("revoke", mine)
        await desk.until("logged out", STATE, "refused")
        await desk.until("it is said aloud", SAYS, "Logged out")
        said = "return document.querySelector('#status [role=status]').textContent"
        self.assertIn("the token has been revoked. What you wrote is kept.", await desk.js(said))
        await desk.keys(" tence", Keys.ENTER)  # it waits
        await desk.until("it waits", "return document.querySelectorAll('#unsent > li').length === 1")
        await desk.type("textbox", "Answer", "and the next")
        await desk.click("link", "Log in again")
        await self.log_in(desk, await self.make("operator", "ana"))
        await desk.until("connected", STATE, "connected")
        await desk.until(
            "what waited is sent", "return document.querySelectorAll('#unsent > li').length === 0"
        )
        await desk.until("it was kept", "return document.querySelector('#content').value === 'and the next'")
        self.assertEqual(await desk.js("return location.hash"), "#1")
        texts = [row[0] for row in await self.texts()]
        self.assertEqual(texts, ["Hello", "half a sen tence"])
        self.assertEqual(await suite.terminate(), 0)
        self.assert_no_secret_is_logged()

    async def texts(self) -> list[Any]:
        service = await self.make("service", "test")
        status, body = await self.ask_as(service, "GET /messages?chat_id=1")
        self.assertEqual(status, 200)
        return [(item["text"],) for item in json.loads(body)["items"] if item["from"] == "desk"]

    async def test_cookie(self) -> None:
        """R23: no script sees the cookie; no page of others has it sent; it goes with the logout."""
        await self.serve()
        browser = await self.browse("/console")
        await self.log_in(browser, await self.make("operator", "ana"))
        await browser.until("connected", STATE, "connected")
        self.assertEqual(await browser.js("return document.cookie"), "")
        (cookie,) = (await browser.cdp("Network.getCookies"))["cookies"]
        self.assertEqual(cookie["name"], COOKIE)
        self.assertEqual((cookie["httpOnly"], cookie["sameSite"], cookie["path"]), (True, "Strict", "/"))
        self.assertFalse(cookie["session"])
        port = self.suite.ports["mediachat"]
        await browser.open(self.address("/", "chatlog"))
        await browser.until("one login is for all services of a host", STATE, "connected")
        await browser.open(await self.foreign_page())
        attack = """
          const [port, done] = arguments;
          const answer = fetch(`http://127.0.0.1:${port}/chats/1/read`, { method: "POST", mode: "no-cors",
            credentials: "include", body: "{}" }).then((response) => response.type, (error) => error.name);
          const socket = new WebSocket(`ws://127.0.0.1:${port}/console/ws`);
          socket.onopen = () => (window.found = "open");
          socket.onclose = async () => (window.found ??= await answer);
        """
        await browser.js(attack, port)
        self.assertIn(
            await browser.until("they have answered", "return window.found"), ("opaque", "TypeError")
        )
        log = "\n".join(self.suite.log)
        self.assertIn("POST /chats/1/read: pages of", log)
        self.assertIn("GET /console/ws: a page of another origin", log)
        await browser.open(self.address("/console"))
        await browser.until("connected", STATE, "connected")
        await browser.click("button", "Log out")
        await browser.until("the login", IS_LOGIN)
        self.assertEqual((await browser.cdp("Network.getCookies"))["cookies"], [])

    async def foreign_page(self) -> str:
        """The address of a page of another origin, with which a browser sends the same cookies."""
        site = Site(Data(b"<p>Look at this", "text/html"))
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"http://127.0.0.1:{port.getHost().port}/"

    async def test_hostile_addresses(self) -> None:
        """R22: whatever the address of the login says, one ends up here."""
        await self.serve()
        mine = await self.make("operator", "ana")
        browser = await self.browse("/login")
        for text in (
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
        ):
            await browser.cdp("Network.clearBrowserCookies")
            await browser.open(self.address(f"/login?next={quote(text, safe='')}"))
            await self.log_in(browser, mine)
            await browser.until("it went on", "return location.pathname !== '/login' || arguments[0]", False)
            self.assertTrue((await browser.js("return location.href")).startswith(self.address()), text)

    async def test_client_with_a_link(self) -> None:
        """R24: a link with a token opens the client's own chat and no other, and does not keep the token."""
        await self.serve()
        await self.begin_chat("8")
        mine = await self.make("client", "7")
        browser = await self.browse(f"/login?next=/#token={mine}")
        await browser.until("connected", STATE, "connected")
        await browser.until("whose chat that is", SAYS, "You are client 7")
        self.assertEqual(await browser.js("return location.href"), self.address())
        await browser.type("textbox", "Message", "Hello", Keys.ENTER)
        await browser.until("it is stored", "return document.querySelectorAll('#messages > li').length === 1")
        await browser.open(self.address("/?client=8"))
        await browser.until(
            "it is refused", SAYS, "Your token is for “7”, who is not the client of this address."
        )
        await browser.open(self.address("/console"))
        await browser.until(
            "it is refused", SAYS, "You are logged in as 7 (client), who may not see this page."
        )
        await self.suite.program.says("client 7, refused: forbidden: GET /console")
        await browser.open(self.address("/media/1"))  # of client 8
        await browser.until("it is not there", SAYS, "there is no such media message")
        await browser.open(self.address())
        await browser.until("connected", STATE, "connected")
        await browser.type("textbox", "Message", "half a sen")
        await self.token("revoke", mine)
        await browser.until("logged out", STATE, "refused")
        await browser.click("link", "Log in again")
        await self.log_in(browser, await self.make("client", "7"))
        await browser.until("connected", STATE, "connected")
        await browser.until("it was kept", "return document.querySelector('#content').value === 'half a sen'")
        self.assert_no_secret_is_logged()

    async def test_another_tab(self) -> None:
        """Who logs in again in another tab finds the first one connected, with all that was in it."""
        await self.serve()
        browser = await self.browse("/?room=tea", "chatlog")
        mine = await self.make("client", "ana")
        await self.log_in(browser, mine)
        await browser.until("connected", STATE, "connected")
        name = "const { value, readOnly } = document.querySelector('#author'); return [value, readOnly]"
        self.assertEqual(await browser.js(name), ["ana", True])
        await browser.type("textbox", "Message", "before", Keys.ENTER)
        await browser.until("it is in the log", "return document.querySelector('#slot-1') !== null")
        await self.token("revoke", mine)
        await browser.until("logged out", STATE, "refused")
        await browser.type("textbox", "Message", "after", Keys.ENTER)
        first = await browser.do(lambda driver: driver.current_window_handle)
        await browser.do(lambda driver: driver.switch_to.new_window("tab"))
        await browser.open(self.address("/login", "chatlog"))
        await self.log_in(browser, await self.make("client", "ana"))
        await browser.until("connected", STATE, "connected")
        await browser.do(lambda driver: driver.switch_to.window(first))
        await browser.until("it came back by itself", STATE, "connected")
        await browser.until("what waited is in the log", "return document.querySelector('#slot-2') !== null")

    async def test_names_and_keyboard(self) -> None:
        """The login is one form with names for all that is in it, and needs no mouse."""
        await self.serve()
        browser = await self.browse("/login?next=/console")
        await browser.until("the login", IS_LOGIN)
        await browser.named("heading", "Log in")
        await browser.named("textbox", "Token")
        await browser.named("button", "Log in")
        described = """
          const field = document.querySelector("#token");
          return field.getAttribute("aria-describedby").split(" ").every((id) => document.getElementById(id))
        """
        self.assertTrue(await browser.js(described))
        self.assertEqual(await browser.js(FOCUS), "token")
        await browser.keys(await self.make("operator", "ana"), Keys.TAB, Keys.SPACE)
        await browser.until("connected", STATE, "connected")

    async def test_without_scripts(self) -> None:
        """The login works in a browser that runs no scripts, and says there when a token is no good."""
        await self.serve()
        browser = await self.browse("/login?next=/console")
        await browser.until("the login", IS_LOGIN)
        await browser.cdp("Emulation.setScriptExecutionDisabled", value=True)
        await browser.open(self.address("/login?next=%2Fconsole"))
        await browser.keys(Keys.TAB)
        field = await browser.named("textbox", "Token")
        await browser.do(lambda _: field.send_keys("rubbish", Keys.ENTER))
        await browser.named("textbox", "Token")
        await browser.until("it is refused", SAYS, "This token is not taken")
        field = await browser.named("textbox", "Token")
        mine = await self.make("operator", "ana")
        await browser.do(lambda _: field.send_keys(mine, Keys.ENTER))
        await browser.until("the console", SAYS, "Desk")
