"""R17: one client of a hundred asks for much and reads nothing, and the others go on."""

from __future__ import annotations

from pathlib import Path
from random import Random

from twisted.trial.unittest import TestCase

from tests.faults import naming, seed
from tests.faults.stalled import OTHERS, alone, load, stall
from tests.peers import Peer
from tests.processes import LIMIT, poll


class StalledTests(TestCase):
    """Each service."""

    timeout = 2 * LIMIT

    async def others_go_on(self, service: str) -> None:
        """Hold that each of the others is served on, and loses no connection."""
        chosen = seed()
        with naming(chosen):
            suite = alone(service, self)
            await suite.start()
            others = load(service, suite.ports[service], Random(chosen), pace=0.2)
            self.addCleanup(others.leave)
            await others.begin()
            await others.rises_by(OTHERS)
            stalled = await stall(service, self, suite)
            await poll(lambda: unread(stalled, suite.ports[service]) > 0, "something is not read")
            await others.rises_by(10 * OTHERS)
            await others.finish()  # each of them has had its answer, and all that it is owed
            self.assertEqual(others.reconnects, 0)
            self.assertGreater(unread(stalled, suite.ports[service]), 0)
            self.assertEqual(suite.defects, [])

    async def test_numbers(self) -> None:
        """R17: with one stalled client of numbers among a hundred the others are served on."""
        await self.others_go_on("numbers")

    async def test_counter(self) -> None:
        """R17: with one stalled client of the counter among a hundred the others are served on."""
        await self.others_go_on("counter")

    async def test_bus(self) -> None:
        """R17: with one stalled client of the bus among a hundred the others are served on."""
        await self.others_go_on("bus")

    async def test_chatlog(self) -> None:
        """R17: with one stalled client of the chat log among a hundred the others are served on."""
        await self.others_go_on("chatlog")

    async def test_mediachat(self) -> None:
        """R17: with one stalled client of the media chat among a hundred the others are served on."""
        await self.others_go_on("mediachat")


def unread(peer: Peer, port: int) -> int:
    """How many bytes the system holds that a server on `port` has sent and `peer` has not read."""
    ours = f":{peer.transport.getHost().port:04X}", f":{port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    return sum(int(line[4].split(":")[1], 16) for line in lines if (line[1][-5:], line[2][-5:]) == ours)
