"""The pages of the media chat, in real browsers, with a real server that is killed now and then."""

from __future__ import annotations

import base64
import json
import random
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

import protosuite.mediachat
from protosuite.mediachat.wire import SUBPROTOCOL
from protosuite.net.pages import ASSETS
from tests.browser import Browser
from tests.processes import LIMIT, Program, Suite, poll, together
from tests.requirements import require

PAGES = Path(protosuite.mediachat.__file__).parent / "pages"
ALWAYS = {f"hours_{kind}": "always" for kind in ("text", "voice", "image", "file", "video")}
MIB = 1 << 20

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

STATE = "return document.querySelector('#status').dataset.state === arguments[0]"
SAYS = "return document.body.innerText.includes(arguments[0])"
# Who said what: of media their names.
SHOWN = """
return Array.from(document.querySelectorAll("#messages > li"), (item) => [
  item.querySelector(".who").textContent,
  Array.from(item.querySelectorAll(".text, .caption bdi, .download bdi"), (part) => part.textContent).join(),
])
"""
SHOWS = (
    f"const shown = (() => {{ {SHOWN} }})(); return JSON.stringify(shown) === JSON.stringify(arguments[0])"
)
NOTHING_WAITS = "return document.querySelectorAll('#unsent > li, #files-list > li').length === 0"
DRAWN = "return document.querySelector('#messages img')?.naturalWidth > 0"

# The connection takes so many bytes of media and then no more, until `limit` is another one.
HOLD = """
const send = WebSocket.prototype.send;
window.sent = 0;
window.limit = %d;
WebSocket.prototype.send = function (data) {
  if (typeof data !== "string" && data.byteLength > 2000) window.sent += data.byteLength;
  return send.call(this, data);
};
const get = () => (window.sent >= window.limit ? 600_000 : 0);
Object.defineProperty(WebSocket.prototype, "bufferedAmount", { get });
"""
ALL = "window.limit = Infinity"

STREAMS = """
const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
window.streams = [];
navigator.mediaDevices.getUserMedia = async (what) => {
  const stream = await get(what);
  window.streams.push(stream);
  return stream;
};
"""
ALL_ENDED = """
return window.streams.flatMap((each) => each.getTracks()).every((track) => track.readyState === "ended")
"""

# So many seconds have been recorded, or more: a slow browser is not seen in each of them.
# The time of the recording that goes on: that of one before it is still in the hidden page.
RUNS = r"""
const { hidden, dataset } = document.querySelector("#recorder");
if (hidden || dataset.state !== "recording") return false;
const time = document.querySelector("#recorder .time").textContent.match(/(\d+):(\d\d)/);
const [, minutes, seconds] = time ?? [0, 0, 0];
return 60 * minutes + Number(seconds) >= arguments[0]
"""

# The server does nothing that is posted while `isAway`. The page's clock is fast.
AWAY = """
const ask = window.fetch;
window.isAway = true;
window.fetch = async (what, options) => window.isAway && options?.method === "POST"
  ? new Response('{"detail": "the storage is away"}', { status: 503 }) : ask(what, options);
const set = window.setInterval;
window.setInterval = (act, wait) => set(act, wait / 50);
"""

TRANSFER = """
const data = new DataTransfer();
for (const name of arguments[1]) data.items.add(new File(["some bytes"], name, { type: "text/plain" }));
const event = arguments[0] === "paste"
  ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
  : new DragEvent(arguments[0], { dataTransfer: data, bubbles: true, cancelable: true });
document.querySelector("#content").dispatchEvent(event);
"""
WIDE = """
return Array.from(document.querySelectorAll("body *:not(template)"))
  .filter((element) => element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 1 &&
    !["visible", "hidden"].includes(getComputedStyle(element).overflowX) && !element.matches("input"))
  .concat(document.documentElement.scrollWidth > innerWidth ? [document.documentElement] : [])
  .concat(Array.from(document.querySelectorAll("button, textarea, input, .line")).filter((element) =>
    element.getBoundingClientRect().right > innerWidth + 0.5))
  .map((element) => element.outerHTML.slice(0, 100))
"""
# What cannot be brought up by somebody who scrolls: what hides its overflow is scrolled by scripts alone.
OUT_OF_REACH = """
const seen = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.matches(".skip");
return Array.from(document.querySelectorAll("button, textarea")).filter(seen).filter((element) => {
  element.scrollIntoView({ block: "nearest" });
  const { top, bottom } = element.getBoundingClientRect();
  const isMoved = [document.body, document.documentElement].some((each) => each.scrollTop > 0);
  document.body.scrollTop = document.documentElement.scrollTop = 0;
  return isMoved || top < -1 || bottom > innerHeight + 1;
}).map((element) => element.outerHTML.slice(0, 100))
"""
# What is posted stays on its way.
HELD = "XMLHttpRequest.prototype.send = () => {};"
HIDE = """
Object.defineProperty(document, "hidden", { value: arguments[0], configurable: true });
document.dispatchEvent(new Event("visibilitychange"));
"""


