"""What several nodes do at the same time to what is kept of the bus, in one PostgreSQL."""

from __future__ import annotations

from sqlalchemy import Connection

from protosuite.bus import published
from protosuite.bus.placing import Batch, Placing, Publication, locked
from protosuite.bus.published import Keeping
from protosuite.bus.shared_store import SharedStore
from protosuite.storage.timeouts import Timeouts
from tests.postgresql import until
from tests.test_postgresql import NOW, Fixture, Node
from tests.test_postgresql_locks import hold

PATIENT = Timeouts(whole=60.0, connect=2.0, lock=30.0)


class SweepTests(Fixture):
    """Two nodes that sweep."""

    def publish(self, node: Node, topic: str, count: int) -> None:
        """So many events of a hundred bytes."""
        batch = Batch(
            [Publication(topic, b"x" * 100, "", NOW, lambda event, failure: None) for _ in range(count)]
        )
        node.write(lambda connection: Placing().publish(connection, batch))

    def test_at_the_same_time(self) -> None:
        """What two nodes want to delete at once is deleted, and taken off what is kept, once."""
        one, two, other = (self.node(PATIENT) for _ in range(3))
        SharedStore(one.database, one.database, "one", 10, lambda: NOW / 1000).start()
        self.publish(one, "a", 20)
        holding, let_go = hold(other, locked)
        keeping = Keeping(retain=5, max_retained=10_000, max_topics=10, before=NOW + 1)

        def sweep(connection: Connection) -> object:
            return published.sweep(connection, keeping, ["a"])

        sweeping = [node.database.write(sweep) for node in (one, two)]
        waiting = "wait_event_type = 'Lock'"
        until(lambda: len(self.cluster.backends(self.name, waiting)) == 2, "both know what to delete")
        let_go.set()
        other.done(holding)
        one.done(sweeping[0])
        two.done(sweeping[1])
        [kept] = self.cluster.execute("SELECT count(*), sum(length(payload)) FROM bus_event", self.name)
        self.assertEqual(tuple(kept), (5, 500))
        [head] = self.cluster.execute("SELECT retained, deleted FROM bus_head", self.name)
        self.assertEqual(tuple(head), (500, 15))
