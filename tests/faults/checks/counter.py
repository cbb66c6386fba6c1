"""The counter: every total possible, none twice, never lower than one that was known before."""

from __future__ import annotations

from bisect import bisect

from attrs import define

from tests.faults.checks import require


@define
class _Request:
    amount: int
    floor: int  # the highest total that anybody had been told when it was sent


class CounterCheck:
    """What all clients of one counter have asked and been told. Nobody else may use it.

    An increment of a that is answered with t took the counter from t - a to t. It is linearizable if no
    two of these steps overlap, and none begins below a total that was known before it was asked for.
    """

    def __init__(self, total: int = 0) -> None:
        self.highest = total
        self.answered_count = 0
        self._total = total  # where the counter began, or began again
        self._most = total  # what it has if all counted that was ever sent
        self._answered = 0  # the sum of increments since then
        self._steps: dict[int, int] = {}  # amounts, by the totals that they led to
        self._totals: list[int] = []  # those, in order
        self._open: dict[int, _Request] = {}
        self._last = 0

    def sent(self, amount: int) -> int:
        """An increment of `amount` is asked for now: a number by which to name it."""
        self._last += 1
        self._most += amount
        self._open[self._last] = _Request(amount, self.highest)
        return self._last

    def answered(self, request: int, total: int) -> None:
        """The answer came."""
        asked = self._open.pop(request)
        told = f"counter: an increment of {asked.amount} was answered with {total}"
        require(
            total >= asked.floor + asked.amount,
            f"{told} although {asked.floor} had been reached before it was sent",
        )
        require(total <= self._most, f"{told} although at most {self._most} can have been reached")
        if asked.amount:
            self._step(asked.amount, total, told)
        self.highest = max(self.highest, total)
        self._answered += asked.amount
        self.answered_count += 1

    def _step(self, amount: int, total: int, told: str) -> None:
        place = bisect(self._totals, total)
        for other in self._totals[max(0, place - 1) : place + 1]:
            require(
                other <= total - amount or other - self._steps[other] >= total,
                f"{told}, and one of {self._steps[other]} with {other}",
            )
        self._totals.insert(place, total)
        self._steps[total] = amount

    def unknown(self, request: int) -> None:
        """The answer will not come: it counted or not."""
        del self._open[request]

    def fell_back(self, total: int) -> None:
        """The server was killed and may have lost what was not stored, but not below `total`.

        Nothing may be under way. What is open has not been sent.
        """
        self.highest = self._total = total
        self._answered = 0
        self._steps.clear()
        self._totals.clear()
        for request in self._open.values():
            request.floor = total

    def settle(self, total: int) -> None:
        """Nothing is under way, and the counter has `total`."""
        least = self._total + self._answered
        require(total >= least, f"counter: it has {total}, and {least} was acknowledged")
        require(total <= self._most, f"counter: it has {total}, and {self._most} was sent in all")
        require(total >= self.highest, f"counter: it has {total} and had {self.highest} before")
