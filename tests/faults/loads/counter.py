"""Load on the counter: increments of many amounts, many at once, and reads between them."""

from __future__ import annotations

from random import Random

from protosuite.counter import CounterClientFactory
from protosuite.errors import OutcomeUnknown
from tests.faults.checks.counter import CounterCheck
from tests.faults.loads import Load
from tests.processes import reactor


class CounterLoad(Load):
    """Clients with `depths` requests under way at a time."""

    def __init__(
        self,
        name: str,
        port: int,
        chance: Random,
        check: CounterCheck,
        depths: tuple[int, ...] = (1, 1, 8, 64),
        pace: float = 0.0,
    ) -> None:
        super().__init__(name, port, chance, pace)
        self.unknown = 0
        self._check = check
        self._depths = depths
        self._clients: list[CounterClientFactory] = []

    async def begin(self) -> None:
        for depth in self._depths:
            client = self.connect(CounterClientFactory(reactor, random=self.chance))
            self._clients.append(client)
            for _ in range(depth):
                self.work(self._count(client))

    async def _count(self, client: CounterClientFactory) -> None:
        while not self.is_finishing:
            amount, began = self.chance.choice((0, 1, self.chance.randrange(1, 1000))), reactor.seconds()
            request = self._check.sent(amount)
            try:
                total = await client.increment(amount)
            except (OutcomeUnknown, ConnectionError):
                self.unknown += 1
                self._check.unknown(request)
            else:
                self._check.answered(request, total)
                await self.did(began)

    def close(self) -> None:
        for client in self._clients:
            client.close()
