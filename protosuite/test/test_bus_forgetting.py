"""Topics that a node alone forgets: what its database has of them, and where their sequences go on."""

from __future__ import annotations

from random import Random
from typing import Any

from attrs import evolve
from twisted.internet.defer import fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.bus import store as stored
from protosuite.bus.server import BusService
from protosuite.bus.shared_store import SharedStore
from protosuite.bus.store import BusStore
from protosuite.bus.tables import topics
from protosuite.config import BusConfig
from protosuite.errors import StorageFull
from protosuite.storage import Database
from protosuite.test.test_bus_service import DURABLE, Raw, publish
from protosuite.testing import HandWorker, database


class Fixture(SynchronousTestCase):
    """A node alone, with room for three topics."""

    config = BusConfig(max_topics=3, max_durable_events=1000, max_pending=1000)
    open_database = staticmethod(database)  # as tests with another engine replace it

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.folder = self.mktemp()
        self.start()

    def start(self, **changes: Any) -> None:
        """A node on what is in the database, in the place of one that was killed."""
        if hasattr(self, "service"):
            self.kill()
        self.writer = HandWorker(at_once=True)
        self.database: Database = self.open_database(self.folder, self.writer)
        config = evolve(self.config, **changes)
        self.service = BusService(config, BusStore(self.database), self.clock, self.clock.seconds)
        self.service.startService()
        self.addCleanup(self.end, self.service, self.database, self.writer)

    def end(self, service: BusService, database: Database, writer: HandWorker) -> None:
        writer.at_once = True
        writer.run()
        service.stopService()
        database.close()

    def kill(self) -> None:
        """What waits for the writer never comes to be."""
        self.writer.at_once = False
        self.writer.tasks.clear()
        self.service._expiring.stop()

    def client(self, *messages: Any) -> Raw:
        return Raw(self.service).send(*messages)

    def publish(self, *topics: str) -> list[int]:
        """The sequences in the receipts of these, one behind the other."""
        raw = self.client(*(publish(topic, id=n) for n, topic in enumerate(topics, 1)))
        return [m.sequence for m in raw.received() if isinstance(m, pb.Receipt)]

    def query(self, query: str) -> list[Any]:
        with self.database.at_start() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def topics(self) -> dict[str, int]:
        """What the database has."""
        return dict(self.query("SELECT topic, sequence FROM bus_topic ORDER BY topic"))


