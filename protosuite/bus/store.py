"""What durable subscriptions are owed, in the database of one node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import sqlalchemy as sa
from attrs import define, field, frozen
from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.bus.delivery import Event
from protosuite.bus.durable import Durable, Limits, Owed
from protosuite.bus.tables import FIRST_HEAD, durables, head, owed_events, topics
from protosuite.storage import Database
from protosuite.storage.gathering import Gathering
from protosuite.storage.upsert import insert

log = Logger()

_PAGE = 500  # owed events read at once
_PAGE_BYTES = 4 << 20
_FORGOTTEN = 1000  # topics forgotten in one transaction, or as many as it has events

Stored = Callable[[Failure | None], None]


@frozen
class Restored:
    """What a start finds: durable subscriptions, the highest id, and the last sequences by topic.

    No sequence of another topic is above `forgotten`.
    """

    durables: list[Durable]
    last_id: int
    sequences: dict[str, int]
    forgotten: int


@define(eq=False, repr=False)
class _Batch:
    """What is stored at once: each event's copies, with who is told; topics to be forgotten, by sequence."""

    owed: list[tuple[Sequence[Owed], Stored]] = field(factory=list)
    forgotten: dict[str, int] = field(factory=dict)

    def __len__(self) -> int:
        return len(self.owed)  # what is to be forgotten does not hurry

    def forgetting(self) -> dict[str, int]:
        """What is forgotten this time: no fewer than come to be remembered."""
        return dict(islice(self.forgotten.items(), max(_FORGOTTEN, len(self.owed))))


class BusStore:
    """Stores and reads for the broker. Events of one reactor turn, and acknowledgements, share statements."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Both are bounded by what the server lets connections have unanswered; topics to be forgotten
        # by those that are stored: each transaction forgets as many as it brings.
        self._owed: Gathering[_Batch] = Gathering(database, _Batch, _store, self._stored)
        self._acknowledged: Gathering[list[int]] = Gathering(database, list, _delete, _log_failure)
        # The first of the topics that a start left out and that are yet to be forgotten, and its sequence.
        self._left_out: tuple[str, int] | None = None

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
            sequences, forgotten = self._load_topics(connection, limits.max_topics)
        return Restored(found, max([0, *(last for _, last in counts.values())]), sequences, forgotten)

    def _load_topics(self, connection: Connection, most: int) -> tuple[dict[str, int], int]:
        """Sequences, the lowest first, of the `most` highest; and what no other topic is above."""
        forgotten = int(connection.execute(sa.select(head.c.forgotten)).scalar() or 0)
        query = sa.select(topics.c.topic, topics.c.sequence).limit(most + 1)
        highest = query.order_by(topics.c.sequence.desc(), topics.c.topic)
        found = [(topic, int(sequence)) for topic, sequence in connection.execute(highest)]
        if len(found) > most:
            self._left_out = found.pop()
            forgotten = max(forgotten, self._left_out[1])
        return dict(reversed(found)), forgotten

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
        self._owed.items.owed.append((owed, stored))
        self._owed.touch()

    def forget(self, sequences: Mapping[str, int]) -> None:
        """These topics are not to be remembered, unless they come to be above these sequences meanwhile.

        It is done with what is stored next, or by :meth:`sweep`.
        """
        self._owed.items.forgotten.update(sequences)

    def sweep(self) -> None:
        """Forget some of the topics that need not be remembered. Once a second."""
        if self._owed.items.forgotten:
            self._owed.touch()
        if self._left_out is not None:
            first, self._left_out = self._left_out, None
            sweeping = self._database.write(lambda connection: _forget_behind(connection, *first))
            sweeping.addBoth(self._swept, first)

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

    def _stored(self, batch: _Batch, failure: Failure | None) -> None:
        done = batch.forgetting() if failure is None else {}
        left = {topic: sequence for topic, sequence in batch.forgotten.items() if topic not in done}
        self._owed.items.forgotten = {**left, **self._owed.items.forgotten}
        for _, stored in batch.owed:
            stored(failure)

    def _swept(self, has_more: bool | Failure, first: tuple[str, int]) -> None:
        if has_more:  # or failed
            self._left_out = first


def _store(connection: Connection, batch: _Batch) -> None:
    _insert(connection, [owed for group, _ in batch.owed for owed in group])
    forgetting = batch.forgetting()
    if forgetting:
        gone = sa.delete(topics).where(
            topics.c.topic == sa.bindparam("b_topic"), topics.c.sequence <= sa.bindparam("b_last")
        )
        connection.execute(gone, [{"b_topic": topic, "b_last": last} for topic, last in forgetting.items()])
        _remember(connection, max(forgetting.values()))


def _forget_behind(connection: Connection, first: str, sequence: int) -> bool:
    """Forget some of the topics that a start left out, from the `first` on; whether there may be more.

    What is published to one of them meanwhile is above that sequence, and no more among them.
    """
    topic, last = topics.c.topic, topics.c.sequence
    are_behind = sa.or_(last < sequence, sa.and_(last == sequence, topic >= first))
    some = sa.select(topic).where(are_behind).limit(_FORGOTTEN)
    gone = connection.execute(sa.delete(topics).where(topic.in_(some))).rowcount
    _remember(connection, sequence)
    return gone == _FORGOTTEN


def _remember(connection: Connection, forgotten: int) -> None:
    """No sequence of a topic that was forgotten is above this: one that is used again does not go back."""
    put = insert(connection, head)
    connection.execute(
        put.on_conflict_do_update(
            index_elements=["id"],
            set_={"forgotten": put.excluded.forgotten},
            where=head.c.forgotten < put.excluded.forgotten,
        ),
        [{**FIRST_HEAD, "forgotten": forgotten}],
    )


def _insert(connection: Connection, owed: Sequence[Owed]) -> None:
    # What is for a subscription that was deleted meanwhile would stay for ever.
    every = [each for each in owed if not each.durable.is_deleted]
    if not every:
        return
    connection.execute(owed_events.insert(), [_row(each) for each in every])
    last = {each.event.topic: each.event.sequence for each in every}
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


def _delete(connection: Connection, ids: list[int]) -> None:
    delete = sa.delete(owed_events).where(owed_events.c.id == sa.bindparam("b_id"))
    connection.execute(delete, [{"b_id": id} for id in ids])


def _log_failure(items: object, failure: Failure | None) -> None:
    if failure is not None:
        log.debug("acknowledgements not stored, their events come again: {why}", why=str(failure.value))
