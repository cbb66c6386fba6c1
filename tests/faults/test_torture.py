"""The torture in its short form: two minutes of everything."""

from __future__ import annotations

import os

from twisted.trial.unittest import TestCase

from tests.faults import naming, seed
from tests.faults.everything import Torture
from tests.processes import LIMIT

SECONDS = float(os.environ.get("PROTOSUITE_TORTURE_SECONDS", "120"))


class TortureTests(TestCase):
    """All services, all faults, all checks."""

    timeout = SECONDS + 6 * LIMIT

    async def test_short(self) -> None:
        """R1, R3, R4, R5, R21: what is promised holds under all faults at once, and churn leaves nothing."""
        chosen = seed()
        with naming(chosen):
            torture = Torture(self, chosen, SECONDS)
            for proxy in torture.proxies.values():
                self.addCleanup(proxy.close)
            for load in torture.loads:
                self.addCleanup(load.leave)
            await torture.run()
            self.assertGreater(torture.storm.done["kill"], 0)
            for load in torture.loads:
                self.assertGreater(load.done, 0, load.name)
