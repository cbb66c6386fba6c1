"""The lines of numbers/1: JSON objects to messages and back. Pure: no I/O, no clock."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
from attrs import frozen

from protosuite.errors import PeerFault

MAX_LINE = 1024  # a start with the longest client id is under 200 bytes
MAX_INDEX = 65_535  # the most numbers in a stream
_CLIENT = re.compile(r"[A-Za-z0-9._-]{1,64}")

Check = Callable[[Any], bool]


def _integer(minimum: int, maximum: int) -> tuple[Check, str]:
    def check(value: Any) -> bool:
        return type(value) is int and minimum <= value <= maximum  # bool is an int to isinstance

    return check, f"a whole number from {minimum} to {maximum}"


def _checked(rule: tuple[Check, str], **options: Any) -> Any:
    return attrs.field(metadata={"rule": rule}, **options)


def is_client_id(value: object) -> bool:
    """Whether `value` may name a client: 1–64 of ``A-Za-z0-9._-``."""
    return isinstance(value, str) and _CLIENT.fullmatch(value) is not None


_ID = (is_client_id, "1 to 64 of A-Z a-z 0-9 . _ -")
_TEXT = (lambda value: isinstance(value, str), "text")
_ADLER = _integer(0, 2**32 - 1)


@frozen
class Start:
    """A client asks for its stream, from `next` on if it says so.

    `max` bounds a new stream's length. `checksum` is the client's own over the numbers before `next`.
    """

    client: str = _checked(_ID)
    max: int | None = _checked(_integer(1, MAX_INDEX), default=None)
    next: int | None = _checked(_integer(0, 2**63 - 1), default=None)
    checksum: int | None = _checked(_ADLER, default=None)


@frozen
class Ack:
    """Every number up to and including `index` has been received."""

    index: int = _checked(_integer(0, 2**63 - 1))


@frozen
class SessionOpened:
    """The stream that follows: `count` numbers in the whole, `next` first, one every `interval_ms`."""

    client: str = _checked(_ID)
    count: int = _checked(_integer(1, MAX_INDEX))
    next: int = _checked(_integer(0, MAX_INDEX))
    interval_ms: int = _checked(_integer(0, 2**53))


@frozen
class Number:
    """The number at `index`."""

    index: int = _checked(_integer(0, MAX_INDEX - 1))
    value: int = _checked(_integer(0, 65_535))


@frozen
class End:
    """The stream is complete: `count` numbers with this Adler-32 `checksum`."""

    count: int = _checked(_integer(1, MAX_INDEX))
    checksum: int = _checked(_ADLER)


@frozen
class Error:
    """What was wrong; the server closes after it."""

    code: str = _checked(_TEXT)
    message: str = _checked(_TEXT)


Message = Start | Ack | SessionOpened | Number | End | Error

CLIENT_MESSAGES: Mapping[str, type[Message]] = {"start": Start, "ack": Ack}
SERVER_MESSAGES: Mapping[str, type[Message]] = {
    "session": SessionOpened,
    "number": Number,
    "end": End,
    "error": Error,
}
_NAMES = {cls: name for name, cls in {**CLIENT_MESSAGES, **SERVER_MESSAGES}.items()}


def encode(message: Message) -> bytes:
    """One line, `\\n` included. Fields that are None are left out."""
    fields = {"type": _NAMES[type(message)]}
    fields |= {f.name: v for f in attrs.fields(type(message)) if (v := getattr(message, f.name)) is not None}
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


class Decoder:
    """Bytes in, messages out, however the bytes are cut.

    `types` are the messages that the other side may send. At most `max_line` + 1 bytes of a line that
    is not complete are kept.
    """

    def __init__(self, types: Mapping[str, type[Message]], max_line: int = MAX_LINE) -> None:
        self._types = types
        self._max_line = max_line
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that `data` completes, each when it is asked for.

        Raises :exc:`PeerFault` at the first line that is wrong, after every message before it.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield self._message(self._bounded(line.removesuffix(b"\r")))
        # A \r at the very end may be the terminator's.
        self._bounded(self._rest.removesuffix(b"\r"))

    def _bounded(self, line: bytes) -> bytes:
        if len(line) > self._max_line:
            self._rest = b""
            raise PeerFault("line-too-long", f"a line has more than {self._max_line} bytes")
        return line

    def _message(self, line: bytes) -> Message:
        try:
            fields = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):  # not UTF-8, not JSON, or nested without end
            raise PeerFault("bad-json", "a line is not JSON in UTF-8") from None
        if not isinstance(fields, dict):
            raise PeerFault("bad-json", "a line is not a JSON object")
        name = fields.get("type")
        cls = self._types.get(name) if isinstance(name, str) else None
        if cls is None:
            raise PeerFault("unknown-type", "the type of a message must be one of " + ", ".join(self._types))
        return cls(**dict(_values(cls, fields)))


def _values(cls: type[Message], fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The message's own fields, checked. Fields that it does not have are for a later version."""
    for field in attrs.fields(cls):
        value = fields.get(field.name)
        check, allowed = field.metadata["rule"]
        if value is None and field.default is None:
            continue
        if not check(value):
            raise PeerFault("bad-field", f"{field.name} of {_NAMES[cls]} must be {allowed}")
        yield field.name, value
