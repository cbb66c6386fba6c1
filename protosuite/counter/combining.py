"""Many increments in one operation on a total that is elsewhere, and the totals in between. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from attrs import define, field, frozen

from protosuite.counter.wire import MAX
from protosuite.errors import PeerFault

Answer = Callable[[list[int], PeerFault | None], None]

OVERFLOW = PeerFault("overflow", f"the counter would pass {MAX}")


@define(eq=False, repr=False)
class Group:
    """Increments that somebody asked for together: `answer` gets the total after each, in their order.

    One that would pass 2^64 − 1 is not applied, nor are those behind it.
    """

    increments: Sequence[int]
    answer: Answer
    asked: float  # when, by the clock of whoever offers it
    totals: list[int] = field(factory=list)
    is_over: bool = False  # it has been answered

    def withdraw(self) -> None:
        """Nobody wants it any more. What is under way of it may count all the same."""
        self.is_over = True

    def finish(self, fault: PeerFault | None = None) -> None:
        """Answer, with what is wrong with the first increment that has no total."""
        if not self.is_over:
            self.is_over = True
            self.answer(self.totals, fault)


@frozen
class Operation:
    """One addition, whose `number` is its own: it is done once, however often it is asked for.

    `parts` are the groups that it is for, with the increments of each.
    """

    number: int
    amount: int
    parts: tuple[tuple[Group, tuple[int, ...]], ...]

    @property
    def count(self) -> int:
        """How many increments it combines."""
        return sum(len(increments) for _, increments in self.parts)

    @property
    def is_wanted(self) -> bool:
        """Whether anybody still waits for it."""
        return any(not group.is_over for group, _ in self.parts)


@define(eq=False, repr=False)
class Combiner:
    """Groups that wait, in their order. One operation is under way at a time; it is of all that wait.

    If it is refused, as the total would pass 2^64 − 1, none of it was added: then half as many are tried,
    down to the single one that is too much.
    """

    highest: int = 0  # that anybody was told: the total cannot be lower
    _waiting: deque[Group] = field(factory=deque)
    _numbers: int = 0
    _most: int | None = None  # increments in the next operation
    current: Operation | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, group: Group) -> None:
        """A group came."""
        self._waiting.append(group)

    def next(self) -> Operation | None:
        """The operation that is under way, or else one of what waits; None if nothing does."""
        if self.current is None:
            parts = tuple(self._parts())
            if parts:
                self._numbers += 1
                amount = sum(sum(increments) for _, increments in parts)
                self.current = Operation(self._numbers, amount, parts)
        return self.current

    def done(self, total: int) -> None:
        """The operation that is under way was done, and led to `total`."""
        operation = self._end()
        self.highest = max(self.highest, total)
        if self._most is not None:  # with room left, what was too much has been answered or withdrawn
            self._most = None if operation.count < self._most else 2 * self._most
        at = total - operation.amount
        for group, increments in operation.parts:
            for increment in increments:
                at += increment
                group.totals.append(at)
            if len(group.totals) == len(group.increments):
                group.finish()
        self._forget_finished()

    def refused(self) -> None:
        """It was not done: the total would have passed 2^64 − 1."""
        operation = self._end()
        if operation.count > 1:
            self._most = operation.count // 2
            return
        self._most = None
        operation.parts[0][0].finish(OVERFLOW)
        self._forget_finished()

    def abandon(self, asked_before: float, fault: PeerFault) -> None:
        """Answer those who wait since before a time: whether what is under way counts is not known."""
        for group in list(self._waiting):  # who is answered may ask for more
            if group.asked < asked_before:
                group.finish(fault)
        if self.current is not None and not self.current.is_wanted:
            self.current = None
        if self.current is None:
            self._forget_finished()

    def give_up(self, fault: PeerFault) -> None:
        """Answer those of the operation that is under way: what became of it cannot be found out."""
        for group, _ in self._end().parts:
            group.finish(fault)
        self._forget_finished()

    @property
    def oldest(self) -> float | None:
        """When the first of those who wait asked."""
        return next((group.asked for group in self._waiting if not group.is_over), None)

    def _end(self) -> Operation:
        operation, self.current = self.current, None
        assert operation is not None
        return operation

    def _parts(self) -> Iterator[tuple[Group, tuple[int, ...]]]:
        """What the next operation is for: no more than may be tried, and than fits into 64 bits."""
        amount, count = 0, 0
        for group in self._waiting:
            if group.is_over:
                continue
            taken: list[int] = []
            rest = group.increments[len(group.totals) :]
            for increment in rest:
                if count == self._most or (count and amount + increment > MAX):
                    break
                amount, count = amount + increment, count + 1
                taken.append(increment)
            if taken:
                yield group, tuple(taken)
            if len(taken) < len(rest):
                return

    def _forget_finished(self) -> None:
        if any(group.is_over for group in self._waiting):
            self._waiting = deque(group for group in self._waiting if not group.is_over)
