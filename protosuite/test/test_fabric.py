"""The fabric in one process, what waits to be told, and the addresses of the one over Redis."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from protosuite.errors import StartError
from protosuite.fabric import Hub, LocalFabric, Timing, make, problem
from protosuite.fabric.address import Address, parse
from protosuite.fabric.outgoing import Outgoing
from protosuite.test.fabric_contract import Contract


class LocalTests(Contract, TestCase):
    """Nodes that share a process."""

    def setUp(self) -> None:
        self.clock = Clock()

    async def nodes(self, count: int) -> list[LocalFabric]:
        hub = Hub(self.clock)
        return [hub.node(f"node-{n}") for n in range(count)]

    async def until(self, find: Callable[[], Any], what: str) -> None:
        for _ in range(100):
            found = find()
            if isawaitable(found):
                found = await found
            if found:
                return
            self.clock.advance(0)
        self.fail(f"never: {what}")

    async def test_alone(self) -> None:
        """A node alone does nothing, and has nobody to tell."""
        [fabric] = await self.nodes(1)
        self.assertFalse(fabric.is_shared)
        fabric.publish("a", 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual((await fabric.health(), list(fabric.figures())), (None, []))


class OutgoingTests(SynchronousTestCase):
    """What waits to be told."""

    @given(
        st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9))),
        st.integers(1, 6),
        st.lists(st.integers(1, 4), max_size=5),
    )
    def test_highest(self, puts: list[tuple[str, int]], room: int, takes: list[int]) -> None:
        """Of each topic the highest number is told, once, unless there was no room; and that is said."""
        outgoing = Outgoing(room)
        highest: dict[str, int] = {}
        for topic, number in puts:
            outgoing.put(topic, number)
            highest[topic] = max(number, highest.get(topic, 0))
        self.assertLessEqual(len(outgoing), room)
        self.assertEqual(outgoing.has_gap, len(highest) > room)
        taken: dict[str, int] = {}
        for most in (*takes, room):
            batch = outgoing.take(most)
            self.assertLessEqual(len(batch), most)
            self.assertFalse(batch.keys() & taken.keys())
            taken |= batch
        self.assertEqual(len(outgoing), 0)
        self.assertEqual(len(taken), min(len(highest), room))
        self.assertEqual(taken, {topic: highest[topic] for topic in taken})

    def test_put_back(self) -> None:
        """What may not have been sent waits again, unless something newer does."""
        outgoing = Outgoing()
        outgoing.put("a", 1)
        outgoing.put("b", 1)
        batch = outgoing.take(10)
        outgoing.put("a", 2)
        outgoing.put_back(batch)
        self.assertEqual(outgoing.take(10), {"a": 2, "b": 1})


class AddressTests(SynchronousTestCase):
    """URLs of Redis."""

    def test_right(self) -> None:
        """Every part of a URL is found, and what is left out has its default."""
        expected = {
            "redis://localhost": Address((("localhost", 6379),)),
            "redis://:s%40cret@h:1/2": Address((("h", 1),), password="s@cret", database=2),
            "redis://me:x@[::1]/?prefix=other": Address((("::1", 6379),), "me", "x", prefix="other"),
            "rediss://h": Address((("h", 6379),), is_tls=True),
            "redis+sentinel://:p@a,b:7/mine/3?sentinel_password=q": Address(
                (("a", 26379), ("b", 7)), password="p", database=3, master="mine", sentinel_password="q"
            ),
        }
        for url, address in expected.items():
            self.assertEqual(parse(url), address)

    def test_wrong(self) -> None:
        """What is wrong is said in a sentence, without the password."""
        for url in (
            "http://h",
            "redis://",
            "redis://secret@h",
            "redis://:secret@h:x",
            "redis://:secret@h:70000",
            "redis://:secret@h:",
            "redis://:secret@a,b",
            "redis://:secret@h/x",
            "redis://:secret@h/1/2",
            "redis://:secret@h?timeout=3",
            "redis://:secret@h?prefix=",
            "redis://:secret@h?ca=/x",
            "redis://:secret@h?sentinel_password=secret",
            "redis://:secret\u2100@h",
            "redis://:pa[secret]x@h",
            "redis://:pa?secret@h",
            "redis://:pa?secret=1@h",
            "redis://:pa/secret@h",
            "redis://:pa#secret@h",
            "redis+sentinel://h/mine?sentinel_password=a&secret",
            "redis+sentinel://:secret@h",
            "rediss://:secret@h?ca=/does/not/exist",
        ):
            found = problem(url)
            assert found is not None, url
            self.assertNotIn("secret", found.replace("sentinel_password", ""))
            self.assertRaises(StartError, make, url, Timing(), Clock(), Random(1))

    def test_text(self) -> None:
        """No text of an address has a password in it."""
        address = parse("redis+sentinel://me:secret@a,b/mine?sentinel_password=secret")
        self.assertEqual(str(address), "mine (by the Sentinels a:26379, b:26379)")
        self.assertNotIn("secret", repr(address))
