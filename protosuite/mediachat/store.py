"""Chats and their messages in the database. Times are milliseconds since the epoch, handed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.errors import Overloaded, StorageError
from protosuite.mediachat.adding import Added, Adding, add_all, check
from protosuite.mediachat.cuts import Cuts
from protosuite.mediachat.filing import between, in_order, of_chat, page_of
from protosuite.mediachat.places import next_place
from protosuite.mediachat.tables import CHAT, DESK, MESSAGE, UNREAD, Chat, Message, New, chats, messages
from protosuite.storage import Database, engines
from protosuite.storage.gathering import Gathering
from protosuite.storage.locking import Rows
from protosuite.storage.upsert import insert, lock

T = TypeVar("T")

log = Logger()

_MOST_KNOWN = 65_536  # chats of which it is kept that they are there


class MediaChatStore:
    """The chats of all clients. `quota` is how many bytes of media a chat may have.

    With a `clock`, messages that come in one turn of the reactor, or in those behind it, are stored together.
    With a `lane`, this node is one of several, and notes for the others where they find what it stores.
    """

    def __init__(self, database: Database, quota: int, lane: int | None = None, clock: Any = None) -> None:
        self._database = database
        self._quota = quota
        self.cuts = Cuts(database)
        self._lane = lane
        # Chats that clients have entered, the last at the end, where there is no need to lock them.
        self._known: dict[int, None] = {}
        self._is_alone = lane is None and engines.is_file(database.url)
        self._adding: Gathering[list[Adding]] = Gathering(
            database,
            list,
            self._add_all,
            self._added,
            clock,
            rows=None if self._is_alone else _chats_of,
        )

    def enter(self, client_id: int, timezone: str, now: int) -> Deferred[tuple[Chat, int]]:
        """The chat of a client, which is made if there is none, in the zone where the client is now.

        And the id of its last message, 0 if there is none.
        """

        def work(connection: Connection) -> tuple[Chat, int]:
            mine = chats.c.client_id == client_id
            before = None
            if self._lane is not None:
                before = connection.execute(sa.select(chats.c.timezone).where(mine)).scalar()
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
            if before != timezone:
                self._place(connection, mine)
            chat = Chat(*connection.execute(sa.select(*CHAT).where(mine)).one())
            last = in_order(of_chat(connection, chat.id, [messages.c.id]), 1, newest=True)
            return chat, connection.execute(last).scalar() or 0

        entering = self._database.write(work, Rows(chats.c.client_id, [client_id]))
        return entering.addCallback(self._entered) if self._is_alone else entering

    def _entered(self, found: tuple[Chat, int]) -> tuple[Chat, int]:
        """A chat is stored, and is never deleted."""
        chat, _ = found
        self._known.pop(chat.id, None)
        self._known[chat.id] = None
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        return found

    def add(self, new: New) -> Deferred[Added]:
        """Store a message; and whether it is new, for one with its key may be there already.

        Those that come while others are being stored share a few statements. Fails with :exc:`BadRequest`
        ``quota`` or ``no-such-chat``, and as a write of the database.
        """
        answer: Deferred[Added] = Deferred()
        self.put(new, answer.callback)  # a Failure fails it; one that was cancelled takes what comes
        return answer

    def put(self, new: New, told: Callable[[Added | Failure], object]) -> None:
        """The same, without a Deferred: 2.5 µs less a message. `told` may be called at once."""
        waiting = self._adding.items
        if len(waiting) >= self._database.max_queue:
            self._database.measures.refused += 1
            told(Failure(Overloaded("too many messages wait to be stored")))
            return
        waiting.append(Adding(new, told))
        self._adding.touch()

    def _add_all(self, connection: Connection, group: list[Adding]) -> None:
        add_all(connection, self._quota, group, self._lane, self._known)

    def _place(self, connection: Connection, mine: sa.ColumnElement[bool]) -> None:
        """A chat has changed: let other nodes find it."""
        if self._lane is not None:
            connection.execute(sa.update(chats).where(mine).values(place=next_place(connection, self._lane)))

    def _added(self, group: list[Adding], failure: Failure | None) -> None:
        if failure is None or len(group) == 1 or failure.check(StorageError, Overloaded):
            for adding in group:
                try:
                    adding.tell(failure)
                except Exception:  # a defect there keeps nobody else from being told
                    log.failure("what became of a message was not told")
            return
        for adding in group:  # whichever is at fault fails alone
            work = partial(add_all, quota=self._quota, group=[adding], lane=self._lane)
            alone = self._database.write(work, _chats_of([adding]))
            alone.addBoth(adding.tell)

    def check_room(self, chat_id: int, size: int) -> Deferred[None]:
        """Whether media of so many bytes have room now. Fails as :meth:`add`, which has the last word."""

        def work(connection: Connection) -> None:
            check(chat_id, _used(connection, chat_id), size, self._quota)

        return self._database.read(work)

    def message(self, id: int) -> Deferred[Message | None]:
        """One message."""

        def work(connection: Connection) -> Message | None:
            row = connection.execute(sa.select(*MESSAGE).where(messages.c.id == id)).first()
            return None if row is None else Message(*row)

        return self._database.read(work)

    def resume(self, chat_id: int, key: str, size: int) -> Deferred[Message | None]:
        """The media message of a key, or None if it is still to come; then it fails as :meth:`check_room`."""

        def work(connection: Connection) -> Message | None:
            query = sa.select(*MESSAGE).where(messages.c.chat_id == chat_id, messages.c.key == key)
            if (row := connection.execute(query).first()) is not None:
                return Message(*row)
            check(chat_id, _used(connection, chat_id), size, self._quota)
            return None

        return self._database.read(work)

    def chats(
        self, limit: int, client_id: int | None = None, after: tuple[int, int] | None = None
    ) -> Deferred[list[Chat]]:
        """Chats, those with the newest activity first; `after` is the last one's (`active_at`, `id`)."""

        def work(connection: Connection) -> list[Chat]:
            query = sa.select(*CHAT).order_by(chats.c.active_at.desc(), chats.c.id.desc()).limit(limit)
            if client_id is not None:
                query = query.where(chats.c.client_id == client_id)
            if after is not None:
                query = query.where(sa.tuple_(chats.c.active_at, chats.c.id) < sa.tuple_(*after))
            return [Chat(*row) for row in connection.execute(query)]

        return self._database.read(work)

    def compute(self, work: Callable[[], T]) -> Deferred[T]:
        """Run something that blocks for a moment, where reads run."""
        return self._database.compute(work)

    def client_of(self, chat_id: int) -> Deferred[int | None]:
        """Whose chat that is; None if there is no such chat."""
        query = sa.select(chats.c.client_id).where(chats.c.id == chat_id)
        return self._database.read(lambda connection: connection.execute(query).scalar())

    def awaiting(self, limit: int) -> Deferred[tuple[int, list[Chat]]]:
        """How many chats have something unread, and the `limit` of them with the oldest activity."""

        def work(connection: Connection) -> tuple[int, list[Chat]]:
            count = connection.execute(
                sa.select(sa.func.count()).select_from(chats).where(UNREAD)
            ).scalar_one()
            oldest = sa.select(*CHAT).where(UNREAD).order_by(chats.c.active_at, chats.c.id).limit(limit)
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
        from_desk: bool = False,
    ) -> Deferred[list[Message] | None]:
        """Messages of a chat, oldest first: the first behind `after`; with `before` the last before that.

        None if there is no such chat. `from_desk`: saved messages of the desk only.
        """

        def work(connection: Connection) -> list[Message] | None:
            if connection.execute(sa.select(chats.c.id).where(chats.c.id == chat_id)).first() is None:
                return None
            newest = before is not None
            if from_desk:
                said = sa.select(*MESSAGE).where(DESK, messages.c.status == "saved")
                found_by = [between(said, messages, chat_id, after, before)]
                query = in_order(found_by, limit, offset, newest=newest)
            else:
                query = page_of(connection, chat_id, limit, offset, after, before)
            found = connection.execute(query).all()
            return [Message(*row) for row in (found[::-1] if newest else found)]

        return self._database.read(work)

    def read(self, chat_id: int, upto: int) -> Deferred[Chat | None]:
        """The desk has read a chat up to a message: the chat as it is then. None if there is no such chat."""

        def work(connection: Connection) -> Chat | None:
            # What another node adds meanwhile would not be counted.
            lock(connection, sa.select(chats.c.id).where(chats.c.id == chat_id))
            later = 0
            for part in of_chat(connection, chat_id, [sa.func.count()], after=upto):
                counted = part.where(messages.c.sender == "client", messages.c.status == "saved")
                later += connection.execute(counted).scalar_one()
            # Somebody else may have read on: nothing becomes unread again.
            update = sa.update(chats).where(chats.c.id == chat_id, chats.c.unread > later)
            if connection.execute(update.values(unread=later)).rowcount:
                self._place(connection, chats.c.id == chat_id)
            query = sa.select(*CHAT).where(chats.c.id == chat_id)
            row = connection.execute(query).first()
            return None if row is None else Chat(*row)

        return self._database.write(work, Rows(chats.c.id, [chat_id]))

    def delivered(self, chat_id: int, upto: int) -> Deferred[None]:
        """A plain client has been sent what the desk said up to a message."""

        def work(connection: Connection) -> None:
            mine = sa.and_(chats.c.id == chat_id, chats.c.delivered < upto)
            connection.execute(sa.update(chats).where(mine).values(delivered=upto))

        return self._database.write(work, Rows(chats.c.id, [chat_id]))

    def owner(self) -> Deferred[str | None]:
        """What tells the media of this database from those of another; None while it has none.

        That is its first media message, which is never deleted, and moves along with all the rest.
        """
        query = sa.select(messages.c.id, messages.c.sha256, messages.c.at).limit(1)
        query = query.where(messages.c.sha256.is_not(None)).order_by(messages.c.id)

        def work(connection: Connection) -> str | None:
            row = connection.execute(query).first()
            return None if row is None else ".".join(map(str, row))

        return self._database.read(work)

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


def _chats_of(group: list[Adding]) -> Rows:
    """What storing these changes."""
    return Rows(chats.c.id, [adding.new.chat_id for adding in group])


def _used(connection: Connection, chat_id: int) -> int | None:
    """Bytes of media in a chat, or None if there is none."""
    return connection.execute(sa.select(chats.c.media_bytes).where(chats.c.id == chat_id)).scalar()


def as_fields(items: Iterable[Chat | Message]) -> list[dict[str, Any]]:
    """Items as the API gives them."""
    return [item.fields() for item in items]
