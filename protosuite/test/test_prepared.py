"""Statements that are put together once."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table
from twisted.trial.unittest import SynchronousTestCase

from protosuite.storage.prepared import Prepared, PreparedQuery

things = Table("thing", MetaData(), Column("id", Integer, primary_key=True), Column("name", String(20)))


class Fixture(SynchronousTestCase):
    """A table with the numbers from 1 to 2000, each with its name."""

    def setUp(self) -> None:
        self.seen: list[str] = []
        engine = sa.create_engine("sqlite://")
        self.addCleanup(engine.dispose)
        self.connection: Connection = engine.connect()
        self.addCleanup(self.connection.close)
        things.create(self.connection)
        Prepared(things.insert(), "name", "id").many(
            self.connection, [(str(id), id) for id in range(1, 2001)]
        )
        sa.event.listen(engine, "before_cursor_execute", lambda *execution: self.seen.append(execution[2]))


class PreparedTests(Fixture):
    """Many rows, one statement."""

    def test_rows_in_the_order_of_the_names(self) -> None:
        """Each value of a row goes where its name says, whatever the order in the statement is."""
        rename = (
            sa.update(things).where(things.c.id == sa.bindparam("its_id")).values(name=sa.bindparam("to"))
        )
        Prepared(rename, "its_id", "to").many(self.connection, [(1, "one"), (3, "three")])
        found = self.connection.execute(sa.select(things).where(things.c.id <= 3)).all()
        self.assertEqual(found, [(1, "one"), (2, "2"), (3, "three")])

    def test_no_rows(self) -> None:
        """Without rows nothing is asked of the database."""
        Prepared(things.insert(), "id", "name").many(self.connection, [])
        self.assertEqual(self.seen, [])

    def test_other_names(self) -> None:
        """Names that are not those of the statement are a mistake that is told at once."""
        with self.assertRaises(ValueError):
            Prepared(things.insert(), "id", "title").many(self.connection, [(1, "x")])


class PreparedQueryTests(Fixture):
    """Rows by any number of values."""

    def setUp(self) -> None:
        super().setUp()
        self.query = PreparedQuery(sa.select(things.c.name).order_by(things.c.id), things.c.id)

    def find(self, *ids: int) -> list[str]:
        return [name for (name,) in self.query.rows(self.connection, ids)]

    def test_any_number(self) -> None:
        """However many values there are, and if one is there twice: each row that has one is found once."""
        for count in (*range(1, 18), 1023, 1024, 1025, 1500):
            wanted = range(count, 0, -1)
            self.assertEqual(self.find(*wanted), [str(id) for id in reversed(wanted)])
        self.assertEqual(self.find(7, 5, 7, 9999), ["5", "7"])

    def test_other_parameters(self) -> None:
        """What else a query asks for is given each time, behind the values."""
        of_name = sa.select(things.c.id).where(things.c.name == sa.bindparam("its_name"))
        query = PreparedQuery(of_name, things.c.id, "its_name")
        self.assertEqual(query.rows(self.connection, [1, 2, 3], "2"), [(2,)])
        self.assertEqual(query.rows(self.connection, [1, 2, 3], "4"), [])

    def test_few_texts(self) -> None:
        """Numbers of values that are alike have one text: there are no more of them than powers of two."""
        for count in range(1, 1025):
            self.find(*range(1, count + 1))
        self.assertEqual(len(set(self.seen)), 11)
