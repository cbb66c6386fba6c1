"""R13: whatever strangers send, the suite goes on as it was."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.bus import wire as bus
from protosuite.bus.wire import encode_request as encode_bus
from protosuite.config import SERVICES
from protosuite.counter.wire import encode_request as encode_counter
from protosuite.numbers.client import NumbersClientFactory
from tests.chatlog_peers import assert_sound, join
from tests.faults import seed as chosen_seed
from tests.mediachat_peers import OPEN, come
from tests.peers import Peer, connect
from tests.processes import LIMIT, Program, Suite, poll, reactor, resident_kib

ROOT = Path(__file__).parent.parent
INPUTS = 100_000  # a service
# KiB that all of them may add to what a tenth of them took: 50 bytes an input. What has a bound still fills
# then: the database's page caches (2 MiB a connection), the windows of durable subscriptions.
GROWTH = 24 * 1024
SETTINGS: dict[str, Any] = {
    # What neighbours have to say they say in time, though six attackers, and whatever else is on the machine,
    # may keep them from the processor.
    "numbers": {"interval": 0.01, "handshake_timeout": 10, "ack_timeout": 10, "close_timeout": 0.5},
    "counter": {"frame_timeout": 0.5, "close_timeout": 0.5},
    "bus": {"close_timeout": 0.5, "publish_timeout": 0.1, "retain": 10, "max_topics": 100},
    "chatlog": {"close_timeout": 0.5, "handshake_timeout": 10},
    "mediachat": {"close_timeout": 0.5, "handshake_timeout": 10, **OPEN},
}


class HostileTests(TestCase):
    """What strangers send into every port at once, and the neighbours to whom it is nothing."""

    timeout = 10 * LIMIT
    is_over = False

    async def attack(self, suite: Suite, seed: int, inputs: int) -> None:
        """Send so many inputs into each port."""
        attackers = [
            Program(
                self,
                *(sys.executable, "-m", "tests.attacker", service, str(suite.ports[service])),
                *(str(seed), str(inputs)),
                folder=ROOT,
            )
            for service in SERVICES
        ]
        for attacker in attackers:
            self.assertEqual(await attacker.late_exit(), 0, f"PROTOSUITE_SEED={seed}: {attacker.story()}")

    async def test_a_hundred_thousand(self) -> None:
        """R13: 100,000 inputs a service, good ones, generated and mutated: others go on, nothing grows."""
        seed = chosen_seed()
        suite = Suite(self, **SETTINGS)
        await suite.start()
        sockets = len(_sockets(suite))
        await self.attack(suite, seed + 1, INPUTS // 10)
        files = await self.descriptors(suite, sockets)
        memory = resident_kib(suite.program.pid)
        neighbours = [
            Deferred.fromCoroutine(self.neighbour(begin(self, suite)))
            for begin in (streams, additions, echoes, entries, texts)
        ]
        await self.attack(suite, seed, INPUTS)
        self.is_over = True
        for rounds in await gatherResults(neighbours, consumeErrors=True):
            self.assertGreater(rounds, 10, f"PROTOSUITE_SEED={seed}")
        self.assertLess(resident_kib(suite.program.pid) - memory, GROWTH, f"PROTOSUITE_SEED={seed}")
        self.assertEqual(await self.descriptors(suite, sockets), files, f"PROTOSUITE_SEED={seed}")
        await self.assert_well(suite, f"PROTOSUITE_SEED={seed}")

    async def neighbour(self, rounds: AsyncGenerator[None, None]) -> int:
        """Do what a well-behaved client does until the attack is over; how often that was."""
        count = 0
        async with aclosing(rounds):
            async for _ in rounds:
                count += 1
                if self.is_over:
                    break
        return count

    async def descriptors(self, suite: Suite, sockets: int) -> int:
        """How many files the suite has open, when it has no more `sockets` than at its start."""
        await poll(lambda: len(_sockets(suite)) <= sockets, "the end of all connections")
        return len(list(Path(f"/proc/{suite.program.pid}/fd").iterdir()))

    async def assert_well(self, suite: Suite, note: str) -> None:
        """Nothing in the log speaks of a failure, what is stored is sound, and the stop is clean."""
        for room in ("main", "neighbour"):
            assert_sound(self, suite, note, room)
        signs = ("Traceback", "Unhandled", " critical ", " error ")
        wrong = [line for line in suite.log if any(sign in line for sign in signs)]
        self.assertEqual(wrong, [], note)
        self.assertEqual(await suite.terminate(), 0, note)


def _sockets(suite: Suite) -> list[str]:
    """The sockets that the suite has open."""
    found = []
    for path in Path(f"/proc/{suite.program.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it is closed by now
            found.append(os.readlink(path))
    return [target for target in found if target.startswith("socket:")]


async def streams(case: TestCase, suite: Suite) -> AsyncGenerator[None, None]:
    """One stream of numbers after the other, each with the right checksum."""
    for number in itertools.count():
        factory = NumbersClientFactory(f"neighbour-{number}", reactor, max=3)
        reactor.connectTCP("127.0.0.1", suite.numbers, factory)
        result = await factory.result
        case.assertEqual((result.client, result.reconnects), (factory.client, 0))
        yield


async def additions(case: TestCase, suite: Suite) -> AsyncGenerator[None, None]:
    """Increments, each of which counts."""
    peer, total = await connect(case, suite.counter), 0
    try:
        while True:
            peer.send(encode_counter(1))
            before, total = total, await peer.total()
            case.assertGreater(total, before)
            yield
    finally:
        await peer.abort()


async def echoes(case: TestCase, suite: Suite) -> AsyncGenerator[None, None]:
    """Echoes, sums, and events of one's own."""
    peer = await connect(case, suite.ports["bus"])
    try:
        peer.send(encode_bus(pb.Subscribe(pattern="neighbour.of.all")))
        for number in itertools.count(1):
            publish = pb.Publish(topic="neighbour.of.all", payload=b"x", id=number)
            for body in (pb.EchoMessage(content=str(number)), pb.AddRequest(a=number, b=-1), publish):
                peer.send(encode_bus(body))
            found = {type(answer): answer for answer in await _bodies(peer, 4)}
            case.assertEqual(found[pb.EchoMessage].content, str(number))
            case.assertEqual(found[pb.AddResponse].result, number - 1)
            case.assertEqual((found[pb.Receipt].id, found[pb.Event].sequence), (number, number))
            yield
    finally:
        await peer.abort()


async def _bodies(peer: Peer, count: int) -> list[Any]:
    """The next so many of what the bus says; nothing comes behind them."""
    decoder = bus.Decoder(bus.FROM_SERVER)
    found: list[Any] = []
    while len(found) < count:
        await peer.until(lambda: bool(peer.received))
        found += decoder.feed(await peer.exactly(len(peer.received)))
    return found


async def entries(case: TestCase, suite: Suite) -> AsyncGenerator[None, None]:
    """Entries of a room, each in the next slot."""
    member = await join(case, suite, "neighbour")
    try:
        for number in itertools.count():
            member.say("ClientAppend", seq=number, author="n", content="x")
            case.assertEqual((await member.next("ServerAck"))["entry"]["slot"], number + 1)
            yield
    finally:
        await member.leave()


async def texts(case: TestCase, suite: Suite) -> AsyncGenerator[None, None]:
    """Texts of a chat, each saved behind the one before."""
    client, message = await come(case, suite, 4711), 0
    try:
        while True:
            client.say(type="text", text="hello")
            status, before = await client.next(), message
            message = status["message"]
            case.assertEqual(status["status"], "saved")
            case.assertGreater(message, before)
            yield
    finally:
        await client.leave()