class Pages(TestCase):
    """A suite, clients and consoles."""

    timeout = LIMIT

    async def serve(self, **settings: object) -> Suite:
        """A suite that runs, and is open for everything unless it is told otherwise."""
        suite = Suite(self, mediachat={**ALWAYS, **settings})
        await suite.start()
        return suite

    async def browse(self, suite: Suite, rest: str = "?client=7", script: str = "") -> Browser:
        """A browser that shows a page, connected. `script` runs before those of the page."""
        browser = Browser(self)
        await browser.start()
        if script:
            await browser.cdp("Page.addScriptToEvaluateOnNewDocument", source=script)
        await browser.open(address(suite, rest))
        await browser.until("connected", STATE, "connected")
        return browser

    async def answer(self, browser: Browser, text: str) -> None:
        """Write an answer and press Enter."""
        await browser.type("textbox", "Answer", text, Keys.ENTER)

    async def write(self, browser: Browser, text: str) -> None:
        """Write a message and press Enter."""
        await browser.type("textbox", "Message", text, Keys.ENTER)

    async def pick(self, browser: Browser, *paths: Path) -> None:
        """Choose files, as if in the dialog that the button opens."""
        text = "\n".join(map(str, paths))
        await browser.do(lambda driver: driver.find_element(By.ID, "files").send_keys(text))

    def file(self, name: str, data: bytes) -> Path:
        """A file to be sent."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        path = folder / name
        path.write_bytes(data)
        return path

    async def stored(self, suite: Suite, id: int) -> bytes:
        """What the server has as the bytes of a message."""
        return await deferToThread(lambda: _fetch(suite, f"media/{id}"))


class ConversationTests(Pages):
    """A client and the people who answer."""

    async def test_conversation(self) -> None:
        """Text, an upload with a reload in between, an answer with text and a picture: both see the same."""
        suite = await self.serve()
        client, desk = await together(
            [self.browse(suite, script=HOLD % (2 * MIB)), self.browse(suite, "console")]
        )
        await self.write(client, "Hello")
        await desk.until("there is a chat", "return document.querySelector('#chat-1') !== null")
        await desk.until("it is unread", SAYS, "1\n")
        await desk.do(lambda driver: driver.find_element(By.CSS_SELECTOR, "#chat-1 a").click())
        await desk.until("the text", SHOWS, [["Client", "Hello"]])
        await self.answer(desk, "Good morning")
        path = self.file("film.bin", data := random.Random(1).randbytes(5 * MIB))
        await self.pick(client, path)
        await client.until("a part of it", "return window.sent >= window.limit")
        await poll(lambda: _part(suite) >= 2 * MIB or None, "the part on the server")
        await client.js("location.reload()")
        await client.until("it says what is needed", SAYS, "Choose it again")
        await client.until("the answer", SHOWS, [["You", "Hello"], ["Desk", "Good morning"]])
        await client.js(ALL)
        await self.pick(client, path)
        await client.until("all is sent", NOTHING_WAITS)
        said = [["Hello"], ["Good morning"], ["film.bin"]]
        await client.until("the file", SHOWS, _by(said, "You", "Desk", "You"))
        self.assertLessEqual(await client.js("return window.sent"), 3 * MIB)  # it went on where it was
        self.assertEqual(await self.stored(suite, 3), data)
        await self.pick(desk, self.file("answer.png", PNG))
        said.append(["answer.png"])
        for browser, me, other in ((client, "You", "Desk"), (desk, "Client", "Desk")):
            await browser.until("everything", SHOWS, _by(said, me, other, me, other))
            await browser.until("the picture", DRAWN)
            self.assertEqual(await browser.complaints(), [])

    async def test_killed_in_an_upload(self) -> None:
        """The server is killed in the middle of an upload and started again: it goes on, and is right."""
        suite = await self.serve()
        client, desk = await together(
            [self.browse(suite, script=HOLD % (4 * MIB)), self.browse(suite, "console")]
        )
        path = self.file("film.bin", data := random.Random(2).randbytes(8 * MIB))
        await self.pick(client, path)
        await client.until("a part of it", "return window.sent >= window.limit")
        await poll(lambda: _part(suite) >= 4 * MIB or None, "the part on the server")
        await client.until("progress", SAYS, "% of 8.4 MB")
        await suite.kill()
        for browser in (client, desk):
            await browser.until("lost", STATE, "lost")
            await browser.until("which is said", SAYS, "trying again in")
        await self.write(client, "written without a server")
        await client.until("both wait", SAYS, "Waits for the connection")
        await client.js(ALL)
        await suite.start()
        await client.until("all is sent", NOTHING_WAITS)
        self.assertEqual(await client.js("return window.sent"), 8 * MIB)  # no byte twice
        rows = await history(suite)
        self.assertEqual([row["kind"] for row in rows], ["text", "file"])
        self.assertEqual(rows[1]["sha256"], sha256(data).hexdigest())
        await desk.until("the chat", "return document.querySelector('#chat-1') !== null")
        await desk.js("location.hash = '#1'")
        await desk.until("both", SHOWS, [["Client", "written without a server"], ["Client", "film.bin"]])
        for browser in (client, desk):
            self.assertEqual(strange(await browser.complaints()), [])

    async def test_voice(self) -> None:
        """A voice message is recorded, listened to, sent, and plays on both sides, with its length."""
        suite = await self.serve()
        client = await self.browse(suite)
        await client.click("button", "Record a voice message")
        await client.until("it runs", RUNS, 1)
        await client.click("button", "Discard recording")
        await client.until("it is gone", "return document.querySelector('#recorder').hidden")
        await client.click("button", "Record a voice message")
        await client.until("it runs", RUNS, 2)
        await client.click("button", "Stop")
        await client.until("it plays", PLAYS, "#recorder audio")
        await client.click("button", "Send voice message")
        await client.until("it is sent", NOTHING_WAITS)
        desk = await self.browse(suite, "console#1")
        await desk.click("button", "Media")  # a page that nobody has touched may not play
        for browser in (client, desk):
            await browser.until("it plays", PLAYS, "#messages audio")
            self.assertEqual(await browser.complaints(), [])
        self.assertEqual([(row["kind"], row["status"]) for row in await history(suite)], [("voice", "saved")])

    async def test_asked_twice_for_the_microphone(self) -> None:
        """Whoever presses the button again before the microphone is there records once, and lets it go."""
        suite = await self.serve()
        client = await self.browse(suite, script=STREAMS)
        await client.js("for (const _ of [1, 2]) document.querySelector('#record').click()")
        await client.until("it runs", RUNS, 1)
        await client.click("button", "Discard recording")
        await client.until("it is let go", ALL_ENDED)
        self.assertEqual(await client.js("return window.streams.length"), 1)

    async def test_no_microphone(self) -> None:
        """Without a microphone, or without the right to use it, that is said."""
        suite = await self.serve()
        script = (
            "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', window.trouble) }"
        )
        client = await self.browse(suite, script=script)
        for trouble, words in (
            ("NotFoundError", "No microphone was found."),
            ("NotAllowedError", "may not use"),
        ):
            await client.js("window.trouble = arguments[0]", trouble)
            await client.click("button", "Record a voice message")
            await client.until("it is said", SAYS, words)
            self.assertEqual(await client.js("return document.activeElement.id"), "record")
        self.assertTrue(await client.js("return document.querySelector('#recorder').hidden"))
        self.assertIsNone(await client.js("return document.querySelector('#content').ariaInvalid"))

    async def test_pause_and_cancel(self) -> None:
        """An upload is paused and goes on; another is cancelled; those behind them have their turn."""
        suite = await self.serve()
        client = await self.browse(suite, script=HOLD % (2 * MIB))
        paths = [self.file(f"{name}.bin", name.encode() * 3 * MIB) for name in "abc"]
        await self.pick(client, *paths)
        await client.until("a part", "return window.sent >= window.limit")
        await client.click("button", "Pause a.bin")
        await client.until("it is paused", SAYS, "Paused")
        await client.click("button", "Cancel b.bin")
        await client.js(ALL)
        await client.until("the last one", SHOWS, [["You", "c.bin"]])
        await client.click("button", "Go on a.bin")
        await client.until("all is sent", NOTHING_WAITS)
        await client.until("both", SHOWS, [["You", "c.bin"], ["You", "a.bin"]])
        self.assertEqual(await self.stored(suite, 2), b"a" * 3 * MIB)
        self.assertLess(await client.js("return window.sent"), 7 * MIB)
        self.assertEqual(await client.complaints(), [])

    async def test_same_file_twice(self) -> None:
        """A file that is sent again is another message."""
        suite = await self.serve()
        client = await self.browse(suite)
        path = self.file("a.txt", b"a")
        for count in (1, 2):
            await self.pick(client, path)
            await client.until("it is there", SHOWS, [["You", "a.txt"]] * count)
        await self.pick(client, self.file("empty.txt", b""))
        await client.until("it is there", SHOWS, [["You", "a.txt"]] * 2 + [["You", "empty.txt"]])

    async def test_dropped_and_pasted(self) -> None:
        """Files can be dropped on the page, and pasted."""
        suite = await self.serve()
        client = await self.browse(suite)
        await client.js(TRANSFER, "dragover", ["x"])
        await client.until("it says where", SAYS, "Drop the files here")
        await client.js(TRANSFER, "drop", ["one.txt", "two.txt"])
        await client.js(TRANSFER, "paste", ["three.txt"])
        await client.until("all three", SHOWS, [["You", f"{name}.txt"] for name in ("one", "two", "three")])
        self.assertFalse(await client.js(SAYS, "Drop the files here"))

    async def test_closed(self) -> None:
        """What is closed is said at once with its opening by the reader's clock; what was written stays."""
        never = dict.fromkeys(("hours_voice", "hours_image", "hours_file", "hours_video"), "never")
        suite = await self.serve(hours_text="09:00-09:00", **never)
        client = Browser(self)
        await client.start()
        await client.cdp("Emulation.setTimezoneOverride", timezoneId="Asia/Kolkata")
        await client.cdp("Page.addScriptToEvaluateOnNewDocument", source=NOON)
        await client.open(address(suite, "?client=7"))
        await client.until("closed", SAYS, "Closed now.")
        await client.until("until", SAYS, "Texts are taken again tomorrow at 9:00")
        await client.until("never", SAYS, "Voice messages, pictures, videos, and files are not taken.")
        await client.js("window.offset = 0")
        row = None
        while row is None or row["status"] != "discarded":  # but in that one minute
            await self.write(client, "too late")
            await client.until(
                "an answer", "return document.querySelector('#unsent .state:not(:empty)') === null"
            )
            row = (await history(suite))[-1]
        await client.until("it is said", SAYS, "Closed now, so this was not taken. Texts are taken again t")
        self.assertNotIn("text", row)
        await client.click("button", "Edit")
        self.assertEqual(await client.js("return document.querySelector('#content').value"), "too late")
        await client.until("what is left of it", SAYS, "Text that came outside the hours: not kept")
        self.assertEqual(await client.complaints(), [])

    async def test_closed_for_files(self) -> None:
        """A file that comes when it is closed is not taken, and can be sent again; the console shows both."""
        suite = await self.serve(hours_file="never")
        client, desk = await together([self.browse(suite), self.browse(suite, "console")])
        await client.until("what is closed, and no more", SAYS, "Files are not taken.")
        self.assertFalse(await client.js(SAYS, "Closed now."))
        await self.pick(client, self.file("late.txt", b"late"))
        await client.until("it is said", SAYS, "Closed now, so this was not taken. Files are not taken.")
        await client.click("button", "Send again late.txt")
        await poll_rows(self, suite, 2)
        await client.until("it is said again", SAYS, "this was not taken")
        await client.click("button", "Cancel late.txt")
        await client.until("it is gone", NOTHING_WAITS)
        await desk.js("location.hash = '#1'")
        await desk.until("what came", SAYS, "File that came outside the hours: not kept")
        await desk.until("the hours", SAYS, "Open for texts, voice messages, pictures, and videos")
        self.assertEqual(await desk.js("return document.title"), "Desk")

    async def test_refused(self) -> None:
        """What the server refuses is said, and the text or file is not lost."""
        suite = await self.serve(max_media="1 KiB")
        client = await self.browse(suite)
        await self.pick(client, self.file("large.bin", b"x" * 2000))
        await client.until("why", SAYS, "Not sent: 2000 bytes; at most 1024.")
        await client.named("button", "Go on large.bin")
        await client.js(PASTE, "x" * 16_385)
        await client.until("it is counted", SAYS, "16,385 / 16,384")
        await client.click("button", "Send")
        await client.until("it is refused", SAYS, "This is too long by 1")
        await client.keys(Keys.BACKSPACE, Keys.ENTER)
        await client.until("it is sent", SHOWS, [["You", "x" * 16_384]])
        self.assertEqual(await client.complaints(), [])

    async def test_who_a_client_is(self) -> None:
        """A browser stays the client that it drew, over reloads; an address can name another."""
        suite = await self.serve()
        client = await self.browse(suite, "")
        drawn = await client.js("return document.querySelector('#client').textContent")
        self.assertRegex(drawn, r"\A[1-9][0-9]*\Z")
        await self.write(client, "me")
        await client.until("sent", SHOWS, [["You", "me"]])
        await client.open(address(suite, ""))
        await client.until("the same", SHOWS, [["You", "me"]])
        self.assertEqual(await client.js("return document.querySelector('#client').textContent"), drawn)
        await client.open(address(suite, "?client=nobody"))
        await client.until("it is said", SAYS, "This address names no client")

    async def test_two_tabs(self) -> None:
        """A client's tabs show the same."""
        suite = await self.serve()
        client = await self.browse(suite)
        await client.do(lambda driver: driver.switch_to.new_window("tab"))
        await client.open(address(suite, "?client=7"))
        await client.until("connected", STATE, "connected")
        await self.write(client, "from the second")
        await client.until("sent", SHOWS, [["You", "from the second"]])
        await client.do(lambda driver: driver.switch_to.window(driver.window_handles[0]))
        await client.until("in the first", SHOWS, [["You", "from the second"]])

    async def test_reload_with_texts(self) -> None:
        """What waits for the connection, and what is being written, are there after a reload."""
        suite = await self.serve()
        client = await self.browse(suite)
        suite.program.signal("STOP")
        await self.write(client, "pending")
        await client.type("textbox", "Message", "a draft")
        await client.until("kept", "return sessionStorage.length === 2")
        suite.program.signal("CONT")
        await client.js("location.reload()")
        await client.until("sent, once", SHOWS, [["You", "pending"]])
        self.assertEqual(await client.js("return document.querySelector('#content').value"), "a draft")

    async def test_scroll_back(self) -> None:
        """Older messages come on the way up, on both pages; what is read keeps its place."""
        suite = await self.serve()
        await seed(suite, [f"text {number}" for number in range(1, 251)])
        client, desk = await together([self.browse(suite), self.browse(suite, "console#1")])
        for browser, who in ((client, "You"), (desk, "Client")):
            await browser.until("the newest", SAYS, "text 250")
            self.assertLess(len(await browser.js(SHOWN)), 150)
            await browser.until("page by page, to the first", BACK)
            shown = await browser.js(SHOWN)
            self.assertEqual(shown, [[who, f"text {number}"] for number in range(1, 251)])
            self.assertIsNone(await browser.js("return window.moved"))
        await seed(suite, ["news"])
        await desk.click("button", "1 new ↓")
        await desk.until("the end", "return document.querySelector('#latest').hidden")
        self.assertEqual(await desk.complaints(), [])

    async def test_narrow_and_wide(self) -> None:
        """Nothing has to be scrolled sideways, in any width from 320 pixels on; a phone shows one step."""
        suite = await self.serve()
        name = "W" * 200 + ".txt"
        client, desk = await together([self.browse(suite, script=HOLD % 1000), self.browse(suite, "console")])
        await self.write(client, "x" * 3000)
        await self.write(client, "a b " * 500)
        await client.until("sent", NOTHING_WAITS)
        await client.js("window.limit = 0")
        await self.pick(client, self.file(name, b"x" * 5000), self.file("picture.png", PNG))
        await client.named("button", f"Pause {name}")
        for browser in (client, desk):
            for width in (320, 360, 768, 1200, 2560):
                await narrow(browser, width)
                self.assertEqual(await browser.js(WIDE), [], width)
        await narrow(desk, 360)
        self.assertFalse(await desk.js("return document.querySelector('#about')?.checkVisibility() ?? false"))
        await desk.do(lambda driver: driver.find_element(By.CSS_SELECTOR, "#chat-1 a").click())
        await desk.until("the chat", SAYS, "a b a b")
        self.assertFalse(await desk.js("return document.querySelector('#list').checkVisibility()"))
        for width in (320, 360, 768, 1200, 2560):
            await narrow(desk, width)
            self.assertEqual(await desk.js(WIDE), [], width)
        await narrow(desk, 360)
        await desk.click("button", "← Chats")
        await desk.until("the list", "return document.querySelector('#list').checkVisibility()")
        self.assertEqual(await desk.js("return document.activeElement.closest('li')?.id"), "chat-1")

    async def test_low(self) -> None:
        """Where there is little height, everything to press can be brought up, and messages can be read.

        320 by 256 pixels are a screen of 1280 by 1024 at 400 %.
        """
        suite = await self.serve()
        client = await self.browse(suite, script=HOLD % 0)
        await self.write(client, "hi")
        desk = await self.browse(suite, "console#1", script=HELD)
        for browser in (client, desk):
            await self.pick(browser, *[self.file(f"{name}.bin", b"x" * 5000) for name in "ab"])
            await browser.named("button", "Cancel a.bin")
        await client.click("button", "Record a voice message")
        await client.named("button", "Stop")
        for browser in (client, desk):
            for width, height in ((640, 300), (320, 256)):
                await narrow(browser, width, height)
                self.assertEqual(await browser.js(OUT_OF_REACH), [], (width, height))
        self.assertGreaterEqual(await desk.js("return document.querySelector('#log').clientHeight"), 150)

    async def test_keyboard(self) -> None:
        """A whole conversation without a mouse, and where one is can be seen."""
        suite = await self.serve()
        client = await self.browse(suite)
        await client.keys("typed", Keys.ENTER)
        await client.until("sent", SHOWS, [["You", "typed"]])
        await client.chord(Keys.SHIFT, Keys.TAB)
        self.assertEqual(await client.js("return document.activeElement.id"), "record")
        await client.keys(Keys.ENTER)
        await client.until("it runs", RUNS, 1)
        self.assertEqual(await client.js("return document.activeElement.textContent"), "Stop")
        await client.keys(Keys.ENTER)
        await client.until("listen", "return document.activeElement.textContent === 'Send voice message'")
        await client.keys(Keys.ENTER)
        await client.until("sent", "return document.querySelector('#messages audio') !== null")
        self.assertEqual(await client.js("return document.activeElement.id"), "content")
        desk = await self.browse(suite, "console")
        await desk.until("the chat", "return document.querySelector('#chat-1') !== null")
        await desk.js("document.querySelector('#search').focus()")
        await desk.keys("typed")
        await desk.until("which was not the last", ORDER, [])
        await desk.keys(Keys.BACKSPACE * 5, "7")
        await desk.until("the client", ORDER, ["7"])
        await desk.keys(Keys.ARROW_DOWN)
        self.assertNotEqual(
            await desk.js("return getComputedStyle(document.activeElement).outlineStyle"), "none"
        )
        await desk.keys(Keys.ENTER)
        await desk.until("the field", "return document.activeElement.id === 'content'")
        await desk.keys("answered", Keys.ENTER)
        await client.until("it comes", SAYS, "answered")
        self.assertEqual(await desk.complaints(), [])

    async def test_roles_and_names(self) -> None:
        """Whoever cannot see the pages finds their parts by their roles and names."""
        suite = await self.serve()
        client = await self.browse(suite)
        await self.write(client, "hi")
        await self.pick(client, self.file("picture.png", PNG))
        await client.until("sent", SHOWS, [["You", "hi"], ["You", "picture.png"]])
        desk = await self.browse(suite, "console#1")
        common = [("log", "Messages"), ("button", "Send files"), ("button", "Send"), ("image", "picture.png")]
        common.append(("link", "picture.png"))
        own = {
            client: [("heading", "Chat"), ("textbox", "Message"), ("button", "Record a voice message")],
            desk: [
                *(("heading", "Desk"), ("heading", "Client 7"), ("navigation", "Chats"), ("form", "Answer")),
                *(("searchbox", "Search"), ("textbox", "Answer"), ("button", "Media")),
            ],
        }
        for browser, names in own.items():
            await browser.until("loaded", DRAWN)
            for role, name in (*common, *names):
                await browser.named(role, name)
            await browser.until("live", "return document.querySelector('#log').ariaLive === 'polite'")
            self.assertEqual(await browser.js("return document.documentElement.lang"), "en")
        await desk.click("button", "Media")
        await desk.named("region", "Media of this chat")
        await desk.until("the gallery", "return document.querySelectorAll('#gallery-list img').length === 1")
        await desk.click("button", "Close")
        self.assertEqual(await desk.js("return document.activeElement.id"), "media")


