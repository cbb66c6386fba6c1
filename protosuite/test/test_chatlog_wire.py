"""The messages of chatlog.v1: what is taken, what is refused and how, and what goes out."""

from __future__ import annotations

import json
from typing import Any

from attrs import astuple, evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protosuite.chatlog.wire import (
    MAX_CONTENT,
    ClientAppend,
    ClientUpdate,
    Entry,
    Error,
    Refused,
    ServerAck,
    ServerReply,
    encode_ack,
    encode_entry,
    encode_error,
    encode_reply,
    from_client,
    from_server,
    is_room,
    to_server,
)
from protosuite.errors import PeerFault

EXACT = 2**53 - 1
APPEND: dict[str, Any] = {"type": "ClientAppend", "seq": 7, "author": "ana", "content": "hello"}
UPDATE: dict[str, Any] = {"type": "ClientUpdate", "n": 3, "upto": -1}
ENTRY = Entry(1, "ana", "hello", 1_700_000_000_000, "s", 0, hash="0123456789abcdef" * 2)

plain = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))
authors = st.text(plain, min_size=1, max_size=64)
contents = st.text(plain | st.sampled_from("\n\t"), min_size=1, max_size=200)
exact = st.integers(0, EXACT)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["\ud800", "\x07"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
appends = st.builds(ClientAppend, exact, authors, contents, st.none() | authors)
entries = st.builds(
    Entry,
    st.integers(1, EXACT),
    authors,
    contents,
    st.integers(-EXACT, EXACT),
    authors,
    exact,
    st.none() | authors,
    hash=st.from_regex("[0-9a-f]{32}", fullmatch=True),
)


def said(**fields: Any) -> Any:
    """What the server makes of an append with some fields changed."""
    return from_client(json.dumps(APPEND | fields))


def refusal(text: str) -> tuple[str, int | None]:
    """The code of what refuses a message, and the append that it speaks of."""
    found = from_client(text)
    assert isinstance(found, Refused), found
    return found.error.code, found.error.seq


class ClientTests(SynchronousTestCase):
    """What clients say."""

    def test_appends(self) -> None:
        """An append is what its fields say, with or without a key, up to its limits."""
        self.assertEqual(said(), ClientAppend(7, "ana", "hello"))
        self.assertEqual(said(key="k", later=[1]), ClientAppend(7, "ana", "hello", "k"))
        self.assertEqual(said(key=None), said())
        widest: dict[str, Any] = {
            "seq": EXACT,
            "author": "😀" * 64,
            "content": "😀" * MAX_CONTENT,
            "key": "é" * 64,
        }
        self.assertEqual(said(**widest), ClientAppend(**widest))
        self.assertIsInstance(said(content="two\nlines\tand a tab"), ClientAppend)

    def test_bad_fields(self) -> None:
        """Each field that is missing or wrong is named, and the Error says which append it was."""
        text: list[Any] = [
            None,
            "",
            "\x00",
            "a\x1b",
            "\x7f",
            "\x9f",
            "\ud800",
            "x\udfff",
            1,
            True,
            ["x"],
            {},
            1.5,
        ]
        wrong = {
            "author": [*text, "x" * 65, "a\nb", "a\tb"],
            "content": [*text, "x" * (MAX_CONTENT + 1), "a\rb", "\x0b"],
            "key": [*text[1:], "x" * 65, "\n"],
        }
        for field, values in wrong.items():
            for value in values:
                found = said(**{field: value})
                self.assertIsInstance(found, Refused, (field, value))
                self.assertEqual((found.error.code, found.error.seq), ("bad-field", 7), (field, value))
                self.assertTrue(found.error.message.startswith(f"{field} of ClientAppend must be "))

    def assert_same(self, fields: dict[str, Any]) -> None:
        """Hold that `fields` are taken alike in a text that is plain and in one that is not."""
        text = json.dumps(fields, ensure_ascii=False)
        for other in (json.dumps(fields | {"later": "\u00e9"}), json.dumps(fields, indent=1) + "\n"):
            self.assertEqual(from_client(text), from_client(other), fields)

    def test_plain_or_not(self) -> None:
        """R13: an append is taken or refused alike, with or without an escape or white space around it."""
        long: dict[str, Any] = {
            "seq": [-1, 0, EXACT, EXACT + 1, True, 1.0, "1"],
            "author": ["", "x", "x" * 64, "x" * 65, "a\x7f", "a\x85", "\ud800", " ", 7, ["x"]],
            "content": ["", "x", "x" * MAX_CONTENT, "x" * (MAX_CONTENT + 1), "\x7f", "\x85", "ü", 7, True],
            "key": [None, "", "x", "x" * 64, "x" * 65, "\x7f", 7, False],
            "type": ["ClientAppend", "ClientUpdate", None, 7],
        }
        for name, values in long.items():
            for value in values:
                self.assert_same(APPEND | {name: value})
            self.assert_same({other: value for other, value in APPEND.items() if other != name})

    @settings(deadline=None)
    @given(
        st.dictionaries(
            st.sampled_from([*APPEND, "key", "x"]),
            anything | st.text(st.characters(codec="ascii"), max_size=70) | st.integers(-2, 2),
        )
    )
    def test_plain_or_not_whatever_is_said(self, fields: dict[str, Any]) -> None:
        """R13: so is whatever else an append may say."""
        self.assert_same(APPEND | fields)

    def test_bad_seq(self) -> None:
        """An append whose own number is wrong is refused without one."""
        for seq in (None, -1, True, False, 1.0, 0.5, "0", [0], EXACT + 1, 10**400, float("nan")):
            text = json.dumps(APPEND | {"seq": seq})
            code, number = refusal(text)
            self.assertEqual((code, number), ("bad-json" if "NaN" in text else "bad-field", None), seq)

    def test_bad_updates(self) -> None:
        """An update asks for at least one slot, up to one that there could be; it has no number."""
        self.assertEqual(from_client(json.dumps(UPDATE)), ClientUpdate(3, -1))
        self.assertEqual(from_client(json.dumps(UPDATE | {"n": EXACT, "upto": 0})), ClientUpdate(EXACT, 0))
        for field, values in (
            ("n", [None, 0, -1, True, 1.0, "1", EXACT + 1, 10**4000]),
            ("upto", [None, -2, True, 1.0, "1", EXACT + 1, [1]]),
        ):
            for value in values:
                found: Any = from_client(json.dumps(UPDATE | {"seq": 0, field: value}))
                self.assertIsInstance(found, Refused, (field, value))
                self.assertEqual((found.error.code, found.error.seq), ("bad-field", None))
                self.assertTrue(found.error.message.startswith(f"{field} of ClientUpdate must be "))

    def test_not_a_message(self) -> None:
        """What is no JSON object, or none of ours, is refused and is no append."""
        for text in ("", "{", "[]", "7", "null", '"x"', "{} {}", '{"seq":1', "[" * 60_000, '{"a":' * 12_000):
            self.assertEqual(refusal(text), ("bad-json", None), text[:30])
        for kind in ("Nothing", "clientappend", "ServerAck", "", None, 1, ["ClientAppend"], "\ud800"):
            self.assertEqual(refusal(json.dumps(APPEND | {"type": kind})), ("unknown-type", None), kind)

    @settings(deadline=None)
    @given(st.dictionaries(st.sampled_from([*APPEND, *UPDATE, "key", "x"]), anything))
    def test_anything(self, fields: dict[str, Any]) -> None:
        """R13: any object is a message or is refused, and the refusal can be sent."""
        for base in (APPEND, UPDATE, {}):
            found = from_client(json.dumps(base | fields))
            if isinstance(found, Refused):
                self.assertEqual(from_server(encode_error(found.error).decode()), found.error)
            else:
                self.assertEqual(from_client(to_server(found).decode()), found)

    @settings(deadline=None)
    @given(appends | st.builds(ClientUpdate, st.integers(1, EXACT), st.integers(-1, EXACT)))
    def test_round_trip(self, message: ClientAppend | ClientUpdate) -> None:
        """What a client says arrives."""
        self.assertEqual(from_client(to_server(message).decode()), message)

    def test_rooms(self) -> None:
        """A room's name is 1 to 64 letters, digits and ``._-``."""
        for good in ("main", "A", "a.b_c-9", "x" * 64, "."):
            self.assertTrue(is_room(good), good)
        for bad in ("", "x" * 65, "a b", "a/b", "é", "a\n", "٣", None, 1):
            self.assertFalse(is_room(bad), bad)


class ServerTests(SynchronousTestCase):
    """What the server says."""

    def test_as_the_contract_has_it(self) -> None:
        """The names of fields are those of the contract; a key is there only if there is one."""
        self.assertEqual(
            json.loads(encode_ack(encode_entry(*astuple(ENTRY)))),
            {
                "type": "ServerAck",
                "entry": {
                    "slot": 1,
                    "author": "ana",
                    "content": "hello",
                    "at": 1_700_000_000_000,
                    "session": "s",
                    "seq": 0,
                    "hash": ENTRY.hash,
                },
            },
        )
        self.assertEqual(json.loads(encode_entry(*astuple(evolve(ENTRY, key="k"))))["key"], "k")
        self.assertEqual(
            json.loads(encode_reply([], 9, 10, "e", "s")),
            {"type": "ServerReply", "entries": [], "latest": 9, "first": 10, "epoch": "e", "session": "s"},
        )
        self.assertEqual(
            json.loads(encode_error(Error("gap", "why"))), {"type": "Error", "code": "gap", "message": "why"}
        )

    def test_an_entry_that_looks_like_a_message(self) -> None:
        """Text that looks like our JSON stays text."""
        for text in ('"type":"entry",', '"},"type":"Error","x":{"', '\\"', "\u2028"):
            entry = evolve(ENTRY, author=text, content=text, key=text)
            encoded = encode_entry(*astuple(entry))
            self.assertEqual(from_server(encode_ack(encoded).decode()), ServerAck(entry))

    @settings(deadline=None)
    @given(entries)
    def test_acks(self, entry: Entry) -> None:
        """An acknowledged entry is read back as it was."""
        self.assertEqual(from_server(encode_ack(encode_entry(*astuple(entry))).decode()), ServerAck(entry))

    @settings(deadline=None)
    @given(st.lists(entries, max_size=4), exact, exact)
    def test_replies(self, found: list[Entry], latest: int, first: int) -> None:
        """So is a reply with any number of them."""
        encoded = [encode_entry(*astuple(entry)) for entry in found]
        data = encode_reply(encoded, latest, first, "epoch", "session")
        self.assertEqual(
            from_server(data.decode()), ServerReply(tuple(found), latest, first, "epoch", "session")
        )

    @settings(deadline=None)
    @given(st.builds(Error, authors, authors, st.none() | exact))
    def test_errors(self, error: Error) -> None:
        """So is an error."""
        self.assertEqual(from_server(encode_error(error).decode()), error)

    def test_nonsense(self) -> None:
        """R13: a client that hears nonsense has one exception to catch."""
        entry = json.loads(encode_entry(*astuple(ENTRY)))
        reply = {"type": "ServerReply", "entries": [entry], "latest": 1, "first": 1, "epoch": "e"}
        ack = {"type": "ServerAck", "entry": entry}
        self.assertEqual(from_server(json.dumps(reply)), ServerReply((ENTRY,), 1, 1, "e", ""))
        numbers: list[Any] = [None, -1, True, 1.0, "1"]
        values: list[Any] = [None, True, [], 1.5, "\ud800", {}]
        wrong: list[dict[str, Any]] = [
            {},
            {"type": "ClientAppend"},
            {"type": "Error"},
            {"type": "Error", "code": "x", "message": 1},
            {"type": "Error", "code": "x", "message": "\ud800"},
            ack | {"entry": None},
            ack | {"entry": [entry]},
            *(reply | {"entries": value} for value in [*values, [1], [entry, None]] if value != []),
            *(reply | {name: value} for name in ("latest", "first") for value in numbers),
            *(reply | {name: value} for name in ("epoch", "session") for value in values),
            *(ack | {"entry": {k: v for k, v in entry.items() if k != name}} for name in entry),
            *(ack | {"entry": entry | {name: value}} for name in entry for value in values),
            ack | {"entry": entry | {"slot": 0}},
            ack | {"entry": entry | {"hash": "x"}},
        ]
        for fields in wrong:
            self.assertRaises(PeerFault, from_server, json.dumps(fields))
