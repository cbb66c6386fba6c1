"""Rows from one database to another, table by table, in the order of their keys."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Connection, MetaData, String, Table, Text
from sqlalchemy.exc import DBAPIError

from protosuite.chatlog import layout
from protosuite.chatlog.tables import entries, recent
from protosuite.errors import StartError
from protosuite.logs import first_line
from protosuite.storage import metadata
from protosuite.storage.marks import writers
from protosuite.storage.migrate import MOVING
from protosuite.storage.schema import is_on

_BATCH = 1000  # rows of one transaction
_BATCH_BYTES = 8 << 20  # and about how much text and bytes in them

# In the target for as long as it does not have everything: how far each table has come.
progress = Table(
    MOVING,
    MetaData(),
    Column("name", String(64), primary_key=True),
    Column("last", Text, nullable=False),  # the key of the last row as JSON; for the row "source": which one
)


def tables() -> list[Table]:
    """What is moved, those that others refer to first. What a node has committed last stays with its node."""
    there = (table for table in metadata.sorted_tables if is_on(table, "postgresql"))
    return [table for table in there if table not in (writers, recent)]


def found(table: Table) -> sa.FromClause:
    """The rows of a table as they are found in the source, with the same names."""
    return layout.held if table is entries else table


def prepare(target: Connection, source: str) -> bool:
    """Make the target ready for the rows of `source`, in its transaction. Whether some are there already.

    Raises :exc:`StartError` for a target that has rows which did not come from there.
    """
    if sa.inspect(target).has_table(progress.name):
        where = sa.select(progress.c.last).where(progress.c.name == "source")
        if (before := target.execute(where).scalar()) != source:
            raise StartError(f"the target is being filled from {before}: go on with that, or empty it")
        return True
    for table in tables():
        if target.execute(sa.select(*table.primary_key).limit(1)).first() is not None:
            raise StartError(
                f"the target is not empty, there are rows in {table.name}: name another database"
            )
    progress.create(target)
    target.execute(progress.insert(), {"name": "source", "last": source})
    return False


def reached(target: Connection, table: Table) -> list[Any] | None:
    """The key of the last row of a table that is in the target."""
    found = target.execute(sa.select(progress.c.last).where(progress.c.name == table.name)).scalar()
    return None if found is None else list(json.loads(found))


def batches(source: Connection, table: Table, after: Sequence[Any] | None) -> Iterator[list[dict[str, Any]]]:
    """The rows of a table after a key, in parts that memory has room for."""
    rows = found(table)
    key = [rows.c[column.name] for column in table.primary_key]
    while True:
        query = sa.select(rows).order_by(*key).limit(_BATCH)
        if after is not None:
            query = query.where(sa.tuple_(*key) > sa.tuple_(*map(sa.literal, after)))
        batch = _bounded(source, query)
        if not batch:
            return
        yield batch
        after = [batch[-1][column.name] for column in key]


def put(target: Connection, table: Table, batch: list[dict[str, Any]]) -> None:
    """Store a part, and that it is there. Raises :exc:`StartError` when the target does not take it."""
    last = json.dumps([batch[-1][column.name] for column in table.primary_key])
    try:
        target.execute(table.insert(), batch)
    except DBAPIError as error:
        has_state = getattr(error.orig, "sqlstate", None) is not None
        is_cut = error.connection_invalidated or isinstance(error, sa.exc.OperationalError)
        if is_cut or (has_state and not isinstance(error, sa.exc.DataError)):
            raise
        raise StartError(
            f"a row of {table.name} up to {last} cannot be stored in the target: {first_line(error.orig)}"
        ) from None
    moved = target.execute(sa.update(progress).where(progress.c.name == table.name).values(last=last))
    if moved.rowcount == 0:
        target.execute(progress.insert(), {"name": table.name, "last": last})


def finish(target: Connection, source: Connection) -> None:
    """Have ids go on where they are, and forget how far it came: the target is a suite's own now."""
    for table in tables():
        column = table.autoincrement_column
        if column is None:
            continue
        name = target.execute(sa.func.pg_get_serial_sequence(table.name, column.name).select()).scalar()
        if name is not None and (newest := _newest(source, table, column)):
            target.execute(sa.select(sa.func.setval(name, newest)))
    progress.drop(target)


def _newest(source: Connection, table: Table, column: Column[Any]) -> int:
    """The highest id that was ever given: SQLite remembers it for the tables where none comes again."""
    newest = source.execute(sa.select(sa.func.max(column))).scalar() or 0
    if sa.inspect(source).has_table("sqlite_sequence"):
        given = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        newest = max(newest, source.execute(given, {"name": table.name}).scalar() or 0)
    return int(newest)


def _bounded(source: Connection, query: sa.Select[Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    size = 0
    result = source.execute(query)
    for row in result.mappings():
        found.append(dict(row))
        size += sum(len(value) for value in row.values() if isinstance(value, str | bytes))
        if size > _BATCH_BYTES:
            result.close()
            break
    return found
