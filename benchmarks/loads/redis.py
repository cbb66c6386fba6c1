"""Loads on Redis: its protocol, its counter, its streams."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from benchmarks.loads.asking import Conversation
from benchmarks.loads.measuring import WrongAnswer


def command(*words: bytes) -> bytes:
    """A command as Redis reads it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class _Lines(Conversation):
    """Answers of a fixed number of lines."""

    lines = 1

    def __init__(self, options: Mapping[str, Any], number: int) -> None:
        super().__init__(options, number)
        self._rest: list[bytes] = []
        self._end = b""

    def answers(self, data: bytes) -> int:
        *lines, self._end = (self._end + data).split(b"\r\n")
        lines = self._rest + lines
        whole = len(lines) // self.lines * self.lines
        self._rest = lines[whole:]
        for at in range(0, whole, self.lines):
            self.check(lines[at : at + self.lines])
        return whole // self.lines

    def check(self, lines: list[bytes]) -> None:
        """One answer; :exc:`WrongAnswer` if it is not right."""
        raise NotImplementedError


class IncrBy(_Lines):
    """``INCRBY c 1``; the totals of a connection must rise."""

    def __init__(self, options: Mapping[str, Any], number: int) -> None:
        super().__init__(options, number)
        self._batch = command(b"INCRBY", b"c", b"1") * self.depth
        self._last = self._turns = 0

    def request(self) -> bytes:
        self._turns += 1
        return self._batch

    def check(self, lines: list[bytes]) -> None:
        if not lines[0].startswith(b":") or (total := int(lines[0][1:])) <= self._last:
            raise WrongAnswer(f"Redis went from {self._last} to {lines!r}")
        self._last = total

    def more(self) -> dict[str, float]:
        return {"sum": self._turns * self.depth}


def total(data: bytes) -> int | None:
    """The total in one answer to ``INCRBY``, for :class:`~.singles.Singles`."""
    if not data.endswith(b"\r\n"):
        return None
    if data[:1] == b":":
        with suppress(ValueError):
            return int(data[1:])
    raise WrongAnswer(f"to INCRBY came {data!r}")


class XAdd(_Lines):
    """``XADD``, one stream a connection, with the fields of an entry; the ids must rise."""

    lines = 2

    def __init__(self, options: Mapping[str, Any], number: int) -> None:
        super().__init__(options, number)
        fields = (b"author", b"ana", b"content", b"x" * options["content"], b"seq", b"")
        self._start = command(b"XADD", b"room-%d" % number, b"*", *fields).removesuffix(b"$0\r\n\r\n")
        self._seq = 0
        self._last = (0, 0)

    def request(self) -> bytes:
        first, self._seq = self._seq, self._seq + self.depth
        words = [b"%d" % seq for seq in range(first, self._seq)]
        return b"".join([b"%b$%d\r\n%b\r\n" % (self._start, len(word), word) for word in words])

    def check(self, lines: list[bytes]) -> None:
        size, name = lines
        at, _, number = name.partition(b"-")
        if size != b"$%d" % len(name) or (latest := (int(at), int(number))) <= self._last:
            raise WrongAnswer(f"an id after {self._last} is {lines!r}")
        self._last = latest

    def more(self) -> dict[str, float]:
        return {"appends": self._seq}
