"""The counter's total in Redis: what is asked of it, in one step each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen

from protosuite.counter.holding import Kept
from protosuite.fabric.connection import Refused, Word
from protosuite.fabric.link import Link

_HALF = 32  # bits: the numbers of Lua are exact up to 53, and those of Redis have a sign
_MASK = (1 << _HALF) - 1
_KEEP = 3600  # seconds for which the last operation of a node is known: longer than any is asked for

# An operation that has been done already is answered again, and one that comes later than its successor is
# not done. A total below what this node knows has been lost by Redis: it goes on from there. What changes
# nothing is not written.
_ADD = """
local held = redis.call('HMGET', KEYS[1], 'high', 'low', 'holder')
if held[3] ~= ARGV[6] then return {-2, 0, 0, 0} end
local number = tonumber(ARGV[1])
local last = redis.call('HMGET', KEYS[2], 'number', 'done', 'high', 'low')
if last[1] then
  if tonumber(last[1]) == number then
    return {tonumber(last[2]), tonumber(last[3]), tonumber(last[4]), 0}
  elseif tonumber(last[1]) > number then
    return {-1, 0, 0, 0}
  end
end
local high, low = tonumber(held[1]), tonumber(held[2])
local known_high, known_low = tonumber(ARGV[4]), tonumber(ARGV[5])
local raised = 0
if known_high > high or (known_high == high and known_low > low) then
  raised, high, low = 1, known_high, known_low
end
local done = 1
local more_high, more_low = tonumber(ARGV[2]), tonumber(ARGV[3])
local new_high, new_low = high + more_high, low + more_low
if new_low >= 4294967296 then new_high, new_low = new_high + 1, new_low - 4294967296 end
if new_high >= 4294967296 then done, new_high, new_low = 0, high, low end
if raised == 1 or new_high ~= high or new_low ~= low then
  redis.call('HSET', KEYS[1], 'high', new_high, 'low', new_low)
end
if more_high + more_low > 0 then
  redis.call('HSET', KEYS[2], 'number', number, 'done', done, 'high', new_high, 'low', new_low)
  redis.call('PEXPIRE', KEYS[2], ARGV[7])
end
return {done, new_high, new_low, raised}
"""

# A new total is made where the one is that was seen, or where none was seen.
_MAKE = """
local holder = redis.call('HGET', KEYS[1], 'holder')
if (holder or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'high', ARGV[2], 'low', ARGV[3], 'epoch', ARGV[4], 'holder', ARGV[5])
return 1
"""

DONE, OVERFLOWS, TOO_LATE, NOT_HERE = 1, 0, -1, -2  # outcomes of an addition


@frozen
class Outcome:
    """What became of an addition: DONE, OVERFLOWS, TOO_LATE (its successor has come) or NOT_HERE.

    `was_raised` says that Redis had less than was known.
    """

    code: int
    total: int
    was_raised: bool


class Engine:
    """The total by its name in Redis. Everything raises :exc:`.interface.Away`, and `Refused`."""

    def __init__(self, link: Link, node: str) -> None:
        prefix = link.address.prefix
        self._link = link
        self._total = f"{prefix}/counter"
        self._last = f"{prefix}/counter/{node}"  # what this node has asked for last

    async def look(self) -> Kept | None:
        """What is there."""
        words = ("high", "low", "epoch", "holder")
        high, low, epoch, holder = await self._link.command("HMGET", self._total, *words)
        if holder is None:
            return None
        return Kept(int(high) << _HALF | int(low), int(epoch), holder.decode())

    async def make(self, instead: Kept | None, kept: Kept) -> bool:
        """Put a total where another one is, or none. False: it is not what is there any more."""
        before = "" if instead is None else instead.holder
        words: list[Word] = [before, kept.total >> _HALF, kept.total & _MASK, kept.epoch, kept.holder]
        return bool(await self._link.script(_MAKE, [self._total], words))

    async def add(self, holder: str, number: int, amount: int, known: int) -> Outcome:
        """Add to the total of that name; the operation has its `number` on this node.

        It is done once, however often it is asked for. The total is `known` at least.
        """
        words: list[Word] = [number, amount >> _HALF, amount & _MASK, known >> _HALF, known & _MASK]
        words += [holder, _KEEP * 1000]
        code, high, low, raised = await self._link.script(_ADD, [self._total, self._last], words)
        return Outcome(code, high << _HALF | low, bool(raised))


async def promise(command: Callable[..., Awaitable[Any]]) -> str | None:
    """What Redis promises: ``always``, ``everysec`` or ``no``; None if it does not say.

    `command` asks it. Raises :exc:`.interface.Away`.
    """
    try:
        _, is_kept = await command("CONFIG", "GET", "appendonly")
        _, how = await command("CONFIG", "GET", "appendfsync")
    except (Refused, ValueError):  # it is not for everybody
        return None
    return "no" if is_kept == b"no" else str(how.decode())
