"""R2: whoever is told that something is stored is told behind the sync, not before."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from twisted.trial.unittest import TestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.counter.wire import encode_request
from tests.chatlog_peers import join
from tests.mediachat_peers import OPEN, come, say
from tests.peers import connect
from tests.processes import LIMIT, Suite
from tests.test_bus import bus_peer
from tests.traced import Call, Trace, Tracer

WAL = "protosuite.sqlite3-wal>"


class SyncOrderTests(TestCase):
    """One commit of each service that writes, with every system call in its order."""

    timeout = LIMIT

    async def traced(self, **settings: Any) -> tuple[Suite, Tracer]:
        """A suite that has written before, so that what is made once is there; and who looks at it."""
        suite = Suite(self, mediachat=OPEN, **settings)
        await suite.start()
        return suite, Tracer(self, suite.program.pid)

    def assert_committed(self, trace: Trace, answer: Call) -> None:
        """The database's log was written, and synced after the last write of it, when an answer was sent."""
        written = [call for call in trace.named("pwrite64") if call.on(WAL) and call.begin < answer.begin]
        self.assertNotEqual(written, [], "nothing was written")
        self.assert_synced(trace, WAL, written[-1], answer)

    def assert_synced(self, trace: Trace, path: str, behind: Call, before: Call) -> None:
        """Something was synced, wholly between two calls."""
        synced = [call for call in trace.synced(path, before) if call.begin > behind.end]
        self.assertNotEqual(synced, [], f"no sync of {path} between {behind} and {before}")

    async def test_chatlog(self) -> None:
        """R2: an append is acknowledged, to its sender and to others, when the commit is synced."""
        suite, tracer = await self.traced()
        member = await join(self, suite)
        await tracer.ready()
        member.say("ClientAppend", seq=0, author="ana", content="hello")
        await member.next("ServerAck")
        trace = await tracer.trace()
        self.assert_committed(trace, trace.sent(b"ServerAck"))

    async def test_mediachat_text(self) -> None:
        """R2: a text is saved when the commit is synced."""
        suite, tracer = await self.traced()
        client = await come(self, suite)
        await tracer.ready()
        client.say(type="text", text="hello", key="one")
        self.assertEqual((await client.next())["status"], "saved")
        trace = await tracer.trace()
        self.assert_committed(trace, trace.sent(b'"saved"'))

    async def test_mediachat_posted(self) -> None:
        """R2: what the desk posts is answered, and sent to the client, when the commit is synced."""
        suite, tracer = await self.traced()
        client = await come(self, suite, id=1)
        await tracer.ready()
        posted = await say(self, suite, "a word of the desk")
        await client.until(lambda: posted["text"] in str(client.heard))
        trace = await tracer.trace()
        self.assert_committed(trace, trace.sent(b"HTTP/1.1 20"))
        self.assert_committed(trace, trace.sent(posted["text"].encode()))

    async def test_mediachat_media(self) -> None:
        """R2: media are saved when the file, its name, its folder's name and the commit are synced."""
        suite, tracer = await self.traced()
        client = await come(self, suite)
        await tracer.ready()
        content = b"x" * 100_000
        digest = sha256(content).hexdigest()
        name = f"/media/{digest[:2]}/{digest[2:]}".encode()
        client.begin(len(content))
        await client.send(iter([content]))
        self.assertEqual((await client.next())["status"], "saved")
        trace = await tracer.trace()
        answer = trace.sent(b'"saved"')
        self.assert_committed(trace, answer)
        (renamed,) = [call for call in trace.named("rename") if call.strings[1].endswith(name)]
        part = [call for call in trace.named("write") if call.on("/data/parts/")][-1]
        self.assert_synced(trace, "/data/parts/", part, renamed)
        row = next(call for call in trace.named("pwrite64") if call.on(WAL) and call.begin > part.begin)
        self.assert_synced(trace, f"/data/media/{digest[:2]}>", renamed, row)
        self.assert_synced(trace, "/data/media>", renamed, row)

    async def test_numbers(self) -> None:
        """R2: a client hears of its session when the commit is synced."""
        suite, tracer = await self.traced()
        peer = await connect(self, suite.numbers)
        await tracer.ready()
        peer.say("start", client="ana")
        self.assertEqual((await peer.message())["type"], "session")
        trace = await tracer.trace()
        self.assert_committed(trace, trace.sent(b'"session"'))

    async def test_bus(self) -> None:
        """R2: an event that a durable subscription gets has its receipt when the commit is synced."""
        suite, tracer = await self.traced()
        subscriber = await bus_peer(self, suite)
        subscriber.tell(pb.Subscribe(pattern="a.#", durable="all"))
        subscriber.tell(
            pb.Publish(topic="other", payload=b"", id=1)
        )  # its receipt says that this is done, too
        await subscriber.until(lambda: bool(subscriber.messages))
        await tracer.ready()
        publisher = await bus_peer(self, suite)
        publisher.tell(pb.Publish(topic="a.b", payload=b"hello", id=987654321))
        await publisher.until(lambda: bool(publisher.messages))
        trace = await tracer.trace()
        receipt = publisher.messages[0]
        self.assertIsInstance(receipt, pb.Receipt)
        self.assert_committed(trace, trace.sent(receipt.SerializeToString()))

    async def test_counter(self) -> None:
        """R2: with ``always`` an increment is answered when the commit is synced."""
        suite, tracer = await self.traced(counter={"durability": "always"})
        peer = await connect(self, suite.counter)
        await tracer.ready()
        peer.send(encode_request(1234567))
        self.assertEqual(await peer.total(), 1234567)
        trace = await tracer.trace()
        self.assert_committed(trace, trace.sent((1234567).to_bytes(8, "big")))

    async def test_a_reply_without_a_sync_is_seen(self) -> None:
        """R2: with ``everysec`` the reply does come first: the look at the calls tells the two apart."""
        suite, tracer = await self.traced(counter={"durability": "everysec"})
        peer = await connect(self, suite.counter)
        await tracer.ready()
        peer.send(encode_request(1234567))
        await peer.total()
        trace = await tracer.trace()
        with self.assertRaises(self.failureException):
            self.assert_committed(trace, trace.sent((1234567).to_bytes(8, "big")))
