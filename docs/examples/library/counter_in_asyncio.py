"""Somebody's asyncio program, which adds to the counter and goes on with its own work meanwhile."""

import asyncio
from typing import Any

from twisted.internet import asyncioreactor

loop = asyncio.new_event_loop()
asyncioreactor.install(loop)  # before anything imports twisted.internet.reactor

from twisted.internet import reactor as _reactor  # noqa: E402

from protosuite.counter import CounterClientFactory  # noqa: E402

reactor: Any = _reactor


async def tick() -> int:
    """Work of the program's own."""
    await asyncio.sleep(0.01)
    return 1


async def main() -> None:
    factory = CounterClientFactory(reactor)
    reactor.connectTCP("127.0.0.1", 8080, factory)
    answers = [factory.increment(amount).asFuture(loop) for amount in (1, 10, 100)]
    *totals, ticked = await asyncio.gather(*answers, tick())
    print(totals[2] - totals[0], ticked)
    factory.close()


reactor.startRunning(installSignalHandlers=False)  # the loop is ours to run
loop.run_until_complete(main())
reactor.fireSystemEvent("shutdown")  # threads of Twisted's end
loop.close()