class ForgettingTests(Fixture):
    """Above `max_topics`."""

    def test_old_topics_go(self) -> None:
        """The database has no more topics than are remembered, a second after they came."""
        self.client(DURABLE)
        self.publish(*(f"t{n}" for n in range(40)))
        self.clock.advance(1)
        self.assertEqual(list(self.topics()), ["t37", "t38", "t39"])

    def test_sequences_do_not_go_back(self) -> None:
        """A topic that was forgotten, used again, goes on above where it was: at once, and after a kill."""
        self.client(DURABLE).lose()
        self.publish("a", "a", "a", "b", "c", "d", "e", "f")
        self.clock.advance(1)
        self.assertNotIn("a", self.topics())
        self.start()
        self.assertEqual(self.publish("d", "a", "a"), [5, 5, 6])

    def test_what_is_owed_stays(self) -> None:
        """R1: events of a topic that was forgotten are owed as ever, after a restart as well."""
        self.client(DURABLE).lose()
        names = [f"t{n}" for n in range(9)]
        self.publish(*names)
        self.clock.advance(1)
        self.assertEqual(len(self.topics()), 3)
        self.start()
        self.assertEqual([event.topic for event in self.client(DURABLE).events()], names)

    def test_used_again_before_it_is_gone(self) -> None:
        """A topic that is forgotten and used again in the same moment is there, with its new sequence."""
        self.client(DURABLE)
        self.publish("a", "b", "c")
        self.writer.at_once = False
        raw = self.client(*(publish(topic, id=1) for topic in ("d", "a", "b")))
        self.writer.at_once = True
        self.writer.run()
        self.assertEqual([m.sequence for m in raw.received()], [2, 2, 2])
        self.clock.advance(1)
        self.assertEqual(self.topics(), {"a": 2, "b": 2, "d": 2})

    def test_forgotten_before_it_is_stored(self) -> None:
        """A topic that is forgotten while its event waits for its commit leaves nothing behind."""
        self.client(DURABLE)
        self.writer.at_once = False
        self.client(*(publish(f"t{n}") for n in range(9)))
        self.writer.at_once = True
        self.writer.run()
        self.clock.advance(1)
        self.assertEqual(list(self.topics()), ["t6", "t7", "t8"])

    def test_for_nobody(self) -> None:
        """Topics that the database never had cost it no write when they are forgotten."""
        writes: list[object] = []
        writing = self.database.write

        def write(_: object, *args: Any) -> Any:
            writes.append(args)
            return writing(*args)

        self.patch(Database, "write", write)
        self.publish(*(f"t{n}" for n in range(9)))
        self.clock.advance(1)
        self.assertEqual(writes, [])

    def test_no_more_at_once(self) -> None:
        """A transaction deletes a bounded number, but as many as come in one at least."""
        self.patch(stored, "_FORGOTTEN", 2)
        self.start(max_topics=10)
        self.client(DURABLE).lose()
        self.publish(*(f"old{n}" for n in range(10)))
        self.client(pb.Unsubscribe(durable="d"))
        self.publish(*(f"new{n}" for n in range(10)))
        left = []
        for _ in range(5):
            self.clock.advance(1)
            left.append(len(self.topics()))
        self.assertEqual(left, [8, 6, 4, 2, 0])

    def test_no_fewer_than_come(self) -> None:
        """However many topics come in one transaction, the next one of as many forgets them."""
        self.patch(stored, "_FORGOTTEN", 2)
        self.client(DURABLE)
        for name in ("a", "b", "c"):
            self.writer.at_once = False
            self.client(*(publish(f"{name}{n}") for n in range(40)))
            self.writer.at_once = True
            self.writer.run()
        self.assertLessEqual(len(self.topics()), 43)

    def test_the_storage_fails(self) -> None:
        """R6: what could not be forgotten while the disk was full is forgotten when there is room."""
        self.client(DURABLE)
        self.publish("a", "b", "c")
        failing = lambda _, *args: fail(StorageFull("no room"))  # noqa: E731
        patched = self.patch(Database, "write", failing)
        self.assertEqual(self.publish("d", "e", "f"), [])
        self.clock.advance(1)
        self.assertEqual(list(self.topics()), ["a", "b", "c"])
        patched.restore()
        self.clock.advance(1)
        self.assertEqual(self.topics(), {})
        self.assertGreater(self.publish("a")[0], 1)


