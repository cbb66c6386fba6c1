"""Messages on their way into the database: many in a few statements, each with an outcome of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from attrs import define, field
from sqlalchemy import Connection
from sqlalchemy import bindparam as given
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from protosuite.errors import BadRequest
from protosuite.mediachat.places import next_place
from protosuite.mediachat.tables import MESSAGE, Message, New, chats, messages
from protosuite.storage.prepared import Prepared

Added = tuple[Message, bool]  # as it is stored; False if one with its key was there before

# Built once: putting a statement together takes longer than carrying it out.
_CHATS = (
    sa.select(chats.c.id, chats.c.media_bytes)
    .where(chats.c.id.in_(given("ids", expanding=True)))
    .order_by(chats.c.id)  # two nodes lock them in one order
    .with_for_update()
)
_KNOWN = sa.select(*MESSAGE).where(messages.c.chat_id == given("chat"), messages.c.key == given("its_key"))
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
_PUT = sa.insert(messages).returning(messages.c.id, sort_by_parameter_order=True)
_COLUMNS = tuple(New.__annotations__)


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
    rows = connection.execute(_CHATS, {"ids": sorted({adding.new.chat_id for adding in group})})
    changes = {id: _Change(used) for id, used in rows}
    first: dict[tuple[int, str], Adding] = {}  # those with a key that are stored here
    fresh, again = [], []
    for adding in group:
        chat_id, key = adding.new.chat_id, adding.new.key
        if key is not None:
            if (chat_id, key) in first:
                again.append((adding, first[chat_id, key]))
                continue
            if (there := connection.execute(_KNOWN, {"chat": chat_id, "its_key": key}).first()) is not None:
                adding.outcome = Message(*there), False
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
    rows = [{name: getattr(adding.new, name) for name in _COLUMNS} for adding in fresh]
    placed = rows
    if lane is not None:
        place = next_place(connection, lane)
        placed = [row | {"place": place} for row in rows]
    ids = connection.execute(_PUT, placed).scalars().all()
    for adding, id, row in zip(fresh, ids, rows, strict=True):
        del row["key"]
        adding.outcome = Message(id=id, **row), True


def _change(connection: Connection, changes: Mapping[int, _Change]) -> None:
    moved = [(id, each.bytes, each.unread, each.at) for id, each in changes.items() if each.at is not None]
    _CHANGE.many(connection, moved)
