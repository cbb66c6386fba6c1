"""One request at a time over each of many connections, for a total that rises with each.

It is :mod:`~benchmarks.loads.asking` for the shortest of all exchanges, where a load in Python costs more
than the server does: of a connection there are two numbers in arrays, and it is read and written by its
descriptor. So 10,000 of them, too, leave the processor's caches to the server.
"""

from __future__ import annotations

import os
import select
import time
from array import array
from collections.abc import Callable

from benchmarks.loads.asking import connect, ready
from benchmarks.loads.measuring import Report, Window, WrongAnswer

_CHUNK = 1 << 10  # bytes that are read at once: many times an answer

# The total in an answer, None if it is not whole yet; :exc:`WrongAnswer` if it is none, or more than one.
Total = Callable[[bytes], int | None]


class Singles:
    """Sends `request` over each of so many connections, and again whenever `total` finds the answer."""

    def __init__(
        self, port: int, connections: int, seconds: float, request: bytes, total: Total, whose: str
    ) -> None:
        self._sockets = [connect(port) for _ in range(connections)]
        self._seconds = seconds
        self._request = request
        self._total = total
        self._whose = whose
        self._asked = 0

    def run(self) -> Report:
        """Ask until the time is over and every answer has come."""
        window = Window(self._seconds)
        self._ask(window)
        for connection in self._sockets:
            connection.close()
        return window.report(1, {"sum": self._asked})

    def _ask(self, window: Window) -> None:
        poll = select.epoll()
        numbers = [connection.fileno() for connection in self._sockets]
        size = max(numbers) + 1
        last, sent = array("Q", [0]) * size, array("d", [0]) * size
        pieces: dict[int, bytes] = {}  # of answers that are not whole
        clock, request, total_in, read, write = time.monotonic, self._request, self._total, os.read, os.write
        for number in numbers:
            poll.register(number, select.EPOLLIN)
            sent[number] = clock()
            write(number, request)
        answered, waits, latest = 0, array("d"), 0.0
        began, end, left = window.began, window.end, len(numbers)
        while left:
            for number in ready(poll):
                data = read(number, _CHUNK)
                if pieces or not data:
                    data = _joined(pieces, number, data)
                total = total_in(data)
                if total is None:
                    pieces[number] = data
                    continue
                if total <= last[number]:
                    raise WrongAnswer(f"{self._whose} went from {last[number]} to {total}")
                last[number] = total
                answered += 1
                now = clock()
                if now >= began:
                    if now < end or not waits:
                        waits.append(now - sent[number])
                        latest = now
                    if now >= end:
                        poll.unregister(number)
                        left -= 1
                        continue
                sent[number] = now
                if write(number, request) != len(request):  # the answer has come, so the buffer was empty
                    raise WrongAnswer("a request is more than the system takes at once")
        self._asked = answered
        window.add_all(answered, waits, latest)


def _joined(pieces: dict[int, bytes], number: int, data: bytes) -> bytes:
    if not data:
        raise WrongAnswer("the server closed a connection")
    return pieces.pop(number, b"") + data
