"""The frames of mediachat.v1, both ways. Pure: no I/O, no clock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from attrs import asdict, define, frozen
from msgspec import UNSET, Meta, Struct, UnsetType

from protosuite.hours import Hours, Zone
from protosuite.messages import (
    ANY_TEXT,
    Plain,
    Rule,
    build,
    characters,
    checked,
    integer,
    make,
    read,
    to_json,
    write,
)

SUBPROTOCOL = "mediachat.v1"
MAX_TEXT = 16_384  # characters
MAX_KEY = 64  # characters
KINDS = ("voice", "video", "image", "file")
_EXACT = 2**53 - 1  # the largest whole number that JavaScript has exactly

_SHA256 = re.compile("[0-9a-f]{64}")


def _one_of(*words: str) -> Rule:
    return (lambda value: isinstance(value, str) and value in words), "one of " + ", ".join(words)


TEXT = characters(MAX_TEXT, lines=True)
_is_text, _ = TEXT
NAME = characters(255)
KIND = _one_of(*KINDS)
_HASH: Rule = (
    lambda value: isinstance(value, str) and _SHA256.fullmatch(value) is not None,
    "64 hexadecimal digits in lower case",
)


@frozen
class Hello:
    """Who opens a connection says where it is; as JSON also what it has, and how it wants media.

    `is_plain`: the time zone alone, without JSON. Such a client's texts are plain too.
    """

    timezone: str = checked(ANY_TEXT)
    after: int | None = checked(integer(0, _EXACT), default=None)
    media: str = checked(_one_of("inline", "link"), default="link")
    is_plain: bool = False


@define  # to make a frozen one takes twice as long
class Text:
    """A text message; `key` makes a retry harmless."""

    text: str = checked(TEXT)
    key: str | None = checked(characters(MAX_KEY), default=None)


@frozen
class Cancel:
    """The upload that is under way ends here; what came of it stays resumable if it has a name."""


@frozen
class Head:
    """The beginning of a media message of `size` bytes. `upload` is a name to go on under after a break."""

    name: str = checked(NAME)
    size: int = checked(integer(0, _EXACT))
    kind: str = checked(KIND)
    type: str | None = checked(characters(255), default=None)
    sha256: str | None = checked(_HASH, default=None)
    upload: str | None = checked(characters(64), default=None)


@frozen
class Status:
    """What became of something the client sent.

    `status` is ``saved``, ``discarded``, ``ready`` or ``error``; `key` and `upload` say of what, where
    it had one.
    """

    status: str = checked(_one_of("saved", "discarded", "ready", "error"))
    message: int | None = checked(integer(1, _EXACT), default=None)
    offset: int | None = checked(integer(0, _EXACT), default=None)
    code: str | None = checked(ANY_TEXT, default=None)
    detail: str | None = checked(ANY_TEXT, default=None)
    next_open_at: int | None = checked(integer(0, _EXACT), default=None)
    key: str | None = checked(ANY_TEXT, default=None)
    upload: str | None = checked(ANY_TEXT, default=None)


@frozen
class FromDesk:
    """A text that was said to the client."""

    id: int = checked(integer(1, _EXACT))
    text: str = checked(ANY_TEXT)
    at: int = checked(integer(0, _EXACT))


@frozen
class MediaFromDesk:
    """A media message to the client; where media are inline, binary frames with its bytes follow."""

    id: int = checked(integer(1, _EXACT))
    name: str = checked(ANY_TEXT)
    kind: str = checked(KIND)
    size: int = checked(integer(0, _EXACT))
    sha256: str = checked(_HASH)
    url: str = checked(ANY_TEXT)
    at: int = checked(integer(0, _EXACT))


class _PlainText(Struct, gc=False):
    """A :class:`Text` as nearly all are."""

    type: Literal["text"]
    text: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
    key: Annotated[str, Meta(min_length=1, max_length=MAX_KEY)] | None = None


class _Stored(Struct, tag_field="type", tag="status", gc=False):
    """A :class:`Status` as most texts are answered."""

    status: str
    message: int
    key: str | UnsetType  # what is unset is left out


_PLAIN = Plain(_PlainText)

ToClient = Status | FromDesk | MediaFromDesk

_SPOKEN: Mapping[str, type[Text | Cancel]] = {"text": Text, "cancel": Cancel}
_TO_CLIENT: Mapping[str, type[ToClient]] = {"status": Status, "message": FromDesk, "media": MediaFromDesk}
_KINDS_TO_CLIENT = {cls: kind for kind, cls in _TO_CLIENT.items()}


def hello(text: str) -> Hello:
    """The first frame of a client: a time zone, or an object. :exc:`PeerFault` for anything else."""
    if not text.lstrip().startswith("{"):
        return Hello(text.strip(), media="inline", is_plain=True)
    return make(Hello, "hello", read(text))


def spoken(text: str, is_plain: bool) -> Text | Cancel:
    """A text frame after the first. :exc:`PeerFault` if it is none."""
    if not is_plain:
        plain = _PLAIN.read(text)
        return build(read(text), _SPOKEN) if plain is None else Text(plain.text, plain.key)
    return Text(text) if _is_text(text) else make(Text, "text", {"text": text})  # which says what is wrong


def head(data: bytes) -> Head:
    """A binary frame that begins a media message. :exc:`PeerFault` if it does not."""
    return make(Head, "a media message", read(data))


def encode(message: ToClient) -> bytes:
    """A message to a client as a text frame's bytes."""
    return write(message, _KINDS_TO_CLIENT[type(message)])


def encode_stored(status: str, id: int, key: str | None) -> bytes:
    """``Status(status, id, key=key)``, encoded: that of most texts, in a tenth of the time."""
    return to_json(_Stored(status, id, UNSET if key is None else key))


def encode_welcome(chat_id: int, after: int, hours: Mapping[str, Hours], zone: Zone, now: int) -> bytes:
    """What a client that opened with an object is told first: its chat, and what is taken when.

    `after` is the message behind which it is told what the desk says.
    """
    kinds = {
        kind: {
            "hours": str(each),
            "open": each.is_open(now, zone),
            "next_open_at": each.next_open(now, zone),
        }
        for kind, each in hours.items()
    }
    return to_json({"type": "welcome", "chat": chat_id, "after": after, "hours": kinds})


def from_server(text: str) -> ToClient | dict[str, Any]:
    """What a server says; an object of a type that is not known here stays one."""
    fields = read(text)
    kind = fields.get("type")
    return build(fields, _TO_CLIENT) if isinstance(kind, str) and kind in _TO_CLIENT else fields


def encode_hello(message: Hello) -> bytes:
    """A client's first frame."""
    if message.is_plain:
        return message.timezone.encode()
    fields = {"timezone": message.timezone, "after": message.after, "media": message.media}
    return to_json({name: value for name, value in fields.items() if value is not None})


CANCEL = b'{"type":"cancel"}'


def encode_text(message: Text) -> bytes:
    """A text message of a client that opened with an object."""
    return write(message, "text")


def encode_head(message: Head) -> bytes:
    """The binary frame that begins a media message."""
    return to_json(asdict(message, filter=lambda _, value: value is not None))
