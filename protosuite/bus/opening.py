"""A best-effort subscription that begins at a known place in what all nodes publish. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from attrs import define, field

from protosuite.bus.delivery import BestEffort, Delivery, Event


@define(eq=False, repr=False)
class Opening(BestEffort):
    """Until :meth:`open` it only gathers: what to begin with is still being read."""

    is_open: bool = False
    _early: deque[Event] = field(factory=deque)
    _early_dropped: int = 0
    _last_dropped: int = 0  # the place of the last of them

    @property
    def is_idle(self) -> bool:
        """Whether what comes may go out at once."""
        return self.is_open and not self.queue and not self.dropped

    def offer(self, event: Event) -> None:
        """Queue an event, and make room for it."""
        if self.is_open:
            super().offer(event)
            return
        self._early.append(event)
        self.subscriber.queued_bytes += event.size
        while len(self._early) > self.depth or (
            self.subscriber.queued_bytes > self.subscriber.max_queued_bytes and len(self._early) > 1
        ):
            self._last_dropped = self._forget_first().order
            self._early_dropped += 1

    def take(self) -> Delivery | None:
        """The next event, once it is open."""
        return super().take() if self.is_open else None

    def open(self, replayed: Iterable[Event], position: int) -> None:
        """Begin with what was `replayed`, and go on with what is behind `position`.

        What was dropped is lost only if it is behind `position`: no more than there are places.
        """
        lost = min(self._early_dropped, max(0, self._last_dropped - position))
        self.dropped += lost
        self.all_dropped.count += lost
        early = list(self._early)
        while self._early:
            self._forget_first()
        self.is_open = True
        for event in replayed:
            super().offer(event)
        for event in early:
            if event.order > position:
                super().offer(event)

    def end(self) -> None:
        """It is over: what waits is let go."""
        super().end()
        while self._early:
            self._forget_first()

    def _forget_first(self) -> Event:
        event = self._early.popleft()
        self.subscriber.queued_bytes -= event.size
        return event
