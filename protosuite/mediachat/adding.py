"""Messages on their way into the database: many in a few statements, each with an outcome of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sa
from attrs import define
from sqlalchemy import Connection
from sqlalchemy import bindparam as given
from twisted.python.failure import Failure

from protosuite.errors import BadRequest
from protosuite.mediachat import filing
from protosuite.mediachat.places import next_place
from protosuite.mediachat.tables import MESSAGE, Message, New, chats, messages
from protosuite.storage import sqlite
from protosuite.storage.prepared import ManyRows, Prepared, PreparedQuery

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
    *("bytes", "more", "at", "chat"),
)
_PUT = sa.insert(messages).returning(messages.c.id, sort_by_parameter_order=True)


# For SQLite, given to the driver: SQLAlchemy takes 20 µs for each statement, and 0.5 for each row.
_TEXT = 6  # columns that a text without a key has: to bind the others takes 1.8 µs of the 4.7 for a row
_NO_MORE = (None,) * (len(New._fields) - _TEXT)
_PUT_TEXTS = ManyRows(messages, "id", *New._fields[:_TEXT])
_PUT_ANY = (
    f"INSERT INTO mediachat_message (id, {', '.join(New._fields)}) VALUES (?{', ?' * len(New._fields)})"
)
KNOWN_HERE = f"SELECT {', '.join(Message._fields)} FROM mediachat_message WHERE chat_id = ? AND key = ?"
# The last one that was given, and the last one that is filed.
_LAST_IDS = f"SELECT seq, {filing.UPTO_HERE} FROM sqlite_sequence WHERE name = 'mediachat_message'"
_CHANGE_HERE = (
    "UPDATE mediachat_chat SET media_bytes = media_bytes + ?1, unread = unread + ?2,"
    " last_message_at = ?3, active_at = ?3 WHERE id = ?4"
)


@define(eq=False, repr=False)
class Adding:
    """A message that is to be stored. `outcome` is what the last attempt made of it; `told` is told that."""

    new: New
    told: Callable[[Added | Failure], object]
    outcome: Added | BadRequest | None = None

    def tell(self, failure: Failure | None = None) -> None:
        """Tell what became of it."""
        if failure is None and isinstance(self.outcome, tuple):
            self.told(self.outcome)
        else:
            self.told(failure or Failure(self.outcome))


@define
class _Change:
    """What becomes of a chat."""

    bytes: int = 0  # more of media
    unread: int = 0  # more of those
    at: int = 0  # of its last message


def add_all(
    connection: Connection,
    quota: int,
    group: Sequence[Adding],
    lane: int | None = None,
    there: Collection[int] = (),
) -> None:
    """Store what can be, in this order, and note the outcomes. `lane` is this node's if there are others.

    The chats are locked first: what is found in them, and added to them, is nobody else's meanwhile. Those
    in `there` are known to exist, where nobody else can write: they are looked up for the sake of media only.
    """
    used = _used(connection, group, there)
    first: dict[tuple[int, str], Adding] = {}  # those with a key that are stored here
    fresh, again = [], []
    for adding in group:
        new = adding.new
        chat_id, key = new.chat_id, new.key
        if key is not None:
            if (chat_id, key) in first:
                again.append((adding, first[chat_id, key]))
                continue
            if (known := _known(connection, chat_id, key)) is not None:
                adding.outcome = known, False
                continue
        size = 0 if new.sha256 is None else _size(new)
        if size or chat_id not in used:
            try:
                check(chat_id, used.get(chat_id), size, quota)
            except BadRequest as error:
                adding.outcome = error
                continue
            used[chat_id] += size
        fresh.append(adding)
        if key is not None:
            first[chat_id, key] = adding
    if fresh:
        _put(connection, fresh, lane)
        _change(connection, fresh)
    for adding, earlier in again:
        assert isinstance(earlier.outcome, tuple)
        adding.outcome = earlier.outcome[0], False


def check(chat_id: int, used: int | None, size: int, quota: int) -> None:
    """Raise :exc:`BadRequest` where media of so many bytes may not come to those that a chat has."""
    if used is None:
        raise BadRequest("no-such-chat", f"there is no chat {chat_id}")
    if size and used + size > quota:
        raise BadRequest("quota", f"the media of a chat may be {quota} bytes in all")


def _size(new: New) -> int:
    """Bytes of media that are kept of a message that has any."""
    return new.size or 0 if new.status == "saved" else 0


def _used(connection: Connection, group: Sequence[Adding], there: Collection[int]) -> dict[int, int]:
    """The chats that there are, and how many bytes of media each has, or 0 where that is of no concern."""
    used: dict[int, int] = {}
    asked = set()
    for adding in group:
        chat_id = adding.new.chat_id
        if adding.new.sha256 is None and chat_id in there:
            used[chat_id] = 0
        else:
            asked.add(chat_id)
    if asked:
        used.update((id, size) for id, size in _CHATS.rows(connection, sorted(asked)))
    return used


def _known(connection: Connection, chat_id: int, key: str) -> Message | None:
    """What is stored under a key. One by one: for all at once SQLite would read every key there is."""
    if connection.dialect.name == "sqlite":
        row = sqlite.driver(connection).execute(KNOWN_HERE, (chat_id, key)).fetchone()
        return None if row is None else Message(*row)
    found = _KNOWN.rows(connection, [key], chat_id)
    return Message(*found[0]) if found else None


def _put(connection: Connection, fresh: Sequence[Adding], lane: int | None) -> None:
    """Store messages, in their order, and note it."""
    if lane is None and connection.dialect.name == "sqlite":
        _put_here(connection, fresh)
        return
    placed = {} if lane is None else {"place": next_place(connection, lane)}
    made = [adding.new._asdict() | placed for adding in fresh]
    for adding, id in zip(fresh, connection.execute(_PUT, made).scalars().all(), strict=True):
        adding.outcome = Message(id, *adding.new[:-1]), True  # without its key


def _put_here(connection: Connection, fresh: Sequence[Adding]) -> None:
    """The same where nobody else can write, so the ids are known before: to be told them takes 15 µs each."""
    driver = sqlite.driver(connection)
    last, is_filed = driver.execute(_LAST_IDS).fetchone() or (0, 0)
    texts: list[tuple[Any, ...]] = []
    others: list[tuple[Any, ...]] = []
    for id, adding in enumerate(fresh, last + 1):
        new = adding.new
        if new[_TEXT:] == _NO_MORE:
            texts.append((id, *new[:_TEXT]))
        else:
            others.append((id, *new))
        adding.outcome = Message(id, *new[:-1]), True
    _PUT_TEXTS.put(connection, texts)
    if others:
        driver.executemany(_PUT_ANY, others)
    last += len(fresh)
    if last - is_filed >= filing.MOST:
        filing.file(connection, last)


def _change(connection: Connection, fresh: Sequence[Adding]) -> None:
    """Let the chats of messages that are stored have them."""
    changes: dict[int, _Change] = {}
    for adding in fresh:
        new = adding.new
        if (change := changes.get(new.chat_id)) is None:
            change = changes[new.chat_id] = _Change()
        change.at = new.at
        change.unread += new.sender == "client" and new.status == "saved"
        if new.sha256 is not None:
            change.bytes += _size(new)
    rows = [(each.bytes, each.unread, each.at, id) for id, each in changes.items()]
    if connection.dialect.name == "sqlite":
        sqlite.driver(connection).executemany(_CHANGE_HERE, rows)
    else:
        _CHANGE.many(connection, rows)
