"""The bus as a process: old clients, kills, and subscribers that stop."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message
from twisted.trial.unittest import TestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.wire import FROM_SERVER, Decoder, encode_request
from tests.faults import seed
from tests.peers import Peer, connect, undisturbed
from tests.processes import LIMIT, Suite, poll, resident_kib


class BusPeer(Peer):
    """A connection that decodes what it gets and hands it on."""

    def __init__(self, take: Callable[[Any], None] | None = None) -> None:
        super().__init__()
        self.messages: list[Any] = []
        self._take = take or self.messages.append
        self._decoder = Decoder(FROM_SERVER)

    def dataReceived(self, data: bytes) -> None:
        for body in self._decoder.feed(data):
            self._take(body)
        self.changed()

    def tell(self, *bodies: Message) -> None:
        """Write messages."""
        self.send(b"".join(map(encode_request, bodies)))


async def bus_peer(case: TestCase, suite: Suite, take: Callable[[Any], None] | None = None) -> BusPeer:
    peer = BusPeer(take)
    await connect(case, suite.ports["bus"], peer)
    return peer


class OldClientTests(TestCase):
    """A client that was written from the page of the protocol alone, byte for byte."""

    timeout = LIMIT

    async def test_bare_messages(self) -> None:
        """Echo, several echoes, three clients and an addition: one bare message each way."""
        suite = Suite(self)
        await suite.start()
        clients = [await connect(self, suite.ports["bus"]) for _ in range(3)]
        for word in (b"hello", b"again", b""):
            for client in clients:
                content = b"\x0a" + bytes([len(word)]) + word if word else b""
                message = b"\x0a" + bytes([len(content)]) + content
                client.send(message)
                self.assertEqual(await client.exactly(len(message)), message)
        clients[0].send(b"\x12\x04\x08\x0a\x10\x14")  # a = 10, b = 20
        self.assertEqual(await clients[0].exactly(4), b"\x12\x02\x08\x1e")
        minus_one = b"\xff" * 9 + b"\x01"
        clients[1].send(b"\x12\x0d\x08" + minus_one + b"\x10\x00")
        self.assertEqual(await clients[1].exactly(13), b"\x12\x0b\x08" + minus_one)

    async def test_pipelining(self) -> None:
        """Ten thousand requests written at once are answered in order."""
        suite = Suite(self)
        await suite.start()
        peer = await bus_peer(self, suite)
        peer.tell(*[pb.EchoMessage(content=f"message {n}") for n in range(10_000)])
        await peer.until(lambda: len(peer.messages) == 10_000)
        self.assertEqual([m.content for m in peer.messages], [f"message {n}" for n in range(10_000)])


class Publisher:
    """Publishes numbered events, and notes what was confirmed."""

    def __init__(self, case: TestCase) -> None:
        self.case = case
        self.sent: set[bytes] = set()
        self.confirmed: set[bytes] = set()
        self.peer: BusPeer | None = None
        self._places: set[tuple[int, int]] = set()  # topic and sequence of what was confirmed
        self._payloads: dict[int, bytes] = {}

    async def connect(self, suite: Suite) -> None:
        self.peer = await bus_peer(self.case, suite, self.take)

    def take(self, message: Any) -> None:
        self.case.assertIsInstance(message, pb.Receipt)
        self.confirmed.add(self._payloads[message.id])
        place = message.id % 3, message.sequence
        self.case.assertNotIn(place, self._places, "a sequence was given twice")
        self._places.add(place)

    def publish(self) -> None:
        id = len(self.sent) + 1
        payload = self._payloads[id] = b"event %d" % id
        self.sent.add(payload)
        assert self.peer is not None
        self.peer.tell(pb.Publish(topic=f"fault.{id % 3}", payload=payload, id=id))


def rows(suite: Suite, table: str) -> int:
    """How many rows a table of the suite's database has."""
    connection = sqlite3.connect(suite.data / "protosuite.sqlite3", timeout=LIMIT)
    try:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    finally:
        connection.close()


class Printed:
    """What the real program, as a durable subscriber, has printed over all its runs."""

    def __init__(self, case: TestCase) -> None:
        self.case = case
        self.payloads: set[bytes] = set()
        self._read = 0

    def start(self, suite: Suite) -> None:
        """Another run."""
        # However long the server is away: it is killed again while this waits to try again.
        options = ("--timeout", str(LIMIT), "subscribe", "fault.#", "--durable", "faults", "--json")
        self.run = suite.client("protosuite-bus", suite.ports["bus"], *options)
        self._read = 0

    def has(self, payloads: set[bytes]) -> bool:
        """Whether all of these have been printed."""
        for line in self.run.output[self._read :]:
            if line.endswith("}"):  # one that a kill cut short was not acknowledged either
                self.payloads.add(json.loads(line)["payload"].encode())
        self._read = len(self.run.output)
        return payloads <= self.payloads

    async def kill(self) -> None:
        """SIGKILL, and take what it printed before."""
        await self.run.kill()
        self.has(set())


