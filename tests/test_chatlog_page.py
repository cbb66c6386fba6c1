"""The page of the chat log, in real browsers, with a real server that is killed now and then."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from selenium.webdriver.common.keys import Keys
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

import protosuite.chatlog
from protosuite.chatlog.wire import SUBPROTOCOL
from protosuite.net.pages import ASSETS
from tests.browser import Browser
from tests.processes import LIMIT, Program, Suite, together
from tests.requirements import require

PAGES = Path(protosuite.chatlog.__file__).parent / "pages"

ENTRIES = """
return Array.from(document.querySelectorAll("#entries > li"), (entry) => [
  Number(entry.querySelector("a").hash.slice(1)),
  entry.querySelector(".author").textContent,
  entry.querySelector(".content").textContent,
])
"""
ARE = (
    f"const found = (() => {{ {ENTRIES} }})(); return JSON.stringify(found) === JSON.stringify(arguments[0])"
)
STATE = "return document.querySelector('#status').dataset.state === arguments[0]"
HAS = "return document.getElementById(`slot-${arguments[0]}`) !== null"
SAYS = "return document.body.innerText.includes(arguments[0])"
UNSENT = """
const found = Array.from(document.querySelectorAll("#unsent > li .content"), (text) => text.textContent);
return JSON.stringify(found) === JSON.stringify(arguments[0])
"""


class PageTests(TestCase):
    """People in one room, each with a browser."""

    timeout = LIMIT

    async def serve(self, **settings: object) -> Suite:
        """A suite that runs."""
        suite = Suite(self, chatlog=settings)
        await suite.start()
        return suite

    async def browse(self, suite: Suite, rest: str = "", author: str = "") -> Browser:
        """A browser that shows the page, connected, with a name filled in."""
        browser = Browser(self)
        await browser.start()
        await browser.open(address(suite, rest))
        await browser.until("connected", STATE, "connected")
        if author:
            await browser.type("textbox", "Name", author)
        return browser

    async def write(self, browser: Browser, text: str) -> None:
        """Write a message and press Enter."""
        await browser.type("textbox", "Message", text, Keys.ENTER)

    async def test_two_talk(self) -> None:
        """What each of two writes is shown to both, once, in one order; new lines and all."""
        suite = await self.serve()
        ana, boris = await together([self.browse(suite, author="ana"), self.browse(suite, author="boris")])
        await self.write(ana, "Hello")
        await boris.until("it arrives", HAS, 1)
        await boris.type("textbox", "Message", "Hello", Keys.SHIFT, Keys.ENTER, Keys.NULL, "Ana")
        await boris.click("button", "Send")
        expected = [[1, "ana", "Hello"], [2, "boris", "Hello\nAna"]]
        for browser in (ana, boris):
            await browser.until("both", HAS, 2)
            self.assertEqual(await browser.js(ENTRIES), expected)
            await browser.until("nothing left to send", UNSENT, [])
            self.assertEqual(await browser.complaints(), [])
        self.assertEqual([entry[1:] for entry in await history(suite)], [entry[1:] for entry in expected])

    async def test_the_server_is_killed(self) -> None:
        """One writes while the server hangs, and is killed: it is sent when it is back, and both agree."""
        suite = await self.serve()
        ana, boris = await together([self.browse(suite, author="ana"), self.browse(suite, author="boris")])
        await self.write(ana, "before")
        await boris.until("it arrives", HAS, 1)
        suite.program.signal("STOP")
        await self.write(ana, "pending")
        await ana.until("it is not in the log", UNSENT, ["pending"])
        await ana.until("which is said", SAYS, "Sending…")
        await suite.kill()
        for browser in (ana, boris):
            await browser.until("lost, with the time", SAYS, "Lost: trying again in")
            await browser.until("screen readers know", ANNOUNCED, "Connection lost: trying again")
        await self.write(ana, "written without a server")
        await ana.until("both wait", UNSENT, ["pending", "written without a server"])
        await suite.start()
        expected = [[1, "ana", "before"], [2, "ana", "pending"], [3, "ana", "written without a server"]]
        for browser in (ana, boris):
            await browser.until("connected", STATE, "connected")
            await browser.until("all is there", HAS, 3)
            await browser.until("nothing left to send", UNSENT, [])
            await browser.until("screen readers know", ANNOUNCED, "Connected")
            self.assertEqual(await browser.js(ENTRIES), expected)
            self.assertEqual(strange(await browser.complaints()), [])

    async def test_killed_again_and_again(self) -> None:
        """Both write, and the server is killed at any moment of it: every message is in the log once."""
        suite = await self.serve()
        ana, boris = await together([self.browse(suite, author="ana"), self.browse(suite, author="boris")])
        rounds = 3
        for number in range(rounds):
            for count in range(4):
                await together([self.write(each, f"{number}-{count}") for each in (ana, boris)])
            await suite.kill()
            await suite.start()
        for browser in (ana, boris):
            await browser.until("nothing left to send", UNSENT, [])
            await browser.until("all of it", HAS, 8 * rounds)
        log = await history(suite)
        for author in ("ana", "boris"):
            texts = [text for _, name, text in log if name == author]
            self.assertEqual(texts, [f"{number}-{count}" for number in range(rounds) for count in range(4)])
        for browser in (ana, boris):
            self.assertEqual(await browser.js(ENTRIES), log)

    async def test_a_reload_loses_nothing(self) -> None:
        """What waits for the connection, and what is being written, are there after a reload."""
        suite = await self.serve()
        ana = await self.browse(suite, author="ana")
        suite.program.signal("STOP")
        await self.write(ana, "pending")
        await ana.type("textbox", "Message", "a draft")
        await ana.until("it waits", UNSENT, ["pending"])
        await ana.until("it is kept", "return sessionStorage.length === 2")
        suite.program.signal("CONT")
        await ana.js("location.reload()")
        await ana.until("it is sent", HAS, 1)
        self.assertEqual(await ana.js(ENTRIES), [[1, "ana", "pending"]])
        self.assertEqual(await ana.js("return document.querySelector('#content').value"), "a draft")
        self.assertEqual(await ana.js("return document.querySelector('#author').value"), "ana")

    async def test_scroll_back(self) -> None:
        """Page Up goes back to the first entry; what is read keeps its place, and memory is bounded."""
        suite = await self.serve()
        await seed(suite, "main", [f"text {number}" for number in range(1, 2501)])
        ana = await self.browse(suite, author="ana")
        await ana.until("the newest", HAS, 2500)
        self.assertLess(len(await ana.js(ENTRIES)), 500)
        await ana.until("page by page, to the first entry", BACK)
        entries = await ana.js(ENTRIES)
        self.assertEqual(entries, [[slot, "seed", f"text {slot}"] for slot in range(1, len(entries) + 1)])
        self.assertEqual(len(entries), 2000)
        await ana.until("which is said", SAYS, "This is where the log begins.")
        self.assertIsNone(await ana.js("return window.moved"))
        await seed(suite, "main", ["new"])
        await ana.click("button", "1 new ↓")
        await ana.until("the end", HAS, 2501)
        await ana.until("in sight", "return document.querySelector('#latest').hidden")
        await ana.js("document.querySelector('#log').scrollTop = 0")
        self.assertEqual((await ana.js(ENTRIES))[-1], [2501, "seed", "new"])
        self.assertEqual(await ana.complaints(), [])

    async def test_button_for_older(self) -> None:
        """The button loads older entries as well, with the keyboard."""
        suite = await self.serve()
        await seed(suite, "main", ["a line\n" * 20] * 120)
        ana = await self.browse(suite)
        await ana.until("the newest", HAS, 120)
        low = (await ana.js(ENTRIES))[0][0]
        button = await ana.named("button", "Load older entries")
        await ana.do(lambda _: button.send_keys(Keys.ENTER))
        await ana.until(
            "older ones",
            "return Number(document.querySelector('#entries a').hash.slice(1)) < arguments[0]",
            low,
        )

    async def test_link_to_a_slot(self) -> None:
        """A link to a slot shows what is around it, marks it and gives it the focus; times are such links."""
        suite = await self.serve()
        await seed(suite, "main", [f"text {number}" for number in range(1, 601)])
        ana = await self.browse(suite, "#200")
        await ana.until("it is marked", POINTED, 200)
        slots = [slot for slot, _, _ in await ana.js(ENTRIES)]
        self.assertEqual(slots, list(range(slots[0], slots[-1] + 1)))
        self.assertLess(slots[-1], 600)
        await ana.do(lambda driver: driver.find_element("css selector", "#slot-204 a").click())
        await ana.until("the one that was clicked", POINTED, 204)
        self.assertTrue((await ana.js("return location.href")).endswith("/#204"))
        await ana.js("location.hash = '#5'")
        await ana.until("one that was not held", POINTED, 5)
        await ana.js("location.hash = '#9999'")
        await ana.until("one that is not there", SAYS, "There is no entry #9999 yet: the latest is #600.")
        await ana.js("location.hash = '#5'")
        await ana.until("back", POINTED, 5)
        await ana.type("textbox", "Name", "ana")
        await self.write(ana, "from far back")
        await ana.until("the end, with what was written", HAS, 601)
        time = await ana.js("return document.querySelector('#slot-601 time').dateTime")
        self.assertRegex(time, r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
        self.assertEqual(await ana.complaints(), [])

    async def test_markup_is_text(self) -> None:
        """Markup in a text, a name or an address is shown as it was written, and does nothing."""
        suite = await self.serve()
        bad = "<img src=x onerror=\"document.title='bad'\"><script>document.title='bad'</script>&amp;"
        ana = await self.browse(suite, author="<b>ana</b>")
        await self.write(ana, bad)
        await ana.until("it is there", HAS, 1)
        self.assertEqual(await ana.js(ENTRIES), [[1, "<b>ana</b>", bad]])
        await ana.open(address(suite, "?room=<img src=x>"))
        await ana.until("the name is refused", SAYS, "A room's name has 1 to 64 of")
        self.assertEqual(await ana.js("return document.images.length"), 0)
        self.assertEqual(await ana.complaints(), [])

    async def test_what_may_not_be_sent(self) -> None:
        """What is too long, or lacks a name, is said beside the text, which stays."""
        suite = await self.serve()
        ana = await self.browse(suite)
        await self.write(ana, "who?")
        await ana.until("a name is wanted", SAYS, "Please fill in a name.")
        self.assertEqual(await ana.js("return document.activeElement.id"), "author")
        await ana.keys("ana", Keys.ENTER, Keys.ENTER)
        await ana.until("it is sent", HAS, 1)
        await ana.js(PASTE, "x" * 16_385)
        await ana.until("it is counted", SAYS, "16,385 / 16,384")
        await ana.click("button", "Send")
        await ana.until("it is refused", SAYS, "This is too long by 1")
        invalid = "return document.querySelector('#content').matches('[aria-invalid=true]:focus')"
        self.assertTrue(await ana.js(invalid))
        self.assertEqual(await ana.js("return document.querySelector('#content').value.length"), 16_385)
        await ana.keys(Keys.BACKSPACE, Keys.ENTER)
        await ana.until("it is sent", HAS, 2)
        self.assertEqual(await ana.complaints(), [])

    async def test_what_the_server_refuses(self) -> None:
        """What the server refuses stands beside the text, which can be edited, sent again or discarded."""
        suite = await self.serve(max_rooms=1, max_message=2048)
        await seed(suite, "main", ["the one room"])
        ana = await self.browse(suite, "?room=other", author="ana")
        await self.write(ana, "no room for this")
        await ana.until("why", SAYS, "Not sent: there are 1 rooms, and no more are made.")
        await ana.click("button", "Try again")
        await ana.until("no, again", SAYS, "Not sent: there are 1 rooms, and no more are made.")
        await ana.click("button", "Edit")
        await ana.until(
            "it is back",
            "return document.querySelector('#content').value === arguments[0]",
            "no room for this",
        )
        await ana.until("nothing left to send", UNSENT, [])
        await ana.open(address(suite))
        await ana.until("connected", STATE, "connected")
        await ana.js(PASTE, "x" * 4000)
        await ana.click("button", "Send")
        await self.write(ana, "short")
        await ana.until(
            "the large one is refused", SAYS, "Not sent: the server does not take messages this large."
        )
        await ana.until("the short one is not", HAS, 2)
        await ana.click("button", "Discard")
        await ana.until("nothing left to send", UNSENT, [])
        self.assertEqual(await history(suite), [[1, "seed", "the one room"], [2, "ana", "short"]])

    async def test_another_room(self) -> None:
        """The form goes to another room, with what is written there and the same name."""
        suite = await self.serve()
        await seed(suite, "garden", ["green"])
        ana = await self.browse(suite, author="ana")
        await self.write(ana, "in main")
        await ana.until("it is there", HAS, 1)
        await ana.type("textbox", "Room", "no such name", Keys.ENTER)
        await ana.until("why not", SAYS, "A room's name has 1 to 64 of")
        await ana.type("textbox", "Room", "garden", Keys.ENTER)
        await ana.until("there", SAYS, "green")
        self.assertTrue((await ana.js("return location.href")).endswith("/?room=garden"))
        await self.write(ana, "in the garden")
        await ana.until("it is there", HAS, 2)
        self.assertEqual(await history(suite, "garden"), [[1, "seed", "green"], [2, "ana", "in the garden"]])
        self.assertEqual(await history(suite), [[1, "ana", "in main"]])
        self.assertEqual(await ana.complaints(), [])

    async def test_another_log(self) -> None:
        """When a room has another log after a restart, what was shown is cleared, and that is said."""
        suite = await self.serve()
        await seed(suite, "main", ["old"] * 3)
        ana = await self.browse(suite)
        await ana.until("the log", HAS, 3)
        await suite.kill()
        shutil.rmtree(suite.data)
        await suite.start()
        await seed(suite, "main", ["new"])
        await ana.until("it is said", SAYS, "This room has another log now.")
        await ana.until("it is shown", ARE, [[1, "seed", "new"]])

    async def test_keyboard(self) -> None:
        """Everything can be reached, seen and done without a mouse."""
        suite = await self.serve()
        await seed(suite, "main", [f"text {number}" for number in range(1, 201)])
        ana = await self.browse(suite)
        await ana.until("the log", HAS, 200)
        await ana.keys("ana", Keys.TAB)
        await ana.keys("typed", Keys.ENTER)
        await ana.until("it is sent", HAS, 201)
        await ana.chord(Keys.SHIFT, Keys.TAB)  # the name
        await ana.chord(Keys.SHIFT, Keys.TAB)  # the log: one entry of it
        self.assertEqual(await ana.js("return document.activeElement.id"), "slot-201")
        await ana.keys(Keys.ARROW_UP, Keys.ARROW_UP)
        self.assertEqual(await ana.js("return document.activeElement.id"), "slot-199")
        self.assertNotEqual(
            await ana.js("return getComputedStyle(document.activeElement).outlineStyle"), "none"
        )
        await ana.keys(Keys.ENTER)
        await ana.until("its address", POINTED, 199)
        await ana.chord(Keys.SHIFT, Keys.TAB)  # no stop at each of the entries
        self.assertEqual(await ana.js("return document.activeElement.textContent"), "Load older entries")
        latest = await ana.named("button", "Latest ↓")
        await ana.do(lambda _: latest.send_keys(Keys.ENTER))
        await ana.until("back at the end", "return document.querySelector('#latest').hidden")
        self.assertEqual(await ana.js("return document.activeElement.id"), "content")
        top = await ana.js("return document.querySelector('#log').scrollTop")
        await ana.keys(Keys.PAGE_UP)
        self.assertLess(await ana.js("return document.querySelector('#log').scrollTop"), top)

    async def test_roles_and_names(self) -> None:
        """Whoever cannot see the page finds its parts by their roles and names."""
        suite = await self.serve()
        await seed(suite, "main", ["text"])
        ana = await self.browse(suite)
        await ana.until("the log", HAS, 1)
        for role, name in (
            ("heading", "Room main"),
            ("log", "Entries"),
            ("textbox", "Room"),
            ("button", "Join"),
            ("textbox", "Name"),
            ("textbox", "Message"),
            ("button", "Send"),
            ("form", "Write"),
            ("form", "Another room"),
            ("link", "Skip to writing"),
        ):
            await ana.named(role, name)
        await ana.until("announced", ANNOUNCED, "Connected")
        await ana.until("live", "return document.querySelector('#log').ariaLive === 'polite'")
        self.assertEqual(await ana.js("return document.documentElement.lang"), "en")

    async def test_narrow_and_wide(self) -> None:
        """Nothing has to be scrolled sideways, in any width from 320 pixels on."""
        suite = await self.serve()
        await seed(suite, "main", ["x" * 3000, "a b " * 500])
        ana = await self.browse(suite, author="W" * 64)
        await self.write(ana, "y" * 1000)
        await ana.until("the log", HAS, 3)
        for width in (320, 360, 768, 1200, 2560):
            await ana.cdp(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=700,
                deviceScaleFactor=1,
                mobile=False,
            )
            self.assertEqual(await ana.js(WIDE), [], width)

    async def test_hidden(self) -> None:
        """The title counts what came while nobody looked."""
        suite = await self.serve()
        ana = await self.browse(suite, author="ana")
        await ana.until("empty", SAYS, "Nothing here yet.")
        await ana.js(HIDE, True)
        await seed(suite, "main", ["one", "two"])
        await ana.until("counted", "return document.title === '(2) main – chatlog'")
        await ana.js(HIDE, False)
        await ana.until("seen", "return document.title === 'main – chatlog'")


class LogicTests(TestCase):
    """What needs no browser."""

    timeout = LIMIT

    async def test_state(self) -> None:
        """The page's logic holds against a model: cuts anywhere, gaps, retention, refusals, bounds."""
        require("node")
        folder = Path(self.mktemp()).absolute()
        shutil.copytree(PAGES, folder / "protosuite" / "chatlog" / "pages")
        shutil.copytree(ASSETS, folder / "protosuite" / "net" / "assets")
        (folder / "package.json").write_text('{"type": "module"}')
        test = Path(shutil.copy(Path(__file__).with_name("chatlog_page.test.mjs"), folder / "protosuite"))
        node = Program(self, "node", "--test", test, folder=folder)
        self.assertEqual(await node.exit(), 0, node.story())

    def test_contrast(self) -> None:
        """Every text has the contrast that WCAG 2 asks for in level AA, in the light and in the dark."""
        light: dict[str, str] = {}
        dark: dict[str, str] = {}
        for style in (ASSETS / "base.css", PAGES / "style.css"):
            for colours, part in zip(
                (light, dark), style.read_text("utf-8").split("@media")[:2], strict=True
            ):
                colours.update(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part))
        self.assertEqual(light.keys(), dark.keys())
        texts = ["text", "soft", "accent", *(f"hue-{number}" for number in range(8))]
        grounds = ["page", "card", "tint", "target"]
        pairs = [(text, ground) for text in texts for ground in grounds]
        pairs += [("bad", "page"), ("bad", "card"), ("on-accent", "accent"), ("text", "bad-tint")]
        pairs += [(f"hue-{number}", "bad-tint") for number in range(8)]
        for colours in (light, dark):
            poor = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
            self.assertEqual({pair: ratio for pair, ratio in poor.items() if ratio < 4.5}, {})


