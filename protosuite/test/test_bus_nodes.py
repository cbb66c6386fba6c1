"""bus/1 on several nodes over one database; some wake-ups do not come, and some nodes die."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from attrs import define, evolve
from sqlalchemy import URL
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.bus import placing, published, upkeep
from protosuite.bus.server import BusService
from protosuite.bus.shared_store import SharedStore
from protosuite.bus.store import BusStore
from protosuite.config import BusConfig
from protosuite.errors import CommitUnknown, StorageError, StorageFull
from protosuite.fabric import Hub
from protosuite.storage import Database, sqlite
from protosuite.test import test_bus_service
from protosuite.test.test_bus_service import DURABLE, Raw, publish
from protosuite.test.test_chatlog_nodes import Lossy
from protosuite.testing import HandWorker
from protosuite.testing.memory import begin_file


@define(eq=False, slots=False)
class Moody(Database):
    """A database that can be away."""

    trouble: Exception | None = None
    is_readable = True

    def write(self, work: Any, rows: Any = None) -> Deferred[Any]:
        return fail(self.trouble) if self.trouble is not None else super().write(work, rows)

    def read(self, work: Any) -> Deferred[Any]:
        return super().read(work) if self.is_readable else fail(StorageError("away"))


class Node:
    """A bus on a connection of its own to the database of all."""

    def __init__(self, case: NodesCase, number: int, **config: Any) -> None:
        self.writer, self.reader = HandWorker(at_once=True), HandWorker(at_once=True)
        self.database = case.database_of(case.folder, self.writer, self.reader)
        self.fabric = Lossy(case.hub, f"{number}-{len(case.hub.nodes)}")
        case.hub.nodes.append(self.fabric)
        self.service = BusService(
            evolve(case.config, **config),
            SharedStore(self.database, self.database, self.fabric.node, 10, case.clock.seconds),
            case.clock,
            case.clock.seconds,
            fabric=self.fabric,
        )
        self.exchange: Any = self.service.exchange
        self.is_dead = False
        self.service.startService()
        case.addCleanup(self.end)
        case.clock.advance(0)

    def client(self, *messages: Any) -> Raw:
        """A connection, on which these are sent."""
        return Raw(self.service).send(*messages)

    def kill(self) -> None:
        """It does nothing any more, and nobody hears of that."""
        self.is_dead = True
        self.service._expiring.stop()
        self.fabric.stop()
        self.database.trouble = StorageError("dead")
        self.database.is_readable = False

    def end(self) -> None:
        if not self.is_dead:
            self.service.stopService()
        self.database.trouble = None
        self.database.close()


class NodesCase(SynchronousTestCase):
    """Two nodes, or more."""

    config = BusConfig(max_durable_events=5, max_pending=4, prefetch=2, retain=4)

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.hub = Hub(self.clock)
        self.folder = self.mktemp()

    def database_of(self, folder: str, writer: HandWorker, reader: HandWorker) -> Moody:
        """The database of all, over connections of one's own."""
        return Moody(
            url=self.url(folder),
            writer=writer,
            readers=reader,
            call_in_reactor=lambda call, *args: call(*args),
            max_queue=1000,
        )

    def url(self, folder: str) -> URL:
        """Where it is; as tests with another engine replace it."""
        path = Path(folder).absolute()
        path.mkdir(parents=True, exist_ok=True)
        begin_file(path / "test.sqlite3")
        return sqlite.resolve("sqlite:///test.sqlite3", path)

    def start(self, count: int = 2, **config: Any) -> list[Node]:
        """So many nodes."""
        nodes = [Node(self, number, **config) for number in range(count)]
        self.settle()
        return nodes

    def settle(self) -> None:
        """All wake-ups arrive, and what they lead to."""
        for _ in range(20):
            self.clock.advance(0)

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.clock.advance(1)
            self.settle()

    def query(self, node: Node, query: str) -> list[Any]:
        with node.database.at_start() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]


def places(raw: Raw) -> list[tuple[str, int]]:
    return [(event.topic, event.sequence) for event in raw.events()]


def said(raw: Raw) -> list[bytes]:
    return [event.payload for event in raw.events()]


