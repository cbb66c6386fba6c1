"""The counter of several nodes: its total lives in Redis, and each node adds to it once a turn at most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from protosuite.counter.combining import Combiner, Group, Operation
from protosuite.errors import PeerFault
from protosuite.fabric.address import Address
from protosuite.fabric.connection import Refused
from protosuite.fabric.interface import Away
from protosuite.fabric.link import Link, log
from protosuite.figures import Figure, Histogram, counter, gauge, histogram

Answer = tuple[list[int], PeerFault | None]

AWAY = PeerFault("engine", "the counter cannot be reached now")

_HALF = 32  # bits: the numbers of Lua are exact up to 53, and those of Redis have a sign
_MASK = (1 << _HALF) - 1
_RETRY = 0.2  # seconds after which Redis is asked again that refused
_KEEP = 3600  # seconds for which the last operation of a node is known: longer than any is asked for

# An operation that has been done already is answered again, and one that comes later than its successor is
# not done. A total below what this node knows has been lost by Redis: it goes on from there.
_ADD = """
local number = tonumber(ARGV[1])
local last = redis.call('HMGET', KEYS[2], 'number', 'done', 'high', 'low')
if last[1] then
  if tonumber(last[1]) == number then
    return {tonumber(last[2]), tonumber(last[3]), tonumber(last[4])}
  elseif tonumber(last[1]) > number then
    return {-1, 0, 0}
  end
end
local held = redis.call('HMGET', KEYS[1], 'high', 'low')
local high, low = tonumber(held[1] or 0), tonumber(held[2] or 0)
local known_high, known_low = tonumber(ARGV[4]), tonumber(ARGV[5])
if known_high > high or (known_high == high and known_low > low) then
  high, low = known_high, known_low
