"""Say something, send a file, and print what became of them."""

from io import BytesIO

from twisted.internet import task
from twisted.internet.threads import deferToThread

from protosuite.mediachat import MediaChatClientFactory
from protosuite.mediachat.client import chat_url, connect


async def main(reactor):
    def received(message):
        print(message.text or message.name)

    url = chat_url("127.0.0.1", 8000, 7)
    factory = MediaChatClientFactory(reactor, url, deferToThread, received, timezone="Europe/Paris")
    connect(reactor, factory)
    said = await factory.say("Where is my parcel?")
    sent = await factory.send_file(BytesIO(b"Parcel 12345"), "file", "receipt.txt")
    print(said.status, sent.status)
    await factory.close()


task.react(main)
