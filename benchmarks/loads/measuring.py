"""What a load tells at its end."""

from __future__ import annotations

import math
import resource
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, MutableSequence
from typing import Any

from attrs import define, field

_WARM_UP = 0.2  # of the seconds come before those that count
_BUCKETS_A_DOUBLING = 32  # a latency is known to within 2 %


class WrongAnswer(Exception):
    """A server did not answer as it should."""


def histogram(seconds: Iterable[float]) -> dict[int, int]:
    """How many fell into each bucket; what several loads measured can be added."""
    log2 = math.log2
    return Counter(math.ceil(log2(max(each, 1e-6)) * _BUCKETS_A_DOUBLING) for each in seconds)


def quantile(counts: Mapping[int, int], share: float) -> float:
    """The seconds that `share` of all stay below; 0 when there are none."""
    left = share * sum(counts.values())
    for bucket in sorted(counts):
        left -= counts[bucket]
        if left <= 0:
            return float(2 ** (bucket / _BUCKETS_A_DOUBLING))
    return 0.0


@define
class Report:
    """`answers` that came in `seconds`; the load itself had the share `busy` of one processor.

    `total` are all answers, with those of the warm-up. `more` is what only some loads have to tell. Both are
    added up over processes.
    """

    answers: float
    seconds: float
    busy: float
    total: float
    latencies: Mapping[int, int] = field(factory=dict)
    more: Mapping[str, float] = field(factory=dict)

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "answers": self.answers,
            "seconds": self.seconds,
            "busy": self.busy,
            "total": self.total,
            "latencies": self.latencies,
            "more": self.more,
        }


class Window:
    """The seconds that count, after a warm-up: what took how long that came to its end within them.

    One counts in any case, however late it comes.
    """

    def __init__(self, seconds: float) -> None:
        self._watch = Stopwatch()
        self.began = time.monotonic() + seconds * _WARM_UP
        self.end = self.began + seconds
        self._last = 0.0
        self._total = 0
        self._waits: MutableSequence[float] = array("d")

    def is_over(self, now: float) -> bool:
        """Whether nothing more is to be asked."""
        return now >= self.end

    def has_begun(self, now: float) -> bool:
        """Whether what comes now counts, unless it is over."""
        return now >= self.began

    def add(self, now: float, *begun: float) -> None:
        """What was begun at these times has come to its end."""
        self._total += len(begun)
        if self.began <= now and (now < self.end or not self._waits):
            self._waits.extend(now - each for each in begun)
            self._last = now

    def add_all(self, total: int, waits: MutableSequence[float], last: float) -> None:
        """The same at once, for who looks at the time itself: `waits` are those that count, until `last`."""
        self._total, self._waits, self._last = total, waits, last

    def report(self, answers_each: int, more: Mapping[str, float]) -> Report:
        """All of it; each that was added stands for so many answers."""
        busy = self._watch.busy()
        seconds = max(self.end, self._last) - self.began
        answers, total = answers_each * len(self._waits), answers_each * self._total
        return Report(answers, seconds, busy, total, histogram(self._waits), more)


class Stopwatch:
    """Wall and processor time since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), _cpu()

    def seconds(self) -> float:
        """Of the wall."""
        return time.monotonic() - self._wall

    def busy(self) -> float:
        """The share of one processor that this process has had."""
        return (_cpu() - self._cpu) / max(self.seconds(), 1e-9)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
