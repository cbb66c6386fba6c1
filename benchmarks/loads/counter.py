"""A load on counter/1: every answer must be beyond the one before by the increment at least."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from itertools import chain
from operator import ge, sub
from typing import Any

from xxhash import xxh64_intdigest

from benchmarks.loads.asking import Conversation
from benchmarks.loads.measuring import WrongAnswer

_SIZE = 8


class Increments(Conversation):
    """`depth` increments at a time: of 1 each, or of 1 … `depth` where they are to be ``different``."""

    def __init__(self, options: Mapping[str, Any], number: int) -> None:
        super().__init__(options, number)
        different = options.get("different", False)
        self._amounts = tuple(range(1, self.depth + 1)) if different else (1,) * self.depth
        self._batch = b"".join(map(frame, self._amounts))
        self._sum = sum(self._amounts)
        self._last = 0
        self._rest = b""
        self._turns = 0

    def request(self) -> bytes:
        self._turns += 1
        return self._batch

    def answers(self, data: bytes) -> int:
        data = self._rest + data
        count, rest = divmod(len(data), _SIZE)
        self._rest = data[len(data) - rest :]
        if count > self.due:
            raise WrongAnswer("an answer that nobody asked for")
        totals = struct.unpack_from(f">{count}Q", data)
        first = self.depth - self.due
        steps = map(sub, totals, chain((self._last,), totals))
        if not all(map(ge, steps, self._amounts[first : first + count])):
            raise WrongAnswer(f"the counter did not rise as it should from {self._last}: {totals}")
        self._last = totals[-1] if totals else self._last
        return count

    def more(self) -> dict[str, float]:
        """All that was added: what the counter must stand at in the end."""
        return {"sum": self._turns * self._sum}


def total(data: bytes) -> int | None:
    """The total in one answer, for :class:`~.singles.Singles`."""
    if len(data) > _SIZE:
        raise WrongAnswer("an answer that nobody asked for")
    return int.from_bytes(data, "big") if len(data) == _SIZE else None


def frame(amount: int) -> bytes:
    """A request of counter/1."""
    return struct.pack(">QQ", amount, xxh64_intdigest(b"%d" % amount))
