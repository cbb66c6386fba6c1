"""The wake-ups of a node that wait to be sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field

# Topics that may wait while Redis is away. With more, everybody is told to catch up instead, which costs a
# query for each thousand of rooms; a wake-up that waits costs some 200 bytes.
MAX_TOPICS = 10_000


@define
class Outgoing:
    """For each topic the highest number that has to be told. At most `max_topics` wait."""

    max_topics: int = MAX_TOPICS
    dropped: int = 0  # wake-ups that were left out
    has_gap: bool = False  # some were left out since :meth:`take` was called last
    _waiting: dict[str, int] = field(factory=dict)

    def put(self, topic: str, number: int) -> None:
        """`topic` has something new up to `number`."""
        known = self._waiting.get(topic)
        if known is None and len(self._waiting) >= self.max_topics:
            self.dropped += 1
            self.has_gap = True
        elif known is None or known < number:
            self._waiting[topic] = number

    def take(self, most: int) -> dict[str, int]:
        """Up to `most` of them, those first that wait for longest; they wait no more."""
        self.has_gap = False
        taken = {topic: self._waiting[topic] for topic, _ in zip(self._waiting, range(most), strict=False)}
        for topic in taken:
            del self._waiting[topic]
        return taken

    def put_back(self, unsent: Mapping[str, int]) -> None:
        """What was taken may not have been sent."""
        for topic, number in unsent.items():
            self.put(topic, number)

    def __len__(self) -> int:
        return len(self._waiting)
