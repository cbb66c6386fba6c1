"""Which total counts, as a node finds it out: what Redis has is said by hand."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protosuite.counter.agreeing import _SETTLING, Agreeing
from protosuite.counter.holding import REDIS, Kept
from protosuite.counter.store import MarkStore
from protosuite.testing import database


class Engine:
    """A Redis that has a total, or nothing."""

    def __init__(self) -> None:
        self.kept: Kept | None = None

    async def look(self) -> Kept | None:
        return self.kept

    async def make(self, before: Kept | None, made: Kept) -> bool:
        self.kept = made
        return True


class LossTests(SynchronousTestCase):
    """A Redis that loses what it has."""

    def setUp(self) -> None:
        own = database(self.mktemp())
        self.addCleanup(own.close)
        self.marks, self.engine, self.clock = MarkStore(own), Engine(), Clock()
        self.name(Kept(7, 1, f"{REDIS}one"))
        engine: Any = self.engine
        agreeing = Agreeing(engine, self.marks, self.clock, Random(1))
        self.agreed = Deferred.fromCoroutine(agreeing.reach())

    def name(self, kept: Kept) -> None:
        """A total counts."""
        self.successResultOf(self.marks.name(kept))

    def test_restored(self) -> None:
        """R10: what is gone is restored when all nodes have had the time to note how far they have got."""
        self.clock.advance(_SETTLING - 0.1)
        self.assertIsNone(self.engine.kept)
        self.successResultOf(self.marks.mark(f"{REDIS}one", 10))
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(self.agreed).total, 10)

    def test_lost_twice(self) -> None:
        """R10: who waits while another restores it, and it is lost again, waits as long for the new one."""
        self.name(Kept(10, 2, f"{REDIS}two"))  # by another node
        self.successResultOf(self.marks.claim(f"{REDIS}two", "by a third"))  # which has lost it, too
        self.clock.advance(_SETTLING)
        self.assertIsNone(self.engine.kept)
        self.successResultOf(self.marks.mark(f"{REDIS}two", 20))  # what the other had told by then
        self.clock.advance(_SETTLING)
        self.assertEqual(self.successResultOf(self.agreed).total, 20)
