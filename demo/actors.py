"""Those who use the suite: each does something now and then, for as long as it is let."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from protosuite.bus import BusClientFactory
from protosuite.chatlog import ChatLogClientFactory
from protosuite.chatlog.client import connect as connect_chatlog
from protosuite.chatlog.client import room_url
from protosuite.counter import CounterClientFactory
from protosuite.errors import Overloaded, ServerRefused
from protosuite.mediachat import MediaChatClientFactory
from protosuite.mediachat.client import chat_url
from protosuite.mediachat.client import connect as connect_mediachat
from protosuite.numbers import NumbersClientFactory

HOST = "127.0.0.1"
ROOMS = ("main", "kitchen", "release-2")
AUTHORS = ("ana", "bob", "chen", "dora")
TEXTS = ("Good morning.", "Where is my parcel?", "Does it come in blue?", "Thank you!", "One more thing: …")

Actor = Callable[["Stage"], Awaitable[None]]


@define(eq=False)
class Stage:
    """Where they act: the ports of the services, the time, chance. What they hold open ends with it."""

    reactor: Any
    random: Random
    ports: Mapping[str, int]
    done: dict[str, int] = field(factory=dict)  # how much each service was used
    failures: list[Failure] = field(factory=list)  # of those who could not go on
    _closing: list[Callable[[], object]] = field(factory=list)
    _running: list[Deferred[None]] = field(factory=list)

    def begin(self) -> None:
        """Let all of them begin."""
        for actor in actors():
            playing = Deferred.fromCoroutine(self._play(actor))
            self._running.append(playing.addErrback(self.failures.append))

    async def end(self) -> None:
        """Let all of them stop, and close what they hold."""
        for running in self._running:
            running.cancel()
        for close in self._closing:
            closing = close()
            if isinstance(closing, Deferred):
                await closing.addErrback(lambda _: None).addTimeout(5, self.reactor, lambda *_: None)

    def at_end(self, close: Callable[[], object]) -> None:
        """Have something closed at the end."""
        self._closing.append(close)

    def used(self, service: str) -> None:
        """A service has done something."""
        self.done[service] = self.done.get(service, 0) + 1

    def rest(self, seconds: float) -> Deferred[None]:
        """About so long."""
        return deferLater(self.reactor, self.random.uniform(0.3, 1.7) * seconds)

    async def _play(self, actor: Actor) -> None:
        # The end, or the suite's.
        with suppress(CancelledError, ConnectionError, Overloaded, ServerRefused):
            await actor(self)


def actors() -> Iterator[Actor]:
    """All of them."""
    for number in range(6):
        yield _listener(f"listener-{number}")
    for _ in range(3):
        yield _adder
    yield _publisher
    yield _subscriber
    for room in ROOMS:
        yield _room(room)
    for client in range(1, 6):
        yield _customer(client)
    yield _answerer
    yield _stranger


def _listener(name: str) -> Actor:
    """Receives one stream after another."""

    async def act(stage: Stage) -> None:
        number = 0
        while True:
            await stage.rest(4)
            number += 1
            count = stage.random.randint(10, 90)
            factory = NumbersClientFactory(f"{name}.{number}", stage.reactor, max=count)
            stage.reactor.connectTCP(HOST, stage.ports["numbers"], factory)
            stage.at_end(factory.stop)
            result = await factory.result
            stage.used("numbers")
            assert result.count <= count

    return act


async def _adder(stage: Stage) -> None:
    """Adds some, in waves."""
    factory = CounterClientFactory(stage.reactor)
    stage.at_end(factory.close)
    stage.reactor.connectTCP(HOST, stage.ports["counter"], factory)
    wave = 1.0
    while True:
        for _ in range(max(1, int(stage.random.expovariate(1) * 10 * wave))):
            await factory.increment(stage.random.randint(1, 9))
            stage.used("counter")
        wave = min(4.0, max(0.3, wave * stage.random.uniform(0.8, 1.25)))
        await stage.rest(0.5)


async def _publisher(stage: Stage) -> None:
    """Asks and tells."""
    factory = _bus(stage)
    while True:
        kind = stage.random.choice(("weather", "traffic", "orders"))
        reading = {"value": stage.random.randint(0, 99)}
        await factory.publish(f"demo.{kind}", json.dumps(reading).encode(), "application/json")
        await factory.add(stage.random.randint(0, 99), 1)
        stage.used("bus")
        await stage.rest(0.4)


async def _subscriber(stage: Stage) -> None:
    """Takes its time with what it has to do, and gets all of it."""
    factory = _bus(stage)
    factory.subscribe("demo.orders", lambda event: stage.rest(2), durable="packing", prefetch=1)
    factory.subscribe("demo.#", lambda event: None)
    await Deferred()


def _bus(stage: Stage) -> BusClientFactory:
    factory = BusClientFactory(stage.reactor)
    stage.at_end(factory.close)
    stage.reactor.connectTCP(HOST, stage.ports["bus"], factory)
    return factory


def _room(room: str) -> Actor:
    """Some who talk."""

    async def act(stage: Stage) -> None:
        url = room_url(HOST, stage.ports["chatlog"], room)
        members = [ChatLogClientFactory(stage.reactor, url, lambda change: None) for _ in AUTHORS]
        for member in members:
            stage.at_end(member.close)
            connect_chatlog(stage.reactor, member)
        while True:
            await stage.rest(3)
            at = stage.random.randrange(len(AUTHORS))
            await members[at].append(AUTHORS[at], stage.random.choice(TEXTS))
            stage.used("chatlog")

    return act


def _customer(client: int) -> Actor:
    """Asks for something, and sends a file at times."""

    async def act(stage: Stage) -> None:
        url = chat_url(HOST, stage.ports["mediachat"], client)
        factory = MediaChatClientFactory(
            stage.reactor, url, deferToThread, lambda message: None, timezone="UTC"
        )
        stage.at_end(factory.close)
        connect_mediachat(stage.reactor, factory)
        while True:
            await stage.rest(8)
            if stage.random.random() < 0.2:
                receipt = b"receipt %d\n" % stage.random.randrange(10**6) * 1000
                await factory.send_file(BytesIO(receipt), "file", "receipt.txt")
            else:
                await factory.say(stage.random.choice(TEXTS))
            stage.used("mediachat")

    return act


async def _answerer(stage: Stage) -> None:
    """Answers one after another, and cannot keep up."""
    agent = Agent(stage.reactor)
    base = f"http://{HOST}:{stage.ports['mediachat']}/chats".encode()
    while True:
        await stage.rest(5)
        chat = stage.random.randint(1, 5)
        body = json.dumps({"text": stage.random.choice(("On its way.", "It does.", "Gladly."))}).encode()
        headers = Headers({"Content-Type": ["application/json"]})
        answer = await agent.request(b"POST", b"%s/%d/messages" % (base, chat), headers, _Body(body))
        await readBody(answer)


async def _stranger(stage: Stage) -> None:
    """Says what nobody understands."""
    while True:
        await stage.rest(12)
        service, words = stage.random.choice((("numbers", b"hello?\n"), ("counter", b"GET / HTTP/1.1\r\n")))
        endpoint = TCP4ClientEndpoint(stage.reactor, HOST, stage.ports[service])
        protocol: Any = await endpoint.connect(Factory.forProtocol(Protocol))
        protocol.transport.write(words)
        await stage.rest(0.5)
        protocol.transport.loseConnection()


@implementer(IBodyProducer)
class _Body:
    """Bytes that are sent."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._data)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass
