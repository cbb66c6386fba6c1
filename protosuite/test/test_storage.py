"""The database: group commit, failures, the data folder and the schema."""

from __future__ import annotations

import gc
import io
import shutil
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Connection, MetaData, Table, create_engine, select, text
from sqlalchemy.exc import IntegrityError
from twisted.trial.unittest import SynchronousTestCase

import protosuite.auth.revocations
import protosuite.bus.store
import protosuite.chatlog.store
import protosuite.counter.store
import protosuite.mediachat.store
import protosuite.numbers.store
import protosuite.storage.marks  # noqa: F401 - declares its table
from protosuite.counter.store import counter
from protosuite.errors import Overloaded, StartError, StorageError, StorageFull
from protosuite.storage import damage, metadata, migrate, sqlite
from protosuite.storage.schema import HEAD, is_on
from protosuite.storage.workers import Calls, Threads
from protosuite.testing import HandWorker, database


def put(key: str) -> Any:
    """Work that stores a key, which must be new, and returns it."""

    def work(connection: Connection) -> str:
        connection.execute(text("INSERT INTO thing VALUES (:key)"), {"key": key})
        return key

    return work


class Fixture(SynchronousTestCase):
    open_database = staticmethod(database)  # as tests with another engine replace it

    def setUp(self) -> None:
        self.folder = self.mktemp()
        self.writer = HandWorker()
        self.database = self.open_database(self.folder, self.writer, max_queue=5)
        self.addCleanup(self.database.close)
        with self.database.at_start() as connection:
            connection.exec_driver_sql("CREATE TABLE thing (key TEXT PRIMARY KEY)")

    def keys(self) -> list[str]:
        """What another connection sees."""
        return self.successResultOf(
            self.database.read(
                lambda c: [k for (k,) in c.exec_driver_sql("SELECT key FROM thing ORDER BY key")]
            )
        )


class GroupCommitTests(Fixture):
    """Many requests, one commit."""

    def test_answered_after_the_commit(self) -> None:
        """Nothing is answered, or seen by others, before the commit; then all is, in order."""
        order: list[str] = []
        answers = [self.database.write(put(key)).addCallback(order.append) for key in "abc"]
        self.assertEqual((self.keys(), order), ([], []))
        self.assertEqual(self.writer.run(), 1)
        self.assertEqual((self.keys(), order), (["a", "b", "c"], ["a", "b", "c"]))
        for answer in answers:
            self.successResultOf(answer)

    def test_one_that_fails_fails_alone(self) -> None:
        """A statement at fault takes nothing else of its group with it."""
        answers = [self.database.write(put(key)) for key in "aba"]
        self.writer.run()
        self.assertEqual([self.successResultOf(a) for a in answers[:2]], ["a", "b"])
        self.failureResultOf(answers[2], IntegrityError)
        self.assertEqual(self.keys(), ["a", "b"])

    def test_one_that_fails_costs_no_commit(self) -> None:
        """R17: who asks for what cannot be does not make the others of its group wait for a commit each."""

        def wrong(connection: Connection) -> None:
            put("x")(connection)
            raise LookupError("not there")

        works = [put("a"), wrong, put("b"), put("a"), put("c")]
        answers = [self.database.write(work) for work in works]
        self.writer.run()
        self.assertEqual(self.database.measures.commit_requests.count, 1)
        self.failureResultOf(answers[1], LookupError)
        self.failureResultOf(answers[3], IntegrityError)
        self.assertEqual([self.successResultOf(answers[i]) for i in (0, 2, 4)], ["a", "b", "c"])
        self.assertEqual(self.keys(), ["a", "b", "c"])

    def test_what_it_raises_is_what_the_caller_gets(self) -> None:
        """An exception of the work's own reaches its caller, and its changes do not stay."""

        def work(connection: Connection) -> None:
            put("a")(connection)
            raise LookupError("not there")

        answer = self.database.write(work)
        self.writer.run()
        self.failureResultOf(answer, LookupError)
        self.assertEqual(self.keys(), [])

    def test_what_comes_during_a_commit(self) -> None:
        """Requests made while a group is being committed are in the next one, without another wake-up."""

        def work(connection: Connection) -> None:
            if not late:
                late.append(self.database.write(put("late")))

        late: list[Any] = []
        self.database.write(work)
        self.assertEqual(self.writer.run(), 1)
        self.assertEqual(self.successResultOf(late[0]), "late")

    def test_cancelled(self) -> None:
        """A caller that does not wait any more is not told, and its work may still be done."""
        answer = self.database.write(put("a"))
        answer.cancel()
        self.failureResultOf(answer)
        self.writer.run()
        self.assertEqual(self.keys(), ["a"])

    def test_bounded(self) -> None:
        """A write above `max_queue` fails at once; after a commit there is room again."""
        answers = [self.database.write(put(str(i))) for i in range(6)]
        self.failureResultOf(answers[5], Overloaded)
        self.writer.run()
        self.database.write(put("x"))
        self.writer.run()
        self.assertEqual(len(self.keys()), 6)

    def test_a_read_that_fails(self) -> None:
        """A read that the storage fails says nothing of writes: of those only the last one does."""

        def lost(connection: Connection) -> None:
            raise StorageError("the database cannot be reached")

        self.failureResultOf(self.database.read(lost), StorageError)
        self.assertTrue(self.database.accepts_writes)
        writing = self.database.write(lost)
        self.writer.run()
        self.failureResultOf(writing, StorageError)
        self.assertFalse(self.database.accepts_writes)
        self.assertEqual(self.database.measures.failures, 1)
        self.database.write(put("a"))
        self.writer.run()
        self.assertTrue(self.database.accepts_writes)

    def test_readers_cannot_write(self) -> None:
        """A reader's connection refuses to write."""
        self.assertRegex(str(self.failureResultOf(self.database.read(put("a"))).value), "read-?only")


class FileTests(Fixture):
    """What SQLite alone has: a disk and a log of its own."""

    def test_what_needs_no_connection(self) -> None:
        """What only needs a thread is done, and fails as it does, while the database is away, too."""
        self.database.close()
        shutil.rmtree(self.folder)
        self.failureResultOf(self.database.read(lambda connection: None), StorageError)
        self.assertEqual(self.successResultOf(self.database.compute(lambda: 1 + 1)), 2)
        self.failureResultOf(self.database.compute(lambda: 1 // 0), ZeroDivisionError)

    def test_full_disk(self) -> None:
        """R6: with no room writes fail as such and reads go on; with room again writes succeed."""
        with self.database.at_start() as connection:
            (pages,) = connection.exec_driver_sql("PRAGMA page_count").one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        answers = [self.database.write(put(c * 9000)) for c in "ab"]
        self.writer.run()
        for answer in answers:
            self.failureResultOf(answer, StorageFull)
        self.assertEqual(self.keys(), [])
        with self.database.at_start() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 100000")
        again = self.database.write(put("a" * 9000))
        self.writer.run()
        self.successResultOf(again)

    def test_what_the_driver_raises(self) -> None:
        """R6: work that asks the driver itself fails as any does, changes nothing then, and works again."""

        def fill(connection: Connection) -> None:
            for key in ("a", "b" * 9000):
                sqlite.driver(connection).execute("INSERT INTO thing VALUES (?)", (key,))

        with self.database.at_start() as connection:
            (pages,) = connection.exec_driver_sql("PRAGMA page_count").one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        for group in ([fill], [put("c"), fill]):
            answers = [self.database.write(work) for work in group]
            self.writer.run()
            for answer in answers:
                self.failureResultOf(answer, StorageFull)
        self.assertEqual(self.keys(), [])
        with self.database.at_start() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 100000")
        answers = [self.database.write(work) for work in (fill, put("a"), put("c"))]
        self.writer.run()
        self.failureResultOf(answers[1], IntegrityError)
        self.assertEqual(self.keys(), ["a", "b" * 9000, "c"])

    def test_full_disk_beside_a_fault(self) -> None:
        """R6: where the disk is full and a request is wrong too, nothing of the group stays or is said to."""
        with self.database.at_start() as connection:
            (pages,) = connection.exec_driver_sql("PRAGMA page_count").one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        answers = [self.database.write(put(key)) for key in ("a", "a", "b" * 9000, "c")]
        self.writer.run()
        for answer in answers:
            self.failureResultOf(answer, StorageFull)
        self.assertEqual(self.keys(), [])

    def test_full_sync(self) -> None:
        """The writer's commits are synced in full, in a write-ahead log."""
        with self.database.at_start() as connection:
            settings = [
                connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in ("synchronous", "journal_mode")
            ]
        self.assertEqual(settings, [2, "wal"])


class ThreadsTests(SynchronousTestCase):
    """Work in threads."""

    def test_in_order_and_all_of_it(self) -> None:
        """One thread runs its tasks in order, and a stop waits for all of them."""
        done: list[int] = []
        threads = Threads("test")
        for i in range(100):
            threads.do(lambda i=i: done.append(i))  # type: ignore[misc]
        threads.stop()
        self.assertEqual(done, list(range(100)))

    def test_side_by_side(self) -> None:
        """Several threads work at the same time."""
        barrier = threading.Barrier(3)
        threads = Threads("test", 3)

        def meet() -> None:
            barrier.wait(60)

        for _ in range(3):
            threads.do(meet)
        threads.stop()
        self.assertFalse(barrier.broken)


class CallsTests(SynchronousTestCase):
    """Blocking calls with a way back."""

    def setUp(self) -> None:
        self.worker = HandWorker()
        self.calls = Calls(self.worker, lambda call, *arguments: call(*arguments))

    def test_idle(self) -> None:
        """Who waits for the end of all calls is told once there is none, be it that the last has failed."""
        self.successResultOf(self.calls.idle())
        answer, failing = self.calls.run(int, "7"), self.calls.run(int, "seven")
        waiting = [self.calls.idle(), self.calls.idle()]
        self.worker.tasks.pop(0)()
        self.assertEqual((self.successResultOf(answer), self.calls.under_way), (7, 1))
        self.assertNoResult(waiting[0])
        self.worker.run()
        self.failureResultOf(failing, ValueError)
        for each in waiting:
            self.successResultOf(each)
        self.assertEqual(self.calls.under_way, 0)

    def test_again(self) -> None:
        """A call that is to be repeated goes to the end of the queue, and is under way until it is over."""
        turns: list[str] = []
        left = [True, True, False]

        def again() -> bool:
            turns.append("again")
            return left.pop(0)

        repeated = self.calls.repeat(again)
        waiting = self.calls.idle()
        self.calls.run(turns.append, "other")
        self.worker.tasks.pop(0)()
        self.worker.tasks.pop(0)()
        self.assertNoResult(waiting)
        self.worker.run()
        self.assertEqual(
            (turns, self.successResultOf(repeated)), (["again", "other", "again", "again"], False)
        )
        self.successResultOf(waiting)

        def fail() -> bool:
            raise ValueError("no")

        failing = self.calls.repeat(fail)
        self.worker.run()
        self.failureResultOf(failing, ValueError)
        self.assertEqual(self.calls.under_way, 0)

    def test_nothing_is_kept(self) -> None:
        """What a call was given, which may be a MiB, goes with its answer, not with the next collection."""

        class Given:
            pass

        self.addCleanup(gc.enable)
        gc.disable()
        for begin in (self.calls.run, self.calls.repeat):
            left = [True, False]
            given = Given()
            kept = weakref.ref(given)
            answer = begin(lambda _, left=left: left.pop(0), given)
            del given
            self.worker.run()
            self.successResultOf(answer)
            self.assertIsNone(kept())

    def test_one_call_after_another(self) -> None:
        """It is not idle between a call and the next that whoever waits for it goes on with."""

        def go_on(_: int) -> None:
            self.calls.run(int)

        self.calls.run(int).addCallback(go_on)
        waiting = self.calls.idle()
        self.worker.tasks.pop(0)()
        self.assertNoResult(waiting)
        self.worker.run()
        self.successResultOf(waiting)


class SchemaTests(Fixture):
    """R7 and R8: migrations, and databases that are not ours to touch."""

    def test_migrations_make_the_tables_that_the_stores_declare(self) -> None:
        """R8: after all migrations nothing differs from what the stores say."""
        with self.database.at_start() as connection:
            connection.exec_driver_sql("DROP TABLE thing")
            is_here = {"include_object": lambda item, *_: is_on(item, connection.dialect.name)}
            context = MigrationContext.configure(connection, opts={"compare_type": True, **is_here})
            self.assertEqual(compare_metadata(context, metadata), [])

    def test_the_newest_migration_is_known(self) -> None:
        """The revision that a start compares with is the last of the folder."""
        from alembic.script import ScriptDirectory

        self.assertEqual(ScriptDirectory(migrate._folder()).get_current_head(), HEAD)

    def test_check(self) -> None:
        """R8: ``alembic check`` finds nothing that a migration has not done."""
        from alembic import command
        from alembic.config import Config

        with self.database.at_start() as connection:
            connection.exec_driver_sql("DROP TABLE thing")
            config = Config(stdout=io.StringIO())
            config.set_main_option("script_location", migrate._folder())
            config.attributes["connection"] = connection
            command.check(config)

    def test_down_and_up_again(self) -> None:
        """R8: what is in a table stays in each step down where there is room for it, all in each step up."""
        steps = [*reversed(list(revisions())), "base"]
        for _ in range(2):
            self.fill()
            for step in steps[1:]:
                before = self.rows()
                migrate.downgrade(self.database, step)
                after = self.rows()
                self.assertEqual(after, _kept(before, after), step)
            self.assertEqual(list(self.rows()), ["thing"])
            for step in reversed(steps[:-1]):
                before = self.rows()
                with self.database.at_start() as connection:
                    migrate._alembic(connection, step, up=True)
                after = self.rows()
                self.assertEqual(_kept(after, before), before, step)
                self.fill()
            self.assertTrue(all(self.rows().values()))
            self.empty()

    def reflected(self, connection: Connection) -> list[Table]:
        """The tables as they are, those that others refer to first."""
        found = MetaData()
        found.reflect(connection)
        return [table for table in found.sorted_tables if table.name != "alembic_version"]

    def fill(self) -> None:
        """Put a row into every table that has none."""
        with self.database.at_start() as connection:
            for table in self.reflected(connection):
                if connection.execute(select(table)).first() is None:
                    values = {c.name: _some(c) for c in table.columns}
                    if table.name == "chatlog_recent":
                        values["key"] = "2"  # another one than in chatlog_entry
                    connection.execute(table.insert().values(values))

    def empty(self) -> None:
        with self.database.at_start() as connection:
            for table in reversed(self.reflected(connection)):
                connection.execute(table.delete())

    def rows(self) -> dict[str, list[Any]]:
        """What is in every table; entries of the chat log, for which SQLite had others, under one name."""
        found: dict[str, list[Any]] = {}
        with self.database.at_start() as connection:
            for table in self.reflected(connection):
                is_one = connection.dialect.name == "sqlite" and table.name in _ENTRIES
                name = "chatlog_entry" if is_one else table.name
                rows = [row._asdict() for row in connection.execute(select(table))]
                found[name] = found.get(name, []) + rows
        for entry in found.get("chatlog_entry", []):
            entry.pop("id", None)  # it is of one of those tables
        return found

    def test_a_second_start_changes_nothing(self) -> None:
        """A database that is up to date is left as it is, data included."""
        with self.database.at_start() as connection:
            connection.execute(counter.insert().values(id=1, total="7"))
        migrate.upgrade(self.database)
        with self.database.at_start() as connection:
            self.assertEqual(connection.execute(counter.select()).one().total, "7")

    def test_a_newer_database(self) -> None:
        """One of a version that we do not know is refused with both versions, and stays as it is."""
        with self.database.at_start() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'x9'")
        with self.assertRaises(StartError) as caught:
            migrate.upgrade(self.database)
        self.assertIn("has schema x9, newer than this version", str(caught.exception))
        with self.database.at_start() as connection:
            self.assertEqual(migrate._revision(connection), "x9")


class FileSchemaTests(Fixture):
    """R8: what migrations make of a file."""

    def test_indexes(self) -> None:
        """R8: after all migrations the indexes are on the columns, and on the rows, that the stores say."""
        beside = Path(self.folder, "declared.sqlite3")
        engine = create_engine(f"sqlite:///{beside}")
        metadata.create_all(engine)
        engine.dispose()
        with self.database.at_start() as connection:
            connection.exec_driver_sql("DROP TABLE thing")
            found = _indexes(connection.exec_driver_sql(_INDEXES).all())
        declared = sqlite3.connect(beside)
        self.addCleanup(declared.close)
        expected = _indexes(declared.execute(_INDEXES))
        for table in metadata.tables.values():
            for index in table.indexes:
                if not (is_on(table, "sqlite") and is_on(index, "sqlite")):
                    del expected[str(index.name)]
        self.assertEqual(found, expected)

    def test_ids_are_not_given_again(self) -> None:
        """R8: the next id of a message is what it was, though its table is copied on the way."""
        sequence = "SELECT seq FROM sqlite_sequence WHERE name = 'mediachat_message'"
        with self.database.at_start() as connection:
            connection.exec_driver_sql("UPDATE sqlite_sequence SET seq = 99 WHERE name = 'mediachat_message'")
        migrate.downgrade(self.database, "0011")
        migrate.upgrade(self.database)
        with self.database.at_start() as connection:
            self.assertEqual(connection.exec_driver_sql(sequence).scalar(), 99)
            table = "SELECT sql FROM sqlite_schema WHERE name = 'mediachat_message'"
            self.assertIn("AUTOINCREMENT", connection.exec_driver_sql(table).scalar())


_ENTRIES = ("chatlog_entry", "chatlog_recent", "chatlog_log")
_INDEXES = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"


def _indexes(rows: Iterable[Sequence[str]]) -> dict[str, str]:
    """How each index is made, by its name, however it is written."""
    return {name: "".join(sql.replace('"', "").split()).lower() for name, sql in rows}


def revisions() -> Iterator[str]:
    """Every revision of the schema, the first one first."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(migrate._folder()).walk_revisions()
    yield from reversed([script.revision for script in scripts])


def _kept(rows: dict[str, list[Any]], others: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Of rows, what has a table and a column among `others`."""
    return {
        name: [{key: row[key] for key in row if key in others[name][0]} for row in rows[name]]
        for name in others
    }


def _some(column: Column[Any]) -> Any:
    """A value of a column's type, the same for columns that refer to each other."""
    kind = column.type.python_type
    return {int: 1, str: "1", bytes: b"1", float: 1.0, bool: True}[kind]


class DamageTests(Fixture):
    """R7: what is looked for before a database is used."""

    def setUp(self) -> None:
        super().setUp()
        with self.database.at_start() as connection:
            rows = [{"topic": f"t.{n}", "payload": bytes(100 * (n % 100))} for n in range(100)]
            connection.exec_driver_sql("CREATE TABLE event (topic TEXT PRIMARY KEY, payload BLOB)")
            connection.execute(text("INSERT INTO event VALUES (:topic, :payload)"), rows)
        self.database.close()
        self.file = Path(self.folder, "test.sqlite3")
        self.whole = self.file.read_bytes()

    def found(self, content: bytes) -> str | None:
        """What is found in a file with this content, which is left as it was."""
        self.file.write_bytes(content)
        found = damage.find(self.file)
        self.assertEqual(self.file.read_bytes(), content)
        return found

    def test_none(self) -> None:
        """R7: nothing is found in a whole database, in one that is yet to be made, nor in an empty file."""
        self.assertIsNone(self.found(self.whole))
        self.assertIsNone(self.found(b""))
        self.file.unlink()
        self.assertIsNone(damage.find(self.file))
        self.assertFalse(self.file.exists())

    def test_every_page(self) -> None:
        """R7: whichever page is overwritten, it is seen."""
        size = int.from_bytes(self.whole[16:18], "big")
        self.assertGreater(len(self.whole), 100 * size)
        for at in range(0, len(self.whole), size):
            found = self.found(self.whole[:at] + b"\xa5" * size + self.whole[at + size :])
            self.assertIsNotNone(found, f"page {at // size + 1}")
            self.assertNotIn("\n", str(found))

    def test_cut_off(self) -> None:
        """R7: wherever a file is cut off, it is seen."""
        for length in range(1, len(self.whole), 4999):
            self.assertIsNotNone(self.found(self.whole[:length]), length)

    def test_garbage(self) -> None:
        """R7: what is no database at all is seen."""
        self.assertEqual(self.found(b"something else" * 1000), "file is not a database")

    def test_no_time(self) -> None:
        """A look ends when its time is over, and has then found nothing."""
        self.file.write_bytes(self.whole)
        self.assertIsNone(damage.find(self.file, 0.0))

    def test_a_damaged_database(self) -> None:
        """What is no database is refused, and not overwritten."""
        self.database.close()
        path = Path(self.folder, "test.sqlite3")
        shutil.rmtree(self.folder)
        Path(self.folder).mkdir()
        path.write_bytes(b"something else" * 1000)
        with self.assertRaises(StartError) as caught:
            migrate.upgrade(self.database)
        self.assertIn("cannot be used", str(caught.exception))
        self.assertEqual(path.read_bytes(), b"something else" * 1000)

    def test_what_cannot_be_seen(self) -> None:
        """R7: a database that another program has for itself, or that cannot be opened, is not damaged."""
        other = sqlite3.connect(self.file, isolation_level=None)
        for statement in (
            "PRAGMA locking_mode = EXCLUSIVE",
            "BEGIN EXCLUSIVE",
            "CREATE TABLE x (y)",
            "COMMIT",
        ):
            other.execute(statement).fetchall()
        self.assertIsNone(damage.find(self.file, 0.05))
        other.close()
        shutil.rmtree(self.folder)
        self.refused("): have the suite's user own it and its folder, or change [suite] database")

    def test_another_program_writes(self) -> None:
        """R7: a start that finds the database locked for as long as it waits says so, and what to do."""
        with self.database.at_start() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 0")
        with closing(sqlite3.connect(self.file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            self.refused("(database is locked): end what else has it open, or change [suite] database")

    def refused(self, end: str) -> None:
        """A start is refused with a sentence that ends so."""
        with self.assertRaises(StartError) as caught:
            migrate.upgrade(self.database)
        self.assertTrue(str(caught.exception).endswith(end), caught.exception)

    def test_the_start_refuses(self) -> None:
        """R7: a database that is damaged somewhere is not brought up to date."""
        self.file.write_bytes(content := self.whole[:-8192] + b"\xa5" * 8192)
        with self.assertRaises(StartError) as caught:
            migrate.upgrade(self.database)
        self.assertIn(
            f"the database {self.file.absolute()} cannot be used, it is damaged (", str(caught.exception)
        )
        self.assertEqual(self.file.read_bytes(), content)


class FolderTests(SynchronousTestCase):
    """The data folder."""

    def test_one_at_a_time(self) -> None:
        """A folder is made, taken, refused to a second, and free again when the first is gone."""
        folder = Path(self.mktemp()) / "deep"
        lock = migrate.take(folder)
        with self.assertRaises(StartError) as caught:
            migrate.take(folder)
        self.assertIn("in use by process", str(caught.exception))
        lock.close()
        migrate.take(folder).close()

    def test_not_writable(self) -> None:
        """A place where no folder can be is named with the setting to change."""
        file = Path(self.mktemp())
        file.write_text("")
        with self.assertRaises(StartError) as caught:
            migrate.take(file / "below")
        self.assertIn("change [suite] data", str(caught.exception))
