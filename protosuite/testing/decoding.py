"""A decoder fed in every way in which bytes can come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from protosuite.errors import PeerFault

M_co = TypeVar("M_co", covariant=True)


class Decodes(Protocol[M_co]):
    """A decoder: bytes in, messages out, :exc:`PeerFault` where the stream goes wrong."""

    def feed(self, data: bytes) -> Iterator[M_co]:
        """The messages that `data` completes."""


def decoded(decoder: Decodes[Any], *pieces: bytes) -> list[Any]:
    """All messages of `pieces`; a fault ends them, as its code. Runs of messages are flattened."""
    messages: list[Any] = []
    for piece in pieces:
        try:
            for message in decoder.feed(piece):
                messages.extend(message if isinstance(message, list | tuple) else [message])
        except PeerFault as fault:
            return [*messages, fault.code]
    return messages


def assert_cuts_alike(make: Callable[[], Decodes[Any]], image: bytes) -> list[Any]:
    """Hold that `image` gives the same messages whole, byte by byte and cut in two at every place."""
    whole = decoded(make(), image)
    ways = {"byte by byte": [image[i : i + 1] for i in range(len(image))]}
    ways |= {f"cut at {i}": [image[:i], image[i:]] for i in range(len(image) + 1)}
    for way, pieces in ways.items():
        if (found := decoded(make(), *pieces)) != whole:
            raise AssertionError(f"{way}: {found} is not {whole}, for {image!r}")
    return whole