class LiveTests(NodesCase):
    """Best-effort subscriptions."""

    def test_everybody_hears(self) -> None:
        """Subscribers of all nodes get the events of all nodes, in one order, numbered without holes."""
        one, two = self.start()
        listeners = [node.client(pb.Subscribe(pattern="#")) for node in (one, two)]
        publishers = [one.client(), two.client()]
        for n in range(6):
            publishers[n % 2].send(publish("a" if n < 4 else "b", id=n + 1))
            self.settle()
        found = [places(each) for each in listeners]
        self.assertEqual(found[0], [("a", 1), ("a", 2), ("a", 3), ("a", 4), ("b", 1), ("b", 2)])
        self.assertEqual(found[0], found[1])
        receipts = [(r.id, r.sequence) for each in publishers for r in each.received()]
        self.assertEqual(receipts, [(1, 1), (3, 3), (5, 1), (2, 2), (4, 4), (6, 2)])

    def test_an_event(self) -> None:
        """An event of another node has all that was published, and its subscription's pattern."""
        one, two = self.start()
        listener = one.client(pb.Subscribe(pattern="a.*"))
        two.client(pb.Publish(topic="a.b", payload=b"\x00x", content_type="t", id=3))
        self.settle()
        at = int(self.clock.seconds() * 1000)
        expected = pb.Event(
            topic="a.b", payload=b"\x00x", content_type="t", sequence=1, published_at=at, pattern="a.*"
        )
        self.assertEqual(listener.received(), [expected])

    def test_a_hole_is_filled(self) -> None:
        """What a lost wake-up hid is read, and told first, when something comes behind it."""
        one, two = self.start()
        listener = two.client(pb.Subscribe(pattern="a"))
        one.fabric.is_lossy = True
        one.client(*[publish() for _ in range(3)])
        self.settle()
        self.assertEqual(places(listener), [])
        two.client(publish())
        self.settle()
        self.assertEqual(places(listener), [("a", n) for n in range(1, 5)])

    def test_catching_up(self) -> None:
        """R33: what a lost wake-up hid is read when the fabric says that some may be missing."""
        one, two = self.start()
        listener = two.client(pb.Subscribe(pattern="a"))
        one.fabric.is_lossy = True
        one.client(*[publish() for _ in range(3)])
        self.settle()
        two.fabric.catch_up()
        self.assertEqual(places(listener), [("a", 1), ("a", 2), ("a", 3)])

    def test_many_pages(self) -> None:
        """More than is read at once comes whole and in order."""
        self.patch(published, "_PAGE", 50)
        one, two = self.start(max_pending=2000)
        listener = two.client(pb.Subscribe(pattern="a", depth=5000))
        one.fabric.is_lossy = True
        one.client(*[publish(payload=b"x" * (n % 7)) for n in range(130)])
        two.fabric.catch_up()
        self.assertEqual(places(listener), [("a", n) for n in range(1, 131)])
        self.assertEqual(two.exchange.following.pages, 3)

    def test_replay(self) -> None:
        """`replay` gives what any node has published, oldest first, and then without a gap what follows."""
        one, two = self.start()
        one.client(*[publish(topic) for topic in ("a.x", "b", "a.x", "a.y")])
        two.client(publish("a.x"))
        listener = two.client(pb.Subscribe(pattern="a.*", replay=2), publish("a.x"))
        self.settle()
        self.assertEqual(places(listener), [("a.x", 2), ("a.y", 1), ("a.x", 3), ("a.x", 4)])
        everything = one.client(pb.Subscribe(pattern="#", replay=100, depth=3))
        self.assertEqual(places(everything), [("a.y", 1), ("a.x", 3), ("a.x", 4)])
        exact = one.client(pb.Subscribe(pattern="b", replay=1))
        self.assertEqual(places(exact), [("b", 1)])

    def test_replay_of_many_topics(self) -> None:
        """Of more topics than are asked for at once the newest events of all come, in their order."""
        self.patch(placing, "_CHUNK", 3)
        one, two = self.start(max_pending=100)
        names = [f"t{n * 7 % 10}" for n in range(40)]
        one.client(*[publish(name) for name in names])
        listener = two.client(pb.Subscribe(pattern="#", replay=2, depth=15))
        self.assertEqual([topic for topic, _ in places(listener)], names[-15:])

    def test_after_a_restart(self) -> None:
        """What is kept for replay, and the sequences, are there after all nodes have been restarted."""
        (one,) = self.start(1)
        one.client(*[publish() for _ in range(3)])
        one.service.stopService()
        one.is_dead = True
        (two,) = self.start(1)
        listener = two.client(pb.Subscribe(pattern="a", replay=2), publish())
        self.assertEqual(places(listener), [("a", 2), ("a", 3), ("a", 4)])

    def test_it_begins_where_it_says(self) -> None:
        """What is published while a subscription begins comes once and in order; the answer waits."""
        one, two = self.start()
        one.client(publish())
        self.settle()
        waiting: list[Any] = []
        two.database.call_in_reactor = lambda *call: waiting.append(call)
        listener = two.client(pb.Subscribe(pattern="a", replay=1), pb.EchoMessage(content="x"))
        one.client(publish())
        self.settle()
        one.client(publish())
        self.settle()
        self.assertEqual(listener.received(), [])
        two.database.call_in_reactor = lambda call, *args: call(*args)
        for call, *args in waiting:
            call(*args)
        self.settle()
        found = listener.received()
        self.assertEqual([m.content for m in found if isinstance(m, pb.EchoMessage)], ["x"])
        self.assertEqual([m.sequence for m in found if isinstance(m, pb.Event)], [1, 2, 3])
        two.client(publish())
        self.settle()
        self.assertEqual(places(listener), [("a", 4)])

    def test_it_begins_where_the_node_is_not_yet(self) -> None:
        """Who subscribes on a node that is behind gets nothing that was published before, but by `replay`."""
        one, two = self.start()
        behind = two.client(pb.Subscribe(pattern="a"))
        one.fabric.is_lossy = True
        one.client(*[publish() for _ in range(3)])
        listeners = [two.client(pb.Subscribe(pattern="a", replay=replay)) for replay in (0, 1)]
        two.client(publish())
        self.assertEqual(places(behind), [("a", n) for n in range(1, 5)])
        self.assertEqual([places(each) for each in listeners], [[("a", 4)], [("a", 3), ("a", 4)]])

    def test_nobody_listens(self) -> None:
        """A node on which nobody listens reads nothing, and who comes then gets only what is new."""
        one, two = self.start()
        one.client(*[publish() for _ in range(3)])
        self.settle()
        self.assertEqual((two.exchange.following.position, two.exchange.following.pages), (3, 0))
        listener = two.client(pb.Subscribe(pattern="a"))
        one.client(publish())
        self.settle()
        self.assertEqual(places(listener), [("a", 4)])

    def test_gone_while_it_begins(self) -> None:
        """A connection that is lost while its subscription begins leaves nothing behind."""
        (one,) = self.start(1)
        one.reader.at_once = False
        for subscribe in (pb.Subscribe(pattern="a", replay=1), DURABLE):
            one.client(subscribe).lose()
        one.reader.at_once = True
        one.reader.run()
        self.assertEqual(one.exchange.broker.subscriptions, 0)
        self.assertEqual(one.exchange._heard, set())

    def test_reading_fails(self) -> None:
        """R34: what could not be read comes when it can be; a subscription that cannot begin is refused."""
        one, two = self.start()
        listener = two.client(pb.Subscribe(pattern="a"))
        two.database.is_readable = False
        one.client(publish())
        self.settle()
        two.fabric.catch_up()
        self.assertEqual(two.client(pb.Subscribe(pattern="a")).codes(), ["overloaded"])
        self.assertEqual(places(listener), [])
        two.database.is_readable = True
        self.pass_time(1)
        self.assertEqual(places(listener), [("a", 1)])
        self.assertEqual(two.exchange.broker.subscriptions, 1)

    def test_publishing_fails(self) -> None:
        """R34: what cannot be stored is refused with its id, and told to nobody."""
        (one,) = self.start(1)
        raw = one.client(pb.Subscribe(pattern="a"))
        one.database.trouble = StorageError("away")
        raw.send(publish(id=7))
        self.assertEqual([(m.code, m.id) for m in raw.received()], [("overloaded", 7)])
        one.database.trouble = None
        self.assertEqual([type(m) for m in raw.send(publish(id=8)).received()], [pb.Receipt, pb.Event])

    def test_what_a_database_may_not_take(self) -> None:
        """A content type that is none is refused, and nobody else's event that comes with it."""
        (one,) = self.start(1)
        good, bad = one.client(), one.client()
        one.writer.at_once = False
        good.send(publish(id=1))
        for content_type in ("x\0", "x" * 256):
            bad.send(pb.Publish(topic="a", content_type=content_type, id=2))
        good.send(publish(id=3))
        one.writer.at_once = True
        one.writer.run()
        self.assertEqual([type(m) for m in good.received()], [pb.Receipt] * 2)
        self.assertEqual([(m.code, m.id) for m in bad.received()], [("bad-content-type", 2)] * 2)
        self.assertEqual(one.client(pb.Unsubscribe(pattern="#", durable="d\0")).codes(), ["not-subscribed"])

    def test_a_claim_that_is_wrong(self) -> None:
        """Who says that there is more than there is leads to one read, and not to reading for ever."""
        _, two = self.start()
        two.client(pb.Subscribe(pattern="a"))
        two.exchange.following.woken("bus.events", 99)
        self.assertEqual(two.exchange.following.pages, 1)
        self.pass_time(3)
        self.assertEqual(two.exchange.following.pages, 1)

    def test_the_suites_own(self) -> None:
        """What the services of one node publish comes to who listens on another."""
        one, two = self.start()
        listener = two.client(pb.Subscribe(pattern="#"))
        one.exchange.publish("counter.refused", {"code": "overflow"})
        self.settle()
        self.assertEqual(said(listener), [b'{"code":"overflow"}'])


