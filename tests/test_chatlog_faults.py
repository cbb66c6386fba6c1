"""The chat log while servers are killed, readers stop reading, histories are long and strangers shout."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from attrs import asdict
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from websockets.frames import Frame, Opcode

from protosuite.chatlog.chain import Append, Head, Verifier, entry_of, extend
from protosuite.chatlog.wire import ClientAppend, Entry, ServerReply, from_server
from tests.chatlog_peers import Member, Reader, Writer, assert_sound, join, stored
from tests.processes import LIMIT, Suite, resident_kib, together

ROUNDS = 30
WRITERS, READERS = 50, 20
HISTORY = 200_000  # entries
PAGE = 1000


class ChatLogCase(TestCase):
    """What the tests below share."""

    timeout = 3 * LIMIT

    def begin(self, *persistent: Writer | Reader) -> Deferred[Any]:
        """Let them come; the Deferred fires when all have left."""
        done = Deferred.fromCoroutine(together(each.stay() for each in persistent))

        def leave() -> None:
            for each in persistent:
                each.leave()

        self.addCleanup(leave)
        return done

    def assert_quiet(self, suite: Suite, note: str = "") -> None:
        """Nothing in the server's log speaks of a defect."""
        self.assertEqual(suite.defects, [], note)


class StoppedServerTests(ChatLogCase):
    """The server is told to stop."""

    async def test_sigterm_under_load(self) -> None:
        """R31: at SIGTERM what was accepted is acknowledged, all hear 1001, the exit code is 0."""
        suite = Suite(self)
        await suite.start()
        writers = [Writer(suite, f"w{n}", window=50) for n in range(20)]
        done = self.begin(*writers)
        for writer in writers:
            await writer.until(lambda writer=writer: len(writer.acknowledged) >= 100)  # type: ignore[misc]
        for writer in writers:
            writer.leaving = True  # it reads on to the end, and does not come back
        self.assertEqual(await suite.terminate(), 0)
        await done
        self.assert_quiet(suite)
        slots = {entry.key: entry.slot for entry in assert_sound(self, suite)}
        acknowledged = {key: slot for writer in writers for key, slot in writer.acknowledged.items()}
        self.assertEqual({key: slots.get(key) for key in acknowledged}, acknowledged)
        self.assertEqual([code for writer in writers for code in writer.codes], [1001] * len(writers))
        self.assertEqual(slots.keys() - acknowledged.keys(), set())


class UnreadTests(ChatLogCase):
    """Readers that stop reading."""

    async def test_they_are_cut_off_and_catch_up(self) -> None:
        """R16: who does not read is let go with 4008 at the bound, the rest see all, and it catches up."""
        suite = Suite(self, chatlog={"max_backlog": "64KiB", "write_timeout": 600, "close_timeout": 600})
        await suite.start()
        stalled = [await join(self, suite) for _ in range(3)]
        for member in stalled:
            member.transport.pauseProducing()
        before = resident_kib(suite.program.pid)
        reader, writer = Reader(suite), Writer(suite, "w", 8, size=16_000)
        done = self.begin(reader, writer)
        await reader.reaches(1000)  # 16 MB: four times what the kernel takes for one that does not read
        self.assertLess(resident_kib(suite.program.pid) - before, 24 << 10)
        await writer.finish()
        for member in stalled:
            member.transport.resumeProducing()
            self.assertEqual(await member.end(), 4008)
            slots = [message["entry"]["slot"] for message in member.messages]
            self.assertEqual(slots, list(range(1, len(slots) + 1)))
            self.assertLess(len(slots), 1000)
        self.assertEqual((reader.connections, writer.connections), (1, 1))
        again = Reader(suite)
        caught_up = self.begin(again)
        await reader.reaches(len(writer.acknowledged))
        await again.reaches(len(writer.acknowledged))
        for each in (reader, again):
            each.leave()
        await together(_wait(each) for each in (done, caught_up))
        self.assertEqual(again.entries, reader.entries)
        self.assertEqual(await suite.terminate(), 0)
        self.assertEqual(len(assert_sound(self, suite)), len(again.entries))
        self.assert_quiet(suite)


