"""Statements for many rows at once, put together once for each engine."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, bindparam
from sqlalchemy.sql.expression import UpdateBase

from protosuite.storage import sqlite

_MOST = 1024  # values of a query that is kept
_COUNTS = (64, 32, 16, 8, 4, 2, 1)  # rows of the statements that are kept


class Prepared:
    """An INSERT or UPDATE of SQLAlchemy whose parameters are `names`, given as rows in that order.

    What the rows hold goes to the driver as it is: their types must need no conversion. An entry of the chat
    log takes 7 µs this way, and 15 as a dictionary through SQLAlchemy.
    """

    def __init__(self, statement: UpdateBase, *names: str) -> None:
        self._statement = statement
        self._names = names
        self._made: dict[str, _Made] = {}  # by the name of the dialect

    def many(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Carry it out for each row; with no rows nothing is done."""
        if not rows:
            return
        name = connection.dialect.name
        if name not in self._made:
            self._made[name] = _Made(connection, self._statement, self._names)
        made = self._made[name]
        connection.exec_driver_sql(made.text, [made.parameters(row) for row in rows])


class ManyRows:
    """An INSERT of SQLite into `table` whose rows are given as tuples in the order of `names`.

    As many of them go into a statement as may be, so that the interpreter is let go of once and not for each:
    where a table is filled at its end a row takes 1.7 µs and not 3.2. Where each row meets another page it is
    a loss: SQLite keeps a copy of all pages that a statement changes.
    """

    def __init__(self, table: Table, *names: str) -> None:
        columns = ", ".join(f'"{name}"' for name in names)
        row = f"({', '.join('?' * len(names))})"
        self._texts = {
            count: f'INSERT INTO "{table.name}" ({columns}) VALUES {", ".join([row] * count)}'
            for count in _COUNTS
        }

    def put(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        """Carry it out; the rowid of the last one, 0 if there is none."""
        execute = sqlite.driver(connection).execute
        last, done = 0, 0
        for count in _COUNTS:
            while len(rows) - done >= count:
                values = [*chain.from_iterable(rows[done : done + count])]
                last = execute(self._texts[count], values).lastrowid or 0
                done += count
        return last


class PreparedQuery:
    """A query for the rows whose `column` has one of some values; `names` are its other parameters, in order.

    Neither they nor the rows are converted. Rooms by name, 25 at once, take 70 µs this way, and 330 through
    SQLAlchemy, which puts in each value.
    """

    def __init__(self, query: Select[Any], column: ColumnElement[Any], *names: str) -> None:
        self._query = query
        self._column = column
        self._names = names
        self._made: dict[tuple[str, int], _Made] = {}  # by dialect and number of values

    def rows(self, connection: Connection, values: Sequence[Any], *others: Any) -> Sequence[Any]:
        """Those of `values`, of which there must be one; `others` belong to the names."""
        made = self._for(connection, len(values))
        row = [*others, *values]
        row += [values[-1]] * (len(made.names) - len(row))  # in the places that are left
        return connection.exec_driver_sql(made.text, made.parameters(row)).all()

    def _for(self, connection: Connection, count: int) -> _Made:
        """With places for so many values: for up to twice as many, so that few texts are kept."""
        size = 1 << (count - 1).bit_length() if count <= _MOST else count
        key = connection.dialect.name, size
        made = self._made.get(key)
        if made is None:
            names = [f"value_{place}" for place in range(size)]
            query = self._query.where(self._column.in_([bindparam(name) for name in names]))
            made = _Made(connection, query, [*self._names, *names])
            if size <= _MOST:
                self._made[key] = made
        return made


class _Made:
    """A statement as its driver wants it, with a row of parameters in the order of `names`."""

    def __init__(
        self, connection: Connection, statement: Select[Any] | UpdateBase, names: Sequence[str]
    ) -> None:
        compiled = statement.compile(dialect=connection.dialect)
        if set(compiled.params) != set(names):
            raise ValueError(f"{compiled} has the parameters {sorted(compiled.params)}")
        self.text = str(compiled)
        self.names = names
        self._order: Sequence[int] | None = None  # where in a row each is; None if the driver wants names
        if compiled.positiontup is not None:
            places = {name: place for place, name in enumerate(names)}
            self._order = [places[name] for name in compiled.positiontup]

    def parameters(self, row: Sequence[Any]) -> Any:
        """A row as the driver wants it."""
        if self._order is None:
            return dict(zip(self.names, row, strict=True))
        return tuple([row[place] for place in self._order])
