"""What the tests of whole processes rest on."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.processes import LIMIT, Program, is_there, poll
from tests.requirements import require
from tests.test_counter_workers import is_alive

ROOT = Path(__file__).parent.parent
STARTS = """
from pathlib import Path
from tests.faults.place import Place, run
from tests.processes import Program

async def main():
    program = Program(place, "sh", "-c", "echo runs; exec sleep 1000", folder=Path())
    await program.says("runs")  # so it has asked by now to end with its parent
    print("started", program.pid, flush=True)
    await program.exit()

place = Place(Path())
run(main, place)
"""


class ProcessesTests(TestCase):
    """Programs, and waiting."""

    timeout = LIMIT

    async def test_nothing_is_left(self) -> None:
        """What a test has started ends when its process is killed, so that it is in nobody's way."""
        require("setpriv")
        run = Program(self, sys.executable, "-c", STARTS, folder=ROOT)
        pid = int((await run.says("started")).split()[1])
        self.assertTrue(is_alive(pid))
        await run.kill()
        await poll(lambda: not is_alive(pid), "it has ended")

    def test_what_is_waited_for(self) -> None:
        """Nothing, and what has nothing in it, is waited for on; an exit code of 0 is one."""
        nothing: list[object] = [None, False, [], {}, "", bytearray()]
        something: list[object] = [True, 0, 1, [None], {"a": 1}, "x", object()]
        self.assertEqual([each for each in nothing if is_there(each)], [])
        self.assertEqual([each for each in something if not is_there(each)], [])
