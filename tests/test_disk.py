"""R6: a disk that is full."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.counter.wire import encode_request
from tests.chatlog_peers import Member, assert_sound, join
from tests.disks import fill, small_disk
from tests.peers import Peer, add, connect, stored_total
from tests.processes import LIMIT, Suite
from tests.test_bus import BusPeer, bus_peer


class FullDiskTests(TestCase):
    """A file system of one megabyte under the data folder; the media chat has a larger one of its own."""

    timeout = LIMIT

    async def start(self, **settings: dict[str, object]) -> Suite:
        """A suite whose data are on a file system of their own, which goes with the test."""
        self.disk = small_disk(self)
        suite = Suite(self)
        suite.data = self.disk / "data"
        suite.write(suite={"data": suite.data}, **settings)
        self.addCleanup(suite.kill)
        await suite.start()
        return suite

    def fill(self) -> None:
        """Leave no room. What the database's log has been given already takes a few commits more."""
        self.filler = fill(self.disk)

    def free(self) -> None:
        """Make room again."""
        self.filler.unlink()

    async def test_counter_always(self) -> None:
        """R6: with ``always`` an increment that cannot be stored is not answered; none is lost or made up."""
        suite = await self.start(counter={"durability": "always"})
        known = await add(self, suite, 5)
        self.fill()
        while (answer := await self.increment(suite)) is not None:
            known = answer
        await suite.program.says("the total cannot be stored: no increment is accepted until it can")
        self.free()
        self.assertEqual(await add(self, suite, 1), known + 1)
        await suite.program.says("the total is stored again")
        await suite.kill()
        await suite.start()
        self.assertEqual(await add(self, suite), known + 1)

    async def test_counter_everysec(self) -> None:
        """R6: with ``everysec`` increments are answered until a store fails, reads always."""
        suite = await self.start(counter={"durability": "everysec", "sync_interval": 0.05})
        self.fill()
        known = 0
        while (answer := await self.increment(suite)) is not None:
            known = answer
        self.assertEqual(await add(self, suite), known)
        self.free()
        await suite.program.says("the total is stored again")
        self.assertEqual(await add(self, suite, 1), known + 1)
        await suite.terminate()
        self.assertEqual(stored_total(suite), known + 1)

    async def increment(self, suite: Suite) -> int | None:
        """The total after one more; None if the connection is closed instead."""
        peer = await connect(self, suite.counter)
        peer.send(encode_request(1))
        await peer.until(lambda: len(peer.received) >= 8 or peer.over, after_end=True)
        total = await peer.total() if peer.received else None
        await peer.abort()
        return total

    async def test_numbers(self) -> None:
        """R6: a session that cannot be stored is refused, streams go on, and later sessions are stored."""
        suite = await self.start(numbers={"interval": 0.05, "max_messages": 65535})
        stream = await connect(self, suite.numbers)
        stream.say("start", client="ana")
        self.assertEqual((await stream.message())["type"], "session")
        self.fill()
        count = 0
        while (answer := await self.begin(suite, f"client-{count}"))["type"] == "session":
            count += 1
        self.assertEqual((answer["type"], answer["code"]), ("error", "overloaded"))
        for _ in range(3):
            self.assertEqual((await stream.message())["type"], "number")
        self.free()
        self.assertEqual((await self.begin(suite, "ben"))["type"], "session")

    async def begin(self, suite: Suite, client: str) -> dict[str, object]:
        """What a client gets that starts."""
        peer = await connect(self, suite.numbers, Peer())
        peer.say("start", client=client)
        answer = await peer.message()
        await peer.abort()
        return answer

    async def test_chatlog(self) -> None:
        """R6: an append without room gets an error and is in no log; reading goes on; later all works."""
        suite = await self.start()
        reader, writer = await join(self, suite), await join(self, suite)
        self.fill()
        acknowledged: list[str] = []
        while (error := await self.append(writer, len(acknowledged))) is None:
            acknowledged.append(f"entry {len(acknowledged)}")
        self.assertEqual(error["code"], "storage")
        self.assertEqual(await writer.end(), 1013)
        for _ in range(3):
            reader.update(1000)
            entries = (await reader.next("ServerReply"))["entries"]
            self.assertEqual([entry["content"].rstrip() for entry in entries], acknowledged)
        self.free()
        again = await join(self, suite)
        self.assertIsNone(await self.append(again, 0))
        await suite.kill()
        self.assertEqual(len(assert_sound(self, suite)), len(acknowledged) + 1)

    @staticmethod
    async def append(writer: Member, number: int) -> dict[str, object] | None:
        """Append an entry that takes some pages; the error if there is one."""
        writer.say("ClientAppend", seq=number, author="ana", content=f"entry {number}".ljust(16_000))

        def answered() -> dict[str, object] | None:
            for message in writer.messages:
                if message["type"] in ("Error", "ServerAck"):
                    return message
            return None

        answer = await writer.until(answered, after_end=True)
        writer.messages.clear()
        return answer if answer["type"] == "Error" else None

    async def test_bus(self) -> None:
        """R6: what a durable subscription cannot be given is refused, the rest goes on, nothing is lost."""
        suite = await self.start()
        durable, passing, publisher = [await bus_peer(self, suite) for _ in range(3)]
        durable.tell(pb.Subscribe(pattern="kept.#", durable="all"))
        passing.tell(pb.Subscribe(pattern="passing"))
        for peer in (durable, passing):
            peer.tell(pb.EchoMessage(content="subscribed"))
            await peer.until(lambda peer=peer: bool(peer.messages))  # type: ignore[misc]
        self.assertIsInstance(await self.publish(publisher, "kept.a", 0), pb.Receipt)  # behind what it is for
        self.fill()
        confirmed = 1
        while isinstance(answer := await self.publish(publisher, "kept.a", confirmed), pb.Receipt):
            confirmed += 1
        self.assertEqual((type(answer), answer.code), (pb.Error, "overloaded"))
        self.assertIsInstance(await self.publish(publisher, "passing", 0), pb.Receipt)
        await passing.until(lambda: len(passing.messages) == 2)
        self.free()
        self.assertIsInstance(await self.publish(publisher, "kept.b", confirmed), pb.Receipt)
        await suite.kill()
        await suite.start()
        again = await bus_peer(self, suite)
        again.tell(pb.Subscribe(pattern="kept.#", durable="all"))
        await again.until(lambda: len(again.messages) > confirmed)
        payloads = [event.payload.rstrip() for event in again.messages]
        self.assertEqual(payloads, [b"%d" % number for number in range(confirmed + 1)])

    @staticmethod
    async def publish(peer: BusPeer, topic: str, number: int) -> Any:
        """Publish an event that takes some pages: the receipt or the error."""
        peer.messages.clear()
        peer.tell(pb.Publish(topic=topic, payload=(b"%d" % number).ljust(16_000), id=1))
        await peer.until(lambda: bool(peer.messages))
        return peer.messages[0]
