"""PostgreSQL under the suite's transactions: killed, stopped, frozen, written to by several nodes at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from psycopg import Error, OperationalError
from psycopg.types.string import StrDumper
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from protosuite.chatlog.chain import Append, Verifier
from protosuite.chatlog.store import ChatLogStore, Committed
from protosuite.chatlog.wire import ClientAppend, ServerAck, encode_ack, from_server
from protosuite.errors import BadRequest, CommitUnknown, StartError, StorageError
from protosuite.mediachat.store import MediaChatStore
from protosuite.mediachat.tables import New
from protosuite.numbers.sequence import Session
from protosuite.numbers.store import NumbersStore
from protosuite.numbers.wire import Start
from protosuite.storage import Database, engines, migrate
from protosuite.storage.schema import HEAD
from protosuite.storage.timeouts import Timeouts
from protosuite.storage.workers import Threads
from tests import postgresql
from tests.postgresql import Cluster, until

SHORT = Timeouts(whole=2.0, connect=2.0, lock=1.0)
LONG = Timeouts(whole=60.0, connect=2.0, lock=1.0)
NOW = 1_700_000_000_000


class Node:
    """A database object with real threads, as a node has it."""

    def __init__(self, url: str, timeouts: Timeouts = LONG) -> None:
        self.database = Database(
            url=engines.resolve(url, Path()),
            writer=Threads("writer"),
            readers=Threads("reader", 2),
            call_in_reactor=lambda call, *args: call(*args),
            max_queue=100_000,
            reader_connections=2,
            timeouts=timeouts,
        )

    def done(self, answer: Deferred[Any]) -> Any:
        """What it answers with, raised if it is a failure. Blocks."""
        found: list[Any] = []
        ended = threading.Event()

        def end(outcome: Any) -> None:
            found.append(outcome)
            ended.set()

        answer.addBoth(end)
        assert ended.wait(120), "no answer"
        if isinstance(found[0], Failure):
            found[0].raiseException()
        return found[0]

    def write(self, work: Callable[[Connection], Any]) -> Any:
        return self.done(self.database.write(work))

    def read(self, work: Callable[[Connection], Any]) -> Any:
        return self.done(self.database.read(work))


def put(key: str) -> Callable[[Connection], str]:
    def work(connection: Connection) -> str:
        connection.execute(text("INSERT INTO thing VALUES (:key)"), {"key": key})
        return key

    return work


def keys(connection: Connection) -> list[str]:
    return list(connection.execute(text("SELECT key FROM thing ORDER BY key")).scalars())


def together(*calls: Callable[[], None]) -> None:
    """Run them side by side; the first that raises fails the test."""
    failures: list[BaseException] = []

    def run(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if failures:
        raise failures[0]


class Fixture(SynchronousTestCase):
    """A database with a table, in the cluster that tests share, and nodes."""

    def setUp(self) -> None:
        self.cluster = self.make_cluster()
        self.name = self.cluster.database()
        self.cluster.execute("CREATE TABLE thing (key TEXT PRIMARY KEY)", self.name)

    def make_cluster(self) -> Cluster:
        return postgresql.shared()

    def node(self, timeouts: Timeouts = LONG) -> Node:
        node = Node(self.cluster.url(self.name), timeouts)
        self.addCleanup(node.database.close)
        return node


class KilledTests(Fixture):
    """Backends that the server ends."""

    def test_idle(self) -> None:
        """R34: connections that were ended while nobody used them cost no request anything."""
        node = self.node()
        for round in "abc":
            node.write(put(round))
            node.read(keys)
            self.assertGreater(self.cluster.kill_backends(self.name), 0)
        self.assertEqual(node.read(keys), ["a", "b", "c"])

    def test_in_a_transaction(self) -> None:
        """R34: a transaction whose backend is ended before the commit is done again, once."""
        node = self.node()
        runs: list[int] = []

        def work(connection: Connection) -> None:
            put("a")(connection)
            runs.append(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
            if len(runs) == 1:
                self.cluster.execute(f"SELECT pg_terminate_backend({runs[0]})")

        node.write(work)
        self.assertEqual(len(runs), 2)
        self.assertEqual(node.read(keys), ["a"])

    def test_among_many_rows(self) -> None:
        """R34: a connection that cannot be undone is given up without a word, and another one does the work.

        It is so when the server ends a backend that is sent many rows: the driver takes the connection for a
        good one, and can neither end its pipeline nor send anything else.
        """
        node = self.node()
        pids: list[int] = []

        def work(connection: Connection) -> None:
            pids.append(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
            put("a")(connection)
            if len(pids) == 1:
                driver: Any = connection.connection.driver_connection
                driver.pgconn.enter_pipeline_mode()
                driver.pgconn.send_query_params(b"SELECT 1", None)
                busy = OperationalError("cannot exit pipeline mode while busy")
                raise DBAPIError.instance("INSERT", [], busy, Error)

        with self.assertNoLogs(level="WARNING"):
            node.write(work)
        self.assertEqual((len(set(pids)), node.read(keys)), (2, ["a"]))

    def test_in_the_commit(self) -> None:
        """R34: a commit whose answer is lost is found, whether it took place or not, and done once."""
        for takes_place in (True, False):
            node = self.node()
            cut: list[bool] = []

            def commit(
                connection: Connection, takes_place: bool = takes_place, cut: list[bool] = cut
            ) -> None:
                if (
                    cut
                    or not connection.exec_driver_sql("SELECT 1 FROM thing WHERE left(key, 1) = 'k'").first()
                ):
                    return
                cut.append(True)
                if takes_place:
                    connection.exec_driver_sql("COMMIT")
                # And the answer does not come.
                pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
                self.cluster.execute(f"SELECT pg_terminate_backend({pid})")

            event.listen(node.database._write_engine, "commit", commit)
            runs: list[int] = []

            def work(connection: Connection, runs: list[int] = runs) -> int:
                runs.append(1)
                put(f"k{self.node_number()}")(connection)
                return len(runs)

            self.assertEqual(node.write(work), 1 if takes_place else 2)
            self.assertTrue(cut)
            self.assertEqual(len(node.read(keys)), 1)
            self.cluster.execute("DELETE FROM thing", self.name)

    _numbers = 0

    def node_number(self) -> int:
        """Another one each time: what is stored twice is seen."""
        self._numbers += 1
        return self._numbers

    def test_killed_all_the_time(self) -> None:
        """R34: under load, with backends ended again and again, all that was answered is there once."""
        node = self.node()
        with self.cluster.engine(self.name).connect() as connection:
            connection.exec_driver_sql("CREATE TABLE event (id BIGSERIAL, key TEXT)")

        def insert(key: str) -> Callable[[Connection], str]:
            def work(connection: Connection) -> str:
                connection.execute(text("INSERT INTO event (key) VALUES (:key)"), {"key": key})
                return key

            return work

        over = threading.Event()

        def kill() -> None:
            while not over.wait(0.02):
                self.cluster.kill_backends(self.name)

        def load() -> None:
            try:
                for number in range(150):
                    group = [node.database.write(insert(f"{number}-{n}")) for n in range(10)]
                    for answer in group:
                        node.done(answer)
            finally:
                over.set()

        together(kill, load)
        found = self.cluster.execute("SELECT count(*), count(DISTINCT key) FROM event", self.name)
        self.assertEqual([tuple(row) for row in found], [(1500, 1500)])


class AwayTests(Fixture):
    """A server that is gone, or hangs. It has a cluster of its own."""

    def make_cluster(self) -> Cluster:
        cluster = Cluster()
        self.addCleanup(cluster.discard)
        cluster.start()
        return cluster

    def test_stopped_and_started(self) -> None:
        """R34: what is asked while the server restarts waits for it, and is done once."""
        node = self.node()
        node.write(put("a"))
        self.cluster.stop("QUIT")
        answers: list[Deferred[Any]] = [node.database.write(put("b")), node.database.read(keys)]
        self.cluster.start()
        self.assertEqual(node.done(answers[0]), "b")
        self.assertIn("a", node.done(answers[1]))
        self.assertEqual(node.read(keys), ["a", "b"])

    def test_gone(self) -> None:
        """R34: with nobody there, reads and writes fail with a clear error, and go on when it is back."""
        node = self.node(SHORT)
        node.write(put("a"))
        self.cluster.stop()
        answers: list[Deferred[Any]] = [node.database.write(put("b")), node.database.read(keys)]
        for answer in answers:
            with self.assertRaisesRegex(StorageError, "the database cannot be reached"):
                node.done(answer)
        self.assertFalse(node.database.accepts_writes)
        self.cluster.start()
        node.write(put("c"))
        self.assertTrue(node.database.accepts_writes)
        self.assertEqual(node.read(keys), ["a", "c"])

    def test_at_the_start(self) -> None:
        """R34: a start waits for a server that is away as others do, with each connection that it opens."""
        node, other = self.node(), self.node(SHORT)
        self.cluster.stop()
        with self.assertRaisesRegex(StorageError, "the database cannot be reached"):
            other.database.open_readers()
        opened: list[bool] = []

        def start() -> None:
            node.database.open_readers()
            opened.append(True)

        thread = threading.Thread(target=start)
        thread.start()
        self.cluster.start()  # from here: it ends with the thread that has started it
        thread.join(120)
        self.assertEqual((opened, len(self.cluster.backends(self.name))), ([True], 2))

    def test_frozen(self) -> None:
        """R34: a server that hangs keeps nobody for longer than the timeout, and is used when it goes on."""
        node = self.node(SHORT)
        node.write(put("a"))
        node.read(keys)
        self.cluster.signal("STOP")
        answers: list[Deferred[Any]] = [node.database.write(put("b")), node.database.read(keys)]
        for answer in answers:
            with self.assertRaises(StorageError):
                node.done(answer)
        self.cluster.signal("CONT")
        until(lambda: self.accepts(node), "the database accepts writes again")
        self.assertIn("c", node.read(keys))

    def accepts(self, node: Node) -> bool:
        try:
            node.write(
                lambda connection: (
                    connection.execute(text("INSERT INTO thing VALUES ('c') ON CONFLICT DO NOTHING")) and None
                )
            )
        except StorageError:
            return False
        return True

    def test_frozen_in_the_commit(self) -> None:
        """R34: where the server hangs from the commit on, whoever asked is told that nobody knows."""
        node = self.node(SHORT)
        node.write(put("a"))
        event.listen(node.database._write_engine, "commit", lambda connection: self.cluster.signal("STOP"))
        with self.assertRaisesRegex(CommitUnknown, "may be stored or not"):
            node.write(put("b"))
        self.cluster.signal("CONT")

    def test_a_node_that_hangs(self) -> None:
        """A node that stops in the midst of a transaction keeps its locks from others for a while only."""

        def stop(connection: Connection, taken: list[bool]) -> None:
            until(lambda: bool(taken), "the other node has the row")

        self._hold_out(stop)

    def test_a_node_that_hangs_while_it_sends(self) -> None:
        """So it is where it stops between rows that it sends without waiting for answers.

        The server does not call that idle, and has no limit for it.
        """

        def stop(connection: Connection, taken: list[bool]) -> None:
            driver: Any = connection.connection.driver_connection
            driver.adapters.register_dumper(_Late, _LateDumper)
            late = _Late(lambda: until(lambda: bool(taken), "the other node has the row"))
            rows: list[Any] = [{"key": key} for key in ("b", late, "d")]
            connection.exec_driver_sql("INSERT INTO thing VALUES (%(key)s)", rows)

        self._hold_out(stop)

    def _hold_out(self, stop: Callable[[Connection, list[bool]], None]) -> None:
        """Have a node stop with a row in the first of its attempts, until another node has the row."""
        node = self.node(Timeouts(whole=60.0, connect=2.0, lock=1.0))
        other = self.node(Timeouts(whole=60.0, connect=2.0, lock=1.0))
        node.write(put("a"))
        runs: list[int] = []
        taken: list[bool] = []

        def work(connection: Connection) -> None:
            connection.execute(text("UPDATE thing SET key = key || 'x' WHERE key = 'a'"))
            runs.append(1)
            if len(runs) == 1:
                stop(connection, taken)

        hanging = node.database.write(work)
        until(lambda: bool(runs), "it hangs")
        other.write(lambda connection: connection.execute(text("UPDATE thing SET key = 'b'")) and None)
        taken.append(True)
        node.done(hanging)
        self.assertEqual((len(runs), other.read(keys)), (2, ["b"]))


class _Late:
    """A value that is ready to be sent when `hold` returns."""

    def __init__(self, hold: Callable[[], None]) -> None:
        self.hold = hold


class _LateDumper(StrDumper):
    """Puts it in a message."""

    def dump(self, obj: Any) -> bytes:
        obj.hold()
        return b"c"


class StandbyTests(SynchronousTestCase):
    """A URL with several hosts."""

    def test_the_one_that_takes_writes(self) -> None:
        """R34: when the host that took writes is gone, the next one that takes them is used."""
        clusters = [Cluster(), Cluster()]
        for cluster in clusters:
            self.addCleanup(cluster.discard)
            cluster.start()
            cluster.execute("CREATE DATABASE suite")
            cluster.execute("CREATE TABLE thing (key TEXT PRIMARY KEY)", "suite")
        ports = ",".join(str(cluster.port) for cluster in clusters)
        url = f"postgresql+psycopg://suite@/suite?host=127.0.0.1,127.0.0.1&port={ports}"
        node = Node(url)
        self.addCleanup(node.database.close)
        for cluster in clusters:  # the tables that the suite has are not needed here but one
            Node(cluster.url("suite")).database.close()
        migrate.upgrade(node.database)
        node.write(put("a"))
        clusters[0].execute("ALTER SYSTEM SET default_transaction_read_only = on")
        second = Node(clusters[1].url("suite"))
        migrate.upgrade(second.database)
        second.database.close()
        clusters[0].execute("SELECT pg_reload_conf()")
        clusters[0].kill_backends("suite")
        until(lambda: self.is_read_only(clusters[0]), "the first host takes no writes")
        node.write(put("b"))
        self.assertEqual(node.read(keys), ["b"])

    def test_each_way_to_name_them(self) -> None:
        """R34: however a URL names several hosts, one that takes writes is looked for, or what it says."""
        for url, wanted in (
            ("suite@one,other/suite", "read-write"),
            ("suite@/suite?host=one,other", "read-write"),
            ("suite@/suite?host=one:1&host=other:2", "read-write"),
            ("suite@one,other/suite?target_session_attrs=any", "any"),
            ("suite@one/suite", None),
            ("suite@/suite", None),
        ):
            resolved = engines.resolve(f"postgresql+psycopg://{url}", Path())
            found = engines.writing(resolved, SHORT, time.monotonic)
            self.addCleanup(found.stop)
            self.assertEqual(found.engine.url.query.get("target_session_attrs"), wanted, url)

    def is_read_only(self, cluster: Cluster) -> bool:
        return str(cluster.execute("SHOW default_transaction_read_only")[0][0]) == "on"


class NodesTests(Fixture):
    """Several nodes write to one database at the same time."""

    def test_one_room(self) -> None:
        """R4: slots that two nodes give in one room have no hole and form one chain; R3: a key is once."""
        nodes = [self.node(), self.node()]
        stores = [ChatLogStore(node.database, 100) for node in nodes]
        rooms = ["x", "y", "z"]

        def load(number: int) -> None:
            order = rooms if number == 0 else rooms[::-1]
            for turn in range(40):
                batch = [
                    Append(
                        room,
                        f"s{number}",
                        ClientAppend(turn, "ana", f"{number}-{turn}", f"k{turn}-{turn % 2 or number}"),
                    )
                    for room in order
                ]
                epochs = {room: (room * 32)[:32] for room in rooms}
                outcomes = nodes[number].done(stores[number].commit(batch, epochs, NOW))
                assert all(isinstance(each, Committed) for each in outcomes)

        together(lambda: load(0), lambda: load(1))
        for room in rooms:
            page = nodes[0].done(stores[0].oldest(room, 1, 2**53, 10_000, 2**40))
            log = []
            for encoded in page.entries:
                ack = from_server(encode_ack(encoded).decode())
                assert isinstance(ack, ServerAck)
                log.append(ack.entry)
            self.assertEqual([entry.slot for entry in log], list(range(1, 61)))
            self.assertIsNone(Verifier((room * 32)[:32]).first_problem(log))
            self.assertEqual(len({entry.key for entry in log}), 60)

    def test_one_chat(self) -> None:
        """R27: of files that two nodes store in one chat just those that fit are; unread is counted right."""
        nodes = [self.node(), self.node()]
        stores = [MediaChatStore(node.database, 300) for node in nodes]
        chat, _ = nodes[0].done(stores[0].enter(7, "Europe/Paris", NOW))
        stored: list[int] = []
        texts: list[int] = []
        refused: list[int] = []

        def load(number: int) -> None:
            node, store = nodes[number], stores[number]
            for turn in range(30):
                text = New(chat.id, "client", "text", NOW, text="x", key=f"k{turn}")
                message, is_new = node.done(store.add(text))
                if is_new:
                    texts.append(message.id)
                file = New(chat.id, "desk", "file", NOW, name="f", size=10, sha256="0" * 64)
                try:
                    stored.append(node.done(store.add(file))[0].id)
                except BadRequest:  # the quota
                    refused.append(turn)

        together(lambda: load(0), lambda: load(1))
        self.assertEqual((len(stored), len(refused), len(texts)), (30, 30, 30))
        found = nodes[1].done(stores[1].chats(10))[0]
        self.assertEqual(found.unread, 30)
        last = max(texts)
        together(
            lambda: nodes[0].done(stores[0].read(chat.id, last)),
            lambda: (
                nodes[1].done(stores[1].add(New(chat.id, "client", "text", NOW, text="late", key="late")))
                and None
            ),
        )
        self.assertEqual(nodes[1].done(stores[1].chats(10))[0].unread, 1)

    def test_one_client(self) -> None:
        """R5: a client that opens its session on two nodes at once has one session."""
        nodes = [self.node(), self.node()]
        stores = [NumbersStore(node.database, 3600) for node in nodes]
        for turn in range(20):
            client = f"client-{turn}"
            seeds: list[int] = []

            def open(number: int, client: str = client, seeds: list[int] = seeds) -> None:
                fresh = Session(client, number + 1, 10, 0)
                session, _ = nodes[number].done(stores[number].open(Start(client), fresh, NOW))
                seeds.append(session.seed)

            together(lambda: open(0), lambda: open(1))
            self.assertEqual(len(set(seeds)), 1)

    def test_deadlock(self) -> None:
        """Two nodes that want each other's rows both get there."""
        nodes = [self.node(), self.node()]
        nodes[0].write(put("a"))
        nodes[0].write(put("b"))
        barrier = threading.Barrier(2)

        def work(first: str, second: str) -> Callable[[Connection], None]:
            runs: list[int] = []

            def run(connection: Connection) -> None:
                runs.append(1)
                lock = text("SELECT 1 FROM thing WHERE key = :key FOR UPDATE")
                connection.execute(lock, {"key": first})
                if len(runs) == 1:
                    barrier.wait(60)
                connection.execute(lock, {"key": second})

            return run

        together(lambda: nodes[0].write(work("a", "b")), lambda: nodes[1].write(work("b", "a")))

    def test_the_same_key(self) -> None:
        """What two nodes look for and then make, one of them makes; the other finds it."""
        nodes = [self.node(), self.node()]
        barrier = threading.Barrier(2)

        def work() -> Callable[[Connection], str]:
            runs: list[int] = []

            def run(connection: Connection) -> str:
                runs.append(1)
                if keys(connection):
                    return "found"
                if len(runs) == 1:
                    barrier.wait(60)
                return put("a")(connection)

            return run

        found: list[str] = []
        together(*(lambda node=node: found.append(node.write(work())) for node in nodes))
        self.assertEqual(sorted(found), ["a", "found"])


