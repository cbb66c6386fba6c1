"""The counter of several nodes: its total lives in Redis, and each node adds to it once a turn at most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.config import CounterConfig
from protosuite.counter.agreeing import Agreed, Agreeing
from protosuite.counter.combining import Answer, Combiner, Group, Operation
from protosuite.counter.engine import DONE, NOT_HERE, OVERFLOWS, Engine, promise
from protosuite.counter.marking import Marking
from protosuite.counter.promised import shortfall
from protosuite.counter.store import MarkStore
from protosuite.errors import Overloaded, PeerFault, StorageError
from protosuite.fabric.address import Address
from protosuite.fabric.connection import Refused
from protosuite.fabric.interface import Away
from protosuite.fabric.link import Link
from protosuite.figures import Figure, Histogram, counter, gauge, histogram

log = Logger(namespace="protosuite.counter")

AWAY = PeerFault("engine", "the counter cannot be reached now")

_RETRY = 0.2  # seconds after which is asked again who refused, or could not


class RedisTotal:
    """Adds for one node. What cannot be added within `engine_timeout` seconds is answered with a fault.

    Then it may have counted or not, once at most; what was answered with a total has. `timeout` is for one
    attempt, in seconds. Nothing is asked of a total before database and Redis agree that it is the one.
    """

    def __init__(
        self,
        address: Address,
        timeout: float,
        config: CounterConfig,
        store: MarkStore,
        reactor: Any,
        random: Random,
    ) -> None:
        self.operations = Histogram((1, 2, 5, 10, 20, 50, 100, 200, 500, 1000))  # increments in each
        self.round_trips = Histogram()
        self._combiner = Combiner()
        self._config = config
        self._store = store
        self._reactor = reactor
        self._link = Link(address, timeout, reactor, random, on_up=self._agree_again, on_down=self._went_down)
        name = f"{random.getrandbits(64):016x}"  # of this start: numbers begin again with the next
        self._engine = Engine(self._link, name)
        self._agreeing = Agreeing(self._engine, store, reactor, random)
        self.marking = Marking(store, config.sync_interval, reactor, self._agree_again, self._claimed)
        self._agreement: Deferred[None] | None = None
        self._is_agreeing = False
        self._holder: str | None = None  # the name of the total, once all agree
        # An operation of which is not known whether it was done, and by whose total it was asked of.
        self._doubt: tuple[Operation, str] | None = None
        self._is_asking = False
        self._warned: str | None = None
        self._turn: IDelayedCall | None = None
        self._deadline: IDelayedCall | None = None

    @property
    def highest(self) -> int:
        """The highest total that is known here."""
        return self._combiner.highest

    @property
    def waiting(self) -> int:
        """How many groups of increments wait."""
        return len(self._combiner)

    @property
    def is_reachable(self) -> bool:
        """Whether Redis can be asked, and has the total that counts, as far as is known."""
        return self._holder is not None

    @property
    def trouble(self) -> str | None:
        """Why not, for a person."""
        return (
            None if self.is_reachable else self._link.trouble or self._agreeing.trouble or "it is looked for"
        )

    def start(self) -> None:
        """Connect, again and again."""
        self._link.start()
        self.marking.start()

    def stop(self) -> Deferred[None]:
        """Answer all who wait with a fault, disconnect, and note how far the total has got."""
        self._combiner.abandon(float("inf"), AWAY)
        for call in (self._turn, self._deadline):
            if call is not None:
                call.cancel()
        self._turn = self._deadline = None
        if self._agreement is not None:
            self._agreement.cancel()
        return self._link.stop().addCallback(lambda _: self.marking.stop())

    def ask(self, increments: Sequence[int], answer: Answer) -> Group:
        """Add each in turn: the total after each, and what is wrong with the one after these.

        An increment of 0 reads. Whoever asks bounds how much waits, and may :meth:`withdraw`.
        """
        group = Group(increments, answer, self._reactor.seconds())
        self._combiner.offer(group)
        if self._deadline is None:
            self._deadline = self._reactor.callLater(self._config.engine_timeout, self._too_late)
        self._go_on()
        return group

    def add(self, increments: Sequence[int]) -> Deferred[tuple[list[int], PeerFault | None]]:
        """The same with a Deferred."""
        answer: Deferred[tuple[list[int], PeerFault | None]] = Deferred()
        self.ask(increments, lambda totals, fault: answer.callback((totals, fault)))
        return answer

    def figures(self) -> Iterator[Figure]:
        """How it is, for machines."""
        doc = "1 if the total in Redis is reached, and is the one that counts."
        yield gauge("counter_engine_reachable", doc, self.is_reachable)
        yield histogram("counter_engine_increments", "Increments that share an operation.", self.operations)
        yield histogram("counter_engine_seconds", "Seconds that an operation took.", self.round_trips)
        yield counter("counter_engine_connections_total", "Connections to Redis.", self._link.connects)

    async def durability(self) -> str | None:
        """What Redis promises, as :func:`.engine.promise` says it. Raises :exc:`Away`."""
        return await promise(self._link.command)

    # Which total it is.

    def _went_down(self) -> None:
        self._holder = None

    def _agree_again(self) -> None:
        """Redis is there, or is not what it was: find out which total counts."""
        self._holder = None
        if not self._is_agreeing and self._link.is_up:
            self._is_agreeing = True
            self._agreement = Deferred.fromCoroutine(self._agree())
            self._agreement.addErrback(self._defect)

    def _claimed(self) -> Deferred[None]:
        """Somebody does not find the total. Object if it is there."""
        return Deferred.fromCoroutine(self._answer_claim()).addErrback(self._defect)

    async def _answer_claim(self) -> None:
        holder = self._holder
        if holder is None:
            return
        try:
            kept = await self._engine.look()
            if kept is not None and kept.holder == holder:
                await self._store.claim(holder, "")
            else:
                self._agree_again()
        except (Away, Refused, StorageError, Overloaded):
            return  # then it is not there, or not for long

    async def _agree(self) -> None:
        """Until that is known, or there is no connection any more."""
        try:
            while self._link.is_up:
                try:
                    agreed = await self._agreeing.reach()
                except (Away, Refused, StorageError, Overloaded) as error:
                    self._agreeing.trouble = str(error)
                    await deferLater(self._reactor, _RETRY)
                else:
                    self._begin_with(agreed)
                    return
        finally:
            self._is_agreeing = False

    def _begin_with(self, agreed: Agreed) -> None:
        """It is this one. What was asked of another, or has been taken back, is not asked for again."""
        self._combiner.highest = known = max(self._combiner.highest, agreed.floor)
        has_lost = agreed.total < known
        if has_lost:
            self._log_loss(known)
        if self._doubt is not None:
            operation, holder = self._doubt
            if self._combiner.current is operation and (has_lost or holder != agreed.holder):
                self._combiner.give_up(AWAY)
        self.marking.begin_with(agreed.holder, agreed.floor)
        self._holder = agreed.holder
        Deferred.fromCoroutine(self._look_for_shortfall()).addErrback(self._defect)
        self._go_on()

    def _log_loss(self, total: int) -> None:
        log.error("Redis has lost a part of the counter: it goes on at {total}", total=total)

    async def _look_for_shortfall(self) -> None:
        """Warn if Redis keeps the total less well than is wanted."""
        try:
            what = shortfall(self._config.durability, await self.durability())
        except Away:
            return
        if what != self._warned:
            self._warned = what
            if what is not None:
                log.warn("{what}", what=what)

    # What is asked of it.

    def _go_on(self) -> None:
        """Ask in the next turn: this one may have more."""
        if self._turn is None and not self._is_asking and self._holder is not None:
            self._turn = self._reactor.callLater(0, self._begin)

    def _begin(self) -> None:
        self._turn = None
        if not self._is_asking:
            self._is_asking = True
            Deferred.fromCoroutine(self._ask_all()).addErrback(self._defect).addBoth(self._has_asked)

    async def _ask_all(self) -> None:
        """One operation after the other, for as long as anybody waits and Redis answers."""
        while self._holder is not None and (operation := self._combiner.next()) is not None:
            holder, began = self._holder, self._reactor.seconds()
            try:
                outcome = await self._engine.add(
                    holder, operation.number, operation.amount, self._combiner.highest
                )
            except Away:
                self._doubt = (operation, holder)
                break  # the same operation is asked for again when it is back
            except Refused as refused:
                log.warn("Redis refuses to add: {why}", why=str(refused))
                self._turn = self._reactor.callLater(_RETRY, self._begin)
                break
            if self._combiner.current is not operation:
                continue  # nobody waits for it any more
            if self._holder != holder:  # it does not count any more, or may not
                self._combiner.give_up(AWAY)
                continue
            self.round_trips.observe(self._reactor.seconds() - began)
            self.operations.observe(operation.count)
            self._came(operation, outcome.code, outcome.total)
            if outcome.was_raised:
                self._log_loss(outcome.total)

    def _has_asked(self, _: None) -> None:
        self._is_asking = False

    def _came(self, operation: Operation, code: int, total: int) -> None:
        if code == NOT_HERE:
            self._agree_again()
        elif code == DONE:
            self.marking.reached(total)
            self._combiner.done(total)
        elif code == OVERFLOWS:
            self._combiner.refused()
        else:  # whoever has our name is further on: what we asked for was not done
            self._combiner.give_up(AWAY)

    def _defect(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        log.failure("the counter's total was not understood", failure)
        self._link.drop()

    def _too_late(self) -> None:
        """Answer those who have waited for too long, and come back for the next."""
        self._deadline = None
        now = self._reactor.seconds()
        self._combiner.abandon(now - self._config.engine_timeout + 1e-6, AWAY)
        oldest = self._combiner.oldest
        if oldest is not None:
            wait = max(0.001, oldest + self._config.engine_timeout - now)
            self._deadline = self._reactor.callLater(wait, self._too_late)
