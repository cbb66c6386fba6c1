"""R31: SIGTERM at random moments while every service is under load."""

from __future__ import annotations

from random import Random

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.faults import IS_LONG, naming, seed
from tests.faults.checks.bus import BusCheck
from tests.faults.checks.chatlog import RoomCheck
from tests.faults.checks.counter import CounterCheck
from tests.faults.checks.linearizable import History, first_problem
from tests.faults.checks.mediachat import ChatsCheck
from tests.faults.checks.numbers import StreamsCheck
from tests.faults.crashes import MOMENT, settle_chats, settle_room
from tests.faults.loads import Load
from tests.faults.loads.bus import BusLoad
from tests.faults.loads.chatlog import ChatLogLoad
from tests.faults.loads.counter import CounterLoad
from tests.faults.loads.mediachat import MediaChatLoad
from tests.faults.loads.numbers import NumbersLoad
from tests.mediachat_peers import OPEN
from tests.peers import add, stored_total, undisturbed
from tests.processes import LIMIT, Suite, reactor

ROUNDS = 30 if IS_LONG else 3


class StopUnderLoadTests(TestCase):
    """Clients of all services at once, each over its client class, which comes back after each stop."""

    timeout = 20 * LIMIT if IS_LONG else 4 * LIMIT

    def setUp(self) -> None:
        self.seed = seed()
        self.chance = Random(self.seed)

    async def stop(self, suite: Suite, load: Load) -> None:
        """SIGTERM when `load` has got on: it ends by itself, with 0, in its time, and nobody is cut off."""
        await load.rises_by(self.chance.randrange(1, 100))
        await deferLater(reactor, self.chance.random() * MOMENT)
        self.assertEqual(await suite.terminate(), 0, suite.program.story())
        self.assertEqual([line for line in suite.program.output if "did not finish in time" in line], [])
        self.assertTrue(any("suite: stopped" in line for line in suite.program.output))

    async def test_all_services(self) -> None:
        """R31: stops under load of all services end with 0 in their time, and lose nothing acknowledged."""
        with naming(self.seed):
            suite = Suite(
                self,
                suite={"drain_timeout": LIMIT / 2},
                numbers={"interval": 0.02, "max_messages": 500},
                counter={"durability": "no"},  # a clean stop stores it
                mediachat={**OPEN, "upload_ttl": 60, "sweep_interval": 1},
            )
            await suite.start()
            streams, counts, events = StreamsCheck(), CounterCheck(), BusCheck()
            room, history, chats = RoomCheck(), History(), ChatsCheck()
            ports = suite.ports
            loads: list[Load] = [
                NumbersLoad("stops", ports["numbers"], self.random("numbers"), streams, streams=4),
                CounterLoad("stops", ports["counter"], self.random("counter"), counts),
                BusLoad("stops", ports["bus"], self.random("bus"), events),
                ChatLogLoad(
                    "stops", ports["chatlog"], self.random("chatlog"), room, history, writers=4, readers=2
                ),
                MediaChatLoad("stops", ports["mediachat"], self.random("mediachat"), chats, range(1, 4)),
            ]
            for load in loads:
                self.addCleanup(load.leave)
                await load.begin()
            for _ in range(ROUNDS):
                await self.stop(suite, self.chance.choice(loads))
                self.assertGreaterEqual(stored_total(suite), counts.highest)
                await suite.start()
            for load in loads:
                await load.finish()
                await load.leave()
            counts.settle(await add(self, suite))
            self.assertEqual(await suite.terminate(), 0)
            streams.settle(undisturbed(suite))
            events.settle()
            settle_room(room, suite)
            self.assertIsNone(first_problem(history.operations))
            await settle_chats(chats, suite)
            self.assertEqual(suite.defects, [])

    def random(self, name: str) -> Random:
        """Chance of its own for a part of the test."""
        return Random(f"{self.seed} {name}")
