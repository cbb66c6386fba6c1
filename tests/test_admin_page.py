"""The dashboard in a real browser, over a suite in which something goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

from selenium.webdriver.common.keys import Keys
from twisted.trial.unittest import TestCase

import protosuite.admin
from protosuite.net.pages import ASSETS
from tests.browser import Browser
from tests.chatlog_peers import join
from tests.mediachat_peers import OPEN
from tests.peers import add, connect
from tests.processes import LIMIT, Program, Suite
from tests.requirements import require
from tests.test_chatlog_page import contrast

PAGES = Path(protosuite.admin.__file__).parent / "pages"
EVIL = "<img src=x onerror=alert(1)>"

STATE = "return document.querySelector('#status').dataset.state === arguments[0]"
CARD = """
const card = document.querySelector(`[data-service="${arguments[0]}"]`);
return card !== null && card.innerText.replaceAll("\\u202f", "").includes(arguments[1])
"""
LABEL = """
return Array.from(document.querySelectorAll("svg"), (chart) => chart.getAttribute("aria-label"))
  .filter((label) => label.includes(arguments[0])).length === arguments[1]
"""
LINE = """
const card = document.querySelector(`[data-service="${arguments[0]}"]`);
return card?.querySelector(".rate .line").getAttribute("d").includes("L")
"""
SAYS = "return document.body.innerText.includes(arguments[0])"
# What does not fit: there is only one thing that scrolls from side to side.
WIDE = """
const narrow = document.documentElement.scrollWidth <= innerWidth;
return (narrow ? [] : [...document.querySelectorAll("body *")])
  .filter((element) => !element.closest(".hidden, .scroll"))
  .filter((element) => element.getBoundingClientRect().right > innerWidth)
  .map((element) => element.outerHTML.slice(0, 100))
