"""In which order several nodes have committed what is stored, so that none of it is passed over.

Ids do not tell: of two transactions the one with the lower id may be the later one to commit, and who has
read up to the higher one would never see it. So each node writes in a lane, and what it stores in one go gets
the lane's next number. The number's row stays locked until the commit: all up to the number of a lane that
can be seen can be seen as well. Two nodes in one lane wait for each other, and nothing else comes of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from protosuite.mediachat.tables import lanes
from protosuite.storage.upsert import insert

LANES = 256  # of which each node draws one; a reader looks at all that were ever used
_WIDTH = 1 << 48  # numbers of a lane

Reached = Mapping[int, int]  # the number of each lane that has any


def next_place(connection: Connection, lane: int) -> int:
    """The place of what is going to be stored in `lane` now. Locks it."""
    put = insert(connection, lanes).values(lane=lane, number=1)
    put = put.on_conflict_do_update(index_elements=["lane"], set_={"number": lanes.c.number + 1})
    number: int = connection.execute(put.returning(lanes.c.number)).scalar_one()
    return lane * _WIDTH + number


def reached(connection: Connection) -> Reached:
    """How far each lane has come."""
    rows = connection.execute(sa.select(lanes.c.lane, lanes.c.number))
    return {row.lane: row.number for row in rows}


def between(column: ColumnElement[int], seen: Reached, now: Reached) -> ColumnElement[bool] | None:
    """The condition for places behind `seen` and up to `now`; None if there can be nothing."""
    moved = [
        sa.and_(column > lane * _WIDTH + seen.get(lane, 0), column <= lane * _WIDTH + number)
        for lane, number in sorted(now.items())
        if number > seen.get(lane, 0)
    ]
    return sa.or_(*moved) if moved else None
