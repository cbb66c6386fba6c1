"""R9: backups of a suite under load, by the program, and suites that start from them."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import random
import sqlite3
import struct
import termios
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.chatlog.wire import Entry
from tests import chatlog_peers, mediachat_peers
from tests.disks import fill, small_disk
from tests.faults import naming, seed
from tests.faults.checks.bus import BusCheck
from tests.faults.checks.chatlog import RoomCheck
from tests.faults.checks.counter import CounterCheck
from tests.faults.checks.linearizable import History
from tests.faults.checks.mediachat import ChatsCheck, Said
from tests.faults.checks.numbers import StreamsCheck
from tests.faults.loads import Load
from tests.faults.loads.bus import BusLoad
from tests.faults.loads.chatlog import ChatLogLoad
from tests.faults.loads.counter import CounterLoad
from tests.faults.loads.mediachat import MediaChatLoad
from tests.faults.loads.numbers import NumbersLoad
from tests.peers import add, connect, stored_total, undisturbed
from tests.processes import BIN, LIMIT, Program, Suite, left_on, poll, together
from tests.test_bus import bus_peer

BACKUPS = 4  # under one load
PACE = 0.01  # seconds between two things that a client does: all of them share two processors
FOLDERS = "suite.tar.partial-*"  # what a backup works in


@define
class Acknowledged:
    """What a suite has told its clients that it has, at one moment."""

    slots: dict[str, int]  # by content
    messages: dict[str, int]  # ids by text or name
    total: int
    events: set[bytes]
    streams: dict[str, int]  # how many numbers, by client


class Room(RoomCheck):
    """Remembers what was acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.slots: dict[str, int] = {}

    def acknowledged(self, content: str, entry: Entry) -> None:
        super().acknowledged(content, entry)
        self.slots[content] = entry.slot


class Chats(ChatsCheck):
    """Remembers what was said, and what was saved."""

    def __init__(self) -> None:
        super().__init__()
        self.words: dict[str, Said] = {}
        self.ids: dict[str, int] = {}

    def said(self, said: Said) -> str:
        word = super().said(said)
        self.words[word] = said
        return word

    def saved(self, word: str, id: int) -> None:
        super().saved(word, id)
        self.ids[word] = id


class Events(BusCheck):
    """Remembers what was confirmed."""

    def __init__(self) -> None:
        super().__init__()
        self.payloads: set[bytes] = set()

    def confirmed(self, payload: bytes, sequence: int) -> None:
        super().confirmed(payload, sequence)
        self.payloads.add(payload)


