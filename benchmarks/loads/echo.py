"""A load on bus/1: echoes. An echo is the bytes that were sent: both ways the field has the same number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.loads.asking import Conversation
from benchmarks.loads.measuring import WrongAnswer

_TEXT = "echo {turn:06d} of connection {number:06d}"  # no two of all connections are alike


class Echoes(Conversation):
    """`depth` echoes at a time, all of one size."""

    def __init__(self, options: Mapping[str, Any], number: int) -> None:
        super().__init__(options, number)
        messages = [message(_TEXT.format(turn=turn, number=number)) for turn in range(self.depth)]
        self._batch = b"".join(messages)
        self._size = len(messages[0])
        self._at = 0

    def request(self) -> bytes:
        self._at = 0
        return self._batch

    def answers(self, data: bytes) -> int:
        before, self._at = self._at, self._at + len(data)
        if data != self._batch[before : self._at]:
            raise WrongAnswer(f"{data[:100]!r} is not the echo of what was sent")
        return self._at // self._size - before // self._size


def message(text: str) -> bytes:
    """An echo of bus/1: field 1 of the stream, with field 1 within."""
    content = text.encode()
    inner = b"\x0a%c%s" % (len(content), content)
    return b"\x0a%c%s" % (len(inner), inner)
