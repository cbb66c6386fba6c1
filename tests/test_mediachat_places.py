"""The places of what two nodes store, where commits come in another order than ids: with PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Connection
from twisted.trial.unittest import SynchronousTestCase

from protosuite.mediachat.adding import Adding, add_all
from protosuite.mediachat.cuts import Cuts
from protosuite.mediachat.places import Reached
from protosuite.mediachat.store import MediaChatStore
from protosuite.mediachat.tables import New
from protosuite.testing import HandWorker, database
from tests import postgresql

_WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


class PlaceTests(SynchronousTestCase):
    """Two transactions that overlap, each of a node."""

    def setUp(self) -> None:
        cluster = postgresql.shared()
        name = cluster.database()
        self.database = database(self.mktemp(), HandWorker(at_once=True), 1000, cluster.url(name))
        self.addCleanup(self.database.close)
        engine = cluster.engine(name).execution_options(isolation_level="READ COMMITTED")
        self.connections = [engine.connect() for _ in range(2)]
        for connection in self.connections:
            self.addCleanup(connection.close)
        store = MediaChatStore(self.database, 1000, 0)
        for client in (7, 8):
            self.successResultOf(store.enter(client, "Europe/Paris", 1))
        self.cuts = Cuts(self.database)
        self.seen: Reached = self.successResultOf(self.cuts.end())

    def add(self, connection: Connection, chat: int, lane: int) -> int:
        """Store a message, and do not commit yet: its id."""
        adding = Adding(New(chat, "client", "text", 1, text="x"), lambda outcome: None)
        add_all(connection, 1000, [adding], lane)
        assert isinstance(adding.outcome, tuple)
        return adding.outcome[0].id

    def new(self) -> list[int]:
        """What has come since the last look."""
        cut = self.successResultOf(self.cuts.since(self.seen, 100))
        assert cut is not None
        self.seen = cut.lanes
        return list(cut.messages)

    def test_the_lower_id_comes_later(self) -> None:
        """R5: what is committed behind what has a higher id is found, once it is committed."""
        one, two = self.connections
        early = self.add(one, 1, 5)
        late = self.add(two, 2, 6)
        self.assertLess(early, late)
        two.commit()
        self.assertEqual(self.new(), [late])
        one.commit()
        self.assertEqual(self.new(), [early])
        self.assertEqual(self.new(), [])

    def test_two_nodes_in_one_lane(self) -> None:
        """Of two nodes in one lane one waits until the other has committed: nothing is passed over."""
        cluster, (one, two) = postgresql.shared(), self.connections
        early = self.add(one, 1, 5)
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(self.add, two, 2, 5)
            try:
                while not waiting.done() and not cluster.execute(_WAITING):
                    pass
                self.assertFalse(waiting.done())
                self.assertEqual(self.new(), [])
            finally:
                one.commit()  # or the thread waits for it for ever
            late = waiting.result()
        self.assertEqual(self.new(), [early])
        two.commit()
        self.assertEqual(self.new(), [late])

    def test_one_that_is_undone(self) -> None:
        """The place of what was not committed is given again."""
        one, two = self.connections
        self.add(one, 1, 5)
        one.rollback()
        late = self.add(two, 1, 5)
        two.commit()
        self.assertEqual(self.new(), [late])
