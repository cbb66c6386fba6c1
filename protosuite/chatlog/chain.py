"""The hash chain of a room: what each entry's hash is over, and how to check a log. Pure.

The hash of an entry is BLAKE2b with a digest of 16 bytes, in lower case hexadecimal, over the UTF-8 of
the JSON array ::

    [previous,slot,author,content,at,session,seq,key]

without white space, as JavaScript's ``JSON.stringify`` and Python's ``json.dumps`` with
``ensure_ascii=False`` write it alike. `previous` is the hash of the entry before, and for slot 1 the
room's epoch; `key` is null for an entry that has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from attrs import define

from protosuite.chatlog.wire import ClientAppend, Entry, encode_entry
from protosuite.messages import to_json

# What an Entry has, in its order: of thousands a second, the tuple is all that is needed.
Fields = tuple[int, str, str, int, str, int, str | None, str]


@define  # as is an Append: to make a frozen one takes twice as long
class Head:
    """Where a log ends: the last slot, 0 if there is none, and its hash or the room's epoch."""

    slot: int
    hash: str


@define(eq=False, repr=False)
class Append:
    """An append that the sequencer has accepted, from the connection `session` of `room`."""

    room: str
    session: str
    message: ClientAppend


def epoch_of(seed: str, room: str) -> str:
    """The epoch of a room that has none yet: the same on all nodes, and nobody else's."""
    return blake2b(room.encode(), key=seed.encode(), digest_size=16).hexdigest()


def digest(previous: str, entry: Entry) -> str:
    """What the hash of `entry` must be, after an entry whose hash is `previous`."""
    by = entry.session, entry.seq, entry.key
    return _digest((previous, entry.slot, entry.author, entry.content, entry.at, *by))


def extend(head: Head, append: Append, at: int) -> tuple[Fields, bytes]:
    """`append` as the next entry after `head`, at a time in milliseconds since the epoch; and encoded."""
    message, slot, session = append.message, head.slot + 1, append.session
    author, content, seq, key = message.author, message.content, message.seq, message.key
    hash = _digest((head.hash, slot, author, content, at, session, seq, key))
    fields = slot, author, content, at, session, seq, key, hash
    return fields, encode_entry(*fields)


def entry_of(fields: Fields) -> Entry:
    """The entry of which these are the fields."""
    return Entry(*fields[:7], hash=fields[7])


@define
class Verifier:
    """Checks entries as they come, in slot order, from any slot on.

    `head` is what is known to come before, or None: then the first entry's own hash is taken as it is,
    unless its slot is 1. `checked` counts the hashes that were right.
    """

    epoch: str
    head: Head | None = None
    checked: int = 0

    def problem(self, entry: Entry) -> str | None:
        """What is wrong with the next entry, for a person; None if nothing is."""
        if self.head is None and entry.slot == 1:
            self.head = Head(0, self.epoch)
        head, self.head = self.head, Head(entry.slot, entry.hash)
        if head is None:
            return None
        if entry.slot != head.slot + 1:
            return f"slot {entry.slot} comes after slot {head.slot}"
        if entry.hash != digest(head.hash, entry):
            return f"the hash of slot {entry.slot} is not that of its content and what comes before it"
        self.checked += 1
        return None

    def first_problem(self, entries: Iterable[Entry]) -> str | None:
        """What is wrong with the first of `entries` that is not right."""
        return next((found for entry in entries if (found := self.problem(entry)) is not None), None)


def _digest(hashed: tuple[str, int, str, str, int, str, int, str | None]) -> str:
    return blake2b(to_json(hashed), digest_size=16).hexdigest()
