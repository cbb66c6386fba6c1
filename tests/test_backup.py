"""R9: backups of a suite under load, by the program, and suites that start from them."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import random
import sqlite3
import struct
import subprocess
import termios
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.trial.unittest import TestCase

from protosuite.bus import bus_pb2 as pb
from tests import chatlog_peers, mediachat_peers
from tests.peers import add, connect, stored_total, undisturbed
from tests.processes import BIN, LIMIT, Program, Suite, poll, together
from tests.requirements import require, require_root
from tests.test_bus import Publisher, Subscriber, bus_peer
from tests.test_counter_faults import Adder, Tally
from tests.test_mediachat_faults import Chatter

BACKUPS = 4  # under one load
FOLDERS = "suite.tar.partial-*"  # what a backup works in


@define
class Acknowledged:
    """What a suite has told its clients that it has, at one moment."""

    entries: dict[str, int]  # slots by key
    messages: dict[int, str]  # keys by id
    plain: set[int]  # ids of media without a key
    total: int
    events: set[bytes]
    sessions: dict[str, int]  # how many numbers, by client


@define
class Load:
    """Clients of every service, all of them at work, and what they have been told."""

    case: TestCase
    suite: Suite
    writers: list[chatlog_peers.Writer] = field(factory=list)
    chatters: list[Chatter] = field(factory=list)
    adders: list[Adder] = field(factory=list)
    tally: Tally = field(factory=Tally)
    publisher: Publisher | None = None
    sessions: dict[str, int] = field(factory=dict)
    over: Deferred[Any] | None = None
    is_over: bool = False

    async def begin(self, seed: int) -> None:
        """Let them come."""
        case, suite, chance = self.case, self.suite, random.Random(seed)
        self.writers = [chatlog_peers.Writer(suite, f"w{n}") for n in range(4)]
        self.chatters = [Chatter(n, seed + n) for n in (1, 2)]
        self.adders = [Adder(self.tally, depth, chance) for depth in (1, 8)]
        subscriber = await bus_peer(case, suite)
        first = pb.Publish(topic="fault.first", payload=b"first")
        subscriber.tell(pb.Subscribe(pattern="fault.#", durable="faults"), first)
        await subscriber.until(lambda: bool(subscriber.messages))
        await subscriber.abort()  # what is published from now on is owed to it, and stays
        self.publisher = Publisher(case)
        await self.publisher.connect(suite)
        working = [each.stay() for each in self.writers]
        working += [each.talk(case, suite) for each in self.chatters]
        working += [self._open_sessions()]
        self.over = Deferred.fromCoroutine(together(working))
        await together(connect(case, suite.counter, adder) for adder in self.adders)

    async def goes_on(self) -> None:
        """Wait until something more of everything has been acknowledged."""
        before = self._counts()
        await poll(
            lambda: all(now > then for now, then in zip(self._counts(), before, strict=True)),
            "each service acknowledges something more",
        )

    def acknowledged(self) -> Acknowledged:
        """All of it until now."""
        assert self.publisher is not None
        sent = [each.sent for each in self.chatters]
        return Acknowledged(
            {key: slot for writer in self.writers for key, slot in writer.acknowledged.items()},
            {id: key for each in sent for key, id in each.saved.items()},
            {id for each in sent for id in each.nameless},
            self.tally.highest,
            set(self.publisher.confirmed),
            dict(self.sessions),
        )

    async def end(self) -> None:
        """The suite is dead: nobody comes back."""
        self.is_over = True
        for writer in self.writers:
            writer.leave()
        assert self.over is not None
        await self.over

    def _counts(self) -> list[int]:
        now = self.acknowledged()
        media = (len(now.messages), len(now.plain))
        return [len(now.entries), *media, len(now.events), len(now.sessions), self.tally.answers]

    async def _open_sessions(self) -> None:
        while not self.is_over:
            client = f"client-{len(self.sessions)}"
            try:
                peer = await connect(self.case, self.suite.numbers)
                peer.say("start", client=client)
                self.sessions[client] = (await peer.message())["count"]
            except (AssertionError, ConnectError):  # the suite is gone
                return
            await peer.abort()


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
        seed = random.getrandbits(32)
        note = f"seed {seed}"
        suite = await self.suite(counter={"durability": "always"})
        load = Load(self, suite)
        await load.begin(seed)
        backups: list[tuple[Path, Acknowledged]] = []
        for _ in range(BACKUPS):
            await load.goes_on()
            file, before = self.place(), load.acknowledged()
            await self.run_program("--config", suite.config, file)
            backups.append((file, before))
        await load.goes_on()
        await suite.kill()
        await load.end()
        for file, before in backups:
            restored = await self.restored(file)
            self.check(restored, before, note)
        await self.serves(restored, before, undisturbed(restored), note)

        # What a kill left can be backed up too: all of it is there.
        file = self.place()
        await self.run_program("--config", suite.config, file)
        self.check(await self.restored(file), load.acknowledged(), note)

    async def restored(self, file: Path) -> Suite:
        """A suite, which does not run, with a backup in its data folder."""
        found = await self.run_program("--verify", file)
        self.assertIn("all is right", found.output[0])
        suite = Suite(self, mediachat=mediachat_peers.OPEN, counter={"durability": "always"})
        await self.run_program("--restore", file, "--config", suite.config)
        return suite

    def check(self, suite: Suite, wanted: Acknowledged, note: str) -> None:
        """Hold that all that was acknowledged is in the data folder, and is right."""
        slots = {str(entry.key): entry.slot for entry in chatlog_peers.assert_sound(self, suite, note)}
        self.assertEqual({key: slots.get(key) for key in wanted.entries}, wanted.entries, note)
        rows = mediachat_peers.rows(suite)
        keys = {row[0]: row[6] for row in rows}
        self.assertEqual({id: keys.get(id) for id in wanted.messages}, wanted.messages, note)
        self.assertEqual(wanted.plain - keys.keys(), set(), note)
        files = mediachat_peers.files(suite)
        self.assertEqual(files.keys(), {row[5] for row in rows if row[5]}, note)
        for name, path in files.items():
            self.assertEqual(sha256(path.read_bytes()).hexdigest(), name, note)
        self.assertGreaterEqual(stored_total(suite), wanted.total, note)
        with closing(sqlite3.connect(suite.data / "protosuite.sqlite3")) as connection:
            owed = {payload for (payload,) in connection.execute("SELECT payload FROM bus_owed")}
        self.assertEqual(wanted.events - owed, set(), note)
        counts = {client: whole.count for client, whole in undisturbed(suite).items()}
        self.assertEqual(wanted.sessions.items() - counts.items(), set(), note)

    async def serves(self, suite: Suite, wanted: Acknowledged, streams: dict[str, Any], note: str) -> None:
        """Hold that a suite that starts from it gives all of it to its clients."""
        await suite.start()
        reader = chatlog_peers.Reader(suite)
        done = Deferred.fromCoroutine(reader.stay())
        await reader.reaches(max(wanted.entries.values()))
        self.assertEqual({key: self.slot(reader, key) for key in wanted.entries}, wanted.entries, note)
        reader.leave()
        await done
        subscriber = Subscriber(self)
        await subscriber.connect(suite)
        assert subscriber.peer is not None
        await subscriber.peer.until(lambda: wanted.events <= subscriber.acknowledged)
        await subscriber.peer.abort()
        self.assertGreaterEqual(await add(self, suite), wanted.total, note)
        for id, _, _, text, _, digest, _ in mediachat_peers.rows(suite)[-20:]:
            if digest is not None:
                status, _, body = await mediachat_peers.ask(self, suite, "GET", f"/media/{id}")
                self.assertEqual((status, sha256(body).hexdigest()), (200, digest), note)
            else:
                self.assertIsNotNone(text, note)
        client, count = next(iter(wanted.sessions.items()))
        peer = await connect(self, suite.numbers)
        peer.say("start", client=client)
        self.assertEqual((await peer.message())["count"], count, note)
        first = await peer.message()
        self.assertEqual(first["value"], streams[client].values[0], note)
        self.assertEqual(await suite.terminate(), 0)

    @staticmethod
    def slot(reader: chatlog_peers.Reader, key: str) -> int | None:
        return next((slot for slot, entry in reader.entries.items() if entry.get("key") == key), None)

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
    """R6: a file system of two megabytes, and more than that to write."""

    def mounted(self) -> Path:
        """A file system of its own, which goes with the test."""
        require_root()
        require("mount", "umount")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
        self.addCleanup(lambda: subprocess.run(["umount", folder], check=True))
        return folder

    async def test_no_room(self) -> None:
        """R6: with no room for it, a backup or a restore fails in one line and leaves nothing of itself."""
        small = self.mounted()
        suite = await self.suite()
        await self.said(suite, 3_000_000)
        file = self.place()
        await self.run_program("--config", suite.config, file)
        config = ("--config", suite.config)

        await self.fails("No space left on device", *config, small / "suite.tar")
        self.assertEqual(os.listdir(small), [])
        await self.fails("there is room for", "--restore", file, *config, environment=data(small / "data"))
        self.assertEqual(os.listdir(small / "data"), ["lock"])
        stream = {"input": file.read_bytes(), "environment": data(small / "new")}
        await self.fails("No space left on device", "--restore", "-", *config, **stream)
        self.assertEqual(os.listdir(small), ["data"])

        filler = small / "filler"
        filler.write_bytes(bytes(2_050_000))
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
            shown = os.read(leader, 1 << 16).decode()
            self.assertIn("%|", shown)
            self.assertIn("suite.tar", shown + "".join(run.output))


def data(folder: Path) -> dict[str, str]:
    """The environment in which a suite's data are there."""
    return {"PROTOSUITE_SUITE_DATA": str(folder)}
