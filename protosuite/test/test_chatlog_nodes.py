"""chatlog.v1 on several nodes over one database, thread by thread; some wake-ups do not come."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protosuite.chatlog.chain import Verifier
from protosuite.chatlog.server import ChatLogService
from protosuite.chatlog.store import ChatLogStore
from protosuite.chatlog.wire import Error, ServerAck, ServerReply
from protosuite.config import ChatLogConfig
from protosuite.errors import StorageError
from protosuite.fabric import Hub, LocalFabric
from protosuite.test.chatlog_peers import Client, Workers


class Lossy(LocalFabric):
    """Loses the wake-ups of this node while a test says so."""

    is_lossy = False

    def publish(self, topic: str, number: int) -> None:
        if not self.is_lossy:
            super().publish(topic, number)

    def catch_up(self) -> None:
        """As after a loss that was noticed."""
        for topic, listeners in list(self._listeners.items()):
            for listener in list(listeners):
                listener.catch_up([topic])


class Node:
    """A chat log on a database of its own: others have the same file."""

    def __init__(self, case: SynchronousTestCase, hub: Hub, folder: str, number: int, **config: Any) -> None:
        self.workers = Workers(folder)
        fabric = hub.nodes[number]
        assert isinstance(fabric, Lossy)
        self.fabric = fabric
        config = {"max_batch": 3, "max_entries": 3, **config}
        self.service = ChatLogService(
            evolve(ChatLogConfig(), **config),
            ChatLogStore(self.workers.database, 100),
            hub.clock,
            Random(number),
            lambda: 1_700_000_000.0,
            fabric=self.fabric,
        )
        self.service.startService()
        case.addCleanup(self.workers.database.close)
        case.addCleanup(self.service.stopService)
        case.addCleanup(self.workers.by_hand, False)


class NodesTests(SynchronousTestCase):
    """Two or three nodes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.hub = Hub(self.clock)
        self.folder = self.mktemp()
        self.nodes: list[Node] = []
        self.clients: list[Client] = []

    def start(self, count: int, **config: Any) -> list[Node]:
        """So many nodes, whose work is done when a test says so."""
        self.hub.nodes[:] = [Lossy(self.hub, str(n)) for n in range(count)]
        self.nodes = [Node(self, self.hub, self.folder, n, **config) for n in range(count)]
        for node in self.nodes:
            node.workers.by_hand()
        return self.nodes

    def join(self, node: Node, room: str = "r") -> Client:
        client = Client(node.service, room)
        self.clients.append(client)
        self.addCleanup(client.lose)
        return client

    def settle(self) -> None:
        """All that there is to do on all nodes."""
        quiet = 0
        while quiet < 3:
            quiet = 0 if any(node.workers.is_busy for node in self.nodes) else quiet + 1
            for node in self.nodes:
                node.workers.settle()
            self.clock.advance(0)
            for client in self.clients:
                client.pipe.pump()

    def reply(self, client: Client) -> ServerReply:
        """What it gets when it asks for the latest."""
        client.heard()
        client.update()
        self.settle()
        (reply,) = client.heard()
        assert isinstance(reply, ServerReply)
        return reply

    def test_everybody_sees_what_anybody_says(self) -> None:
        """R4: what is appended on one node is told on the others, as it was stored."""
        one, two = self.start(2)
        ana, bob = self.join(one), self.join(two)
        self.settle()
        ana.append("hello")
        self.settle()
        self.assertEqual(ana.heard(), heard := bob.heard())
        (ack,) = heard
        self.assertEqual((ack.entry.slot, ack.entry.content), (1, "hello"))
        bob.append("hi")
        self.settle()
        self.assertEqual((ana.slots(), bob.slots()), ([2], [2]))

    def test_a_hole_is_filled(self) -> None:
        """R4: a lost wake-up is found by the hole that it leaves: what is missing is told first."""
        one, two = self.start(2)
        ana, bob = self.join(one), self.join(two)
        self.settle()
        one.fabric.is_lossy = True
        for n in range(10):
            ana.append(str(n))
        self.settle()
        self.assertEqual((ana.slots(), bob.slots()), ([*range(1, 11)], []))
        bob.append("mine")
        self.settle()
        self.assertEqual((ana.slots(), bob.slots()), ([11], [*range(1, 12)]))
        self.assertEqual(two.service.rooms["r"].pending, 0)

    def test_catching_up(self) -> None:
        """R33: a lost wake-up that leaves no hole is found when the fabric says that some may be missing."""
        one, two = self.start(2)
        ana, bob = self.join(one), self.join(two)
        self.join(two, "another")
        self.settle()
        one.fabric.is_lossy = True
        ana.append("0")
        self.settle()
        self.assertEqual(bob.slots(), [])
        two.fabric.catch_up()
        self.settle()
        self.assertEqual(bob.slots(), [1])

    def test_a_wake_up_while_the_room_is_opened(self) -> None:
        """What is stored between the reading of a room and its opening is told as well."""
        one, two = self.start(2)
        ana = self.join(one)
        self.settle()
        bob = self.join(two)
        two.workers.read()  # it is known to be empty, and not open yet
        ana.append("0")
        one.workers.settle()
        self.clock.advance(0)
        self.assertEqual(bob.slots(), [])
        self.settle()
        self.assertEqual(bob.slots(), [1])

    def test_a_wake_up_for_nothing(self) -> None:
        """A number that is higher than the log is long does no harm."""
        one, two = self.start(2)
        ana, bob = self.join(one), self.join(two)
        self.settle()
        one.fabric.publish("chatlog.r", 1000)
        self.settle()
        self.assertEqual(two.service.rooms["r"].wanted, 0)
        ana.append("0")
        self.settle()
        self.assertEqual((ana.slots(), bob.slots()), ([1], [1]))

    def test_the_answer_comes_in_its_turn(self) -> None:
        """Who appends behind a hole is acknowledged once, when it has been told what comes before."""
        one, two = self.start(2)
        ana, bob = self.join(one), self.join(two)
        self.settle()
        one.fabric.is_lossy = True
        ana.append("0")
        self.settle()
        bob.append("1")
        two.workers.write()
        two.workers.answer()
        self.assertEqual(bob.slots(), [])  # it is stored; what comes before has to be read
        self.settle()
        self.assertEqual(bob.slots(), [1, 2])

    def test_a_key_that_another_node_has_stored(self) -> None:
        """R3: what was stored by one node is not stored again by another, and is acknowledged there once."""
        one, two = self.start(2)
        ana, bob = self.join(one), self.join(two)
        self.settle()
        one.fabric.is_lossy = True
        ana.append("0", key="k")
        self.settle()
        bob.append("0", key="k").append("1", key="l")
        self.settle()
        self.assertEqual((ana.slots(), bob.slots()), ([1, 2], [1, 2]))
        bob.append("0", key="k")
        self.settle()
        self.assertEqual(bob.slots(), [1])

    def test_two_nodes_make_one_room(self) -> None:
        """A node that has the wrong epoch for a room that others make has its members come back, and see."""
        one, two = self.start(2)
        one.service._seed = two.service._seed = None  # as if each had begun alone
        ana, bob = self.join(one), self.join(two)
        self.settle()
        mine, wrong = self.reply(ana), self.reply(bob)
        self.assertNotEqual(mine.epoch, wrong.epoch)
        ana.append("0")
        bob.append("1")
        self.settle()
        self.assertEqual((ana.slots(), bob.slots(), bob.close_code), ([1, 2], [], 1013))
        back = self.join(two)
        self.settle()
        reply = self.reply(back)
        self.assertEqual((reply.epoch, [e.slot for e in reply.entries]), (mine.epoch, [1, 2]))
        self.assertIsNone(Verifier(reply.epoch).first_problem(reply.entries))
        self.assertEqual(two.service.rooms["r"].pending, 0)

    def test_a_database_that_cannot_be_read(self) -> None:
        """R34: what another node has stored is told as soon as the database can be read again."""
        one, two = self.start(2)
        ana, bob = self.join(one), self.join(two)
        self.settle()
        two.workers.database.no_reads = StorageError("broken")
        ana.append("0")
        self.settle()
        self.clock.advance(1)
        self.settle()
        two.fabric.catch_up()
        self.settle()
        self.assertEqual((ana.slots(), bob.slots()), ([1], []))
        two.workers.database.no_reads = None
        self.clock.advance(1)
        self.settle()
        self.assertEqual(bob.slots(), [1])

    def test_an_answer_that_cannot_come_in_its_turn(self) -> None:
        """R34, R3: who appends behind what cannot be read is sent away, and acknowledged once by its key."""
        one, two = self.start(2)
        ana, bob, eve = self.join(one), self.join(two), self.join(two)
        self.settle()
        one.fabric.is_lossy = True
        ana.append("0")
        self.settle()
        two.workers.database.no_reads = StorageError("broken")
        bob.append("1", key="k")
        self.settle()
        self.assertEqual((bob.slots(), bob.close_code, eve.slots(), eve.close_code), ([], 1013, [], None))
        self.clock.advance(1)  # it is tried again, with nobody there to be told
        self.settle()
        again = self.join(two)
        self.settle()
        again.append("1", key="k")
        self.settle()
        two.workers.database.no_reads = None
        self.clock.advance(1)
        self.settle()
        self.assertEqual((again.slots(), again.close_code, eve.slots()), ([], 1013, [1, 2]))
        last = self.join(two)
        self.settle()
        last.append("1", key="k")
        self.settle()
        self.assertEqual((last.slots(), two.service.rooms["r"].pending), ([2], 0))

    def test_the_latest_of_all_nodes(self) -> None:
        """R4: who asks for the latest gets what was acknowledged before on any node, wake-ups or not."""
        one, two = self.start(2)
        ana, bob = self.join(one), self.join(two)
        self.settle()
        one.fabric.is_lossy = True
        for n in range(8):
            ana.append(str(n))
        self.settle()
        self.assertEqual((ana.slots(), bob.slots()), ([*range(1, 9)], []))
        bob.update()
        bob.update()
        self.settle()
        *acks, reply, again = bob.heard()
        self.assertEqual([m.entry.slot for m in acks if isinstance(m, ServerAck)], [*range(1, 9)])
        for each in (reply, again):
            assert isinstance(each, ServerReply)
            self.assertEqual((each.latest, each.entries[-1].slot), (8, 8))
        ana.append("8")
        self.settle()
        bob.update(upto=100)
        self.settle()
        ack, reply = bob.heard()
        assert isinstance(ack, ServerAck)
        assert isinstance(reply, ServerReply)
        self.assertEqual((ack.entry.slot, reply.latest), (9, 9))

    def test_the_latest_cannot_be_known(self) -> None:
        """R34: who asks for the latest while the database cannot be read is told so, and may ask again."""
        _, two = self.start(2)
        bob = self.join(two)
        self.settle()
        two.workers.database.no_reads = StorageError("broken")
        bob.update()
        self.settle()
        (error,) = bob.heard()
        assert isinstance(error, Error)
        self.assertEqual(error.code, "storage")
        two.workers.database.no_reads = None
        self.assertEqual(self.reply(bob).latest, 0)

    def test_nobody_waits_for_the_latest_any_more(self) -> None:
        """Who leaves while it is looked up takes nothing with it."""
        one, two = self.start(2)
        ana, bob = self.join(one), self.join(two)
        self.settle()
        one.fabric.is_lossy = True
        ana.append("0")
        self.settle()
        bob.update()
        bob.pipe.pump()
        bob.lose()
        self.settle()
        self.assertEqual((two.service.rooms, two.service._others._waiting), ({}, {}))

    def test_what_another_node_has_deleted(self) -> None:
        """Who cannot be told what comes next, as it is deleted, comes back and goes on with what there is."""
        one, two = self.start(2, keep_entries=2)
        ana, bob = self.join(one), self.join(two)
        self.settle()
        one.fabric.is_lossy = True
        for n in range(6):
            ana.append(str(n))
        self.settle()
        self.clock.advance(60)  # it sweeps
        self.settle()
        two.fabric.catch_up()
        self.settle()
        self.assertEqual((bob.slots(), bob.close_code), ([], 1013))
        back = self.join(two)
        self.settle()
        self.assertEqual([e.slot for e in self.reply(back).entries], [5, 6])

    def test_one_epoch(self) -> None:
        """All nodes give an empty room the epoch that it will have, and so does a node that comes later."""
        one, two = self.start(2)
        epochs = []
        for node in (one, two):
            client = self.join(node)
            self.settle()
            epochs.append(self.reply(client).epoch)
        self.assertEqual(epochs[0], epochs[1])
        other = self.join(one, "other")
        self.settle()
        self.assertNotEqual(self.reply(other).epoch, epochs[0])

    def test_left_alone(self) -> None:
        """A room that nobody is in any more is not listened to."""
        (node,) = self.start(1)
        ana = self.join(node)
        self.settle()
        self.assertEqual(list(node.fabric._listeners), ["chatlog.r"])
        ana.leave()
        self.settle()
        self.assertEqual((list(node.fabric._listeners), node.service.rooms), ([], {}))

    def test_one_order_for_everybody(self) -> None:
        """R4: whatever comes late or not at all, all members on all nodes see all entries in one order."""
        for seed in range(12):
            with self.subTest(seed=seed):
                self.one_order(Random(seed))

    def one_order(self, random: Random) -> None:
        """Writers on three nodes, whose threads, wake-ups and reactors take their turns at random."""
        self.folder, self.clients = self.mktemp(), []
        nodes = self.start(3, cache_entries=random.choice((0, 2, 1000)))
        first = self.join(nodes[0])
        self.settle()
        first.append("first")  # so that there is one epoch
        self.settle()
        clients = [first, *(self.join(random.choice(nodes)) for _ in range(4))]
        self.settle()
        for client in clients:
            client.heard()
            client.acks.clear()
        for _ in range(200):
            self.step(random, random.choice(nodes), random.choice(clients))
        self.settle()
        for node in nodes:
            node.fabric.catch_up()
        self.settle()
        logs = [self.log_of(client) for client in clients]
        self.assertEqual(logs, [logs[0]] * len(logs))
        self.assertEqual([slot for slot, _ in logs[0]], [*range(2, len(logs[0]) + 2)])
        self.assertEqual(max(Counter(what for _, what in logs[0]).values(), default=1), 1)
        self.assertEqual(len(logs[0]), sum(client.seq for client in clients) - 1)
        rooms = [node.service.rooms["r"] for node in nodes if "r" in node.service.rooms]
        self.assertEqual({(room.pending, len(room.owed)) for room in rooms}, {(0, 0)})

    def log_of(self, client: Client) -> list[tuple[int, str]]:
        """What it was told."""
        heard = client.heard()
        return [(m.entry.slot, m.entry.content) for m in heard if isinstance(m, ServerAck)]

    def step(self, random: Random, node: Node, client: Client) -> None:
        """One thing that happens."""
        match random.randrange(8):
            case 0 | 1:
                client.append(f"{id(client)} {client.seq}")
            case 2:
                node.workers.write()
            case 3:
                node.workers.read()
            case 4 | 5:
                node.workers.answer()
            case 6:
                self.clock.advance(0)
            case 7:
                node.fabric.is_lossy = random.random() < 0.3
                if random.random() < 0.2:
                    node.fabric.catch_up()
