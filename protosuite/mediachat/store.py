"""Chats and their messages in the database. Times are milliseconds since the epoch, handed in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from twisted.internet.defer import Deferred

from protosuite.errors import BadRequest
from protosuite.storage import Database, metadata
from protosuite.storage.upsert import insert, lock

_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only what is called an INTEGER

_UNREAD = sa.text("unread > 0")  # as the index has it, so that it is used
chats = Table(
    "mediachat_chat",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("client_id", BigInteger, nullable=False, unique=True),
    Column("timezone", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("last_message_at", BigInteger),
    Column("active_at", BigInteger, nullable=False),  # that, or the creation: what chats are sorted by
    Column("unread", Integer, nullable=False),  # saved messages of the client that the desk has not read
    Column("delivered", BigInteger, nullable=False),  # the last message that a plain client was sent
    Column("media_bytes", BigInteger, nullable=False),  # of its saved messages
    Index("ix_mediachat_chat_active", "active_at", "id"),
    Index("ix_mediachat_chat_awaiting", "active_at", "id", sqlite_where=_UNREAD, postgresql_where=_UNREAD),
)
messages = Table(
    "mediachat_message",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("chat_id", BigInteger, ForeignKey("mediachat_chat.id"), nullable=False),
    Column("sender", String(6), nullable=False),  # client or desk
    Column("kind", String(5), nullable=False),  # text, or one of the kinds of media
    Column("status", String(9), nullable=False),  # saved or discarded
    Column("at", BigInteger, nullable=False),
    Column("text", Text),
    Column("name", String(255)),
    Column("size", BigInteger),
    Column("type", String(255)),
    Column("sha256", String(64), index=True),
    Column("key", String(80)),
    UniqueConstraint("chat_id", "key", name="uq_mediachat_message_key"),
    Index("ix_mediachat_message_chat_id", "chat_id", "id"),
    Index("ix_mediachat_message_sender", "chat_id", "sender", "id"),
    sqlite_autoincrement=True,  # an id is never given again
)


@frozen
class Chat:
    """One client's chat."""

    id: int
    client_id: int
    timezone: str
    created_at: int
    last_message_at: int | None
    unread: int
    active_at: int
    delivered: int

    def fields(self) -> dict[str, object]:
        """As the API gives it."""
        return {
            "id": self.id,
            "client_id": self.client_id,
            "timezone": self.timezone,
            "created_at": self.created_at,
            "last_message_at": self.last_message_at,
            "unread": self.unread,
        }


@frozen
class Message:
    """One message of a chat; of media, what is known about its bytes."""

    id: int
    chat_id: int
    sender: str
    kind: str
    status: str
    at: int
    text: str | None = None
    name: str | None = None
    size: int | None = None
    type: str | None = None
    sha256: str | None = None

    def fields(self) -> dict[str, object]:
        """As the API gives it: fields that it has not are left out."""
        every = {
            "id": self.id,
            "chat_id": self.chat_id,
            "from": self.sender,
            "kind": self.kind,
            "status": self.status,
            "at": self.at,
            "text": self.text,
            "name": self.name,
            "size": self.size,
            "type": self.type,
            "sha256": self.sha256,
            "url": self.url,
        }
        return {name: value for name, value in every.items() if value is not None}

    @property
    def url(self) -> str | None:
        """Where its bytes are, if it has any."""
        return f"/media/{self.id}" if self.sha256 is not None else None


@frozen
class New:
    """A message that is to be stored. Of two with one `key` in a chat only the first is."""

    chat_id: int
    sender: str
    kind: str
    at: int
    status: str = "saved"
    text: str | None = None
    name: str | None = None
    size: int | None = None
    type: str | None = None
    sha256: str | None = None
    key: str | None = None


_CHAT = [chats.c[name] for name in Chat.__annotations__]
_MESSAGE = [messages.c[name] for name in Message.__annotations__]


class MediaChatStore:
    """The chats of all clients. `quota` is how many bytes of media a chat may have."""

    def __init__(self, database: Database, quota: int) -> None:
        self._database = database
        self._quota = quota

    def enter(self, client_id: int, timezone: str, now: int) -> Deferred[tuple[Chat, int]]:
        """The chat of a client, which is made if there is none, in the zone where the client is now.

        And the id of its last message, 0 if there is none.
        """

        def work(connection: Connection) -> tuple[Chat, int]:
            put = insert(connection, chats).values(
                client_id=client_id,
                timezone=timezone,
                created_at=now,
                active_at=now,
                unread=0,
                delivered=0,
                media_bytes=0,
            )
            connection.execute(
                put.on_conflict_do_update(index_elements=["client_id"], set_={"timezone": timezone})
            )
            query = sa.select(*_CHAT).where(chats.c.client_id == client_id)
            chat = Chat(*connection.execute(query).one())
            last = sa.select(sa.func.max(messages.c.id)).where(messages.c.chat_id == chat.id)
            return chat, connection.execute(last).scalar() or 0

        return self._database.write(work)

    def add(self, new: New) -> Deferred[tuple[Message, bool]]:
        """Store a message; and whether it is new, for one with its key may be there already.

        Fails with :exc:`BadRequest` ``quota`` or ``no-such-chat``.
        """

        def work(connection: Connection) -> tuple[Message, bool]:
            if new.key is not None:
                there = sa.select(*_MESSAGE).where(
                    messages.c.chat_id == new.chat_id, messages.c.key == new.key
                )
                if (found := connection.execute(there).first()) is not None:
                    return Message(*found), False
            is_kept = new.status == "saved"
            size = new.size or 0 if is_kept and new.sha256 is not None else 0
            changed = {
                "media_bytes": chats.c.media_bytes + size,
                "unread": chats.c.unread + int(is_kept and new.sender == "client"),
                "last_message_at": new.at,
                "active_at": new.at,
            }
            chat = sa.update(chats).where(chats.c.id == new.chat_id).values(changed)
            used = connection.execute(chat.returning(chats.c.media_bytes - size)).scalar()
            self._check(new.chat_id, used, size)
            row = {name: getattr(new, name) for name in New.__annotations__}
            id = connection.execute(
                insert(connection, messages).values(row).returning(messages.c.id)
            ).scalar_one()
            del row["key"]
            return Message(id=id, **row), True

        return self._database.write(work)

    def check_room(self, chat_id: int, size: int) -> Deferred[None]:
        """Whether media of so many bytes have room now. Fails as :meth:`add`, which has the last word."""

        def work(connection: Connection) -> None:
            self._check(chat_id, _used(connection, chat_id), size)

        return self._database.read(work)

    def _check(self, chat_id: int, used: int | None, size: int) -> None:
        if used is None:
            raise BadRequest("no-such-chat", f"there is no chat {chat_id}")
        if size and used + size > self._quota:
            raise BadRequest("quota", f"the media of a chat may be {self._quota} bytes in all")

    def message(self, id: int) -> Deferred[Message | None]:
        """One message."""

        def work(connection: Connection) -> Message | None:
            row = connection.execute(sa.select(*_MESSAGE).where(messages.c.id == id)).first()
            return None if row is None else Message(*row)

        return self._database.read(work)

    def resume(self, chat_id: int, key: str, size: int) -> Deferred[Message | None]:
        """The media message of a key, or None if it is still to come; then it fails as :meth:`check_room`."""

        def work(connection: Connection) -> Message | None:
            query = sa.select(*_MESSAGE).where(messages.c.chat_id == chat_id, messages.c.key == key)
            if (row := connection.execute(query).first()) is not None:
                return Message(*row)
            self._check(chat_id, _used(connection, chat_id), size)
            return None

        return self._database.read(work)

    def chats(
        self, limit: int, client_id: int | None = None, after: tuple[int, int] | None = None
    ) -> Deferred[list[Chat]]:
        """Chats, those with the newest activity first; `after` is the last one's (`active_at`, `id`)."""

        def work(connection: Connection) -> list[Chat]:
            query = sa.select(*_CHAT).order_by(chats.c.active_at.desc(), chats.c.id.desc()).limit(limit)
            if client_id is not None:
                query = query.where(chats.c.client_id == client_id)
            if after is not None:
                query = query.where(sa.tuple_(chats.c.active_at, chats.c.id) < sa.tuple_(*after))
            return [Chat(*row) for row in connection.execute(query)]

        return self._database.read(work)

    def client_of(self, chat_id: int) -> Deferred[int | None]:
        """Whose chat that is; None if there is no such chat."""
        query = sa.select(chats.c.client_id).where(chats.c.id == chat_id)
        return self._database.read(lambda connection: connection.execute(query).scalar())

    def awaiting(self, limit: int) -> Deferred[tuple[int, list[Chat]]]:
        """How many chats have something unread, and the `limit` of them with the oldest activity."""

        def work(connection: Connection) -> tuple[int, list[Chat]]:
            count = connection.execute(
                sa.select(sa.func.count()).select_from(chats).where(_UNREAD)
            ).scalar_one()
            oldest = sa.select(*_CHAT).where(_UNREAD).order_by(chats.c.active_at, chats.c.id).limit(limit)
            return count, [Chat(*row) for row in connection.execute(oldest)]

        return self._database.read(work)

    def page(
        self,
        chat_id: int,
        limit: int,
        *,
        before: int | None = None,
        after: int | None = None,
        offset: int = 0,
        sender: str | None = None,
    ) -> Deferred[list[Message] | None]:
        """Messages of a chat, oldest first: the first behind `after`; with `before` the last before that.

        None if there is no such chat. `sender`: saved messages of that one only.
        """

        def work(connection: Connection) -> list[Message] | None:
            if connection.execute(sa.select(chats.c.id).where(chats.c.id == chat_id)).first() is None:
                return None
            query = sa.select(*_MESSAGE).where(messages.c.chat_id == chat_id).limit(limit).offset(offset)
            if sender is not None:
                query = query.where(messages.c.sender == sender, messages.c.status == "saved")
            if after is not None:
                query = query.where(messages.c.id > after)
            if before is not None:
                query = query.where(messages.c.id < before).order_by(messages.c.id.desc())
                return [Message(*row) for row in connection.execute(query)][::-1]
            return [Message(*row) for row in connection.execute(query.order_by(messages.c.id))]

        return self._database.read(work)

    def read(self, chat_id: int, upto: int) -> Deferred[Chat | None]:
        """The desk has read a chat up to a message: the chat as it is then. None if there is no such chat."""

        def work(connection: Connection) -> Chat | None:
            # What another node adds meanwhile would not be counted.
            lock(connection, sa.select(chats.c.id).where(chats.c.id == chat_id))
            later = (
                sa.select(sa.func.count())
                .select_from(messages)
                .where(
                    messages.c.chat_id == chat_id,
                    messages.c.id > upto,
                    messages.c.sender == "client",
                    messages.c.status == "saved",
                )
                .scalar_subquery()
            )
            # Somebody else may have read on: nothing becomes unread again.
            update = sa.update(chats).where(chats.c.id == chat_id, chats.c.unread > later)
            connection.execute(update.values(unread=later))
            query = sa.select(*_CHAT).where(chats.c.id == chat_id)
            row = connection.execute(query).first()
            return None if row is None else Chat(*row)

        return self._database.write(work)

    def delivered(self, chat_id: int, upto: int) -> Deferred[None]:
        """A plain client has been sent what the desk said up to a message."""

        def work(connection: Connection) -> None:
            mine = sa.and_(chats.c.id == chat_id, chats.c.delivered < upto)
            connection.execute(sa.update(chats).where(mine).values(delivered=upto))

        return self._database.write(work)

    def referenced(self, hashes: Iterable[str]) -> Deferred[set[str]]:
        """Which of these a message has."""
        asked = list(hashes)

        def work(connection: Connection) -> set[str]:
            found: set[str] = set()
            for begin in range(0, len(asked), 500):
                query = sa.select(messages.c.sha256).where(messages.c.sha256.in_(asked[begin : begin + 500]))
                found.update(connection.execute(query.distinct()).scalars())
            return found

        return self._database.read(work)


def _used(connection: Connection, chat_id: int) -> int | None:
    """Bytes of media in a chat, or None if there is none."""
    return connection.execute(sa.select(chats.c.media_bytes).where(chats.c.id == chat_id)).scalar()


def as_fields(items: Iterable[Chat | Message]) -> list[dict[str, Any]]:
    """Items as the API gives them."""
    return [item.fields() for item in items]
