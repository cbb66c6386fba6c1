"""What every fabric must do, whatever carries it: tests for those who can make nodes of one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from random import Random
from typing import Any

from twisted.internet.defer import Deferred

from protosuite.fabric import Fabric
from protosuite.fabric.interface import Away

_TOPICS = [f"topic.{n}" for n in range(5)]


class Truth:
    """Stands for the database: the last number of each topic."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}


class Reader:
    """A listener on one node: what it knows of each topic that it listens to."""

    def __init__(self, truth: Truth, fabric: Fabric) -> None:
        self.truth = truth
        self.fabric = fabric
        self.known: dict[str, int] = {}
        self.woken_with: list[tuple[str, int]] = []
        self.caught_up: list[str] = []

    def listen(self, topic: str) -> None:
        """Listen to it from now on."""
        if topic not in self.known:
            self.known[topic] = -1
            self.fabric.subscribe(topic, self)

    def ignore(self, topic: str) -> None:
        """Do not."""
        if self.known.pop(topic, None) is not None:
            self.fabric.unsubscribe(topic, self)

    def store(self, topic: str) -> None:
        """Something new, from this node: it is stored, and then others are woken."""
        number = self.truth.numbers[topic] = self.truth.numbers.get(topic, 0) + 1
        if topic in self.known:
            self.known[topic] = number
        self.fabric.publish(topic, number)

    def woken(self, topic: str, number: int) -> None:
        self.woken_with.append((topic, number))
        if topic in self.known:
            self.known[topic] = max(self.known[topic], number)

    def catch_up(self, topics: Collection[str]) -> None:
        self.caught_up += topics
        for topic in topics:
            if topic in self.known:
                self.known[topic] = self.truth.numbers.get(topic, 0)

    @property
    def is_current(self) -> bool:
        """Whether it knows everything that it wants to."""
        return all(number == self.truth.numbers.get(topic, 0) for topic, number in self.known.items())


class Seer:
    """A listener on one node who looks who is in a group whenever it is woken, and at no other time."""

    def __init__(self, fabric: Fabric, group: str) -> None:
        self.fabric = fabric
        self.seen: dict[str, frozenset[str]] | None = None  # None: it has not been answered yet
        fabric.subscribe(group, self)

    def woken(self, topic: str, number: int) -> None:
        self.fabric.present(topic).addCallbacks(self._found, lambda failure: failure.trap(Away))

    def catch_up(self, topics: Collection[str]) -> None:
        for topic in topics:
            self.woken(topic, 0)

    def _found(self, found: Mapping[str, frozenset[str]]) -> None:
        self.seen = dict(found)


class Contract:
    """A mixin for a test case, which says how nodes are made and how to wait for something."""

    nodes: Callable[[int], Any]  # so many fabrics, started; a Deferred of a list
    until: Callable[[Callable[[], object], str], Any]
    assertEqual: Any
    assertNotIn: Any

    async def readers(self, count: int) -> list[Reader]:
        """A reader on each of several nodes."""
        truth = Truth()
        return [Reader(truth, fabric) for fabric in await self.nodes(count)]

    async def test_others_are_woken(self) -> None:
        """What a node publishes wakes the listeners of that topic on the other nodes, and nobody else."""
        one, two, three = await self.readers(3)
        for reader, topics in ((one, "ab"), (two, "a"), (three, "b")):
            for topic in topics:
                reader.listen(topic)
        await self.until(lambda: two.is_current and three.is_current, "they listen")
        for _ in range(3):
            one.store("a")
        await self.until(lambda: two.is_current, "one node hears")
        one.store("b")
        await self.until(lambda: three.is_current, "the other one does")
        self.assertEqual({topic for topic, _ in two.woken_with}, {"a"})
        self.assertEqual(three.woken_with, [("b", 1)])
        self.assertEqual(one.woken_with, [])

    async def test_never_from_within(self) -> None:
        """Publishing, subscribing and unsubscribing call nobody before they return."""
        one, two = await self.readers(2)
        two.listen("a")
        self.assertEqual(two.caught_up, [])
        await self.until(lambda: two.is_current, "it listens")
        one.store("a")
        self.assertEqual(two.woken_with, [])
        await self.until(lambda: two.is_current, "it hears")

    async def test_unsubscribed(self) -> None:
        """Who does not listen any more is not woken; who listens again is told to catch up."""
        one, two = await self.readers(2)
        two.listen("a")
        two.listen("b")
        await self.until(lambda: two.is_current, "it listens")
        two.ignore("a")
        await self.until(lambda: "a" in two.caught_up, "it had listened")
        for topic in "ab":
            one.store(topic)
        await self.until(lambda: two.is_current, "it hears")
        self.assertNotIn("a", two.known)
        two.caught_up.clear()
        two.listen("a")
        await self.until(lambda: two.is_current, "it knows what it missed")
        self.assertEqual(set(two.caught_up), {"a"})

    async def test_everybody_knows_in_the_end(self) -> None:
        """Whoever listens knows, in the end, of everything; whatever was done in whatever order."""
        for seed in range(10):
            random = Random(seed)
            readers = await self.readers(3)
            for _ in range(60):
                reader, topic = random.choice(readers), random.choice(_TOPICS)
                act = random.choice((reader.listen, reader.store, reader.store, reader.ignore))
                act(topic)
                if random.random() < 0.1:
                    await self.until(lambda: True, "a turn")
            await self.until(lambda: all(each.is_current for each in readers), f"all of seed {seed}")  # noqa: B023

    async def test_presence(self) -> None:
        """Who is where is seen from every node, until they leave or their node does."""
        one, two = await self.nodes(2)

        async def here(group: str) -> dict[str, frozenset[str]]:
            return dict(await two.present(group))

        one.enter("room", "ana")
        one.enter("room", "ana")
        one.enter("elsewhere", "eve")
        two.enter("room", "ana")
        two.enter("room", "bob who")
        both = frozenset({one.node, two.node})
        expected = {"ana": both, "bob who": frozenset({two.node})}
        await self.until(lambda: _is(here("room"), expected), "they are there")
        one.leave("room", "ana")
        two.leave("room", "bob who")
        await self.until(lambda: _is(here("room"), {"ana": frozenset({two.node})}), "they left")
        await one.stop()
        await self.until(lambda: _is(here("elsewhere"), {}), "the node left")

    async def test_presence_wakes(self) -> None:
        """Who looks when woken sees who has come and gone: nobody is woken before that can be seen."""
        for _ in range(10):
            one, two = await self.nodes(2)
            groups = [f"room.{n}" for n in range(10)]  # of which the fabric may tell one after the other
            seers = [Seer(two, group) for group in groups]
            await self.until(lambda: all(seer.seen == {} for seer in seers), "they look")  # noqa: B023
            for group in groups:
                one.enter(group, "ana")
            ana = {"ana": frozenset({one.node})}
            await self.until(lambda: all(seer.seen == ana for seer in seers), "she came")  # noqa: B023
            for group in groups[:5]:
                one.leave(group, "ana")
            await self.until(lambda: all(seer.seen == {} for seer in seers[:5]), "she left")  # noqa: B023
            await one.stop()
            await self.until(lambda: all(seer.seen == {} for seer in seers), "her node left")  # noqa: B023


async def _is(finding: Any, expected: object) -> bool:
    return bool(await Deferred.fromCoroutine(finding) == expected)
