"""Add three numbers to the counter at once, then read it."""

from twisted.internet import defer, task

from protosuite.counter import CounterClientFactory


async def main(reactor):
    factory = CounterClientFactory(reactor, on_status=print)
    reactor.connectTCP("127.0.0.1", 8080, factory)
    totals = await defer.gatherResults([factory.increment(n) for n in (1, 10, 255)])
    print(totals, await factory.get())
    factory.close()


task.react(main)
