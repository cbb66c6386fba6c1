"""Every public name of the clients, used as they are meant to be."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread

from protosuite.bus import BusClientFactory, Subscription
from protosuite.chatlog import (
    Change,
    ChatLogClientFactory,
    Entry,
    Verifier,
    View,
    room_url,
)
from protosuite.chatlog import connect as connect_chatlog
from protosuite.counter import CounterClientFactory
from protosuite.mediachat import (
    MediaChatClientFactory,
    Received,
    SaveFolder,
    StateFile,
    Status,
    chat_url,
)
from protosuite.mediachat import connect as connect_mediachat
from protosuite.numbers import NumbersClientFactory, Progress, Result


async def numbers(reactor: Any, clock: IReactorTime) -> int:
    progress: list[Progress] = []
    factory = NumbersClientFactory(
        "ana", clock, max=10, on_status=print, on_progress=lambda at, count: progress.append(at)
    )
    reactor.connectTCP("127.0.0.1", 5500, factory)
    result: Result = await factory.result
    return result.sum + result.count


async def counter(reactor: Any, clock: IReactorTime) -> int:
    factory = CounterClientFactory(clock, at_least_once=True)
    reactor.connectTCP("127.0.0.1", 8080, factory)
    total = await factory.increment(5) + await factory.get()
    factory.close()
    return total


async def bus(reactor: Any, clock: IReactorTime) -> int:
    factory = BusClientFactory(clock, token="x.y.z")
    reactor.connectTCP("127.0.0.1", 8081, factory)
    topics: list[str] = []
    subscription: Subscription = factory.subscribe(
        "a.#", lambda event: topics.append(event.topic), durable="d"
    )
    await subscription.when_ready()
    sequence = await factory.publish("a.b", b"payload", "text/plain")
    text = await factory.echo("x")
    await subscription.stop()
    await factory.close()
    return sequence + len(text) + await factory.add(1, 2)


async def chatlog(reactor: Any, clock: IReactorTime) -> list[str]:
    verifier: Verifier | None = None
    problems: list[str] = []

    def changed(change: Change) -> None:
        if verifier is not None:
            problems.extend(filter(None, map(verifier.problem, change.new)))

    factory = ChatLogClientFactory(clock, room_url("127.0.0.1", 8082, "main"), changed, last=10)
    connect_chatlog(reactor, factory)
    entry: Entry = await factory.append("ana", "hello")
    view: View = factory.view
    await factory.close()
    return [entry.content, *problems, str(view.high)]


async def mediachat(reactor: Any, clock: IReactorTime, folder: Path) -> str:
    def received(message: Received) -> None:
        print(message.text or message.path)

    factory = MediaChatClientFactory(
        clock,
        chat_url("127.0.0.1", 8000, 7),
        deferToThread,
        received,
        folder=SaveFolder(folder),
        state=StateFile(folder / "state", 7),
    )
    connect_mediachat(reactor, factory)
    said: Status = await factory.say("hello")
    sent: Status = await factory.send_file(BytesIO(b"bytes"), "file", "a.txt")
    await factory.close()
    return said.status + sent.status
