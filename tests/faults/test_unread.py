"""R16: readers that stop, on the services that are no WebSockets; those have theirs elsewhere."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.wire import encode_request as encode_bus
from protosuite.counter.wire import encode_request as encode_counter
from tests.faults.samples import sockets
from tests.peers import Peer, add, connect
from tests.processes import LIMIT, Suite, poll, resident_kib

READERS = 10
GROWTH = 10 << 10  # KiB for all of them; what they asked for would be much more
REQUESTS = {
    "counter": encode_counter(0),
    "bus": encode_bus(pb.EchoMessage(content="x" * 500)),
}
CUT: dict[str, object] = {"write_timeout": 2, "close_timeout": 1}


class UnreadTests(TestCase):
    """Clients that ask and do not read."""

    timeout = 2 * LIMIT

    async def test_not_read_either(self) -> None:
        """R16: of counter and bus, who does not read is not read: memory is bounded, others are served."""
        suite = Suite(self)
        await suite.start()
        for service, request in REQUESTS.items():
            before = resident_kib(suite.program.pid)
            peers = [await self.flood(suite, suite.ports[service], request) for _ in range(READERS)]
            # Were it read, each would have made the server keep some of what comes until this is over.
            self.assertLess(resident_kib(suite.program.pid) - before, GROWTH, service)
            await add(self, suite, 1)
            for peer in peers:
                await peer.abort()

    async def test_cut_off(self) -> None:
        """R16: who takes no reply of counter or bus for `write_timeout` is cut off, and that is counted."""
        suite = Suite(self, counter=CUT, bus=CUT)
        await suite.start()
        open_sockets = sockets(suite.program.pid)
        for service, request in REQUESTS.items():
            peers = [await self.stopped(suite.ports[service]) for _ in range(READERS)]
            for peer in peers:
                Flood(peer, request * 1000)
            for peer in peers:
                await peer.gone()
        await self.is_rid_of_them(suite, open_sockets, *REQUESTS)

    async def test_events(self) -> None:
        """R16: who takes no event is cut off, others get every one, and little is kept for it meanwhile."""
        suite = Suite(self, bus=CUT | {"max_backlog": "1 MiB"})
        await suite.start()
        open_sockets, port = sockets(suite.program.pid), suite.ports["bus"]
        for _ in range(READERS):
            peer = await self.stopped(port)
            peer.send(encode_bus(pb.Subscribe(pattern="load.#", depth=10_000)))
        good, publisher = await connect(self, port), await connect(self, port)
        await poll(lambda: sockets(suite.program.pid) == open_sockets + READERS + 2, "all are there")
        good.send(encode_bus(pb.Subscribe(pattern="load.#")))
        before, sent = resident_kib(suite.program.pid), 0
        while sockets(suite.program.pid) > open_sockets + 2:
            sent += 1
            publisher.send(encode_bus(pb.Publish(topic="load.x", payload=bytes(100_000), id=sent)))
            await publisher.until(lambda: publisher.received)
            publisher.received.clear()
            await good.until(lambda: len(good.received) > 100_000)
            good.received.clear()
        self.assertLess(resident_kib(suite.program.pid) - before, READERS * 2 << 10)
        await good.abort()
        await publisher.abort()
        await self.is_rid_of_them(suite, open_sockets, "bus")

    async def test_numbers(self) -> None:
        """R16: who reads no numbers costs a window of them, and is closed when acknowledgements stay away."""
        limits = {"interval": 0.001, "max_messages": 1000, "ack_timeout": 2, "close_timeout": 1}
        suite = Suite(self, numbers=limits)
        await suite.start()
        open_sockets, before = sockets(suite.program.pid), resident_kib(suite.program.pid)
        for number in range(20 * READERS):
            peer = await self.stopped(suite.numbers)
            peer.say("start", client=f"stopped-{number}")
        self.assertLess(resident_kib(suite.program.pid) - before, GROWTH)
        await poll(lambda: sockets(suite.program.pid) <= open_sockets, "all of them are cut off")
        self.assertEqual(await suite.terminate(), 0)

    async def stopped(self, port: int) -> Peer:
        """A connection that does not read."""
        peer = await connect(self, port)
        peer.transport.pauseProducing()
        return peer

    async def is_rid_of_them(self, suite: Suite, open_sockets: int, *services: str) -> None:
        """Nothing is left of those that did not read, but their number."""
        await poll(lambda: sockets(suite.program.pid) <= open_sockets, "all of them are cut off")
        self.assertEqual(await suite.terminate(), 0)
        for name in services:
            told = f" {name}: refused or given up: write-timeout {READERS}"
            self.assertTrue(any(told in line for line in suite.log), suite.program.story())
        self.assertEqual(suite.defects, [])

    async def flood(self, suite: Suite, port: int, request: bytes) -> Peer:
        """A connection that never reads, with as much written to it as it takes.

        That is all when the server has answered so many others since it took the last of it.
        """
        peer, other = await self.stopped(port), await connect(self, suite.counter)
        flood = Flood(peer, request * 1000)
        written = -1
        while written != flood.written:
            written = flood.written
            for _ in range(200):
                other.send(encode_counter(0))
                await other.total()
        await other.abort()
        return peer


class Flood:
    """Writes whenever the transport has sent what it had; `written` counts how often. A pull producer."""

    def __init__(self, peer: Peer, data: bytes) -> None:
        self.written = 0
        self._peer = peer
        self._data = data
        peer.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        self.written += 1
        self._peer.send(self._data)

    def stopProducing(self) -> None:
        """The connection is closed."""
