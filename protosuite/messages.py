"""Messages that are JSON objects: attrs classes whose fields say what they may hold. Pure.

The field ``type`` names the class. Fields that a class does not have are for a later version of its
protocol, and are passed over.
"""

from __future__ import annotations

import functools
import json
import json.scanner
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import attrs
import msgspec

from protosuite.errors import PeerFault

M = TypeVar("M")
S = TypeVar("S", bound=msgspec.Struct)
Check = Callable[[Any], bool]
Rule = tuple[Check, str]  # and what it allows, to end a sentence with


def checked(rule: Rule, **options: Any) -> Any:
    """An attribute of a message. One that has a default may be left out."""
    return attrs.field(metadata={"rule": rule}, **options)


def integer(minimum: int, maximum: int) -> Rule:
    """A whole number within bounds, both included."""

    def check(value: Any) -> bool:
        return type(value) is int and minimum <= value <= maximum  # bool is an int to isinstance

    return check, f"a whole number from {minimum} to {maximum}"


def name(longest: int) -> Rule:
    """A name that is safe wherever it goes."""
    pattern = re.compile(f"[A-Za-z0-9._-]{{1,{longest}}}")

    def check(value: Any) -> bool:
        return isinstance(value, str) and pattern.fullmatch(value) is not None

    return check, f"1 to {longest} of A-Z a-z 0-9 . _ -"


def characters(longest: int, shortest: int = 1, *, lines: bool = False) -> Rule:
    r"""Text of so many characters, none of them a control character; with `lines`, \\n and \\t may be there.

    Surrogates are refused: JSON can hold half a pair, which no UTF-8 can.
    """
    forbidden = re.compile(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]" if lines else "[\x00-\x1f\x7f-\x9f\ud800-\udfff]"
    )

    def check(value: Any) -> bool:
        return isinstance(value, str) and shortest <= len(value) <= longest and not forbidden.search(value)

    without = "control characters but tab and newline" if lines else "control characters"
    return check, f"text of {shortest} to {longest} characters, without {without} and lone surrogates"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not _SURROGATE.search(value)


_SURROGATE = re.compile("[\ud800-\udfff]")
ANY_TEXT: Rule = (_is_text, "text")


# JSON in UTF-8 without white space, as JavaScript's JSON.stringify writes it.
to_json = msgspec.json.Encoder().encode


def write(message: Any, kind: str) -> bytes:
    """A message as JSON. Fields that are None are left out."""
    fields = {"type": kind}
    for name in _names(type(message)):  # type: ignore[arg-type] # a class is hashable
        if (value := getattr(message, name)) is not None:
            fields[name] = value
    return to_json(fields)


@functools.cache
def _names(cls: type[Any]) -> Sequence[str]:
    return tuple(field.name for field in attrs.fields(cls))


def read(data: bytes | str) -> dict[str, Any]:
    """The fields of an object; :exc:`PeerFault` ``bad-json`` if `data` is none."""
    try:
        text = data if isinstance(data, str) else data.decode()
        if text[:1] == "{" and text[-1:] == "}":
            fields, end = _scan(text, 0)  # 0.7 µs less than to look for white space around it
            if end < len(text):
                raise ValueError("more than one value")
        else:
            fields = _DECODER.decode(text)
    except (ValueError, StopIteration, RecursionError):  # not UTF-8, not JSON, or nested without end
        raise PeerFault("bad-json", "a message is not JSON in UTF-8") from None
    if not isinstance(fields, dict):
        raise PeerFault("bad-json", "a message is not a JSON object")
    return fields


def _no_number(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_number)
# A value, and where it ends; StopIteration where there is none.
_scan: Callable[[str, int], tuple[Any, int]] = json.scanner.make_scanner(_DECODER)  # type: ignore[arg-type]


_ODD = re.compile("[\x80-\x9f\ud800-\udfff]")  # control characters and surrogates beyond ASCII


class Plain(Generic[S]):
    """Reads messages of one class where it is plain to see that they are right: nearly all, of most clients.

    JSON without an escape holds no control characters but those that can be seen in it, and none of the first
    32. What else there is to look at, `struct` says, the type of the message among it: 0.4 µs, and 2 by
    :func:`read` and a rule a field.
    """

    def __init__(self, struct: type[S]) -> None:
        self._decode = msgspec.json.Decoder(struct).decode

    def read(self, text: str) -> S | None:
        """The message; None if it has to be looked at closely, be it right or wrong."""
        if "\\" in text or "\x7f" in text or (not text.isascii() and _ODD.search(text)):
            return None
        try:
            return self._decode(text)
        except (msgspec.MsgspecError, RecursionError):
            return None


def build(fields: Mapping[str, Any], types: Mapping[str, type[M]]) -> M:
    """The message that `fields` are, which is one of `types`.

    Raises :exc:`PeerFault`: ``unknown-type``, or ``bad-field`` with the field and what it may be.
    """
    kind = fields.get("type")
    cls = types.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise PeerFault("unknown-type", "the type of a message must be one of " + ", ".join(types))
    return make(cls, str(kind), fields)


def make(cls: type[M], kind: str, fields: Mapping[str, Any]) -> M:
    """The message of one class that `fields` are, called `kind`.

    Raises :exc:`PeerFault` ``bad-field``. An attribute without a rule is not part of a message.
    """
    values = {}
    for field, check, allowed, may_lack in _rules(cls):  # type: ignore[arg-type] # a class is hashable
        value = fields.get(field)
        if value is None and may_lack:
            continue
        if not check(value):
            raise PeerFault("bad-field", f"{field} of {kind} must be {allowed}")
        values[field] = value
    return cls(**values)


@functools.cache
def _rules(cls: type[Any]) -> Sequence[tuple[str, Check, str, bool]]:
    """Of each field its name, its rule, and whether it may be left out. Kept: attrs takes 3 µs to tell."""
    return tuple(
        (field.name, *field.metadata["rule"], field.default is not attrs.NOTHING)
        for field in attrs.fields(cls)
        if "rule" in field.metadata
    )
