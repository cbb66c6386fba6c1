"""Several nodes: what has been published, to be read and to be swept."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter

import sqlalchemy as sa
from attrs import define, frozen
from sqlalchemy import Connection

from protosuite.bus.delivery import Event
from protosuite.bus.leasing import within
from protosuite.bus.placing import chunks, locked, seen
from protosuite.bus.tables import events, head, topics
from protosuite.bus.topics import Trie

_PAGE = 500  # events read at once
_PAGE_BYTES = 4 << 20
_SWEPT = 1000  # events deleted at once, for each reason: publishers wait for it
_FORGOTTEN = 500  # topics forgotten at once

_COLUMNS = events.c
_FIELDS = (
    _COLUMNS.topic,
    _COLUMNS.payload,
    _COLUMNS.content_type,
    _COLUMNS.sequence,
    _COLUMNS.published_at,
    _COLUMNS.position,
)
_SIZE = sa.func.length(_COLUMNS.payload)


@frozen
class Page:
    """What is behind a position, `upto` another one. `has_gap`: some of it had been deleted."""

    events: list[Event]
    upto: int
    is_last: bool
    has_gap: bool


def page(connection: Connection, after: int) -> Page:
    """The next events behind a position, as many as one likes to have at once."""
    at = seen(connection)
    behind = sa.select(_COLUMNS.position, _SIZE).where(_COLUMNS.position > after)
    sizes = [(int(p), int(n)) for p, n in connection.execute(behind.order_by(_COLUMNS.position).limit(_PAGE))]
    chosen = within(sizes, _PAGE_BYTES)
    is_all = len(chosen) == len(sizes) < _PAGE
    upto = at.position if is_all else chosen[-1]
    return Page(_read(connection, chosen), upto, is_all, after < at.deleted)


def last(
    connection: Connection, pattern: str, replay: int, most: int, max_bytes: int
) -> tuple[int, list[Event]]:
    """Where everything ends, and the last `replay` events of each topic that `pattern` matches.

    Of those the newest, as many as are within both bounds, in their order.
    """
    at = seen(connection)
    if not replay:
        return at.position, []
    found: list[tuple[int, int]] = []
    for chunk in chunks(_matching(connection, pattern)):
        newest = (
            sa.select(_COLUMNS.position, _SIZE)
            .join(topics, topics.c.topic == _COLUMNS.topic)
            .where(_COLUMNS.topic.in_(chunk), _COLUMNS.sequence > topics.c.sequence - replay)
            .order_by(_COLUMNS.position.desc())
            .limit(most)
        )
        found += [(int(position), int(size)) for position, size in connection.execute(newest)]
        found = sorted(found, reverse=True)[:most]  # a pattern may match a million
    return at.position, _read(connection, within(found, max_bytes))


def _matching(connection: Connection, pattern: str) -> list[str]:
    """The topics that a pattern matches."""
    trie: Trie[None] = Trie()
    trie.add(pattern, None)
    prefix = pattern.partition("*")[0].partition("#")[0].removesuffix(".")
    query = sa.select(topics.c.topic).where(topics.c.position > 0)
    if prefix == pattern:
        query = query.where(topics.c.topic == pattern)
    elif prefix:
        query = query.where(topics.c.topic.startswith(prefix, autoescape=True))
    return [topic for topic in connection.execute(query).scalars() if any(True for _ in trie.matching(topic))]


def _read(connection: Connection, positions: Sequence[int]) -> list[Event]:
    found = [
        Event(*row)
        for chunk in chunks(positions)
        for row in connection.execute(sa.select(*_FIELDS).where(_COLUMNS.position.in_(chunk)))
    ]
    return sorted(found, key=attrgetter("order"))


@frozen
class Keeping:
    """What is kept for replay: so many events of each topic, so many bytes and topics.

    Only what was published `before`, in milliseconds since the epoch, is deleted: other nodes may still have
    to read the rest.
    """

    retain: int
    max_retained: int
    max_topics: int
    before: int


def crowded(connection: Connection, retain: int) -> list[str]:
    """The topics of which too much is kept. It looks at everything."""
    count = sa.func.count()
    query = sa.select(_COLUMNS.topic).group_by(_COLUMNS.topic).having(count > retain)
    return list(connection.execute(query).scalars())


@frozen
class Swept:
    """What a sweep has left: topics that were `cut`, topics of which something is too `young`.

    `has_more`: there was more to delete for other reasons than one deletes at once.
    """

    cut: list[str]
    young: list[str]
    has_more: bool


def sweep(connection: Connection, keeping: Keeping, names: Iterable[str]) -> Swept:
    """Delete some of what need not be kept of these topics, and of all."""
    positions: list[int] = []
    cut: list[str] = []
    young: list[str] = []
    for name in names:
        left = _SWEPT - len(positions)
        found = _surplus(connection, name, keeping.retain, left) if left else []
        old = [position for position, when in found if when < keeping.before]
        if len(old) < len(found):
            young.append(name)
        elif len(found) == left:
            cut.append(name)
        positions += old
    at = locked(connection)
    kept = _Kept(at.deleted, at.retained)
    kept.delete(connection, positions)
    over = _over(connection, keeping, kept.retained)
    kept.delete(connection, over)
    theirs, has_more = _forget_topics(connection, keeping, at.forgotten)
    kept.delete(connection, theirs)
    if kept != _Kept(at.deleted, at.retained):
        connection.execute(sa.update(head).values(deleted=kept.deleted, retained=kept.retained))
    return Swept(cut, young, has_more or len(over) == _SWEPT)


@define
class _Kept:
    """What the head, which is locked, says: the highest position that was deleted, bytes of what is there."""

    deleted: int
    retained: int

    def delete(self, connection: Connection, positions: Collection[int]) -> None:
        """Delete what is there of these; some may have been chosen before the lock, and by others too."""
        for chunk in chunks(sorted(positions)):
            gone = sa.delete(events).where(_COLUMNS.position.in_(chunk)).returning(_COLUMNS.position, _SIZE)
            for position, size in connection.execute(gone):
                self.deleted = max(self.deleted, int(position))
                self.retained -= int(size)


def _surplus(connection: Connection, name: str, retain: int, most: int) -> list[tuple[int, int]]:
    """What there is of a topic besides what is kept: positions and times, oldest first."""
    newest = connection.execute(sa.select(topics.c.sequence).where(topics.c.topic == name)).scalar()
    query = (
        sa.select(_COLUMNS.position, _COLUMNS.published_at)
        .where(_COLUMNS.topic == name, _COLUMNS.sequence <= (newest or 0) - retain)
        .order_by(_COLUMNS.sequence)
        .limit(most)
    )
    return [(int(position), int(when)) for position, when in connection.execute(query)]


def _over(connection: Connection, keeping: Keeping, retained: int) -> list[int]:
    """The oldest events of all, until the bound in bytes holds."""
    if retained <= keeping.max_retained:
        return []
    query = sa.select(_COLUMNS.position, _SIZE).where(_COLUMNS.published_at < keeping.before)
    found: list[int] = []
    for position, size in connection.execute(query.order_by(_COLUMNS.position).limit(_SWEPT)):
        if retained <= keeping.max_retained:
            break
        found.append(int(position))
        retained -= int(size)
    return found


def _forget_topics(connection: Connection, keeping: Keeping, forgotten: int) -> tuple[list[int], bool]:
    """Forget the topics that were published to longest ago, while there are too many.

    What they had, and whether there may be more: one of which not all can be deleted at once stays.
    """
    count = connection.execute(sa.select(sa.func.count()).select_from(topics)).scalar_one()
    if count <= keeping.max_topics:
        return [], False
    last = topics.outerjoin(events, topics.c.position == _COLUMNS.position)
    is_old = sa.or_(_COLUMNS.position.is_(None), _COLUMNS.published_at < keeping.before)
    oldest = sa.select(topics.c.topic, topics.c.sequence).select_from(last).where(is_old)
    oldest = oldest.order_by(topics.c.position).limit(min(count - keeping.max_topics, _FORGOTTEN))
    found = dict(connection.execute(oldest).tuples().all())
    theirs = sa.select(_COLUMNS.topic, _COLUMNS.position).where(_COLUMNS.topic.in_(list(found)))
    theirs = theirs.order_by(_COLUMNS.topic, _COLUMNS.sequence).limit(_SWEPT)
    rows = connection.execute(theirs).tuples().all()
    has_more = len(found) == _FORGOTTEN
    if len(rows) == _SWEPT:  # there may be more of the last one, and of those that did not come
        whole = {topic for topic, _ in rows} - {rows[-1][0]}
        found = {topic: sequence for topic, sequence in found.items() if topic in whole}
        has_more = True
    if found:
        connection.execute(sa.delete(topics).where(topics.c.topic.in_(list(found))))
        # Not 1 when one of them is used again: a sequence never goes back.
        connection.execute(sa.update(head).values(forgotten=max(forgotten, *found.values())))
    return [position for _, position in rows], has_more
