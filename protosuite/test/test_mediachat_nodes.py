"""mediachat.v1 on several nodes over one database, thread by thread; some wake-ups do not come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from protosuite.errors import StorageError
from protosuite.fabric import Hub
from protosuite.fabric.interface import Away
from protosuite.mediachat import following
from protosuite.mediachat.media.folder import MediaFolder
from protosuite.mediachat.server import MediaChatService
from protosuite.mediachat.store import MediaChatStore
from protosuite.test.mediachat_peers import OPEN, PARIS, Fields, Fixture, Socket, Threads
from protosuite.test.test_chatlog_nodes import Lossy


class Fabric(Lossy):
    """One that may also not know who is where."""

    is_away = False

    def present(self, group: str) -> Deferred[Mapping[str, frozenset[str]]]:
        return fail(Away("as a test says")) if self.is_away else super().present(group)


class Node:
    """A media chat with threads of its own: others have the same files."""

    def __init__(self, case: Fixture, hub: Hub, folder: Path, number: int) -> None:
        self.threads = Threads(str(folder))
        fabric = hub.nodes[number]
        assert isinstance(fabric, Fabric)
        self.fabric = fabric
        self.store = MediaChatStore(self.threads.database, 1 << 30, lane=number)
        self.service = MediaChatService(
            OPEN,
            self.store,
            MediaFolder(folder),
            self.threads.calls,
            hub.clock,
            Random(number),
            hub.clock.seconds,
            fabric=fabric,
        )
        self.service.startService()
        self.threads.turn()
        case.addCleanup(self.threads.database.close)
        case.addCleanup(self.service.stopService)
        case.addCleanup(self.threads.by_hand, False)


class Console:
    """What a console makes of what it is told, as the page does: messages by chat, and what is unread."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.messages: dict[int, list[int]] = {}  # ids, as they came
        self.unread: dict[int, int] = {}
        self.connected: dict[int, int] = {}

    def hear(self) -> Console:
        """Take in what has been said."""
        for said in self.socket.heard():
            if said["type"] == "message":
                message = said["message"]
                self.messages.setdefault(message["chat_id"], []).append(message["id"])
                is_counted = message["from"] == "client" and message["status"] == "saved"
                self.unread[message["chat_id"]] = self.unread.get(message["chat_id"], 0) + is_counted
            elif said["type"] == "chat":
                self.unread[said["chat"]["id"]] = said["chat"]["unread"]
                self.connected[said["chat"]["id"]] = said["connected"]
            else:
                self.connected[said["chat"]] = said["connected"]
        return self


