"""What the database holds of chats and their messages. Times are milliseconds since the epoch."""

from __future__ import annotations

from typing import NamedTuple

from attrs import frozen
from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    text,
)

from protosuite.storage import metadata
from protosuite.storage.schema import only_on

_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only what is called an INTEGER

UNREAD = text("unread > 0")  # as the index has it, so that it is used
DESK = text("sender = 'desk'")  # the same
_PLACED = text("place IS NOT NULL")  # none is where one node is alone
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
    Column("place", BigInteger),  # of the last change that was not a message: see places
    Index("ix_mediachat_chat_active", "active_at", "id"),
    # On PostgreSQL the migration gives its condition: to name that dialect imports it at every start.
    Index("ix_mediachat_chat_awaiting", "active_at", "id", sqlite_where=UNREAD),
    Index("ix_mediachat_chat_place", "place", sqlite_where=_PLACED),
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
    Column("sha256", String(64)),
    Column("key", String(80)),
    Column("place", BigInteger),  # in the order of commits, where there are several nodes: see places
    # What is of no use to most messages is not written for them: of 50 µs of the database a text took 25.
    Index("ix_mediachat_message_key", "chat_id", "key", unique=True, sqlite_where=text("key IS NOT NULL")),
    Index("ix_mediachat_message_media", "sha256", sqlite_where=text("sha256 IS NOT NULL")),
    Index("ix_mediachat_message_desk", "chat_id", "id", sqlite_where=DESK),
    Index("ix_mediachat_message_chat_id", "chat_id", "id", info=only_on("postgresql")),  # see filing
    Index("ix_mediachat_message_place", "place", sqlite_where=_PLACED),
    sqlite_autoincrement=True,  # an id is never given again
)
filed = Table(
    "mediachat_filed",
    metadata,
    Column("chat_id", BigInteger, primary_key=True, autoincrement=False),
    Column("id", BigInteger, primary_key=True, autoincrement=False),  # of a message
    sqlite_with_rowid=False,
    info=only_on("sqlite"),
)
filing = Table(
    "mediachat_filing",
    metadata,
    Column("upto", BigInteger, primary_key=True, autoincrement=False),  # the last message that is filed
    info=only_on("sqlite"),
)
lanes = Table(
    "mediachat_lane",
    metadata,
    Column("lane", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),  # of what was stored in it last
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


# These two are tuples, of which one is made in 0.4 µs; a class of attrs with as many fields takes 1.7.
class Message(NamedTuple):
    """One message of a chat; of media, what is known about its bytes."""

    id: int
    chat_id: int
    sender: str
    kind: str
    at: int
    status: str
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


class New(NamedTuple):
    """A message that is to be stored. Of two with one `key` in a chat only the first is.

    It has what a :class:`Message` has behind its id, in that order, and a key.
    """

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


CHAT = [chats.c[name] for name in Chat.__annotations__]  # what a Chat is made of
MESSAGE = [messages.c[name] for name in Message._fields]