ANNOUNCED = (
    "return new RegExp(arguments[0]).test(document.querySelector('#status [role=status]').textContent)"
)
POINTED = """
const entry = document.getElementById(`slot-${arguments[0]}`);
const log = document.querySelector("#log").getBoundingClientRect();
return entry !== null && entry.classList.contains("target") && entry === document.activeElement &&
  entry.getBoundingClientRect().top >= log.top && entry.getBoundingClientRect().top < log.bottom
"""
PASTE = """
const content = document.querySelector("#content");
content.value = arguments[0];
content.dispatchEvent(new Event("input", { bubbles: true }));
"""
# One page back each time that it is called, and a note of anything that moved by itself meanwhile.
BACK = """
const log = document.querySelector("#log");
const first = [...document.querySelectorAll("#entries > li")].find(
  (entry) => entry.getBoundingClientRect().bottom > log.getBoundingClientRect().top).querySelector(".line");
const { read } = window;
if (read?.entry.isConnected && Math.abs(read.entry.getBoundingClientRect().top - read.top) > 1) {
  window.moved = [read.entry.textContent, read.top, read.entry.getBoundingClientRect().top];
}
document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "PageUp", bubbles: true }));
window.read = { entry: first, top: first.getBoundingClientRect().top };
return document.getElementById("slot-1") !== null && log.scrollTop === 0
"""
WIDE = """
return Array.from(document.querySelectorAll("body *:not(template)"))
  .filter((element) => element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 1 &&
    getComputedStyle(element).overflowX !== "visible" && !element.matches("input, h1"))
  .concat(document.documentElement.scrollWidth > innerWidth ? [document.documentElement] : [])
  .map((element) => element.outerHTML.slice(0, 100))
"""
HIDE = """
Object.defineProperty(document, "hidden", { value: arguments[0], configurable: true });
document.dispatchEvent(new Event("visibilitychange"));
"""


