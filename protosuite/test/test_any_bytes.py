"""Whatever comes, wherever it is read: messages or the one fault, and the same however it is cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protosuite.test.mutation import conversation
from protosuite.test.places import Place, Quiet, Take
from protosuite.test.strangers import PLACES

SEEDS = st.integers(0, 2**32 - 1)
LONGEST = 400  # bytes of an image that is cut at every place


def nearly_right(place: Place) -> st.SearchStrategy[bytes]:
    """Images of a place with some bytes changed."""
    return SEEDS.map(lambda seed: conversation(place.images, Random(seed)))


def hold(name: str, take: Take, strategy: st.SearchStrategy[bytes], examples: int) -> None:
    """Hold what `take` checks for `examples` of what a place called `name` may be sent."""

    @settings(max_examples=examples, deadline=None)
    @given(strategy)
    def check(data: bytes) -> None:
        with Quiet():
            take(data)

    try:
        check()
    except Exception as error:
        error.add_note(f"at {name}")
        raise


def ways(data: bytes) -> Iterator[list[bytes]]:
    """`data` byte by byte, and in two pieces with every place between them."""
    yield [data[i : i + 1] for i in range(len(data))]
    for i in range(len(data) + 1):
        yield [data[:i], data[i:]]


class AnyBytesTests(SynchronousTestCase):
    """Each place at which bytes of others are read."""

    def opened(self, place: Place) -> Take:
        """What reads there."""
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        return place.open(folder)

    def test_as_they_should_be(self) -> None:
        """R13: what each place is made for is read without a fault of ours."""
        for place in PLACES.values():
            take = self.opened(place)
            with Quiet():
                for image in place.images:
                    take(image)

    def test_any_bytes(self) -> None:
        """R13: any bytes give messages or the one fault, and what comes of that keeps its rules."""
        for name, place in PLACES.items():
            hold(name, self.opened(place), st.binary(max_size=300), 10 if place.is_slow else 60)

    def test_bytes_that_are_nearly_right(self) -> None:
        """R13: so do good bytes with some of them changed."""
        for name, place in PLACES.items():
            hold(name, self.opened(place), nearly_right(place), 12 if place.is_slow else 60)

    def test_any_cut(self) -> None:
        """R12: each stream gives the same whole, byte by byte and cut at every place."""
        streams = {name: place for name, place in PLACES.items() if place.run is not None}
        self.assertEqual(len(streams), 12)
        for name, place in streams.items():
            assert place.run is not None
            for image in place.images:
                data = image[:LONGEST] + b"\xff" + image[:9]
                whole = place.run([data])
                for pieces in ways(data):
                    self.assertEqual(place.run(pieces), whole, (name, pieces))
