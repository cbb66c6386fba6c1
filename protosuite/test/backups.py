"""A data folder with something of every service in it, and backups of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from protosuite.backup.archive import DATABASE, HEADING, MANIFEST, Advance, Member, Reader, Writer
from protosuite.backup.examining import Report, examine
from protosuite.backup.manifest import Heading, Manifest
from protosuite.backup.packing import Packed, Source, pack
from protosuite.bus.store import BusStore
from protosuite.chatlog.chain import Append
from protosuite.chatlog.store import ChatLogStore
from protosuite.chatlog.wire import ClientAppend
from protosuite.counter.store import CounterStore
from protosuite.mediachat import filing
from protosuite.mediachat.media.folder import MediaFolder
from protosuite.mediachat.store import MediaChatStore
from protosuite.mediachat.tables import New
from protosuite.mediachat.wire import Head
from protosuite.storage import Database
from protosuite.testing import database

NOW = "2026-11-21T03:00:00Z"
MEDIA = (b"one" * 1000, b"\x89PNG\r\n\x1a\n" * 200, b"", bytes(range(256)) * 8)


@define
class Noted:
    """A :class:`~protosuite.backup.progress.Progress` that remembers."""

    stages: list[str] = field(factory=list)
    said: list[str] = field(factory=list)
    dealt_with: int = 0

    def stage(self, what: str, total: int | None) -> Advance:
        self.stages.append(what)
        return self.advance

    def advance(self, count: int) -> None:
        self.dealt_with += count

    def say(self, text: str) -> None:
        self.said.append(text)


class BackupCase(SynchronousTestCase):
    """Every test has a `source` with something of every service in it."""

    source: Source
    database: Database

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        data = self.folder / "data"
        self.database = database(str(data))
        self.addCleanup(self.database.close)
        self.source = Source(data, data / "test.sqlite3")
        self.media: list[str] = []  # the hashes of what was stored, in this order
        self._furnish()

    def done(self, deferred: Deferred[Any]) -> Any:
        """What a store answers."""
        return self.successResultOf(deferred)

    def _furnish(self) -> None:
        self.execute("INSERT INTO numbers_session VALUES ('ana', x'0102030405060708', 20, 7, 1000)")
        self.done(CounterStore(self.database).save(12345))
        self.done(BusStore(self.database).create("billing", "orders.*"))
        self.append("swept", 20)
        self.done(ChatLogStore(self.database, 100).sweep(5, 0))
        self.append("main", 25)
        self.done(ChatLogStore(self.database, 100).tidy())
        self.append("main", 30)  # five of them are new, and not yet where the others are
        store = MediaChatStore(self.database, 1 << 30)
        self.done(store.enter(7, "Europe/Paris", 1))
        self.done(store.add(New(1, "client", "text", 1, text="hello")))
        self.done(store.add(New(1, "client", "file", 1, "discarded", name="late.bin", size=9)))
        with self.database.at_start() as connection:
            filing.file(connection, 2)  # what comes behind them is not filed yet
        for content in MEDIA:
            self.add_media(content)
        self.add_media(MEDIA[0])  # named twice, stored once

    def append(self, room: str, count: int) -> None:
        """Append some entries to a room of the chat log."""
        batch = [
            Append(room, "s", ClientAppend(n, "ana", f"entry {n} of {room}", f"k{n}")) for n in range(count)
        ]
        self.done(ChatLogStore(self.database, 100).commit(batch, {room: (room * 32)[:32]}, 1000))

    def unfile(self) -> None:
        """Have no entry of the chat log filed, as if all had just come."""
        for table in ("chatlog_filed", "chatlog_filing"):
            self.execute(f"DELETE FROM {table}")
        self.execute("UPDATE chatlog_room SET head = first - 1, hash = iif(first = 1, epoch, hash)")

    def add_media(self, content: bytes) -> str:
        """Store a media message, as the media chat does."""
        files = MediaFolder(self.source.data)
        files.open()
        part = files.begin(1, Head("a.bin", len(content), "file"), "unique")
        part.write([content])
        stored = part.finish()
        new = New(
            1, "client", "file", 1, name="a.bin", size=stored.size, type=stored.type, sha256=stored.sha256
        )
        self.done(MediaChatStore(self.database, 1 << 30).add(new))
        if stored.sha256 not in self.media:
            self.media.append(stored.sha256)
        return stored.sha256

    def path(self, digest: str) -> Path:
        """Where the suite has a media file."""
        return MediaFolder(self.source.data).path(digest)

    def packed(self, progress: Noted | None = None) -> tuple[bytes, Packed]:
        """A backup of `source`, and what its maker says of it."""
        out = BytesIO()
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        packed = pack(self.source, out.write, folder, NOW, progress or Noted())
        return out.getvalue(), packed

    def backup(self) -> bytes:
        """A backup of `source`."""
        return self.packed()[0]

    def examined(self, data: bytes) -> Report:
        """What a look at a backup finds."""
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        return examine(Reader(BytesIO(data).read, len(data)), folder / "database")

    def execute(self, statement: str, *values: object) -> None:
        """Change the source's database behind the suite's back."""
        with closing(sqlite3.connect(self.source.database, isolation_level=None)) as connection:
            connection.execute(statement, values)


def built(heading: Heading | bytes, content: bytes, *media: tuple[str, bytes]) -> bytes:
    """A backup that is consistent in itself, of whatever: of a database, and files by name."""
    out = BytesIO()
    writer = Writer(out.write)
    text = heading if isinstance(heading, bytes) else heading.encode()
    real = heading if isinstance(heading, Heading) else Heading("1", "1", NOW)
    with Manifest(real, Path()) as manifest:
        for name, data in ((HEADING, text), (DATABASE, content), *media):
            manifest.file(Member(name, len(data)), writer.add(name, len(data), 0, BytesIO(data).read))
        manifest.end()
        writer.add(MANIFEST, manifest.size, 0, manifest.read)
    writer.end()
    return out.getvalue()


def rows(database: Path) -> dict[str, list[Any]]:
    """Every table of a database, with all that is in it."""
    with closing(sqlite3.connect(database)) as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
        ).fetchall()
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in names}


def files(data: Path) -> dict[str, bytes]:
    """Every file below a folder but the database's and the lock."""
    found = {str(path.relative_to(data)): path for path in data.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes() for name, path in found.items() if ".sqlite3" not in name and name != "lock"
    }