"""
# Each colour of text with the one behind it, where there is text.
COLOURS = """
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if (!colour.startsWith("rgba(") && !colour.startsWith("color(")) return colour;
  }
  return getComputedStyle(document.documentElement).backgroundColor;
};
const found = new Map();
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (own && element.checkVisibility() && !element.closest(".hidden, .skip, svg, template")) {
    const colours = [getComputedStyle(element).color, behind(element)];
    found.set(colours.join(), [...colours, element.outerHTML.slice(0, 80)]);
  }
}
return [...found.values()]
"""


class DashboardTests(TestCase):
    """What is to be seen at ``/``."""

    timeout = LIMIT

    async def serve(self) -> Suite:
        """A suite in which something goes on in every service."""
        slow = {"interval": 60, "max_messages": 65535}
        suite = Suite(self, numbers=slow, mediachat=OPEN, admin={"probe_timeout": 10})
        await suite.start()
        await add(self, suite, 12_345_678)
        stream = await connect(self, suite.numbers)
        stream.say("start", client="ana")
        await stream.message()
        member = await join(self, suite)
        member.say("ClientAppend", seq=0, author="ana", content="hello")
        await member.next("ServerAck")
        subscribe = ("subscribe", "sensor.#", "--durable", EVIL)
        suite.client("protosuite-bus", suite.ports["bus"], *subscribe)
        says = suite.client("protosuite-mediachat", suite.ports["mediachat"], "--client", "7", "say", "Hello")
        self.assertEqual(await says.exit(), 0, says.story())
        refused = await connect(self, suite.numbers)
        refused.send(b"garbage\n")
        await refused.everything()
        return suite

    async def browse(self, suite: Suite) -> Browser:
        """A browser that shows the dashboard."""
        browser = Browser(self)
        await browser.start()
        await browser.open(f"http://127.0.0.1:{suite.ports['admin']}/")
        await browser.until("connected", STATE, "connected")
        return browser

    async def test_what_goes_on(self) -> None:
        """Each service is shown with what goes on in it, names that look like markup as they are."""
        suite = await self.serve()
        browser = await self.browse(suite)
        for service, text in (
            ("counter", "12345678"),
            ("numbers", "ana"),
            ("chatlog", "main"),
            ("mediachat", "Client 7"),
            ("bus", EVIL),
            ("admin", "writes in order"),
        ):
            await browser.until(f"{service} shows {text}", CARD, service, text)
        await browser.named("progressbar", "Stream of ana")
        await browser.until("the refusal", SAYS, "a message is not JSON in UTF-8")
        await browser.until("ready", SAYS, "Ready")
        self.assertEqual(await browser.js("return document.images.length"), 0)
        for service in ("counter", "numbers", "bus", "chatlog", "mediachat", "admin"):
            await browser.until(f"a line for {service}", LINE, service)
        before = await browser.js("return document.querySelector('#about').textContent")
        await browser.until(
            "it goes on", "return document.querySelector('#about').textContent !== arguments[0]", before
        )
        await add(self, suite, 1)
        await browser.until("one more", CARD, "counter", "12345679")
        self.assertEqual(await browser.complaints(), [])

    async def test_something_is_wrong(self) -> None:
        """What keeps the suite from its work is said, to screen readers too, until it is mended."""
        suite = await self.serve()
        browser = await self.browse(suite)
        file, away = suite.data / "protosuite.sqlite3", suite.data / "away"
        file.rename(away)
        await browser.until("it is said", SAYS, "Not ready")
        alert = await browser.named("alert", "")
        self.assertEqual(await browser.do(lambda _: alert.text), "file: the file of the database is gone")
        self.assertIn("Not ready", await browser.js("return document.title"))
        away.rename(file)
        await browser.until("it is mended", "return document.querySelector('#trouble').textContent === ''")
        self.assertEqual(await browser.js("return document.title"), "protosuite")

    async def test_the_server_is_killed(self) -> None:
        """A page whose server is gone says so, and what it shows fades; it comes back, and begins anew."""
        suite = await self.serve()
        browser = await self.browse(suite)
        await browser.until("a line", LINE, "counter")
        await suite.kill()
        await browser.until("it is lost", STATE, "lost")
        await browser.until("it fades", "return getComputedStyle(document.querySelector('main')).opacity < 1")
        colour = "return getComputedStyle(document.querySelector(arguments[0])).color"
        self.assertEqual(await browser.js(colour, "main h2"), await browser.js(colour, "h1"))
        self.assertNotEqual(await browser.js(colour, "main h2"), await browser.js(colour, "#status"))
        await suite.start()
        await browser.until("connected", STATE, "connected")
        await browser.until("a line", LINE, "counter")
        await browser.until("nothing of before", CARD, "numbers", "Streams\n0")

    async def test_keyboard(self) -> None:
        """The hour is chosen with the keyboard; each chart says what it shows to those who do not see it."""
        suite = await self.serve()
        browser = await self.browse(suite)
        await browser.until("all charts", LABEL, "last 5 minutes: now", 27)
        await browser.keys(Keys.TAB)
        self.assertEqual(await browser.js("return document.activeElement.className"), "skip")
        await browser.keys(Keys.TAB, Keys.ARROW_RIGHT)
        await browser.until("the hour", LABEL, "last hour: now", 27)
        await browser.keys(Keys.ARROW_LEFT)
        await browser.until("the minutes", LABEL, "last 5 minutes: now", 27)

    async def test_sizes_and_colours(self) -> None:
        """From a phone to a wall, light and dark, nothing is cut off and all text can be read."""
        suite = await self.serve()
        browser = await self.browse(suite)
        await browser.until("all is there", CARD, "mediachat", "Client 7")
        for width in (320, 360, 768, 1280, 1920, 3840):
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            await browser.cdp("Emulation.setDeviceMetricsOverride", **size)
            self.assertEqual(await browser.js(WIDE), [], width)
        for scheme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            await browser.cdp("Emulation.setEmulatedMedia", features=[feature])
            found = await browser.js(COLOURS)
            self.assertGreater(len(found), 5)
            for colour, behind, where in found:
                ratio = contrast(hexadecimal(colour), hexadecimal(behind))
                self.assertGreaterEqual(ratio, 4.5, f"{scheme}: {colour} on {behind} in {where}")


class LogicTests(TestCase):
    """What needs no browser."""

    timeout = LIMIT

    async def test_logic(self) -> None:
        """The page's logic holds: what it keeps, what it draws, when it asks."""
        require("node")
        folder = Path(self.mktemp()).absolute()
        pages = folder / "protosuite" / "admin" / "pages"
        shutil.copytree(PAGES, pages)
        shutil.copytree(ASSETS, pages / "assets")
        (folder / "package.json").write_text('{"type": "module"}')
        test = Path(shutil.copy(Path(__file__).with_name("admin_page.test.mjs"), folder / "protosuite"))
        node = Program(self, "node", "--test", test, folder=folder)
        self.assertEqual(await node.exit(), 0, node.story())

    def test_no_markup_from_data(self) -> None:
        """No script makes markup of texts, and the page has no scripts or styles in it."""
        for path in PAGES.iterdir():
            text = path.read_text("utf-8")
            for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "style=", "eval("):
                self.assertNotIn(word, text, path)


def hexadecimal(colour: str) -> str:
    """``rgb(1, 2, 3)`` as ``#010203``."""
    parts = colour.removeprefix("rgb(").removesuffix(")").split(",")
    return "#" + "".join(f"{int(part):02x}" for part in parts)