class KeepingTests(NodesCase):
    """What is kept for replay, and for nodes that are behind."""

    def kept(self, node: Node) -> list[tuple[str, int]]:
        return [
            (str(t), int(s))
            for t, s in self.query(node, "SELECT topic, sequence FROM bus_event ORDER BY position")
        ]

    def test_retention(self) -> None:
        """Of each topic `retain` events are kept when they are older than half a minute, and all before."""
        one, two = self.start()
        one.client(*[publish("a") for _ in range(9)], publish("b"))
        self.pass_time(20)
        self.assertEqual(len(self.kept(one)), 10)
        self.pass_time(40)
        self.assertEqual(self.kept(one), [*[("a", n) for n in range(6, 10)], ("b", 1)])
        listener = two.client(pb.Subscribe(pattern="a", replay=9))
        self.assertEqual(places(listener), [("a", n) for n in range(6, 10)])

    def test_more_than_is_deleted_at_once(self) -> None:
        """A sweep goes on until all is deleted that need not be kept, some of it at a time."""
        self.patch(published, "_SWEPT", 3)
        self.patch(upkeep, "_SWEPT", 2)
        (one,) = self.start(1, max_pending=1000)
        one.client(*[publish(topic) for topic in "abcde" for _ in range(14)])
        self.pass_time(29)
        self.assertEqual(len(self.kept(one)), 70)
        self.pass_time(8)
        self.assertEqual(self.kept(one), [(topic, n) for topic in "abcde" for n in range(11, 15)])

    def test_more_bytes_and_topics_than_go_at_once(self) -> None:
        """The same holds of what is above the bounds for all topics together."""
        self.patch(published, "_SWEPT", 3)
        self.patch(published, "_FORGOTTEN", 4)
        (one,) = self.start(1, max_pending=1000, max_retained=200, max_topics=5)
        one.client(*[publish(f"t{n}", b"x" * 20) for n in range(30)])
        self.pass_time(29)
        self.assertEqual(len(self.kept(one)), 30)
        self.pass_time(8)
        self.assertEqual(self.kept(one), [(f"t{n}", 1) for n in range(25, 30)])
        self.assertEqual(self.query(one, "SELECT retained FROM bus_head"), [(100,)])

    def test_a_stop_ends_a_sweep(self) -> None:
        """A sweep does not go on when the node stops."""
        self.patch(published, "_SWEPT", 3)
        (one,) = self.start(1, max_pending=1000)
        one.client(*[publish() for _ in range(30)])
        self.pass_time(29)
        one.writer.at_once = False
        self.pass_time(8)
        stopping = one.service.stopService()
        one.is_dead = True
        for _ in range(9):
            one.writer.run()
        self.successResultOf(stopping)
        self.assertEqual(len(self.kept(one)), 27)

    def test_left_by_another(self) -> None:
        """What a node left that died before it could sweep is found at the start of another one."""
        (one,) = self.start(1)
        one.client(*[publish("a") for _ in range(9)])
        one.kill()
        (two,) = self.start(1)
        self.pass_time(60)
        self.assertEqual(len(self.kept(two)), 4)

    def test_bounded_in_bytes(self) -> None:
        """Above `max_retained` bytes the oldest events go."""
        (one,) = self.start(1, max_retained=250)
        one.client(*[publish(f"t{n}", b"x" * 100) for n in range(4)])
        self.pass_time(60)
        self.assertEqual(self.kept(one), [("t2", 1), ("t3", 1)])
        self.assertEqual(self.query(one, "SELECT retained FROM bus_head"), [(200,)])

    def test_bounded_in_bytes_besides(self) -> None:
        """What `retain` does not keep is not taken for what the bound in bytes wants to be deleted."""
        (one,) = self.start(1)
        one.client(*[publish("a", b"x" * 100) for _ in range(9)])
        keeping = published.Keeping(4, 250, 10, int(self.clock.seconds() * 1000) + 1)
        self.successResultOf(one.exchange.store.sweep(keeping, ["a"]))
        self.assertEqual(self.kept(one), [("a", 8), ("a", 9)])
        self.assertEqual(self.query(one, "SELECT retained FROM bus_head"), [(200,)])

    def test_forgotten_topics_do_not_go_back(self) -> None:
        """Above `max_topics` the least recent are forgotten; a sequence is never below what it was."""
        (one,) = self.start(1, max_topics=2)
        raw = one.client(*[publish(topic) for topic in ("a", "a", "a", "b", "c")])
        self.pass_time(60)
        self.assertEqual(self.query(one, "SELECT topic FROM bus_topic ORDER BY topic"), [("b",), ("c",)])
        raw.send(publish("a", id=1), publish("b", id=2))
        self.assertEqual([m.sequence for m in raw.received()], [4, 2])

    def test_young_topics_are_not_forgotten(self) -> None:
        """What another node may have to read still is there, however many topics there are."""
        (one,) = self.start(1, max_topics=1)
        one.client(*[publish(topic) for topic in ("a", "b", "c")])
        self.pass_time(20)
        self.assertEqual(self.kept(one), [("a", 1), ("b", 1), ("c", 1)])
        one.client(publish("a"))
        self.pass_time(20)
        self.assertEqual(self.kept(one), [("a", 1), ("a", 2)])
        self.pass_time(40)
        self.assertEqual(self.query(one, "SELECT topic, sequence FROM bus_topic"), [("a", 2)])

    def test_topics_are_forgotten_bit_by_bit(self) -> None:
        """A topic that is to be forgotten goes with the last of its events, of which some go at once."""
        self.patch(published, "_SWEPT", 3)
        (one,) = self.start(1, max_pending=10)
        raw = one.client(*[publish("a") for _ in range(4)], publish("b"), publish("c"))
        keeping = published.Keeping(10, 1000, 1, int(self.clock.seconds() * 1000) + 1)
        left = []
        for _ in range(3):
            self.successResultOf(one.exchange.store.sweep(keeping, []))
            left.append([topic for (topic,) in self.query(one, "SELECT topic FROM bus_topic ORDER BY topic")])
            left.append([f"{topic}{sequence}" for topic, sequence in self.kept(one)])
        self.assertEqual(left[:2], [["a", "b", "c"], ["a4", "b1", "c1"]])
        self.assertEqual(left[2:], [["c"], ["c1"]] * 2)
        raw.send(publish("a", id=1), publish("b", id=2))
        self.assertEqual([m.sequence for m in raw.received()], [5, 5])

    def test_a_gap_is_noticed(self) -> None:
        """A node that was frozen for so long that events were deleted tells the rest, and counts that."""
        one, two = self.start()
        listener = two.client(pb.Subscribe(pattern="a"))
        two.service._expiring.stop()
        one.fabric.is_lossy = True
        one.client(*[publish("a") for _ in range(9)])
        self.pass_time(60)
        two.fabric.catch_up()
        self.assertEqual(places(listener), [("a", n) for n in range(6, 10)])
        self.assertEqual(two.exchange.following.gaps, 1)
        two.service._expiring.start(1, now=False)


