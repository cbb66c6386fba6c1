"""What durable subscriptions are owed, in the database of one node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.bus.delivery import Event
from protosuite.bus.durable import Durable, Limits, Owed
from protosuite.bus.tables import durables, owed_events, topics
from protosuite.storage import Database
from protosuite.storage.gathering import Gathering
from protosuite.storage.upsert import insert

log = Logger()

_PAGE = 500  # owed events read at once
_PAGE_BYTES = 4 << 20

Stored = Callable[[Failure | None], None]


@frozen
class Restored:
    """What a start finds: durable subscriptions, the highest id, and the last sequences by topic."""

    durables: list[Durable]
    last_id: int
    sequences: dict[str, int]


class BusStore:
    """Stores and reads for the broker. Events of one reactor turn, and acknowledgements, share statements."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Both are bounded by what the server lets connections have unanswered.
        self._owed: Gathering[list[tuple[Sequence[Owed], Stored]]] = Gathering(
            database, list, _insert, _tell_publishers
        )
        self._acknowledged: Gathering[list[int]] = Gathering(database, list, _delete, _log_failure)

    def load(self, limits: Limits) -> Restored:
        """Everything that a broker needs to go on. Blocks; at a start."""
        with self._database.at_start() as connection:
            counts = {
                name: (count, last)
                for name, count, last in connection.execute(
                    sa.select(owed_events.c.durable, sa.func.count(), sa.func.max(owed_events.c.id)).group_by(
                        owed_events.c.durable
                    )
                )
            }
            found = [
                Durable(
                    name,
                    pattern,
                    limits,
                    owed=counts.get(name, (0, 0))[0],
                    last_stored=counts.get(name, (0, 0))[1],
                )
                for name, pattern in connection.execute(sa.select(durables))
            ]
            newest = sa.select(topics.c.topic, topics.c.sequence).order_by(topics.c.sequence.desc())
            sequences = {
                topic: int(sequence)
                for topic, sequence in connection.execute(newest.limit(limits.max_topics))
            }
        return Restored(found, max([0, *(last for _, last in counts.values())]), sequences)

    def create(self, name: str, pattern: str) -> Deferred[None]:
        """Store a durable subscription. What it is owed is stored behind it."""

        def work(connection: Connection) -> None:
            put = insert(connection, durables).values(name=name, pattern=pattern)
            connection.execute(put.on_conflict_do_update(index_elements=["name"], set_={"pattern": pattern}))

        return self._database.write(work)

    def delete(self, name: str) -> Deferred[None]:
        """Delete a durable subscription that is marked so, with what it is owed."""

        def work(connection: Connection) -> None:
            connection.execute(sa.delete(owed_events).where(owed_events.c.durable == name))
            connection.execute(sa.delete(durables).where(durables.c.name == name))

        return self._database.write(work)

    def append(self, owed: Sequence[Owed], stored: Stored) -> None:
        """Store one event's durable copies; `stored` is told when they are, or why they are not."""
        self._owed.items.append((owed, stored))
        self._owed.touch()

    def acknowledge(self, id: int) -> None:
        """`id` is owed no more. Nobody waits for it: what a crash forgets comes again."""
        self._acknowledged.items.append(id)
        self._acknowledged.touch()

    def page(self, durable: Durable, after: int) -> Deferred[tuple[list[Owed], bool]]:
        """Some of what `durable` is owed after an id, oldest first, and whether that is all of it."""

        def work(connection: Connection) -> tuple[list[Owed], bool]:
            columns = owed_events.c
            rows = connection.execute(
                sa.select(
                    columns.id,
                    columns.topic,
                    columns.payload,
                    columns.content_type,
                    columns.sequence,
                    columns.published_at,
                )
                .where(columns.durable == durable.name, columns.id > after)
                .order_by(columns.id)
                .limit(_PAGE)
            )
            found: list[Owed] = []
            size = 0
            for id, *rest in rows:
                found.append(Owed(id, durable, Event(*rest)))
                size += found[-1].event.size
                if size >= _PAGE_BYTES:
                    rows.close()
                    return found, False
            return found, len(found) < _PAGE

        return self._database.read(work)

    def flushed(self) -> Deferred[None]:
        """Fires when all that was appended and acknowledged so far has been stored, or has failed to be."""
        return self._owed.flushed().addCallback(lambda _: self._acknowledged.flushed())


def _insert(connection: Connection, items: list[tuple[Sequence[Owed], Stored]]) -> None:
    # What is for a subscription that was deleted meanwhile would stay for ever.
    every = [owed for group, _ in items for owed in group if not owed.durable.is_deleted]
    if not every:
        return
    connection.execute(owed_events.insert(), [_row(owed) for owed in every])
    last = {owed.event.topic: owed.event.sequence for owed in every}
    put = insert(connection, topics)
    connection.execute(
        put.on_conflict_do_update(index_elements=["topic"], set_={"sequence": put.excluded.sequence}),
        [{"topic": topic, "sequence": sequence} for topic, sequence in last.items()],
    )


def _row(owed: Owed) -> dict[str, object]:
    event = owed.event
    return {
        "id": owed.id,
        "durable": owed.durable.name,
        "topic": event.topic,
        "sequence": event.sequence,
        "payload": event.payload,
        "content_type": event.content_type,
        "published_at": event.published_at,
    }


def _tell_publishers(items: Iterable[tuple[Sequence[Owed], Stored]], failure: Failure | None) -> None:
    for _, stored in items:
        stored(failure)


def _delete(connection: Connection, ids: list[int]) -> None:
    delete = sa.delete(owed_events).where(owed_events.c.id == sa.bindparam("b_id"))
    connection.execute(delete, [{"b_id": id} for id in ids])


def _log_failure(items: object, failure: Failure | None) -> None:
    if failure is not None:
        log.debug("acknowledgements not stored, their events come again: {why}", why=str(failure.value))
