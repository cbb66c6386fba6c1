"""Rows that several nodes change, locked in one order by all of them: nobody waits for who waits for them.

Each work locks its own rows in the order of their primary key. But the requests of a group share a
transaction, and each would add its locks to those before it, in the order in which they happened to come:
of two nodes, each could have what the other wants next. A server finds that out after a second, unless it is
told otherwise, and so long both stand still.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy import Column, Connection, Select, String, Table

# For the `info` of a table with one row, which many want: it is locked when there is nobody else to wait for.
LAST = "locked last"


@frozen
class Rows:
    """What a work changes: the rows whose `column` has one of `values`, as far as they are there.

    No `values`: it waits for none of them, but comes in the turn of their table.
    """

    column: Column[Any]
    values: Sequence[Any] = ()

    @property
    def table(self) -> Table:
        """Where they are."""
        table = self.column.table
        assert isinstance(table, Table)
        return table


class Request(Protocol):
    """One of those that share a transaction."""

    @property
    def rows(self) -> Rows | None:
        """What it changes; None: nothing that another node may change in this moment."""


R = TypeVar("R", bound=Request)


def in_turn(group: Iterable[R]) -> list[R]:
    """Table by table, and in each in the order in which they came; first those that say nothing."""
    return sorted(group, key=_table_of)


def locked(connection: Connection, group: Sequence[R]) -> Iterator[R]:
    """Each of `group`, which is in turn, when what it wants is locked or is for itself to lock.

    Where a single request wants rows of a table, it locks them; where several do, it is done for all of them.
    """
    for name, same in groupby(group, key=_table_of):
        together = list(same)
        if name and len(together) > 1 and (query := _all(each.rows for each in together)) is not None:
            connection.execute(query)
        yield from together


def by_key(table: Table) -> list[sa.ColumnElement[Any]]:
    """The order in which rows of a table are locked. Texts are in that of their bytes, as Python has them."""
    return [sa.collate(key, "C") if isinstance(key.type, String) else key for key in table.primary_key]


def _table_of(request: Request) -> str:
    if request.rows is None:
        return ""
    table = request.rows.table
    return f"~{table.name}" if table.info.get(LAST) else table.name  # no name begins behind that


def _all(every: Iterable[Rows | None]) -> Select[Any] | None:
    """A query that locks the rows of all of them, which are in one table; None if there are none."""
    wanted: dict[Column[Any], set[Any]] = {}
    for rows in every:
        if rows is not None and rows.values:
            wanted.setdefault(rows.column, set()).update(rows.values)
    if not wanted:
        return None
    table = next(iter(wanted)).table
    assert isinstance(table, Table)
    condition = sa.or_(*(column.in_(sorted(values)) for column, values in wanted.items()))
    return sa.select(*table.primary_key).where(condition).order_by(*by_key(table)).with_for_update()
