"""Streams of numbers: the same sum, count and checksum over any number of connections and servers."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from protosuite.numbers import sequence
from tests.faults.checks import require


@frozen
class Whole:
    """A stream as it is when nothing disturbs it."""

    values: tuple[int, ...]
    sum: int
    count: int
    checksum: int


def whole(seed: int, count: int) -> Whole:
    """The stream of a session."""
    values = tuple(sequence.value(seed, index) for index in range(count))
    return Whole(values, sum(values), count, sequence.checksum(seed, count))


class StreamsCheck:
    """What clients were told of their streams."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._results: dict[str, tuple[int, int, int]] = {}

    def opened(self, client: str, count: int) -> None:
        """`client` was told how long its stream is: it is the same stream on every connection."""
        known = self._counts.setdefault(client, count)
        require(known == count, f"numbers: the stream of {client} had {known} numbers and has {count}")

    def ended(self, client: str, sum: int, count: int, checksum: int) -> None:
        """`client` has its whole stream."""
        self.opened(client, count)
        require(client not in self._results, f"numbers: the stream of {client} ended twice")
        self._results[client] = (sum, count, checksum)

    def settle(self, wholes: Mapping[str, Whole]) -> None:
        """Hold what came against the sessions as they are stored; those results need not be kept then."""
        for client, found in self._results.items():
            require(client in wholes, f"numbers: the session of {client} is not stored")
            stored = wholes[client]
            expected = (stored.sum, stored.count, stored.checksum)
            require(
                found == expected,
                f"numbers: {client} got sum, count and checksum {found}, and not {expected}",
            )
        self._results.clear()
