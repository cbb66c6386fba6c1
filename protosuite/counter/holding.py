"""Which total of the counter counts, where it can be in several places. Pure.

The database names the one that counts: with each *epoch*, the total has another *holder*, a process that runs
alone or a total in a Redis. A process that runs alone takes the total when it starts. One in Redis is made
there first, with the next epoch, and then named in the database; so whoever finds it can finish that.
"""

from __future__ import annotations

from enum import Enum, auto

from attrs import frozen

ALONE = "[counter] workers: with a Redis as [suite] fabric one process of a node counts: set workers = 1"

PROCESS, REDIS = "process/", "redis/"  # how the names of holders begin


@frozen
class Held:
    """What the database says: who has the total of this epoch, and a total that it has reached.

    A `claim` is by a node that finds nothing in its Redis. One that does find the total there objects to it.
    """

    total: int = 0
    epoch: int = 0
    holder: str = ""
    claim: str = ""

    @property
    def is_in_redis(self) -> bool:
        """Whether a Redis has it."""
        return self.holder.startswith(REDIS)


@frozen
class Kept:
    """What is in a Redis: the total of an epoch, by the name that it got there."""

    total: int
    epoch: int
    holder: str


class Step(Enum):
    """What to do next."""

    COUNT = auto()  # it is the total that counts
    NAME = auto()  # have the database name it
    MAKE = auto()  # make a total in Redis, of the next epoch
    RESTORE = auto()  # the same, as Redis has lost it
    REFUSE = auto()  # another Redis has the total that counts


def next_step(held: Held, kept: Kept | None) -> Step:
    """What a node does that finds this in the database, and that in the Redis that it is to use.

    The database has to be asked first: what it knows of a total is then not more than the total.
    """
    if kept is None:
        return Step.RESTORE if held.is_in_redis else Step.MAKE
    if kept.holder == held.holder:
        return Step.COUNT
    if kept.epoch > held.epoch:
        return Step.NAME
    return Step.REFUSE if held.is_in_redis else Step.MAKE
