"""A load on a counter/1 server: increments of 1, with every reply checked."""

from __future__ import annotations

from protosuite.counter.wire import ReplyDecoder, encode_request
from protosuite.errors import PeerFault
from protosuite.net.load import Load, LoadConnection


class CounterLoad(LoadConnection):
    """On one connection the totals must rise with every request."""

    def __init__(self, load: Load, number: int) -> None:
        super().__init__(load, number)
        self._decoder = ReplyDecoder()
        self._batch = encode_request(1) * load.depth
        self._last = 0

    def batch(self) -> bytes:
        return self._batch

    def check(self, data: bytes) -> int:
        count = 0
        for totals in self._decoder.feed(data):
            for total in totals:
                if total <= self._last:
                    raise PeerFault("bad-answer", f"the counter went from {self._last} to {total}")
                self._last = total
            count += len(totals)
        return count
