"""One connection through a proxy: what its fate has for it, and what a test does to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any
from typing import Protocol as Interface

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure

from protosuite.testing.faults import Act, Fate, Strike, Way
from protosuite.testing.lane import MAX_HELD, Lane, Side


class Proxy(Interface):
    """What a link is one of."""

    reactor: Any
    target: tuple[str, int]
    acts: Counter[Act]

    def hold(self, link: Link) -> None:
        """`link` goes on when a later one has carried something."""

    def carried(self, link: Link) -> None:
        """`link` has carried something."""

    def released(self, link: Link) -> None:
        """`link` need not be overtaken any more."""

    def gone(self, link: Link) -> None:
        """Both sides of `link` are closed."""


class Link:
    """One connection through a proxy. What `fate` has for it happens by itself; the methods do it at once."""

    def __init__(self, proxy: Proxy, fate: Fate, number: int) -> None:
        self.number = number
        self.bytes = 0  # that were carried, both ways
        self._proxy = proxy
        self._clock: IReactorTime = proxy.reactor
        self._fate = fate
        self._calls: set[IDelayedCall] = set()
        self._connector: Any = None
        self._is_gone = False
        self._strikes = fate.strikes()
        self._strike: Strike | None = None
        self._striking: IDelayedCall | None = None
        self._at = 0  # bytes at which it strikes
        self.client = Side(self)
        self.server = Side(self)
        self.lanes = {
            Way.UP: Lane(self._clock, fate, self.client, self.server, self),
            Way.DOWN: Lane(self._clock, fate, self.server, self.client, self),
        }
        self.client.out, self.server.out = self.lanes[Way.UP], self.lanes[Way.DOWN]

    # What can be done to it.

    def cut(self) -> None:
        """Close it to both sides. What is under way is lost."""
        for lane in self.lanes.values():
            lane.drop()
        for side in (self.client, self.server):
            side.close()
        self._later(self._fate.pause, self.reset)  # who does not read would keep it open

    def reset(self) -> None:
        """Reset it to both sides."""
        for side in (self.client, self.server):
            side.abort()
        if self._connector is not None and not (self.server.is_connected or self.server.is_lost):
            self._connector.stopConnecting()

    def end(self, way: Way, seconds: float | None = None) -> None:
        """Close it one way only; with `seconds`, cut it if it is still there then."""
        self.lanes[way].end()
        if seconds is not None:
            self._later(seconds, self.cut)

    def stall(self, way: Way, seconds: float | None = None) -> None:
        """Let nothing pass one way, for so many seconds or until :meth:`go_on`."""
        self.lanes[way].stop()
        if seconds is not None:
            self._later(seconds, self.go_on, way)

    def go_on(self, way: Way) -> None:
        """Let pass what has been stalled."""
        self.lanes[way].start()

    def do(self, act: Act, seconds: float) -> None:
        """Do what `act` says, for `seconds` if it is a thing that lasts."""
        self._proxy.acts[act] += 1
        if act is Act.CUT:
            self.cut()
        elif act is Act.RESET:
            self.reset()
        elif act is Act.SILENCE:
            for way in Way:
                self.stall(way)
            self._later(seconds, self.reset)
        else:
            way = Way.UP if act in (Act.END_UP, Act.STALL_UP) else Way.DOWN
            (self.stall if act in (Act.STALL_UP, Act.STALL_DOWN) else self.end)(way, seconds)

    def let_go(self) -> None:
        """A later one has passed, or none came."""
        self._proxy.released(self)
        for way in Way:
            self.go_on(way)

    # What its sides and lanes tell.

    def opened(self, side: Side) -> None:
        """A side is connected."""
        if side is self.server:
            self.lanes[Way.UP].connected()
            return
        if self._fate.is_refused:
            self.server.is_lost = True
            self.reset()
            return
        self._connector = self._proxy.reactor.connectTCP(*self._proxy.target, _Connecting(self), timeout=30)
        if self._fate.is_overtaken:
            for way in Way:
                self.stall(way)
            self._proxy.hold(self)
            self._later(self._fate.pause, self.let_go)
        self.lanes[Way.DOWN].connected()
        self._plan()

    def unreachable(self) -> None:
        """There is no server."""
        self.server.is_lost = True
        self.reset()
        self._look()

    def room(self) -> int:
        """How many bytes may pass until something happens; 1 at least."""
        return max(1, self._at - self.bytes) if self._strike is not None else MAX_HELD

    def passed(self, count: int) -> None:
        """So many bytes have passed."""
        self.bytes += count
        self._proxy.carried(self)
        if self._strike is not None and self.bytes >= self._at:
            self._do_strike()

    def lost(self, side: Side, is_clean: bool) -> None:
        """A side is closed, for good: the other one is too, when what was sent before has arrived."""
        side.is_lost = True
        other = self.server if side is self.client else self.client
        other.out.drop()  # nobody is there who would get it
        side.out.end(is_reset=not is_clean)
        if not side.out.is_busy:
            other.close() if is_clean else other.abort()
        self._look()

    def _look(self) -> None:
        if self.client.is_lost and self.server.is_lost:
            for call in self._calls:
                if call.active():
                    call.cancel()
            self._calls.clear()
            for lane in self.lanes.values():
                lane.drop()
            if not self._is_gone:
                self._is_gone = True
                self._proxy.gone(self)

    # Fate.

    def _plan(self) -> None:
        self._strike = next(self._strikes, None)
        if self._strike is not None:
            self._at = self.bytes + max(1, self._strike.bytes)
            self._striking = self._later(self._strike.seconds, self._do_strike)

    def _do_strike(self) -> None:
        strike, self._strike = self._strike, None
        if strike is None:
            return
        if self._striking is not None and self._striking.active():
            self._striking.cancel()
        self.do(strike.act, strike.pause)
        if not (self.client.is_lost or self.server.is_lost):
            self._plan()

    def _later(self, seconds: float, call: Callable[..., object], *args: object) -> IDelayedCall:
        self._calls = {each for each in self._calls if each.active()}
        delayed: IDelayedCall = self._clock.callLater(seconds, call, *args)
        self._calls.add(delayed)
        return delayed


class _Connecting(ClientFactory):
    """Connects a link to its server."""

    noisy = False

    def __init__(self, link: Link) -> None:
        self._link = link

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self._link.server

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self._link.unreachable()
