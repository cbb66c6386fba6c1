"""``Range``, as RFC 9110 has it."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protosuite.net.ranges import Unsatisfiable, parse


class TableTests(SynchronousTestCase):
    """The cases of the RFC, and what it leaves open."""

    def test_parts(self) -> None:
        """One part, open ends, a suffix, several, those that are not there left out."""
        for header, wanted in (
            ("bytes=0-0", [(0, 0)]),
            ("bytes=0-99", [(0, 99)]),
            ("bytes=90-", [(90, 99)]),
            ("bytes=90-500", [(90, 99)]),
            ("bytes=-10", [(90, 99)]),
            ("bytes=-500", [(0, 99)]),
            ("BYTES = 1-2", [(1, 2)]),
            ("bytes=1-2,5-6", [(1, 2), (5, 6)]),
            ("bytes=5-6 , 1-2", [(5, 6), (1, 2)]),
            ("bytes=1-2,200-300", [(1, 2)]),
            ("bytes=1-2,3-4", [(1, 2), (3, 4)]),
        ):
            self.assertEqual(parse(header, 100), wanted, header)

    def test_the_whole(self) -> None:
        """What is not understood, or would be a burden, is answered with the whole."""
        for header in (
            None,
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=1-2,",
            "bytes=5-1",
            "bytes=+1-2",
            "bytes=١-٢",
            "bytes=1-2-3",
            "lines=1-2",
            "bytes=0-5,5-9",
            "bytes=0-,-1",
            "bytes=" + ",".join(f"{n * 2}-{n * 2}" for n in range(17)),
            "bytes=" + "9" * 20 + "-",
        ):
            self.assertIsNone(parse(header, 100), header)

    def test_nothing_there(self) -> None:
        """A range of which nothing is there is refused; of an empty file that is every one."""
        for header, size in (
            ("bytes=100-", 100),
            ("bytes=200-300", 100),
            ("bytes=-0", 100),
            ("bytes=0-", 0),
            ("bytes=-5", 0),
        ):
            with self.assertRaises(Unsatisfiable, msg=header):
                parse(header, size)


class AnyTests(SynchronousTestCase):
    """Any header."""

    @given(
        st.text(max_size=40) | st.from_regex(r"bytes=(\d{0,3}-\d{0,3},?){1,4}", fullmatch=True),
        st.integers(0, 200),
    )
    @example("bytes=0-0,-1", 1)
    def test_within(self, header: str, size: int) -> None:
        """R13: parts are within the file, and do not overlap."""
        try:
            parts = parse(header, size) or []
        except Unsatisfiable:
            return
        seen: set[int] = set()
        for first, last in parts:
            assert 0 <= first <= last < size
            assert not seen & set(range(first, last + 1))
            seen |= set(range(first, last + 1))
