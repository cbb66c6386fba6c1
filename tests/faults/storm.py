"""What is done to a suite and to the network before it, drawn from a seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any

from twisted.internet.task import deferLater

from protosuite.testing import ANY_ACT, FaultProxy, Faults
from tests.processes import Suite, reactor

CALM = Faults()
BAD = Faults(
    latency=0.03,
    segment=40,
    rate=200_000,
    refuse=0.05,
    overtake=0.1,
    acts=ANY_ACT,
    spell=30.0,
    stretch=1_000_000,
    pause=2.0,
)
FREEZE = 2.0  # seconds at most for which the suite stands still
DOWN = 1.0  # seconds at most between an end of the suite and the next start


class Storm:
    """Kills, stops and freezes `suite`, and spoils the network that `proxies` are.

    `began` and `ended` are called around what takes the suite away from all its clients, `look` all the time.
    """

    def __init__(
        self,
        suite: Suite,
        proxies: Mapping[str, FaultProxy],
        chance: Random,
        began: Callable[[], None],
        ended: Callable[[], None],
        look: Callable[[], None],
    ) -> None:
        self.done: Counter[str] = Counter()
        self.events: list[tuple[float, str]] = []  # when each was
        self._start = reactor.seconds()
        self._suite = suite
        self._proxies = proxies
        self._chance = chance
        self._began = began
        self._ended = ended
        self._look = look

    async def rage(self, until: float, pause: float, kills: bool) -> None:
        """Do one thing after the other, `pause` seconds apart on the average, `until` a time by the clock."""
        acts: dict[Callable[[], Awaitable[None]], int] = {
            self.freeze: 2,
            self.cut: 2,
            self.refuse: 1,
            self.change: 2,
        }
        if kills:
            acts |= {self.kill: 6, self.restart: 2}
        while True:
            self._look()
            wait = self._chance.expovariate(1 / pause)
            if reactor.seconds() + wait >= until:
                await deferLater(reactor, max(0.0, until - reactor.seconds()))
                return
            await deferLater(reactor, wait)
            act = self._chance.choices(list(acts), list(acts.values()))[0]
            self.done[act.__name__] += 1
            self.events.append((reactor.seconds() - self._start, act.__name__))
            await act()

    # What happens to the suite.

    async def kill(self) -> None:
        """SIGKILL."""
        self._began()
        if self._chance.random() < 0.2:  # in its sleep
            self._suite.program.signal("STOP")
            await self._some(FREEZE)
        await self._suite.kill()
        await self._start_again()

    async def restart(self, **changes: Any) -> None:
        """SIGTERM; `changes` are settings for the next one."""
        self._began()
        code = await self._suite.terminate()
        if code != 0:
            raise AssertionError(f"a clean stop ended with {code}: {self._suite.program.story()}")
        self._suite.write(**changes)
        await self._start_again()

    async def freeze(self) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        self._began()
        self._suite.program.signal("STOP")
        await self._some(FREEZE)
        self._suite.program.signal("CONT")
        self._ended()

    async def _start_again(self) -> None:
        await self._some(DOWN)
        await self._suite.start()
        self._ended()

    # What happens to the network.

    async def cut(self) -> None:
        """Every connection of one service breaks at once."""
        for link in self._proxy().links[:]:
            self._chance.choice((link.cut, link.reset))()

    async def refuse(self) -> None:
        """One service cannot be reached for a while."""
        proxy = self._proxy()
        await proxy.refuse()
        await self._some(DOWN)
        proxy.listen()

    async def change(self) -> None:
        """The network of one service is bad from now on, or well."""
        self._proxy().faults = self._chance.choice((CALM, BAD))

    def _proxy(self) -> FaultProxy:
        return self._proxies[self._chance.choice(sorted(self._proxies))]

    async def _some(self, most: float) -> None:
        await deferLater(reactor, self._chance.random() * most)
