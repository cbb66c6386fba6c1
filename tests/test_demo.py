"""``make demo``: everything moves, and nothing is left behind."""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.processes import LIMIT, Program

ROOT = Path(__file__).parent.parent


def read(url: str) -> bytes:
    """What is there."""
    with urllib.request.urlopen(url, timeout=LIMIT) as answer:
        body: bytes = answer.read()
        return body


class DemoTests(TestCase):
    """The demonstration, on free ports."""

    timeout = LIMIT

    def start(self, *arguments: str) -> Program:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        environment = {"TMPDIR": str(self.folder)}
        command = (sys.executable, "-m", "demo", "--any-ports", *arguments)
        return Program(self, *command, folder=ROOT, environment=environment)

    async def test_all_move(self) -> None:
        """Each page is there and each service has something to do; Ctrl-C ends it cleanly, with its data."""
        demo = self.start()
        await demo.says("Ctrl-C")
        urls = [match[0] for line in demo.output if (match := re.match(r"http://\S+", line))]
        self.assertEqual(len(urls), 4)
        for url in urls:
            self.assertIn(b"<html", await deferToThread(read, url))
        while True:
            status: Any = json.loads(await deferToThread(read, f"{urls[0]}status"))
            services = status["services"]
            if all(services[name]["messages"] > 9 for name in services) and status["recent_refusals"]:
                break
        self.assertGreater(int(services["counter"]["overview"]["value"]), 0)
        self.assertEqual(services["chatlog"]["overview"]["rooms"], 3)
        demo.signal("INT")
        self.assertEqual(await demo.exit(), 0, demo.story())
        self.assertEqual(demo.errors, [])
        self.assertEqual(list(self.folder.iterdir()), [])

    async def test_bounded(self) -> None:
        """With ``--seconds`` it ends by itself, and says how much was done."""
        demo = self.start("--seconds", "3")
        self.assertEqual(await demo.exit(), 0, demo.story())
        self.assertRegex(demo.output[-1], r"counter \d+")
        self.assertEqual(demo.errors, [])
        self.assertEqual(list(self.folder.iterdir()), [])
