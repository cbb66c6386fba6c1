"""A backup that is made: of one moment, whole or not at all, over nothing."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from io import BytesIO, RawIOBase
from pathlib import Path
from random import Random

from protosuite import mediachat
from protosuite.backup import making
from protosuite.backup.contents import Contents
from protosuite.backup.making import make, pour
from protosuite.backup.packing import Packed, Reading, Source, pack
from protosuite.backup.snapshot import copy_database
from protosuite.program import Failed
from protosuite.test.backups import NOW, BackupCase, Noted, rows


class SnapshotTests(BackupCase):
    """A copy of the database."""

    def test_of_one_moment(self) -> None:
        """R9: what is committed while the copy is made is not in it, and does not make it begin again."""
        self.execute("CREATE TABLE filling (content BLOB)")
        for n in range(5):
            self.execute("INSERT INTO filling VALUES (?)", Random(n).randbytes(1 << 20))
        before = rows(self.source.database)
        target = self.folder / "copy"
        steps: list[int] = []

        def write(count: int) -> None:
            steps.append(count)
            self.append("main", 1)
            self.execute("DELETE FROM filling")  # and so every page of it is another

        copy_database(self.source.database, target, write)
        self.assertGreater(len(steps), 4)
        self.assertEqual(sum(steps), target.stat().st_size)
        self.assertEqual(rows(target), before)
        with Contents(target) as contents:
            contents.check()

    def test_of_what_is_not_in_the_file_yet(self) -> None:
        """R9: what was committed and is in the write-ahead log alone is in the copy."""
        with closing(sqlite3.connect(self.source.database, isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT * FROM counter").fetchone()  # nothing is moved out of the log meanwhile
            self.append("main", 1)
            target = self.folder / "copy"
            copy_database(self.source.database, target)
        self.assertEqual(rows(target), rows(self.source.database))

    def test_the_source_stays_as_it_is(self) -> None:
        """A database that no suite has open is read, and not written."""
        self.database.close()
        before = self.source.database.read_bytes()
        copy_database(self.source.database, self.folder / "copy")
        self.assertEqual(self.source.database.read_bytes(), before)


class MakingTests(BackupCase):
    """A backup as a file."""

    def setUp(self) -> None:
        super().setUp()
        self.target = self.folder / "backups" / "suite.tar"
        self.target.parent.mkdir()
        self.progress = Noted()

    def pack(self, write: Callable[[bytes], object], folder: Path) -> Packed:
        return pack(self.source, write, folder, NOW, self.progress)

    def make(self, force: bool = False) -> Packed:
        return make(self.pack, self.target, force)

    def refused(self, why: str, force: bool = False) -> None:
        """It is not made, and what is there stays as it is."""
        before = sorted(self.target.parent.iterdir()) if self.target.parent.is_dir() else []
        with self.assertRaises(Failed) as caught:
            self.make(force)
        self.assertIn(why, str(caught.exception))
        if before:
            self.assertEqual(sorted(self.target.parent.iterdir()), before)

    def test_a_file(self) -> None:
        """R9: there is one file afterwards, which is whole, and which only its owner can read."""
        packed = self.make()
        self.assertEqual(os.listdir(self.target.parent), ["suite.tar"])
        self.assertEqual(stat.S_IMODE(self.target.stat().st_mode), 0o600)
        self.assertEqual((packed.bytes, packed.media), (self.target.stat().st_size, 4))
        self.assertTrue(self.examined(self.target.read_bytes()).is_right)
        self.assertEqual(self.progress.stages, ["copying the database", "checking the database", "writing"])

    def test_written_steadily(self) -> None:
        """A backup that goes to the disk bit by bit as it is written is the same."""
        before = self.backup()
        self.patch(making, "_SYNC", 1000)
        self.make()
        self.assertEqual(len(self.target.read_bytes()), len(before))
        self.assertTrue(self.examined(self.target.read_bytes()).is_right)

    def test_a_stream(self) -> None:
        """R9: the same goes to a stream, with nothing left elsewhere."""
        out = BytesIO()
        pour(self.pack, out)
        self.assertTrue(self.examined(out.getvalue()).is_right)

    def test_over_nothing(self) -> None:
        """A file that is there stays, unless it is to be replaced."""
        self.target.write_text("precious")
        self.refused("is there already: give another name, or --force to replace it")
        self.assertEqual(self.target.read_text(), "precious")
        self.make(force=True)
        self.assertTrue(self.examined(self.target.read_bytes()).is_right)

    def test_over_no_file(self) -> None:
        """What is no file is never replaced; a link leads to what is."""
        self.target.mkdir()
        self.refused("is there, and is no file", force=True)
        self.target.rmdir()
        os.mkfifo(self.target)
        self.refused("is there, and is no file", force=True)
        self.target.unlink()
        real = self.folder / "real.tar"
        self.target.symlink_to(real)
        self.make()
        self.assertTrue(self.target.is_symlink())
        self.assertTrue(self.examined(real.read_bytes()).is_right)

    def test_one_that_came_meanwhile(self) -> None:
        """A file that gets the name while the backup is made stays too."""

        def meanwhile(write: Callable[[bytes], object], folder: Path) -> Packed:
            self.target.write_text("precious")
            return self.pack(write, folder)

        with self.assertRaises(Failed):
            make(meanwhile, self.target, False)
        self.assertEqual(os.listdir(self.target.parent), ["suite.tar"])
        self.assertEqual(self.target.read_text(), "precious")

    def test_nothing_half_done(self) -> None:
        """R6: wherever writing fails or is interrupted, nothing of the backup stays."""
        for error in (OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()):
            for count in (0, 1, 5, 20):

                def failing(
                    write: Callable[[bytes], object],
                    folder: Path,
                    error: BaseException = error,
                    left: int = count,
                ) -> Packed:
                    def limited(data: bytes) -> None:
                        nonlocal left
                        left -= 1
                        if left < 0:
                            raise error
                        write(data)

                    return self.pack(limited, folder)

                with self.assertRaises((Failed, KeyboardInterrupt)) as caught:
                    make(failing, self.target, False)
                if isinstance(error, OSError):
                    self.assertEqual(
                        str(caught.exception), f"cannot write {self.target}: No space left on device"
                    )
                self.assertEqual(os.listdir(self.target.parent), [])

    def test_nowhere_to_write(self) -> None:
        """A folder that is not there is told."""
        self.target = self.folder / "nowhere" / "suite.tar"
        self.refused("nowhere/suite.tar: No such file or directory")

    def test_no_database(self) -> None:
        """Where there is none, none is made."""
        self.source = Source(self.folder, self.folder / "none.sqlite3")
        self.refused("there is no database at")
        self.assertFalse(self.source.database.exists())

    def test_something_else(self) -> None:
        """What is no database, and a database of something else, are told as that."""
        self.source = Source(self.folder, self.folder / "other.sqlite3")
        self.source.database.write_bytes(b"something else" * 1000)
        self.refused("file is not a database")
        self.source.database.unlink()
        with closing(sqlite3.connect(self.source.database)) as connection:
            connection.execute("CREATE TABLE t (x)")
        self.refused("is not a suite's database")

    def test_a_newer_database(self) -> None:
        """R7: what the database means is known to the version that made it."""
        self.execute("UPDATE alembic_version SET version_num = 'x9'")
        self.refused("is of a newer version: run the protosuite-backup of that one")

    def test_a_damaged_database(self) -> None:
        """R7: a database that is damaged takes no other backup's place."""
        self.database.close()
        self.target.write_text("precious")
        content = bytearray(self.source.database.read_bytes())
        place = content.index(b"orders.*")
        page = place // 4096 * 4096
        content[page : page + 12] = b"\xff" * 12
        self.source.database.write_bytes(content)
        self.refused("is damaged", force=True)
        self.assertEqual(self.target.read_text(), "precious")

    def test_media_lost(self) -> None:
        """What is lost is told by its path; the rest is backed up, but not in another backup's place."""
        missing, damaged, *_ = self.media
        self.path(missing).unlink()
        self.path(damaged).write_bytes(b"x")
        packed = self.make()
        self.assertEqual(len(packed.lost), 2)
        self.assertEqual(
            sorted(self.progress.said),
            sorted([f"{self.path(missing)} is missing", f"{self.path(damaged)} is damaged"]),
        )
        self.assertEqual(self.examined(self.target.read_bytes()).problems, [])
        self.refused("may have what is lost, and is left as it was", force=True)

    def test_media_that_cannot_be_read(self) -> None:
        """A file that is there and may not be read is a mistake to mend, not a loss."""
        path = self.path(self.media[0])
        path.unlink()
        path.mkdir()
        self.refused(f"cannot read {path}: Is a directory")

    def test_media_that_the_disk_has_lost(self) -> None:
        """A file that the disk cannot read any further ends there, and the rest of the backup follows."""

        class Worn(RawIOBase):
            def __init__(self) -> None:
                self._is_worn = False

            def read(self, size: int = -1) -> bytes:
                if self._is_worn:
                    raise OSError(errno.EIO, "Input/output error")
                self._is_worn = True
                return b"readable"

        reading = Reading(Worn())
        self.assertEqual([reading.read(100) for _ in range(3)], [b"readable", b"", b""])
        self.assertEqual(reading.error, "Input/output error")

    def test_interrupted_while_sqlite_works(self) -> None:
        """A signal that comes while SQLite looks at a database ends that, and is no problem of it."""

        def signalled() -> int:
            raise KeyboardInterrupt

        with Contents(self.source.database) as contents:
            contents.pulse(signalled, 1)
            with self.assertRaises(KeyboardInterrupt):
                contents.check()

    def test_unfinished_uploads(self) -> None:
        """R9: what is on its way is left out, and nothing in the backup speaks of it."""
        (self.source.data / "parts" / "1-abc").write_bytes(b"unfinished")
        data = self.backup()
        self.assertNotIn(b"unfinished", data)
        self.assertTrue(self.examined(data).is_right)

    def test_rows_of_media_are_never_deleted(self) -> None:
        """Why no file that a backup needs can go meanwhile; whoever deletes rows has to think of that."""
        statements = [path.read_text("utf-8") for path in Path(mediachat.__file__).parent.rglob("*.py")]
        self.assertTrue(any("sa.update(chats)" in text for text in statements))
        self.assertFalse(any("delete(messages" in text or "delete(chats" in text for text in statements))

    def test_stored_meanwhile(self) -> None:
        """R9: a message that comes while a backup is made is in it with its file, or not at all."""
        before = len(self.media)
        progress = Noted()
        folder = Path(self.mktemp())
        folder.mkdir()
        out = BytesIO()

        def write(data: bytes) -> None:
            if out.tell() < 5000:
                self.add_media(b"later %d" % out.tell())
            out.write(data)

        pack(self.source, write, folder, NOW, progress)
        report = self.examined(out.getvalue())
        self.assertTrue(report.is_right, report)
        self.assertEqual(report.media, before)
        self.assertGreater(len(self.media), before)
