"""Somebody's Twisted program, with a chat log in ten lines of it."""

from typing import Any

from twisted.internet import defer, task

from protosuite.chatlog import ChatLogClientFactory, connect, room_url


async def main(reactor: Any) -> None:
    url = room_url("127.0.0.1", 8082, "library")
    factory = ChatLogClientFactory(reactor, url, lambda change: None)
    connect(reactor, factory)
    entry = await factory.append("library", "hello")
    print(entry.slot, entry.author, entry.content)
    await factory.close()


task.react(lambda reactor: defer.Deferred.fromCoroutine(main(reactor)))
