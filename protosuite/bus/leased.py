"""A durable subscription that several nodes share, as one of them sees it. Pure.

What is owed is in the database. A node takes some of it, in order, as many as its consumers have room for,
and nobody else has that until the node gives it up, or is silent for too long. `owed` is a count that was
right a moment ago.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from attrs import define, field

from protosuite.bus.durable import Consumer, Durable, Owed

_MOST = 500  # events that are taken at once


@define(eq=False, repr=False)
class Leased(Durable):
    """A durable subscription. `may_have_more`: there may be something in the database that nobody has."""

    may_have_more: bool = False
    _given_up: list[int] = field(factory=list)

    def wants(self) -> int:
        """How many events to take now: if any, :meth:`begin`, and then :meth:`taken` or :meth:`failed`."""
        if not self.may_have_more or self.is_loading or self.is_deleted:
            return 0
        room = sum(each.prefetch - len(each.in_flight) for each in self.consumers if each.has_room)
        return max(0, min(room - len(self._ready), _MOST))

    def begin(self) -> None:
        """Events are about to be taken. What anybody says from now on is news."""
        self.is_loading = True
        self.may_have_more = False

    def taken(self, found: Sequence[Owed], is_all: bool) -> None:
        """What this node has got of it, oldest first; `is_all` if nothing was left."""
        self.is_loading = False
        self.may_have_more |= not is_all
        if self.is_deleted:  # what was found is owed to one that has got its name since
            self._given_up.extend([owed.id for owed in found])
            return
        is_in_order = not (self._ready and found) or found[0].id > self._ready[-1].id
        for owed in found:
            self._add(owed)
        if not is_in_order:  # somebody has given up what is older
            self._ready = deque(sorted(self._ready, key=lambda owed: owed.id))
        if not self.consumers:  # they have left meanwhile
            self._give_up_all()

    def failed(self) -> None:
        """Nothing could be taken: that is tried again."""
        self.is_loading = False
        self.may_have_more = True

    def given_up(self) -> list[int]:
        """The ids that this node has given up since the last call: they go back to the database."""
        given_up, self._given_up = self._given_up, []
        return given_up

    def lost(self) -> None:
        """Others may have all of it. What is with consumers may still be acknowledged."""
        self._ready.clear()
        self._ready_bytes = 0
        self._given_up.clear()
        self.may_have_more = True

    def acknowledge(self, id: int) -> bool:
        """Take an acknowledgement, whichever consumer here it is with."""
        is_known = super().acknowledge(id)
        self.owed = max(0, self.owed)
        return is_known

    def leave(self, consumer: Consumer) -> None:
        """`consumer` is gone: what it had may go to any node."""
        super().leave(consumer)
        if not self.consumers:
            self._give_up_all()

    def delete(self) -> None:
        """Nothing is owed any more."""
        super().delete()
        self._given_up.clear()

    def _take_back(self, back: Iterable[Owed]) -> None:
        # The next one for it may be on another node, and what is older than it too.
        self._given_up.extend([owed.id for owed in back])

    def _give_up_all(self) -> None:
        self._given_up.extend([owed.id for owed in self._ready])
        self._ready.clear()
        self._ready_bytes = 0
