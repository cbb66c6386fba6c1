"""The frames of mediachat.v1: round trips, and what is none of them."""

from __future__ import annotations

import json
from typing import Any

import attrs
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protosuite.errors import PeerFault
from protosuite.mediachat import wire
from protosuite.mediachat.wire import Cancel, FromDesk, Head, Hello, MediaFromDesk, Status, Text

SHORT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=64)
IDS = st.integers(1, 2**53 - 1)
SIZES = st.integers(0, 2**53 - 1)
HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
KINDS = st.sampled_from(wire.KINDS)
NONE = st.none()

HEADS = st.builds(
    Head, name=SHORT, size=SIZES, kind=KINDS, type=NONE | SHORT, sha256=NONE | HASHES, upload=NONE | SHORT
)
TO_CLIENT = st.one_of(
    st.builds(
        Status,
        status=st.sampled_from(["saved", "discarded", "ready", "error"]),
        message=NONE | IDS,
        offset=NONE | SIZES,
        code=NONE | SHORT,
        detail=NONE | SHORT,
        next_open_at=NONE | SIZES,
        key=NONE | SHORT,
        upload=NONE | SHORT,
    ),
    st.builds(FromDesk, id=IDS, text=SHORT, at=SIZES),
    st.builds(MediaFromDesk, id=IDS, name=SHORT, kind=KINDS, size=SIZES, sha256=HASHES, url=SHORT, at=SIZES),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "name", "size", "kind", "text"]) | st.text(max_size=5), inner, max_size=5
        )
    ),
    max_leaves=9,
)


class RoundTripTests(SynchronousTestCase):
    """What is written is read."""

    @given(HEADS)
    def test_head(self, head: Head) -> None:
        """A head."""
        self.assertEqual(wire.head(wire.encode_head(head)), head)

    @given(TO_CLIENT)
    def test_to_client(self, message: Any) -> None:
        """What a server says."""
        self.assertEqual(wire.from_server(wire.encode(message).decode()), message)

    @given(st.builds(Hello, timezone=SHORT, after=NONE | SIZES, media=st.sampled_from(["inline", "link"])))
    def test_hello(self, hello: Hello) -> None:
        """A hello as an object, and as the zone alone."""
        self.assertEqual(wire.hello(wire.encode_hello(hello).decode()), hello)
        plain = Hello(hello.timezone.strip() or "x", media="inline", is_plain=True)
        if not plain.timezone.startswith("{"):
            self.assertEqual(wire.hello(wire.encode_hello(plain).decode()), plain)

    @given(st.builds(Text, text=SHORT, key=NONE | SHORT))
    def test_text(self, text: Text) -> None:
        """A text, of both sorts of clients."""
        self.assertEqual(wire.spoken(wire.encode_text(text).decode(), is_plain=False), text)
        self.assertEqual(wire.spoken(text.text, is_plain=True), attrs.evolve(text, key=None))
        self.assertEqual(wire.spoken(wire.CANCEL.decode(), is_plain=False), Cancel())

    def test_plain_or_not(self) -> None:
        """R13: a text is taken or refused alike, with or without an escape beside it."""
        values: dict[str, list[Any]] = {
            "text": ["", "x", "\n", "\x7f", "é", "x" * 16_384, "x" * 16_385, 7, None, ["x"]],
            "key": [None, "", "x", "x" * 64, "x" * 65, "\x00", 7],
            "type": ["text", "cancel", "Text", None, 7],
        }
        for name, given_values in values.items():
            for value in given_values:
                fields = {"type": "text", "text": "hello", name: value}
                said = [json.dumps(fields, ensure_ascii=False), json.dumps(fields | {"later": "é"})]
                found = [_spoken(text) for text in said]
                self.assertEqual(found[0], found[1], fields)

    @given(st.sampled_from(["saved", "discarded"]), IDS, NONE | SHORT)
    @example("saved", 1, '"\\\u2028é😀')
    def test_stored(self, status: str, id: int, key: str | None) -> None:
        """What becomes of a stored text is said in the same bytes, whichever way they are put together."""
        self.assertEqual(wire.encode_stored(status, id, key), wire.encode(Status(status, id, key=key)))


def _spoken(text: str) -> Text | Cancel | str:
    """What a client says, or what is wrong with it."""
    try:
        return wire.spoken(text, is_plain=False)
    except PeerFault as fault:
        return str(fault)


class NonsenseTests(SynchronousTestCase):
    """What is no frame."""

    @given(st.one_of(st.binary(max_size=200), JSON.map(lambda value: json.dumps(value).encode())))
    @example(b"[" * 100_000)
    @example(b'{"name":"\\ud800","size":1,"kind":"file"}')
    @example(b'{"name":"a","size":1e400,"kind":"file"}')
    @example(b'{"name":"a","size":' + b"9" * 5000 + b',"kind":"file"}')
    def test_anything(self, data: bytes) -> None:
        """R13: any bytes are a frame or the one fault."""
        calls: list[Any] = [wire.head]
        text = data.decode("utf-8", "replace")
        for call, argument in (
            *((each, data) for each in calls),
            (wire.hello, text),
            (lambda each: wire.spoken(each, True), text),
            (lambda each: wire.spoken(each, False), text),
            (wire.from_server, text),
        ):
            try:
                call(argument)
            except PeerFault as fault:
                self.assertIn(fault.code, ("bad-json", "bad-field", "unknown-type"))

    def test_limits(self) -> None:
        """The longest of everything is taken, and one more is not."""
        good = {"name": "n" * 255, "size": 2**53 - 1, "kind": "file", "upload": "u" * 64, "type": "t" * 255}
        wire.head(json.dumps(good).encode())
        for name, value in (("name", "n" * 256), ("size", 2**53), ("upload", "u" * 65), ("type", "t" * 256)):
            with self.assertRaises(PeerFault):
                wire.head(json.dumps(good | {name: value}).encode())
        wire.spoken("🐟" * 16_384, is_plain=True)
        with self.assertRaises(PeerFault):
            wire.spoken("x" * 16_385, is_plain=True)

    def test_faults_tell_no_values(self) -> None:
        """What a peer is told of its fault does not hold what it sent."""
        for bad in ({"name": "secret\0"}, {"size": "secret"}, {"kind": "secret"}, {"sha256": "secret"}):
            fields = {"name": "a", "size": 1, "kind": "file"} | bad
            with self.assertRaises(PeerFault) as caught:
                wire.head(json.dumps(fields).encode())
            self.assertNotIn("secret", str(caught.exception))