end
local done = 1
local new_high, new_low = high + tonumber(ARGV[2]), low + tonumber(ARGV[3])
if new_low >= 4294967296 then new_high, new_low = new_high + 1, new_low - 4294967296 end
if new_high >= 4294967296 then done, new_high, new_low = 0, high, low end
redis.call('HSET', KEYS[1], 'high', new_high, 'low', new_low)
redis.call('HSET', KEYS[2], 'number', number, 'done', done, 'high', new_high, 'low', new_low)
redis.call('PEXPIRE', KEYS[2], ARGV[6])
return {done, new_high, new_low}
"""


class RedisTotal:
    """Adds for one node. What cannot be added within `engine_timeout` seconds is answered with a fault.

    Then it may have counted or not, once at most; what was answered with a total has. `timeout` is for one
    attempt, in seconds.
    """

    def __init__(
        self, address: Address, timeout: float, engine_timeout: float, reactor: Any, random: Random
    ) -> None:
        self.operations = Histogram((1, 2, 5, 10, 20, 50, 100, 200, 500, 1000))  # increments in each
        self.round_trips = Histogram()
        self._combiner = Combiner()
        self._node = f"{random.getrandbits(64):016x}"  # of this start: numbers begin again with the next
        self._engine_timeout = engine_timeout
        self._reactor = reactor
        self._link = Link(address, timeout, reactor, random, on_up=self._go_on)
        self._is_asking = False
        self._turn: IDelayedCall | None = None
        self._deadline: IDelayedCall | None = None

    @property
    def is_reachable(self) -> bool:
        """Whether Redis can be asked, as far as is known."""
        return self._link.is_up

    @property
    def trouble(self) -> str | None:
        """Why not, for a person."""
        return self._link.trouble

    def start(self) -> None:
        """Connect, again and again."""
        self._link.start()

    def stop(self) -> Deferred[None]:
        """Answer all who wait with a fault, and disconnect."""
        self._combiner.abandon(float("inf"), AWAY)
        for call in (self._turn, self._deadline):
            if call is not None:
                call.cancel()
        self._turn = self._deadline = None
        return self._link.stop()

    def add(self, increments: Sequence[int]) -> Deferred[Answer]:
        """Add each in turn: the total after each, and what is wrong with the one after these.

        An increment of 0 reads. Whoever asks bounds how much waits.
        """
        answer: Deferred[Answer] = Deferred()
        group = Group(
            increments, lambda totals, fault: answer.callback((totals, fault)), self._reactor.seconds()
        )
        self._combiner.offer(group)
        if self._deadline is None:
            self._deadline = self._reactor.callLater(self._engine_timeout, self._too_late)
        self._go_on()
        return answer

    def figures(self) -> Iterator[Figure]:
        """How it is, for machines."""
        yield gauge("counter_engine_reachable", "1 if the total in Redis is reached.", self.is_reachable)
        yield gauge("counter_engine_waiting", "Groups of increments that wait.", len(self._combiner))
        yield histogram("counter_engine_increments", "Increments that share an operation.", self.operations)
        yield histogram("counter_engine_seconds", "Seconds that an operation took.", self.round_trips)
        yield counter("counter_engine_connections_total", "Connections to Redis.", self._link.connects)

    async def durability(self) -> str | None:
        """What Redis promises: ``always``, ``everysec`` or ``no``; None if it does not say.

        Raises :exc:`Away`.
        """
        try:
            _, is_kept = await self._link.command("CONFIG", "GET", "appendonly")
            _, how = await self._link.command("CONFIG", "GET", "appendfsync")
        except (Refused, ValueError):  # it is not for everybody
            return None
        return "no" if is_kept == b"no" else str(how.decode())

    def _go_on(self) -> None:
        """Ask in the next turn: this one may have more."""
        if self._turn is None and not self._is_asking and self._link.is_up:
            self._turn = self._reactor.callLater(0, self._begin)

    def _begin(self) -> None:
        self._turn = None
        if not self._is_asking:
            self._is_asking = True
            Deferred.fromCoroutine(self._ask_all()).addErrback(self._defect)

    async def _ask_all(self) -> None:
        """One operation after the other, for as long as anybody waits and Redis answers."""
        while self._link.is_up and (operation := self._combiner.next()) is not None:
            began = self._reactor.seconds()
            try:
                done, high, low = await self._ask(operation)
            except Away:
                break  # the same operation is asked for again when it is back
            except Refused as refused:
                log.warn("Redis refuses to add: {why}", why=str(refused))
                self._turn = self._reactor.callLater(_RETRY, self._begin)
                break
            if self._combiner.current is not operation:
                continue  # nobody waits for it any more
            self.round_trips.observe(self._reactor.seconds() - began)
            self.operations.observe(operation.count)
            if done > 0:
                self._combiner.done(high << _HALF | low)
            elif done == 0:
                self._combiner.refused()
            else:  # whoever has our name is further on: what we asked for was not done
                self._combiner.abandon(float("inf"), AWAY)
        self._is_asking = False

    def _ask(self, operation: Operation) -> Deferred[Any]:
        prefix, known = self._link.address.prefix, self._combiner.highest
        amount = operation.amount
        words = [operation.number, amount >> _HALF, amount & _MASK, known >> _HALF, known & _MASK]
        keys = [f"{prefix}/counter", f"{prefix}/counter/{self._node}"]
        return self._link.script(_ADD, keys, [*words, _KEEP * 1000])

    def _defect(self, failure: Any) -> None:
        self._is_asking = False
        log.failure("the counter's total was not understood", failure)
        self._link.drop()

    def _too_late(self) -> None:
        """Answer those who have waited for too long, and come back for the next."""
        self._deadline = None
        now = self._reactor.seconds()
        self._combiner.abandon(now - self._engine_timeout + 1e-6, AWAY)
        oldest = self._combiner.oldest
        if oldest is not None:
            wait = max(0.001, oldest + self._engine_timeout - now)
            self._deadline = self._reactor.callLater(wait, self._too_late)
