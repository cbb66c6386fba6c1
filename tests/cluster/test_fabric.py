"""The fabric over a real Redis: the contract of every fabric, and what a Redis in trouble may do to it."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from random import Random
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from protosuite.fabric import Fabric, Timing, make
from protosuite.fabric.interface import Away
from protosuite.test.fabric_contract import Contract, Reader, Seer, Truth
from tests.cluster.redis import Redis
from tests.processes import LIMIT, reactor

# A timeout that tests wait out, and no catching up that would hide what got lost.
TIMING = Timing(timeout=0.5, catch_up_interval=3600, presence_ttl=1.5)


class OverRedis(TestCase):
    """Nodes in this process, each with its own connections to one Redis."""

    timeout = LIMIT
    timing = TIMING

    async def setUp(self) -> None:  # type: ignore[override]
        self.redis = Redis(self)
        await self.redis.start()

    def node(self, url: str | None = None, timing: Timing | None = None, seed: int | None = None) -> Fabric:
        """One more node, which has been started."""
        fabric = make(url or self.redis.url, timing or self.timing, reactor, Random(seed))
        fabric.start()
        self.addCleanup(fabric.stop)
        return fabric

    async def nodes(self, count: int) -> list[Fabric]:
        fabrics = [self.node() for _ in range(count)]
        await self.until(lambda: all(each.is_reachable for each in fabrics), "they are connected")
        return fabrics

    async def until(self, find: Callable[[], Any], what: str) -> None:
        deadline = reactor.seconds() + LIMIT / 2
        while True:
            found = find()
            if isawaitable(found):
                try:
                    found = await found
                except Away:
                    found = False
            if found:
                return
            if reactor.seconds() > deadline:
                self.fail(f"never: {what}")
            await deferLater(reactor, 0.005)

    def stopped_within(self, deferred: Deferred[None]) -> Deferred[None]:
        """It fires soon."""
        return deferred.addTimeout(LIMIT / 4, reactor)


class ContractTests(Contract, OverRedis):
    """What every fabric does."""


class TroubleTests(OverRedis):
    """R33 at the level of the fabric."""

    async def pair(self, url: str | None = None) -> tuple[Reader, Reader]:
        """Two readers of one topic, on nodes of their own."""
        truth = Truth()
        one, two = (Reader(truth, self.node(url)) for _ in range(2))
        one.listen("a")
        two.listen("a")
        await self.until(lambda: one.fabric.is_reachable and two.fabric.is_reachable, "they are connected")
        one.store("a")
        await self.until(lambda: two.is_current, "they hear of each other")
        return one, two

    async def resumes(self, one: Reader, two: Reader) -> None:
        """Wake-ups go both ways again, and what was lost is known."""
        await self.until(lambda: one.is_current and two.is_current, "what was lost is known")
        for writer, listener in ((one, two), (two, one)):
            listener.woken_with.clear()
            await self.until(lambda: writer.fabric.is_reachable and listener.fabric.is_reachable, "back")  # noqa: B023
            writer.store("a")
            await self.until(lambda: listener.woken_with and listener.is_current, "a wake-up")  # noqa: B023

    async def test_killed(self) -> None:
        """R33: Redis is killed and started again: what was published meanwhile is known afterwards."""
        one, two = await self.pair()
        await self.redis.kill()
        for reader in (one, two):
            await self.until(lambda: not reader.fabric.is_reachable, "it is seen")  # noqa: B023
            for _ in range(100):
                reader.store("a")
        self.assertIsInstance(await one.fabric.health(), str)
        await self.redis.start()
        await self.resumes(one, two)
        self.assertIsNone(await one.fabric.health())

    async def test_frozen(self) -> None:
        """R33: Redis is frozen: nobody waits for it, it is seen to be away, and wake-ups resume."""
        one, two = await self.pair()
        self.redis.freeze()
        for _ in range(100):
            one.store("a")
        await self.until(lambda: not (one.fabric.is_reachable or two.fabric.is_reachable), "it is seen")
        self.assertIsInstance(await one.fabric.health(), str)
        two.store("a")
        self.redis.thaw()
        await self.resumes(one, two)

    async def test_emptied(self) -> None:
        """R33: Redis is emptied: wake-ups go on, and who is where comes back by itself."""
        one, two = await self.pair()
        one.fabric.enter("room", "ana")
        await self.until(lambda: self.is_here(two.fabric, "ana"), "she is there")
        self.assertEqual(self.redis.ask("FLUSHALL"), "+OK")
        await self.until(lambda: self.is_here(two.fabric, "ana"), "she is there again")
        await self.resumes(one, two)

    async def test_more_than_is_kept(self) -> None:
        """R33: more topics than a node keeps while Redis is away: all are known in the end all the same."""
        one, two = await self.pair()
        topics = [f"many.{n}" for n in range(30)]
        for topic in topics:
            two.listen(topic)
        await self.until(lambda: two.is_current, "it listens")
        fabric: Any = one.fabric
        fabric.outgoing.max_topics = 10
        fabric._commands.drop()  # the other node stays connected, and has no reason of its own to catch up
        await self.until(lambda: not fabric._commands.is_up, "one node is cut off")
        for topic in topics:
            one.store(topic)
        self.assertEqual(fabric.outgoing.dropped, 20)
        await self.resumes(one, two)

    async def test_presence_expires(self) -> None:
        """A node that ends without a word is forgotten, with everybody who was there."""
        one, two = await self.nodes(2)
        one.enter("room", "ana")
        await self.until(lambda: self.is_here(two, "ana"), "she is there")
        node: Any = one
        node.presence._refreshing.stop()
        node._commands.stop()
        await self.until(lambda: self.is_gone(two, "ana"), "her node is forgotten")
        self.assertEqual(self.redis.ask("DBSIZE"), ":0")

    async def lasting(self) -> tuple[Any, Any]:
        """Nodes that tell of each who is there but once, as long as they are connected."""
        one, two = (self.node(timing=Timing(0.5, 3600, 3600)) for _ in range(2))
        await self.until(lambda: one.is_reachable and two.is_reachable, "they are connected")
        return one, two

    async def test_seen_late(self) -> None:
        """R33: who comes, or looks, while a node is cut off is told of, or told, as soon as it is back."""
        one, two = await self.lasting()
        coming, looking = one._commands, two._commands
        seer = Seer(two, "room")
        await self.until(lambda: seer.seen == {}, "nobody is there")
        coming.drop()  # the other node stays connected, and has no reason of its own to look
        one.enter("room", "ana")
        await self.until(lambda: seer.seen == {"ana": frozenset({one.node})}, "she is seen")
        self.redis.ask("ZADD", "protosuite/here/room", "9e15", f"{one.node} bob")  # and it is not told of him
        looking.drop()  # what it hears with stands
        await self.until(lambda: seer.seen == dict.fromkeys(["ana", "bob"], frozenset({one.node})), "he too")
        self.redis.ask("DEL", "protosuite/here/room")  # as if it had been away for longer than is remembered
        seer.woken("room", 0)
        await self.until(lambda: seer.seen == {}, "they are forgotten")
        coming.drop()
        await self.until(lambda: seer.seen == {"ana": frozenset({one.node})}, "she is seen again")

    async def test_come_while_others_are_told_of(self) -> None:
        """Whoever comes while a node tells Redis of those before is seen as they are."""
        one, two = await self.lasting()
        seer, telling = Seer(two, "room"), one.presence
        await self.until(lambda: seer.seen == {}, "nobody is there")
        for n in range(100):  # a command each, one after the other
            one.enter(f"room-{n}", "ana")
        await self.until(lambda: not telling._entering, "they are being told of")
        self.assertIsNotNone(telling._telling)
        one.enter("room", "ana")
        await self.until(lambda: seer.seen == {"ana": frozenset({one.node})}, "she is seen")

    async def test_refused(self) -> None:
        """Who comes while Redis takes nothing, for want of memory, is told of when it does again."""
        one, two = await self.nodes(2)
        seer, telling = Seer(two, "room"), cast(Any, one).presence
        await self.until(lambda: seer.seen == {}, "nobody is there")
        self.redis.ask("CONFIG", "SET", "maxmemory", "1")
        one.enter("room", "ana")
        await self.until(lambda: telling._entering == {} and telling._telling is None, "it is refused")
        self.assertEqual(seer.seen, {})
        self.redis.ask("CONFIG", "SET", "maxmemory", "0")
        await self.until(lambda: seer.seen == {"ana": frozenset({one.node})}, "she is seen")

    async def test_catch_up_interval(self) -> None:
        """Where wake-ups are lost and nobody knows, listeners are told to catch up now and then."""
        truth = Truth()
        reader = Reader(truth, self.node(timing=Timing(0.5, 0.1, 30)))
        reader.listen("a")
        await self.until(lambda: reader.is_current, "it listens")
        truth.numbers["a"] = 7  # stored by somebody whose wake-up never came
        await self.until(lambda: reader.is_current, "it is found")
        self.assertEqual(reader.woken_with, [])

    async def test_nonsense(self) -> None:
        """What others put into our channels wakes nobody, and does no harm."""
        one, two = await self.pair()
        two.woken_with.clear()
        for content in ("", "x", "-1 n", "1", "1 n x", "1" * 30 + " n", "1 " + "n" * 100, "\n1 n"):
            self.redis.ask("PUBLISH", "protosuite/wake/a", content)
        one.store("a")
        await self.until(lambda: two.is_current, "a real one comes")
        self.assertEqual(two.woken_with, [("a", 2)])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def is_here(self, fabric: Fabric, who: str) -> bool:
        return who in await fabric.present("room")

    async def is_gone(self, fabric: Fabric, who: str) -> bool:
        return who not in await fabric.present("room")

    async def test_last_words(self) -> None:
        """What is published right before a stop wakes the others, and nobody who was there is left."""
        one, two = await self.pair()
        one.store("a")
        await one.fabric.stop()
        await self.until(lambda: two.is_current, "the last wake-up")
        patient = self.node(timing=Timing(LIMIT / 2, 3600, LIMIT))
        await self.until(lambda: patient.is_reachable, "it is connected")
        for n in range(50):
            patient.enter(f"room-{n}", "ana")
        await deferLater(reactor, 0)
        await deferLater(reactor, 0)
        await patient.stop()
        self.assertEqual(self.redis.ask("DBSIZE"), ":0")

    async def test_stops_without_redis(self) -> None:
        """Whatever Redis does, a node can stop: while it is frozen, while it is gone."""
        frozen = self.node()
        frozen.enter("room", "ana")
        await self.until(lambda: frozen.is_reachable, "it is connected")
        self.redis.freeze()
        await self.stopped_within(frozen.stop())
        gone = self.node()
        self.redis.thaw()
        await self.redis.kill()
        await self.stopped_within(gone.stop())