class DeskTests(Pages):
    """Several chats and consoles."""

    async def test_two_consoles(self) -> None:
        """Two consoles show the same: messages, who is there, what is unread, what was read."""
        suite = await self.serve()
        one, two = await together([self.browse(suite, "console"), self.browse(suite, "console")])
        for number in (11, 12):
            await seed(suite, [f"from {number}", "more"], number)
        for desk in (one, two):
            await desk.until("four unread", "return document.title === '(4) Desk'")
            await desk.until("the newest first", ORDER, ["12", "11"])
        await one.js("location.hash = '#1'")
        await self.answer(one, "an answer")
        expected = [["Client", "from 11"], ["Client", "more"], ["Desk", "an answer"]]
        await one.until("read", SHOWS, expected)
        for desk in (one, two):
            await desk.until("two unread", "return document.title === '(2) Desk'")
            await desk.until("the answer is the newest", ORDER, ["11", "12"])
        await two.js("location.hash = '#1'")
        await two.until("the same", SHOWS, expected)
        client = await self.browse(suite, "?client=11")
        for desk in (one, two):
            await desk.until("the client is here", "return document.querySelector('#presence.here') !== null")
        await client.js("location.href = '/chats'")
        for desk in (one, two):
            await desk.until("away", "return document.querySelector('#presence:not(.here)') !== null")
        await client.js("history.back()")  # to the page as it was left, if the browser has kept it
        for desk in (one, two):
            await desk.until("here again", "return document.querySelector('#presence.here') !== null")
            self.assertEqual(await desk.complaints(), [])

    async def test_storage_away(self) -> None:
        """R34: an answer that could not be stored for a while is in the end, though the connection stood."""
        suite = await self.serve()
        client = await self.browse(suite)
        desk = await self.browse(suite, "console#1", AWAY)
        await self.answer(desk, "are you there?")
        await desk.until("it waits", SAYS, "Sending…")
        await desk.js("window.isAway = false")
        await desk.until("it is stored", NOTHING_WAITS)
        await client.until("it comes", SHOWS, [["Desk", "are you there?"]])

    async def test_unread_while_hidden(self) -> None:
        """What comes while nobody looks is unread until somebody does, also in the client's title."""
        suite = await self.serve()
        client = await self.browse(suite)
        await self.write(client, "one")
        await client.until("sent", SHOWS, [["You", "one"]])
        desk = await self.browse(suite, "console#1")
        await desk.until("read", "return document.title === 'Desk' && document.querySelector('#messages li')")
        await desk.js(HIDE, True)
        await self.write(client, "two")
        await desk.until("unread", "return document.title === '(1) Desk'")
        await desk.js(HIDE, False)
        await desk.until("read", "return document.title === 'Desk'")
        await client.js(HIDE, True)
        await self.answer(desk, "three")
        await client.until("counted", "return document.title === '(1) Chat'")
        await client.js(HIDE, False)
        await client.until("seen", "return document.title === 'Chat'")

    async def test_missed(self) -> None:
        """What happened while a console had no server is there when it is back, and what it wrote is sent."""
        suite = await self.serve()
        await seed(suite, ["before"])
        desk = await self.browse(suite, "console#1")
        await desk.until("the chat", SHOWS, [["Client", "before"]])
        await suite.kill()
        await desk.until("lost", STATE, "lost")
        await self.answer(desk, "to be sent later")
        await desk.until("it waits", SAYS, "Waits for the connection")
        await self.pick(desk, self.file("later.png", PNG))
        await desk.until("that too", SAYS, "the connection broke; it is tried again")
        await suite.start()
        await seed(suite, ["missed"])
        await seed(suite, ["from somebody new"], 99)
        await desk.until("all is sent", NOTHING_WAITS)
        await desk.until("the new one", SAYS, "from somebody new")
        expected = [
            ["Client", "before"],
            ["Client", "missed"],
            ["Desk", "later.png"],
            ["Desk", "to be sent later"],
        ]
        await desk.until("all of them", SHOWS.replace("shown)", "shown.sort())"), expected)
        self.assertEqual(strange(await desk.complaints()), [])

    async def test_search_and_more(self) -> None:
        """Chats are found by client and by what was said last; more of them are loaded when asked for."""
        suite = await self.serve()
        await together([seed(suite, [f"about pears {number}"], number) for number in range(101, 141)])
        desk = await self.browse(suite, "console")
        await desk.until("a page", "return document.querySelectorAll('#list > li').length === 30")
        await desk.click("button", "Load more chats")
        await desk.until("all", "return document.querySelectorAll('#list > li').length === 40")
        await desk.until("previews", "return document.body.innerText.match(/about pears/g).length === 40")
        await desk.type("searchbox", "Search", "PEARS 127")
        await desk.until("by text", ORDER, ["127"])
        await desk.type("searchbox", "Search", "139")
        await desk.until("by client", ORDER, ["139"])
        await desk.type("searchbox", "Search", "apples")
        await desk.until("none", SAYS, "No chat that is loaded fits.")
        self.assertEqual(await desk.complaints(), [])

    async def test_hostile(self) -> None:
        """Markup and marks that turn the direction, in texts and names, are shown and do nothing."""
        suite = await self.serve()
        bad = "<img src=x onerror=\"document.title='bad'\"><script>document.title='bad'</script>&amp;"
        client = await self.browse(suite)
        await self.write(client, bad)
        names = ["<img src=x onerror=alert(1)>.txt", "\u202egnp.exe", "&amp;\u2066.txt"]
        for name in names:
            await self.pick(client, self.file(name, b"x"))
        await client.until("sent", "return document.querySelectorAll('#messages > li').length === 4")
        desk = await self.browse(suite, "console#1")
        for browser, who in ((client, "You"), (desk, "Client")):
            await browser.until("as it is", SHOWS, [[who, text] for text in (bad, *names)])
            self.assertEqual(await browser.js("return document.images.length"), 0)
            self.assertNotIn("bad", await browser.js("return document.title"))
            inside = "return getComputedStyle(document.querySelector('#messages bdi')).unicodeBidi"
            self.assertEqual(await browser.js(inside), "isolate")
            self.assertEqual(await browser.complaints(), [])

    async def test_polyglot(self) -> None:
        """What is a picture and a page at once does not run when somebody opens it."""
        suite = await self.serve()
        script = b"<script>document.title='bad';localStorage.bad=1;fetch('/chats?bad')</script>"
        jpeg = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xfe" + (
            (len(script) + 2).to_bytes(2) + script + b"\xff\xd9"
        )
        client = await self.browse(suite)
        paths = [
            self.file("polyglot.jpg", jpeg),
            self.file("page.html", b"<!doctype html>" + script),
            self.file("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg">' + script + b"</svg>"),
        ]
        await self.pick(client, *paths)
        await client.until("sent", "return document.querySelectorAll('#messages > li').length === 3")
        desk = await self.browse(suite, "console#1")
        await desk.until("there", "return document.querySelectorAll('#messages > li').length === 3")
        addresses = await desk.js(
            "return Array.from(document.querySelectorAll('#messages a[href]'), (link) => link.href)"
        )
        self.assertEqual(len(addresses), 3)
        for each in addresses:
            await desk.do(lambda driver: driver.switch_to.new_window("tab"))
            await desk.open(each)
            self.assertNotIn("bad", await desk.js("return document.title + document.URL"))
            await desk.do(lambda driver: driver.switch_to.window(driver.window_handles[0]))
        self.assertIsNone(await desk.js("return localStorage.getItem('bad')"))


class LogicTests(TestCase):
    """What needs no browser."""

    timeout = LIMIT

    async def test_state(self) -> None:
        """The pages' logic holds: texts and uploads over connections cut anywhere, hours, recordings."""
        require("node")
        folder = Path(self.mktemp()).absolute()
        pages = folder / "protosuite" / "mediachat" / "pages"
        shutil.copytree(PAGES, pages)
        shutil.copytree(ASSETS, pages / "assets")
        (folder / "package.json").write_text('{"type": "module"}')
        test = Path(shutil.copy(Path(__file__).with_name("mediachat_pages.test.mjs"), folder / "protosuite"))
        node = Program(self, "node", "--test", test, folder=folder)
        self.assertEqual(await node.exit(), 0, node.story())

    def test_no_markup_from_data(self) -> None:
        """No script makes markup of texts, and no page has scripts or styles in it."""
        for path in (*PAGES.iterdir(), *ASSETS.iterdir()):
            text = path.read_text("utf-8")
            for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "style=", "eval("):
                self.assertNotIn(word, text, path)


