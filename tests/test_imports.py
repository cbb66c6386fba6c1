"""What a start imports, and what it leaves alone because nobody has asked for it."""

from __future__ import annotations

import sys

from twisted.trial.unittest import TestCase

from protosuite.config import SERVICES
from tests.processes import LIMIT, READY, Suite

_LINE = "import time:"

# What takes a while to import, and is needed only for what somebody asks later, or has switched on.
LATER = (
    *("alembic", "jwt", "prometheus_client", "puremagic", "txredisapi", "psycopg"),
    *("sqlalchemy.dialects.postgresql", "twisted.trial.unittest"),
)
# What is for several nodes.
SHARED = (
    *("protosuite.bus.shared_exchange", "protosuite.bus.shared_store", "protosuite.bus.leasing"),
    *("protosuite.mediachat.media.shared", "protosuite.mediachat.media.s3", "protosuite.fabric.redis"),
)
# What the counter has no use for.
WEB = ("websockets", "twisted.web", "google.protobuf", "protosuite.net.web", "protosuite.net.websocket")


class ImportTests(TestCase):
    """The second start, which finds its database."""

    timeout = LIMIT

    async def imported(self, services: str) -> set[str]:
        """The modules that a suite with these services has imported when it is ready."""
        suite = Suite(self, suite={"services": services})
        await suite.start()
        await suite.terminate()
        program = suite.spawn(launcher=(sys.executable, "-X", "importtime"))
        await program.says(READY)
        found = {line.rpartition("|")[2].strip() for line in program.errors if line.startswith(_LINE)}
        await suite.terminate()
        return found

    def see_without(self, found: set[str], *names: str) -> None:
        """None of `names` is there, nor anything within them."""
        there = {module for module in found for name in names if f"{module}.".startswith(f"{name}.")}
        self.assertEqual(there, set())

    async def test_counter_only(self) -> None:
        """A suite with the counter alone imports nothing of the other services, nor what only they need."""
        found = await self.imported("counter")
        self.assertIn("protosuite.counter.server", found)
        others = [f"protosuite.{name}" for name in SERVICES if name != "counter"]
        self.see_without(found, *others, *WEB, *LATER, "protosuite.counter.client", "protosuite.fabric.redis")

    async def test_all(self) -> None:
        """A suite with all services imports no client, and nothing for what nobody has asked for yet."""
        found = await self.imported(",".join(SERVICES))
        self.assertIn("protosuite.mediachat.server", found)
        clients = [f"protosuite.{name}.client" for name in SERVICES]
        clients += ["protosuite.net.websocket_client", "protosuite.net.reconnect"]
        self.see_without(found, *clients, *SHARED, *LATER)