class Owing(NodesCase):
    """What tests of durable subscriptions need."""

    def held(self, node: Node) -> list[Any]:
        """What is owed, and by which nodes it is held."""
        return self.query(node, "SELECT sequence, node FROM bus_owed ORDER BY id")

    def ack(self, raw: Raw, *events: pb.Event) -> None:
        raw.send(*(pb.Ack(delivery=event.delivery) for event in events))
        self.settle()


class DeathTests(Owing):
    """Nodes that die, or seem to. Their time is that of a test, which only SQLite has."""

    def test_a_node_dies(self) -> None:
        """R1: what a killed node had in flight is given to another after `node_timeout`."""
        one, two = self.start()
        self.pass_time(1)
        one.client(DURABLE)
        one.client(publish(), publish())
        self.settle()
        self.assertEqual({node for _, node in self.held(one)}, {one.fabric.node})
        one.kill()
        second = two.client(DURABLE)
        self.pass_time(9)
        self.assertEqual(places(second), [])
        self.pass_time(6)
        self.assertEqual(places(second), [("a", 1), ("a", 2)])
        self.assertEqual(self.query(two, "SELECT node FROM bus_node"), [(two.fabric.node,)])

    def test_a_node_that_was_taken_for_dead(self) -> None:
        """A node that was frozen gives up what it had, and takes part again; late acknowledgements count."""
        one, two = self.start(ack_timeout=1000)
        self.pass_time(1)
        first = one.client(DURABLE)
        one.client(publish(), publish())
        self.settle()
        mine = first.events()
        one.service._expiring.stop()  # frozen
        second = two.client(DURABLE)
        self.pass_time(20)
        self.assertEqual(places(second), [("a", 1), ("a", 2)])
        self.ack(first, mine[0])
        self.assertEqual([sequence for sequence, _ in self.held(two)], [2])
        one.service._expiring.start(1, now=False)
        self.pass_time(5)
        self.assertEqual(len(self.query(two, "SELECT node FROM bus_node")), 2)
        one.client(*[publish() for _ in range(4)])
        self.settle()
        self.assertIn(one.fabric.node, {node for _, node in self.held(two)})

    def test_late_nodes_find_the_dead(self) -> None:
        """Nodes that are always too late themselves take one for dead that is silent for much longer."""
        one, two = self.start()
        self.pass_time(1)
        one.client(DURABLE, publish())
        self.settle()
        one.kill()
        second = two.client(DURABLE)
        two.service._expiring.stop()
        for _ in range(4):
            self.clock.advance(12)
            two.exchange.expire()
            self.settle()
        self.assertEqual(places(second), [("a", 1)])
        two.service._expiring.start(1, now=False)

    def test_after_an_outage_nobody_is_dead(self) -> None:
        """R34: when nobody could renew for a while, the first who can takes nothing from the others."""
        one, two = self.start()
        self.pass_time(1)
        consumers = [node.client(DURABLE) for node in (one, two)]
        one.client(*[publish() for _ in range(4)])
        self.settle()
        before = self.held(one)
        self.assertEqual({node for _, node in before}, {one.fabric.node, two.fabric.node})
        for node in (one, two):
            node.database.trouble = StorageError("away")
        self.pass_time(20)
        for node in (one, two):
            node.database.trouble = None
        self.pass_time(5)
        self.assertEqual(self.held(one), before)
        self.assertEqual([len(each.events()) for each in consumers], [2, 2])


