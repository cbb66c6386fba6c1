"""Rows that several nodes change at the same time: they wait for each other, and never in a circle."""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random
from typing import Any

from sqlalchemy import Connection
from twisted.internet.defer import Deferred

from protosuite.chatlog.chain import Append
from protosuite.chatlog.store import ChatLogStore
from protosuite.chatlog.wire import ClientAppend
from protosuite.mediachat.store import MediaChatStore
from protosuite.mediachat.tables import New
from protosuite.numbers.sequence import Session
from protosuite.numbers.store import NumbersStore
from protosuite.numbers.wire import Start
from protosuite.storage.measures import touch
from protosuite.storage.timeouts import Timeouts
from tests.postgresql import until
from tests.test_postgresql import NOW, Fixture, Node, together

PATIENT = Timeouts(whole=60.0, connect=2.0, lock=30.0)
ROWS = 4  # of each kind: few enough that the nodes meet


def hold(
    node: Node, work: Callable[[Connection], object] = lambda connection: None
) -> tuple[Deferred[Any], threading.Event]:
    """Have the writer of a node do something, and commit it when the event is set."""
    begun, go_on = threading.Event(), threading.Event()

    def both(connection: Connection) -> None:
        work(connection)
        begun.set()
        go_on.wait(60)

    answer = node.database.write(both)
    assert begun.wait(60), "it does not begin"
    return answer, go_on


class _Services:
    """What the stores of a node are asked, by chance."""

    def __init__(self, node: Node, chats: list[int], random: Random) -> None:
        self._node = node
        self._chats = chats
        self._random = random
        self._log = ChatLogStore(node.database, 100)
        self._chatting = MediaChatStore(node.database, 1 << 30)
        self._numbers = NumbersStore(node.database, 3600)

    def group(self, size: int) -> list[Deferred[Any]]:
        """So many requests that share a transaction."""
        first, go_on = hold(self._node)
        asked = [self._random.choice(self._asking())() for _ in range(size)]
        go_on.set()
        return [first, *asked]

    def _asking(self) -> list[Callable[[], Deferred[Any]]]:
        chat, client = self._random.choice(self._chats), f"client-{self._random.randrange(ROWS)}"
        rooms = self._random.sample([f"room-{n}" for n in range(ROWS)], 2)
        batch = [Append(room, "s", ClientAppend(0, "ana", "x")) for room in rooms]
        session = Session(client, 1, 10, 0)
        return [
            lambda: self._log.commit(batch, {room: (room * 32)[:32] for room in rooms}, NOW),
            lambda: self._log.sweep(10, 0),
            lambda: self._chatting.add(New(chat, "client", "text", NOW, text="x")),
            lambda: self._chatting.read(chat, 0),
            lambda: self._chatting.delivered(chat, self._random.randrange(1000)),
            lambda: self._chatting.enter(self._random.randrange(ROWS), "Europe/Paris", NOW),
            lambda: self._numbers.open(Start(client), session, NOW),
            lambda: self._numbers.sweep(NOW),
            lambda: self._node.database.write(touch),
        ]


class LockTests(Fixture):
    """Two nodes under load."""

    def test_no_deadlock(self) -> None:
        """R34: groups of requests of all stores, in any order, on rows that nodes share: no deadlock."""
        before = self.cluster.deadlocks()
        nodes = [self.node(PATIENT) for _ in range(3)]
        store = MediaChatStore(nodes[0].database, 1 << 30)
        chats = [nodes[0].done(store.enter(n, "Europe/Paris", NOW))[0].id for n in range(ROWS)]

        def load(number: int) -> None:
            services = _Services(nodes[number], chats, Random(number))
            for _ in range(12):
                for answer in services.group(15):
                    nodes[number].done(answer)

        together(*(lambda number=number: load(number) for number in range(len(nodes))))
        self.assertEqual(self.cluster.deadlocks() - before, 0)
        for node in nodes:
            node.database.close()
        query = f"SELECT xact_commit > 50 FROM pg_stat_database WHERE datname = '{self.name}'"
        # A backend tells what it has done when it ends, which is after its connection is closed.
        until(lambda: bool(self.cluster.execute(query)[0][0]), "there were many transactions")

    def test_those_who_share_rows(self) -> None:
        """What several requests of one transaction want is locked at once, before the first of them."""
        node, other = self.node(PATIENT), self.node(PATIENT)
        store = MediaChatStore(node.database, 1 << 30)
        one, two = (node.done(store.enter(n, "Europe/Paris", NOW))[0].id for n in (1, 2))
        take = f"UPDATE mediachat_chat SET unread = 7 WHERE id = {one}"
        holding, let_go = hold(other, lambda connection: connection.exec_driver_sql(take))
        first, go_on = hold(node)
        answers = [store.delivered(two, 1), store.delivered(one, 1)]
        go_on.set()
        node.done(first)
        waiting = f"wait_event_type = 'Lock' AND datname = '{self.name}'"
        query = f"SELECT 1 FROM pg_stat_activity WHERE {waiting}"
        until(lambda: bool(self.cluster.execute(query)), "it waits")
        # It waits for `one`, and does not have `two`.
        free = f"SELECT 1 FROM mediachat_chat WHERE id = {two} FOR UPDATE NOWAIT"
        self.assertEqual(len(self.cluster.execute(free, self.name)), 1)
        let_go.set()
        other.done(holding)
        for answer in answers:
            node.done(answer)
