"""Readers alone: somebody else writes what they get."""

from __future__ import annotations

import select
import time
from bisect import bisect_right

from benchmarks.loads.asking import connect
from benchmarks.loads.measuring import Report, Stopwatch, Window, WrongAnswer
from benchmarks.loads.spreading import Spread, Stream

_CHUNK = 1 << 18
_LOOK = 0.1  # seconds between two looks at the clock where nothing comes


class Following:
    """Counts what comes to `readers` readers, and checks that all get the same."""

    def __init__(self, spread: Spread, readers: int, seconds: float) -> None:
        self._seconds = seconds
        self._stream = Stream(spread)
        self._readers = {reader.fileno(): reader for reader in (connect(spread.port) for _ in range(readers))}
        for reader in self._readers.values():
            spread.join(reader)
        self._places = dict.fromkeys(self._readers, 0)  # bytes that each has had

    def run(self) -> Report:
        """Read until the time is over."""
        watch, window = Stopwatch(), Window(self._seconds)
        poll = select.epoll()
        for reader in self._readers.values():
            reader.setblocking(False)
            poll.register(reader.fileno(), select.EPOLLIN)
        answers = total = 0
        while not window.is_over(now := time.monotonic()):
            for number, _ in poll.poll(_LOOK):
                count = self._read(number)
                total += count
                answers += count if window.has_begun(now) else 0
        for reader in self._readers.values():
            reader.close()
        return Report(answers, self._seconds, watch.busy(), total)

    def _read(self, number: int) -> int:
        """A reader has something: how many messages more it has had."""
        data = self._readers[number].recv(_CHUNK)
        if not data:
            raise WrongAnswer("the server closed a reader's connection")
        before = self._places[number]
        after = self._places[number] = before + len(data)
        self._stream.take(before, data)
        ends = self._stream.ends
        return bisect_right(ends, after) - bisect_right(ends, before)
