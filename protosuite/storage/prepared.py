"""Statements for many rows at once, put together once for each engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.sql.expression import UpdateBase


class Prepared:
    """An INSERT or UPDATE of SQLAlchemy whose parameters are `names`, given as rows in that order.

    What the rows hold goes to the driver as it is: their types must need no conversion. An entry of the chat
    log takes 7 µs this way, and 15 as a dictionary through SQLAlchemy.
    """

    def __init__(self, statement: UpdateBase, *names: str) -> None:
        self._statement = statement
        self._names = names
        self._compiled: dict[str, tuple[str, Sequence[int] | None]] = {}  # by the name of the dialect

    def many(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Carry it out for each row; with no rows nothing is done."""
        if not rows:
            return
        name = connection.dialect.name
        if name not in self._compiled:
            self._compiled[name] = self._compile(connection)
        text, order = self._compiled[name]
        if order is None:
            connection.exec_driver_sql(text, [dict(zip(self._names, row, strict=True)) for row in rows])
        else:
            connection.exec_driver_sql(text, [tuple([row[place] for place in order]) for row in rows])

    def _compile(self, connection: Connection) -> tuple[str, Sequence[int] | None]:
        """The text, and where in a row each of its parameters is; None if the driver wants their names."""
        compiled = self._statement.compile(dialect=connection.dialect)
        if set(compiled.params) != set(self._names):
            raise ValueError(f"{compiled} has the parameters {sorted(compiled.params)}")
        if compiled.positiontup is None:
            return str(compiled), None
        return str(compiled), [self._names.index(name) for name in compiled.positiontup]
