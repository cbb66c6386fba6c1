"""The counter on three nodes, with the real servers beneath and before them, and what may happen to them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from random import Random
from typing import Any
from urllib.request import urlopen

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from protosuite.counter.wire import encode_request
from tests.cluster.nodes import Node, Nodes, forgotten
from tests.cluster.redis import Redis
from tests.faults import seed
from tests.faults.checks.counter import CounterCheck
from tests.faults.loads.counter import CounterLoad
from tests.peers import add, connect
from tests.postgresql import shared
from tests.processes import LIMIT, Suite, poll, together


class CounterNodesTests(TestCase):
    """Clients on all nodes, whose answers are held against one another."""

    timeout = 2 * LIMIT

    async def start(self, count: int = 3, fabric_timeout: float = 0.5, **counter: object) -> Nodes:
        """Some nodes, which have only the counter."""
        self.check = CounterCheck()
        self.loads: list[CounterLoad] = []
        own = {"engine_timeout": LIMIT, **counter}
        suite = {"services": "counter, admin", "presence_ttl": 1.5, "fabric_timeout": fabric_timeout}
        nodes = Nodes(self, count, suite=suite, counter=own)
        await nodes.start()
        return nodes

    async def load(self, ports: list[int], depths: tuple[int, ...] = (1, 8, 32)) -> None:
        """Clients at each of these ports, which come back whenever they are lost."""
        for number, port in enumerate(ports):
            self.loads.append(CounterLoad(f"{number}", port, Random(seed() + number), self.check, depths))
        await together(load.begin() for load in self.loads)

    async def begin(self, nodes: Nodes) -> None:
        """Load on all nodes, each of which has answered some."""
        await self.load([node.counter for node in nodes.nodes])
        await self.progress()

    async def progress(self, count: int = 100, but: int | None = None) -> None:
        """So many more are answered by each node, without one of them."""
        await together(load.rises_by(count) for n, load in enumerate(self.loads) if n != but)

    async def settle(self, nodes: Nodes) -> None:
        """Nothing was told twice, and every node has the same total, with all that was acknowledged."""
        await together(load.finish() for load in self.loads)
        for node in nodes.nodes:
            self.check.settle(await self.total(node))
        await together(load.leave() for load in self.loads)
        for node in nodes.nodes:
            self.assertEqual(node.defects, [])

    async def total(self, node: Node) -> int:
        """What a node has. It is asked again if it closes: Redis took longer than `engine_timeout`."""
        while True:
            with contextlib.suppress(AssertionError):
                return await add(self, node)

    @property
    def unknown(self) -> int:
        """Increments that were asked for and not answered."""
        return sum(load.unknown for load in self.loads)

    def see_exact(self) -> None:
        """Every increment was answered, so the total is their sum."""
        self.assertEqual((self.unknown, self.check.highest), (0, self.check._answered))

    async def test_nodes_are_killed(self) -> None:
        """R1, R10: over three nodes, any of which is killed, the counter is linearizable; nothing is lost."""
        random = Random(seed())
        nodes = await self.start()
        await self.begin(nodes)
        for _ in range(6):
            number = random.randrange(3)
            await nodes.nodes[number].kill()
            await self.progress(but=number)
            await nodes.nodes[number].start()
            await self.progress(20)
        self.assertGreater(self.unknown, 0)
        await self.settle(nodes)

    async def test_all_are_killed(self) -> None:
        """R1, R10: when all nodes are killed at once Redis still has all that they answered."""
        nodes = await self.start()
        await self.begin(nodes)
        await together(node.kill() for node in nodes.nodes)
        await together(node.start() for node in nodes.nodes)
        await self.progress()
        await self.settle(nodes)

    async def test_one_operation_a_turn(self) -> None:
        """A node asks Redis for less than one operation a request, and all of them are counted."""
        nodes = await self.start()
        await self.begin(nodes)
        await self.progress(500)
        await self.settle(nodes)
        self.see_exact()
        for node in nodes.nodes:
            requests = await self.figure(node, r'messages_total{service="counter"}')
            operations = await self.figure(node, "counter_engine_increments_count")
            self.assertLess(operations, requests / 2)
            self.assertEqual(await self.figure(node, "counter_engine_reachable"), 1)
            self.assertEqual(await self.figure(node, "counter_storing_fails"), 0)

    async def figure(self, node: Suite, name: str) -> float:
        """One of its metrics."""
        url = f"http://127.0.0.1:{node.ports['admin']}/metrics"
        text: str = await deferToThread(lambda: urlopen(url, timeout=LIMIT).read().decode())
        [value] = re.findall(rf"^protosuite_{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(value)

    async def test_redis_frozen_and_killed(self) -> None:
        """R33: Redis is frozen, then killed and started again: all wait, nobody is closed, all is exact."""
        nodes = await self.start()
        await self.begin(nodes)
        nodes.redis.freeze()
        await self.away(nodes, 1)
        nodes.redis.thaw()
        await self.progress()
        await nodes.redis.kill()
        await self.away(nodes, 2)
        await nodes.redis.start()
        await self.progress()
        await self.settle(nodes)
        self.see_exact()

    async def away(self, nodes: Nodes, times: int) -> None:
        """Every node has said so many times that Redis is away."""
        for node in nodes.nodes:
            await poll(lambda: said(node, "fabric: Redis at", "is away") >= 2 * times, "it is seen")  # noqa: B023

    async def test_redis_away_for_long(self) -> None:
        """R33: who waits for `engine_timeout` is closed, again and again; nothing counts twice."""
        nodes = await self.start(engine_timeout=0.3)
        await self.begin(nodes)
        nodes.redis.freeze()
        for load in self.loads:
            wanted = load.unknown + 200  # each connection of its three several times
            await poll(lambda: load.unknown > wanted, "they are closed")  # noqa: B023
        nodes.redis.thaw()
        await self.progress()
        await self.settle(nodes)
        for node in nodes.nodes:
            await node.program.says("refused: engine")

    async def test_redis_emptied(self) -> None:
        """R10, R33: Redis is emptied under load: the total is restored as it was, and nobody is closed."""
        nodes = await self.start(fabric_timeout=60)  # who restores it hears so, however slow Redis is
        await self.begin(nodes)
        for _ in range(2):
            self.assertEqual(nodes.redis.ask("FLUSHALL"), "+OK")
            await self.progress()
        await self.settle(nodes)
        self.see_exact()
        self.assertEqual(sum(said(node, "total was restored in Redis") for node in nodes.nodes), 2)

    async def test_another_redis(self) -> None:
        """R10: a node with another Redis is refused; where all have that one, the total goes on there."""
        nodes = await self.start(engine_timeout=0.5)
        await self.begin(nodes)
        other = await Redis(self, appendonly=True).start()
        lost = nodes.nodes[2]
        await lost.terminate()
        self.move([lost], other)
        await lost.start()
        await poll(lambda: said(lost, "another Redis has the counter's total") > 0, "it is said")
        await self.progress(but=2)
        self.assertEqual(other.ask("EXISTS", "protosuite/counter"), ":0")
        await together(node.terminate() for node in nodes.nodes)
        self.move(nodes.nodes, other)
        await together(node.start() for node in nodes.nodes)
        await self.progress()
        await self.settle(nodes)

    def move(self, nodes: list[Node], redis: Redis) -> None:
        """Give them another Redis."""
        for node in nodes:
            path = node.config
            path.write_text(re.sub("fabric = .*", f"fabric = {redis.url}", path.read_text("utf-8")), "utf-8")

    async def test_rolling_restart(self) -> None:
        """R32: every node behind HAProxy is restarted under load: nothing is lost, and clients come back."""
        nodes = await self.start()
        await nodes.start_proxy()
        await self.load([nodes.ports["counter"]] * 3)
        await self.progress()
        for node in nodes.nodes:
            self.assertEqual(await node.terminate(), 0)
            await node.start()
            await self.progress()
        await self.settle(nodes)
        self.assertGreater(sum(load.reconnects for load in self.loads), 0)

    async def test_a_frozen_node(self) -> None:
        """A node that is frozen until others take it for gone, and thawed, answers nothing that is not so."""
        nodes = await self.start()
        await self.begin(nodes)
        frozen = nodes.nodes[1]
        for _ in range(3):
            frozen.program.signal("STOP")
            await self.progress(300, but=1)
            await forgotten(self, frozen, nodes.nodes[0])
            frozen.program.signal("CONT")
            await self.progress()
        await self.settle(nodes)
        self.see_exact()

    async def test_the_database_is_away(self) -> None:
        """R34: without PostgreSQL the counter goes on, and an emptied Redis is restored when it is back."""
        nodes = await self.start()
        await self.begin(nodes)
        nodes.postgresql.stop()
        try:
            await self.progress(300)
        finally:
            nodes.postgresql.start()
        nodes.redis.ask("FLUSHALL")
        await self.progress()
        await self.settle(nodes)
        self.see_exact()

    async def test_overflow(self) -> None:
        """All 64 bits: of many who add at the end, on all nodes, exactly those are refused who would pass."""
        nodes = await self.start()
        await add(self, nodes.nodes[0], 2**64 - 101)
        peers = [await connect(self, node.counter) for node in nodes.nodes * 10]
        for peer in peers:
            peer.send(encode_request(1) * 4 + encode_request(0))
            peer.finish()
        answers = [await peer.everything() for peer in peers]
        totals = [
            int.from_bytes(answer[at : at + 8], "big")
            for answer in answers
            for at in range(0, min(len(answer), 32), 8)
        ]
        self.assertEqual(sorted(totals), [2**64 - 100 + n for n in range(100)])
        for node in nodes.nodes:
            self.assertEqual(await add(self, node), 2**64 - 1)


class AloneTests(TestCase):
    """Nodes that do not know of each other, on one database; and what a check says."""

    timeout = LIMIT

    async def test_without_a_fabric(self) -> None:
        """R10: of two on one database with ``fabric = local`` the one that started last has the counter."""
        await self.see_two_alone()

    async def test_workers_without_a_fabric(self) -> None:
        """R10: so it is where each of them has several processes."""
        await self.see_two_alone(workers=2)

    async def see_two_alone(self, **counter: object) -> None:
        """Start one, then the other."""
        database = shared().url(shared().database(schema=False))
        own = {"services": "counter", "database": database}
        one, two = (Suite(self, suite=own, counter=counter) for _ in range(2))
        await one.start()
        self.assertEqual(await add(self, one, 5), 5)
        peer = await connect(self, one.counter)
        peer.send(encode_request(0))
        self.assertEqual(await peer.total(), 5)
        await poll(lambda: stored(database) == "5", "it is stored")
        await two.start()
        peer.send(encode_request(0))
        self.assertIn(await peer.everything(), (b"", (5).to_bytes(8, "big")))  # it may know by now, or not
        await one.program.says("another process has taken the counter")
        self.assertEqual(await add(self, two, 1), 6)
        self.assertEqual(await (await connect(self, one.counter)).everything(), b"")
        self.assertEqual((await one.terminate(), await two.terminate()), (0, 0))
        self.assertEqual(stored(database), "6")

    async def test_to_redis_and_back(self) -> None:
        """R10: the total goes along when the counter moves into a Redis, out of it, and into it again."""
        redis = await Redis(self, appendonly=True).start()
        database = shared().url(shared().database(schema=False))
        suite = Suite(self, suite={"services": "counter", "database": database})
        total = 0
        for fabric in ("local", redis.url, "local", redis.url):
            suite.write(suite={"fabric": fabric})
            await suite.start()
            for _ in range(2):
                total += 7
                self.assertEqual(await add(self, suite, 7), total)
            self.assertEqual(await suite.terminate(), 0)

    async def test_check(self) -> None:
        """``--check`` warns where Redis promises less than `durability`, or cannot be asked."""
        redis = await Redis(self, appendonly=True).start()
        settings: list[tuple[Callable[[], Any], str, str]] = [
            (lambda: None, "always", ""),
            (lambda: redis.ask("CONFIG", "SET", "appendfsync", "everysec"), "everysec", ""),
            (lambda: None, "always", "Redis has appendfsync everysec"),
            (lambda: redis.ask("CONFIG", "SET", "appendonly", "no"), "everysec", "Redis has appendonly no"),
            (lambda: None, "no", ""),
        ]
        suite = Suite(self, suite={"services": "counter", "fabric": redis.url})
        for change, durability, expected in settings:
            change()
            warning = await self.warning(suite, durability)
            self.assertIn(expected, warning)
            self.assertEqual(bool(warning), bool(expected), warning)
        await redis.kill()
        self.assertIn("cannot be asked", await self.warning(suite, "always"))

    async def warning(self, suite: Suite, durability: str) -> str:
        """What a check of it says that is not an error."""
        suite.write(counter={"durability": durability})
        run = suite.spawn("--check")
        self.assertEqual(await run.exit(), 0, run.story())
        self.assertIn("is right", run.output[-1])
        warnings = [line for line in run.errors if line.startswith("warning: ")]
        self.assertLess(len(warnings), 2, run.story())
        return "".join(warnings)

    async def test_a_node_warns(self) -> None:
        """A node says in its log that Redis promises less than is wanted of it, and counts."""
        redis = await Redis(self).start()
        suite = Suite(self, suite={"services": "counter", "fabric": redis.url})
        await suite.start()
        self.assertEqual(await add(self, suite, 1), 1)
        await suite.program.says("[counter] durability = everysec: Redis has appendonly no")

    async def test_workers(self) -> None:
        """R38: several processes of a node with a Redis do not start, and the line says what to do."""
        suite = Suite(
            self, suite={"services": "counter", "fabric": "redis://127.0.0.1"}, counter={"workers": 2}
        )
        [line] = [line for line in await suite.refusal() if "workers" in line]
        self.assertIn("set workers = 1", line)


def stored(database: str) -> object:
    """The total in a database."""
    [(total,)] = shared().execute("SELECT total FROM counter", database.rpartition("/")[2])
    return total


def said(node: Suite, *words: str) -> int:
    """How many lines of its log have all of these."""
    return sum(all(word in line for word in words) for line in node.log)
