"""Bytes that are nearly right: good ones changed at random, so that a seed gives the same again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random

# What parsers trip over: limits of lengths, ends of lines, text that is no UTF-8, nesting without end.
TRAPS = (
    *(b"\x00", b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff\xff\xff\xff\x0f"),
    *(b"\n", b"\r\n", b"\r\n\r\n", b"\x85", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\xf0\x9f", b"\xc0\x80"),
    *(b"-1", b"0", b"1e400", b"9" * 30, b"9" * 5000, b"NaN", b"null", b'"\\ud800"', b"{", b"[" * 5000, b"]"),
    *(b"../", b"%2e%2e%2f", b"%00", b"A" * 2000),
)

# What a field of a JSON object may hold, and what it may not.
VALUES: tuple[object, ...] = (
    *(None, True, False, 0, -1, 1, 3, 1.0, 1.5, float("inf"), 2**31, 2**53 - 1, 2**53, 2**63, 10**40),
    *(
        "",
        "a",
        "x" * 64,
        "x" * 65,
        "x" * 5000,
        "\x00",
        "a\nb\tc",
        "\x1b[2J",
        "\ud800",
        "grüß \U0001f600",
        "\u2028",
    ),
    *([], [1], {}, {"a": {}}, [[[[]]]], "../x", "<b>", "'--"),
)


def mutated(image: bytes, others: Sequence[bytes], chance: Random) -> bytes:
    """`image` after one change or a few; some put in what `others` have."""
    data = bytearray(image)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice((1, 1, 2, 4, 16, 200)))
        match chance.randrange(8):
            case 0 if data:  # flip a bit
                data[at - 1] ^= 1 << chance.randrange(8)
            case 1 if data:  # another byte
                data[at - 1] = chance.randrange(256)
            case 2:  # cut off
                del data[at:]
            case 3:  # leave out
                del data[at:end]
            case 4:  # say twice
                data[at:at] = data[at:end] * chance.choice((1, 1, 2, 30))
            case 5:  # splice
                other = chance.choice(others)
                begin = chance.randrange(len(other) + 1)
                data[at:end] = other[begin : begin + chance.randrange(100)]
            case 6:
                data[at:at] = chance.choice(TRAPS)
            case 7:
                data[at:end] = chance.choice(TRAPS)
    return bytes(data)


def misfilled(image: bytes, chance: Random) -> bytes:
    """A JSON object with another value in one of its fields, or without one."""
    fields = json.loads(image)
    name = chance.choice(list(fields))
    if chance.randrange(8):
        fields[name] = chance.choice(VALUES)
    else:
        del fields[name]
    return json.dumps(fields).encode()


def conversation(images: Sequence[bytes], chance: Random, longest: int = 6) -> bytes:
    """Some of `images` behind each other, most of them as they are."""
    pieces = [chance.choice(images) for _ in range(chance.randrange(1, longest + 1))]
    changed = chance.randrange(len(pieces))
    pieces[changed] = mutated(pieces[changed], images, chance)
    return b"".join(pieces)
