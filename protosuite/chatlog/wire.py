"""The messages of chatlog.v1: one JSON object a WebSocket text message. Pure: no I/O, no clock."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from attrs import define, frozen
from msgspec import UNSET, Meta, Struct, UnsetType

from protosuite.errors import PeerFault
from protosuite.messages import (
    ANY_TEXT,
    Plain,
    build,
    characters,
    checked,
    integer,
    name,
    read,
    to_json,
    write,
)

SUBPROTOCOL = "chatlog.v1"
MAX_CONTENT = 16_384  # characters
MAX_NAME = 64  # characters of an author, and of a key
DEFAULT_ROOM = "main"
_EXACT = 2**53 - 1  # the largest whole number that JavaScript has exactly

_ROOM = name(64)
_HEXADECIMAL = re.compile("[0-9a-f]{32}")
_HASH = (
    lambda value: isinstance(value, str) and _HEXADECIMAL.fullmatch(value) is not None,
    "32 hexadecimal digits",
)
_SLOT = integer(0, _EXACT)


def is_room(value: object) -> bool:
    """Whether `value` may name a room: 1–64 of ``A-Za-z0-9._-``."""
    return _ROOM[0](value)


@define  # to make a frozen one takes twice as long
class ClientAppend:
    """Append an entry. `seq` is 0 for the first of a connection; `key` makes a retry harmless."""

    seq: int = checked(integer(0, _EXACT))
    author: str = checked(characters(MAX_NAME))
    content: str = checked(characters(MAX_CONTENT, lines=True))
    key: str | None = checked(characters(MAX_NAME), default=None)


@frozen
class ClientUpdate:
    """Send the `n` slots up to and including `upto`, or those up to the latest if it is -1."""

    n: int = checked(integer(1, _EXACT))
    upto: int = checked(integer(-1, _EXACT))


@frozen
class Entry:
    """A committed entry. `at` is in milliseconds since the epoch, `hash` that of :mod:`.chain`."""

    slot: int = checked(integer(1, _EXACT))
    author: str = checked(ANY_TEXT)
    content: str = checked(ANY_TEXT)
    at: int = checked(integer(-_EXACT, _EXACT))
    session: str = checked(ANY_TEXT)
    seq: int = checked(integer(0, _EXACT))
    key: str | None = checked(ANY_TEXT, default=None)
    hash: str = checked(_HASH, kw_only=True)


@frozen
class ServerAck:
    """`entry` is committed."""

    entry: Entry


@frozen
class ServerReply:
    """The answer to a :class:`ClientUpdate`: `entries` in slot order.

    `latest` is the highest slot there is, 0 in an empty room, and `first` the lowest that is still held.
    `session` is what the entries of this connection carry.
    """

    entries: tuple[Entry, ...]
    latest: int
    first: int
    epoch: str
    session: str


@frozen
class Error:
    """What was refused, and which append it was, if it was one."""

    code: str = checked(ANY_TEXT)
    message: str = checked(ANY_TEXT)
    seq: int | None = checked(integer(0, _EXACT), default=None)


@frozen
class Refused:
    """A client's message that is refused, as the :class:`Error` that it gets. Its `seq` is used up."""

    error: Error


_CLIENT: Mapping[str, type[ClientAppend | ClientUpdate]] = {
    "ClientAppend": ClientAppend,
    "ClientUpdate": ClientUpdate,
}
_ENTRY: Mapping[str, type[Entry]] = {"entry": Entry}
_ERROR: Mapping[str, type[Error]] = {"Error": Error}


class _PlainAppend(Struct, gc=False):
    """A :class:`ClientAppend` as nearly all are."""

    type: Literal["ClientAppend"]
    seq: Annotated[int, Meta(ge=0, le=_EXACT)]
    author: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
    content: Annotated[str, Meta(min_length=1, max_length=MAX_CONTENT)]
    key: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)] | None = None


class _Sent(Struct, gc=False):
    """An :class:`Entry` as it is sent."""

    slot: int
    author: str
    content: str
    at: int
    session: str
    seq: int
    key: str | UnsetType  # what is unset is left out
    hash: str


_PLAIN = Plain(_PlainAppend)


def from_client(text: str) -> ClientAppend | ClientUpdate | Refused:
    """What a client says."""
    plain = _PLAIN.read(text)
    if plain is not None:
        return ClientAppend(plain.seq, plain.author, plain.content, plain.key)
    fields: Mapping[str, Any] = {}
    try:
        fields = read(text)
        return build(fields, _CLIENT)
    except PeerFault as fault:
        seq = fields.get("seq")
        is_known = fields.get("type") == "ClientAppend" and _SLOT[0](seq)
        return Refused(Error(fault.code, fault.message, seq if is_known else None))


def to_server(message: ClientAppend | ClientUpdate) -> bytes:
    """A client's message as it goes over the wire."""
    return write(message, type(message).__name__)


def encode_entry(
    slot: int, author: str, content: str, at: int, session: str, seq: int, key: str | None, hash: str
) -> bytes:
    """What an entry has, to be put into any number of messages."""
    return to_json(_Sent(slot, author, content, at, session, seq, UNSET if key is None else key, hash))


def encode_ack(entry: bytes) -> bytes:
    """A ServerAck of an encoded entry."""
    return b'{"type":"ServerAck","entry":' + entry + b"}"


def encode_reply(entries: Iterable[bytes], latest: int, first: int, epoch: str, session: str) -> bytes:
    """A ServerReply of encoded entries."""
    rest = f'],"latest":{latest},"first":{first},"epoch":"{epoch}","session":"{session}"}}'
    return b'{"type":"ServerReply","entries":[' + b",".join(entries) + rest.encode()


def encode_error(error: Error) -> bytes:
    """An Error as it goes over the wire."""
    return write(error, "Error")


def from_server(text: str) -> ServerAck | ServerReply | Error:
    """What a server says; :exc:`PeerFault` if it makes no sense."""
    fields = read(text)
    kind = fields.get("type")
    if kind == "ServerAck":
        return ServerAck(_entry(fields.get("entry")))
    if kind == "ServerReply":
        entries = fields.get("entries")
        if not isinstance(entries, list):
            raise PeerFault("bad-field", "entries of ServerReply must be a list")
        latest, first = fields.get("latest"), fields.get("first")
        epoch, session = fields.get("epoch"), fields.get("session", "")
        if not (_SLOT[0](latest) and _SLOT[0](first) and ANY_TEXT[0](epoch) and ANY_TEXT[0](session)):
            raise PeerFault("bad-field", "latest and first of ServerReply must be slots, and epoch text")
        return ServerReply(
            tuple(map(_entry, entries)), int(str(latest)), int(str(first)), str(epoch), str(session)
        )
    return build(fields, _ERROR)


def _entry(fields: Any) -> Entry:
    if not isinstance(fields, dict):
        raise PeerFault("bad-field", "an entry must be an object")
    return build({**fields, "type": "entry"}, _ENTRY)
