"""The examples of the documentation do what it says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.processes import LIMIT, Program, Suite

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
PORTS = {"numbers": 5500, "counter": 8080, "bus": 8081, "chatlog": 8082, "mediachat": 8000}


def with_ports(text: str, suite: Suite) -> str:
    """`text` with the ports of `suite` in the place of the defaults."""
    for service, port in PORTS.items():
        text = re.sub(rf"\b{port}\b", str(suite.ports[service]), text)
    return text


class ExampleTests(TestCase):
    """Each is run against a suite, with that suite's ports in the place of the defaults."""

    timeout = LIMIT

    async def shown(self, name: str, suite: Suite) -> list[str]:
        """What an example prints."""
        text = with_ports((EXAMPLES / name).read_text("utf-8"), suite)
        file = suite.folder / name
        file.write_text(text, "utf-8")
        run = Program(self, sys.executable, file, folder=suite.folder)
        self.assertEqual(await run.exit(), 0, run.story())
        return run.output

    async def test_examples(self) -> None:
        """Every example of a client runs, and ends with the lines that it should."""
        always = {"hours_text": "always", "hours_file": "always"}
        suite = Suite(self, numbers={"interval": "0.01"}, mediachat=always)
        await suite.start()
        self.assertEqual(await self.shown("counter_client.py", suite), ["[1, 11, 266] 266"])
        self.assertEqual(await self.shown("counter_socket.py", suite), ["276 276"])
        self.assertRegex((await self.shown("numbers_client.py", suite))[-1], r"\d+ numbers, sum \d+, 0 recon")
        self.assertRegex((await self.shown("numbers_socket.py", suite))[-1], r"sum \d+ verified")
        self.assertEqual(await self.shown("chatlog_client.py", suite), ["1 example hello"])
        printed = await self.shown("chatlog_socket.py", suite)
        self.assertEqual([line.strip() for line in printed], ["1 example hello", "2 by hand hello"])
        self.assertEqual(await self.shown("mediachat_client.py", suite), ["saved saved"])
