"""R6: a disk that is full."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from protosuite.counter.wire import encode_request
from tests.disks import fill, small_disk
from tests.peers import Peer, add, connect
from tests.processes import LIMIT, Suite


class FullDiskTests(TestCase):
    """A file system of one megabyte under the data folder."""

    timeout = LIMIT

    async def test_refused_and_recovered(self) -> None:
        """R6: with no room what needs it is refused, and with room again all works by itself."""
        folder = small_disk(self)
        suite = Suite(self, suite={"data": folder / "data"}, counter={"durability": "always"})
        self.addCleanup(suite.kill)
        await suite.start()
        self.assertEqual(await add(self, suite, 5), 5)
        filler = fill(folder)
        refused = False
        while not refused:  # what the log has left takes a few commits
            peer = await connect(self, suite.counter)
            peer.send(encode_request(1))
            refused = len(await self.answer(peer)) == 0
        await suite.program.says("the total cannot be stored: no increment is accepted until it can")
        peer = await connect(self, suite.numbers)
        peer.say("start", client="ana")
        self.assertEqual((await peer.message())["code"], "overloaded")
        filler.unlink()
        total = await add(self, suite, 1)
        self.assertGreaterEqual(total, 6)
        peer = await connect(self, suite.numbers)
        peer.say("start", client="ana")
        self.assertEqual((await peer.message())["type"], "session")
        await suite.program.says("the total is stored again")
        await suite.kill()
        await suite.start()
        self.assertEqual(await add(self, suite), total)

    @staticmethod
    async def answer(peer: Peer) -> bytes:
        """What a connection gets: a reply, or nothing and a close."""
        await peer.until(lambda: len(peer.received) >= 8 or peer.over, after_end=True)
        return bytes(peer.received)
