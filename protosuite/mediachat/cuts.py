"""What has been stored since, on whichever node: read from the database for those who tell it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy import Connection
from twisted.internet.defer import Deferred

from protosuite.mediachat.places import Reached, between, reached
from protosuite.mediachat.tables import CHAT, DESK, MESSAGE, Chat, Message, chats, messages
from protosuite.storage import Database

_CHUNK = 500  # ids in one query


@frozen
class Cut:
    """All that was committed behind one point and up to another one.

    The messages of a chat are in the order of their ids, in which they were committed: it was locked
    meanwhile. The chats are as they are behind all of them.
    """

    lanes: Reached  # where it ends
    messages: Sequence[int]  # ids, in their order
    chats: Sequence[Chat]


class Cuts:
    """Reads what several nodes store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def end(self) -> Deferred[Reached]:
        """Where all that is stored ends now."""
        return self._database.read(reached)

    def since(self, seen: Reached, most: int) -> Deferred[Cut | None]:
        """What has been stored behind `seen`. None if that is more than `most` messages, or chats."""

        def work(connection: Connection) -> Cut | None:
            now = reached(connection)
            is_new = between(messages.c.place, seen, now)
            is_changed = between(chats.c.place, seen, now)
            if is_new is None or is_changed is None:
                return Cut(now, [], [])
            rows = connection.execute(
                sa.select(messages.c.id, messages.c.chat_id).where(is_new).limit(most + 1)
            ).all()
            changed = set(
                connection.execute(sa.select(chats.c.id).where(is_changed).limit(most + 1)).scalars()
            )
            if max(len(rows), len(changed)) > most:
                return None
            changed.update(chat_id for _, chat_id in rows)
            return Cut(now, sorted(id for id, _ in rows), _chats(connection, sorted(changed)))

        return self._database.read(work)

    def messages(self, ids: Sequence[int]) -> Deferred[list[Message]]:
        """Messages, in the order of their ids; at most as many as a query takes."""
        query = sa.select(*MESSAGE).where(messages.c.id.in_(ids)).order_by(messages.c.id)
        return self._database.read(lambda connection: [Message(*row) for row in connection.execute(query)])

    def said(self, ids: Collection[int]) -> Deferred[dict[int, int]]:
        """The last message of the desk in each of these chats that has one."""
        asked = sorted(ids)

        def work(connection: Connection) -> dict[int, int]:
            found: dict[int, int] = {}
            for begin in range(0, len(asked), _CHUNK):
                rows = connection.execute(_SAID, {"ids": asked[begin : begin + _CHUNK]})
                found.update((id, last) for id, last in rows if last is not None)
            return found

        return self._database.read(work)


_LAST = sa.select(sa.func.max(messages.c.id)).where(messages.c.chat_id == chats.c.id, DESK).scalar_subquery()
_SAID = sa.select(chats.c.id, _LAST).where(chats.c.id.in_(sa.bindparam("ids", expanding=True)))


def _chats(connection: Connection, ids: Sequence[int]) -> list[Chat]:
    found: list[Chat] = []
    for begin in range(0, len(ids), _CHUNK):
        query = sa.select(*CHAT).where(chats.c.id.in_(ids[begin : begin + _CHUNK])).order_by(chats.c.id)
        found += [Chat(*row) for row in connection.execute(query)]
    return found
