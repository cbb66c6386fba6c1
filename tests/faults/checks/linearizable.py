"""Whether reads and appends of a log are linearizable: each took effect between its call and its answer.

A log's slots give the order of the appends, and a read says after which slot it took place. So the order
of all operations is known, and what is left to see is that it is not against time: no operation was
answered before one that comes earlier in the order had even been asked for. (Reads after the same slot may
be in any order.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from attrs import define, frozen

from tests.faults.checks import require


@frozen
class Operation:
    """An append that made slot `after`, or a read that found the log as it was after slot `after`.

    Times are moments of one clock at the clients; `answered` is infinite if no answer came.
    """

    name: str
    is_read: bool
    after: int
    asked: float
    answered: float = math.inf

    def __str__(self) -> str:
        what = "found" if self.is_read else "made"
        return f"{self.name} {what} slot {self.after}, asked at {self.asked} and answered at {self.answered}"


def first_problem(operations: Iterable[Operation]) -> str | None:
    """Why a history is not linearizable, for a person; None if it is."""
    ordered = sorted(operations, key=lambda each: (each.after, each.is_read, each.asked))
    latest: Operation | None = None  # of those that must come before, the one that was asked for last
    slot = 0
    for operation in ordered:
        if not operation.is_read and operation.after == slot:
            return f"two appends made slot {slot}; one: {operation}"
        slot = operation.after
        if latest is not None and operation.answered < latest.asked:
            return f"{operation}; but {latest}, and must come first"
        if latest is None or operation.asked > latest.asked:
            latest = operation
    return None


@define
class _Call:
    name: str
    is_read: bool
    asked: int


class History:
    """What clients in one process asked of a room and were answered. Its clock counts what happens."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._moment = 0
        self._open: dict[str, _Call] = {}

    def asked(self, name: str, is_read: bool) -> None:
        """An operation is asked for now; its name is its own."""
        self._open[name] = _Call(name, is_read, self._now())

    def answered(self, name: str, after: int) -> None:
        """Its answer is here now."""
        call = self._open.pop(name)
        self.operations.append(Operation(name, call.is_read, after, call.asked, self._now()))

    def found(self, name: str, after: int) -> None:
        """An append was not answered, and is in the log all the same."""
        call = self._open.pop(name)
        self.operations.append(Operation(name, call.is_read, after, call.asked))

    def check(self, most: int) -> None:
        """With more than `most` operations, look at them, and keep some to hold what comes next against."""
        if len(self.operations) > most:
            problem = first_problem(self.operations)
            require(problem is None, f"chatlog: not linearizable: {problem}")
            del self.operations[: -most // 10]

    def _now(self) -> int:
        self._moment += 1
        return self._moment
