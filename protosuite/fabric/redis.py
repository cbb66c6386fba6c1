"""The fabric of several nodes: Redis carries wake-ups, and knows who is where."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.internet.task import LoopingCall

from protosuite.fabric.address import Address
from protosuite.fabric.connection import Refused
from protosuite.fabric.interface import Away, Listener, Timing
from protosuite.fabric.link import Link, log
from protosuite.fabric.outgoing import Outgoing
from protosuite.fabric.presence import Presence
from protosuite.fabric.subscriptions import Subscriptions
from protosuite.figures import Figure, counter, gauge

_BATCH = 1000  # wake-ups that are on their way at once; those behind them are combined meanwhile
_REFUSED_DELAY = 5.0  # seconds until Redis is asked again to take what it has refused
_WAKE_UP = re.compile(rb"([0-9]{1,19}) ([0-9A-Za-z._-]{1,64})")  # a number, and the node that tells it


class RedisFabric:
    """A :class:`~protosuite.fabric.interface.Fabric` over one connection for commands and one for wake-ups.

    One number and a name go through Redis for each topic and turn of the reactor, however much is stored.
    """

    is_shared = True

    def __init__(self, address: Address, timing: Timing, reactor: Any, random: Random) -> None:
        self.node = f"{random.getrandbits(48):012x}"
        self.outgoing = Outgoing()
        self.received = self.published = 0
        self._timing = timing
        self._reactor = reactor
        self._prefix = address.prefix
        self._is_flushing = False
        self._turn: Any = None  # the call that begins to send
        self._sending: Deferred[None] = succeed(None)  # what was begun
        self._commands = Link(address, timing.timeout, reactor, random, on_up=self._returned)
        self._pushes = Link(
            address,
            timing.timeout,
            reactor,
            random,
            on_up=self._can_hear,
            on_down=self._cannot_hear,
            on_push=self._pushed,
        )
        self._subscriptions = Subscriptions(
            self._pushes.tell, f"{address.prefix}/wake/", self._everybody, reactor
        )
        self.presence = Presence(
            self._commands, self.node, timing.presence_ttl, reactor, lambda group: self.publish(group, 0)
        )
        self._catching_up = LoopingCall(self._subscriptions.catch_up_all)
        self._catching_up.clock = reactor

    @property
    def _everybody(self) -> str:
        """The channel on which all are told to catch up."""
        return f"{self._prefix}/catch-up"

    def start(self) -> None:
        """Connect, again and again."""
        self._commands.start()
        self._pushes.start()
        self.presence.start()
        self._catching_up.start(self._timing.catch_up_interval, now=False)

    def stop(self) -> Deferred[None]:
        """Say that nobody is here any more, and disconnect."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._catching_up.running:
            self._catching_up.stop()
        self._subscriptions.stop()
        await self.presence.stop().addTimeout(self._timing.timeout, self._reactor, lambda *_: None)
        await self._send_last()
        await gatherResults([self._commands.stop(), self._pushes.stop()])

    @property
    def is_reachable(self) -> bool:
        """Whether both connections stand."""
        return self._commands.is_up and self._pushes.is_up

    def health(self) -> Deferred[str | None]:
        """What is wrong; None if Redis answers and what others publish is heard."""
        return Deferred.fromCoroutine(self._health())

    async def _health(self) -> str | None:
        try:
            await self._commands.command("PING")
        except (Away, Refused) as error:
            return str(error)
        return self._pushes.trouble

    # Wake-ups of this node.

    def publish(self, topic: str, number: int) -> None:
        """Wake the others. It is combined with what else this turn has for them."""
        self.outgoing.put(topic, number)
        self._can_tell()

    async def _send_last(self) -> None:
        """Send what waits, which others need not find out by themselves, if that can be done at once."""
        if self._turn is not None:
            self._turn.cancel()
            self._flush()
        await self._sending.addTimeout(self._timing.timeout, self._reactor, lambda *_: None)
        if self._turn is not None:
            self._turn.cancel()

    def _returned(self) -> None:
        self.presence.returned()
        self._subscriptions.catch_up_all()  # who has asked meanwhile who is where was not told
        self._can_tell()

    def _can_tell(self) -> None:
        if not self._is_flushing and self._commands.is_up:
            self._is_flushing = True
            self._turn = self._reactor.callLater(0, self._flush)

    def _flush(self) -> None:
        self._turn = None
        self._sending = Deferred.fromCoroutine(self._send_all()).addErrback(self._not_sent)

    async def _send_all(self) -> None:
        """Send what waits, a batch at a time: the next one when the last has arrived."""
        while self._commands.is_up and (self.outgoing or self.outgoing.has_gap):
            has_gap = self.outgoing.has_gap
            batch = self.outgoing.take(_BATCH)
            try:
                await self._send(batch, has_gap)
            except (Away, Refused):
                self.outgoing.put_back(batch)  # a wake-up that comes twice does no harm
                self.outgoing.has_gap |= has_gap
                raise
            self.published += len(batch)
        self._is_flushing = False

    async def _send(self, batch: Mapping[str, int], has_gap: bool) -> None:
        command = self._commands.command
        answers = [command("PUBLISH", self._everybody, self.node)] if has_gap else []
        for topic, number in batch.items():
            answers.append(command("PUBLISH", f"{self._prefix}/wake/{topic}", f"{number} {self.node}"))
        for answer in answers[:-1]:
            answer.addErrback(lambda failure: None)  # the last one tells: they are answered in order
        await answers[-1]

    def _not_sent(self, failure: Any) -> None:
        if failure.check(Refused):
            log.warn("Redis refuses wake-ups: {why}", why=str(failure.value))
            self._turn = self._reactor.callLater(_REFUSED_DELAY, self._flush)
            return
        self._is_flushing = False
        if not failure.check(Away, CancelledError):
            log.failure("wake-ups were not sent", failure)

    # Wake-ups of others.

    def subscribe(self, topic: str, listener: Listener) -> None:
        """Wake `listener` from now on."""
        self._subscriptions.add(topic, listener)

    def unsubscribe(self, topic: str, listener: Listener) -> None:
        """Wake it no more."""
        self._subscriptions.remove(topic, listener)

    def _can_hear(self) -> None:
        self._subscriptions.begin()

    def _cannot_hear(self) -> None:
        self._subscriptions.end()

    def _pushed(self, push: list[Any]) -> None:
        kind, channel, content = push
        if kind == b"unsubscribe":
            return
        topic = channel.decode(errors="replace").removeprefix(f"{self._prefix}/wake/")
        if kind == b"subscribe":
            self._subscriptions.stands(topic)
        elif channel == self._everybody.encode():
            if content != self.node.encode():
                self._subscriptions.catch_up_all()
        elif (match := _WAKE_UP.fullmatch(content)) and match[2] != self.node.encode():
            self.received += 1
            self._subscriptions.wake(topic, int(match[1]))

    # Who is where.

    def enter(self, group: str, who: str) -> None:
        """`who` is in `group` here."""
        self.presence.enter(group, who)

    def leave(self, group: str, who: str) -> None:
        """`who` is not there any more."""
        self.presence.leave(group, who)

    def present(self, group: str) -> Deferred[Mapping[str, frozenset[str]]]:
        """Who is in `group`, and where."""
        return Deferred.fromCoroutine(self.presence.present(group))

    def figures(self) -> Iterator[Figure]:
        """How it is."""
        yield gauge("fabric_reachable", "1 if other nodes are reached through Redis.", self.is_reachable)
        yield gauge("fabric_topics", "Topics of which this node wants to hear.", len(self._subscriptions))
        yield gauge("fabric_present", "Entries of who is on this node.", len(self.presence))
        yield gauge("fabric_wakeups_waiting", "Wake-ups that wait to be sent.", len(self.outgoing))
        yield counter("fabric_wakeups_sent_total", "Wake-ups that Redis took.", self.published)
        yield counter("fabric_wakeups_received_total", "Wake-ups of other nodes.", self.received)
        yield counter(
            "fabric_wakeups_dropped_total",
            "Wake-ups that were left out: everybody was told to catch up instead.",
            self.outgoing.dropped,
        )
        yield counter(
            "fabric_catch_ups_total",
            "Times that listeners were told to catch up.",
            self._subscriptions.catch_ups,
        )
        connects = self._commands.connects + self._pushes.connects
        yield counter("fabric_connections_total", "Connections to Redis that were made.", connects)
