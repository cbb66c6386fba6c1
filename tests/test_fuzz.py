"""Fuzzing itself: that each place can be fuzzed, and that what is broken is found."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from protosuite.test.strangers import PLACES
from tests.processes import LIMIT, Program
from tests.requirements import require_atheris

ROOT = Path(__file__).parent.parent
# A place of which the fuzzer has to find out that it does not take a certain word.
BROKEN = """
import atheris, runpy, sys
from protosuite.test import places, strangers
@atheris.instrument_func
def take(data):
    if data[:1] == b"x" and data[1:2] == b"y":
        raise LookupError("it was found")
strangers.PLACES["broken"] = places.single(take, b"hello")
sys.argv[1:] = ["broken", "--runs", "200000", "--folder", sys.argv[1]]
runpy.run_module("tests.fuzz", run_name="__main__")
"""


class FuzzTests(TestCase):
    """``python -m tests.fuzz``."""

    timeout = 5 * LIMIT

    def setUp(self) -> None:
        require_atheris()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    async def test_each_place(self) -> None:
        """R13: each place takes its own images and 1,000 inputs that the fuzzer makes of them."""
        run = Program(
            self,
            *(sys.executable, "-m", "tests.fuzz", "--runs", "1000", "--jobs", "2", "--folder", self.folder),
            folder=ROOT,
        )
        self.assertEqual(await run.late_exit(), 0, run.story())
        found = dict(line.split(": ") for line in run.output)
        self.assertEqual(found.keys(), PLACES.keys())
        for name, what in found.items():
            self.assertRegex(what, r"^\d{4,} inputs, \d+ edges, \d+ features$", name)

    async def test_what_is_broken(self) -> None:
        """What breaks a promise is found, kept, and found again in what was kept."""
        run = Program(self, sys.executable, "-c", BROKEN, self.folder, folder=ROOT)
        self.assertEqual(await run.late_exit(), 1, run.story())
        self.assertIn("BROKEN", run.output[-1])
        [kept] = (self.folder / "broken" / "broken").iterdir()
        self.assertEqual(kept.read_bytes()[:2], b"xy")