ORDER = """
const found = Array.from(document.querySelectorAll("#list .client"), (name) => name.textContent);
return JSON.stringify(found) === JSON.stringify(arguments[0])
"""
PLAYS = """
const player = document.querySelector(arguments[0]);
if (player.readyState < 1) return false;
if (!(player.duration > 0.5 && player.duration < 60)) return false;
player.muted = true;
player.play();
return player.currentTime > 0;
"""
PASTE = """
const content = document.querySelector("#content");
content.value = arguments[0];
content.dispatchEvent(new Event("input", { bubbles: true }));
content.focus();
"""
# The clock of the page shows noon, until `offset` is 0.
NOON = """
const real = Date.now;
const noon = new Date();
noon.setHours(12, 0, 0, 0);
window.offset = noon.getTime() - real();
Date.now = () => real() + window.offset;
"""
# One page back each time that it is called, and a note of anything that moved by itself meanwhile.
BACK = """
const log = document.querySelector("#log");
const first = [...document.querySelectorAll("#messages > li")].find(
  (item) => item.getBoundingClientRect().bottom > log.getBoundingClientRect().top).querySelector(".line");
const { read } = window;
if (read?.item.isConnected && Math.abs(read.item.getBoundingClientRect().top - read.top) > 1) {
  window.moved = [read.item.textContent, read.top, read.item.getBoundingClientRect().top];
}
log.scrollBy({ top: -300 });
window.read = { item: first, top: first.getBoundingClientRect().top };
return document.querySelector("#beginning").checkVisibility() && log.scrollTop === 0
"""


