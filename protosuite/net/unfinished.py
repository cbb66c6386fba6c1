"""A message that has been begun and not finished, held against the clock."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Unfinished:
    """Bounds the time from the first byte of a message to its last, however many come in between.

    `is_within` says whether one has been begun, `is_read` whether we read: what does not come because we do
    not is not the peer's fault. `overdue` is called after `seconds` of reading.
    """

    def __init__(
        self,
        clock: IReactorTime,
        seconds: float,
        is_within: Callable[[], bool],
        is_read: Callable[[], bool],
        overdue: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._is_within = is_within
        self._is_read = is_read
        self._overdue = overdue
        self._call: IDelayedCall | None = None

    def look(self, has_ended: bool) -> None:
        """Something came, and has ended a message or not."""
        is_within = self._is_within()
        if self._call is not None and (has_ended or not is_within):
            self.stop()
        if self._call is None and is_within:
            self._call = self._clock.callLater(self._seconds, self._expired)

    def read_on(self) -> None:
        """We read again: it has all its time."""
        if self._call is not None:
            self._call.reset(self._seconds)

    def stop(self) -> None:
        """It does not matter any more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _expired(self) -> None:
        self._call = None
        if self._is_read() and self._is_within():
            self._overdue()
        else:
            self.look(has_ended=False)