class Streams(StreamsCheck):
    """Remembers of which streams clients were told."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def opened(self, client: str, count: int) -> None:
        super().opened(client, count)
        self.counts[client] = count


class Everything:
    """Load on every service of a suite, and what has been acknowledged."""

    def __init__(self, suite: Suite, given: int) -> None:
        self.room, self.chats, self.events, self.streams = Room(), Chats(), Events(), Streams()
        self.counter = CounterCheck()
        ports, chances = suite.ports, {name: random.Random(f"{given} {name}") for name in suite.ports}
        self.loads: list[Load] = [
            ChatLogLoad("", ports["chatlog"], chances["chatlog"], self.room, History(), pace=PACE),
            MediaChatLoad("m", ports["mediachat"], chances["mediachat"], self.chats, range(1, 4), pace=PACE),
            BusLoad("b", ports["bus"], chances["bus"], self.events, pace=PACE),
            CounterLoad("c", ports["counter"], chances["counter"], self.counter, pace=PACE),
            NumbersLoad("n", ports["numbers"], chances["numbers"], self.streams, pace=PACE),
        ]

    async def goes_on(self) -> None:
        """Wait until each load has done more."""
        await together(load.rises_by(20) for load in self.loads)

    def acknowledged(self) -> Acknowledged:
        """All of it until now."""
        return Acknowledged(
            dict(self.room.slots),
            dict(self.chats.ids),
            self.counter.highest,
            set(self.events.payloads),
            dict(self.streams.counts),
        )


class BackupCase(TestCase):
    """What the tests share."""

    timeout = 3 * LIMIT

    def program(self, *arguments: str | Path, **options: Any) -> Program:
        """Start ``protosuite-backup``."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        return Program(self, BIN / "protosuite-backup", *arguments, folder=folder, **options)

    async def run_program(self, *arguments: str | Path, code: int = 0, **options: Any) -> Program:
        """Run it to its end."""
        run = self.program(*arguments, **options)
        self.assertEqual(await run.exit(), code, run.story())
        return run

    async def fails(self, why: str, *arguments: str | Path, **options: Any) -> None:
        """It ends with exit code 1 and one line that says why."""
        run = await self.run_program(*arguments, code=1, **options)
        self.assertEqual(len(run.errors), 1, run.story())
        self.assertIn(why, run.errors[0])

    async def suite(self, **settings: Any) -> Suite:
        """A suite that runs and takes everything at any time."""
        suite = Suite(self, mediachat=mediachat_peers.OPEN, **settings)
        await suite.start()
        return suite

    async def said(self, suite: Suite, size: int = 100_000) -> str:
        """Let a client send a file: its hash."""
        data = random.randbytes(size)
        client = await mediachat_peers.come(self, suite)
        client.begin(size)
        await client.send(mediachat_peers.cut(data))
        self.assertEqual((await client.next())["status"], "saved")
        await client.leave()
        return sha256(data).hexdigest()

    def place(self) -> Path:
        """Where a backup may go."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        return folder / "suite.tar"


class LoadTests(BackupCase):
    """All services at work."""

    async def test_everything_that_was_acknowledged(self) -> None:
        """R9: backups under load verify, restore, and have all that was acknowledged before they began."""
        given = seed()
        with naming(given):
            suite = await self.suite(counter={"durability": "always"}, numbers={"interval": 0.01})
            await self.owed(suite, 1)
            everything = Everything(suite, given)
            for load in everything.loads:
                self.addCleanup(load.leave)
                await load.begin()
            backups: list[tuple[Path, Acknowledged]] = []
            for _ in range(BACKUPS):
                await everything.goes_on()
                file, before = self.place(), everything.acknowledged()
                await self.run_program("--config", suite.config, file)
                backups.append((file, before))
            await everything.goes_on()
            await suite.kill()
            for load in everything.loads:
                await load.leave()
            for file, before in backups:
                restored = await self.restored(file)
                self.check(restored, before, everything)
            await self.serves(restored, before)

            # What a kill left can be backed up too: all of it is there.
            file = self.place()
            await self.run_program("--config", suite.config, file)
            self.check(await self.restored(file), everything.acknowledged(), everything)

    async def owed(self, suite: Suite, least: int) -> set[bytes]:
        """What a durable subscription to all of the load gets, at least so much. All of it stays."""
        peer = await bus_peer(self, suite)
        first = pb.Publish(topic="load.first", payload=b"first")
        peer.tell(pb.Subscribe(pattern="load.#", durable="backup", prefetch=10_000), first)
        await peer.until(lambda: len(peer.messages) >= least)
        await peer.abort()
        return {event.payload for event in peer.messages}

    async def restored(self, file: Path) -> Suite:
        """A suite, which does not run, with a backup in its data folder."""
        found = await self.run_program("--verify", file)
        self.assertIn("all is right", found.output[0])
        suite = Suite(self, mediachat=mediachat_peers.OPEN, counter={"durability": "always"})
        await self.run_program("--restore", file, "--config", suite.config)
        return suite

    def check(self, suite: Suite, wanted: Acknowledged, everything: Everything) -> None:
        """Hold that all that was acknowledged is in the data folder, and is right."""
        slots = {entry.content: entry.slot for entry in chatlog_peers.assert_sound(self, suite)}
        self.assertEqual(wanted.slots.items() - slots.items(), set())
        rows = {str(row.text or row.name): row for row in mediachat_peers.rows(suite)}
        ids = {word: row.id for word, row in rows.items()}
        self.assertEqual(wanted.messages.items() - ids.items(), set())
        for word, row in rows.items():
            said = everything.chats.words[word]
            self.assertEqual((row.text, row.sha256, row.size), (said.text, said.sha256, said.size))
        files = mediachat_peers.files(suite)
        self.assertEqual(files.keys(), {row.sha256 for row in rows.values() if row.sha256})
        for name, path in files.items():
            self.assertEqual(sha256(path.read_bytes()).hexdigest(), name)
        self.assertGreaterEqual(stored_total(suite), wanted.total)
        self.assertEqual(wanted.events - self.stored_events(suite), set())
        counts = {client: whole.count for client, whole in undisturbed(suite).items()}
        self.assertEqual(wanted.streams.items() - counts.items(), set())

    def stored_events(self, suite: Suite) -> set[bytes]:
        """What is owed to the subscription of :meth:`owed`."""
        with closing(sqlite3.connect(suite.data / "protosuite.sqlite3")) as connection:
            query = "SELECT payload FROM bus_owed WHERE durable = 'backup'"
            return {payload for (payload,) in connection.execute(query)}

    async def serves(self, suite: Suite, wanted: Acknowledged) -> None:
        """Hold that a suite that starts from it gives all of it to its clients."""
        streams, owed = undisturbed(suite), len(self.stored_events(suite))
        await suite.start()
        reader = chatlog_peers.Reader(suite)
        done = Deferred.fromCoroutine(reader.stay())
        await reader.reaches(max(wanted.slots.values()))
        slots = {entry["content"]: slot for slot, entry in reader.entries.items()}
        self.assertEqual(wanted.slots.items() - slots.items(), set())
        reader.leave()
        await done
        self.assertEqual(wanted.events - await self.owed(suite, owed), set())
        self.assertGreaterEqual(await add(self, suite), wanted.total)
        for row in mediachat_peers.rows(suite)[-20:]:
            if row.sha256 is not None:
                status, _, body = await mediachat_peers.ask(self, suite, "GET", f"/media/{row.id}")
                self.assertEqual((status, sha256(body).hexdigest()), (200, row.sha256))
        client, count = next(iter(wanted.streams.items()))
        peer = await connect(self, suite.numbers)
        peer.say("start", client=client, next=0)
        self.assertEqual((await peer.message())["count"], count)
        self.assertEqual((await peer.message())["value"], streams[client].values[0])
        self.assertEqual(await suite.terminate(), 0)

    async def test_everysec(self) -> None:
        """R10: with ``everysec`` the total in a backup is no further behind than its durability says."""
        suite = await self.suite(counter={"sync_interval": "0.05"})
        await add(self, suite, 41)
        await poll(lambda: stored_total(suite) == 41, "the total is stored")
        await add(self, suite, 1)
        file = self.place()
        await self.run_program("--config", suite.config, file)
        restored = Suite(self)
        await self.run_program("--restore", file, "--config", restored.config)
        self.assertIn(stored_total(restored), (41, 42))


class InterruptedTests(BackupCase):
    """Ctrl-C, and worse."""

    async def stuck(self, file: Path, suite: Suite) -> Program:
        """A backup that waits in its midst for a file that cannot be read: nobody writes to this pipe."""
        digest = await self.said(suite)
        path = mediachat_peers.files(suite)[digest]
        path.unlink()
        os.mkfifo(path)
        run = self.program("--config", suite.config, file)
        await poll(
            lambda: any(each.stat().st_size for each in file.parent.glob(f"{FOLDERS}/archive")),
            "the backup is in its midst",
        )
        return run

    async def test_backup(self) -> None:
        """Ctrl-C, SIGTERM and SIGHUP end a backup with nothing left of it, and 128 + their number."""
        suite = await self.suite()
        for name, code in (("INT", 130), ("TERM", 143), ("HUP", 129)):
            file = self.place()
            run = await self.stuck(file, suite)
            run.signal(name)
            self.assertEqual((await run.exit(), run.output, run.errors), (code, [], []), run.story())
            self.assertEqual(os.listdir(file.parent), [])

    async def test_killed(self) -> None:
        """R1: a backup that is killed leaves no file of its name, and the next is made as ever."""
        suite = await self.suite()
        file = self.place()
        run = await self.stuck(file, suite)
        await run.kill()
        self.assertFalse(file.exists())
        for path in mediachat_peers.files(suite).values():
            path.unlink()
        await self.run_program("--config", suite.config, file, code=1)  # for what is missing now
        self.assertTrue(file.exists())

    async def test_restore(self) -> None:
        """No suite starts on half a restore; interrupted, nothing of it stays; killed, that is known."""
        suite = await self.suite()
        await self.said(suite)
        file = self.place()
        await self.run_program("--config", suite.config, file)
        pipe = self.place()
        os.mkfifo(pipe)
        new = Suite(self)
        for name in ("INT", "KILL"):
            run = self.program("--restore", pipe, "--config", new.config)
            with closing(await self.writing(pipe)) as end:
                end.write(file.read_bytes()[:50_000])
                end.flush()
                await poll((new.data / "restoring").exists, "the restore is in its midst")
                (line,) = await new.refusal()
                self.assertIn(f"is in use by process {run.pid}", line)
                run.signal(name)
                await run.exit()
            if name == "INT":
                self.assertEqual((run.code, run.errors), (130, []), run.story())
                self.assertFalse(new.data.exists())
        (line,) = await new.refusal()
        self.assertIn("did not finish: empty the folder, and restore again", line)
        await self.fails("did not finish: empty the folder", "--restore", file, "--config", new.config)

    async def writing(self, pipe: Path) -> Any:
        """The other end of a pipe that somebody is about to read."""

        def attempt() -> int | None:
            try:
                return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                return None

        descriptor = await poll(attempt, "somebody reads the pipe")
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "wb")

    async def test_the_reader_leaves(self) -> None:
        """When whoever reads the stream of a backup ends, so does the backup, with 1 and without a word."""
        suite = await self.suite()
        await self.said(suite, 1_000_000)
        reader, writer = os.pipe()
        run = self.program("--config", suite.config, "-", descriptors={1: writer})
        os.close(writer)
        os.read(reader, 512)
        os.close(reader)
        self.assertEqual((await run.exit(), run.errors), (1, []), run.story())


class FullDiskTests(BackupCase):
    """R6: less room than is needed."""

    async def test_no_room(self) -> None:
        """R6: with no room for it, a backup or a restore fails in one line and leaves nothing of itself."""
        small = small_disk(self)
        suite = await self.suite()
        await self.said(suite, 3_000_000)
        file = self.place()
        config = ("--config", suite.config)
        await self.run_program(*config, file)

        await self.fails("No space left on device", *config, small / "suite.tar")
        self.assertEqual(os.listdir(small), [])
        await self.fails("there is room for", "--restore", file, *config, environment=data(small / "data"))
        self.assertEqual(os.listdir(small / "data"), ["lock"])
        stream = {"input": file.read_bytes(), "environment": data(small / "new")}
        await self.fails("No space left on device", "--restore", "-", *config, **stream)
        self.assertEqual(os.listdir(small), ["data"])

        filler = fill(small)
        os.truncate(filler, filler.stat().st_size - 40_000)  # too little for the database
        await self.fails("TMPDIR", "--verify", file, environment={"TMPDIR": str(small)})
        await self.fails("no room for a copy of the database", *config, small / "suite.tar")
        await self.fails("no room", *config, "-", environment={"TMPDIR": str(small)})
        self.assertEqual(sorted(os.listdir(small)), ["data", "filler"])


class TerminalTests(BackupCase):
    """A person looks on."""

    async def test_bar(self) -> None:
        """On a terminal a bar shows how far it is, and a line what was made."""
        suite = await self.suite()
        await self.said(suite, 5_000_000)
        file = self.place()
        for arguments in (("--config", suite.config, file), ("--verify", file)):
            leader, follower = pty.openpty()
            self.addCleanup(os.close, leader)
            fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
            run = self.program(*arguments, descriptors={2: follower})
            os.close(follower)
            self.assertEqual(await run.exit(), 0, run.story())
            shown = left_on(leader)
            self.assertIn("%|", shown)
            self.assertIn("suite.tar", shown + "".join(run.output))


def data(folder: Path) -> dict[str, str]:
    """The environment in which a suite's data are there."""
    return {"PROTOSUITE_SUITE_DATA": str(folder)}