class DurableTests(Owing):
    """Durable subscriptions."""

    def test_published_elsewhere(self) -> None:
        """A durable subscription made on one node gets what is published on another from that moment on."""
        one, two = self.start()
        consumer = one.client(DURABLE, pb.EchoMessage(content="x"))
        self.assertEqual([m.content for m in consumer.received()], ["x"])
        publisher = two.client(publish(id=1))
        self.settle()
        self.assertEqual([m.sequence for m in publisher.received()], [1])
        (event,) = consumer.events()
        self.assertEqual(self.held(one), [(1, one.fabric.node)])
        self.ack(consumer, event)
        self.assertEqual(self.held(one), [])

    def test_counting_has_a_bound(self) -> None:
        """Where it takes a second to count what is owed, that is done every twenty; who is new is known."""
        one, two = self.start(max_durable_events=100, max_pending=100)
        ticks = itertools.count()
        two.database.clock = lambda: float(next(ticks))
        self.pass_time(6)
        one.client(DURABLE).lose()
        one.client(*[publish() for _ in range(7)])
        known = []
        for _ in range(4):
            self.pass_time(6)
            known.append([durable.owed for durable in two.exchange.broker.durables.values()])
        self.assertEqual(known, [[0], [0], [7], [7]])

    def test_counting_what_is_full(self) -> None:
        """Where it takes long to count what is owed, who waits for room still hears of it in a second."""
        one, two = self.start()
        consumer = one.client(pb.Subscribe(pattern="#", durable="d", prefetch=9))
        self.pass_time(10)
        ticks = itertools.count(step=1000)
        two.database.clock = lambda: float(next(ticks))
        self.pass_time(6)
        publisher = two.client(*[publish(id=n) for n in range(1, 7)])
        self.settle()
        self.assertEqual(len(publisher.received()), 5)
        self.ack(consumer, *consumer.events())
        self.pass_time(2)
        self.assertEqual([m.id for m in publisher.received()], [6])

    def test_counting_goes_on(self) -> None:
        """Where it takes no time to count what is owed, that is done every five seconds, and at a start."""
        one, two = self.start(max_durable_events=100, max_pending=100)
        one.client(DURABLE).lose()
        two.database.clock = lambda: 0.0
        for count in (1, 2, 3):
            one.client(publish())
            self.pass_time(6)
            self.assertEqual(two.exchange.broker.durables["d"].owed, count)
        self.assertEqual(Node(self, 3).exchange.broker.durables["d"].owed, 3)

    def test_deliveries_do_not_collide(self) -> None:
        """Deliveries of all nodes, before and after restarts, have numbers of their own."""
        one, two = self.start()
        consumers = [
            node.client(pb.Subscribe(pattern="#", durable=f"d{n}")) for n, node in enumerate((one, two))
        ]
        for node in (one, two, one):
            node.client(publish())
        self.settle()
        found = [event.delivery for each in consumers for event in each.events()]
        three = Node(self, 3)
        third = three.client(pb.Subscribe(pattern="#", durable="d2"), publish())
        found += [event.delivery for event in third.events()]
        self.assertEqual(len(found), 5)
        self.assertEqual(len(set(found)), 5)

    def test_work_is_shared(self) -> None:
        """Consumers on several nodes share the events of a name: each goes to one of them."""
        nodes = self.start(3)
        consumers = [node.client(DURABLE) for node in nodes]
        nodes[0].client(*[publish(payload=b"%d" % n) for n in range(4)])
        self.settle()
        got: list[list[pb.Event]] = [each.events() for each in consumers]
        self.assertEqual(sorted(e.payload for events in got for e in events), [b"0", b"1", b"2", b"3"])
        self.assertEqual([len(events) for events in got], [2, 2, 0])
        self.ack(consumers[1], *got[1])
        nodes[2].client(*[publish(payload=b"%d" % n) for n in (4, 5)])
        self.settle()
        self.assertEqual(sum(len(each.events()) for each in consumers), 2)

    def test_to_the_end(self) -> None:
        """Whatever is acknowledged where, every event comes once and nothing is left."""
        nodes = self.start(3, max_durable_events=1000, max_pending=1000)
        consumers = [node.client(DURABLE) for node in nodes]
        for n in range(100):
            nodes[n % 3].client(publish(payload=b"%d" % n))
        self.settle()
        seen: list[bytes] = []
        while events := [(each, e) for each in consumers for e in each.events()]:
            for each, event in events:
                seen.append(event.payload)
                self.ack(each, event)
        self.assertEqual(sorted(seen), sorted(b"%d" % n for n in range(100)))
        self.assertEqual(self.held(nodes[0]), [])

    def test_a_consumer_leaves(self) -> None:
        """What was with a connection that is lost goes to one on another node, in order."""
        one, two = self.start()
        first = one.client(DURABLE)
        one.client(*[publish() for _ in range(3)])
        self.settle()
        self.assertEqual(len(first.events()), 2)
        second = two.client(pb.Subscribe(pattern="#", durable="d", prefetch=9))
        self.assertEqual(places(second), [("a", 3)])
        first.lose()
        self.settle()
        self.assertEqual(places(second), [("a", 1), ("a", 2)])

    def test_a_node_stops(self) -> None:
        """What a node had is free at once when it stops."""
        one, two = self.start()
        first, second = one.client(DURABLE), two.client(DURABLE)
        two.client(*[publish() for _ in range(4)])
        self.settle()
        self.assertEqual((places(first), places(second)), ([("a", 3), ("a", 4)], [("a", 1), ("a", 2)]))
        first.lose()
        one.service.stopService()
        one.is_dead = True
        self.assertEqual([node for _, node in self.held(two)], [two.fabric.node] * 2 + [""] * 2)
        self.assertEqual(self.query(two, "SELECT node FROM bus_node"), [(two.fabric.node,)])

    def test_without_an_acknowledgement(self) -> None:
        """After `ack_timeout` an event comes again, to whoever has room."""
        one, two = self.start()
        first = one.client(pb.Subscribe(pattern="#", durable="d", prefetch=1))
        one.client(publish())
        self.settle()
        (event,) = first.events()
        self.pass_time(31)
        (again,) = first.events()
        self.assertEqual(again.delivery, event.delivery)
        first.send(publish())
        self.pass_time(1)
        second = two.client(DURABLE)
        self.settle()
        self.assertEqual(places(second), [("a", 2)])

    def test_lost_wake_ups(self) -> None:
        """R33: what is owed is delivered when the fabric says that wake-ups may be missing."""
        one, two = self.start()
        consumer = two.client(DURABLE)
        self.settle()
        one.fabric.is_lossy = True
        one.client(publish())
        self.settle()
        self.assertEqual(places(consumer), [])
        two.fabric.catch_up()
        self.assertEqual(places(consumer), [("a", 1)])

    def test_one_name_one_pattern(self) -> None:
        """A name that is in use on another node for another pattern is refused, and there is a bound."""
        one, two = self.start(max_durables=1)
        one.client(DURABLE)
        other = two.client(pb.Subscribe(pattern="a", durable="d"), pb.Subscribe(pattern="a", durable="e"))
        self.assertEqual(other.codes(), ["bad-durable", "overloaded"])
        self.assertEqual(two.client(pb.Subscribe(pattern="a", durable="x" * 65)).codes(), ["bad-durable"])

    def test_deleting(self) -> None:
        """A durable subscription that is deleted on one node is gone on all, with all that it was owed."""
        one, two = self.start()
        consumer = one.client(DURABLE)
        two.client(publish())
        self.settle()
        self.assertEqual(len(consumer.events()), 1)
        raw = two.client(pb.Unsubscribe(pattern="#", durable="d"), pb.Unsubscribe(pattern="#", durable="d"))
        self.assertEqual(raw.codes(), ["not-subscribed"])
        self.assertEqual(self.held(one), [])
        self.pass_time(6)
        self.assertEqual(one.exchange.broker.durables, {})
        two.client(publish())
        self.settle()
        self.assertEqual((consumer.events(), self.held(one)), ([], []))

    def test_deleted_and_made_anew(self) -> None:
        """A name that was deleted and made anew elsewhere, for another pattern, loses its old consumers."""
        one, two = self.start()
        old = one.client(DURABLE)
        new = two.client(
            pb.Unsubscribe(pattern="#", durable="d"), pb.Subscribe(pattern="b", durable="d"), publish("b")
        )
        self.pass_time(6)
        self.assertEqual(places(new), [("b", 1)])
        self.assertEqual(places(old), [])
        self.assertEqual(one.exchange.broker.durables["d"].pattern, "b")

    def taking(self) -> tuple[Node, Node]:
        """Two nodes: one of them takes something of a durable subscription that it knows to be deleted."""
        one, two = self.start()
        one.client(DURABLE)
        two.client(publish())
        one.writer.at_once = False
        self.settle()
        two.client(pb.Unsubscribe(pattern="#", durable="d"))
        self.pass_time(6)
        self.assertEqual(one.exchange.broker.durables, {})
        two.client(DURABLE).lose()
        return one, two

    def took(self, node: Node) -> None:
        """It has taken what there is."""
        node.writer.at_once = True
        node.writer.run()
        self.settle()

    def test_deleted_while_it_takes(self) -> None:
        """What a node takes for one that was deleted meanwhile goes to the one that has its name now."""
        one, two = self.taking()
        two.client(publish())
        new = one.client(DURABLE)
        self.assertEqual(self.held(two), [(2, "")])
        self.took(one)
        self.assertEqual(places(new), [("a", 2)])

    def test_deleted_while_it_takes_nothing(self) -> None:
        """Where there is nothing to be taken, the one that has its name now is heard of all the same."""
        one, two = self.taking()
        new = one.client(DURABLE)
        self.took(one)
        two.client(publish())
        self.settle()
        self.assertEqual(places(new), [("a", 2)])

    def test_publishers_wait(self) -> None:
        """When it is full publishers of all nodes wait, and go on when there is room, wherever it is made."""
        one, two = self.start()
        consumer = one.client(DURABLE)
        two.client(*[publish(id=n) for n in range(1, 6)])
        self.pass_time(6)
        publisher = two.client(publish(id=9))
        self.assertEqual((publisher.received(), two.exchange.publishers_waiting), ([], 1))
        self.ack(consumer, *consumer.events())
        self.pass_time(2)
        self.assertEqual([m.id for m in publisher.received()], [9])

    def test_writing_fails(self) -> None:
        """R34: acknowledgements, leases and what is given back are tried again when the database is back."""
        one, two = self.start()
        first = one.client(DURABLE)
        one.client(publish(), publish(), publish())
        self.settle()
        events = first.events()
        one.database.trouble = StorageError("away")
        self.ack(first, events[0])
        self.assertEqual(one.client(pb.Subscribe(pattern="#", durable="e")).codes(), ["overloaded"])
        first.lose()
        second = two.client(pb.Subscribe(pattern="#", durable="d", prefetch=9))
        self.assertEqual(places(second), [("a", 3)])
        one.database.trouble = None
        self.pass_time(2)
        self.assertEqual(places(second), [("a", 2)])

    def test_in_doubt(self) -> None:
        """R34: what a node may have taken without knowing it is given back, and comes to somebody."""
        (one,) = self.start(1)
        consumer = one.client(DURABLE)
        one.client(publish())
        self.ack(consumer, *consumer.events())
        taking = one.database.write

        def cut(work: Any, rows: Any = None) -> Deferred[Any]:
            """It is committed, and nobody knows."""
            is_lease = bool(self.query(one, "SELECT 1 FROM bus_owed WHERE node = ''"))
            done = taking(work, rows)
            if is_lease:
                done = done.addCallback(lambda _: fail(CommitUnknown("who knows")))
            return done

        one.database.write = cut  # type: ignore[method-assign]
        one.client(publish())
        one.database.write = taking  # type: ignore[method-assign]
        self.assertEqual((self.held(one), places(consumer)), ([(2, one.fabric.node)], []))
        self.pass_time(6)
        self.assertEqual(places(consumer), [("a", 2)])

    def test_in_doubt_while_it_renews(self) -> None:
        """R34: what comes to be in doubt while a node says that it lives is given back the next time."""
        (one,) = self.start(1)
        consumer = one.client(DURABLE)
        writing = one.database.write
        unknown: list[Deferred[Any]] = []

        def cut(work: Any, rows: Any = None) -> Deferred[Any]:
            """It is committed, and what becomes of it is said later."""
            is_lease = bool(self.query(one, "SELECT 1 FROM bus_owed WHERE node = ''"))
            done = writing(work, rows)
            if is_lease:
                unknown.append(Deferred())
            return unknown[-1] if is_lease else done

        one.database.write = cut  # type: ignore[method-assign]
        one.client(publish())
        one.database.write = writing  # type: ignore[method-assign]
        one.writer.at_once = False
        self.pass_time(1)
        self.assertEqual((len(unknown), len(one.writer.tasks)), (1, 1))
        unknown[0].errback(CommitUnknown("who knows"))
        one.writer.at_once = True
        one.writer.run()
        self.assertEqual((self.held(one), places(consumer)), ([(1, one.fabric.node)], []))
        self.pass_time(6)
        self.assertEqual(places(consumer), [("a", 1)])

    def test_after_a_node_alone(self) -> None:
        """What a node alone was owed and had counted goes on when there are several, and back again."""
        alone = self.database_of(self.folder, HandWorker(at_once=True), HandWorker(at_once=True))
        self.addCleanup(alone.close)
        service = BusService(self.config, BusStore(alone), self.clock, self.clock.seconds)
        service.startService()
        Raw(service).send(DURABLE).lose()
        Raw(service).send(publish(), publish())
        service.stopService()
        (one,) = self.start(1)
        consumer = one.client(pb.Subscribe(pattern="#", durable="d", prefetch=9), publish())
        events = consumer.events()
        self.assertEqual([event.sequence for event in events], [1, 2, 3])
        self.ack(consumer, events[0])
        one.service.stopService()
        one.is_dead = True
        service = BusService(self.config, BusStore(alone), self.clock, self.clock.seconds)
        service.startService()
        self.addCleanup(service.stopService)
        again = Raw(service).send(pb.Subscribe(pattern="#", durable="d", prefetch=9), publish())
        self.assertEqual(places(again), [("a", 2), ("a", 3), ("a", 4)])


