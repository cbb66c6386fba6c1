"""Load on the bus: publishers, durable and other subscribers, echoes and additions."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import gatherResults

from protosuite.bus import BusClientFactory
from protosuite.bus import bus_pb2 as pb
from protosuite.errors import OutcomeUnknown, ServerRefused
from tests.faults.checks import require
from tests.faults.checks.bus import BusCheck
from tests.faults.loads import SILENCE, Load
from tests.processes import poll, reactor

TOPICS = 3


class BusLoad(Load):
    """`publishers` clients that publish `depth` events at a time, and as many durable and other subscribers.

    There are `listeners` more of the latter. All loads on one bus get the events of all, for their patterns
    are one: ``load.#``.
    """

    def __init__(
        self,
        name: str,
        port: int,
        chance: Random,
        check: BusCheck,
        publishers: int = 2,
        depth: int = 10,
        is_ordered: bool = True,
        pace: float = 0.0,
        listeners: int = 0,
    ) -> None:
        super().__init__(name, port, chance, pace)
        self.unknown = 0
        self._check = check
        self._publishers = publishers
        self._depth = depth
        self._listeners = listeners
        self._is_ordered = is_ordered
        self._count = 0
        self._clients: list[BusClientFactory] = []

    async def begin(self) -> None:
        """Subscribe, and publish when the subscriptions are there."""
        subscriptions: list[Any] = []
        for number in range(self._publishers):
            durable, name = self._client(), f"{self.name}-durable-{number}"
            callback = self.guard(self._delivered(name))
            self._check.subscribing(name, self._is_ordered)
            subscriptions.append(durable.subscribe("load.#", callback, durable=name, prefetch=20))
        for number in range(self._publishers + self._listeners):
            other = self._client()
            callback = self.guard(self._noticed(f"{self.name}-{number}", other))
            subscriptions.append(other.subscribe("load.#", callback))
        await gatherResults([subscription.when_ready() for subscription in subscriptions])
        for number in range(self._publishers):
            self._check.subscribed(f"{self.name}-durable-{number}")
            publisher = self._client()
            self.work(self._ask(publisher))
            for _ in range(self._depth):
                self.work(self._publish(publisher))

    async def finish(self) -> None:
        await super().finish()
        await poll(self._has_all, "all that was confirmed is delivered, by other loads too")

    def _has_all(self) -> bool:
        self.look()
        return not self._check.missing()

    def cut(self) -> None:
        """Cut the connection of one of its clients."""
        connector = self.chance.choice(self._connectors)
        if connector.state == "connected":
            connector.transport.abortConnection()

    def _client(self) -> BusClientFactory:
        client = BusClientFactory(reactor, silence_timeout=SILENCE, random=self.chance)
        self._clients.append(client)
        return self.connect(client)

    def _delivered(self, name: str) -> Any:
        def take(event: pb.Event) -> None:
            self._check.delivered(name, event.topic, event.payload, event.sequence)

        return take

    def _noticed(self, name: str, client: BusClientFactory) -> Any:
        def take(event: pb.Event) -> None:
            self._check.noticed(name, client.reconnects, event.topic, event.payload, event.sequence)

        return take

    async def _publish(self, client: BusClientFactory) -> None:
        while not self.is_finishing:
            self._count += 1
            topic, began = self.topic(), reactor.seconds()
            payload = f"{self.name} {self._count}".encode()
            self._check.published(topic, payload)
            try:
                sequence = await client.publish(topic, payload)
            except (OutcomeUnknown, ConnectionError, ServerRefused):
                self.unknown += 1
            else:
                self._check.confirmed(payload, sequence)
                await self.did(began)

    def topic(self) -> str:
        """Where the next event is published."""
        return f"load.{self.name}.{self.chance.randrange(TOPICS)}"

    async def _ask(self, client: BusClientFactory) -> None:
        """Ask for what is answered at once."""
        while not self.is_finishing:
            text, a, b, began = f"echo {self.done}", self.done, self.chance.randrange(1000), reactor.seconds()
            try:
                answers = await client.echo(text), await client.add(a, b)
            except ConnectionError:
                continue
            require(answers == (text, a + b), f"bus: {text}, {a} and {b} were answered with {answers}")
            await self.did(began)

    def close(self) -> None:
        for client in self._clients:
            client.close()
