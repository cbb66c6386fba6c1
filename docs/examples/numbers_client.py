"""Receive a stream of at most ten numbers and print its sum."""

from twisted.internet import task

from protosuite.numbers import NumbersClientFactory


async def main(reactor):
    factory = NumbersClientFactory("example", reactor, max=10, on_status=print)
    reactor.connectTCP("127.0.0.1", 5500, factory)
    result = await factory.result
    print(f"{result.count} numbers, sum {result.sum}, {result.reconnects} reconnects")


task.react(main)
