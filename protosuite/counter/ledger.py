"""The arithmetic of the counter: what each increment makes of the total, and where it must stop. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from attrs import define

from protosuite.counter.wire import MAX
from protosuite.errors import PeerFault


@define
class Ledger:
    """The total, and what has been asked of it since the start."""

    total: int
    requests: int = 0
    refused: int = 0

    def apply(self, increments: Sequence[int]) -> tuple[list[int], PeerFault | None]:
        """Add each in turn. Returns the totals after each, and what is wrong with the one after these.

        One that would pass 2^64 − 1 is not applied, nor are those behind it.
        """
        totals = list(accumulate(increments, initial=self.total))
        del totals[0]
        fault = None
        if totals and totals[-1] > MAX:
            del totals[bisect_right(totals, MAX) :]
            fault = PeerFault("overflow", f"the counter would pass {MAX}")
        if totals:
            self.total = totals[-1]
            self.requests += len(totals)
        return totals, fault
