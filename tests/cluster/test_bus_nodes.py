"""The bus on three nodes, with the real servers beneath them, and what may happen to them."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from protosuite.bus import BusClientFactory
from protosuite.bus import bus_pb2 as pb
from tests.cluster.nodes import Nodes
from tests.faults import IS_LONG, naming, seed
from tests.faults.checks.bus import BusCheck
from tests.faults.crashes import Crashes
from tests.faults.loads.bus import TOPICS, BusLoad
from tests.processes import LIMIT, Suite, poll, together

SHARED = "shared"  # a durable subscription with a consumer on each node
ROUNDS = 20 if IS_LONG else 4
SOON = {"node_timeout": 3, "ack_timeout": 10}  # seconds, for tests


class NodeLoad(BusLoad):
    """Publishers and subscribers of their own at a node, and a consumer of what all nodes share.

    All loads publish to the same topics.
    """

    async def begin(self) -> None:
        client = self._client()
        taken = self.guard(self._delivered(SHARED))
        await client.subscribe("load.#", taken, durable=SHARED, prefetch=5).when_ready()
        await super().begin()

    def topic(self) -> str:
        return f"load.all.{self.chance.randrange(TOPICS)}"


class Listener:
    """Hears everything that all nodes publish, and how often it began anew."""

    def __init__(self, client: BusClientFactory) -> None:
        self.heard: dict[str, list[int]] = {}  # sequences by topic
        self.dropped = 0
        self.ready = client.subscribe("load.#", self._take, depth=10_000).when_ready()

    def _take(self, event: pb.Event) -> None:
        self.heard.setdefault(event.topic, []).append(event.sequence)
        self.dropped += event.dropped

    def holes(self) -> dict[str, list[int]]:
        """The topics of which something was missing, twice, or out of order."""
        return {topic: had for topic, had in self.heard.items() if had != [*range(had[0], had[0] + len(had))]}

    @property
    def last(self) -> dict[str, int]:
        """The last sequence of each topic."""
        return {topic: sequences[-1] for topic, sequences in self.heard.items()}


def rows(nodes: Nodes, query: str) -> list[Any]:
    """What the database of all says."""
    return [tuple(row) for row in nodes.postgresql.execute(query, nodes.database.rpartition("/")[2])]


class BusNodesTests(TestCase):
    """Load at each of three nodes."""

    timeout = 3 * LIMIT

    async def start(self, is_ordered: bool, catch_up_interval: float = 0.5, **bus: object) -> Nodes:
        """Three nodes, with load at each of them."""
        self.seed = seed()
        self.chance = Random(self.seed)
        self.check = BusCheck()
        self.check.subscribing(SHARED, is_ordered=False)
        suite = {"services": "bus, admin", "catch_up_interval": catch_up_interval}
        nodes = Nodes(self, 3, suite=suite, bus={**SOON, **bus})
        await nodes.start()
        self.loads = [
            NodeLoad(
                f"n{n}", node.ports["bus"], Random(self.chance.random()), self.check, 1, 5, is_ordered, 0.01
            )
            for n, node in enumerate(nodes.nodes)
        ]
        for load in self.loads:
            await load.begin()
            self.addCleanup(load.leave)
        self.check.subscribed(SHARED)
        return nodes

    def random(self, number: int) -> Random:
        return Random(f"{self.seed} {number}")

    async def progress(self, loads: list[NodeLoad] | None = None, count: int = 30) -> None:
        """So much more is done at each of these."""
        for load in self.loads if loads is None else loads:
            await load.rises_by(count)

    async def settle(self, nodes: Nodes) -> None:
        """R1: all that was confirmed has come to every durable subscription; nothing was made up."""
        for load in self.loads:
            load.is_finishing = True
        for load in self.loads:
            await load.finish()
        self.check.settle()
        self.assertGreater(self.check.confirmed_count, 30)
        for node in nodes.nodes:
            self.assertEqual(node.defects, [])
        # Acknowledgements are stored when nobody waits for them any more.
        await poll(lambda: not rows(nodes, "SELECT id FROM bus_owed"), "all is acknowledged")

    async def listen(self, nodes: Nodes) -> list[Listener]:
        """Somebody at each node, who stays."""
        listeners = [Listener(load._client()) for load in self.loads]
        await gatherResults([each.ready for each in listeners])
        return listeners

    async def heard_all(self, nodes: Nodes, listeners: list[Listener]) -> None:
        """Each of them heard everything, in the one order of each topic, up to the same end."""
        ends = dict(rows(nodes, "SELECT topic, sequence FROM bus_topic"))
        for each in listeners:
            await poll(lambda: each.last == ends, "all is heard")  # noqa: B023
            self.assertEqual((each.holes(), each.dropped), ({}, 0))

    async def test_live_events_everywhere(self) -> None:
        """Subscribers of every node hear all events of all nodes, in one order a topic, without holes."""
        nodes = await self.start(is_ordered=True)
        listeners = await self.listen(nodes)
        await self.progress(count=60)
        await self.settle(nodes)
        await self.heard_all(nodes, listeners)

    async def test_without_catching_up(self) -> None:
        """It is Redis that wakes the others: nobody looks into the database now and then."""
        nodes = await self.start(is_ordered=True, catch_up_interval=3600)
        listeners = await self.listen(nodes)
        await self.progress()
        await self.settle(nodes)
        await self.heard_all(nodes, listeners)

    async def test_killed(self) -> None:
        """R1: over any number of kills of nodes, what was confirmed comes to every durable subscription."""
        nodes = await self.start(is_ordered=False)
        with naming(self.seed):
            for _ in range(ROUNDS):
                number = self.chance.randrange(3)
                await Crashes(nodes.nodes[number], [self.loads[number]], self.chance, 30).rounds(1)
            await self.progress()
            await self.settle(nodes)

    async def test_one_stays_dead(self) -> None:
        """R1: what a killed node had of a shared subscription goes to the others; its clients move."""
        nodes = await self.start(is_ordered=False)
        dead, *others = nodes.nodes
        await self.progress()
        with naming(self.seed):
            await dead.kill()
            await self.progress(self.loads[1:])
            for load in self.loads[:1]:  # its clients go elsewhere
                self.move(load, others[0])
            await self.progress()
            await self.settle(nodes)

    def move(self, load: NodeLoad, node: Suite) -> None:
        """Let the clients of a load connect to another node from now on."""
        for connector in load._connectors:
            connector.port = node.ports["bus"]

    async def test_redis(self) -> None:
        """R33: with Redis killed, frozen and emptied live events come late, and none is lost anywhere."""
        nodes = await self.start(is_ordered=True)
        listeners = await self.listen(nodes)
        await self.progress()
        await nodes.redis.kill()
        await self.progress()
        await nodes.redis.start()
        await self.progress()
        nodes.redis.freeze()
        await self.progress()
        nodes.redis.thaw()
        nodes.redis.ask("FLUSHALL")
        await self.progress()
        await self.settle(nodes)
        await self.heard_all(nodes, listeners)

    async def test_killed_without_redis(self) -> None:
        """R1, R33: nodes are killed while Redis comes and goes, and what was confirmed is delivered."""
        nodes = await self.start(is_ordered=False)
        with naming(self.seed):
            for turn in range(ROUNDS):
                if turn % 2:
                    await nodes.redis.start()
                else:
                    await nodes.redis.kill()
                number = self.chance.randrange(3)
                await Crashes(nodes.nodes[number], [self.loads[number]], self.chance, 30).rounds(1)
            await self.progress()
            await self.settle(nodes)

    async def test_rolling_restart(self) -> None:
        """R32: each node is restarted in its turn; its clients come back, and nothing is lost."""
        nodes = await self.start(is_ordered=False)
        for node in nodes.nodes:
            await self.progress(count=15)
            self.assertEqual(await node.terminate(), 0)
            await node.start()
        await self.progress()
        await self.settle(nodes)

    async def test_a_frozen_node(self) -> None:
        """A node that is frozen until others have taken what it had goes on, and nothing is lost."""
        nodes = await self.start(is_ordered=False)
        await self.progress()
        frozen = nodes.nodes[1]
        frozen.program.signal("STOP")
        others = [self.loads[0], self.loads[2]]
        await poll(lambda: len(rows(nodes, "SELECT node FROM bus_node")) == 2, "it is taken for dead")
        await self.progress(others)
        frozen.program.signal("CONT")
        await self.progress()
        await frozen.program.says("took this one for dead")
        await self.settle(nodes)

    async def test_backends_are_killed(self) -> None:
        """R34: PostgreSQL ends all connections again and again; what was confirmed is there."""
        nodes = await self.start(is_ordered=False)
        for _ in range(ROUNDS):
            await self.progress(count=10)
            nodes.postgresql.kill_backends(nodes.database.rpartition("/")[2])
        await self.progress()
        await self.settle(nodes)

    async def test_replay_after_all_were_restarted(self) -> None:
        """What any node has published is replayed by any other, after all of them were killed and started."""
        nodes = await self.start(is_ordered=True, retain=20)
        await self.progress()
        await self.settle(nodes)
        for load in self.loads:
            await load.leave()
        await together(node.kill() for node in nodes.nodes)
        await together(node.start() for node in nodes.nodes)
        self.seen: dict[str, list[int]] = {}
        client = BusLoad("late", nodes.nodes[2].ports["bus"], self.chance, self.check)
        self.addCleanup(client.leave)

        def take(event: pb.Event) -> None:
            self.check._placed(event.topic, event.sequence, event.payload)
            self.seen.setdefault(event.topic, []).append(event.sequence)

        await client._client().subscribe("load.#", take, replay=20, depth=10_000).when_ready()
        ends = rows(nodes, "SELECT topic, sequence FROM bus_topic")
        wanted = {topic: [*range(max(1, last - 19), last + 1)] for topic, last in ends}
        await poll(lambda: self.seen == wanted, "all that is kept is replayed")