class KilledProgramTests(TestCase):
    """The same with processes on both sides."""

    timeout = 2 * LIMIT

    async def test_killed_in_any_order(self) -> None:
        """R1: over 50 times SIGKILL on either side all that was confirmed is printed, and none invented.

        With room for two topics of three, one is forgotten with each event, and no sequence is given twice.
        """
        chosen = seed()
        chance = random.Random(chosen)
        suite = Suite(self, bus={"max_topics": 2})
        await suite.start()
        printed, publisher = Printed(self), Publisher(self)
        printed.start(suite)
        await poll(lambda: rows(suite, "bus_durable") == 1, "the durable subscription is stored")
        for _ in range(50):
            await self.publish(suite, publisher, chance.randrange(2, 50))
            if chance.random() < 0.3:
                await printed.run.until(lambda: printed.has(publisher.confirmed))
            if chance.random() < 0.4:
                await suite.kill()
                await suite.start()
                publisher.peer = None
            else:
                await printed.kill()
                printed.start(suite)
        await printed.run.until(lambda: printed.has(publisher.confirmed))
        self.assertLessEqual(printed.payloads, publisher.sent, f"PROTOSUITE_SEED={chosen}")
        await poll(lambda: rows(suite, "bus_topic") <= 2, "no more topics are stored than are remembered")

    async def publish(self, suite: Suite, publisher: Publisher, events: int) -> None:
        """Publish so many events, and wait until half of them are confirmed."""
        if publisher.peer is None:
            await publisher.connect(suite)
        wanted = len(publisher.confirmed) + events // 2
        for _ in range(events):
            publisher.publish()
        assert publisher.peer is not None
        await publisher.peer.until(lambda: len(publisher.confirmed) >= wanted)


class OthersTests(TestCase):
    """What the other services publish."""

    timeout = LIMIT

    async def test_one_subscription_watches_the_suite(self) -> None:
        """A refused frame of the counter and a stream of numbers that ended are events on the bus."""
        suite = Suite(self)
        await suite.start()
        watcher = await bus_peer(self, suite)
        watcher.tell(pb.Subscribe(pattern="#"), pb.EchoMessage(content="subscribed"))
        await watcher.until(lambda: len(watcher.messages) == 1)
        counting = await connect(self, suite.counter)
        counting.send(b"a" * 16)
        await watcher.until(lambda: len(watcher.messages) == 2)
        stream = await connect(self, suite.numbers)
        stream.say("start", client="ana", max=1)
        await watcher.until(lambda: len(watcher.messages) == 3)
        refused, ended = watcher.messages[1:]
        self.assertEqual(
            (refused.topic, json.loads(refused.payload)["code"]), ("counter.refused", "bad-hash")
        )
        checksum = undisturbed(suite)["ana"].checksum
        self.assertEqual(ended.topic, "numbers.session.ended")
        self.assertEqual(json.loads(ended.payload), {"client": "ana", "count": 1, "checksum": checksum})


class SlowTests(TestCase):
    """A subscriber that stops costs itself only."""

    timeout = LIMIT

    async def test_stopped_subscriber(self) -> None:
        """R17: with one subscriber stopped, others get everything, and the server's memory is bounded."""
        suite = Suite(self, bus={"max_backlog": "4 MiB"})
        await suite.start()
        stopped = suite.client("protosuite-bus", suite.ports["bus"], "subscribe", "load.#", "--json")
        counted = 0

        def count(message: Any) -> None:
            nonlocal counted
            self.assertEqual((message.sequence, message.dropped), (counted + 1, 0))
            counted += 1

        quick = await bus_peer(self, suite, count)
        quick.tell(pb.Subscribe(pattern="load.#"))
        publisher = await bus_peer(self, suite)
        payload = b"x" * 10_000
        sent = 0

        async def publish(events: int) -> None:
            nonlocal sent
            for _ in range(events // 50):
                sent += 50
                last = sent
                bodies = [
                    pb.Publish(topic="load.x", payload=payload, id=id) for id in range(last - 49, last + 1)
                ]
                publisher.tell(*bodies)
                await publisher.until(lambda last=last: len(publisher.messages) == last)  # type: ignore[misc]
                await quick.until(lambda last=last: counted == last)  # type: ignore[misc]

        while not stopped.output:  # its subscription has begun when it prints
            await publish(50)
        stopped.signal("STOP")
        await publish(1000)
        before = resident_kib(suite.program.pid)
        await publish(4000)
        self.assertLess(resident_kib(suite.program.pid) - before, 10 * 1024)
        stopped.signal("CONT")
        await publish(50)
        await stopped.says(f'"sequence": {sent}')
