"""What numbers tells of itself: its streams, and how far each is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from protosuite.figures import Figure, counter, gauge
from protosuite.numbers.sequence import Stream

_SHOWN = 20  # streams


def figures(streams: int, ended: int) -> Iterator[Figure]:
    """For machines: how many streams are being sent, and how many have come to their end."""
    yield gauge("numbers_streams", "Streams that are being sent.", streams)
    yield counter("numbers_streams_ended_total", "Streams that were sent to their end.", ended)


def overview(streams: Iterable[Stream], count: int) -> Mapping[str, object]:
    """For people: some of the `count` streams."""
    shown = [
        {
            "client": stream.session.client,
            "next": stream.next,
            "acknowledged": stream.acknowledged,
            "count": stream.session.count,
        }
        for stream in islice(streams, _SHOWN)
    ]
    return {"streams": count, "shown": shown}
