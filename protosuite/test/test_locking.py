"""In which order requests that share a transaction are carried out, and what is locked before them."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from sqlalchemy import Column, Integer, MetaData, String, Table
from sqlalchemy.dialects import postgresql
from twisted.trial.unittest import SynchronousTestCase

from protosuite.storage.locking import LAST, Rows, in_turn, locked

METADATA = MetaData()
CATS = Table("cat", METADATA, Column("name", String, primary_key=True), Column("owner", Integer))
DOGS = Table("dog", METADATA, Column("id", Integer, primary_key=True))


@frozen
class Asked:
    """A request."""

    name: str
    rows: Rows | None = None


class Connection:
    """It notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def execute(self, query: Any) -> None:
        dialect = postgresql.dialect()
        compiled = query.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
        self.asked.append(" ".join(str(compiled).split()))


class LockingTests(SynchronousTestCase):
    """Groups."""

    def carry_out(self, *group: Asked) -> tuple[str, list[str]]:
        """The names of the requests as they come, and what was locked."""
        connection: Any = Connection()
        return "".join(each.name for each in locked(connection, in_turn(group))), connection.asked

    def test_turns(self) -> None:
        """They come table by table, each in its order, first those that share nothing."""
        dog, cat = Rows(DOGS.c.id, [1]), Rows(CATS.c.name, ["tom"])
        names, _ = self.carry_out(Asked("a", dog), Asked("b"), Asked("c", cat), Asked("d", dog), Asked("e"))
        self.assertEqual(names, "becad")

    def test_what_comes_last(self) -> None:
        """A table of which all want the one row is behind all others: who has it waits for nobody."""
        ants = Table("ant", MetaData(), Column("id", Integer, primary_key=True), info={LAST: True})
        names, _ = self.carry_out(Asked("a", Rows(ants.c.id)), Asked("b", Rows(DOGS.c.id)), Asked("c"))
        self.assertEqual(names, "cba")

    def test_one_locks_for_itself(self) -> None:
        """Where nobody else wants rows of a table nothing is asked for: the work locks its own."""
        names, asked = self.carry_out(Asked("a", Rows(DOGS.c.id, [1])), Asked("b", Rows(CATS.c.name, ["x"])))
        self.assertEqual((names, asked), ("ba", []))

    def test_several_share(self) -> None:
        """The rows of several are locked at once, in the order of the key, by whatever they were named."""
        names, asked = self.carry_out(
            Asked("a", Rows(CATS.c.name, ["tom", "kit"])), Asked("b", Rows(CATS.c.owner, [7])), Asked("c")
        )
        self.assertEqual(names, "cab")
        self.assertEqual(
            asked,
            [
                "SELECT cat.name FROM cat WHERE cat.name IN ('kit', 'tom') OR cat.owner IN (7)"
                ' ORDER BY cat.name COLLATE "C" FOR UPDATE'
            ],
        )

    def test_those_that_wait_for_nothing(self) -> None:
        """Who names no rows has a turn, and nothing is locked for it."""
        names, asked = self.carry_out(Asked("a", Rows(DOGS.c.id)), Asked("b", Rows(DOGS.c.id)))
        self.assertEqual((names, asked), ("ab", []))
