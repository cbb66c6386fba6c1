"""R4: one room of the chat log for many, over a network that breaks and delays their connections."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import TestCase

from protosuite.testing import ANY_ACT, FaultProxy, Faults
from tests.faults import naming, seed
from tests.faults.checks.chatlog import RoomCheck
from tests.faults.checks.linearizable import History, first_problem
from tests.faults.crashes import settle_room
from tests.faults.loads import Load
from tests.faults.loads.chatlog import ChatLogLoad
from tests.processes import LIMIT, Suite, reactor, together

WRITERS, READERS = 50, 5
OPERATIONS, PARTS = 3000, 15
BREAKS = Faults(
    latency=0.02,
    segment=100,
    refuse=0.02,
    overtake=0.1,
    acts=ANY_ACT,
    spell=5.0,
    stretch=200_000,
    pause=0.5,
)


class RoomTests(TestCase):
    """Some come through a bad network, some not."""

    timeout = 4 * LIMIT

    async def works(self, load: Load) -> None:
        """Half of all operations are done. Where that takes long, what is waited for is a part of it."""
        for _ in range(PARTS):
            await load.rises_by(OPERATIONS // 2 // PARTS)

    async def test_linearizable(self) -> None:
        """R4, R3, R5: reads and appends of 50 writers and 5 readers are linearizable, whatever breaks."""
        chosen = seed()
        with naming(chosen):
            suite = Suite(self, suite={"services": "chatlog"})
            await suite.start()
            proxy = FaultProxy(reactor, Random(chosen), suite.ports["chatlog"], BREAKS)
            self.addCleanup(proxy.close)
            check, history = RoomCheck(), History()
            loads = [
                ChatLogLoad(
                    name, port, Random(f"{chosen} {name}"), check, history, "main", writers, readers, 1
                )
                for name, port, writers, readers in (
                    ("far", proxy.listen(), WRITERS - 10, READERS - 2),
                    ("near", suite.ports["chatlog"], 10, 2),
                )
            ]
            for load in loads:
                self.addCleanup(load.leave)
                await load.begin()
            await together(self.works(load) for load in loads)
            proxy.faults = Faults()
            for link in proxy.links[:]:
                link.cut()
            for load in loads:
                await load.finish()
                await load.leave()
            self.assertIsNone(first_problem(history.operations))
            settle_room(check, suite)
            self.assertGreater(sum(proxy.acts.values()), 0)
            self.assertGreater(loads[0].reconnects, WRITERS)
            self.assertEqual(suite.defects, [])
            self.assertEqual(await suite.terminate(), 0)
