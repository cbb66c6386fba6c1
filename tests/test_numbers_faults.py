"""Streams of numbers while servers and clients are killed and connections are cut."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests.faults import seed
from tests.faults.checks.numbers import Whole
from tests.peers import acknowledged, connect, long_session, undisturbed
from tests.processes import LIMIT, Program, Suite, poll, together
from tests.requirements import require_netcat

ROUNDS = 15
PROGRAM_ROUNDS = 8  # a program waits longer before it comes back
LONG = 800  # numbers, which outlast the rounds
STREAMS = {"interval": 0.02, "max_messages": 1000}


class NumbersCase(TestCase):
    """What the tests below share."""

    timeout = 2 * LIMIT

    def assert_whole(self, result: dict[str, Any], whole: Whole) -> None:
        """Hold what a program printed against the stream as it is undisturbed."""
        for name in ("sum", "count", "checksum"):
            self.assertEqual(result[name], getattr(whole, name), f"{name} of {result}")


class KilledServerTests(NumbersCase):
    """The server dies again and again."""

    async def test_the_program_gets_the_undisturbed_sum(self) -> None:
        """R1, R5: the real program ends with the undisturbed sum, over a server that dies eight times."""
        suite = Suite(self, numbers=STREAMS)
        await suite.start()
        client = await long_session(self, suite, "ana", LONG)
        run = suite.client("protosuite-numbers", suite.numbers, "--client", client, "--json")
        for _ in range(PROGRAM_ROUNDS):
            await self.goes_on(suite, client)
            await suite.kill()
            await suite.start()
        self.assertEqual(await run.exit(), 0, run.story())
        result = json.loads(run.output[0])
        self.assert_whole(result, undisturbed(suite)[client])
        self.assertGreaterEqual(result["reconnects"], PROGRAM_ROUNDS)

    async def goes_on(self, suite: Suite, client: str) -> None:
        """Wait until `client` has got a number since the start of the server.

        The first change is that it resumes, the second that it acknowledges. Killed before that, the
        server would find the client ever more patient.
        """
        for _ in range(2):
            before = acknowledged(suite, client)
            await self.changes(suite, client, before)

    async def changes(self, suite: Suite, client: str, before: int) -> None:
        """Wait until the database has more than `before` as acknowledged."""
        await poll(lambda: acknowledged(suite, client) > before, f"{client} is past {before}")


class KilledClientTests(NumbersCase):
    """The client program dies again and again."""

    async def test_state_file(self) -> None:
        """R5: a program with ``--state`` that is killed over and over ends with the undisturbed sum."""
        chosen = seed()
        told, chance = f"PROTOSUITE_SEED={chosen}", random.Random(chosen)
        suite = Suite(self, numbers=STREAMS)
        await suite.start()
        client = await long_session(self, suite, "ana", LONG)
        folder = suite.folder / "state"
        folder.mkdir()
        state, command = folder / "ana.json", ("--state", folder / "ana.json", "--json")
        run = suite.client("protosuite-numbers", suite.numbers, "--client", client, *command)
        for _ in range(ROUNDS):
            await self.goes_on(state, chance.randrange(1, 12))
            await run.kill()
            self.assertEqual(run.code, -9, f"{told}: {run.story()}")
            run = suite.client("protosuite-numbers", suite.numbers, *command)
        self.assertEqual(await run.exit(), 0, run.story())
        self.assertIn(f"resuming the stream of client {client} at number ", run.errors[0])
        self.assert_whole(json.loads(run.output[0]), undisturbed(suite)[client])
        self.assertEqual(list(folder.iterdir()), [])

    async def goes_on(self, state: Path, numbers: int) -> None:
        """Wait until a state file has so many numbers more."""
        mark = _next(state) + numbers
        await poll(lambda: _next(state) >= mark, f"number {mark} in the state file")


def _next(state: Path) -> int:
    """How far a state file says that its client is."""
    return int(json.loads(state.read_text())["next"]) if state.exists() else 0


class CutTests(NumbersCase):
    """Raw connections, cut anywhere."""

    async def test_random_cuts(self) -> None:
        """R5: resuming at n gives n, n + 1 … with nothing missing or twice, for random cuts."""
        suite = Suite(self, numbers={"interval": 0.001, "max_messages": 1000})
        await suite.start()
        names = [await long_session(self, suite, f"raw-{n}", 300) for n in range(6)]
        wholes = undisturbed(suite)
        chosen = seed()
        readers = [Cutter(self, suite, name, number, chosen) for number, name in enumerate(names)]
        await together(reader.read() for reader in readers)
        for reader in readers:
            whole, told = wholes[reader.client], f"{reader.told}, {reader.cuts} cuts"
            self.assertEqual(tuple(reader.values), whole.values, told)
            self.assertEqual(
                reader.end, {"type": "end", "count": whole.count, "checksum": whole.checksum}, told
            )
            self.assertGreater(reader.cuts, 5, told)

    async def test_netcat(self) -> None:
        """R15: ``nc -N``, which closes its writing side after the start, gets its whole stream."""
        require_netcat()
        suite = Suite(self, numbers={"interval": 0.02})
        await suite.start()
        start = b'{"type":"start","client":"nc"}\n'
        port = str(suite.numbers)
        run = Program(self, "nc", "-N", "127.0.0.1", port, folder=suite.folder, input=start)
        self.assertEqual(await run.exit(), 0, run.story())
        first, *numbers, last = [json.loads(line) for line in run.output]
        whole = undisturbed(suite)["nc"]
        self.assertEqual((first["type"], first["count"]), ("session", whole.count))
        self.assertEqual([(n["index"], n["value"]) for n in numbers], list(enumerate(whole.values)))
        self.assertEqual(last, {"type": "end", "count": whole.count, "checksum": whole.checksum})


class Cutter:
    """Reads one stream over many connections, each left in one of the ways in which connections end."""

    def __init__(self, case: TestCase, suite: Suite, client: str, number: int, seed: int) -> None:
        self.client = client
        self.told = f"PROTOSUITE_SEED={seed}"
        self.cuts = 0
        self.values: list[int] = []
        self.end: dict[str, Any] = {}
        self._case = case
        self._suite = suite
        self._random = random.Random(f"{seed} {number}")

    async def read(self) -> None:
        """The whole stream."""
        while not self.end:
            await self._visit(self._random.randrange(1, 40))
            self.cuts += 1

    async def _visit(self, length: int) -> None:
        """Take `length` numbers on one connection, and cut it."""
        peer = await connect(self._case, self._suite.numbers)
        peer.say("start", client=self.client, next=len(self.values))
        session = await peer.message()
        self._case.assertEqual(session["next"], len(self.values), self.told)
        for _ in range(length):
            message = await peer.message()
            if message["type"] == "end":
                self.end = message
                break
            self._case.assertEqual(message["index"], len(self.values), f"{self.told}: {message}")
            self.values.append(message["value"])
            if self._random.random() < 0.5:
                peer.say("ack", index=message["index"])
        way = self._random.choice(("abort", "close", "half", "leave"))
        if way == "abort":
            await peer.abort()
        elif way == "close":
            peer.transport.loseConnection()
        elif way == "half":
            peer.finish()
