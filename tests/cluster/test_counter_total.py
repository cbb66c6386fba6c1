"""The counter of several nodes over a real Redis: exact, and linearizable, whatever Redis does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from protosuite.config import CounterConfig
from protosuite.counter.combining import OVERFLOW
from protosuite.counter.holding import REDIS, Kept
from protosuite.counter.ledger import Ledger
from protosuite.counter.redis_total import RedisTotal
from protosuite.counter.store import CounterStore, MarkStore
from protosuite.counter.wire import MAX
from protosuite.errors import StorageError
from protosuite.fabric.address import parse
from protosuite.fabric.interface import Away
from protosuite.testing import FaultProxy, Faults, database
from protosuite.testing.faults import Act
from tests.cluster.redis import Redis
from tests.cluster.test_redis_access import ACL
from tests.faults.checks.counter import CounterCheck
from tests.processes import LIMIT, poll, reactor

_HALF = 32


class RedisTotalTests(TestCase):
    """Several nodes in this process, each with its own connection."""

    timeout = LIMIT

    async def setUp(self) -> None:  # type: ignore[override]
        self.redis = Redis(self, appendonly=True)
        await self.redis.start()
        self.marks = self.open_marks()
        self.check = CounterCheck()
        self.faults: list[str] = []
        self.running: list[RedisTotal] = []

    async def tearDown(self) -> None:  # type: ignore[override]
        for node in list(self.running):
            await self.stop(node)

    async def stop(self, node: RedisTotal) -> None:
        """One less."""
        self.running.remove(node)
        await node.stop()

    def open_marks(self) -> MarkStore:
        """What the nodes have of a database."""
        own = database(self.mktemp())
        self.addCleanup(own.close)
        return MarkStore(own)

    async def node(
        self, port: int | None = None, engine_timeout: float = 60.0, identity: str = ""
    ) -> RedisTotal:
        """One more, which is connected."""
        address = parse(f"redis://{identity}127.0.0.1:{port or self.redis.port}")
        config = CounterConfig(engine_timeout=engine_timeout)
        total = RedisTotal(address, 0.5, config, self.marks, reactor, Random())
        total.start()
        self.running.append(total)
        await poll(lambda: total.is_reachable, "it is connected")
        return total

    def put(self, total: int) -> None:
        """The total in Redis, whatever it was."""
        self.redis.ask("HSET", "protosuite/counter", "high", str(total >> _HALF))
        self.redis.ask("HSET", "protosuite/counter", "low", str(total & (2**_HALF - 1)))

    async def ask(self, node: RedisTotal, increments: list[int]) -> None:
        """Add, and hold the answers against all others."""
        requests = [self.check.sent(amount) for amount in increments]
        totals, fault = await node.add(increments)
        for request, total in zip(requests, totals, strict=False):
            self.check.answered(request, total)
        for request in requests[len(totals) :]:
            self.check.unknown(request)
        if fault is not None:
            self.faults.append(fault.code)

    async def load(self, nodes: list[RedisTotal], rounds: int, seed: int = 1) -> None:
        """Clients on all nodes, each with one group after the other."""
        random = Random(seed)

        async def client(node: RedisTotal) -> None:
            for _ in range(rounds):
                await self.ask(node, [random.choice((0, 1, 1, 1, 1000)) for _ in range(random.randint(1, 5))])

        await gatherResults([Deferred.fromCoroutine(client(node)) for node in nodes * 5])

    async def total(self, node: RedisTotal) -> int:
        """What it has."""
        (total,), _ = await node.add([0])
        return total

    async def test_linearizable(self) -> None:
        """Three nodes add and read at once: no step twice, none missing, none back; many share one."""
        nodes = [await self.node() for _ in range(3)]
        await self.load(nodes, 100)
        for node in nodes:
            self.check.settle(await self.total(node))
        self.assertEqual(self.faults, [])
        operations = sum(node.operations.count for node in nodes)
        self.assertLess(operations, self.check.answered_count / 5)

    async def test_all_64_bits(self) -> None:
        """Totals and increments up to 2^64 − 1 are exact; what would pass it is refused, and only that."""
        one, two = await self.node(), await self.node()
        for start in (0, 2**31 - 1, 2**32 - 2, 2**53 - 1, 2**63 - 3, MAX - 5):
            self.put(start)
            one._combiner.highest = two._combiner.highest = 0
            ledger = Ledger(start)
            for increments in (
                [1, 1, 0],
                [2**32 - 1, 1],
                [MAX, 1],
                [2**63, 1],
                [2],
                [0],
                [MAX - start],
                [1],
                [0],
            ):
                node = two if len(increments) == 1 else one
                expected, fault = ledger.apply(increments)
                self.assertEqual(await node.add(increments), (expected, fault and OVERFLOW))

    async def test_many_overflow_at_once(self) -> None:
        """Near the end, of many who add in one turn exactly those are refused who would pass it."""
        node = await self.node()
        self.put(MAX - 10)
        answers = await gatherResults([node.add([1, 1, 1]) for _ in range(5)])
        self.assertEqual([len(totals) for totals, _ in answers], [3, 3, 3, 1, 0])
        self.assertEqual([fault is None for _, fault in answers], [True, True, True, False, False])
        self.assertEqual(await self.total(node), MAX)

    async def test_answers_that_get_lost(self) -> None:
        """R33: connections break at any place between question and answer: nothing counts twice."""
        faults = Faults(acts={Act.RESET: 1, Act.CUT: 1}, stretch=800, segment=30)
        proxy = FaultProxy(reactor, Random(7), self.redis.port, faults)
        port = proxy.listen()
        self.addCleanup(proxy.close)
        nodes = [await self.node(port), await self.node(port), await self.node()]
        await self.load(nodes, 60)
        proxy.faults = Faults()
        self.assertEqual(self.faults, [])
        self.check.settle(await self.total(nodes[2]))
        self.assertEqual(await self.total(nodes[2]), self.check._answered)
        self.assertGreater(proxy.connections, 10)

    async def test_slow(self) -> None:
        """R33: a Redis that takes its time makes operations larger, not more of them."""
        proxy = FaultProxy(reactor, Random(3), self.redis.port, Faults(latency=0.05))
        port = proxy.listen()
        self.addCleanup(proxy.close)
        node = await self.node(port)
        await self.load([node], 20)
        self.check.settle(await self.total(node))
        self.assertEqual(self.faults, [])
        self.assertLess(node.operations.count, 50)  # of 100 groups: five clients share each

    async def test_frozen_and_killed(self) -> None:
        """R33: while Redis is frozen or gone all wait, and then go on; nothing is lost or twice."""
        nodes = [await self.node() for _ in range(3)]
        loading = Deferred.fromCoroutine(self.load(nodes, 200))
        for trouble in (self.freeze, self.restart):
            count = self.check.answered_count
            await poll(lambda: self.check.answered_count > count + 50, "they add")  # noqa: B023
            await trouble(nodes)
        await loading
        self.assertEqual(self.faults, [])
        self.check.settle(await self.total(nodes[0]))
        self.assertEqual(await self.total(nodes[0]), self.check._answered)

    async def freeze(self, nodes: list[RedisTotal]) -> None:
        """Long enough that every node gives its connection up."""
        self.redis.freeze()
        await poll(lambda: not any(node.is_reachable for node in nodes), "it is seen")
        self.redis.thaw()

    async def restart(self, nodes: list[RedisTotal]) -> None:
        """Killed, and started with what it has synced."""
        await self.redis.kill()
        await self.redis.start()

    async def test_away_for_too_long(self) -> None:
        """R33: who waited for the engine's timeout is told; it counted once or not; others go on."""
        node = await self.node(engine_timeout=1.5)
        await self.ask(node, [5])
        self.redis.freeze()
        await self.ask(node, [1])  # may be done when it thaws
        await poll(lambda: not node.is_reachable, "it is seen")
        await self.ask(node, [1])  # was never sent
        self.assertEqual(self.faults, ["engine", "engine"])
        self.redis.thaw()
        await poll(lambda: node.is_reachable, "it is back")
        await self.ask(node, [10])
        total = await self.total(node)
        self.assertIn(total, (15, 16))
        self.check.settle(total)

    async def test_emptied(self) -> None:
        """R10, R33: what Redis loses under load is restored: all wait, and no total is told twice."""
        nodes = [await self.node() for _ in range(3)]
        loading = Deferred.fromCoroutine(self.load(nodes, 100))
        for _ in range(2):
            count = self.check.answered_count
            await poll(lambda: self.check.answered_count > count + 50, "they add")  # noqa: B023
            self.assertEqual(self.redis.ask("FLUSHALL"), "+OK")
        await loading
        self.assertEqual(self.faults, [])
        self.check.settle(await self.total(nodes[0]))
        self.assertEqual(await self.total(nodes[0]), self.check._answered)

    async def test_emptied_while_nobody_asks(self) -> None:
        """R10: what was told before a loss that nobody noticed is not told again."""
        one, two = await self.node(), await self.node()
        await self.ask(one, [100])
        await self.ask(two, [1])
        self.redis.ask("FLUSHALL")
        await self.ask(two, [1])
        self.assertEqual(await self.total(one), 102)

    async def test_emptied_while_all_are_away(self) -> None:
        """R10: nodes that start with a Redis that has nothing go on from what the last ones noted."""
        node = await self.node()
        await self.ask(node, [2**63 + 5])
        await self.stop(node)
        self.redis.ask("FLUSHALL")
        other = await self.node()
        self.assertEqual(await self.total(other), 2**63 + 5)

    async def test_set_back(self) -> None:
        """R10: a Redis that comes back with less goes on from what is known."""
        node = await self.node()
        await self.ask(node, [100])
        await poll(lambda: node.marking.marked == 100, "it is noted")
        other = await self.node()
        self.put(40)
        self.assertEqual(await self.total(other), 100)

    def lose_answer(self, node: RedisTotal, then: Callable[[], Awaitable[object]]) -> None:
        """The next addition is done, its answer never comes, and this happens before it is asked again."""
        engine: Any = node._engine
        add = engine.add

        async def done_in_silence(*words: Any) -> None:
            engine.add = add
            await add(*words)
            await then()
            node._link.drop()
            raise Away("the answer was lost")

        engine.add = done_in_silence

    async def test_asked_again(self) -> None:
        """R33: an operation whose answer was lost is asked for again, and not done again."""
        one, two = await self.node(), await self.node()
        self.lose_answer(one, lambda: self.ask(two, [10]))
        await self.ask(one, [1])
        self.assertEqual((self.faults, await self.total(two)), ([], 11))

    async def test_not_asked_again(self) -> None:
        """R33: what a Redis has done that then lost all is not done a second time: nobody knows of it."""
        one, two = await self.node(), await self.node()

        async def lose_all() -> None:
            await self.ask(two, [10])
            self.redis.ask("FLUSHALL")

        self.lose_answer(one, lose_all)
        await self.ask(one, [1])
        self.assertEqual((self.faults, await self.total(two)), (["engine"], 11))

    async def test_not_asked_again_of_less(self) -> None:
        """R33: so it is where Redis comes back with a part of what it had."""
        one, two = await self.node(), await self.node()

        async def lose_some() -> None:
            await self.ask(two, [10])
            await poll(lambda: two.marking.marked == 11, "it is noted")
            self.put(0)

        self.lose_answer(one, lose_some)
        await self.ask(one, [1])
        self.assertEqual((self.faults, await self.total(two)), (["engine"], 11))

    async def test_another_redis(self) -> None:
        """A node with another Redis than the others counts nothing, and they go on."""
        one = await self.node()
        await self.ask(one, [7])
        other = Redis(self)
        await other.start()
        config = CounterConfig(engine_timeout=0.5)
        lost = RedisTotal(parse(other.url), 0.5, config, self.marks, reactor, Random())
        lost.start()
        self.running.append(lost)
        await poll(lambda: "another Redis" in (lost.trouble or ""), "it is refused")
        await self.ask(lost, [1])
        self.assertEqual(self.faults, ["engine"])
        self.assertEqual((other.ask("DBSIZE"), await self.total(one)), (":0", 7))
        self.assertTrue(one.is_reachable)

    async def test_two_epochs(self) -> None:
        """What another total has been named for counts no more, for those who have the old one, too."""
        one = await self.node()
        await self.ask(one, [7])
        await poll(lambda: one.marking.marked == 7, "it is noted")
        held = await self.marks.look()
        await self.marks.name(Kept(9, held.epoch + 1, f"{REDIS}elsewhere"))
        await poll(lambda: not one.is_reachable, "it is seen")
        await poll(lambda: "another Redis" in (one.trouble or ""), "it is said")
        self.redis.ask("DEL", "protosuite/counter")  # as who decides for this one does
        self.assertEqual(await self.total(one), 9)

    async def test_from_a_process_alone(self) -> None:
        """Where a process had the counter for itself, nodes go on from its total, and it is told so."""
        alone = CounterStore(self.marks._database)
        alone.can_be_shared = True
        for total in (50, 150):  # the second time Redis has an old one
            alone.take()
            await alone.save(total)
            node = await self.node()
            self.assertEqual(await node.add([1]), ([total + 1], None))
            self.assertEqual((await alone.is_ours(), await alone.save(1000)), (False, False))
            await self.stop(node)

    async def test_a_process_alone_comes(self) -> None:
        """A process that would count alone while nodes do is soon told so, and they go on from its total."""
        node = await self.node()
        await self.ask(node, [7])
        await poll(lambda: node.marking.marked == 7, "it is noted")
        alone = CounterStore(self.marks._database)
        alone.can_be_shared = True
        self.assertEqual(alone.take(), 7)
        await alone.save(50)

        await poll(lambda: not self.successResultOf(alone.is_ours()), "it is told")
        self.assertEqual(await node.add([1]), ([51], None))

    async def test_without_the_database(self) -> None:
        """R34: while the database is away counting goes on; the mark follows when it is back."""
        node = await self.node()
        await self.ask(node, [1])
        await poll(lambda: node.marking.marked == 1, "it is noted")
        store: Any = self.marks
        mark, store.mark = store.mark, lambda *_: fail(StorageError("away"))
        await self.ask(node, [1])
        await poll(lambda: node.marking.fails, "it is seen")
        await self.ask(node, [1])
        store.mark = mark
        await poll(lambda: node.marking.marked == 3 and not node.marking.fails, "it is noted")
        self.assertEqual(self.faults, [])

    async def test_memory(self) -> None:
        """What Redis keeps does not grow with what is added: the total, and a little for each node."""
        nodes = [await self.node() for _ in range(3)]
        await self.load(nodes, 20)
        self.assertEqual(self.redis.ask("DBSIZE"), ":4")
        for node in nodes:
            self.assertNotIn(self.redis.ask("PTTL", node._engine._last), (":-1", ":-2"))

    async def test_durability(self) -> None:
        """What Redis promises is known."""
        node = await self.node()
        self.assertEqual(await node.durability(), "always")
        self.redis.ask("CONFIG", "SET", "appendfsync", "everysec")
        self.assertEqual(await node.durability(), "everysec")
        self.redis.ask("CONFIG", "SET", "appendonly", "no")
        self.assertEqual(await node.durability(), "no")

    async def test_rights(self) -> None:
        """A user with the rights that the page names, and no others, counts and sees what Redis keeps."""
        _, *user = ACL.split()
        self.assertEqual(self.redis.ask("ACL", "SETUSER", *user), "+OK")
        node = await self.node(identity="suite:geheim@")
        await self.ask(node, [1])
        self.assertEqual((await self.total(node), await node.durability()), (1, "always"))
        self.redis.ask("ACL", "SETUSER", "suite", "-config")
        self.assertEqual((await self.total(node), await node.durability()), (1, None))

    async def test_stop(self) -> None:
        """A node that stops answers those who wait."""
        node = await self.node()
        self.redis.freeze()
        waiting = node.add([1])
        await deferLater(reactor, 0)
        await self.stop(node)
        _, fault = await waiting
        self.redis.thaw()
        self.assertEqual(getattr(fault, "code", None), "engine")
