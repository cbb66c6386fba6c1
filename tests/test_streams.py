"""Many streams of numbers at once."""

from __future__ import annotations

import resource

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from protosuite.numbers.client import NumbersClientFactory, Result
from tests.peers import undisturbed
from tests.processes import LIMIT, Suite, reactor

STREAMS = 2000


class ManyStreamsTests(TestCase):
    """One process, two thousand clients."""

    timeout = LIMIT

    async def test_all_come_to_their_end(self) -> None:
        """Every stream ends with the sum and checksum of its session, over one connection."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * STREAMS + 1000), hard))
        suite = Suite(self, numbers={"interval": 0.1})
        await suite.start()
        results = []
        for n in range(STREAMS):
            factory = NumbersClientFactory(f"client-{n}", reactor)
            self.addCleanup(factory.stop)
            reactor.connectTCP("127.0.0.1", suite.numbers, factory)
            results.append(factory.result)
        found: list[Result] = await gatherResults(results)
        sessions = undisturbed(suite)
        for result in found:
            whole = sessions[result.client]
            self.assertEqual(
                (result.sum, result.count, result.checksum), (whole.sum, whole.count, whole.checksum)
            )
        self.assertEqual({result.reconnects for result in found}, {0})
