"""The votes in the suite's database, in a table of their own."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Connection, MetaData, String, Table
from twisted.internet.defer import Deferred

from protosuite.extending import Database

votes = Table(
    "tally_votes",
    MetaData(),
    Column("choice", String(32), primary_key=True),
    Column("votes", BigInteger, nullable=False),
)


class TallyStore:
    """Loads the votes at the start, and adds to them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self) -> dict[str, int]:
        """All of them. Blocks; before the reactor runs."""
        with self._database.at_start() as connection:
            return {choice: int(count) for choice, count in connection.execute(sa.select(votes))}

    def add(self, choice: str) -> Deferred[int]:
        """One more. The Deferred fires with how many there are when that is on stable storage."""
        own = votes.c.choice == choice

        def work(connection: Connection) -> int:
            more = sa.update(votes).where(own).values(votes=votes.c.votes + 1)
            if not connection.execute(more).rowcount:
                connection.execute(sa.insert(votes).values(choice=choice, votes=1))
            return int(connection.execute(sa.select(votes.c.votes).where(own)).scalar_one())

        return self._database.write(work)
