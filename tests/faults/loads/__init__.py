"""Load on each service through its client classes, and a check that is told of all that happens."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from protosuite.net.latencies import Latencies
from protosuite.net.reconnect import ResumingClientFactory
from tests.processes import LIMIT, Watched, poll, reactor

SILENCE = 4.0  # seconds after which clients that can tell take a silent server for lost

T = TypeVar("T")
F = TypeVar("F", bound=ResumingClientFactory)


class Load(Watched):
    """What clients of one service do, again and again, each thing `pace` seconds after the one before.

    It is called `name`, which is in all that it makes, and goes to `port` of 127.0.0.1. What is wrong is
    raised wherever somebody waits for it.
    """

    def __init__(self, name: str, port: int, chance: Random, pace: float = 0.0) -> None:
        super().__init__()
        self.name = name
        self.port = port
        self.chance = chance
        self.done = 0  # things that came to their end
        self.latencies = Latencies()  # seconds that they took
        self.measured_from = 0.0  # what began before is not in them
        self.is_finishing = False
        self.wrong: Failure | None = None
        self._pace = pace
        self._workers: list[Deferred[None]] = []
        self._connectors: list[Any] = []
        self._factories: list[ResumingClientFactory] = []
        self._reconnects = 0

    # For whoever drives it.

    async def begin(self) -> None:
        """Connect, and start to work."""
        raise NotImplementedError

    async def finish(self) -> None:
        """Begin nothing new, and wait until what was begun is over and all that is owed has come."""
        self.is_finishing = True
        self.changed()
        await self.until(lambda: all(worker.called for worker in self._workers))

    async def leave(self) -> None:
        """Close every connection, whatever is under way."""
        self.is_finishing = True
        self.close()
        self.changed()
        await poll(lambda: not self.is_connected, f"{self.name} has left")
        await gatherResults(self._workers)

    @property
    def is_connected(self) -> bool:
        """Whether one of its clients is connected, or is about to be."""
        return any(connector.state != "disconnected" for connector in self._connectors)

    @property
    def is_answered(self) -> bool:
        """Whether one of its clients has a connection over which answers can come."""
        return any(connector.state == "connected" for connector in self._connectors)

    @property
    def reconnects(self) -> int:
        """How often its clients lost their connection and came back."""
        return self._reconnects + sum(factory.reconnects for factory in self._factories)

    async def rises_by(self, count: int) -> None:
        """Wait until so much more has been done."""
        mark = self.done + count
        await self.until(lambda: self.done >= mark)

    async def something(self) -> None:
        """Wait until more has been done, or nothing more is to be done."""
        before = self.done
        await self.until(lambda: self.done > before or self.is_finishing)

    async def until(self, find: Callable[[], T | None], *, after_end: bool = False) -> T:
        def found() -> T | None:
            self.look()
            return find()

        return await super().until(found, after_end=after_end)

    def look(self) -> None:
        """Raise what is wrong, if something is."""
        if self.wrong is not None:
            self.wrong.raiseException()

    def story(self) -> str:
        return f"{self.name}: {self.done} things done"

    # For the subclass.

    def close(self) -> None:
        """Let every client go."""
        raise NotImplementedError

    def connect(self, factory: F) -> F:
        """Connect a client, which comes back soon whenever it is lost."""
        factory.initialDelay = factory.delay = 0.05
        factory.maxDelay = 0.5
        self._connectors.append(reactor.connectTCP("127.0.0.1", self.port, factory, timeout=LIMIT))
        self._factories.append(factory)
        return factory

    def forget(self, factory: ResumingClientFactory) -> None:
        """A client has done what it was for."""
        self._factories.remove(factory)
        self._reconnects += factory.reconnects
        self._connectors = [each for each in self._connectors if each.state != "disconnected"]

    def work(self, worker: Coroutine[Deferred[Any], Any, None]) -> None:
        """Let something run beside the rest."""
        working = Deferred.fromCoroutine(worker).addErrback(self.fail)
        self._workers.append(working)
        working.addCallback(lambda _: self.changed())

    def fail(self, failure: Failure) -> None:
        """Something is not as it must be."""
        if not (self.is_finishing and failure.check(ConnectionError)):  # it has been told to leave
            self.wrong = self.wrong or failure
        self.changed()

    def guard(self, call: Callable[..., None]) -> Callable[..., None]:
        """`call`, for those who do not tell what it raises."""

        def guarded(*args: Any) -> None:
            try:
                call(*args)
            except Exception:
                self.fail(Failure())
            self.changed()

        return guarded

    async def did(self, began: float) -> None:
        """Something is done that began at `began`. Rest before the next."""
        self.done += 1
        self.measure(began)
        self.changed()
        await self.rest()

    def measure(self, began: float) -> None:
        """Something took its time from `began` to now."""
        if began >= self.measured_from:
            self.latencies.add(reactor.seconds() - began)

    async def rest(self) -> None:
        """Wait before the next thing."""
        if self._pace and not self.is_finishing:
            await deferLater(reactor, self.chance.expovariate(1 / self._pace))