def address(suite: Suite, rest: str = "") -> str:
    """Of the page."""
    return f"http://127.0.0.1:{suite.ports['chatlog']}/{rest}"


def strange(complaints: list[str]) -> list[str]:
    """What a console says beside that there was no server."""
    return [line for line in complaints if "WebSocket connection to" not in line]


async def seed(suite: Suite, room: str, texts: list[str]) -> None:
    """Append texts, and wait until they are in the log."""

    def act(socket: ClientConnection) -> None:
        for first in range(0, len(texts), 500):
            some = range(first, min(first + 500, len(texts)))
            for seq in some:
                append = {"type": "ClientAppend", "seq": seq, "author": "seed", "content": texts[seq]}
                socket.send(json.dumps(append))
            for _ in some:
                if json.loads(socket.recv(LIMIT))["type"] != "ServerAck":
                    raise AssertionError("refused")

    await _with_socket(suite, room, act)


async def history(suite: Suite, room: str = "main") -> list[list[Any]]:
    """Slot, author and content of the last 1,000 entries, as the server has them."""

    def act(socket: ClientConnection) -> list[list[Any]]:
        socket.send(json.dumps({"type": "ClientUpdate", "n": 1000, "upto": -1}))
        entries = json.loads(socket.recv(LIMIT))["entries"]
        return [[entry["slot"], entry["author"], entry["content"]] for entry in entries]

    found: list[list[Any]] = await _with_socket(suite, room, act)
    return found


async def _with_socket(suite: Suite, room: str, act: Any) -> Any:
    def work() -> Any:
        url = f"ws://127.0.0.1:{suite.ports['chatlog']}/rooms/{room}"
        with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None, max_size=None) as socket:
            return act(socket)

    return await deferToThread(work)


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, as WCAG 2 defines it."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    """The relative luminance of ``#rrggbb``."""
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
