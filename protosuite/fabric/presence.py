"""Who is where, kept in Redis: a sorted set a group, with the time at which each entry expires."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall, deferLater

from protosuite.fabric.connection import Refused, Word
from protosuite.fabric.interface import Away
from protosuite.fabric.link import Link, log

_CHUNK = 500  # entries of one command: Redis does nothing else meanwhile
_MAX_LEAVING = 10_000  # that wait to be taken out; what is more expires
_MOMENT = 0.1  # seconds for which those who come and go are collected, for others to be told of together

# All by the clock of Redis. What a node that died has left goes with the time, and so does the whole set.
_PUT = """
local time = redis.call('TIME')
local till = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], till, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""
_LIST = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""


class Presence:
    """Tells Redis who is on `node`, and again before that expires after `ttl` seconds.

    `wake` is told a group in which somebody has come or gone when Redis knows: who looks earlier finds what
    was before, and does not look again.
    """

    def __init__(self, link: Link, node: str, ttl: float, reactor: Any, wake: Callable[[str], None]) -> None:
        self._link = link
        self._node = node
        self._ttl = ttl
        self._reactor = reactor
        self._wake = wake
        self._moved: dict[str, None] = {}  # groups in which somebody has, and Redis may not know
        self._told: dict[str, None] = {}  # and those in which it does
        self._waking: IDelayedCall | None = None
        self._here: dict[str, set[str]] = {}  # by group
        self._entering: dict[tuple[str, str], None] = {}
        self._leaving: dict[tuple[str, str], None] = {}
        self._telling: Deferred[None] | None = None
        self._refreshing = LoopingCall(self.refresh)
        self._refreshing.clock = reactor

    def start(self) -> None:
        """Refresh now and then."""
        self._refreshing.start(self._ttl / 3, now=False)

    def stop(self) -> Deferred[None]:
        """Take out everybody who is here, if that can be done at once, and wake who would see it."""
        if self._refreshing.running:
            self._refreshing.stop()
        for group, members in self._here.items():
            self._leaving |= dict.fromkeys((group, who) for who in members)
        self._moved |= dict.fromkeys(self._here)
        self._here.clear()
        self._entering.clear()
        self._tell()
        return (self._telling or succeed(None)).addBoth(lambda _: self._wake_all())

    def enter(self, group: str, who: str) -> None:
        """`who` is in `group` here."""
        self._here.setdefault(group, set()).add(who)
        self._leaving.pop((group, who), None)
        self._entering[group, who] = None
        self._moved[group] = None
        self._tell()

    def leave(self, group: str, who: str) -> None:
        """`who` is not there any more."""
        members = self._here.get(group, set())
        members.discard(who)
        if not members:
            self._here.pop(group, None)
        self._entering.pop((group, who), None)
        if self._link.is_up and len(self._leaving) < _MAX_LEAVING:
            self._leaving[group, who] = None
            self._moved[group] = None
            self._tell()

    async def present(self, group: str) -> Mapping[str, frozenset[str]]:
        """Who is in `group`, and on which nodes. Raises :exc:`Away`."""
        try:
            entries = await self._link.script(_LIST, [self._key(group)], [])
        except Refused as refused:
            raise Away(f"Redis refuses: {refused}") from None
        found: dict[str, frozenset[str]] = {}
        for entry in entries:
            node, _, who = entry.decode().partition(" ")
            found[who] = found.get(who, frozenset()) | {node}
        return found

    def returned(self) -> None:
        """Redis is back: others may have looked before it knew again who is here."""
        self._moved |= dict.fromkeys(self._here)
        self.refresh()

    def refresh(self) -> None:
        """Tell of everybody who is here: Redis may have forgotten, or is about to."""
        self._entering |= dict.fromkeys(
            (group, who) for group, members in self._here.items() for who in members
        )
        self._tell()

    def __len__(self) -> int:
        return sum(map(len, self._here.values()))

    def _tell(self) -> None:
        """Tell Redis what it does not know, in the next turn and one command after the other."""
        if self._telling is None and self._link.is_up:
            turn: Deferred[None] = deferLater(self._reactor, 0)
            self._telling = turn.addCallback(lambda _: Deferred.fromCoroutine(self._tell_all()))

    async def _tell_all(self) -> None:
        moved: dict[str, None] = {}
        try:
            # Who comes while others are told of may be told of with them, and then only has to be woken for.
            while self._link.is_up and (self._entering or self._leaving or self._moved):
                moved, self._moved = self._moved, {}
                await self._tell_some()
                self._wake_soon(moved)
                moved = {}
        except Away:
            pass  # all who are here are told of when it is back
        except Refused as refused:
            log.warn("Redis does not take who is here: {why}", why=str(refused))
        finally:
            self._moved |= moved
            self._telling = None

    async def _tell_some(self) -> None:
        milliseconds = int(self._ttl * 1000)
        for group, members in _taken(self._leaving):
            await self._link.command("ZREM", self._key(group), *map(self._entry, members))
        for group, members in _taken(self._entering):
            words: list[Word] = [milliseconds, *map(self._entry, members)]
            await self._link.script(_PUT, [self._key(group)], words)

    def _wake_soon(self, groups: dict[str, None]) -> None:
        self._told |= groups
        if self._told and self._waking is None:
            self._waking = self._reactor.callLater(_MOMENT, self._wake_all)

    def _wake_all(self) -> None:
        if self._waking is not None and self._waking.active():
            self._waking.cancel()
        self._waking = None
        told, self._told = self._told, {}
        for group in told:
            self._wake(group)

    def _key(self, group: str) -> str:
        return f"{self._link.address.prefix}/here/{group}"

    def _entry(self, who: str) -> str:
        return f"{self._node} {who}"


def _taken(waiting: dict[tuple[str, str], None]) -> Iterator[tuple[str, list[str]]]:
    """What waits, by group, a chunk at a time; it waits no more."""
    while waiting:
        chunk = [pair for pair, _ in zip(waiting, range(_CHUNK), strict=False)]
        groups: dict[str, list[str]] = {}
        for group, who in chunk:
            del waiting[group, who]
            groups.setdefault(group, []).append(who)
        yield from groups.items()
