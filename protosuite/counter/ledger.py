"""The arithmetic of the counter: what each increment makes of the total, and where it must stop. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, takewhile
from typing import Protocol

from attrs import define

from protosuite.counter.wire import MAX
from protosuite.errors import PeerFault


def outcomes(total: int, increments: Sequence[int], is_closed: bool) -> tuple[list[int], PeerFault | None]:
    """The totals after each of `increments` from `total` on, and what is wrong with the one after these.

    One that would pass 2^64 − 1 is not applied, nor are those behind it; and where nothing can be added, no
    increment but 0.
    """
    fault = None
    if is_closed and any(increments):
        increments = list(takewhile(lambda increment: increment == 0, increments))
        fault = PeerFault("storage", "the total cannot be stored now")
    totals = list(accumulate(increments, initial=total))
    del totals[0]
    if totals and totals[-1] > MAX:
        del totals[bisect_right(totals, MAX) :]
        fault = PeerFault("overflow", f"the counter would pass {MAX}")
    return totals, fault


class Book(Protocol):
    """What there is to know of a counter: the total, what has been asked of it, and what comes of more."""

    total: int
    refused: int
    is_closed: bool

    @property
    def requests(self) -> int:
        """How many have been applied."""

    def apply(self, increments: Sequence[int]) -> tuple[list[int], PeerFault | None]:
        """Add each in turn. Returns what :func:`outcomes` does."""


@define
class Ledger:
    """A :class:`Book` of this process alone. While it is closed, nothing is added."""

    total: int
    requests: int = 0
    refused: int = 0
    is_closed: bool = False

    def apply(self, increments: Sequence[int]) -> tuple[list[int], PeerFault | None]:
        """Add each in turn. Returns what :func:`outcomes` does."""
        totals, fault = outcomes(self.total, increments, self.is_closed)
        if totals:
            self.total = totals[-1]
            self.requests += len(totals)
        return totals, fault
