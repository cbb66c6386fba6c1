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


def total(data: bytes) -> int | None:
    """The total in one answer to ``INCRBY``, for :class:`~.singles.Singles`."""
    if not data.endswith(b"\r\n"):
        return None
    if data[:1] == b":":
        with suppress(ValueError):
            return int(data[1:])
    raise WrongAnswer(f"to INCRBY came {data!r}")


class XAdd(Conversation):
    """``XADD``, one stream a connection, with the fields of an entry; the ids must rise."""

    def __init__(self, options: Mapping[str, Any], number: int) -> None:
        super().__init__(options, number)
        fields = (b"author", b"ana", b"content", b"x" * options["content"], b"seq", b"")
        self._start = command(b"XADD", b"room-%d" % number, b"*", *fields).removesuffix(b"$0\r\n\r\n")
        self._seq = 0
        self._last = (0, 0)
        self._lines: list[bytes] = []  # one, of an answer whose second has not come
        self._end = b""  # of what is not a whole line

    def request(self) -> bytes:
        first, self._seq = self._seq, self._seq + self.depth
        words = [b"%d" % seq for seq in range(first, self._seq)]
        return b"".join([b"%b$%d\r\n%b\r\n" % (self._start, len(word), word) for word in words])

    def answers(self, data: bytes) -> int:
        *lines, self._end = (self._end + data).split(b"\r\n")
        lines = self._lines + lines
        whole = len(lines) // 2 * 2
        self._lines = lines[whole:]
        for at in range(0, whole, 2):
            self._check(lines[at], lines[at + 1])
        return whole // 2

    def _check(self, size: bytes, name: bytes) -> None:
        at, _, number = name.partition(b"-")
        if size != b"$%d" % len(name) or (latest := (int(at), int(number))) <= self._last:
            raise WrongAnswer(f"an id after {self._last} is {[size, name]!r}")
        self._last = latest

    def more(self) -> dict[str, float]:
        return {"appends": self._seq}
