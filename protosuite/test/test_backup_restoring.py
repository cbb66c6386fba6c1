"""A data folder out of a backup: everything that was in it, in an empty folder, or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from protosuite.backup.archive import Reader
from protosuite.backup.examining import Report
from protosuite.backup.manifest import Heading, TooNew
from protosuite.backup.packing import Source
from protosuite.backup.restoring import restore
from protosuite.errors import StartError
from protosuite.program import Failed
from protosuite.storage import migrate
from protosuite.test.backups import NOW, BackupCase, Noted, built, files, rows
from protosuite.testing import database


class RestoringCase(BackupCase):
    """What the tests share."""

    def setUp(self) -> None:
        super().setUp()
        new = self.folder / "new"
        self.target = Source(new, new / "protosuite.sqlite3")

    def restore(self, data: bytes, progress: Noted | None = None, needed: int = 0) -> Report:
        reader = Reader(BytesIO(data).read, len(data))
        return restore(reader, self.target, needed, progress or Noted())

    def refused(self, data: bytes, why: str, error: type[Exception] = Failed) -> None:
        """Nothing is restored, and the folder is as it was."""
        before = self.there()
        with self.assertRaises(error) as caught:
            self.restore(data)
        self.assertIn(why, str(caught.exception))
        self.assertEqual(self.there(), before)

    def there(self) -> list[str]:
        """What is in the folder, without the lock."""
        return sorted(str(path) for path in self.target.data.rglob("*") if path.name != "lock")


class RestoringTests(RestoringCase):
    """All of it."""

    def test_everything(self) -> None:
        """R9: every row of every table and every media file is there again, and nothing besides."""
        report = self.restore(self.backup())
        self.assertTrue(report.is_right)
        self.assertEqual(rows(self.target.database), rows(self.source.database))
        expected = {name: data for name, data in files(self.source.data).items() if name != "parts/.boot"}
        self.assertEqual(files(self.target.data), expected)
        self.assertEqual(sorted(os.listdir(self.target.data)), ["lock", "media", "protosuite.sqlite3"])

    def test_a_suite_can_have_it(self) -> None:
        """R9: afterwards the folder is free, and its database up to date."""
        self.target = Source(self.target.data, self.target.data / "test.sqlite3")
        self.restore(self.backup())
        migrate.take(self.target.data).close()
        restored = database(str(self.target.data))
        self.addCleanup(restored.close)
        self.assertEqual(rows(self.target.database), rows(self.source.database))

    def test_an_older_backup(self) -> None:
        """R8: a backup of an older schema is restored, and brought up to date as a suite starts with it."""
        migrate.downgrade(self.database, "0001")
        self.target = Source(self.target.data, self.target.data / "test.sqlite3")
        self.restore(self.backup())
        restored = database(str(self.target.data))
        self.addCleanup(restored.close)
        self.assertEqual([row[:2] for row in rows(self.target.database)["counter"]], [(1, "12345")])
        self.assertIn("mediachat_message", rows(self.target.database))

    def test_without_media(self) -> None:
        """A backup without media makes a folder without."""
        for table in ("filed", "filing", "message"):
            self.execute(f"DELETE FROM mediachat_{table}")
        self.restore(self.backup())
        self.assertFalse((self.target.data / "media").exists())

    def test_a_folder_that_is_as_good_as_empty(self) -> None:
        """A lock that was left, empty folders and what a file system begins with do not matter."""
        for name in ("media", "parts", "lost+found"):
            (self.target.data / name).mkdir(parents=True)
        (self.target.data / "lost+found" / "#1").write_text("x")
        (self.target.data / "lock").write_text("7\n")
        self.restore(self.backup())
        self.assertEqual(rows(self.target.database), rows(self.source.database))

    def test_a_database_elsewhere(self) -> None:
        """A database that the configuration has outside of the data folder goes there."""
        self.target = Source(self.target.data, self.folder / "else" / "where.sqlite3")
        self.restore(self.backup())
        self.assertEqual(os.listdir(self.folder / "else"), ["where.sqlite3"])
        self.assertEqual(rows(self.target.database), rows(self.source.database))

    def test_it_belongs_to_whom_the_folder_does(self) -> None:
        """What root restores belongs to whom the folder does, for whom the suite runs."""
        if os.geteuid() != 0:
            return
        self.target.data.mkdir()
        os.chown(self.target.data, 12345, 12346)
        self.restore(self.backup())
        for path in self.target.data.rglob("*"):
            self.assertEqual((path.stat().st_uid, path.stat().st_gid), (12345, 12346), path)

    def test_what_was_lost_before(self) -> None:
        """What the suite had lost when it was backed up does not keep the rest from coming back."""
        missing, damaged, *others = self.media
        self.path(missing).unlink()
        self.path(damaged).write_bytes(b"x")
        self.execute("UPDATE chatlog_log SET content = 'forged' WHERE room = 2 AND slot = 3")
        report = self.restore(self.backup())
        self.assertEqual(
            (report.missing, report.damaged, len(report.chains.broken)), ([missing], [damaged], 1)
        )
        there = {name.replace("media", "").replace("/", "") for name in files(self.target.data)}
        self.assertEqual(there, set(others))


class RefusalTests(RestoringCase):
    """Nothing of it."""

    def test_a_folder_that_is_not_empty(self) -> None:
        """R7: nothing is ever overwritten: what is there is named, with what to do."""
        data = self.backup()
        for name in ("media/ab/cd", "protosuite.sqlite3", "notes", "parts/1-x"):
            path = self.target.data / name
            path.parent.mkdir(parents=True)
            path.write_text("precious")
            self.refused(data, "is not empty, it has")
            self.assertEqual(path.read_text(), "precious")
            shutil.rmtree(self.target.data)
        self.target.data.mkdir()
        (self.target.data / "media").symlink_to(self.folder)
        self.refused(data, "is not empty, it has media: move what is in it elsewhere")

    def test_a_database_in_the_way(self) -> None:
        """R7: nor is a database elsewhere, or what SQLite or another restore left beside it."""
        data = self.backup()
        place = self.folder / "elsewhere.sqlite3"
        self.target = Source(self.target.data, place)
        for end in ("", "-wal", "-journal", "-shm", ".restoring"):
            path = Path(f"{place}{end}")
            path.write_text("precious")
            self.refused(data, f"{path} is in the way")
            self.assertEqual(path.read_text(), "precious")
            path.unlink()

    def test_a_folder_in_use(self) -> None:
        """A folder that a suite uses is refused."""
        with migrate.take(self.target.data):
            self.refused(self.backup(), "is in use by process", StartError)

    def test_no_suite_starts_meanwhile(self) -> None:
        """While a backup is restored no suite starts there."""
        case = self

        class Starting(Noted):
            def stage(self, what: str, total: int | None) -> Callable[[int], object]:
                with case.assertRaises(StartError):
                    migrate.take(case.target.data)
                return super().stage(what, total)

        progress = Starting()
        self.restore(self.backup(), progress)
        self.assertEqual(progress.stages, ["syncing"])

    def test_half_a_restore(self) -> None:
        """After a crash in the middle neither a suite nor another restore takes the folder; both say why."""
        (self.target.data / "restoring").mkdir(parents=True)
        why = "did not finish: empty the folder, and restore again"
        self.refused(self.backup(), why, StartError)
        with self.assertRaises(StartError) as caught:
            migrate.take(self.target.data)
        self.assertIn(why, str(caught.exception))

    def test_a_damaged_backup(self) -> None:
        """R9: a backup that came to harm is refused whole, wherever the harm is."""
        data = self.backup()
        for place in (10, 600, 2000, 50_000, len(data) - 12_000, len(data) - 1):
            self.refused(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], "")
        self.refused(data[:-20_000], "")
        self.refused(b"", "it is cut off at byte 0")
        self.target.data.mkdir()
        self.refused(data[:-20_000], "")

    def test_a_newer_backup(self) -> None:
        """R7: a backup of a newer version is refused with the version that it takes."""
        self.refused(built(Heading("9.9", "x9", NOW), b""), "use protosuite 9.9", TooNew)

    def test_no_room(self) -> None:
        """R6: where there is not enough room for it, that is said before anything is written."""
        with self.assertRaises(Failed) as caught:
            self.restore(self.backup(), needed=1 << 60)
        self.assertIn(
            f"the backup has {1 << 60} bytes, and in {self.target.data} there is room for",
            str(caught.exception),
        )

    def test_interrupted(self) -> None:
        """Interrupted at any moment it leaves nothing behind."""
        data = self.backup()
        self.target.data.mkdir()
        for after in range(1, 12, 2):
            source, left = BytesIO(data), after

            def read(most: int) -> bytes:
                nonlocal left
                left -= 1
                if left < 0:
                    raise KeyboardInterrupt
                return source.read(most)  # noqa: B023 - it is called at once

            with self.assertRaises(KeyboardInterrupt):
                restore(Reader(read), self.target, 0, Noted())
            self.assertEqual(self.there(), [])

    def test_nothing_half_placed(self) -> None:
        """If the database cannot get its name, the media lose theirs again."""
        target = self.target = Source(self.target.data, self.folder / "else" / "where.sqlite3")

        class Meanwhile(Noted):
            def stage(self, what: str, total: int | None) -> Callable[[int], object]:
                target.database.mkdir()  # somebody else's
                return super().stage(what, total)

        with self.assertRaises(Failed):
            self.restore(self.backup(), Meanwhile())
        self.assertEqual(self.there(), [])
        self.assertEqual(os.listdir(self.folder / "else"), ["where.sqlite3"])
