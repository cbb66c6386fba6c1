"""Times at which something is to be called, thousands of them, behind one timer of the reactor.

The reactor keeps its timers in a heap whose comparisons are calls of Python: with 10,000 streams that was a
fifth of what the process did. Here they are tuples, which are compared in C.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from twisted.internet.interfaces import IDelayedCall, IReactorTime

_A_TURN = 100  # calls, of some 20 µs each; then whoever has something to read is heard
_FEW = 1000  # alarms that are kept until their time, cancelled or not


class Alarm:
    """One of them. It rings once, or never if it is cancelled before."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Do not ring. One that has rung, or was cancelled, may be cancelled."""
        self.call = None


class Alarms:
    """All of them, by the time of `clock`."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Alarm]] = []
        self._most = _FEW  # with more of them, those that were cancelled are looked for
        self._count = 0  # so that two of one time ring in the order in which they were set
        self._timer: IDelayedCall | None = None
        self._timer_at = 0.0
        self._is_ringing = False

    def set(self, when: float, call: Callable[[], None]) -> Alarm:
        """Call at `when`, or soon if that is over."""
        alarm = Alarm(call)
        self._count += 1
        heappush(self._heap, (when, self._count, alarm))
        if len(self._heap) > self._most:
            self._forget_cancelled()
        if not self._is_ringing and (self._timer is None or when < self._timer_at):
            self._arm(when)
        return alarm

    def _forget_cancelled(self) -> None:
        """Clients whose window is full leave one behind with each acknowledgement, for a minute each."""
        self._heap = [each for each in self._heap if each[2].call is not None]
        heapify(self._heap)
        self._most = 2 * len(self._heap) + _FEW  # looked through so seldom that it costs little for each

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._clock.callLater(max(0.0, when - self._clock.seconds()), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._is_ringing = True  # what is set meanwhile is looked at below
        now = self._clock.seconds()
        left = _A_TURN
        try:
            while self._heap and self._heap[0][0] <= now and left:
                call = heappop(self._heap)[2].call
                if call is not None:
                    left -= 1
                    call()
        finally:
            self._is_ringing = False
            while self._heap and self._heap[0][2].call is None:
                heappop(self._heap)
            if self._heap:
                self._arm(self._heap[0][0])
