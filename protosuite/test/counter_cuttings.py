"""Requests of the counter, cut in any way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from protosuite.counter.wire import MAX, encode_request

# Amounts, None for a tampered request; where they are cut; whether nothing can be stored.
any_requests = given(
    st.lists(st.integers(0, 9) | st.just(MAX) | st.none(), min_size=1, max_size=6),
    st.sets(st.integers(1, 95)),
    st.booleans(),
)


def cuttings(amounts: Sequence[int | None], cuts: set[int]) -> Iterator[list[bytes]]:
    """The requests in one piece, each in one, and cut as told."""
    image = b"".join(b"x" * 16 if amount is None else encode_request(amount) for amount in amounts)
    for edges in ((), range(16, len(image), 16), sorted(cut for cut in cuts if cut < len(image))):
        yield [image[start:end] for start, end in pairwise((0, *edges, len(image)))]
