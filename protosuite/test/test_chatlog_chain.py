"""The hash chain of a room."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

from attrs import asdict, astuple, evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protosuite.chatlog.chain import Append, Head, Verifier, digest, entry_of, extend
from protosuite.chatlog.wire import ClientAppend, Entry, encode_entry

EPOCH = "000102030405060708090a0b0c0d0e0f"

# Hashes of two lines of text, by the program ``b2sum -l 128``:
#   ["000102030405060708090a0b0c0d0e0f",1,"ana","hello",1700000000000,"00000000000000aa",0,null]
#   ["4cad…3db7",2,"b\"o\\b","two\nlines\té😀/",1700000000001,"00000000000000bb",7,"k-1"]
FIRST = Entry(
    1, "ana", "hello", 1_700_000_000_000, "00000000000000aa", 0, hash="4cad0a61c0088f9996f4063802dd3db7"
)
SECOND = Entry(
    2,
    'b"o\\b',
    "two\nlines\té😀/",
    1_700_000_000_001,
    "00000000000000bb",
    7,
    "k-1",
    hash="db600911a77e75eec6bca8b72ad1f542",
)

said = st.lists(
    st.tuples(
        st.text("ab", min_size=1, max_size=3), st.text('x\n"\\é😀', max_size=5), st.none() | st.just("k")
    ),
    min_size=2,
    max_size=8,
)

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
_NUMBERS = st.integers(0, 2**53 - 1)
_FIELDS = (_NUMBERS, _TEXTS, _TEXTS, _NUMBERS, _TEXTS, _NUMBERS)
_SAID = ("slot", "author", "content", "at", "session", "seq", "key")


def log(lines: Any) -> list[Entry]:
    """A log of what was said, from slot 1."""
    head, found = Head(0, EPOCH), []
    for seq, (author, content, key) in enumerate(lines):
        entry = entry_of(
            extend(head, Append("r", "s", ClientAppend(seq, author, content, key)), 1000 + seq)[0]
        )
        head = Head(entry.slot, entry.hash)
        found.append(entry)
    return found


class ChainTests(SynchronousTestCase):
    """What a hash is over."""

    def test_a_fixed_vector(self) -> None:
        """The hashes of a log are those that another program computes from the documented text."""
        self.assertEqual(digest(EPOCH, FIRST), FIRST.hash)
        self.assertEqual(digest(FIRST.hash, SECOND), SECOND.hash)

    def test_extended(self) -> None:
        """An append becomes the entry behind the head, with its fields and its place in the chain."""
        first = entry_of(
            extend(
                Head(0, EPOCH), Append("r", "00000000000000aa", ClientAppend(0, "ana", "hello")), FIRST.at
            )[0]
        )
        self.assertEqual(first, FIRST)
        message = ClientAppend(7, SECOND.author, SECOND.content, "k-1")
        second = entry_of(extend(Head(1, first.hash), Append("r", SECOND.session, message), SECOND.at)[0])
        self.assertEqual(second, SECOND)

    @given(
        st.builds(Entry, *_FIELDS, key=st.none() | _TEXTS, hash=st.text("0123456789abcdef", min_size=32)),
        _TEXTS,
    )
    def test_any_text(self, entry: Entry, previous: str) -> None:
        """What is hashed, and what is sent, is the JSON that any program writes of it."""
        said = [previous, *(getattr(entry, name) for name in _SAID)]
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
        self.assertEqual(digest(previous, entry), blake2b(text.encode(), digest_size=16).hexdigest())
        fields = {name: value for name, value in asdict(entry).items() if value is not None}
        sent = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        self.assertEqual(encode_entry(*astuple(entry)).decode(), sent)
        message = ClientAppend(entry.seq, entry.author, entry.content, entry.key)
        head = Head(entry.slot - 1, previous)
        made, encoded = extend(head, Append("r", entry.session, message), entry.at)
        self.assertEqual(entry_of(made), evolve(entry, hash=digest(previous, entry)))
        self.assertEqual(encoded, encode_entry(*made))


class VerifierTests(SynchronousTestCase):
    """A log is checked as it is read."""

    @settings(deadline=None)
    @given(said, st.data())
    def test_right_from_any_slot(self, lines: Any, data: st.DataObject) -> None:
        """A log is right from any slot on; each hash that can be checked is."""
        entries = log(lines)
        start = data.draw(st.integers(0, len(entries) - 1))
        verifier = Verifier(EPOCH)
        self.assertIsNone(verifier.first_problem(entries[start:]))
        self.assertEqual(verifier.checked, len(entries) - start - (start > 0))
        known = Verifier(EPOCH, Head(start, entries[start - 1].hash if start else EPOCH))
        self.assertIsNone(known.first_problem(entries[start:]))
        self.assertEqual(known.checked, len(entries) - start)

    @settings(deadline=None)
    @given(said, st.data())
    def test_any_change_is_found(self, lines: Any, data: st.DataObject) -> None:
        """A change of any field of any entry is found, at that entry or at the next."""
        entries = log(lines)
        at = data.draw(st.integers(0, len(entries) - 1))
        change: Any = data.draw(
            st.sampled_from(
                [
                    ("slot", 99),
                    ("author", "somebody"),
                    ("content", "else"),
                    ("at", 5),
                    ("session", "t"),
                    ("seq", 99),
                    ("key", "another"),
                    ("hash", "0" * 32),
                ]
            )
        )
        field, value = change
        entries[at] = evolve(entries[at], **{field: value})
        problem = Verifier(EPOCH).first_problem(entries)
        self.assertIsNotNone(problem)
        self.assertIn("99" if field == "slot" else f"slot {at + 1}", str(problem))

    @settings(deadline=None)
    @given(said, st.data())
    def test_order_and_holes(self, lines: Any, data: st.DataObject) -> None:
        """Two entries that changed places, one that is missing and one that is there twice are found."""
        entries = log(lines)
        at = data.draw(st.integers(0, len(entries) - 2))
        swapped = [*entries[:at], entries[at + 1], entries[at], *entries[at + 2 :]]
        twice = [*entries[: at + 1], *entries[at:]]
        for wrong in (swapped, twice, [*entries[:at], *entries[at + 1 :]] if at else swapped):
            self.assertIsNotNone(Verifier(EPOCH).first_problem(wrong))

    def test_a_hole_is_called_one(self) -> None:
        """A slot that is missing is said to be, not that a hash is wrong."""
        entries = log([("a", "x", None)] * 3)
        self.assertEqual(Verifier(EPOCH).first_problem(entries[::2]), "slot 3 comes after slot 1")

    def test_another_log(self) -> None:
        """The same entries in a room of another epoch are not right."""
        self.assertIn("slot 1", str(Verifier("another").first_problem(log([("a", "x", None)]))))
