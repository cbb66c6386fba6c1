"""The frames of counter/1: 16-byte requests, 8-byte replies. Pure: no I/O, no clock."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from xxhash import xxh64_intdigest

from protosuite.errors import PeerFault

MAX = 2**64 - 1  # the largest increment, and the largest total
REQUEST_SIZE = 16
REPLY_SIZE = 8

_REQUEST = struct.Struct(">QQ")
_REPLY = struct.Struct(">Q")


def encode_request(increment: int) -> bytes:
    """A request to add `increment` (0 … 2^64 − 1): the number, then XXH64 of it in decimal ASCII."""
    return _REQUEST.pack(increment, xxh64_intdigest(b"%d" % increment))


def encode_replies(totals: Sequence[int]) -> bytes:
    """The replies to as many requests, in one piece."""
    return struct.pack(f">{len(totals)}Q", *totals)


def encode_each(totals: Iterable[int]) -> Iterator[bytes]:
    """The replies to as many requests, one by one."""
    return map(_REPLY.pack, totals)


def decode_request(request: bytes) -> int:
    """The increment of a whole request, or -1 if its hash is not that of the increment."""
    increment: int
    increment, digest = _REQUEST.unpack(request)
    return increment if xxh64_intdigest(b"%d" % increment) == digest else -1


def decode_requests(requests: bytes) -> list[int]:
    """The increments of whole requests, as far as the first whose hash is not that of its increment."""
    pairs = _REQUEST.iter_unpack(requests)
    increments = [increment for increment, digest in pairs if xxh64_intdigest(b"%d" % increment) == digest]
    if len(increments) * REQUEST_SIZE == len(requests):
        return increments
    pieces = (requests[at : at + REQUEST_SIZE] for at in range(0, len(requests), REQUEST_SIZE))
    return list(takewhile(lambda increment: increment >= 0, map(decode_request, pieces)))


class RequestDecoder:
    """Bytes in, increments out, however the bytes are cut. Keeps at most 15 bytes."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def is_within_frame(self) -> bool:
        """Whether a frame has been begun and not finished."""
        return bool(self._rest)

    def feed(self, data: bytes) -> Iterator[Sequence[int]]:
        """The increments that `data` completes, as one run.

        Raises :exc:`PeerFault` at the first frame whose hash is not that of its increment, after the run
        of the frames before it.
        """
        if self._rest:
            data = self._rest + data
        whole = len(data) & -REQUEST_SIZE
        self._rest = data[whole:]
        increments = decode_requests(data[:whole])
        if increments:
            yield increments
        if len(increments) * REQUEST_SIZE < whole:
            self._rest = b""
            raise PeerFault("bad-hash", "a frame's hash is not that of its increment")


class ReplyDecoder:
    """Bytes in, totals out, however the bytes are cut. Keeps at most 7 bytes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Sequence[int]]:
        """The totals that `data` completes, as one run."""
        data = self._rest + data
        count, rest = divmod(len(data), REPLY_SIZE)
        self._rest = data[len(data) - rest :]
        if count:
            yield struct.unpack_from(f">{count}Q", data)
