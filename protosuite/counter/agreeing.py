"""Which total counts: the database and Redis are asked, and helped, until they say the same."""

from __future__ import annotations

from random import Random
from typing import Any

from attrs import frozen
from twisted.internet.task import deferLater
from twisted.logger import Logger

from protosuite.counter.engine import Engine
from protosuite.counter.holding import REDIS, Held, Kept, Step, next_step
from protosuite.counter.store import MarkStore

log = Logger(namespace="protosuite.counter")

_ELSEWHERE = "another Redis has the counter's total now: give all nodes the same [suite] fabric"
# Seconds from one look whether Redis has the total that counts to the next, while it has not.
_AGAIN = 1.0
# Seconds after which all nodes have seen a claim: each looks once a second, and waits for its commits.
_SETTLING = 2.5


@frozen
class Agreed:
    """The total of this name counts, and had reached `floor` by what the database knew before."""

    holder: str
    floor: int
    total: int


class Agreeing:
    """Finds out for one node."""

    def __init__(self, engine: Engine, marks: MarkStore, reactor: Any, random: Random) -> None:
        self.trouble: str | None = None  # why there is no agreement, for a person
        self._engine = engine
        self._marks = marks
        self._reactor = reactor
        self._random = random

    async def reach(self) -> Agreed:
        """The total that counts, when there is one. Raises what the database and Redis do."""
        claim = lost = ""
        while True:
            held = await self._marks.look()
            kept = await self._engine.look()
            step = next_step(held, kept)
            if held.holder != lost:
                claim = ""  # it was of a total before this one, which nobody has waited for yet
            if kept is not None and step is Step.COUNT:
                self._note(None)
                return Agreed(kept.holder, held.total, kept.total)
            if kept is not None and step is Step.NAME:
                await self._marks.name(kept)
            elif step is Step.REFUSE or (claim and not held.claim):
                self._note(_ELSEWHERE)
                claim = ""
                await deferLater(self._reactor, _AGAIN)
            elif step is Step.RESTORE and not claim:
                lost, claim = held.holder, await self._claim(held)
                await deferLater(self._reactor, _SETTLING)
            else:
                await self._make(step, held, kept)

    async def _claim(self, held: Held) -> str:
        """Have nodes object that do find the total. Meanwhile all note how far they have got."""
        if self.trouble is None:
            log.error("there is no total of the counter in Redis: it will be restored from the database")
        claim = self._name()
        await self._marks.claim(held.holder, claim)
        return claim

    async def _make(self, step: Step, held: Held, kept: Kept | None) -> None:
        made = Kept(held.total, held.epoch + 1, self._name())
        if not await self._engine.make(kept, made):
            return  # another node was first
        if step is Step.RESTORE:
            log.warn("the counter's total was restored in Redis: {total}", total=made.total)
        else:
            log.info("the counter's total was made in Redis: {total}", total=made.total)

    def _name(self) -> str:
        return f"{REDIS}{self._random.getrandbits(64):016x}"

    def _note(self, trouble: str | None) -> None:
        if trouble is not None and trouble != self.trouble:
            log.error("nothing is counted: {trouble}", trouble=trouble)
        self.trouble = trouble
