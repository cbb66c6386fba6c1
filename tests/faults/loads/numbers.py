"""Load on numbers: clients that receive one stream after the other."""

from __future__ import annotations

from random import Random
from typing import Any

from protosuite.numbers import NumbersClientFactory
from protosuite.numbers.sequence import Progress
from tests.faults.checks.numbers import StreamsCheck
from tests.faults.loads import SILENCE, Load
from tests.processes import reactor


class NumbersLoad(Load):
    """`streams` streams at a time. Each number is a thing done; the time to the first is what is measured."""

    def __init__(
        self, name: str, port: int, chance: Random, check: StreamsCheck, streams: int = 4, pace: float = 0.0
    ) -> None:
        super().__init__(name, port, chance, pace)
        self._check = check
        self._streams = streams
        self._count = 0
        self._receiving: set[NumbersClientFactory] = set()

    async def begin(self) -> None:
        for _ in range(self._streams):
            self.work(self._receive_streams())

    async def _receive_streams(self) -> None:
        while not self.is_finishing:
            await self._receive()
            await self.rest()

    async def _receive(self) -> None:
        self._count += 1
        client, began = f"{self.name}-{self._count}", reactor.seconds()

        def come(progress: Progress, count: int) -> None:
            self._check.opened(client, count)
            if progress.next:
                self.done += 1
            if progress.next == 1:
                self.measure(began)

        factory = NumbersClientFactory(
            client, reactor, on_progress=self.guard(come), silence_timeout=SILENCE, random=self.chance
        )
        self._receiving.add(self.connect(factory))
        try:
            result: Any = await factory.result
        finally:
            self._receiving.discard(factory)
            self.forget(factory)
        if result is not None:
            self._check.ended(client, result.sum, result.count, result.checksum)

    def close(self) -> None:
        for factory in self._receiving.copy():
            factory.stop()
            if not factory.result.called:
                factory.result.callback(None)  # type: ignore[arg-type]  # it is we who wait for it