def address(suite: Suite, rest: str = "") -> str:
    """Of a page."""
    return f"http://127.0.0.1:{suite.ports['mediachat']}/{rest}"


def strange(complaints: list[str]) -> list[str]:
    """What a console says beside that there was no server."""
    away = ("WebSocket connection to", "ERR_CONNECTION", "Failed to fetch", "the connection broke")
    return [line for line in complaints if not any(words in line for words in away)]


async def narrow(browser: Browser, width: int, height: int = 700) -> None:
    """Give the page so many pixels."""
    await browser.cdp(
        "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
    )


async def history(suite: Suite, chat: int = 1) -> list[dict[str, Any]]:
    """The first hundred messages of a chat, as the server has them."""
    data = await deferToThread(lambda: _fetch(suite, f"messages?chat_id={chat}&limit=100"))
    found: list[dict[str, Any]] = json.loads(data)["items"]
    return found


async def poll_rows(case: TestCase, suite: Suite, count: int) -> None:
    """Wait until a chat has so many messages."""
    while len(await history(suite)) < count:
        pass


async def seed(suite: Suite, texts: list[str], client: int = 7) -> None:
    """Let a client say something, and wait until that is stored."""

    def act() -> None:
        url = f"ws://127.0.0.1:{suite.ports['mediachat']}/ws/{client}"
        with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None) as socket:
            _say(socket, texts)

    await deferToThread(act)


def _say(socket: ClientConnection, texts: list[str]) -> None:
    socket.send(json.dumps({"timezone": "Europe/Paris"}))
    for text in texts:
        socket.send(json.dumps({"type": "text", "text": text}))
    for _ in range(len(texts) + 1):
        said = json.loads(socket.recv(LIMIT))
        if said.get("status", "saved") != "saved":
            raise AssertionError(said)


def _fetch(suite: Suite, path: str) -> bytes:
    with urlopen(Request(address(suite, path)), timeout=LIMIT) as response:
        data: bytes = response.read()
        return data


def _part(suite: Suite) -> int:
    """The bytes of the upload that is under way."""
    parts = [path for path in suite.data.rglob("parts/*") if path.name != ".boot"]
    return max((path.stat().st_size for path in parts), default=0)


def _by(said: list[list[str]], *who: str) -> list[list[str]]:
    """What was said, with who said it."""
    return [[name, *words] for name, words in zip(who, said, strict=True)]
