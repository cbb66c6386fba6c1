"""How late the reactor is: a call that is due at a time comes when everything before it is done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from protosuite.figures import Figure, Histogram, gauge, histogram

_INTERVAL = 0.1  # seconds


class Pulse:
    """Measures the lateness of `reactor`, and what it holds."""

    def __init__(self, reactor: Any) -> None:
        self.lag = Histogram()
        self._reactor = reactor
        self._due = 0.0
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Begin."""
        self._due = self._reactor.seconds() + _INTERVAL
        self._call = self._reactor.callLater(_INTERVAL, self._beat)

    def stop(self) -> None:
        """Measure no more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def take_worst(self) -> float:
        """The greatest lateness in seconds since this was asked last, also of a call that is late now."""
        late = max(0.0, self._reactor.seconds() - self._due) if self._call is not None else 0.0
        return max(self.lag.take_worst() or 0.0, late)

    def figures(self) -> Iterator[Figure]:
        """For machines."""
        yield histogram("reactor_lag_seconds", "How late the reactor makes a call that is due.", self.lag)
        calls = len(self._reactor.getDelayedCalls())
        yield gauge("reactor_delayed_calls", "Timers that run.", calls)
        pool = getattr(self._reactor, "threadpool", None)  # asking for it otherwise would make it
        threads, busy = (0, 0) if pool is None else (len(pool.threads), len(pool.working))
        yield gauge("threads", "Threads of a pool.", threads, pool="reactor")
        yield gauge("threads_busy", "Those of them that do something.", busy, pool="reactor")

    def _beat(self) -> None:
        late = max(0.0, self._reactor.seconds() - self._due)
        self.lag.observe(late)
        self.start()
