"""R1: every service under load while its server is killed again and again.

A handful of kills each, and a hundred each with ``PROTOSUITE_NIGHTLY=1``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from twisted.trial.unittest import TestCase

from tests.faults import IS_LONG, naming, seed
from tests.faults.checks.bus import BusCheck
from tests.faults.checks.chatlog import RoomCheck
from tests.faults.checks.counter import CounterCheck
from tests.faults.checks.linearizable import History, first_problem
from tests.faults.checks.mediachat import ChatsCheck
from tests.faults.checks.numbers import StreamsCheck
from tests.faults.crashes import Crashes, settle_chats, settle_room
from tests.faults.loads import Load
from tests.faults.loads.bus import BusLoad
from tests.faults.loads.chatlog import ChatLogLoad
from tests.faults.loads.counter import CounterLoad
from tests.faults.loads.mediachat import MediaChatLoad
from tests.faults.loads.numbers import NumbersLoad
from tests.mediachat_peers import OPEN
from tests.peers import add, stored_total, undisturbed
from tests.processes import LIMIT, Suite, poll

ROUNDS = 100 if IS_LONG else 10


class KillCase(TestCase):
    """What the tests below share."""

    timeout = 20 * LIMIT if IS_LONG else 4 * LIMIT

    def setUp(self) -> None:
        self.seed = seed()
        self.chance = Random(self.seed)

    def random(self, name: str) -> Random:
        """Chance of its own for a part of the test."""
        return Random(f"{self.seed} {name}")

    async def suite(self, service: str, **settings: object) -> Suite:
        """A suite with one service, started."""
        sections: dict[str, Any] = {"suite": {"services": service}, service: settings}
        suite = Suite(self, **sections)
        await suite.start()
        return suite

    async def begin(self, *loads: Load) -> None:
        for load in loads:
            self.addCleanup(load.leave)
            await load.begin()

    async def crash(
        self, suite: Suite, loads: Sequence[Load], until: Callable[[], bool] = lambda: True, **more: Any
    ) -> None:
        """Kill the suite as often as it should be, and `until` what must have happened has; end the loads."""
        crashes = Crashes(suite, loads, self.chance, **more)
        await crashes.rounds(ROUNDS)
        while not until():
            await crashes.rounds(1)
        for load in loads:
            await load.finish()
            await load.leave()
        self.assertEqual(suite.defects, [])


class NumbersTests(KillCase):
    """Streams of numbers."""

    async def test_streams(self) -> None:
        """R1, R5: however often the server is killed, clients get the undisturbed sum, count and checksum."""
        with naming(self.seed):
            suite, check = await self.suite("numbers", interval=0.02, max_messages=500), StreamsCheck()
            load = NumbersLoad("kills", suite.numbers, self.random("numbers"), check, streams=8)
            await self.begin(load)
            await self.crash(suite, [load])
            check.settle(undisturbed(suite))
            self.assertGreater(load.reconnects, ROUNDS)


class CounterTests(KillCase):
    """The counter."""

    async def test_always(self) -> None:
        """R1, R10: with ``always`` no total is lost, made up or given twice, over any number of kills."""
        with naming(self.seed):
            suite, check = await self.suite("counter", durability="always"), CounterCheck()
            load = CounterLoad("kills", suite.counter, self.random("counter"), check)
            await self.begin(load)
            await self.crash(suite, [load])
            check.settle(await self.total(suite))
            self.assertGreater(load.unknown, ROUNDS // 2)

    async def test_everysec(self) -> None:
        """R10: with ``everysec`` a kill takes back nothing that was stored, and what is answered is."""
        with naming(self.seed):
            suite, check = await self.suite("counter", sync_interval=0.05), CounterCheck()
            load = CounterLoad("kills", suite.counter, self.random("counter"), check)
            await self.begin(load)
            least = 0

            async def dead() -> None:
                await poll(lambda: not load.is_answered, "all connections are lost")
                total = stored_total(suite)
                self.assertGreaterEqual(total, least)
                check.fell_back(total)

            for _ in range(ROUNDS // 2):
                # The second store that begins after an answer has it.
                answered, seen = check.highest, [stored_total(suite)]
                while len(seen) < 3:
                    await poll(lambda: stored_total(suite) != seen[-1], "the total is stored under load")  # noqa: B023
                    seen.append(stored_total(suite))
                least = seen[-1]
                self.assertGreaterEqual(least, answered)
                await Crashes(suite, [load], self.chance, dead=dead).rounds(1)
            await load.finish()
            check.settle(await self.total(suite))

    async def total(self, suite: Suite) -> int:
        return await add(self, suite)


class BusTests(KillCase):
    """The bus."""

    async def test_at_least_once(self) -> None:
        """R1: over any number of kills what was confirmed is delivered, in order; nothing is made up."""
        with naming(self.seed):
            suite, check = await self.suite("bus"), BusCheck()
            load = BusLoad("kills", suite.ports["bus"], self.random("bus"), check)
            await self.begin(load)

            async def dead() -> None:
                load.cut()

            await self.crash(suite, [load], dead=dead)
            check.settle()
            self.assertGreater(check.confirmed_count, ROUNDS)


class ChatLogTests(KillCase):
    """The chat log."""

    async def test_one_log(self) -> None:
        """R1, R3, R4, R5: over any number of kills one log has what was acknowledged, once, for all."""
        with naming(self.seed):
            suite, check, history = await self.suite("chatlog"), RoomCheck(), History()
            chance = self.random("chatlog")
            load = ChatLogLoad("", suite.ports["chatlog"], chance, check, history, writers=20, readers=5)
            await self.begin(load)
            await self.crash(suite, [load])
            settle_room(check, suite)
            self.assertIsNone(first_problem(history.operations))
            self.assertGreater(load.reconnects, ROUNDS)
            self.assertEqual(await suite.terminate(), 0)


class MediaChatTests(KillCase):
    """The media chat."""

    async def test_saved_means_saved(self) -> None:
        """R1, R3, R28: over any number of kills what was saved is there, right and once; no file is left."""
        with naming(self.seed):
            suite = await self.suite("mediachat", **OPEN, upload_ttl=60, sweep_interval=1)
            check, chance = ChatsCheck(), self.random("mediachat")
            sizes = (0, 10, 40_000, 3_000_000)
            load = MediaChatLoad("kills", suite.ports["mediachat"], chance, check, range(1, 5), sizes)
            await self.begin(load)
            # Which kills cut an upload is chance: one has to be gone on with.
            await self.crash(suite, [load], until=lambda: load.resumed > 0, most=100)
            self.assertEqual(await suite.terminate(), 0)
            await settle_chats(check, suite)
            self.assertEqual(suite.defects, [])
