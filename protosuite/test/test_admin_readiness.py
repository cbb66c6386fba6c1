"""The readiness of the suite: by a clock, with looks that are answered by hand, and with a real database."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protosuite.admin import overseen
from protosuite.admin.checks import Checks
from protosuite.admin.health import checks_of
from protosuite.admin.readiness import Findings, Look, Readiness, is_ready
from protosuite.errors import StorageError
from protosuite.storage import sqlite
from protosuite.storage.measures import touch
from protosuite.storage.workers import Calls
from protosuite.testing import HandWorker, database

TIMEOUT = 2.0


class Question:
    """A look that is answered by hand, and counts how often it is asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0
        self.answer: Deferred[Findings] = Deferred()
        self.look = Look((name,), self._ask)

    def _ask(self) -> Deferred[Findings]:
        self.count += 1
        self.answer = Deferred()
        return self.answer

    def say(self, why: str | None = None) -> None:
        """Answer."""
        self.answer.callback({self.name: why})


class ReadinessTests(SynchronousTestCase):
    """Bounded in time, and in what it asks for."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.disk, self.database = Question("disk"), Question("database")
        self.readiness = Readiness([self.disk.look, self.database.look], TIMEOUT, self.clock)

    def looked(self) -> Findings:
        """What a look finds that has all its answers."""
        looking = self.readiness.look()
        for question in (self.disk, self.database):
            if not question.answer.called:
                question.say()
        return self.successResultOf(looking)

    def test_all_is_well(self) -> None:
        """When every answer is there, and not before, the look is over; nothing is left running."""
        looking = self.readiness.look()
        self.disk.say()
        self.assertNoResult(looking)
        self.database.say()
        found = self.successResultOf(looking)
        self.assertTrue(is_ready(found))
        self.assertEqual(found, {"running": None, "disk": None, "database": None})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_something_is_wrong(self) -> None:
        """What is wrong is named, and the rest is not."""
        looking = self.readiness.look()
        self.disk.say("5 bytes are free")
        self.database.say()
        found = self.successResultOf(looking)
        self.assertFalse(is_ready(found))
        self.assertEqual(checks_of(found)["disk"], {"ok": False, "detail": "5 bytes are free"})
        self.assertEqual(checks_of(found)["database"], {"ok": True})

    def test_what_does_not_count(self) -> None:
        """R33: that other nodes are not reached is told, and sends nobody away: no node could be sent to."""
        for shared, reachable in ((False, False), (True, True), (True, False)):
            fabric: Any = SimpleNamespace(is_shared=shared, is_reachable=reachable)
            suite: Any = SimpleNamespace(fabric=fabric)
            readiness = Readiness(overseen.reached(suite), TIMEOUT, self.clock)
            found = self.successResultOf(readiness.look())
            self.assertTrue(is_ready(found))
            self.assertEqual("fabric" in found, shared)
            self.assertEqual(found.get("fabric") is None, reachable or not shared)

    def test_no_answer(self) -> None:
        """R36: what does not answer is not ready when the time is over, and is asked once all the while."""
        looking = self.readiness.look()
        self.disk.say()
        self.clock.advance(TIMEOUT - 0.1)
        self.assertNoResult(looking)
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(looking)["database"], "no answer for 2 s")
        for _ in range(5):  # from now on nobody waits for it again
            self.clock.advance(3)
            looking = self.readiness.look()
            self.disk.say()
            self.assertFalse(is_ready(self.successResultOf(looking)))
        self.assertEqual((self.database.count, self.disk.count), (1, 6))
        self.database.say()
        self.clock.advance(3)
        self.assertTrue(is_ready(self.looked()))
        self.assertEqual(self.database.count, 2)

    def test_many_ask(self) -> None:
        """Whoever asks while a look is under way, or just behind it, gets its answer: there is no second."""
        waiting = [self.readiness.look() for _ in range(100)]
        self.disk.say()
        self.database.say()
        self.assertEqual(len([self.successResultOf(each) for each in waiting]), 100)
        self.clock.advance(0.9)
        self.successResultOf(self.readiness.look())
        self.assertEqual(self.database.count, 1)
        self.clock.advance(0.2)
        self.looked()
        self.assertEqual(self.database.count, 2)

    def test_a_look_that_fails(self) -> None:
        """A failure of the storage is told in its words; of another one nothing but that there was one."""
        looking = self.readiness.look()
        self.disk.answer.errback(OSError(5, "Input/output error"))
        self.database.answer.errback(StorageError("the database cannot be used: disk I/O error"))
        found = self.successResultOf(looking)
        self.assertEqual(found["disk"], "Input/output error")
        self.assertEqual(found["database"], "the database cannot be used: disk I/O error")
        self.clock.advance(3)
        looking = self.readiness.look()
        self.disk.answer.errback(ZeroDivisionError("a secret"))
        self.database.say()
        self.assertEqual(self.successResultOf(looking)["disk"], "the check itself failed")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_look_that_raises(self) -> None:
        """A look that raises at once ends the others no earlier."""

        def ask() -> Deferred[Findings]:
            raise OSError(13, "Permission denied")

        readiness = Readiness([Look(("file",), ask), self.disk.look], TIMEOUT, self.clock)
        looking = readiness.look()
        self.assertNoResult(looking)
        self.disk.say()
        self.assertEqual(self.successResultOf(looking)["file"], "Permission denied")

    def test_a_stop(self) -> None:
        """From the beginning of a stop on it is not ready, also for those who ask just behind a look."""
        self.assertTrue(is_ready(self.looked()))
        self.readiness.stop()
        self.assertEqual(self.successResultOf(self.readiness.look())["running"], "the suite stops")

    def test_figures(self) -> None:
        """Each check is 1 or 0; what was not looked at yet is 0."""

        def values() -> dict[tuple[str, ...], object]:
            [figure] = self.readiness.figures()
            return dict(figure.samples)

        self.assertEqual(values()[("disk",)], 0.0)
        self.looked()
        self.assertEqual(values(), {("running",): 1.0, ("disk",): 1.0, ("database",): 1.0})


class CheckTests(SynchronousTestCase):
    """The looks themselves, at a real database."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.writer = HandWorker(at_once=True)
        self.database = database(str(self.folder), self.writer)
        self.clock = Clock()
        calls = Calls(HandWorker(at_once=True), lambda call, *arguments: call(*arguments))
        self.checks = Checks(self.database, self.folder, 0, calls)
        self.readiness = Readiness(self.checks.looks(), TIMEOUT, self.clock)

    def tearDown(self) -> None:
        self.database.close()

    def found(self) -> Findings:
        """What all looks find now."""
        self.clock.advance(5)
        return self.successResultOf(self.readiness.look())

    def test_all_is_well(self) -> None:
        """A database at work is ready, in every respect."""
        found = self.found()
        self.assertEqual(set(found), {"running", "database", "schema", "writes", "disk", "file"})
        self.assertTrue(is_ready(found), found)
        names = [figure.name for figure in self.checks.figures()]
        self.assertEqual(names, ["disk_free_bytes", "database_size_bytes"])

    def test_an_idle_database_is_written_to(self) -> None:
        """Where nothing has been written for a while a write is tried; where something was, none is."""
        seconds = [100.0]
        self.database.clock = lambda: seconds[0]
        self.found()
        count = self.database.measures.commit_requests.count
        seconds[0] += 4
        self.found()
        self.assertEqual(self.database.measures.commit_requests.count, count)
        seconds[0] += 2
        self.found()
        self.assertEqual(self.database.measures.commit_requests.count, count + 1)

    def test_a_stuck_writer(self) -> None:
        """A write that does not come back is what is wrong; reads go on."""
        self.assertTrue(is_ready(self.found()))
        self.database.clock = lambda: 1e12  # long ago
        self.writer.at_once = False
        looking = self.readiness.look()
        self.clock.advance(5)
        looking = self.readiness.look()
        self.clock.advance(TIMEOUT)
        found = self.successResultOf(looking)
        self.assertEqual([name for name, why in found.items() if why], ["writes"])

    def test_a_write_has_failed(self) -> None:
        """What failed lately is not ready, whatever was written just before, until a write works again."""
        self.assertTrue(is_ready(self.found()))
        self.database.clock = lambda: self.database._written  # just now
        self.pragma("query_only = ON")
        self.failureResultOf(self.database.write(touch), StorageError)
        self.assertIn("readonly", self.found()["writes"] or "")
        self.pragma("query_only = OFF")
        self.assertTrue(is_ready(self.found()))

    def pragma(self, text: str) -> None:
        """Set something of the connection that writes."""
        writing: Any = self.database._writes
        with writing._connected() as connection:  # begins no transaction
            sqlite.driver(connection).execute(f"PRAGMA {text}")

    def test_another_schema(self) -> None:
        """A schema that is not this version's is named."""
        with self.database.at_start() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
        self.assertIn("the schema is 0001, not ", self.found()["schema"] or "")

    def test_no_room(self) -> None:
        """A disk with less than `min_free` is not ready."""
        self.checks.min_free = 1 << 60
        self.assertIn(f"{1 << 60} must be", self.found()["disk"] or "")

    def test_the_file_is_gone(self) -> None:
        """The file of the database is gone, or another one is in its place, or it is back."""
        self.assertTrue(is_ready(self.found()))
        file, away = self.folder / "test.sqlite3", self.folder / "away"
        file.rename(away)
        self.assertEqual(self.found()["file"], "the file of the database is gone")
        file.write_bytes(away.read_bytes())
        self.assertEqual(self.found()["file"], "the file of the database is not the one that was opened")
        away.replace(file)
        self.assertTrue(is_ready(self.found()))
