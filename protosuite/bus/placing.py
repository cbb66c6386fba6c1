"""Several nodes: each event gets its place in the database, in the transaction that stores it.

One row is locked by whoever publishes, up to its commit. So what is committed has no holes, neither positions
nor the ids of what is owed nor the sequences of a topic; who has read up to a position has missed nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import sqlalchemy as sa
from attrs import define, field, frozen
from sqlalchemy import Connection
from sqlalchemy import bindparam as given
from twisted.python.failure import Failure

from protosuite.bus.delivery import Event
from protosuite.bus.tables import durables, events, head, owed_events, topics
from protosuite.bus.topics import Trie
from protosuite.storage.prepared import Prepared
from protosuite.storage.upsert import insert

T = TypeVar("T")

FREE = ""  # the node of what is owed, and with nobody
_CHUNK = 500  # names or ids of one statement

_EVENT = ("topic", "sequence", "payload", "content_type", "published_at")
_PUT_EVENT = Prepared(events.insert(), "position", *_EVENT)
_PUT_OWED = Prepared(owed_events.insert(), "id", "durable", *_EVENT, "node")
_HEAD = sa.select(head).with_for_update()
_MOVE = sa.update(head).values(position=given("at"), owed=given("last"), retained=given("bytes"))
_SEQUENCES = sa.select(topics.c.topic, topics.c.sequence).where(
    topics.c.topic.in_(given("names", expanding=True))
)


@define(eq=False, repr=False)
class Publication:
    """What a connection has published: `told` gets the event with its place, or why it has none."""

    topic: str
    payload: bytes
    content_type: str
    published_at: int
    told: Callable[[Event | None, Failure | None], None]
    event: Event | None = None  # once it is stored


@define(eq=False, repr=False)
class Batch:
    """What is published together. `owed`: the last id of what each durable subscription got, and how many."""

    publications: list[Publication] = field(factory=list)
    owed: dict[str, tuple[int, int]] = field(factory=dict)

    def __len__(self) -> int:
        return len(self.publications)

    @property
    def events(self) -> list[Event]:
        """Those that are stored, in their order."""
        return [each.event for each in self.publications if each.event is not None]


@frozen
class Head:
    """How far everything has come."""

    position: int
    owed: int
    forgotten: int
    deleted: int
    retained: int
    durables: str


def locked(connection: Connection) -> Head:
    """The head, which nobody else changes until the commit."""
    return _of(connection.execute(_HEAD).one())


def seen(connection: Connection) -> Head:
    """The head as it is."""
    return _of(connection.execute(sa.select(head)).one())


def _of(row: sa.Row[tuple[object, ...]]) -> Head:
    return Head(**{name: value for name, value in row._mapping.items() if name != "id"})


def chunks(names: Iterable[T]) -> Iterator[list[T]]:
    """So many at a time as a statement takes."""
    every = list(names)
    for start in range(0, len(every), _CHUNK):
        yield every[start : start + _CHUNK]


class Placing:
    """The work of publishing, in the thread of whoever writes."""

    def __init__(self) -> None:
        self._known: str | None = None  # which durable subscriptions these are
        self._durables: Trie[str] = Trie()

    def publish(self, connection: Connection, batch: Batch) -> None:
        """Give each event its place, and store it with a copy for each durable subscription."""
        at = locked(connection)
        self._learn(connection, at.durables)
        names = sorted({each.topic for each in batch.publications})
        sequences = dict.fromkeys(names, at.forgotten)
        for chunk in chunks(names):
            sequences.update(connection.execute(_SEQUENCES, {"names": chunk}).tuples().all())
        positions, placed, owed = _place(at, sequences, batch.publications), [], []
        batch.owed = {}
        id = at.owed
        for event in positions:
            fields = (event.topic, event.sequence, event.payload, event.content_type, event.published_at)
            placed.append((event.order, *fields))
            for durable in self._durables.matching(event.topic):
                id += 1
                owed.append((id, durable, *fields, FREE))
                batch.owed[durable] = (id, batch.owed.get(durable, (0, 0))[1] + 1)
        _PUT_EVENT.many(connection, placed)
        _PUT_OWED.many(connection, owed)
        last = {event.topic: event for event in positions}
        _move_topics(connection, last.values())
        retained = at.retained + sum(len(event.payload) for event in positions)
        connection.execute(_MOVE, {"at": at.position + len(placed), "last": id, "bytes": retained})

    def _learn(self, connection: Connection, version: str) -> None:
        """Know the durable subscriptions: they are read again when any has come or gone."""
        if version == self._known:
            return
        self._durables = Trie()
        for name, pattern in connection.execute(sa.select(durables).order_by(durables.c.name)):
            self._durables.add(pattern, name)
        self._known = version


def _place(at: Head, sequences: dict[str, int], publications: Sequence[Publication]) -> list[Event]:
    placed = []
    for position, each in enumerate(publications, at.position + 1):
        sequences[each.topic] = sequence = sequences[each.topic] + 1
        each.event = Event(each.topic, each.payload, each.content_type, sequence, each.published_at, position)
        placed.append(each.event)
    return placed


def _move_topics(connection: Connection, last: Iterable[Event]) -> None:
    put = insert(connection, topics)
    connection.execute(
        put.on_conflict_do_update(
            index_elements=["topic"],
            set_={"sequence": put.excluded.sequence, "position": put.excluded.position},
        ),
        [{"topic": each.topic, "sequence": each.sequence, "position": each.order} for each in last],
    )