class StartTests(Fixture):
    """What a node finds when it starts."""

    def test_many_nodes_start(self) -> None:
        """R8: of several nodes that start with an empty database one makes the schema, the others wait."""
        name = self.cluster.database(schema=False)
        nodes = [Node(self.cluster.url(name)) for _ in range(4)]
        for node in nodes:
            self.addCleanup(node.database.close)
        together(*(lambda node=node: migrate.upgrade(node.database) for node in nodes))
        found = self.cluster.execute("SELECT version_num FROM alembic_version", name)
        self.assertEqual([tuple(row) for row in found], [(HEAD,)])

    def test_nobody_there(self) -> None:
        """R34: with no server the start says where it looked, without a password."""
        node = Node("postgresql+psycopg://suite:s3cret@127.0.0.1:1/suite", SHORT)
        self.addCleanup(node.database.close)
        with self.assertRaises(StartError) as caught:
            migrate.upgrade(node.database)
        self.assertIn("cannot be reached", str(caught.exception))
        self.assertIn("suite:***@127.0.0.1:1/suite", str(caught.exception))
        self.assertNotIn("s3cret", str(caught.exception))

    def test_durable(self) -> None:
        """R2: whatever others are content with, the suite's commits are synced."""
        self.cluster.execute(f"ALTER DATABASE {self.name} SET synchronous_commit = off")
        node = self.node()
        self.assertEqual(node.write(lambda c: c.execute(text("SHOW synchronous_commit")).scalar()), "on")

    def test_snapshot(self) -> None:
        """A read sees one state, whatever is written meanwhile."""
        node = self.node()
        node.write(put("a"))

        def look(connection: Connection) -> tuple[list[str], list[str]]:
            before = keys(connection)
            self.cluster.execute("INSERT INTO thing VALUES ('b')", self.name)
            return before, keys(connection)

        self.assertEqual(node.read(look), (["a"], ["a"]))
        self.assertEqual(node.read(keys), ["a", "b"])
