"""Where the messages of a chat are found, in their order, with either engine.

PostgreSQL has an index of them. With SQLite a commit would write another page of that for each chat, and what
is written to the disk are pages: fifty texts of fifty chats wrote seventy, sixty of them of that index. So
the ids of the messages are `filed` by their chats, two thousand at once, each page then taking many, up to
the id that `filing` has. Those of the newest messages are not yet there: they are looked through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from protosuite.mediachat.tables import MESSAGE, filed, filing, messages
from protosuite.storage import sqlite

MOST = 2000  # messages that are not filed: 1 ms of the writer's thread to file them, 0.1 ms to look through

_UPTO = sa.select(sa.func.coalesce(sa.func.max(filing.c.upto), 0))
_FILED = filed.join(messages, messages.c.id == filed.c.id)

# For SQLite, given to the driver.
UPTO_HERE = "(SELECT coalesce(max(upto), 0) FROM mediachat_filing)"
_FILE = (
    "INSERT INTO mediachat_filed (chat_id, id) SELECT chat_id, id FROM mediachat_message"
    f" WHERE id > {UPTO_HERE} AND id <= ?1 ORDER BY chat_id, id",
    "DELETE FROM mediachat_filing WHERE upto < ?1",
    "INSERT INTO mediachat_filing VALUES (?1)",
)


def of_chat(
    connection: Connection,
    chat_id: int,
    columns: Sequence[sa.ColumnElement[Any]],
    after: int | None = None,
    before: int | None = None,
) -> list[sa.Select[Any]]:
    """Queries for those messages of a chat whose ids are between two: one, or the older and the newer."""
    if connection.dialect.name != "sqlite":
        return [between(sa.select(*columns), messages, chat_id, after, before)]
    upto = connection.execute(_UPTO).scalar_one()
    parts = []
    if after is None or after < upto:
        # They are sorted by the id of the table that they are found in.
        names = [filed.c.id.label("id") if column is messages.c.id else column for column in columns]
        where = filed if all(column is messages.c.id for column in columns) else _FILED
        parts.append(between(sa.select(*names).select_from(where), filed, chat_id, after, before))
    if before is None or before > upto + 1 or not parts:
        newer = upto if after is None else max(after, upto)
        parts.append(between(sa.select(*columns), messages, chat_id, newer, before))
    return parts


def in_order(
    parts: Sequence[sa.Select[Any]], limit: int, offset: int = 0, *, newest: bool = False
) -> sa.Select[Any] | sa.CompoundSelect[Any]:
    """The first, or the newest, of what :func:`of_chat` gives, whose columns include `id`."""
    query = parts[0] if len(parts) == 1 else sa.union_all(*parts)
    # As text it is the column that is selected: SQLAlchemy would take that of the other table.
    return query.order_by(sa.text("id DESC" if newest else "id")).limit(limit).offset(offset)


def page_of(
    connection: Connection, chat_id: int, limit: int, offset: int, after: int | None, before: int | None
) -> sa.Select[Any] | sa.CompoundSelect[Any]:
    """Whole messages of a chat: the first behind `after` or, with `before`, the newest before that."""
    newest = before is not None
    if not offset:
        return in_order(of_chat(connection, chat_id, MESSAGE, after, before), limit, newest=newest)
    # What is skipped is not read for that, but passed over where it is noted that it is there.
    found = in_order(
        of_chat(connection, chat_id, [messages.c.id], after, before), limit, offset, newest=newest
    )
    return in_order([sa.select(*MESSAGE).where(messages.c.id.in_(found))], limit, newest=newest)


def file(connection: Connection, last: int) -> None:
    """File the messages of SQLite up to the id `last`, which is not filed yet."""
    for statement in _FILE:
        sqlite.driver(connection).execute(statement, (last,))


def between(
    query: sa.Select[Any], table: sa.Table, chat_id: int, after: int | None, before: int | None
) -> sa.Select[Any]:
    """What a query finds of a chat, with ids between two, by a table that has both."""
    query = query.where(table.c.chat_id == chat_id)
    if after is not None:
        query = query.where(table.c.id > after)
    return query if before is None else query.where(table.c.id < before)