class StartTests(Fixture):
    """A start that finds more topics than are remembered."""

    def put(self, rows: dict[str, int]) -> None:
        with self.database.at_start() as connection:
            every = [{"topic": topic, "sequence": sequence} for topic, sequence in rows.items()]
            connection.execute(topics.insert(), every)

    def test_too_many_are_there(self) -> None:
        """Those with fewest events go, some a second, and go on above where they were."""
        self.patch(stored, "_FORGOTTEN", 4)
        self.client(DURABLE).lose()
        self.put({"x": 90, "y": 80, "z": 7} | {f"t{n}": 7 for n in range(10)})
        self.start()
        self.assertEqual(self.publish("t9"), [8])
        left = []
        for _ in range(4):
            self.clock.advance(1)
            left.append(len(self.topics()))
        self.assertEqual(left[-1], 3, left)
        self.assertEqual(left, sorted(left, reverse=True))
        self.assertEqual(self.topics(), {"t9": 8, "x": 90, "y": 80})
        self.assertEqual(self.query("SELECT forgotten FROM bus_head"), [(7,)])
        self.assertEqual(self.publish("t1", "z"), [81, 91])

    def test_all_alike(self) -> None:
        """What is remembered stays where others with as many events go; who has room for them again knows."""
        self.client(DURABLE).lose()
        self.put({f"t{n}": 5 for n in range(9)})
        self.start()
        self.clock.advance(1)
        self.assertEqual(self.topics(), {"t0": 5, "t1": 5, "t2": 5})
        self.start(max_topics=100)
        self.assertEqual(self.publish("t0", "t8"), [6, 6])

    def test_what_it_says(self) -> None:
        """The store says what no other topic is above: what was left out, or forgotten before."""
        self.put({"a": 1, "b": 2, "c": 3})
        limits = self.service.exchange.limits
        for most, expected in ((1, 2), (2, 1), (3, 0)):
            found = BusStore(self.database).load(evolve(limits, max_topics=most))
            self.assertEqual((len(found.sequences), found.forgotten), (most, expected))

    def test_it_cannot_be_done_now(self) -> None:
        """R6: it is tried again every second."""
        self.put({f"t{n}": n for n in range(9)})
        self.start()
        patched = self.patch(Database, "write", lambda _, *args: fail(StorageFull("no room")))
        self.clock.advance(1)
        self.assertEqual(len(self.topics()), 9)
        patched.restore()
        self.clock.advance(1)
        self.assertEqual(list(self.topics()), ["t6", "t7", "t8"])

    def test_busy_topics_stay(self) -> None:
        """After a start a topic that has not been used since, with few events, is forgotten first."""
        self.client(DURABLE)
        self.publish(*"aaabbc")
        self.start()
        self.publish("d")
        self.clock.advance(1)
        self.assertEqual(list(self.topics()), ["a", "b", "d"])

    def test_alone_after_several(self) -> None:
        """What several nodes have forgotten does not go back when one of them goes on alone, nor again."""
        with self.database.at_start() as connection:
            connection.exec_driver_sql("INSERT INTO bus_head VALUES (1, 900, 5, 300, 9, 0, 'x')")
        self.put({f"t{n}": 5 for n in range(9)})
        self.start()
        self.clock.advance(1)
        self.assertEqual(self.query("SELECT forgotten FROM bus_head"), [(300,)])
        self.client(DURABLE).lose()
        self.assertEqual(self.publish("a"), [301])
        self.publish("b", "b", "c", "d")
        self.clock.advance(1)
        self.assertEqual(self.query("SELECT position, owed, forgotten FROM bus_head"), [(900, 5, 301)])
        position, _ = SharedStore(self.database, self.database, "one", 10, self.clock.seconds).start()
        self.assertEqual(position, 900)


class KilledTests(Fixture):
    """Whatever is killed, refused and used again."""

    def test_chance(self) -> None:
        """R1: over many kills no sequence in a receipt is given twice, and what is kept is bounded."""
        for seed in range(8):
            self.folder = self.mktemp()
            self.start()
            self.client(DURABLE).lose()
            self.run_by_chance(Random(seed), seed)

    def run_by_chance(self, chance: Random, seed: int) -> None:
        last: dict[str, int] = {}
        waiting: list[tuple[Raw, list[str]]] = []
        for _ in range(40):
            self.writer.at_once = chance.random() < 0.5
            if self.writer.at_once:
                self.writer.run()
            names = [f"t{chance.randrange(12)}" for _ in range(chance.randrange(1, 6))]
            raw = self.client(*(publish(name, id=n) for n, name in enumerate(names, 1)))
            waiting.append((raw, names))
            for raw, names in waiting:
                for receipt in raw.received():
                    name = names[receipt.id - 1]
                    self.assertGreater(receipt.sequence, last.get(name, 0), (seed, name))
                    last[name] = receipt.sequence
            if chance.random() < 0.3:
                self.clock.advance(1)
            if chance.random() < 0.2:
                self.start()
                waiting.clear()
        self.writer.at_once = True
        self.writer.run()
        for _ in range(2):
            self.clock.advance(1)
        self.assertLessEqual(len(self.topics()), 3, seed)
