"""Best-effort events on their way to many: each subscriber is touched once for several of them. Pure.

Touching a subscriber for every event was most of what a delivery took: 10 µs, with 200 of them and a hundred
events on their way. Where what one segment publishes is handed over in one piece, it is 0.2 µs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from protosuite.bus.delivery import BestEffort, Event

_RUN_BYTES = 64 << 10  # of events that wait for each other: what a transport takes before it says enough


class FanOut:
    """Gathers events that go to the same subscriptions, in their order, and hands them on together.

    `encode` gives the frame of an event for one pattern. Who cannot take it now has it queued, as the
    rules of its subscription say.
    """

    def __init__(self, encode: Callable[[Event, str], bytes]) -> None:
        self._encode = encode
        self._holds = 0
        self._events: list[Event] = []
        self._bytes = 0
        self._to: Sequence[BestEffort] = ()

    def hold(self) -> None:
        """From now on events may wait for those that follow."""
        self._holds += 1

    def release(self) -> None:
        """Nothing follows any more. Once for each :meth:`hold`."""
        self._holds -= 1
        if not self._holds and self._events:
            self.flush()

    def add(self, event: Event, to: Sequence[BestEffort]) -> None:
        """`event` goes to these subscriptions, now or with the next ones."""
        if to is not self._to:
            self.flush()
            self._to = to
        if to:
            self._events.append(event)
            self._bytes += event.size
            if not self._holds or self._bytes >= _RUN_BYTES:
                self.flush()

    def flush(self) -> None:
        """Hand on what waits. To be called before a subscription begins or ends."""
        if not self._events:
            return
        events, self._events, self._bytes = self._events, [], 0
        frames: dict[str, bytes] = {}
        for subscription in self._to:
            subscriber = subscription.subscriber
            if subscription.is_idle and not subscriber.is_waiting:
                pattern = subscription.pattern
                data = frames.get(pattern)
                if data is None:
                    data = frames[pattern] = b"".join([self._encode(event, pattern) for event in events])
                if subscriber.pass_on(data):
                    continue
            for event in events:
                subscription.offer(event)
            subscriber.wake()
