"""JSON objects as messages: what is read, and which rules their fields keep."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from attrs import frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct
from twisted.trial.unittest import SynchronousTestCase

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

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@frozen
class Thing:
    """A message with a field of each sort."""

    count: int = checked(integer(0, 10))
    label: str = checked(characters(5))
    note: str | None = checked(ANY_TEXT, default=None)


def code(data: bytes | str) -> str | None:
    """What is wrong with a message, if anything is."""
    try:
        build(read(data), {"Thing": Thing})
    except PeerFault as fault:
        return fault.code
    return None


class ReadTests(SynchronousTestCase):
    """Bytes or text to fields."""

    def test_not_json(self) -> None:
        """R13: what is not one JSON object in UTF-8 is ``bad-json``, whatever Python would make of it."""
        for data in (
            b"",
            b"{",
            b"[]",
            b"1",
            b'"x"',
            b"null",
            b"{}{}",
            b"{} x}",
            b'{"a":}',
            b'{"a":1}}',
            b"{'a':1}",
            b'{"a":NaN}',
            b'{"a":-Infinity}',
            b'{"a":\xff}',
            b'{"a":"\xed\xa0\x80"}',  # a surrogate in what would be UTF-8
            b"\xef\xbb\xbf{}",  # RFC 8259 (8.1): no byte order mark
            '{"a":1}'.encode("utf-16"),
            b'{"a":' + b"9" * 5000 + b"}",
            b'{"a":' + b"[" * 100_000,
            '{"a":' + '{"a":' * 100_000,
        ):
            self.assertEqual(code(data), "bad-json", data[:50])

    def test_white_space(self) -> None:
        """White space may be anywhere but in a value (RFC 8259, 2), and nothing else may."""
        for data in ('{"a":1}', ' {"a":1}', '{"a":1}\n', '\t\r\n { "a" : 1 } \n', '{\n"a":1\n}'):
            self.assertEqual(read(data), {"a": 1}, data)
            self.assertEqual(read(data.encode()), {"a": 1}, data)
        for data in ('\xa0{"a":1}', '{"a":1}\x0b', '\ufeff{"a":1}', '{"a":1}\u2028'):
            self.assertEqual(code(data), "bad-json", data)

    @settings(deadline=None)
    @given(
        st.dictionaries(st.text(st.characters(codec="utf-8")), JSON.filter(lambda v: "nan" not in repr(v)))
    )
    def test_any_object(self, fields: dict[str, Any]) -> None:
        """Every JSON object is read as what it is, from text as from bytes."""
        try:
            text = json.dumps(fields, ensure_ascii=False, allow_nan=False)
            data = text.encode()
        except ValueError:  # infinite, or half a pair of surrogates
            return
        self.assertEqual(read(text), fields)
        self.assertEqual(read(data), fields)


class BuildTests(SynchronousTestCase):
    """Fields to messages."""

    def test_unknown_type(self) -> None:
        """A type that is none of those, or no text, is ``unknown-type``."""
        for kind in ('"thing"', "null", "1", "[]", '{"a":1}', '"\\ud800"'):
            self.assertEqual(code(f'{{"type":{kind}}}'), "unknown-type", kind)
        self.assertEqual(code("{}"), "unknown-type")

    def test_a_bad_field_is_named(self) -> None:
        """The first field that is wrong is named, with what it may be."""
        with self.assertRaises(PeerFault) as caught:
            build({"type": "Thing", "count": True, "label": ""}, {"Thing": Thing})
        self.assertEqual(
            (caught.exception.code, caught.exception.message),
            ("bad-field", "count of Thing must be a whole number from 0 to 10"),
        )

    def test_optional(self) -> None:
        """A field with a default may be left out or null; one without may not."""
        types = {"Thing": Thing}
        given = {"type": "Thing", "count": 1, "label": "x"}
        self.assertEqual(build(given, types), Thing(1, "x"))
        self.assertEqual(build({**given, "note": None, "later": [1]}, types), Thing(1, "x"))
        for missing in ("count", "label"):
            with self.assertRaises(PeerFault):
                build({**given, missing: None}, types)

    @settings(deadline=None)
    @given(st.integers(0, 10), st.from_regex("[a-zß€😀]{1,5}", fullmatch=True), st.none() | st.just("\n\x00"))
    def test_round_trip(self, count: int, label: str, note: str | None) -> None:
        """What is written is read back."""
        thing = Thing(count, label, note)
        self.assertEqual(build(read(write(thing, "Thing")), {"Thing": Thing}), thing)


class PlainThing(Struct):
    """The same, as msgspec reads it."""

    type: Literal["Thing"]
    count: Annotated[int, Meta(ge=0, le=10)]
    label: Annotated[str, Meta(min_length=1, max_length=5)]
    note: str | None = None


class PlainTests(SynchronousTestCase):
    """The short way to a message."""

    PLAIN = Plain(PlainThing)

    def test_taken(self) -> None:
        """What is plainly right is taken, in any order, and with fields that nobody knows."""
        for text in (
            '{"type":"Thing","count":7,"label":"a"}',
            ' {"label": "a", "later": [1, {"x": null}], "count": 7, "type": "Thing"}\n',
        ):
            thing = self.PLAIN.read(text)
            assert thing is not None, text
            self.assertEqual((thing.count, thing.label, thing.note), (7, "a", None))
        for label in ("ü", "Я 🐟é", "\xa0"):
            thing = self.PLAIN.read(f'{{"type":"Thing","count":7,"label":"{label}"}}')
            assert thing is not None, label
            self.assertEqual(thing.label, label)

    def test_left(self) -> None:
        """What has to be looked at closely is left to the long way, whatever it is."""
        deep = '{"type":"Thing","count":7,"label":"a","x":' + "[" * 100_000
        for label in ("\\u0061", "\x7f", "\x80", "\x9f", "\ud800", "\x1f", "", "abcdef", "🐟" * 6):
            self.assertIsNone(self.PLAIN.read(f'{{"type":"Thing","count":7,"label":"{label}"}}'), label)
        for text in ("", "{", "[]", "7", '{"count":7,"label":"a"}', deep):
            self.assertIsNone(self.PLAIN.read(text), text[:50])

    @settings(deadline=None)
    @given(st.integers(-1, 11), st.text("ab\x1fé\x80🐟", max_size=6), st.integers(0, 60), st.text(max_size=3))
    @example(1, "a", 17, ',"type":"Thing"')
    @example(1, "a", 17, ',"count":1.0')
    @example(1, "a", 25, "e0")
    @example(1, "a", 25, "9" * 400)
    def test_the_same(self, count: int, label: str, at: int, more: str) -> None:
        """R13: what it takes is what the long way takes, also of texts that somebody has meddled with."""
        text = f'{{"type":"Thing","count":{count},"label":"{label}"}}'
        meddled = text[:at] + more + text[at:]
        thing = self.PLAIN.read(meddled)
        if thing is not None:
            long = build(read(meddled), {"Thing": Thing})
            self.assertEqual((thing.count, thing.label, thing.note), (long.count, long.label, long.note))

    def test_written_as_elsewhere(self) -> None:
        """JSON is written as ``json.dumps`` and ``JSON.stringify`` write it, for hashes are over it."""
        everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
        value = [everything, None, True, 0, -1, 2**53, {"a": ["b"]}]
        expected = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        self.assertEqual(to_json(value) == expected.encode(), True)


class RuleTests(SynchronousTestCase):
    """What fields may hold."""

    def assert_rule(self, rule: Any, good: list[Any], bad: list[Any]) -> None:
        check, allowed = rule
        for value in good:
            self.assertTrue(check(value), (allowed, value))
        for value in [*bad, None, [], {}, b"x", ["x"]]:
            self.assertFalse(check(value), (allowed, value))

    def test_integer(self) -> None:
        """Whole numbers within the bounds; neither true nor 1.0 is one."""
        self.assert_rule(
            integer(1, 3), [1, 2, 3], [0, 4, -1, True, 1.0, 2.5, float("nan"), "1", 10**30, float("inf")]
        )

    def test_name(self) -> None:
        """Letters, digits and three signs, to the last character."""
        self.assert_rule(
            name(4), ["a", "A.9_", "-..-"], ["", "abcde", "a b", "a/b", "é", "a\n", "a\0", "٣", 1, True]
        )

    def test_characters(self) -> None:
        """Text of so many characters without control characters and half pairs."""
        bad = ["", "xxxx", "\x00", "a\x1f", "\x7f", "\x85", "\x9f", "\ud800", "a\udfff", 1, True]
        self.assert_rule(characters(3), ["a", "😀😀😀", " ", "é\u2028"], [*bad, "\n", "\t", "\r"])
        self.assert_rule(characters(3, lines=True), ["\n", "a\tb", "😀"], [*bad, "\r", "\x0b"])
        self.assert_rule(characters(3, 0), ["", "abc"], ["abcd", "\n"])

    def test_any_text(self) -> None:
        """Any text that UTF-8 can hold."""
        self.assert_rule(ANY_TEXT, ["", "\x00", "x" * 10_000, "😀"], ["\ud800", "a\udfff", 1])