class RetireTests(NodesCase):
    """A node that publishes with a writer of its own, as it does with a server, and stops."""

    def setUp(self) -> None:
        super().setUp()
        worker, self.writer = HandWorker(at_once=True), HandWorker(at_once=True)
        self.database = self.database_of(self.folder, worker, worker)
        self.publishing = self.database_of(self.folder, self.writer, self.writer)
        self.addCleanup(self.database.close)
        self.store = SharedStore(self.database, self.publishing, "one", 10, self.clock.seconds)
        self.store.start()

    def rows(self, table: str) -> int:
        with self.database.at_start() as connection:
            return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() or 0)

    def test_nothing_blocks(self) -> None:
        """What waits for the writer of publishers is waited for as ever: the reactor goes on turning."""
        self.writer.at_once = False
        creating = self.store.create("d", "#", 10)
        retiring = self.store.retire()
        self.assertNoResult(retiring)
        self.assertEqual(self.rows("bus_durable"), 0)
        self.writer.run()
        self.assertEqual((self.successResultOf(creating), self.rows("bus_durable")), (None, 1))
        self.successResultOf(retiring)
        self.assertEqual(self.rows("bus_node"), 0)

    def test_a_writer_that_fails(self) -> None:
        """A node can leave when it can publish nothing."""
        self.publishing.trouble = StorageError("away")
        self.successResultOf(self.store.retire())
        self.assertEqual(self.rows("bus_node"), 0)