class HistoryTests(ChatLogCase):
    """A long log."""

    def fill(self, suite: Suite) -> None:
        """Put a history into the database, while no server runs."""
        head, rows = Head(0, epoch := "0123456789abcdef" * 2), []
        for seq in range(HISTORY):
            message = ClientAppend(seq, "ana", f"entry {seq}")
            entry = entry_of(
                extend(head, Append("main", "00000000000000aa", message), 1_700_000_000_000 + seq)[0]
            )
            head = Head(entry.slot, entry.hash)
            rows.append(
                (1, entry.slot, entry.author, entry.content, entry.at, entry.session, seq, None, entry.hash)
            )
        with sqlite3.connect(suite.data / "protosuite.sqlite3") as connection:
            connection.execute(
                "INSERT INTO chatlog_room VALUES (1, 'main', ?, ?, ?, 1)",
                (epoch, head.slot, head.hash),
            )
            # Their ids are 1, 2, 3 as their slots are.
            connection.executemany("INSERT INTO chatlog_log VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            connection.execute("INSERT INTO chatlog_filed SELECT room, slot, id FROM chatlog_log")
            connection.execute("INSERT INTO chatlog_filing SELECT max(id) FROM chatlog_log")
        connection.close()

    async def read_back(self, member: Member) -> int:
        """Page from the end of the log to its beginning, and check each hash; how many entries it has."""
        member.update(PAGE)
        reply = await self.page(member)
        latest, checked = reply.latest, 0
        above: tuple[Entry, ...] = ()
        while True:
            # The lowest entry of the page above is the one that checks the end of this.
            entries = (*reply.entries, *above)
            verifier = Verifier(reply.epoch)
            self.assertIsNone(verifier.first_problem(entries))
            checked += verifier.checked
            if entries[0].slot == 1:
                break
            above = entries[:1]
            member.update(PAGE, entries[0].slot - 1)
            reply = await self.page(member)
        self.assertEqual(checked, latest)
        return latest

    async def page(self, member: Member) -> ServerReply:
        """The next reply."""
        reply = from_server(json.dumps(await member.next("ServerReply")))
        assert isinstance(reply, ServerReply)
        return reply

    async def test_read_from_end_to_beginning(self) -> None:
        """A reader of 200,000 entries and a writer do not disturb each other, nor need they memory."""
        suite = Suite(self, chatlog={"write_timeout": 600})  # for those who wait until another has read all
        await suite.start()
        self.assertEqual(await suite.terminate(), 0)
        self.fill(suite)
        await suite.start()
        member = await join(self, suite)
        member.update(1)
        await self.page(member)
        greedy = [await join(self, suite) for _ in range(5)]
        before = resident_kib(suite.program.pid)
        for each in greedy:  # who ask for all of it at once, and do not read
            each.transport.pauseProducing()
            for upto in range(PAGE, HISTORY + 1, PAGE):
                each.update(PAGE, upto)
        writer = Writer(suite, "w", 1)
        done = self.begin(writer)
        await writer.until(lambda: writer.acknowledged)
        self.assertGreaterEqual(await self.read_back(member), HISTORY)
        # Each of the greedy has one page in a transport; all 200 pages would be 200 MB for all of them.
        self.assertLess(resident_kib(suite.program.pid) - before, 48 << 10)
        told = list(writer.acknowledged.values())
        self.assertEqual(told, list(range(HISTORY + 1, HISTORY + 1 + len(told))))
        self.assertGreater(len(told), 20)
        for each in greedy:
            each.transport.resumeProducing()
            for upto in range(PAGE, HISTORY + 1, PAGE):
                reply = await each.next("ServerReply")
                self.assertEqual(
                    [reply["entries"][0]["slot"], reply["entries"][-1]["slot"]], [upto - PAGE + 1, upto]
                )
            await each.leave()
        await writer.finish()
        await done
        self.assertEqual(await suite.terminate(), 0)
        self.assert_quiet(suite)


APPEND: dict[str, Any] = {"type": "ClientAppend", "seq": 0, "author": "a", "content": "x"}


def changed(**fields: Any) -> bytes:
    """An append with some of its fields changed."""
    return json.dumps(APPEND | fields).encode()


VALUES: dict[str, list[Any]] = {
    "seq": [None, -1, True, 1.0, 1e300, "0", [], 2**53, 10**1000],
    "author": [None, "", "x" * 65, "a\nb", "\x00", "\ud800", 1, {}],
    "content": [None, "", "x" * 16_385, "\x1b", "\udfff", 1, []],
    "key": ["", "x" * 65, "\n", "\ud800", 1, []],
}

WRONG: list[tuple[bytes, str]] = [
    *((text, "bad-json") for text in (b"", b"{", b"[]", b"null", b"7", b'"x"', b"{}{}", b"\xef\xbb\xbf{}")),
    (b'{"type":"ClientAppend","seq":NaN}', "bad-json"),
    (b"[" * 60_000, "bad-json"),
    (b'{"a":' * 12_000, "bad-json"),
    (b'{"seq":' + b"9" * 60_000 + b"}", "bad-json"),
    (b"{}", "unknown-type"),
    (changed(type="ServerAck"), "unknown-type"),
    (changed(type=["ClientAppend"]), "unknown-type"),
    (changed(type="\ud800"), "unknown-type"),
    *((changed(**{name: value}), "bad-field") for name, values in VALUES.items() for value in values),
    (b'{"type":"ClientUpdate","n":0,"upto":-1}', "bad-field"),
    (b'{"type":"ClientUpdate","n":true,"upto":-1}', "bad-field"),
    (b'{"type":"ClientUpdate","n":1,"upto":-2}', "bad-field"),
    (changed(seq=100_000), "gap"),
]

TEN_MB = b"x" * 10_000_000

FRAMES: list[tuple[bytes, int]] = [
    (Frame(Opcode.TEXT, TEN_MB).serialize(mask=True), 1009),
    (Frame(Opcode.BINARY, TEN_MB).serialize(mask=True), 1009),
    (
        Frame(Opcode.TEXT, TEN_MB[:60_000], False).serialize(mask=True)
        + Frame(Opcode.CONT, TEN_MB[:60_000], False).serialize(mask=True) * 160,
        1009,
    ),
    (b"\x81\xff" + (2**62).to_bytes(8, "big") + b"mask", 1009),  # its length alone
    (Frame(Opcode.TEXT, b'{"author":"\xff"}').serialize(mask=True), 1007),
    (Frame(Opcode.TEXT, b'"\xed\xa0\x80"').serialize(mask=True), 1007),
    (Frame(Opcode.TEXT, changed()).serialize(mask=False), 1002),
    (b"\xf1\x80mask", 1002),  # reserved bits
    (b"\x83\x80mask", 1002),  # a reserved opcode
    (Frame(Opcode.CONT, changed()).serialize(mask=True), 1002),
]


class InvalidTests(ChatLogCase):
    """Whatever strangers send."""

    async def test_invalid_input(self) -> None:
        """R13: a wrong message gets its Error, a wrong frame its close code; nothing is in the log."""
        suite = Suite(self)
        await suite.start()
        member = await join(self, suite)
        for text, code in WRONG:
            member.raw(text)
            self.assertEqual((await member.next("Error"))["code"], code, text[:100])
        assert member.socket is not None
        member.socket.send_binary(changed())
        self.assertEqual((await member.next("Error"))["code"], "bad-json")
        for frame, expected in FRAMES:
            stranger = await join(self, suite)
            stranger.transport.write(frame)
            self.assertEqual(await stranger.end(), expected, frame[:100])
            self.assertEqual(stranger.messages, [])
        self.assertEqual(list(stored(suite)), [])
        member.update(10)
        reply = await member.next("ServerReply")
        self.assertEqual((reply["entries"], reply["latest"]), ([], 0))
        member.raw(changed(seq=1))  # 0 was used up by those that were refused
        self.assertEqual((await member.next("ServerAck"))["entry"]["slot"], 1)
        self.assertEqual(await suite.terminate(), 0)
        self.assertEqual(len(assert_sound(self, suite)), 1)
        self.assert_quiet(suite)


def _fields(entry: Any) -> dict[str, Any]:
    """An entry as it goes over the wire."""
    return {name: value for name, value in asdict(entry).items() if value is not None}


async def _wait(deferred: Deferred[Any]) -> None:
    await deferred
