"""Real browsers: headless Chromium, each with an empty profile and a chromedriver of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chromium.remote_connection import ChromiumRemoteConnection
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.file_detector import UselessFileDetector
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.processes import LIMIT, Program, free_port, poll, reactor
from tests.requirements import require

T = TypeVar("T")

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",  # of which a container has little
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--lang=en-GB",
    "--use-fake-device-for-media-stream",  # a microphone that beeps
    "--use-fake-ui-for-media-stream",  # and may be used
)
# What can have a role and a name.
_NAMED = (
    "a[href], audio, button, form, h1, h2, img, input, nav, ol, progress, section, textarea, video, [role]"
)


class Browser:
    """One browser, and the page that it shows. It ends with its test, and leaves no process behind."""

    _driver: WebDriver

    def __init__(self, case: TestCase) -> None:
        self._case = case
        self._profile = Path(case.mktemp()).absolute()

    async def start(self) -> None:
        """Start it."""
        require("chromium", "chromedriver")
        self._profile.mkdir(parents=True)
        port = free_port()
        program = Program(
            self._case, "chromedriver", f"--port={port}", "--log-level=WARNING", folder=self._profile
        )
        self._case.addCleanup(self._sweep)
        await program.says("started successfully")
        self._driver = await deferToThread(_session, port, self._profile)
        self._case.addCleanup(self._quit)

    # What it does.

    async def do(self, act: Callable[[WebDriver], T]) -> T:
        """What `act` returns; it runs in a thread, and may block."""
        return await deferToThread(act, self._driver)

    async def open(self, url: str) -> None:
        """Go to a page."""
        await self.do(lambda driver: driver.get(url))

    async def js(self, script: str, *values: object) -> Any:
        """What a script returns; it finds `values` in `arguments`."""
        return await self.do(lambda driver: driver.execute_script(script, *values))

    async def cdp(self, command: str, **parameters: object) -> Any:
        """The answer to a command of the DevTools protocol."""
        fields = {"cmd": command, "params": parameters}
        return await self.do(lambda driver: driver.execute("executeCdpCommand", fields)["value"])

    async def keys(self, *keys: str) -> None:
        """Type, into whatever has the focus."""
        await self.do(lambda driver: ActionChains(driver).send_keys(*keys).perform())

    async def chord(self, modifier: str, key: str) -> None:
        """Press a key while another one is down."""
        await self.do(
            lambda driver: ActionChains(driver).key_down(modifier).send_keys(key).key_up(modifier).perform()
        )

    async def click(self, role: str, name: str) -> None:
        """Click what has this role and accessible name."""
        element = await self.named(role, name)
        await self.do(lambda _: element.click())

    async def type(self, role: str, name: str, *keys: str) -> None:
        """Type into what has this role and accessible name, in the place of what was there."""
        element = await self.named(role, name)

        def act(driver: WebDriver) -> None:
            element.clear()
            element.send_keys(*keys)

        await self.do(act)

    # What is there.

    async def until(self, what: str, script: str, *values: object) -> Any:
        """What a script returns once that is true in the sense of JavaScript and of Python."""
        deadline = reactor.seconds() + LIMIT / 2  # a test that fails has time to say where
        while not (found := await self.js(script, *values)):
            if reactor.seconds() > deadline:
                text = await self.js("return document.body.innerText")
                raise AssertionError(f"not within {LIMIT / 2} s: {what}; the page says:\n{text}")
            await deferLater(reactor, 0.02)
        return found

    async def named(self, role: str, name: str) -> WebElement:
        """The one visible element that has this role and accessible name."""

        def find(driver: WebDriver) -> list[WebElement]:
            return [
                element
                for element in driver.find_elements(By.CSS_SELECTOR, _NAMED)
                if element.aria_role == role and element.accessible_name == name and element.is_displayed()
            ]

        deadline = reactor.seconds() + LIMIT / 2  # a test that fails has time to say where
        found: list[WebElement] = []
        while len(found) != 1:
            if reactor.seconds() > deadline:
                raise AssertionError(f"not one {role} with the name {name!r} but {len(found)}")
            with contextlib.suppress(StaleElementReferenceException):  # the page changed meanwhile
                found = await self.do(find)
        return found[0]

    async def complaints(self) -> list[str]:
        """What the console has been told since this was asked last, errors and warnings."""
        entries = await self.do(lambda driver: driver.execute("getLog", {"type": "browser"})["value"])
        levels = ("SEVERE", "WARNING")
        return [entry["message"] for entry in cast(list[Any], entries) if entry["level"] in levels]

    async def screenshot(self, file: Path) -> None:
        """Save what it shows as a PNG."""
        await self.do(lambda driver: driver.save_screenshot(str(file)))

    # The end of it.

    async def _quit(self) -> None:
        with contextlib.suppress(WebDriverException, OSError):
            await self.do(lambda driver: driver.quit())

    async def _sweep(self) -> None:
        """End what is left of it, and wait until all of it is gone."""

        def are_gone() -> bool:
            left = _users(self._profile)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not left

        await poll(are_gone, "the end of the browser")
        shutil.rmtree(self._profile, ignore_errors=True)


def _session(port: int, profile: Path) -> WebDriver:
    options = Options()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    connection = ChromiumRemoteConnection(f"http://127.0.0.1:{port}", "goog", "chrome", ignore_proxy=True)
    driver = WebDriver(connection, options=options)
    driver.file_detector = UselessFileDetector()  # files are where the browser is
    return driver


def _users(profile: Path) -> list[int]:
    """The processes that run with this profile."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if str(profile).encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found
