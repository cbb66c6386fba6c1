"""What readers copy from the pages: sessions in Python, settings, commands for netcat, and the README."""

from __future__ import annotations

import configparser
import doctest
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import TestCase

from protosuite.config import SECTIONS
from protosuite.settings import fields_of
from tests.mediachat_peers import OPEN
from tests.peers import undisturbed
from tests.processes import BIN, LIMIT, Program, Suite, poll
from tests.requirements import require, require_netcat
from tests.test_bus import rows
from tests.test_documentation import DOCS
from tests.test_examples import with_ports

README = DOCS.parent / "README.md"
PAGES = sorted(DOCS.rglob("*.rst"))
OTHERS = {"Unit", "Service", "Timer", "Socket", "Install"}  # sections of systemd's files


def blocks(page: Path, language: str) -> Iterator[str]:
    """The blocks of a page in a language."""
    pattern = rf"^\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)"
    for block in re.findall(pattern, page.read_text("utf-8"), re.MULTILINE):
        yield textwrap.dedent(block)


class PageTests(TestCase):
    """Without a suite."""

    def test_sessions(self) -> None:
        """What pages show as typed into Python is what Python answers."""
        attempted = 0
        for page in PAGES:
            result = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
            self.assertEqual(result.failed, 0, page)
            attempted += result.attempted
        self.assertGreater(attempted, 2)

    def test_settings(self) -> None:
        """Settings that pages show are settings that there are."""
        shown = 0
        for page in PAGES:
            for block in blocks(page, "ini"):
                parser = configparser.ConfigParser(interpolation=None, strict=False)
                parser.read_string(block)
                for section in set(parser.sections()) & set(SECTIONS):
                    known = fields_of(SECTIONS[section])
                    unknown = [key for key in parser[section] if key not in known]
                    self.assertEqual(unknown, [], f"{page}: [{section}]")
                    shown += len(parser[section])
        self.assertGreater(shown, 10)

    def test_links(self) -> None:
        """The files that the README points at are there."""
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text("utf-8")):
            self.assertTrue((README.parent / target).exists(), target)


class NetcatTests(TestCase):
    """The page on netcat."""

    timeout = LIMIT

    async def test_commands(self) -> None:
        """Each command prints what the page says, but for what is drawn at random."""
        require_netcat()
        require("xxd")
        suite = Suite(self, numbers={"interval": "0.01"})
        await suite.start()
        page = with_ports((DOCS / "howto" / "nc.rst").read_text("utf-8"), suite)
        talk, *commands = re.findall(r"^    \$ (.*)\n((?:    [^$].*\n)+)", page, re.MULTILINE)
        own, _, _ = textwrap.dedent(talk[1]).partition("\n")
        commands.insert(0, (f"echo '{own}' | {talk[0].replace('nc ', 'nc -N ')}", talk[1].partition("\n")[2]))
        self.assertEqual(len(commands), 4)
        for command, expected in commands:
            run = Program(self, "sh", "-c", command, folder=suite.folder)
            self.assertEqual(await run.exit(), 0, run.story())
            self.assertEqual(kinds(run.output), kinds(textwrap.dedent(expected).splitlines()), command)
        self.assertEqual(list(undisturbed(suite)), ["bob"])


def kinds(lines: list[str]) -> list[str]:
    """Lines without what is drawn at random; a run of numbers is one line, and may be none."""
    found: list[str] = []
    for line in lines:
        kind = line
        if line.startswith("{") and (message := json.loads(line))["type"] != "error":
            kind = f"{message['type']}: {', '.join(message)}"
        if not kind.startswith("number: "):
            found.append(kind)
    return found


class ReadmeTests(TestCase):
    """The README, as somebody follows it who has just got the suite."""

    timeout = 3 * LIMIT  # it runs many programs, one after the other

    async def test_commands(self) -> None:
        """Each program of the README does what it says, in its order, on a new suite."""
        suite = Suite(self, numbers={"interval": "0.01"}, mediachat=OPEN)
        await suite.start()
        (suite.folder / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
        left = re.findall(r"^    \$ (\.venv/bin/.*)$", README.read_text("utf-8"), re.MULTILINE)
        self.assertGreater(len(left), 8)
        subscriber = None
        for command in left:
            words = command.replace(".venv/bin/", f"{BIN}/").replace("suite.ini", str(suite.config))
            for service, port in suite.ports.items():
                words = words.replace(f"protosuite-{service} ", f"protosuite-{service} --port {port} ")
            words = words.replace("--seconds 5", "--seconds 0.2")
            run = Program(self, "bash", "-c", f"exec {words}", folder=suite.folder, input=b"hello\n")
            if "subscribe" in command:
                subscriber = run
                await poll(lambda: rows(suite, "bus_durable") == 1, "the subscription is there")
                continue
            self.assertEqual(await run.exit(), 0, run.story())
            if "add 1 10 255" in command:
                self.assertEqual(run.output, ["1", "11", "266"])
            if "--client ana" in command:
                self.assertRegex(
                    run.output[-1], r"sum \d+ of \d+ numbers, checksum 0x\w{8} verified, 0 reconn"
                )
        assert subscriber is not None
        self.assertIn("sensor.temperature", await subscriber.says("21.5"))
