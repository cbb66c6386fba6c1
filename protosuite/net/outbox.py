"""What waits to be sent to a peer that may not read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

ENTRY = 64  # bytes that an entry of the queue takes beside its own: an object and a place


@implementer(IPushProducer)
class Outbox:
    """A queue before `transport`, bounded by `max_bytes`, for a peer that may not read.

    `overrun` is called with a code and the reason when more waits, or when the transport has not got rid
    of what it holds (64 KiB, or one larger piece) after `timeout` seconds; `drained` when all that waited
    has left.
    What is written by several connections waits in each of them, but is kept once.
    """

    def __init__(
        self,
        transport: Any,
        clock: IReactorTime,
        max_bytes: int,
        timeout: float,
        overrun: Callable[[str, str], None],
        drained: Callable[[], None],
    ) -> None:
        self.size = 0  # bytes, besides what the transport has
        self.is_blocked = False  # the transport has enough
        self._transport = transport
        self._clock = clock
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._overrun = overrun
        self._drained = drained
        self._queue: deque[bytes] = deque()
        self._overdue: IDelayedCall | None = None

    def start(self) -> None:
        """Let the transport say when the peer is behind."""
        self._transport.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        """Send, or keep until the peer has read."""
        if not self.is_blocked:
            self._transport.write(data)
            return
        self._queue.append(data)
        self.size += len(data) + ENTRY
        if self.size > self._max_bytes:
            self._overrun("backlog", f"more than {self._max_bytes} bytes wait to be read")

    def clear(self) -> None:
        """Forget what waits."""
        self._queue.clear()
        self.size = 0

    def stop(self) -> None:
        """The connection is gone: forget all."""
        self.clear()
        self._stop_waiting()

    # IPushProducer: the transport says whether the peer reads.

    def pauseProducing(self) -> None:
        self.is_blocked = True
        if self._overdue is None:
            self._overdue = self._clock.callLater(self._timeout, self._not_read)

    def resumeProducing(self) -> None:
        self.is_blocked = False
        self._stop_waiting()
        while self._queue and not self.is_blocked:
            data = self._queue.popleft()
            self.size -= len(data) + ENTRY
            self._transport.write(data)
        if not self._queue and not self.is_blocked:
            self._drained()

    def stopProducing(self) -> None:
        """The connection is being lost."""

    def _stop_waiting(self) -> None:
        if self._overdue is not None and self._overdue.active():
            self._overdue.cancel()
        self._overdue = None

    def _not_read(self) -> None:
        self._overdue = None
        self._overrun("write-timeout", f"nothing was read for {self._timeout:g} s")
