"""Several nodes: who has which of what is owed. Work for the thread of whoever writes.

A node lives while it renews its row. What it has is under its name; when it has been silent for too long
another one takes its row away, and all of that is free again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import sqlalchemy as sa
from attrs import define, field, frozen
from sqlalchemy import Connection
from twisted.python.failure import Failure

from protosuite.bus.delivery import Event
from protosuite.bus.durable import Durable, Owed
from protosuite.bus.placing import FREE, chunks
from protosuite.bus.tables import nodes, owed_events
from protosuite.storage.upsert import insert

_MAX_BYTES = 4 << 20  # of events taken at once

_COLUMNS = owed_events.c
_FIELDS = (_COLUMNS.topic, _COLUMNS.payload, _COLUMNS.content_type, _COLUMNS.sequence, _COLUMNS.published_at)


@define(eq=False, repr=False)
class Lease:
    """A wish for up to `most` events of a durable subscription. `told` gets it back, and why it failed."""

    durable: Durable
    most: int
    told: Callable[[Lease, Failure | None], None]
    found: list[Owed] = field(factory=list)
    is_all: bool = False  # nothing free was left
    is_alive: bool = True  # the node was not taken for dead


@frozen
class Renewed:
    """What became of a node's row. `was_lost`: others took it for dead, and have what it had.

    `freed` are the durable subscriptions that got something back from nodes that are dead.
    """

    was_lost: bool
    freed: Collection[str] = ()


class Leasing:
    """The part of `node`, which is taken for dead after `patience` seconds. `wall` is for SQLite alone."""

    def __init__(self, node: str, patience: float, wall: Callable[[], float]) -> None:
        self.node = node
        self._patience = int(patience * 1000)
        self._wall = wall

    def begin(self, connection: Connection) -> None:
        """Be among the living. What a node alone has left is there for everybody."""
        row = {"node": self.node, "until": self._now(connection) + self._patience}
        put = insert(connection, nodes)
        connection.execute(
            put.on_conflict_do_update(index_elements=["node"], set_={"until": put.excluded.until}), [row]
        )
        connection.execute(sa.update(owed_events).where(_COLUMNS.node.is_(None)).values(node=FREE))

    def renew(self, connection: Connection) -> Renewed:
        """Be among the living on, and take away who is dead."""
        now = self._now(connection)
        own = sa.select(nodes.c.until).where(nodes.c.node == self.node).with_for_update()
        until = connection.execute(own).scalar()
        if until is None:
            connection.execute(nodes.insert().values(node=self.node, until=now + self._patience))
            return Renewed(True)
        connection.execute(
            sa.update(nodes).where(nodes.c.node == self.node).values(until=now + self._patience)
        )
        # Who comes late himself may be the first after nobody could do anything: the others are late as well.
        limit = now if until >= now else until - self._patience
        overdue = sa.select(nodes.c.node).where(nodes.c.until < limit).with_for_update(skip_locked=True)
        return Renewed(False, self._bury(connection, list(connection.execute(overdue).scalars())))

    def retire(self, connection: Connection) -> Collection[str]:
        """Leave, and give up everything; of which durable subscriptions that was."""
        return self._bury(connection, [self.node])

    def lease(self, connection: Connection, wishes: Iterable[Lease]) -> None:
        """Take what is wished for. A node that was taken for dead gets nothing before it lives again."""
        # As long as this row is locked nobody takes it away, and what it has with it.
        alive = sa.select(nodes.c.node).where(nodes.c.node == self.node)
        is_alive = connection.execute(alive.with_for_update(read=True, key_share=True)).first() is not None
        for wish in wishes:
            wish.found, wish.is_all, wish.is_alive = [], False, is_alive
            if is_alive:
                self._take(connection, wish)

    def _take(self, connection: Connection, wish: Lease) -> None:
        free = (
            sa.select(_COLUMNS.id, sa.func.length(_COLUMNS.payload))
            .where(_COLUMNS.durable == wish.durable.name, _COLUMNS.node == FREE)
            .order_by(_COLUMNS.id)
            .limit(wish.most)
            .with_for_update(skip_locked=True)
        )
        sizes = [(int(id), int(size)) for id, size in connection.execute(free)]
        ids = within(sizes, _MAX_BYTES)
        for chunk in chunks(ids):
            take = sa.update(owed_events).where(_COLUMNS.id.in_(chunk)).values(node=self.node)
            for id, *rest in connection.execute(take.returning(_COLUMNS.id, *_FIELDS)):
                wish.found.append(Owed(id, wish.durable, Event(*rest)))
        wish.found.sort(key=lambda owed: owed.id)
        wish.is_all = len(ids) == len(sizes) < wish.most

    def release(self, connection: Connection, ids: Iterable[int]) -> None:
        """Give these back."""
        for chunk in chunks(sorted(ids)):
            mine = sa.and_(_COLUMNS.id.in_(chunk), _COLUMNS.node == self.node)
            connection.execute(sa.update(owed_events).where(mine).values(node=FREE))

    def release_all(self, connection: Connection) -> None:
        """Give everything back."""
        connection.execute(sa.update(owed_events).where(_COLUMNS.node == self.node).values(node=FREE))

    def _bury(self, connection: Connection, dead: Sequence[str]) -> Collection[str]:
        if not dead:
            return ()
        theirs = _COLUMNS.node.in_(dead)
        freed = connection.execute(sa.select(_COLUMNS.durable).where(theirs).distinct()).scalars().all()
        connection.execute(sa.update(owed_events).where(theirs).values(node=FREE))
        connection.execute(sa.delete(nodes).where(nodes.c.node.in_(dead)))
        return freed

    def _now(self, connection: Connection) -> int:
        """Milliseconds since the epoch: of the server that all nodes have, if it is one."""
        if connection.dialect.name == "sqlite":
            return int(self._wall() * 1000)
        return int(
            connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp()) * 1000").scalar_one()
        )


def acknowledge(connection: Connection, ids: Iterable[int]) -> None:
    """These are owed no more, whoever has them."""
    for chunk in chunks(sorted(ids)):
        connection.execute(sa.delete(owed_events).where(_COLUMNS.id.in_(chunk)))


def within(sizes: Iterable[tuple[int, int]], max_bytes: int) -> list[int]:
    """The first of these numbers whose sizes are within the bound together; one at least."""
    chosen: list[int] = []
    for number, size in sizes:
        max_bytes -= size
        if chosen and max_bytes < 0:
            break
        chosen.append(number)
    return chosen
