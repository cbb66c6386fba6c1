"""The documentation's examples for other people's languages, run as they stand."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from selenium.webdriver.common.keys import Keys
from twisted.trial.unittest import TestCase

from tests.browser import Browser
from tests.processes import LIMIT, Program, Suite, free_port, poll
from tests.requirements import missing, require, require_netcat
from tests.test_examples import EXAMPLES, with_ports
from tests.test_websocket import listens

ROOT = EXAMPLES.parent.parent
PACKAGES = ROOT / "build" / "node"
LENGTHS = [10**digits + 7 for digits in range(19)]  # increments of 1 to 19 digits
SHOWN = (
    "return Array.from(document.querySelectorAll('#entries > li'), (li) => li.value + ' ' + li.textContent)"
)
SAYS = f"{SHOWN}.join('; ') === arguments[0]"
STATE = "return document.getElementById('state').textContent === arguments[0]"


async def protobufjs(case: TestCase) -> Path:
    """The folder of packages with protobufjs among them, which npm fetches once."""
    require("node", "npm")
    modules = PACKAGES / "node_modules"
    if not (modules / "protobufjs").exists():
        PACKAGES.mkdir(parents=True, exist_ok=True)
        options = ("--no-audit", "--no-fund", "--loglevel=error", "--prefix", PACKAGES)
        fetched = Program(case, "npm", "install", *options, "protobufjs@8", folder=PACKAGES)
        if await fetched.exit() != 0:
            missing(f"protobufjs is not to be had: npm install protobufjs: {fetched.story()}")
    return modules


class LanguageTests(TestCase):
    """Against a suite, with that suite's ports in the place of the defaults."""

    timeout = LIMIT

    async def suite(self) -> Suite:
        """One that runs, and sends numbers fast."""
        suite = Suite(self, numbers={"interval": "0.01"})
        await suite.start()
        return suite

    async def shown(self, suite: Suite, *command: str, text: str = "", **environment: str) -> list[str]:
        """What the example that `command` ends with prints, or `text` in its place."""
        file = suite.folder / command[-1]
        file.write_text(with_ports(text or (EXAMPLES / file.name).read_text("utf-8"), suite), "utf-8")
        run = Program(self, *command[:-1], file, folder=suite.folder, environment=environment)
        self.assertEqual(await run.exit(), 0, run.story())
        self.assertEqual(run.errors, [])
        return run.output

    async def test_numbers_with_nc(self) -> None:
        """A stream by netcat is whole, and one from a place of one's choice goes on with the same numbers."""
        require_netcat()
        output = await self.shown(await self.suite(), "sh", "numbers_nc.sh")
        again = output.index(next(line for line in output[1:] if '"type":"session"' in line))
        whole, rest = output[:again], output[again:]
        self.assertIn('"next":0', whole[0])
        self.assertIn('"next":1', rest[0])
        self.assertEqual(rest[1:], whole[2:])
        self.assertIn('"type":"end"', whole[-1])

    async def test_counter_in_node(self) -> None:
        """The client in Node counts, with increments of any length."""
        require("node")
        suite = await self.suite()
        self.assertEqual(await self.shown(suite, "node", "counter_client.mjs"), ["1 11 266 266"])
        text = (EXAMPLES / "counter_client.mjs").read_text("utf-8")
        text = text.replace("[1n, 10n, 255n]", f"[{', '.join(f'{n}n' for n in LENGTHS)}]")
        [line] = await self.shown(suite, "node", "counter_client.mjs", text=text)
        self.assertEqual(int(line.split()[-1]), 266 + sum(LENGTHS))

    async def test_counter_in_go(self) -> None:
        """The client in Go counts, with increments of any length."""
        require("go")
        suite = await self.suite()
        places = {"GOCACHE": str(ROOT / "build" / "go"), "GOPATH": str(suite.folder / "go")}
        shown = await self.shown(suite, "go", "run", "counter_client.go", **places)
        self.assertEqual(shown, ["1", "11", "266", "266"])
        text = (EXAMPLES / "counter_client.go").read_text("utf-8")
        text = text.replace("{1, 10, 255, 0}", f"{{{', '.join(map(str, LENGTHS))}}}")
        shown = await self.shown(suite, "go", "run", "counter_client.go", text=text, **places)
        self.assertEqual(int(shown[-1]), 266 + sum(LENGTHS))

    async def test_bus_in_node(self) -> None:
        """The client in Node is answered, gets its event from a durable subscription, and deletes that."""
        modules = await protobufjs(self)
        suite = await self.suite()
        proto = (ROOT / "protosuite" / "bus" / "bus.proto").read_text("utf-8")
        (suite.folder / "bus.proto").write_text(proto, "utf-8")
        shown = await self.shown(suite, "node", "bus_client.cjs", NODE_PATH=str(modules))
        self.assertEqual(shown[:2], ["echo héllo", "add 12"])
        self.assertEqual(sorted(shown[2:]), ["event sensor.kitchen 21.5", "receipt 1 1"])
        command = ("delete", "sensor.#", "--durable", "from-node")
        deleting = suite.client("protosuite-bus", suite.ports["bus"], *command)
        self.assertEqual(await deleting.exit(), 1, deleting.story())  # there is none any more


class BrowserTests(TestCase):
    """A page of one's own, from a server of one's own."""

    timeout = LIMIT

    async def test_chatlog_in_a_browser(self) -> None:
        """The page shows the room, says something once, and comes back when the server does."""
        require("chromium", "chromedriver")
        port = free_port()
        suite = Suite(self, chatlog={"origins": f"http://127.0.0.1:{port}"})
        await suite.start()
        page = suite.folder / "page"
        page.mkdir()
        text = with_ports((EXAMPLES / "chatlog_page.html").read_text("utf-8"), suite)
        (page / "index.html").write_text(text, "utf-8")
        command = ("-m", "http.server", "--bind", "127.0.0.1", str(port))
        server = Program(self, sys.executable, *command, folder=page)
        await poll(lambda: server.over or listens(port), "the server of the page listens")

        browser = Browser(self)
        await browser.start()
        await browser.open(f"http://127.0.0.1:{port}/")
        await browser.until("connected", STATE, "connected")
        await browser.type("textbox", "Text", "<b>hello</b>", Keys.ENTER)
        await browser.until("shown as text", SAYS, "1 browser: <b>hello</b>")
        await suite.kill()
        await browser.until("it is lost", STATE, "no connection")
        await browser.type("textbox", "Text", "still there?", Keys.ENTER)
        await suite.start()
        await browser.until("both, once", SAYS, "1 browser: <b>hello</b>; 2 browser: still there?")
        other = suite.client("protosuite-chatlog", suite.ports["chatlog"], "main", "--verify")
        self.assertEqual(await other.exit(), 0, other.story())
        self.assertTrue(re.search(r"slots 1 to 2, 2 hashes checked", "\n".join(other.output)), other.story())
