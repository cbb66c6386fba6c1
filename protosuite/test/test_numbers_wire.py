"""The lines of numbers/1."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protosuite.errors import PeerFault
from protosuite.numbers.wire import (
    CLIENT_MESSAGES,
    SERVER_MESSAGES,
    Ack,
    Decoder,
    End,
    Error,
    Message,
    Number,
    SessionOpened,
    Start,
    encode,
)
from protosuite.testing import assert_cuts_alike, decoded

CLIENTS = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
INDEXES = st.integers(0, 65_534)
CHECKSUMS = st.integers(0, 2**32 - 1)
FROM_CLIENT = st.one_of(
    st.builds(
        Start,
        CLIENTS,
        st.none() | st.integers(1, 65_535),
        st.none() | st.integers(0, 2**63 - 1),
        st.none() | CHECKSUMS,
    ),
    st.builds(Ack, st.integers(0, 2**63 - 1)),
)
FROM_SERVER = st.one_of(
    st.builds(SessionOpened, CLIENTS, st.integers(1, 65_535), st.integers(0, 65_535), st.integers(0, 10**6)),
    st.builds(Number, INDEXES, st.integers(0, 65_535)),
    st.builds(End, st.integers(1, 65_535), CHECKSUMS),
    st.builds(Error, st.text(max_size=20), st.text(max_size=100)),
)


def client_decoder() -> Decoder:
    return Decoder(CLIENT_MESSAGES)


class DecoderTests(SynchronousTestCase):
    """Bytes in, messages or one fault out."""

    def faults(self, line: bytes, code: str, words: str = "") -> None:
        with self.assertRaises(PeerFault) as caught:
            list(client_decoder().feed(line + b"\n"))
        self.assertEqual(caught.exception.code, code, line)
        self.assertIn(words, caught.exception.message)

    def test_the_contracts_example(self) -> None:
        """The start that the contract shows is a start."""
        line = b'{"type":"start","client":"ana","max":10}'
        for end in (b"\n", b"\r\n"):
            self.assertEqual(assert_cuts_alike(client_decoder, line + end), [Start("ana", 10)])

    def test_fields_of_a_later_version_are_left_alone(self) -> None:
        """A field that this version does not have changes nothing."""
        line = b'{"type":"ack","index":3,"colour":"red"}\n'
        self.assertEqual(decoded(client_decoder(), line), [Ack(3)])

    def test_null_is_left_out(self) -> None:
        """An optional field that is null is one that is not there."""
        line = b'{"type":"start","client":"a","max":null}\n'
        self.assertEqual(decoded(client_decoder(), line), [Start("a")])

    @given(st.lists(FROM_CLIENT, max_size=4))
    def test_round_trip_from_clients(self, messages: list[Message]) -> None:
        """R12: what is encoded is decoded as it was, however it is cut."""
        image = b"".join(map(encode, messages))
        self.assertEqual(assert_cuts_alike(client_decoder, image), messages)

    @given(st.lists(FROM_SERVER, max_size=3))
    def test_round_trip_from_servers(self, messages: list[Message]) -> None:
        """R12: the same holds for what a server says."""
        image = b"".join(map(encode, messages))
        self.assertEqual(assert_cuts_alike(lambda: Decoder(SERVER_MESSAGES), image), messages)

    @given(st.binary(max_size=80))
    def test_any_bytes_give_messages_or_one_fault(self, image: bytes) -> None:
        """R12, R13: no bytes raise anything but a fault, and every cut of them gives the same."""
        assert_cuts_alike(client_decoder, image)

    @given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5))
    def test_any_value_in_any_field(self, value: object) -> None:
        """R13: a field of any JSON value gives a message or a fault."""
        for kind, field in (("start", "client"), ("start", "max"), ("start", "next"), ("ack", "index")):
            line = json.dumps({"type": kind, "client": "a", field: value}).encode() + b"\n"
            decoded(client_decoder(), line)

    def test_not_json(self) -> None:
        """What is not a JSON object in UTF-8 is bad-json, also when it is nested without end."""
        for line in (
            b"",
            b"hello",
            b"[1]",
            b'"x"',
            b"\xff\xfe",
            b'{"a":',
            b"[" * 1000,
            b'{"a":' * 200,
            b'{"a":NaN}',
        ):
            self.faults(line, "bad-json")

    def test_unknown_type(self) -> None:
        """A type that a client may not send is unknown-type, and the known ones are named."""
        for line in (b"{}", b'{"type":"stop"}', b'{"type":5}', b'{"type":["start"]}', b'{"type":"number"}'):
            self.faults(line, "unknown-type", "start, ack")

    def test_bad_fields_are_named(self) -> None:
        """A field out of its bounds is bad-field, with its name and what is allowed."""
        for field, value in (
            ("client", '""'),
            ("client", '"' + "x" * 65 + '"'),
            ("client", '"a\\n"'),
            ("client", '"é"'),
            ("client", "1"),
            ("max", "0"),
            ("max", "65536"),
            ("max", "true"),
            ("max", "1.0"),
            ("next", "-1"),
            ("next", "9223372036854775808"),
            ("checksum", '"1"'),
        ):
            fields = {"client": '"a"', field: value}
            body = ",".join(f'"{name}":{text}' for name, text in fields.items())
            self.faults(f'{{"type":"start",{body}}}'.encode(), "bad-field", f"{field} of start must be")
        self.faults(b'{"type":"ack"}', "bad-field", "index of ack")

    def test_line_too_long(self) -> None:
        """R12, R14: 1,024 bytes and a terminator are a line; one more is refused however it is cut."""
        for length, outcome in ((1024, [Ack(1)]), (1025, ["line-too-long"])):
            line = b'{"type":"ack","index":1' + b" " * (length - 24) + b"}"
            self.assertEqual(len(line), length)
            for end in (b"\n", b"\r\n"):
                self.assertEqual(assert_cuts_alike(client_decoder, line + end), outcome)

    def test_an_endless_line_is_not_kept(self) -> None:
        """R14: a line without an end is refused at its bound, not collected."""
        decoder = client_decoder()
        list(decoder.feed(b"x" * 1024))
        with self.assertRaises(PeerFault):
            list(decoder.feed(b"x" * 2))
        self.assertEqual(decoder._rest, b"")

    def test_messages_before_a_fault_come_first(self) -> None:
        """The good lines of a segment are delivered before the fault of a bad one."""
        self.assertEqual(
            decoded(client_decoder(), encode(Ack(1)) + b"x\n" + encode(Ack(2))), [Ack(1), "bad-json"]
        )
