"""The lines of numbers/1: JSON objects to messages and back. Pure: no I/O, no clock."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from attrs import frozen

from protosuite.errors import PeerFault
from protosuite.messages import ANY_TEXT, build, characters, checked, integer, name, read, write

MAX_LINE = 1024  # a start with the longest client id is under 200 bytes
MAX_INDEX = 65_535  # the most numbers in a stream

_ID = name(64)
_TOKEN = characters(2048)
_ADLER = integer(0, 2**32 - 1)


def is_client_id(value: object) -> bool:
    """Whether `value` may name a client: 1–64 of ``A-Za-z0-9._-``."""
    return _ID[0](value)


@frozen
class Start:
    """A client asks for its stream, from `next` on if it says so.

    `max` bounds a new stream's length. `checksum` is the client's own over the numbers before `next`.
    `token` says who it is, where the server asks.
    """

    client: str = checked(_ID)
    max: int | None = checked(integer(1, MAX_INDEX), default=None)
    next: int | None = checked(integer(0, 2**63 - 1), default=None)
    checksum: int | None = checked(_ADLER, default=None)
    token: str | None = checked(_TOKEN, default=None, repr=False)


@frozen
class Ack:
    """Every number up to and including `index` has been received."""

    index: int = checked(integer(0, 2**63 - 1))


@frozen
class SessionOpened:
    """The stream that follows: `count` numbers in the whole, `next` first, one every `interval_ms`."""

    client: str = checked(_ID)
    count: int = checked(integer(1, MAX_INDEX))
    next: int = checked(integer(0, MAX_INDEX))
    interval_ms: int = checked(integer(0, 2**53))


@frozen
class Number:
    """The number at `index`."""

    index: int = checked(integer(0, MAX_INDEX - 1))
    value: int = checked(integer(0, 65_535))


@frozen
class End:
    """The stream is complete: `count` numbers with this Adler-32 `checksum`."""

    count: int = checked(integer(1, MAX_INDEX))
    checksum: int = checked(_ADLER)


@frozen
class Error:
    """What was wrong; the server closes after it."""

    code: str = checked(ANY_TEXT)
    message: str = checked(ANY_TEXT)


Message = Start | Ack | SessionOpened | Number | End | Error

CLIENT_MESSAGES: Mapping[str, type[Message]] = {"start": Start, "ack": Ack}
SERVER_MESSAGES: Mapping[str, type[Message]] = {
    "session": SessionOpened,
    "number": Number,
    "end": End,
    "error": Error,
}
_PLAIN_ACK = re.compile(rb'\{"type":"ack","index":(0|[1-9][0-9]{0,9})\}\r?')
_NAMES = {cls: name for name, cls in {**CLIENT_MESSAGES, **SERVER_MESSAGES}.items()}


def encode(message: Message) -> bytes:
    """One line, `\\n` included. Fields that are None are left out."""
    if type(message) is Number:  # nearly all of them are: a twentieth of the time that it takes below
        return b'{"type":"number","index":%d,"value":%d}\n' % (message.index, message.value)
    return write(message, _NAMES[type(message)]) + b"\n"


class Decoder:
    """Bytes in, messages out, however the bytes are cut.

    `types` are the messages that the other side may send. At most `max_line` + 1 bytes of a line that
    is not complete are kept.
    """

    def __init__(self, types: Mapping[str, type[Message]], max_line: int = MAX_LINE) -> None:
        self._types = types
        self._max_line = max_line
        self._rest = b""

    @property
    def is_within_line(self) -> bool:
        """Whether a line has been begun and not ended."""
        return bool(self._rest)

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that `data` completes, each when it is asked for.

        Raises :exc:`PeerFault` at the first line that is wrong, after every message before it.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            # Nearly all lines of clients are this one; it is what comes out below, in a sixth of the time.
            plain = _PLAIN_ACK.fullmatch(line) if len(line) <= self._max_line else None
            if plain is not None and "ack" in self._types:
                yield Ack(int(plain[1]))
                continue
            yield build(read(self._bounded(line.removesuffix(b"\r"))), self._types)
        # A \r at the very end may be the terminator's.
        self._bounded(self._rest.removesuffix(b"\r"))

    def _bounded(self, line: bytes) -> bytes:
        if len(line) > self._max_line:
            self._rest = b""
            raise PeerFault("line-too-long", f"a line has more than {self._max_line} bytes")
        return line
