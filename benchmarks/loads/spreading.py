"""One writer, many readers: what one says comes to all, in one order, and to each the same bytes."""

from __future__ import annotations

import select
import socket
import time
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from benchmarks.loads.asking import connect, ready
from benchmarks.loads.measuring import Report, Window, WrongAnswer

_CHUNK = 1 << 18
_TRIM = 1 << 22  # bytes of the common stream that all have had, and that are kept


class Spread:
    """A protocol: how to come to be a reader or the writer, what to write, and what readers get of it."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.port: int = options["port"]
        self.content: int = options["content"]

    def join(self, connection: socket.socket) -> None:
        """Become a reader; afterwards nothing is missed. The socket blocks."""

    def join_as_writer(self, connection: socket.socket) -> None:
        """Become the writer."""

    def message(self, number: int) -> bytes:
        """What the writer sends as message `number`."""
        raise NotImplementedError

    def end(self, stream: bytearray, at: int) -> int | None:
        """Where the message ends that begins at `at` of what a reader gets; None if it is not all there."""
        raise NotImplementedError

    def check(self, message: bytes, number: int) -> None:
        """:exc:`WrongAnswer` if this is not message `number` as a reader gets it."""
        raise NotImplementedError


class Stream:
    """What every reader gets: checked with whoever has got furthest, the same bytes for the rest."""

    def __init__(self, spread: Spread) -> None:
        self.ends: list[int] = []  # of each message, counted from the beginning
        self._spread = spread
        self._bytes = bytearray()
        self._first = 0  # place of the first byte that is kept

    def take(self, at: int, data: bytes) -> None:
        """A reader got `data` as its bytes from `at` on."""
        start = at - self._first
        known = self._bytes[start : start + len(data)]
        if known != data[: len(known)]:
            raise WrongAnswer(f"two readers got different bytes, at {at}")
        if len(known) < len(data):
            self._bytes += data[len(known) :]
            self._parse()

    def forget(self, before: int) -> None:
        """All readers have had the bytes before this place."""
        if before - self._first > _TRIM:
            del self._bytes[: before - self._first]
            self._first = before

    def _parse(self) -> None:
        while True:
            begin = (self.ends[-1] if self.ends else 0) - self._first
            end = self._spread.end(self._bytes, begin)
            if end is None:
                return
            self._spread.check(bytes(self._bytes[begin:end]), len(self.ends))
            self.ends.append(end + self._first)


class Spreading:
    """Keeps `window` messages on their way to `readers` readers."""

    def __init__(self, spread: Spread, readers: int, window: int, seconds: float) -> None:
        self._spread = spread
        self._seconds = seconds
        self._window = window
        self._stream = Stream(spread)
        self._writer = connect(spread.port)
        self._readers = [connect(spread.port) for _ in range(readers)]
        spread.join_as_writer(self._writer)
        for reader in self._readers:
            spread.join(reader)
        self._places = {reader.fileno(): 0 for reader in self._readers}  # bytes that each has had
        self._sent_at: list[float] = []
        self._waiting: list[int] = []  # for each message: readers that have not had it
        self._complete = 0  # messages that everybody has had

    def run(self) -> Report:
        """Write until the time is over and everybody has had everything."""
        window = Window(self._seconds)
        self._run(window)
        report = window.report(1, {"messages": len(self._sent_at)})
        for connection in (self._writer, *self._readers):
            connection.close()
        return report

    def _run(self, window: Window) -> None:
        receive = {reader.fileno(): reader.recv for reader in self._readers}
        poll = select.epoll()
        for connection in (self._writer, *self._readers):
            connection.setblocking(False)
            poll.register(connection.fileno(), select.EPOLLIN)
        self._write(self._window)
        while self._complete < len(self._sent_at):
            before = self._complete
            for number in ready(poll):
                if number in receive:
                    delivered = self._read(number, receive[number](_CHUNK))
                    window.add(time.monotonic(), *delivered)
                elif not self._writer.recv(_CHUNK):  # what the writer is told is not what is measured
                    raise WrongAnswer("the server closed the writer's connection")
            if not window.is_over(time.monotonic()):
                self._write(self._complete - before)

    def _write(self, count: int) -> None:
        """Send so many messages more."""
        first = len(self._sent_at)
        data = b"".join(map(self._spread.message, range(first, first + count)))
        self._sent_at += [time.monotonic()] * count
        self._waiting += [len(self._readers)] * count
        if data and self._writer.send(data) != len(data):
            raise WrongAnswer("a window is more than the system takes at once")

    def _read(self, reader: int, data: bytes) -> list[float]:
        """A reader got something: when each of the messages was sent that it now has."""
        if not data:
            raise WrongAnswer("the server closed a reader's connection")
        before = self._places[reader]
        after = self._places[reader] = before + len(data)
        self._stream.take(before, data)
        ends = self._stream.ends
        first, last = bisect_right(ends, before), bisect_right(ends, after)
        for number in range(first, last):
            self._waiting[number] -= 1
        while self._complete < len(self._waiting) and not self._waiting[self._complete]:
            self._complete += 1
            self._stream.forget(ends[self._complete - 1])
        return self._sent_at[first:last]
