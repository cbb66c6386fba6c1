"""The bus: what was confirmed is delivered, in the order of its topic; what is delivered was published."""

from __future__ import annotations

from attrs import define, field

from tests.faults.checks import require


@define
class _Durable:
    """What one durable subscription has been given."""

    is_ordered: bool
    is_there: bool = False  # whether it gets what is published
    seen: set[bytes] = field(factory=set)
    owed: set[bytes] = field(factory=set)  # that were confirmed and have not come
    last: dict[str, int] = field(factory=dict)  # the highest sequence, by topic


class BusCheck:
    """What publishers published and subscribers got. Payloads are all different.

    A durable subscription is registered by :meth:`subscribing` before anything can come of it, and by
    :meth:`subscribed` before what it must get is published.
    """

    def __init__(self) -> None:
        self.confirmed_count = 0
        self._topics: dict[bytes, str] = {}  # of what was published, by payload
        self._sequences: dict[tuple[str, int], bytes] = {}
        self._durables: dict[str, _Durable] = {}
        self._due: dict[bytes, list[_Durable]] = {}  # to whom, once it is confirmed, by payload
        self._noticed: dict[tuple[str, int, str], int] = {}  # sequences, by subscriber, connection and topic

    def subscribing(self, name: str, is_ordered: bool = True) -> None:
        """`name` may get what others publish.

        Not `is_ordered`: two connections may share it for a while, and then nobody has promised an order.
        """
        self._durables[name] = _Durable(is_ordered)

    def subscribed(self, name: str, is_ordered: bool = True) -> None:
        """`name` is to get all that is published from now on."""
        if name not in self._durables:
            self.subscribing(name, is_ordered)
        self._durables[name].is_there = True

    def published(self, topic: str, payload: bytes) -> None:
        """A publish is sent now."""
        self._topics[payload] = topic
        self._due[payload] = [durable for durable in self._durables.values() if durable.is_there]

    def confirmed(self, payload: bytes, sequence: int) -> None:
        """Its receipt came."""
        self._placed(self._topics[payload], sequence, payload)
        for durable in self._due.pop(payload, ()):
            if payload not in durable.seen:
                durable.owed.add(payload)
        self.confirmed_count += 1

    def delivered(self, name: str, topic: str, payload: bytes, sequence: int) -> None:
        """A durable subscription got an event, for the first time or again."""
        self._known(name, topic, payload)
        self._placed(topic, sequence, payload)
        durable = self._durables[name]
        if payload in durable.seen:
            return
        durable.seen.add(payload)
        durable.owed.discard(payload)
        last = durable.last.get(topic, 0)
        durable.last[topic] = max(last, sequence)
        require(
            not durable.is_ordered or sequence > last,
            f"bus: {name} got event {sequence} of {topic} for the first time behind event {last}",
        )

    def noticed(self, subscriber: str, connection: int, topic: str, payload: bytes, sequence: int) -> None:
        """A best-effort subscription got an event on one of its connections."""
        self._known(subscriber, topic, payload)
        place = (subscriber, connection, topic)
        last = self._noticed.get(place, 0)
        require(sequence > last, f"bus: {subscriber} got event {sequence} of {topic} behind event {last}")
        self._noticed[place] = sequence

    def missing(self) -> dict[str, int]:
        """How many confirmed events each durable subscription has not been given."""
        return {name: len(durable.owed) for name, durable in self._durables.items() if durable.owed}

    def settle(self) -> None:
        """Everything that was owed has been delivered."""
        missing = self.missing()
        require(not missing, f"bus: confirmed events that were never delivered: {missing}")

    def _known(self, subscriber: str, topic: str, payload: bytes) -> None:
        published = self._topics.get(payload)
        require(published is not None, f"bus: {subscriber} got {payload!r}, which nobody published")
        require(published == topic, f"bus: {payload!r} was published on {published} and came on {topic}")

    def _placed(self, topic: str, sequence: int, payload: bytes) -> None:
        other = self._sequences.setdefault((topic, sequence), payload)
        require(other == payload, f"bus: event {sequence} of {topic} is {payload!r} and was {other!r} before")
