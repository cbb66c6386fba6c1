"""Messages on their way into the database: many in a few statements, each with an outcome of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from attrs import define, field
from sqlalchemy import Connection
from sqlalchemy import bindparam as given
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from protosuite.errors import BadRequest
from protosuite.mediachat.places import next_place
from protosuite.mediachat.tables import MESSAGE, Message, New, chats, messages
from protosuite.storage.prepared import Prepared, PreparedQuery

Added = tuple[Message, bool]  # as it is stored; False if one with its key was there before

# Built once: putting a statement together takes longer than carrying it out.
_CHATS = PreparedQuery(
    # Two nodes lock them in one order.
    sa.select(chats.c.id, chats.c.media_bytes).order_by(chats.c.id).with_for_update(),
    chats.c.id,
)
_KNOWN = PreparedQuery(sa.select(*MESSAGE).where(messages.c.chat_id == given("chat")), messages.c.key, "chat")
_CHANGE = Prepared(
    sa.update(chats)
    .where(chats.c.id == given("chat"))
    .values(
        media_bytes=chats.c.media_bytes + given("bytes"),
        unread=chats.c.unread + given("more"),
        last_message_at=given("at"),
        active_at=given("at"),
    ),
    *("chat", "bytes", "more", "at"),
)
_COLUMNS = (*list(Message.__annotations__)[1:], "key")  # behind the id: as a Message has them, and a key
_columns = attrgetter(*_COLUMNS)
_PUT = sa.insert(messages).returning(messages.c.id, sort_by_parameter_order=True)
_PUT_AS = Prepared(
    sa.insert(messages).values({name: given(name) for name in ("id", *_COLUMNS)}),
    *("id", *_COLUMNS),
)
_LAST_ID = "SELECT seq FROM sqlite_sequence WHERE name = 'mediachat_message'"


@define(eq=False)
class Adding:
    """A message that is to be stored. `outcome` is what the last attempt made of it."""

    new: New
    answer: Deferred[Added] = field(factory=Deferred)
    outcome: Added | BadRequest | None = None

    def told(self, failure: Failure | None = None) -> None:
        """Tell whoever waits, if nobody has before."""
        if self.answer.called:  # cancelled
            return
        if failure is not None:
            self.answer.errback(failure)
        elif isinstance(self.outcome, tuple):
            self.answer.callback(self.outcome)
        else:
            self.answer.errback(Failure(self.outcome))


@define
class _Change:
    """What becomes of a chat."""

    used: int  # bytes of media
    bytes: int = 0  # more of them
    unread: int = 0  # more of those
    at: int | None = None  # of its last message; None: nothing is new


def add_all(connection: Connection, quota: int, group: Sequence[Adding], lane: int | None = None) -> None:
    """Store what can be, in this order, and note the outcomes. `lane` is this node's if there are others.

    The chats are locked first: what is found in them, and added to them, is nobody else's meanwhile.
    """
    rows = _CHATS.rows(connection, sorted({adding.new.chat_id for adding in group}))
    changes = {id: _Change(used) for id, used in rows}
    first: dict[tuple[int, str], Adding] = {}  # those with a key that are stored here
    fresh, again = [], []
    for adding in group:
        chat_id, key = adding.new.chat_id, adding.new.key
        if key is not None:
            if (chat_id, key) in first:
                again.append((adding, first[chat_id, key]))
                continue
            if there := _KNOWN.rows(connection, [key], chat_id):
                adding.outcome = Message(*there[0]), False
                continue
        try:
            _count(adding.new, changes.get(chat_id), quota)
        except BadRequest as error:
            adding.outcome = error
            continue
        fresh.append(adding)
        if key is not None:
            first[chat_id, key] = adding
    _put(connection, fresh, lane)
    for adding, earlier in again:
        assert isinstance(earlier.outcome, tuple)
        adding.outcome = earlier.outcome[0], False
    _change(connection, changes)


def check(chat_id: int, used: int | None, size: int, quota: int) -> None:
    """Raise :exc:`BadRequest` where media of so many bytes may not come to those that a chat has."""
    if used is None:
        raise BadRequest("no-such-chat", f"there is no chat {chat_id}")
    if size and used + size > quota:
        raise BadRequest("quota", f"the media of a chat may be {quota} bytes in all")


def _count(new: New, change: _Change | None, quota: int) -> None:
    """Let a chat have a message; :exc:`BadRequest` if it cannot."""
    is_kept = new.status == "saved"
    size = new.size or 0 if is_kept and new.sha256 is not None else 0
    check(new.chat_id, None if change is None else change.used + change.bytes, size, quota)
    assert change is not None
    change.bytes += size
    change.unread += is_kept and new.sender == "client"
    change.at = new.at


def _put(connection: Connection, fresh: Sequence[Adding], lane: int | None) -> None:
    if not fresh:
        return
    place = None if lane is None else next_place(connection, lane)
    rows = [_columns(adding.new) for adding in fresh]
    for adding, id, row in zip(fresh, _stored(connection, rows, place), rows, strict=True):
        adding.outcome = Message(id, *row[:-1]), True  # without its key


def _stored(connection: Connection, rows: Sequence[tuple[Any, ...]], place: int | None) -> Sequence[int]:
    """The ids of messages that are stored now, in their order."""
    if place is None and connection.dialect.name == "sqlite":
        # Nobody else can write, so the ids are known before: 7 µs a message. To be told them takes 15.
        last: int = connection.exec_driver_sql(_LAST_ID).scalar() or 0
        ids = range(last + 1, last + 1 + len(rows))
        _PUT_AS.many(connection, [(id, *row) for id, row in zip(ids, rows, strict=True)])
        return ids
    placed = {} if place is None else {"place": place}
    made = [dict(zip(_COLUMNS, row, strict=True)) | placed for row in rows]
    return connection.execute(_PUT, made).scalars().all()


def _change(connection: Connection, changes: Mapping[int, _Change]) -> None:
    moved = [(id, each.bytes, each.unread, each.at) for id, each in changes.items() if each.at is not None]
    _CHANGE.many(connection, moved)
