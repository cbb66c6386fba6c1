"""The frames and the arithmetic of counter/1."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protosuite.counter.ledger import Ledger
from protosuite.counter.wire import (
    MAX,
    ReplyDecoder,
    RequestDecoder,
    decode_request,
    encode_replies,
    encode_request,
)
from protosuite.testing import assert_cuts_alike, decoded

UINT64 = st.integers(0, MAX)

# The frames that the contract lists.
FRAMES = {
    0: "0000000000000000 633457081244afec",
    1: "0000000000000001 b7b41276360564d4",
    10: "000000000000000a 4b48550ea3b07f17",
    255: "00000000000000ff d5ce07e01f4f0ec2",
    123456789: "00000000075bcd15 8cb841db40e6ae83",
    7016996765293437281: "6161616161616161 588f55d90f147231",
    MAX: "ffffffffffffffff 8d1f8f6d8dfa7c47",
}


class WireTests(SynchronousTestCase):
    """Bytes to increments, totals to bytes."""

    def test_the_contracts_frames(self) -> None:
        """Each frame that the contract lists is what is encoded, and is decoded."""
        for amount, text in FRAMES.items():
            frame = bytes.fromhex(text)
            self.assertEqual(encode_request(amount), frame)
            self.assertEqual(assert_cuts_alike(RequestDecoder, frame), [amount])

    @given(st.lists(UINT64, max_size=6))
    def test_round_trip(self, amounts: list[int]) -> None:
        """R12: requests and replies come out as they went in, however they are cut."""
        requests = b"".join(map(encode_request, amounts))
        self.assertEqual(assert_cuts_alike(RequestDecoder, requests), amounts)
        self.assertEqual(assert_cuts_alike(ReplyDecoder, encode_replies(amounts)), amounts)

    @given(st.lists(UINT64, max_size=3), st.binary(max_size=40))
    def test_any_bytes_behind_good_frames(self, amounts: list[int], tail: bytes) -> None:
        """R12, R13: the good frames are delivered, whatever follows, and every cut gives the same."""
        image = b"".join(map(encode_request, amounts)) + tail
        self.assertEqual(assert_cuts_alike(RequestDecoder, image)[: len(amounts)], amounts)

    @given(UINT64, st.integers(0, 127))
    def test_any_flipped_bit_is_refused(self, amount: int, bit: int) -> None:
        """A frame with one bit changed is not a frame."""
        frame = int.from_bytes(encode_request(amount), "big") ^ (1 << bit)
        self.assertEqual(decoded(RequestDecoder(), frame.to_bytes(16, "big")), ["bad-hash"])

    def test_frames_behind_a_bad_one_are_not_read(self) -> None:
        """Nothing behind a tampered frame counts."""
        image = encode_request(1) + b"x" * 16 + encode_request(2)
        self.assertEqual(assert_cuts_alike(RequestDecoder, image)[:2], [1, "bad-hash"])

    def test_text_is_no_number(self) -> None:
        """Eight letters and a hash of themselves are refused: the hash is over decimal digits."""
        self.assertEqual(decoded(RequestDecoder(), b"aaaaaaaa" * 2), ["bad-hash"])

    @given(UINT64, st.integers(0, 127))
    def test_a_whole_request(self, amount: int, bit: int) -> None:
        """R12: one whole request is its increment; a tampered one is none."""
        request = encode_request(amount)
        self.assertEqual(decode_request(request), amount)
        tampered = int.from_bytes(request, "big") ^ (1 << bit)
        self.assertEqual(decode_request(tampered.to_bytes(16, "big")), -1)

    def test_within_a_frame(self) -> None:
        """The decoder says whether a frame has been begun."""
        decoder = RequestDecoder()
        image = encode_request(0) * 3
        for begin, end, within in (
            (0, 1, True),
            (1, 15, True),
            (15, 16, False),
            (16, 33, True),
            (33, 48, False),
        ):
            list(decoder.feed(image[begin:end]))
            self.assertEqual(decoder.is_within_frame, within)


class LedgerTests(SynchronousTestCase):
    """What increments make of the total."""

    @given(UINT64, st.lists(st.lists(UINT64 | st.integers(0, 9), max_size=5), max_size=5))
    def test_against_a_model(self, total: int, runs: list[list[int]]) -> None:
        """Runs give what adding one by one gives, up to the first that would pass 2^64 − 1."""
        ledger = Ledger(total)
        for run in runs:
            expected = []
            for amount in run:
                if total + amount > MAX:
                    break
                total += amount
                expected.append(total)
            totals, fault = ledger.apply(run)
            self.assertEqual(totals, expected)
            self.assertEqual(fault is not None, len(expected) < len(run))
            self.assertEqual(ledger.total, total)

    def test_closed(self) -> None:
        """While nothing can be stored it can be read; the first that adds is refused, and all behind it."""
        ledger = Ledger(5, is_closed=True)
        totals, fault = ledger.apply([0, 0, 1, 0])
        assert fault is not None
        self.assertEqual((totals, fault.code, ledger.total, ledger.requests), ([5, 5], "storage", 5, 2))

    def test_overflow(self) -> None:
        """The last value that fits is reached, the next one is refused and changes nothing."""
        ledger = Ledger(MAX - 2)
        totals, fault = ledger.apply([1, 1, 0, 1, 0])
        self.assertEqual(totals, [MAX - 1, MAX, MAX])
        assert fault is not None
        self.assertEqual((fault.code, ledger.total, ledger.requests), ("overflow", MAX, 3))
        self.assertEqual(ledger.apply([0]), ([MAX], None))

    def test_replies_are_big_endian(self) -> None:
        """A reply is eight bytes, most significant first."""
        self.assertEqual(encode_replies([1, MAX]), struct.pack(">QQ", 1, MAX))
