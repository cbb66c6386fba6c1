"""Which nodes there are, as each of them tells it, and as the dashboard shows it."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.browser import Browser
from tests.cluster.nodes import Node, Nodes, told
from tests.processes import LIMIT, poll

ROWS = """
return Array.from(document.querySelectorAll("#nodes tbody tr"), (row) => row.innerText)
  .filter((text) => text.includes(arguments[0])).length === arguments[1]
"""
SAYS = "return document.querySelector('#nodes').innerText.includes(arguments[0])"


class NodesTests(TestCase):
    """``/status``, and ``/``."""

    timeout = LIMIT

    async def start(self) -> Nodes:
        nodes = Nodes(self, 3, suite={"presence_ttl": 1.5, "services": "chatlog, admin"})
        await nodes.start()
        return nodes

    async def pids(self, node: Node, *expected: Node) -> None:
        """Wait until one speaks of just these."""
        wanted = {str(each.program.pid) for each in expected}
        while {place.split()[-1] for place in (await told(self, node) or {}).values()} != wanted:
            pass

    async def test_all_are_known(self) -> None:
        """Each node knows all; those that die and those that stop are forgotten."""
        nodes = await self.start()
        one, two, three = nodes.nodes
        for node in nodes.nodes:
            await self.pids(node, one, two, three)
        await two.kill()
        await self.pids(one, one, three)
        self.assertEqual(await three.terminate(), 0)
        await self.pids(one, one)
        nodes.redis.freeze()
        await poll(lambda: any("is away" in line for line in one.log), "it is seen")
        self.assertIsNone(await told(self, one))
        nodes.redis.thaw()
        await self.pids(one, one)

    async def test_on_the_dashboard(self) -> None:
        """The dashboard has a table of all nodes, and says so where nobody can tell."""
        nodes = await self.start()
        one, two, _ = nodes.nodes
        browser = Browser(self)
        await browser.start()
        await browser.open(f"http://127.0.0.1:{one.ports['admin']}/")
        await browser.until("three nodes", ROWS, "", 3)
        await browser.until("its own process", ROWS, str(one.program.pid), 1)
        await browser.until("which of them it is", ROWS, "(this one)", 1)
        await two.kill()
        await browser.until("two nodes", ROWS, "", 2)
        nodes.redis.freeze()
        await browser.until("nobody can tell", SAYS, "Nobody can tell")
        nodes.redis.thaw()
        await browser.until("two nodes", ROWS, "", 2)
        self.assertEqual(await browser.complaints(), [])
