"""The lines of tally/1. Pure: no I/O, no clock."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import frozen

from protosuite.extending import PeerFault

MAX_LINE = 2200  # bytes; a token is at most 2,048

_CHOICE = re.compile(r"[a-z0-9-]{1,32}")


@frozen
class Token:
    """Who this is."""

    text: str


@frozen
class Vote:
    """One more for a choice."""

    choice: str


@frozen
class Show:
    """How many are there for each?"""


Message = Token | Vote | Show


def encode_votes(choice: str, votes: int) -> bytes:
    """How many there are for a choice."""
    return f"votes {choice} {votes}\n".encode("ascii")


END = b"end\n"


def encode_error(fault: PeerFault) -> bytes:
    """Why the server closes."""
    return f"error {fault.code} {fault.message}\n".encode("ascii", "replace")


class Decoder:
    """Bytes in, messages out, however the bytes are cut. Keeps less than a line."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def is_within_line(self) -> bool:
        """Whether a line has been begun and not ended."""
        return bool(self._rest)

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that `data` completes. Raises :exc:`PeerFault` at what is none."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield _decode(line)
        if len(self._rest) > MAX_LINE:
            raise PeerFault("too-long", f"a line is at most {MAX_LINE} bytes")


def _decode(line: bytes) -> Message:
    if len(line) > MAX_LINE:
        raise PeerFault("too-long", f"a line is at most {MAX_LINE} bytes")
    match line.decode("ascii", "replace").removesuffix("\r").split(" "):
        case ["token", text]:
            return Token(text)
        case ["vote", choice] if _CHOICE.fullmatch(choice):
            return Vote(choice)
        case ["show"]:
            return Show()
    raise PeerFault("bad-message", "a line is: token TOKEN, vote CHOICE, or show")