class NodesFixture(Fixture):
    """Three nodes. What a test does happens :meth:`at` one of them."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(PARIS)
        self.sockets: list[Socket] = []
        self.begin()

    def begin(self) -> None:
        """Make the nodes, on an empty database."""
        self.root = Path(self.mktemp())
        self.hub = Hub(self.clock)
        self.hub.nodes[:] = [Fabric(self.hub, str(n)) for n in range(3)]
        self.nodes = [Node(self, self.hub, self.root, n) for n in range(3)]
        self.at(0)

    def at(self, number: int) -> NodesFixture:
        """What comes next is at this node."""
        self.node = self.nodes[number]
        self.service, self.threads = self.node.service, self.node.threads
        return self

    @property
    def is_busy(self) -> bool:
        return any(node.threads.is_busy for node in self.nodes)

    def settle(self) -> None:
        """All that there is to do on all nodes, but for what takes time."""
        quiet = 0
        while quiet < 3:
            quiet = 0 if self.is_busy else quiet + 1
            for node in self.nodes:
                node.threads.settle()
            self.clock.advance(0)
            for socket in self.sockets:
                socket.pipe.pump()

    def catch_up(self) -> None:
        """Some wake-ups may have been lost."""
        for node in self.nodes:
            node.fabric.catch_up()
        self.settle()

    def watch(self, number: int) -> Console:
        """A console at a node, that has been welcomed."""
        socket = self.at(number).connect("/console/ws")
        self.settle()
        welcome, *socket.unread = socket.heard()
        self.assertEqual(welcome["type"], "welcome")
        return Console(socket)

    def counts(self, number: int) -> dict[int, int]:
        """With how many connections clients are there, as a node says it over HTTP."""
        return {
            each["id"]: each["connected"] for each in self.at(number).ask("GET", "/chats").fields["items"]
        }


class TellingTests(NodesFixture):
    """Who is told what, wherever they are."""

    def test_consoles_see_the_same(self) -> None:
        """R4: consoles on all nodes are told of the same messages in one order a chat, and what is unread."""
        consoles = [self.watch(number) for number in range(3)]
        ana, bob = self.at(0).client(7), self.at(2).client(8)
        ana.text("a1")
        bob.text("b1").begin(1).binary(b"x")
        self.at(1).tell("hi")
        ana.text("a2")
        self.settle()
        self.at(2).ask("POST", "/chats/1/read", {"upto": 1})
        rows = {chat: [row["id"] for row in self.rows(chat)] for chat in (1, 2)}
        for console in consoles:
            console.hear()
            self.assertEqual(console.messages, rows)
            self.assertEqual(console.unread, {1: 1, 2: 2})

    def test_clients_hear_the_desk(self) -> None:
        """R5: a client is told at once what the desk says on another node, in its order, and once."""
        ana = self.at(0).client(7)
        self.at(1).tell("one"), self.at(2).tell("two"), self.at(0).tell("three")
        self.assertEqual([each["text"] for each in ana.heard()], ["one", "two", "three"])

    def test_another_node(self) -> None:
        """R5: a client that comes back to another node goes on where it was, in either form of its hello."""
        ana, plain = self.at(0).client(7), self.at(0).plain(8)
        self.settle()
        for chat in (1, 2):
            self.at(1).tell("one", chat)
        self.settle()
        (first,) = ana.heard()
        plain.heard()
        ana.lose()
        plain.lose()
        self.settle()
        for chat in (1, 2):
            self.at(0).tell("two", chat)
        back, again = self.at(1).client(7, after=first["id"]), self.at(2).plain(8)
        self.settle()
        self.assertEqual([each["text"] for each in back.heard()], ["two"])
        self.assertEqual([each["text"] for each in again.heard()], ["two"])

    def test_a_key_on_two_nodes(self) -> None:
        """R3: what was stored on one node is not stored again on another, which says that it is there."""
        ana, again = self.at(0).client(7), self.at(1).client(7)
        ana.text("hi", "k")
        self.settle()
        again.text("hi", "k")
        self.settle()
        self.assertEqual(ana.statuses(), again.statuses())
        self.assertEqual(len(self.rows()), 1)

    def test_lost_wake_ups(self) -> None:
        """R33: what nobody was woken for is told when the fabric says that something may be missing."""
        console, ana = self.watch(1), self.at(2).client(7)
        bob = self.at(2).client(8)
        self.settle()
        console.hear()
        self.nodes[0].fabric.is_lossy = self.nodes[2].fabric.is_lossy = True
        ana.text("hi")
        self.settle()
        self.at(0).tell("there")
        self.assertEqual((console.hear().messages, len(ana.heard())), ({}, 1))
        self.catch_up()
        self.assertEqual(console.hear().messages, {1: [1, 2]})
        self.assertEqual([each["text"] for each in ana.heard()], ["there"])
        self.assertEqual(bob.heard(), [])

    def test_wake_ups_for_nothing(self) -> None:
        """Wake-ups that come twice, late or for what is not there are no news, and cost a look at most."""
        console, ana = self.watch(1), self.at(1).client(7)
        self.at(0).client(8)
        self.at(0).tell("hi")
        self.settle()
        console.hear(), ana.heard()
        for _ in range(2):
            for number in (0, 1, 9):
                for topic in ("stored", "chat.1", "here.1", "here.2"):
                    self.nodes[0].fabric.publish(f"mediachat.{topic}", number)
            self.settle()
        self.assertEqual((console.socket.heard(), ana.heard()), ([], []))
        self.patch(self.nodes[1].threads.database, "no_reads", StorageError("nothing is to be read"))
        self.nodes[0].fabric.publish("mediachat.chat.1", 1)
        self.settle()
        self.assertEqual((ana.heard(), ana.code), ([], None))

    def test_a_console_that_comes_while_others_write(self) -> None:
        """What is stored behind its welcome a console is told, what was before it finds when it asks."""
        ana = self.at(0).client(7)
        self.settle()
        self.nodes[1].threads.by_hand()
        socket = self.at(1).connect("/console/ws")
        ana.text("before")
        self.nodes[0].threads.settle()
        self.assertEqual(socket.heard(), [])
        self.nodes[1].threads.by_hand(False)
        self.nodes[1].threads.turn()
        ana.text("behind")
        self.settle()
        welcome, *told = socket.heard()
        self.assertEqual(welcome["type"], "welcome")
        self.assertEqual([m["message"]["text"] for m in told if m["type"] == "message"], ["behind"])

    def test_a_database_that_cannot_be_read(self) -> None:
        """R34: what was stored meanwhile is told as soon as the database can be read."""
        console, ana = self.watch(1), self.at(1).client(7)
        self.settle()
        console.hear()
        database = self.nodes[1].threads.database
        database.no_reads = StorageError("broken")
        self.nodes[0].fabric.is_lossy = True  # a client that is woken now is closed, and comes back
        self.at(0).tell("hi")
        self.catch_up()
        self.assertEqual((console.hear().messages, ana.heard()), ({}, []))
        waiting = self.connect("/console/ws")
        database.no_reads = None
        self.clock.advance(1)
        self.catch_up()
        self.assertEqual(console.hear().messages, {1: [1]})
        self.assertEqual([each["text"] for each in ana.heard()], ["hi"])
        self.assertEqual(waiting.code, None)

    def test_a_console_that_nobody_can_serve_yet(self) -> None:
        """R34: a console that comes while the database cannot be read is welcomed when it can."""
        database = self.nodes[1].threads.database
        ana = self.at(1).client(7)
        database.no_reads = StorageError("broken")
        socket = self.connect("/console/ws")
        ana.lose()
        self.settle()
        self.assertEqual(socket.heard(), [])
        database.no_reads = None
        self.clock.advance(1)
        self.settle()
        self.assertEqual(socket.one()["type"], "welcome")

    def test_far_behind(self) -> None:
        """A node that has missed very much has its consoles come back and look, instead of telling it all."""
        self.patch(following, "_MOST", 3)
        self.patch(following, "_PAGE", 2)
        console, ana = self.watch(1), self.at(0).client(7)
        self.settle()
        self.nodes[0].fabric.is_lossy = True
        for number in range(3):
            ana.text(str(number))
        self.settle()
        self.catch_up()
        self.assertEqual(console.hear().messages, {1: [1, 2, 3]})
        for number in range(4):
            ana.text(str(number))
        self.settle()
        self.catch_up()
        self.assertEqual((console.hear().messages, console.socket.code), ({1: [1, 2, 3]}, 1013))
        back = self.watch(1)
        self.nodes[0].fabric.is_lossy = False
        ana.text("on")
        self.settle()
        self.assertEqual(back.hear().messages, {1: [8]})

    def test_another_console_comes_while_one_is_told(self) -> None:
        """What was read for consoles that are gone is not told to one that has come since."""
        console, ana = self.watch(1), self.at(0).client(7)
        self.settle()
        threads = self.nodes[1].threads
        threads.by_hand()
        ana.text("before")
        self.nodes[0].threads.settle()
        self.clock.advance(0)
        threads.read()
        threads.answer()  # what is new is known, and is being read
        console.socket.lose()
        other = self.at(1).connect("/console/ws")
        threads.by_hand(False)
        self.settle()
        self.assertEqual(other.heard()[0]["type"], "welcome")
        ana.text("behind")
        self.settle()
        self.assertEqual(Console(other).hear().messages, {1: [2]})

    def test_left_alone(self) -> None:
        """A node without clients and consoles listens to nothing, and reads nothing."""
        console, ana = self.watch(1), self.at(1).client(7)
        self.settle()
        fabric = self.nodes[1].fabric
        self.assertIn("mediachat.stored", fabric._listeners)
        self.assertIn("mediachat.chat.1", fabric._listeners)
        ana.lose()
        console.socket.lose()
        self.settle()
        self.assertEqual((fabric._listeners, fabric._groups), ({}, {}))
        others: Any = self.nodes[1].service._others
        before = others.following.read
        self.at(0).tell("hi")
        self.assertEqual(others.following.read, before)


class WhereTests(NodesFixture):
    """Who is connected where."""

    def test_counted_on_all_nodes(self) -> None:
        """All nodes say how many connections a client has to any of them, with a console or without."""
        console = self.watch(0)
        one, two, three = self.at(0).client(7), self.at(1).client(7), self.at(1).client(7)
        self.at(2).client(8)
        self.settle()
        for number in range(3):
            self.assertEqual(self.counts(number), {1: 3, 2: 1})
        self.assertEqual(console.hear().connected, {1: 3, 2: 1})
        asked: list[str] = []
        fabric: Any = self.nodes[0].fabric
        fabric.present = asked.append
        self.assertEqual((self.counts(0), asked), ({1: 3, 2: 1}, []))  # who follows need not ask
        del fabric.present
        two.lose()
        one.lose()
        self.settle()
        self.assertEqual((console.hear().connected, self.counts(2)), ({1: 1, 2: 1}, {1: 1, 2: 1}))
        three.lose()
        self.settle()
        self.assertEqual((console.hear().connected, self.counts(2)), ({1: 0, 2: 1}, {1: 0, 2: 1}))

    def test_said_to_somebody_elsewhere(self) -> None:
        """What is said to a client that another node has is answered with 201, and with 202 if nobody has."""
        ana = self.at(0).client(7)
        path, body = "/chats/1/messages", {"text": "hi"}
        self.assertEqual(self.at(1).ask("POST", path, body).status, 201)
        ana.lose()
        self.settle()
        self.assertEqual(self.at(1).ask("POST", path, body).status, 202)

    def test_a_node_that_dies(self) -> None:
        """Who was at a node that is gone is no longer there, as soon as the fabric has forgotten it."""
        console = self.watch(0)
        self.at(1).client(7)
        self.settle()
        self.assertEqual(console.hear().connected, {1: 1})
        self.nodes[1].fabric.stop()
        self.catch_up()
        self.assertEqual((console.hear().connected, self.counts(2)), ({1: 0}, {1: 0}))

    def test_nobody_can_tell(self) -> None:
        """R33: while the fabric is away what was known last counts, and everything else goes on."""
        console = self.watch(0)
        ana = self.at(1).client(7)
        self.settle()
        for node in self.nodes:
            node.fabric.is_away = True
        ana.lose()
        self.settle()
        self.assertEqual(console.hear().connected, {1: 1})
        self.assertEqual(self.at(1).ask("POST", "/chats/1/messages", {"text": "hi"}).status, 202)
        for node in self.nodes:
            node.fabric.is_away = False
        self.catch_up()
        self.assertEqual(console.hear().connected, {1: 0})

    def test_asked_again(self) -> None:
        """Who comes while the fabric is being asked is found by asking once more."""
        console = self.watch(0)
        self.settle()
        fabric, waiting = self.nodes[0].fabric, []
        present = fabric.present

        def slow(group: str) -> Deferred[Mapping[str, frozenset[str]]]:
            answer: Deferred[Any] = Deferred()
            waiting.append((answer, present(group)))
            return answer

        self.patch(fabric, "present", slow)
        self.at(1).client(7)
        self.settle()
        self.at(2).client(7)
        self.settle()
        self.assertEqual(len(waiting), 1)
        while waiting:
            answer, found = waiting.pop(0)
            found.addCallback(answer.callback)
        self.assertEqual(console.hear().connected, {1: 2})

    def test_a_defect(self) -> None:
        """What cannot be found out for a reason that nobody expects is logged, and harms nobody."""
        self.patch(self.nodes[0].fabric, "present", lambda group: fail(Failure(RuntimeError("broken"))))
        self.at(0).client(7)
        self.assertEqual(self.counts(0), {1: 1})
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class OrderTests(NodesFixture):
    """Whatever takes its turn when."""

    def test_everybody_agrees(self) -> None:
        """R1, R3, R4: whatever comes late or never, all consoles agree, and clients hear all there is."""
        for seed in range(8):
            with self.subTest(seed=seed):
                self.agreed(Random(seed))

    def agreed(self, random: Random) -> None:
        """Clients and consoles on three nodes, whose threads, wake-ups and reactors take turns at random."""
        self.begin()
        self.sockets.clear()
        self.patch(following, "_PAGE", random.choice((1, 2, 200)))
        consoles = [self.watch(number) for number in (0, 1, 1, 2)]
        clients = [self.at(number).client(id) for number, id in ((0, 7), (1, 7), (1, 8), (2, 8))]
        self.settle()
        said: Counter[str] = Counter()
        for node in self.nodes:
            node.threads.by_hand()
        for turn in range(150):
            self.step(random, clients, f"{turn}", said)
        for node in self.nodes:
            node.threads.by_hand(False)
            node.fabric.is_lossy = False
        self.settle()
        self.catch_up()
        self.clock.advance(0.1)
        self.catch_up()
        self.compare(consoles, clients, said)

    def step(self, random: Random, clients: list[Socket], word: str, said: Counter[str]) -> None:
        """One thing that happens."""
        self.at(random.randrange(3))
        threads = self.threads
        match random.randrange(9):
            case 0 | 1:
                random.choice(clients).text(word)
                said[word] += 1
            case 2:
                pipe = self.http()
                body = f'{{"text":"{word}"}}'
                pipe.arrive(
                    f"POST /chats/{random.choice((1, 2))}/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                    f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
                )
                said[word] += 1
            case 3:
                threads.write()
            case 4:
                threads.read()
            case 5 | 6:
                threads.answer()
            case 7:
                self.clock.advance(0)
            case 8:
                self.node.fabric.is_lossy = random.random() < 0.3
                if random.random() < 0.2:
                    self.node.fabric.catch_up()

    def compare(self, consoles: list[Console], clients: list[Socket], said: Counter[str]) -> None:
        """What everybody has come to know, and what is stored."""
        rows = {chat: self.rows(chat) for chat in (1, 2)}
        self.assertEqual(Counter(row["text"] for chat in rows for row in rows[chat]), said)
        self.assertLess(max(len(rows[chat]) for chat in rows), 100)
        chats: list[Fields] = self.ask("GET", "/chats").fields["items"]
        for console in consoles:
            console.hear()
            for chat, stored in rows.items():
                self.assertEqual(console.messages.get(chat, []), [row["id"] for row in stored])
            self.assertEqual(console.unread, {chat["id"]: chat["unread"] for chat in chats})
            self.assertEqual(console.connected, {1: 2, 2: 2})
        for number, client in enumerate(clients):
            desk = [row["id"] for row in rows[1 + number // 2] if row["from"] == "desk"]
            heard = client.heard()
            self.assertEqual([each["id"] for each in heard if each["type"] == "message"], desk)
            self.assertEqual({each.get("status", "saved") for each in heard}, {"saved"})
