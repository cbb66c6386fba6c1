"""The counter while its server is killed and stopped under load."""

from __future__ import annotations

import json
import random
import re
from typing import Any

from twisted.trial.unittest import TestCase

from protosuite.counter.wire import REPLY_SIZE, encode_request
from tests.peers import Peer, add, connect
from tests.processes import LIMIT, Suite, Watched, together

KILLS = 20
STOPS = 5
ENDED = re.compile(r"stopped: total (\d+), (\d+) requests, (\d+) refused frames$")


class Tally(Watched):
    """What all load on one counter has sent and been answered."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0  # the sum of all increments written
        self.answered = 0  # the sum of those that were answered
        self.highest = 0  # the largest total in an answer
        self.answers = 0

    async def rises_by(self, answers: int) -> None:
        """Wait for so many answers more."""
        mark = self.answers + answers
        await self.until(lambda: self.answers >= mark)


class Adder(Peer):
    """Keeps `depth` increments in flight, each of another amount, until the server closes.

    Each reply must exceed the one before by its own increment at least: others add as well.
    """

    def __init__(self, tally: Tally, depth: int, chance: random.Random) -> None:
        super().__init__()
        self.wrong = ""
        self._tally = tally
        self._depth = depth
        self._random = chance
        self._amounts: list[int] = []
        self._last = 0

    def connectionMade(self) -> None:
        self._add(self._depth)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        whole = len(self.received) // REPLY_SIZE
        for start in range(0, whole * REPLY_SIZE, REPLY_SIZE):
            self._take(int.from_bytes(self.received[start : start + REPLY_SIZE], "big"))
        del self.received[: whole * REPLY_SIZE]
        self._add(whole)
        self._tally.changed()

    def _add(self, requests: int) -> None:
        amounts = [self._random.randrange(1, 1000) for _ in range(requests)]
        self._amounts += amounts
        self._tally.sent += sum(amounts)
        self.send(b"".join(map(encode_request, amounts)))

    def _take(self, total: int) -> None:
        amount = self._amounts.pop(0)
        if total < self._last + amount:
            self.wrong = f"{amount} more than {self._last} was answered with {total}"
        self._last = total
        self._tally.highest = max(self._tally.highest, total)
        self._tally.answered += amount
        self._tally.answers += 1


class CounterCase(TestCase):
    """What the tests below share."""

    timeout = LIMIT

    async def load(self, suite: Suite, tally: Tally, seed: int) -> list[Adder]:
        """Connections that add as fast as they are answered: some one at a time, some many at once."""
        depths = (1, 1, 8, 64)
        chance = random.Random(seed)
        adders = [Adder(tally, depth, chance) for depth in depths]
        await together(connect(self, suite.counter, adder) for adder in adders)
        return adders

    async def ended(self, adders: list[Adder]) -> None:
        """Wait until the server has closed them all, and see that nothing was wrong."""
        for adder in adders:
            await adder.gone()
            self.assertEqual(adder.wrong, "")


class StopTests(CounterCase):
    """SIGTERM."""

    async def test_everysec(self) -> None:
        """R31: SIGTERM under load loses nothing: what was applied is answered, stored and logged."""
        await self.stop_under_load("everysec")

    async def test_always(self) -> None:
        """R31: so it is with ``always``, where answers wait for their commit."""
        await self.stop_under_load("always")

    async def test_no(self) -> None:
        """R31: a clean stop stores the total even with ``no``."""
        await self.stop_under_load("no")

    async def stop_under_load(self, durability: str) -> None:
        """Start, load and stop several times over, and compare all the books that are kept."""
        await self.stop_again_and_again(Suite(self, counter={"durability": durability}), Tally())

    async def stop_again_and_again(self, suite: Suite, tally: Tally) -> None:
        """Several times over, on the same data."""
        for number in range(STOPS):
            await suite.start()
            self.assertEqual(await add(self, suite), tally.answered)
            answers, adders = tally.answers, await self.load(suite, tally, number)
            await tally.rises_by(500 + 100 * number)
            self.assertEqual(await suite.terminate(), 0, suite.program.story())
            await self.ended(adders)
            total, requests, refused = await self.closing_figures(suite)
            self.assertEqual(total, tally.answered)
            self.assertGreaterEqual(total, tally.highest)
            self.assertEqual((requests, refused), (tally.answers - answers + 1, 0))
        await suite.start()
        self.assertEqual(await add(self, suite), tally.answered)

    async def closing_figures(self, suite: Suite) -> list[int]:
        """Total, requests and refused frames, as the log has them at the end."""
        match = ENDED.search(await suite.program.says("counter: stopped: total"))
        assert match is not None
        return [int(figure) for figure in match.groups()]


class RefusalTests(CounterCase):
    """A frame that is refused costs nobody else anything."""

    async def test_tampered_frame(self) -> None:
        """The frames before a tampered one are answered, then the server closes; it is logged and counted."""
        suite = Suite(self)
        await suite.start()
        peer, other = await connect(self, suite.counter), await connect(self, suite.counter)
        bad = bytearray(encode_request(1000))
        bad[7] ^= 1
        peer.send(encode_request(1) + encode_request(2) + bytes(bad) + encode_request(4))
        self.assertEqual([await peer.total(), await peer.total()], [1, 3])
        self.assertEqual(await peer.everything(), b"")
        other.send(encode_request(5))
        self.assertEqual(await other.total(), 8)
        await suite.program.says("refused: bad-hash")
        await suite.terminate()
        await suite.program.says("stopped: total 8, 3 requests, 1 refused frames")


class ProgramTests(CounterCase):
    """``protosuite-counter`` against a real server."""

    async def ask(self, suite: Suite, *arguments: str) -> list[str]:
        """Run the program; what it prints."""
        run = suite.client("protosuite-counter", suite.counter, *arguments)
        self.assertEqual(await run.exit(), 0, run.story())
        return run.output

    async def test_add_and_get(self) -> None:
        """``add`` prints the counter after each increment and ``get`` prints it, as text or as JSON."""
        suite = Suite(self)
        await suite.start()
        self.assertEqual(await self.ask(suite, "add", "1", "10", "255"), ["1", "11", "266"])
        self.assertEqual(await self.ask(suite, "get"), ["266"])
        lines = await self.ask(suite, "--json", "add", "4")
        self.assertEqual([json.loads(line) for line in lines], [{"added": 4, "total": 270}])

    async def test_load(self) -> None:
        """``load`` counts as many requests as the counter rose by, and so does the counter."""
        suite = Suite(self)
        await suite.start()
        arguments = ("--json", "load", "--connections", "5", "--depth", "20", "--seconds", "0.5")
        figures: dict[str, Any] = json.loads("".join(await self.ask(suite, *arguments)))
        self.assertGreater(figures["requests"], 0)
        self.assertEqual(figures["unanswered"], 0)
        self.assertEqual(figures["after"] - figures["before"], figures["requests"])
        self.assertEqual(await add(self, suite), figures["requests"])

    async def test_exit_codes(self) -> None:
        """Nobody there is exit code 1 with one line; a command line that is wrong is exit code 2."""
        suite = Suite(self)
        alone = suite.client("protosuite-counter", suite.counter, "--timeout", "0.5", "get")
        wrong = suite.client("protosuite-counter", suite.counter, "add", "-1")
        self.assertEqual(await alone.exit(), 1, alone.story())
        self.assertIn("no answer from 127.0.0.1", alone.errors[-1])
        self.assertEqual(await wrong.exit(), 2, wrong.story())

    async def test_refused_increment(self) -> None:
        """An increment that would pass 2^64 − 1 is not applied, and the program says that it is in doubt."""
        suite = Suite(self)
        await suite.start()
        await add(self, suite, 2**64 - 3)
        run = suite.client("protosuite-counter", suite.counter, "add", "2", "1")
        self.assertEqual(await run.exit(), 1, run.story())
        self.assertEqual(run.output, [str(2**64 - 1)])
        self.assertIn("may or may not have counted", run.errors[-1])
        self.assertEqual(await add(self, suite), 2**64 - 1)