class AsAlone(NodesCase):
    """What holds of a node alone."""

    config = test_bus_service.Fixture.config

    def setUp(self) -> None:
        super().setUp()
        self.made: list[Node] = []
        self.service = self.make_service()
        self.writer, self.database = self.made[0].writer, self.made[0].database

    def make_service(self, **changes: Any) -> BusService:
        """Another node, in the place of the one before."""
        for node in self.made:
            if not node.is_dead:
                node.service.stopService()
                node.is_dead = True
        self.made.append(Node(self, len(self.made), **changes))
        return self.made[-1].service


class AnswersAsAlone(AsAlone, test_bus_service.AnswerTests):  # type: ignore[misc]
    """Echo, add, and what is refused."""


class EventsAsAlone(AsAlone, test_bus_service.EventTests):  # type: ignore[misc]
    """Publishing and best-effort subscriptions."""


class DurableAsAlone(AsAlone, test_bus_service.DurableTests):  # type: ignore[misc]
    """Durable subscriptions and the store."""

    def test_a_durable_subscription_that_is_not_stored_is_none(self) -> None:
        """When it cannot be stored the client is told, and nothing is kept for it."""
        self.made[0].database.trouble = StorageFull("no room")
        self.assertEqual(Raw(self.service).send(DURABLE).codes(), ["overloaded"])
        self.assertEqual(self.service.exchange.broker.durables, {})


del test_bus_service
