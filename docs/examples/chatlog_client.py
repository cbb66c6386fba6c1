"""Say something in a room, and print what is there."""

from twisted.internet import task

from protosuite.chatlog import ChatLogClientFactory
from protosuite.chatlog.client import connect, room_url


async def main(reactor):
    def changed(change):
        for entry in change.new:
            print(entry.slot, entry.author, entry.content)

    factory = ChatLogClientFactory(reactor, room_url("127.0.0.1", 8082, "main"), changed, on_status=print)
    connect(reactor, factory)
    await factory.append("example", "hello")
    await factory.close()


task.react(main)
