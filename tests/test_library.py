"""The suite as a library: in a Twisted program, in an asyncio program, and for a type checker."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

import protosuite
from tests.processes import LIMIT, Program, Suite
from tests.test_examples import with_ports

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples" / "library"
CLIENTS = Path(__file__).parent / "library" / "clients.py"
SAMPLES = (ROOT / "docs/examples/tally/protosuite_tally", ROOT / "docs/examples/board/protosuite_board.py")
PACKAGES = ("numbers", "counter", "bus", "chatlog", "mediachat")


class ProgramTests(TestCase):
    """Programs of others that use it."""

    timeout = LIMIT

    async def shown(self, suite: Suite, name: str) -> list[str]:
        file = suite.folder / name
        file.write_text(with_ports((EXAMPLES / name).read_text("utf-8"), suite))
        run = Program(self, sys.executable, "-W", "error", file, folder=suite.folder)
        self.assertEqual(await run.exit(), 0, run.story())
        self.assertEqual(run.errors, [])
        return run.output

    async def test_programs(self) -> None:
        """The chat log in a Twisted program, and the counter in one of asyncio, do what they are asked."""
        suite = Suite(self)
        await suite.start()
        self.assertEqual(await self.shown(suite, "chatlog_in_twisted.py"), ["1 library hello"])
        self.assertEqual(await self.shown(suite, "counter_in_asyncio.py"), ["110 1"])


class TypesTests(SynchronousTestCase):
    """What a type checker sees of it."""

    timeout = 3 * LIMIT

    def test_strict(self) -> None:
        """Programs that use every public name of the clients, and services, pass ``mypy --strict``."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        (folder / "clients.py").write_text(CLIENTS.read_text("utf-8"))
        (folder / "mypy.ini").write_text("[mypy]\nstrict = true\ndisallow_untyped_calls = false\n")
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "clients.py", *EXAMPLES.glob("*.py"), *SAMPLES],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=self.timeout,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertTrue((Path(protosuite.__file__).parent / "py.typed").exists())

    def test_every_name(self) -> None:
        """All that the packages of the clients offer is in that program, and is what it says it is."""
        used: set[str] = set()
        for node in ast.walk(ast.parse(CLIENTS.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                used |= {f"{node.module}.{alias.name}" for alias in node.names}
        for name in PACKAGES:
            package = importlib.import_module(f"protosuite.{name}")
            for public in package.__all__:
                self.assertIn(f"protosuite.{name}.{public}", used)
                self.assertTrue(getattr(package, public).__doc__, public)

    def test_extending(self) -> None:
        """Everything that services of one's own are made of is there under its name."""
        extending = importlib.import_module("protosuite.extending")
        self.assertEqual([name for name in extending.__all__ if not hasattr(extending, name)], [])
