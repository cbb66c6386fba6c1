"""Streams of numbers while servers and clients are killed and connections are cut."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from protosuite.numbers import NumbersClientFactory
from protosuite.numbers.sequence import Progress
from tests.faults.checks.numbers import Whole
from tests.peers import acknowledged, connect, long_session, undisturbed
from tests.processes import LIMIT, Program, Suite, Watched, poll, reactor, together
from tests.requirements import require_netcat

ROUNDS = 15
PROGRAM_ROUNDS = 8  # a program waits longer before it comes back
LONG = 800  # numbers, which outlast the rounds
STREAMS = {"interval": 0.02, "max_messages": 1000}


class QuickClient(NumbersClientFactory):
    """A client that comes back at once, and tells those who watch it how far it is."""

    initialDelay = 0.05
    maxDelay: float = 0.2  # type: ignore[assignment]  # Twisted's own says int

    def __init__(self, client: str) -> None:
        self.watched = Watched()
        super().__init__(client, reactor, on_progress=self._on_progress)
        self.result.addBoth(self._ended)

    def _on_progress(self, progress: Progress, count: int) -> None:
        self.watched.changed()

    def _ended(self, outcome: Any) -> Any:
        self.watched.over = True
        self.watched.changed()
        return outcome

    async def reaches(self, index: int) -> None:
        """Wait until the numbers before `index` are here."""
        await self.watched.until(lambda: self.progress.next >= index)


class NumbersCase(TestCase):
    """What the tests below share."""

    timeout = 2 * LIMIT

    def assert_whole(self, result: Any, whole: Whole) -> None:
        """Hold a client's result, an object or one of JSON, against the stream as it is undisturbed."""
        found = result if isinstance(result, dict) else vars_of(result)
        for name in ("sum", "count", "checksum"):
            self.assertEqual(found[name], getattr(whole, name), f"{name} of {found}")

    def receive(self, suite: Suite, client: str) -> QuickClient:
        """A client in this process."""
        factory = QuickClient(client)
        connector = reactor.connectTCP("127.0.0.1", suite.numbers, factory, timeout=LIMIT)
        self.addCleanup(self._leave, factory, connector)
        return factory

    async def _leave(self, factory: QuickClient, connector: Any) -> None:
        factory.stop()
        await poll(lambda: connector.state == "disconnected", "a client has left")


def vars_of(result: Any) -> dict[str, Any]:
    """A result's fields."""
    return {name: getattr(result, name) for name in ("client", "sum", "count", "checksum", "reconnects")}


class KilledServerTests(NumbersCase):
    """The server dies again and again."""

    async def test_clients_get_the_undisturbed_sum(self) -> None:
        """However often the server is killed in mid-stream, clients get sum, count and checksum (R1, R5)."""
        suite = Suite(self, numbers=STREAMS)
        await suite.start()
        names = [await long_session(self, suite, f"in-{n}", LONG) for n in range(4)]
        clients = [self.receive(suite, name) for name in names]
        for _ in range(ROUNDS):
            marks = [client.progress.next + random.randrange(1, 12) for client in clients]
            await together(client.reaches(mark) for client, mark in zip(clients, marks, strict=True))
            await suite.kill()
            await suite.start()
        wholes = undisturbed(suite)
        for client in clients:
            result = await client.result
            self.assert_whole(result, wholes[client.client])
            self.assertGreaterEqual(result.reconnects, ROUNDS)

    async def test_the_program_gets_the_undisturbed_sum(self) -> None:
        """So does the real program, which holds nothing against a server that dies eight times (R1, R5)."""
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
        """A program with ``--state`` that is killed over and over ends with the undisturbed sum (R5)."""
        suite = Suite(self, numbers=STREAMS)
        await suite.start()
        client = await long_session(self, suite, "ana", LONG)
        folder = suite.folder / "state"
        folder.mkdir()
        state, command = folder / "ana.json", ("--state", folder / "ana.json", "--json")
        run = suite.client("protosuite-numbers", suite.numbers, "--client", client, *command)
        for _ in range(ROUNDS):
            await self.goes_on(state, random.randrange(1, 12))
            await run.kill()
            self.assertEqual(run.code, -9, run.story())
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
        """Resuming at n gives n, n + 1 … with nothing missing or twice, for random cuts (R5)."""
        suite = Suite(self, numbers={"interval": 0.001, "max_messages": 1000})
        await suite.start()
        names = [await long_session(self, suite, f"raw-{n}", 300) for n in range(6)]
        wholes = undisturbed(suite)
        seeds = [random.getrandbits(32) for _ in names]
        readers = [Cutter(self, suite, name, seed) for name, seed in zip(names, seeds, strict=True)]
        await together(reader.read() for reader in readers)
        for reader in readers:
            whole, told = wholes[reader.client], f"seed {reader.seed}, {reader.cuts} cuts"
            self.assertEqual(tuple(reader.values), whole.values, told)
            self.assertEqual(
                reader.end, {"type": "end", "count": whole.count, "checksum": whole.checksum}, told
            )
            self.assertGreater(reader.cuts, 5, told)

    async def test_netcat(self) -> None:
        """``nc -N``, which closes its writing side after the start, gets its whole stream (R15)."""
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

    def __init__(self, case: TestCase, suite: Suite, client: str, seed: int) -> None:
        self.client = client
        self.seed = seed
        self.cuts = 0
        self.values: list[int] = []
        self.end: dict[str, Any] = {}
        self._case = case
        self._suite = suite
        self._random = random.Random(seed)

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
        self._case.assertEqual(session["next"], len(self.values), f"seed {self.seed}")
        for _ in range(length):
            message = await peer.message()
            if message["type"] == "end":
                self.end = message
                break
            self._case.assertEqual(message["index"], len(self.values), f"seed {self.seed}: {message}")
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
