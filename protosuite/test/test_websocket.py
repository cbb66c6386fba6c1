"""WebSockets: what they say and hear, what they refuse, and what becomes of peers that do not behave."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from itertools import pairwise, product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Opcode
from websockets.utils import accept_key

from protosuite.net.outbox import ENTRY
from protosuite.net.websocket import OVERRUN, Limits, text_frame
from protosuite.net.websocket_client import WebSocketClient
from protosuite.test.web_peers import (
    CHUNK,
    Piecemeal,
    Pipe,
    Recorder,
    Served,
    assert_over,
    close,
    echo,
    frame,
    parse,
    text,
)

TEXT, BINARY, CONT, PING, PONG, CLOSE = (
    Opcode.TEXT,
    Opcode.BINARY,
    Opcode.CONT,
    Opcode.PING,
    Opcode.PONG,
    Opcode.CLOSE,
)
# Talks that are told of a binary message when it is whole, or take all of them as they come, or some.
TALKS: tuple[Callable[..., Recorder], ...] = (
    Recorder,
    Piecemeal,
    partial(Piecemeal, takes=lambda size: size % 2 == 0),
)
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate"


def declared(opcode: Opcode, length: int) -> bytes:
    """The head of a frame whose data do not come."""
    return bytes([0x80 | opcode, 0x80 | 127]) + length.to_bytes(8, "big") + b"mask"


def deflated(data: bytes) -> bytes:
    """The data of a compressed message."""
    machine = zlib.compressobj(9, wbits=-15)
    return (machine.compress(data) + machine.flush(zlib.Z_SYNC_FLUSH))[:-4]


class MessageTests(SynchronousTestCase):
    """Messages, fragments, control frames and closes."""

    def test_echo(self) -> None:
        """Texts and binary messages, empty ones and the largest too, come as they were sent."""
        served = Served(self, max_message=70_000)
        peer = served.open()
        messages: list[Any] = ["", "grüß 😀", b"", b"\x00\xff", "x" * 70_000, b"y" * 70_000]
        for message in messages:
            is_text = isinstance(message, str)
            peer.send(text(message) if is_text else frame(BINARY, message))
        self.assertEqual(served.talk.messages, messages)
        sent = [message.encode() if isinstance(message, str) else message for message in messages]
        self.assertEqual([data for _, data in peer.frames()], sent)

    def test_fragments(self) -> None:
        """Fragments are put together, cut within a character too, with pings answered between them."""
        served = Served(self)
        peer = served.open()
        data = "grüß 😀".encode()
        for kind, whole in ((TEXT, "grüß 😀"), (BINARY, data)):
            peer.send(
                frame(kind, data[:3], fin=False) + frame(PING, b"1") + frame(CONT, data[3:7], fin=False)
            )
            peer.send(frame(CONT, b"", fin=False) + frame(CONT, data[7:]) + frame(CONT))
            self.assertEqual(served.talk.messages[-1], whole)
            self.assertEqual(peer.frames()[:2], [("pong", b"1"), (kind.name.lower(), data)])
            peer = served.open()

    def test_newlines(self) -> None:
        """The ends of lines stay as they are, in fragments too."""
        served = Served(self)
        served.open().send(frame(TEXT, b"a\r\nb\r", fin=False) + frame(CONT, b"\nc\n"))
        self.assertEqual(served.talk.messages, ["a\r\nb\r\nc\n"])

    def test_invalid_utf8(self) -> None:
        """R11: what is no UTF-8 fails with 1007 as soon as it is there."""
        for stream in (
            frame(TEXT, b"\xc3\x28"),
            frame(TEXT, b"\xed\xa0\x80"),
            frame(TEXT, b"ok", fin=False) + frame(CONT, b"\xff", fin=False),
            frame(TEXT, b"\xf0\x9f", fin=False) + frame(CONT, b""),
        ):
            served = Served(self)
            peer = served.open()
            peer.send(stream)
            self.assertEqual(peer.close_code(), 1007, stream)
            self.assertEqual(served.talk.messages, [])
            self.assertEqual(served.talk.code, 1007)

    def test_invalid_utf8_within_a_frame(self) -> None:
        """R11: so it is within a frame of which more is to come, in any fragment; where is the same."""
        sound = "grüß 😀 ".encode()
        for bad, at in (
            (b"\xff", 0),
            (b"\xc3\x28", 1),
            (b"\xed\xa0\x80", 2),
            (b"\xf4\x90\x80\x80", 1),
            (b"\xc0", 0),
        ):
            for begin in (b"", sound, sound[:2], sound[:3]):
                for size in (50, 500, 70_000):
                    image = sound[len(begin) :] + bad if begin else sound + bad
                    data = image.ljust(size, b"x")
                    first = frame(TEXT, begin, fin=False) + frame(PING) if begin else b""
                    whole = frame(CONT if begin else TEXT, data)
                    end = len(whole) - size + len(image) - len(bad) + at
                    served = Served(self, max_message=80_000)
                    peer = served.open()
                    peer.send(first)
                    for piece in (whole[:2], whole[2:5], whole[5:end]):
                        peer.send(piece)
                    self.assertIsNone(served.talk.code, (bad, begin, size))
                    peer.send(whole[end : end + 1])
                    self.assertEqual(peer.close_code(), 1007, (bad, begin, size))
                    at_once = Served(self, max_message=80_000)
                    at_once.open().send(first + whole)
                    self.assertEqual(served.talk.heard[-1], at_once.talk.heard[-1])

    def test_what_is_no_text_is_not_looked_at(self) -> None:
        """Binary messages, compressed ones and pings may hold any bytes, in however many pieces they come."""
        served = Served(self, compression=True)
        peer = served.open(DEFLATE)
        packed = deflated(b"hello" * 9)
        stream = b"".join(
            [
                frame(BINARY, b"\xff" * 300, fin=False)
                + frame(PING, b"\xff" * 9)
                + frame(CONT, b"\xfe" * 300),
                frame(TEXT, packed[:4], fin=False, rsv1=True) + frame(CONT, packed[4:]),
                frame(TEXT, "grüß".encode()),
            ]
        )
        for i in range(len(stream)):
            peer.send(stream[i : i + 1])
        self.assertEqual(served.talk.messages, [b"\xff" * 300 + b"\xfe" * 300, "hello" * 9, "grüß"])

    def test_rules_broken(self) -> None:
        """What the protocol forbids fails with 1002, and what comes behind it is not heard."""
        for stream in (
            frame(TEXT, b"x", mask=False),
            frame(CONT, b"x"),
            frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"),
            b"\x83\x80mask",
            frame(TEXT, b"x", rsv1=True),
            b"\x09\x80mask",
            b"\x89\xfe\x00\x80mask" + b"x" * 128,
        ):
            served = Served(self)
            peer = served.open()
            peer.send(stream + text("more"))
            self.assertEqual(peer.close_code(), 1002, stream)
            peer.send(text("still more"))
            self.assertEqual(served.talk.messages, [])

    def test_peer_closes(self) -> None:
        """A close is answered with the same, the talk is told its code, and the connection ends."""
        for code, reason in ((1000, "bye"), (1001, ""), (1011, ""), (3000, ""), (4999, "ü" * 61)):
            served = Served(self)
            peer = served.open()
            peer.send(close(code, reason) + text("more"))
            self.assertEqual(peer.frames(), [("close", code, reason)])
            self.assertEqual(served.talk.heard[1:], [("ended", code, reason)])
            self.assertTrue(peer.pipe.lost)

    def test_empty_close(self) -> None:
        """A close without a code is answered with one, and the talk is told 1005."""
        served = Served(self)
        peer = served.open()
        peer.send(frame(CLOSE))
        self.assertEqual(peer.frames(), [("close", 1005, "")])
        self.assertEqual(served.talk.code, 1005)

    def test_invalid_closes(self) -> None:
        """A close of one byte, or with a code that may not be sent, fails with 1002; bad UTF-8 with 1007."""
        codes = (0, 999, 1004, 1005, 1006, 1016, 1100, 2999, 5000, 65535)
        for stream in (frame(CLOSE, b"\x03"), *(close(code) for code in codes)):
            peer = Served(self).open()
            peer.send(stream)
            self.assertEqual(peer.close_code(), 1002, stream)
        peer = Served(self).open()
        peer.send(frame(CLOSE, b"\x03\xe8\xff"))
        self.assertEqual(peer.close_code(), 1007)

    def test_close_between_fragments(self) -> None:
        """A peer may close in the middle of a message."""
        served = Served(self)
        peer = served.open()
        peer.send(frame(TEXT, b"x", fin=False) + close(1000))
        self.assertEqual(peer.frames(), [("close", 1000, "")])
        self.assertEqual(served.talk.heard[1:], [("ended", 1000, "")])

    def test_order(self) -> None:
        """What messages make the talk say, the pongs, and the answer to a close come in their order."""
        peer = Served(self).open()
        peer.send(text("1") + frame(PING, b"2") + text("3") + frame(PING, b"4") + close(1000))
        kinds = ["text", "pong", "text", "pong", "close"]
        self.assertEqual([found[0] for found in peer.frames()], kinds)

    def test_shut_down(self) -> None:
        """R31: a stop is told with 1001, and messages that come before the peer's answer are heard."""
        served = Served(self)
        peer = served.open()
        next(iter(served.connections)).shut_down()
        self.assertEqual(peer.frames(), [("close", 1001, "the server stops")])
        peer.send(text("last") + close(1001))
        self.assertEqual(served.talk.heard[1:], [("text", "last"), ("ended", 1001, "")])
        self.assertEqual(peer.frames(), [])
        self.assertTrue(peer.pipe.lost)

    def test_close_is_not_answered(self) -> None:
        """A peer that does not answer our close is cut off, and the talk is told what we had said."""
        served = Served(self, close_timeout=3)
        peer = served.open()
        served.talk.socket.close(4000, "go")
        served.talk.socket.close(4001, "only the first is said")
        served.talk.socket.send(text_frame(b"too late"))
        served.advance(2.9)
        self.assertFalse(peer.is_closed)
        served.advance(0.2)
        self.assertTrue(peer.pipe.aborted)
        self.assertEqual(peer.frames(), [("close", 4000, "go")])
        self.assertEqual(served.talk.heard[-1], ("ended", 4000, "go"))

    def test_long_reason(self) -> None:
        """A reason that is too long for a close is cut at a character."""
        served = Served(self)
        peer = served.open()
        served.talk.socket.close(4000, "x" + "ü" * 100)
        self.assertEqual(peer.frames(), [("close", 4000, "x" + "ü" * 61)])

    def test_half_close(self) -> None:
        """R15: a peer that closes its side gets what was said before, and the talk is told 1006."""
        served = Served(self)
        peer = served.open()
        peer.read(False)
        peer.send(frame(BINARY, b"x" * 60_000) * 3)
        peer.finish()
        peer.read(True)
        self.assertEqual(sum(len(data) for _, data in peer.frames()), 180_000)
        self.assertEqual(served.talk.code, 1006)

    def test_connection_breaks(self) -> None:
        """A connection that breaks within a message ends the talk with 1006."""
        served = Served(self)
        peer = served.open()
        peer.send(frame(TEXT, b"x", fin=False))
        peer.pipe.lose(ConnectionLost())
        self.assertEqual(served.talk.heard[1:], [("ended", 1006, "")])
        self.assertFalse(served.talk.socket.is_open)

    def test_compressed(self) -> None:
        """Compressed messages come as they were, also in fragments with a ping between."""
        served = Served(self, compression=True)
        peer = served.open(DEFLATE)
        data = deflated(b"hello " * 100)
        peer.send(frame(TEXT, data[:5], fin=False, rsv1=True) + frame(PING) + frame(CONT, data[5:]))
        self.assertEqual(served.talk.messages, ["hello " * 100])
        peer.send(frame(TEXT, b"plain"))
        self.assertEqual(served.talk.messages[1:], ["plain"])

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(st.one_of(st.text(max_size=20), st.binary(max_size=20)), max_size=6),
        st.lists(st.integers(0, 300), max_size=10),
        st.integers(1, 5),
    )
    def test_any_cut(self, messages: list[str | bytes], cuts: list[int], parts: int) -> None:
        """R12: messages in fragments and segments of any sizes come as they were sent."""
        stream = b""
        for message in messages:
            data = message.encode() if isinstance(message, str) else message
            size = max(1, -(-len(data) // parts))
            pieces = [data[i : i + size] for i in range(0, len(data), size)] or [b""]
            for i, piece in enumerate(pieces):
                opcode = CONT if i else TEXT if isinstance(message, str) else BINARY
                stream += frame(opcode, piece, fin=i == len(pieces) - 1)
        for make in TALKS:
            served = Served(self, make=make)
            peer = served.open()
            places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
            for start, end in pairwise(places):
                peer.send(stream[start:end])
            self.assertEqual(served.talk.messages, messages)
            served.assert_clean()

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([TEXT] * 6 + [BINARY, CONT, PING, PONG, CLOSE]),
                st.sampled_from([0, 1, 2, 124, 125, 126, 127, 999, 1000, 1001]),
                st.sampled_from([b"x", b"\xc3\xbc"] * 4 + [b"\xff"]),
                st.sampled_from([True] * 9 + [False]),
                st.sampled_from([True] * 19 + [False]),
                st.sampled_from([0] * 19 + [0x10, 0x20, 0x30, 0x40]),
            ),
            max_size=8,
        ),
        st.lists(st.integers(0, 2000), max_size=5),
    )
    def test_whole_or_byte_by_byte(
        self, frames: list[tuple[Opcode, int, bytes, bool, bool, int]], cuts: list[int]
    ) -> None:
        """R12: frames of all sorts, right or wrong, have one outcome, however they are cut."""
        stream, ends = b"", [0]
        for opcode, size, letter, fin, is_masked, reserved in frames:
            image = frame(BINARY, (letter * size)[:size], mask=is_masked)
            # By hand: of the package's own, no control frame is wrong.
            stream += bytes([fin << 7 | reserved | opcode]) + image[1:]
            ends.append(len(stream))
        places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
        outcomes = []
        for pieces, make in product((places, ends, range(len(stream) + 1)), TALKS):
            served = Served(self, max_message=1000, make=make)
            peer = served.open()
            for start, end in pairwise(pieces):
                peer.send(stream[start:end])
            outcomes.append((served.talk.heard[1:], peer.frames()))
            served.assert_clean()
        self.assertEqual(outcomes, outcomes[:1] * len(outcomes))

    def test_pieces(self) -> None:
        """What a talk takes in pieces it gets as it comes, whichever of the three sorts of lengths it has."""
        for size in (9, 125, 126, 65_535, 65_536, 70_000):
            served = Served(self, make=Piecemeal, max_message=70_000)
            peer = served.open()
            data = bytes(n % 251 for n in range(size))
            image = frame(BINARY, data)
            head = len(image) - size
            cuts = [0, head + 1, head + 4, head + 5, len(image)]
            for number, (start, end) in enumerate(pairwise(cuts), 1):
                peer.send(image[start:end])
                self.assertEqual(len(served.talk.pieces), number)
            self.assertEqual((b"".join(served.talk.pieces), served.talk.messages), (data, [data]))
            peer.send(frame(BINARY, b"x" * 70_001))
            self.assertEqual((peer.close_code(), len(served.talk.pieces)), (1009, 4))

    def test_pieces_again(self) -> None:
        """Behind a frame whose header was cut, and behind fragments, messages come in pieces again."""
        fragments = frame(BINARY, b"c", fin=False) + frame(CONT, b"ut")
        for before in (frame(BINARY, b"cut"), fragments, frame(PING, b"?")):
            served = Served(self, make=Piecemeal)
            peer = served.open()
            after = frame(BINARY, b"after")
            peer.send(before[:4])
            peer.send(before[4:-1])
            peer.send(before[-1:] + after[:-1])
            self.assertEqual(served.talk.pieces[-1:], [b"afte"])
            peer.send(after[-1:])
            self.assertEqual(served.talk.messages[-1:], [b"after"])

    def test_pieces_that_are_odd(self) -> None:
        """A binary message that breaks a rule, is compressed, or of no size, is no matter of pieces."""
        good = frame(BINARY, b"good")
        for odd in (
            frame(BINARY, b"x", mask=False),
            frame(BINARY, b"x", rsv1=True),
            frame(BINARY, b"", fin=False) + good,
            b"\x82\xff" + b"\xff" * 8 + b"mask",
        ):
            served = Served(self, make=Piecemeal)
            peer = served.open()
            peer.send(good + odd)
            self.assertEqual((served.talk.pieces, served.talk.messages), ([b"good"], [b"good"]))
            self.assertIn(peer.close_code(), (1002, 1009))
        served = Served(self, make=Piecemeal, compression=True)
        peer = served.open(DEFLATE)
        peer.send(frame(BINARY, deflated(b"abc" * 99), rsv1=True) + good + frame(BINARY, b""))
        self.assertEqual((served.talk.pieces, served.talk.messages), ([], [b"abc" * 99, b"good", b""]))

    def test_close_between_pieces(self) -> None:
        """The rest of a message still comes when the talk has closed, and does not when it has failed."""

        def closes(talk: Recorder, what: str, message: Any) -> None:
            if message == b"go":
                talk.socket.close(4001, "went")

        def fails(talk: Recorder, what: str, message: Any) -> None:
            if message == b"go":
                raise RuntimeError(what)

        for then, code, messages in ((closes, 4001, [b"going", "x"]), (fails, 1011, [])):
            served = Served(self, then=then, make=Piecemeal)
            peer = served.open()
            stream = frame(BINARY, b"going")
            peer.send(stream[:-3])
            peer.send(stream[-3:] + text("x") + close(1000))
            self.assertEqual((served.talk.messages, peer.close_code()), (messages, code))
            self.assertTrue(peer.pipe.lost)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_failure_that_is_not_read(self) -> None:
        """A talk that has failed within a message hears no more of it, also when its peer does not read."""

        def then(talk: Recorder, what: str, message: Any) -> None:
            if what == "piece":
                talk.socket.send_binary(bytes(CHUNK))
                talk.socket.send_binary(bytes(CHUNK))
                raise RuntimeError(what)

        served = Served(self, then=then, make=Piecemeal)
        peer = served.open()
        peer.read(False)
        stream = frame(BINARY, b"going")
        peer.send(stream[:-3])
        peer.send(stream[-3:])
        self.assertEqual((served.talk.pieces, served.talk.messages), ([b"go"], []))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_lost_between_pieces(self) -> None:
        """A connection that goes within a message, or that the peer ends there, ends the talk."""

        def then(talk: Recorder, what: str, message: Any) -> None:
            if message == b"go":
                served.pipes[0].lose(ConnectionLost())

        stream = frame(BINARY, b"go") + frame(BINARY, b"on")
        served = Served(self, then=then, make=Piecemeal)
        served.open().send(stream)
        self.assertEqual((served.talk.pieces, served.talk.code), ([b"go"], 1006))
        served = Served(self, make=Piecemeal)
        peer = served.open()
        peer.send(stream[:-1])
        peer.finish()
        self.assertEqual((served.talk.pieces, served.talk.code), ([b"go", b"o"], 1006))

    def test_one_frame_a_segment(self) -> None:
        """R12: a text within a fragmented message is refused where it begins a segment, too."""
        for stream in ([frame(TEXT, b"be", fin=False)], [frame(BINARY, b"be", fin=False), frame(PING)]):
            served = Served(self)
            peer = served.open()
            for piece in (*stream, text("within"), frame(CONT, b"gun")):
                peer.send(piece)
            self.assertEqual((served.talk.messages, peer.close_code()), ([], 1002))

    def test_what_looks_like_a_frame(self) -> None:
        """The data of a frame are its data, whatever they look like and wherever the segments begin."""
        inner = frame(TEXT, b"inner")
        for head in (bytes([0x82, 0x80 | len(inner)]), bytes([0x82, 0xFE, 0, len(inner)])):
            served = Served(self)
            peer = served.open()
            for piece in (head, bytes(4), inner, frame(TEXT, b"next")):
                peer.send(piece)
            self.assertEqual(served.talk.messages, [inner, "next"])
        # Behind the first byte of a text: a length and a mask that look like an empty one.
        served = Served(self)
        peer = served.open()
        for piece in (b"\x81", b"\x81\x80\0\0\0" + b"\xe1", frame(TEXT, b"next")):
            peer.send(piece)
        self.assertEqual(served.talk.messages, ["a", "next"])

    def test_lengths(self) -> None:
        """A length in one byte, two or eight, in no more of them than it needs or in more, is the text's."""
        for most, width in ((125, 0), (65_535, 2), (70_000, 8)):
            for size in (0, 1, 120, 125, 126, 127, 300, 65_535, 65_536, 70_000):
                if size <= most:
                    served = Served(self, max_message=70_000)
                    length = size.to_bytes(width, "big") if width else b""
                    marker = {0: size, 2: 126, 8: 127}[width]
                    served.open().send(bytes([0x81, 0x80 | marker]) + length + bytes(4) + b"x" * size)
                    self.assertEqual(served.talk.messages, ["x" * size], (size, width))

    def test_texts_in_one_piece(self) -> None:
        """Texts that come together are handed on in their order, up to where one says something else."""
        served = Served(self)
        peer = served.open()
        texts = ["", "a", "b" * 125, "c" * 126, "d" * 60_000]
        stream = b"".join(map(text, texts))
        peer.send(stream + stream[:5])
        peer.send(stream[5:] + close(1000) + stream)
        self.assertEqual(served.talk.messages, texts * 2)
        self.assertEqual(served.talk.code, 1000)


class SizeTests(SynchronousTestCase):
    """R14: nothing over the limit is kept."""

    def refused(self, stream: bytes, *, compression: bool = False) -> Served:
        """Hold that `stream` ends a connection with a limit of 1000 bytes by 1009."""
        served = Served(self, max_message=1000, compression=compression)
        peer = served.open(DEFLATE) if compression else served.open()
        peer.send(stream)
        self.assertEqual(peer.close_code(), 1009)
        self.assertEqual(served.talk.heard[1:2], [("ended", 1009, served.talk.heard[-1][2])])
        return served

    def test_declared(self) -> None:
        """R14: a length over the limit is refused when it is declared."""
        self.refused(declared(BINARY, 1001))
        self.refused(declared(TEXT, 1 << 62))

    def test_sum(self) -> None:
        """R14: fragments that come to more than the limit are refused."""
        self.refused(frame(BINARY, b"x" * 600, fin=False) + frame(CONT, b"x" * 401))
        self.refused(frame(BINARY, b"x" * 600, fin=False) + declared(CONT, 900))
        self.refused(frame(TEXT, b"x", fin=False) + frame(CONT, b"x", fin=False) * 1000)

    def test_expected(self) -> None:
        """R14: what a frame still lacks is expected, to come in large pieces, and nothing of what follows it.

        A piece of a hundred thousand small messages would hold up everybody.
        """
        for image, make in product((frame(BINARY, b"x" * 300_000), frame(TEXT, b"x" * 300_000)), TALKS):
            served = Served(self, max_message=300_000, make=make)
            peer = served.open()
            head = len(image) - 300_000
            steps = [(head - 1, 0), (1, 300_000), (100_000, 200_000), (199_999, 1), (1, 0)]
            at = 0
            for size, expected in steps:
                peer.send(image[at : at + size])
                self.assertEqual(peer.pipe.expected, expected)
                at += size
            peer.send(image[:-1])
            self.assertEqual(peer.pipe.expected, 1)
            peer.send(image[-1:] + frame(BINARY, b"y") * 1000 + text("z") * 1000)
            self.assertEqual(peer.pipe.expected, 0)

    def test_largest(self) -> None:
        """The largest message may come in fragments, with the largest pings between them."""
        served = Served(self, max_message=1000)
        peer = served.open()
        ping = frame(PING, b"p" * 125)
        peer.send(frame(BINARY, b"x" * 999, fin=False) + ping + frame(CONT, b"x", fin=False) + ping)
        peer.send(frame(CONT) + close(1000))
        self.assertEqual(served.talk.messages, [b"x" * 1000])
        self.assertEqual(served.talk.code, 1000)

    def test_bomb(self) -> None:
        """R14: a small message that would become a large one is refused, in fragments too."""
        bomb = deflated(bytes(900_000))
        self.assertLess(len(bomb), 1000)
        self.refused(frame(BINARY, bomb, rsv1=True), compression=True)
        self.refused(frame(BINARY, bomb[:1], fin=False, rsv1=True) + frame(CONT, bomb[1:]), compression=True)

    def test_bomb_after_the_largest(self) -> None:
        """R14: no room is left when the first fragment was as large as a message may be."""
        machine = zlib.compressobj(9, wbits=-15)
        first = machine.compress(b"x" * 1000) + machine.flush(zlib.Z_SYNC_FLUSH)
        second = machine.compress(bytes(900)) + machine.flush(zlib.Z_SYNC_FLUSH)
        self.refused(frame(BINARY, first, fin=False, rsv1=True) + frame(CONT, second[:-4]), compression=True)

    def test_empty_fragments(self) -> None:
        """R14: endless empty fragments take no memory."""
        served = Served(self)
        peer = served.open()
        peer.send(frame(TEXT, b"x", fin=False))
        peer.send(frame(CONT, b"", fin=False) * 20_000)
        message = served.talk.socket._message
        self.assertEqual(message.getvalue(), "x")
        peer.send(frame(CONT))
        self.assertEqual(served.talk.messages, ["x"])


class SilenceTests(SynchronousTestCase):
    """R19: signs of life."""

    def test_silent(self) -> None:
        """R19: a peer from which nothing comes is asked after the interval and let go after the timeout."""
        served = Served(self, ping_interval=20, ping_timeout=7)
        peer = served.open()
        served.advance(5)
        peer.send(text("x"))
        peer.take()
        served.advance(19.9)
        self.assertEqual(peer.frames(), [])
        served.advance(0.2)
        self.assertEqual(peer.frames(), [("ping", b"")])
        served.advance(6.8)
        self.assertFalse(peer.is_closed)
        served.advance(0.5)
        self.assertTrue(peer.pipe.aborted)
        self.assertEqual(served.talk.heard[-1], ("ended", 1006, "the peer was silent"))

    def test_any_traffic_counts(self) -> None:
        """R19: whatever comes is life, half a frame too, and puts the next question off."""
        for sign in (frame(PONG), frame(PING), text("x"), b"\x81"):
            served = Served(self, ping_interval=20, ping_timeout=30)
            peer = served.open()
            served.advance(21)
            self.assertEqual(peer.frames(), [("ping", b"")])
            peer.send(sign)
            peer.take()
            served.advance(19.7)
            self.assertEqual(peer.frames(), [])
            served.advance(0.6)
            self.assertEqual(peer.frames(), [("ping", b"")])
            served.advance(29)
            self.assertFalse(peer.is_closed, sign)
            served.advance(1)
            self.assertTrue(peer.is_closed, sign)

    def test_busy(self) -> None:
        """A peer that sends now and then is never asked."""
        served = Served(self, ping_interval=20)
        peer = served.open()
        for _ in range(30):
            served.advance(19)
            peer.send(frame(PONG))
        self.assertEqual(peer.frames(), [])

    def test_paused(self) -> None:
        """While the talk takes nothing, a silence is not the peer's."""
        served = Served(self, ping_interval=20, ping_timeout=20)
        peer = served.open()
        served.talk.socket.pause_reading()
        peer.send(text("waits"))
        for _ in range(20):
            served.advance(15)
        self.assertFalse(peer.is_closed)
        self.assertEqual(served.talk.messages, [])
        served.talk.socket.resume_reading()
        served.advance(0)
        self.assertEqual(served.talk.messages, ["waits"])
        for _ in range(3):
            served.advance(15)
        self.assertTrue(peer.is_closed)

    def test_too_fast(self) -> None:
        """While a peer is not read for its `message_rate`, a silence is not the peer's; after that it is."""
        served = Served(self, ping_interval=20, ping_timeout=20, message_rate=1)
        peer = served.open()
        peer.send(text("x") * 101)
        peer.take()
        for _ in range(10):
            served.advance(9.9)
        self.assertEqual((peer.is_closed, peer.frames()), (False, []))
        served.advance(2)
        served.advance(19)
        self.assertEqual(peer.frames(), [])
        served.advance(2)
        self.assertEqual(peer.frames(), [("ping", b"")])
        served.advance(20)
        self.assertTrue(peer.is_closed)

    def test_after_a_pause(self) -> None:
        """The peer has the whole interval from the end of a pause."""
        served = Served(self, ping_interval=20)
        peer = served.open()
        served.talk.socket.pause_reading()
        served.advance(110)
        served.talk.socket.resume_reading()
        served.advance(19)
        self.assertEqual(peer.frames(), [])
        served.advance(1.5)
        self.assertEqual(peer.frames(), [("ping", b"")])

    def test_the_clock_is_set(self) -> None:
        """Whoever sets the clock forward costs nobody the connection."""
        served = Served(self, ping_interval=20, ping_timeout=20)
        peer = served.open()
        served.clock.rightNow += 5000
        served.advance(0)
        peer.send(frame(PONG))
        served.advance(19)
        self.assertFalse(peer.is_closed)


class BacklogTests(SynchronousTestCase):
    """R16: peers that do not read."""

    def test_too_much(self) -> None:
        """R16: a peer that does not read is cut off when too much waits; if it ever reads, by 4008."""
        served = Served(self, max_backlog=100_000)
        peer = served.open()
        peer.read(False)
        socket = served.talk.socket
        sent = 0
        while socket.is_open:
            socket.send_binary(b"x" * 1000)
            sent += 1000
            self.assertLessEqual(socket.backlog, 100_000)
            self.assertLess(sent, 200_000)
        self.assertGreater(sent, CHUNK + 90_000)
        self.assertEqual(socket.backlog, 0)  # it was dropped
        served.advance(1)
        self.assertFalse(peer.pipe.lost)
        peer.read(True)
        last = peer.frames()[-1]
        self.assertEqual(last, ("close", OVERRUN, "more than 100000 bytes wait to be read"))
        self.assertEqual(served.talk.code, OVERRUN)

    def test_never_reads(self) -> None:
        """R16: one that never reads is gone after the close timeout."""
        served = Served(self, max_backlog=1000, close_timeout=3)
        peer = served.open()
        peer.read(False)
        served.talk.socket.send_binary(b"x" * 70_000)
        served.talk.socket.send_binary(b"x" * 1000)
        self.assertFalse(served.talk.socket.is_open)
        served.advance(3.1)
        self.assertTrue(peer.pipe.aborted)
        self.assertEqual(served.talk.code, OVERRUN)

    def test_too_long(self) -> None:
        """R16: a peer that takes nothing for `write_timeout` is cut off, however little waits."""
        served = Served(self, write_timeout=7)
        peer = served.open()
        peer.read(False)
        served.talk.socket.send_binary(b"x" * 70_000)
        served.advance(6.9)
        self.assertTrue(served.talk.socket.is_open)
        served.advance(0.2)
        self.assertFalse(served.talk.socket.is_open)
        peer.read(True)
        self.assertEqual(peer.frames()[-1], ("close", OVERRUN, "nothing was read for 7 s"))

    def test_late_reader(self) -> None:
        """A peer that reads late, but in time, gets everything in order, and its time starts again."""
        served = Served(self, then=None, write_timeout=7)
        peer = served.open()
        socket = served.talk.socket
        for _ in range(3):
            peer.read(False)
            for i in range(200):
                socket.send_binary(b"%03d" % i + b"x" * 1000)
            self.assertFalse(socket.is_writable)
            self.assertGreater(socket.backlog, 0)
            served.advance(6)
            peer.read(True)
            self.assertEqual([data[:3] for _, data in peer.frames()], [b"%03d" % i for i in range(200)])
            self.assertTrue(socket.is_writable)
            self.assertEqual(socket.backlog, 0)
        self.assertEqual(served.talk.heard[1:], [("drained",)] * 3)

    def test_reads_in_parts(self) -> None:
        """What waits goes to the transport as that has room, and the talk hears when all of it has."""
        served = Served(self, then=None)
        peer = served.open()
        peer.read(False)
        for _ in range(30):
            served.talk.socket.send_binary(b"x" * 10_000)
        for _ in range(3):
            before = served.talk.socket.backlog
            peer.read_once()
            self.assertLess(sum(map(len, peer.pipe.pieces)), CHUNK + 11_000)
            self.assertLess(served.talk.socket.backlog, before)
        self.assertEqual(served.talk.heard[1:], [])
        peer.read(True)
        self.assertEqual(len(peer.frames()), 30)
        self.assertEqual(served.talk.heard[1:], [("drained",)])

    def test_sends_as_it_drains(self) -> None:
        """A talk that goes on whenever what waited has left can send without an end and without a backlog."""

        def pour(talk: Recorder, what: str, message: Any) -> None:
            while what in ("began", "drained") and talk.socket.is_writable and poured[0] < 50:
                talk.socket.send_binary(b"x" * 30_000)
                poured[0] += 1
                backlogs.append(talk.socket.backlog)

        poured, backlogs = [0], [0]
        peer = Served(self, then=pour).open()
        self.assertEqual(len(peer.frames()), 50)
        self.assertEqual(max(backlogs), 0)

    def test_shared_frame(self) -> None:
        """One text for many peers that do not read is kept once."""
        served = Served(self)
        news = text_frame(b"x" * 70_000)
        sockets = []
        for _ in range(3):
            peer = served.open()
            peer.read(False)
            sockets.append(served.talk.socket)
            sockets[-1].send_binary(b"x" * 70_000)
        for socket in sockets:
            socket.send(news)
            self.assertIs(socket._outbox._queue[0], news)

    def test_flood_of_pings(self) -> None:
        """R16: the memory for pongs to a peer that sends pings and does not read is bounded."""
        served = Served(self, max_backlog=100_000)
        peer = served.open()
        peer.read(False)
        served.talk.socket.send_binary(b"x" * 70_000)
        longest = 0
        for _ in range(5000):
            peer.send(frame(PING))
            longest = max(longest, len(served.talk.socket._outbox._queue))
        self.assertFalse(served.talk.socket.is_open)
        self.assertLessEqual(longest, 100_000 // ENTRY)

    def test_close_waits_for_the_reader(self) -> None:
        """What was said before a close reaches a peer that reads late, and then the close."""
        served = Served(self)
        peer = served.open()
        peer.read(False)
        for _ in range(3):
            served.talk.socket.send_binary(b"x" * 60_000)
        peer.send(close(1000))
        served.advance(1)
        self.assertFalse(peer.is_closed)
        peer.read(True)
        self.assertEqual([found[0] for found in peer.frames()], ["binary", "binary", "binary", "close"])
        self.assertTrue(peer.pipe.lost)

    def test_closed_and_never_read(self) -> None:
        """A connection that is to close and whose peer does not read is gone after the close timeout."""
        served = Served(self, close_timeout=3)
        peer = served.open()
        peer.read(False)
        for _ in range(3):
            served.talk.socket.send_binary(b"x" * 60_000)
        peer.send(close(1000))
        served.advance(3.1)
        self.assertTrue(peer.pipe.aborted)

    def test_pause(self) -> None:
        """A talk that pauses hears nothing until it resumes, and then all of it."""
        served = Served(self)
        peer = served.open()
        served.talk.socket.pause_reading()
        peer.send(text("1"))
        peer.send(text("2"))
        self.assertEqual(served.talk.messages, [])
        served.talk.socket.resume_reading()
        served.talk.socket.resume_reading()
        served.advance(0)
        self.assertEqual(served.talk.messages, ["1", "2"])

    def test_close_while_paused(self) -> None:
        """A close ends the pause, so that the peer's answer is seen."""
        served = Served(self)
        peer = served.open()
        served.talk.socket.pause_reading()
        served.talk.socket.close(1000, "enough")
        served.talk.socket.pause_reading()
        peer.send(close(1000))
        self.assertTrue(peer.pipe.lost)
        self.assertFalse(peer.pipe.aborted)


class FaultTests(SynchronousTestCase):
    """Talks that raise, and talks that close within a callback."""

    def broken(self, at: str) -> Callable[[Recorder, str, Any], None]:
        """What raises when `at` is called."""

        def then(talk: Recorder, what: str, message: Any) -> None:
            if what == at:
                raise RuntimeError(at)

        return then

    def test_raises(self) -> None:
        """A talk that raises is logged once, told nothing more but its end, and the peer is told 1011."""
        for at, stream in (
            ("began", b""),
            ("text", text("1")),
            ("text", text("1") + text("2")),
            ("binary", frame(BINARY, b"1") + text("2")),
        ):
            served = Served(self, then=self.broken(at))
            other = Served(self)
            bystander = other.open()
            peer = served.open()
            peer.send(stream)
            self.assertEqual(peer.close_code(), 1011)
            peer.send(text("3"))
            self.assertEqual(served.talk.messages, {"began": [], "text": ["1"], "binary": [b"1"]}[at])
            self.assertEqual(served.talk.code, 1011)
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
            bystander.send(text("x"))
            self.assertEqual(bystander.frames(), [("text", b"x")])

    def test_drained_raises(self) -> None:
        """An error when what waited has left ends that connection."""
        served = Served(self, then=self.broken("drained"))
        peer = served.open()
        peer.read(False)
        served.talk.socket.send_binary(b"x" * 70_000)
        peer.read(True)
        self.assertEqual(peer.close_code(), 1011)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_ended_raises(self) -> None:
        """An error at the end is logged, and all is cleaned up."""
        served = Served(self, then=self.broken("ended"))
        served.open().send(close(1000))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_closes_within(self) -> None:
        """A talk that closes when a message comes hears those behind it, and its close is said once."""

        def then(talk: Recorder, what: str, message: Any) -> None:
            if message == "bye":
                talk.socket.close(4001, "you said it")
                talk.socket.send_text(b"not heard")

        served = Served(self, then=then)
        peer = served.open()
        peer.send(text("bye") + text("x") + close(1000))
        self.assertEqual(peer.frames(), [("close", 4001, "you said it")])
        self.assertEqual(served.talk.messages, ["bye", "x"])
        self.assertTrue(peer.pipe.lost)

    def test_lost_within(self) -> None:
        """A connection that goes while a message is handled ends the talk; what came behind is not heard."""

        def then(talk: Recorder, what: str, message: Any) -> None:
            if message == "1":
                served.pipes[0].lose(ConnectionLost())

        served = Served(self, then=then)
        served.open().send(text("1") + text("2"))
        self.assertEqual(served.talk.heard[1:], [("text", "1"), ("ended", 1006, "")])

    def test_overrun_within(self) -> None:
        """A talk whose answer to a message is more than the peer may leave unread hears no more messages."""

        def then(talk: Recorder, what: str, message: Any) -> None:
            if what == "text":
                for _ in range(10):
                    talk.socket.send_binary(b"x" * 60_000)

        served = Served(self, then=then, max_backlog=100_000)
        peer = served.open()
        peer.read(False)
        peer.send(text("1") + text("2"))
        self.assertEqual(served.talk.messages, ["1"])
        peer.read(True)
        self.assertEqual(peer.close_code(), OVERRUN)

    def test_defect(self) -> None:
        """What goes wrong in our own parsing is logged and told as 1011, not swallowed."""
        served = Served(self)
        peer = served.open()
        served.talk.socket._rules.take = lambda frame: 1 // 0
        peer.send(frame(BINARY, b"x"))
        self.assertEqual(peer.close_code(), 1011)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class ClientTests(SynchronousTestCase):
    """The other side, before a server that is played byte for byte."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.talk = Recorder(echo)
        self.client = WebSocketClient(
            "ws://example.org:8000/path?x=1",
            "echo",
            self.clock,
            Limits(max_message=1000, close_timeout=3),
            self.talk,
            handshake_timeout=4,
        )
        self.pipe = Pipe(self.client)
        self.pipe.pump()
        self.request = bytes(self.pipe.sent)
        self.pipe.sent.clear()

    def tearDown(self) -> None:
        self.pipe.lose(ConnectionLost())
        assert_over(self, self.clock, [self.talk] if self.talk.heard else [])

    def answer(self, *headers: bytes, behind: bytes = b"") -> None:
        """The server agrees, and says `behind` in the same piece."""
        key = self.request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
        head = [
            b"HTTP/1.1 101 Switching Protocols",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Accept: " + accept_key(key.decode()).encode(),
            *headers,
        ]
        self.pipe.arrive(b"\r\n".join(head) + b"\r\n\r\n" + behind)

    def said(self) -> list[tuple[Any, ...]]:
        """The frames that the client has sent, all of them masked."""
        data = bytes(self.pipe.sent)
        self.pipe.sent.clear()
        return list(parse(data, mask=True))

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.pipe.pump()

    def test_request(self) -> None:
        """The request names the path, the host and the subprotocol, and no compression."""
        self.assertTrue(self.request.startswith(b"GET /path?x=1 HTTP/1.1\r\n"))
        self.assertIn(b"\r\nHost: example.org:8000\r\n", self.request)
        self.assertIn(b"\r\nSec-WebSocket-Protocol: echo\r\n", self.request)
        self.assertNotIn(b"Extensions", self.request)

    def test_talk(self) -> None:
        """The talk begins with the server's answer, and what it says is masked."""
        self.answer(b"Sec-WebSocket-Protocol: echo")
        self.assertEqual(self.talk.heard, [("began",)])
        self.pipe.arrive(text_frame(b"hello") + frame(BINARY, b"x" * 300, mask=False))
        self.assertEqual(self.said(), [("text", b"hello"), ("binary", b"x" * 300)])
        self.assertEqual(self.client.refusal, "")
        self.advance(5)
        self.assertFalse(self.pipe.lost)

    def test_in_one_piece(self) -> None:
        """Frames in one piece with the answer are heard after the beginning, and pings are answered."""
        self.answer(behind=frame(PING, b"p", mask=False) + text_frame(b"1") + text_frame(b"2"))
        self.assertEqual(self.talk.heard, [("began",), ("text", "1"), ("text", "2")])
        self.assertEqual(self.said(), [("pong", b"p"), ("text", b"1"), ("text", b"2")])

    def test_fault_in_one_piece(self) -> None:
        """A server that breaks the rules at once is told so, and the talk begins and ends."""
        self.answer(behind=frame(TEXT, b"masked"))
        self.assertEqual(self.said(), [("close", 1002, "incorrect masking")])
        self.assertEqual(self.talk.heard, [("began",)])
        self.advance(3.1)
        self.assertEqual(self.talk.code, 1002)
        self.assertEqual(self.client.refusal, "")

    def test_byte_by_byte(self) -> None:
        """R12: the answer and frames may come byte by byte."""
        arrive = self.pipe.arrive
        self.pipe.arrive = lambda data: [arrive(data[i : i + 1]) for i in range(len(data))]  # type: ignore
        self.answer(behind=text_frame(b"1") + frame(CLOSE, b"\x03\xe8", mask=False))
        self.assertEqual(self.talk.messages, ["1"])

    def test_refused(self) -> None:
        """A refusal says the status and the server's text, and the talk hears nothing."""
        for head in (b"Content-Length: 33\r\n", b""):
            self.setUp()
            self.pipe.arrive(
                b"HTTP/1.1 403 Forbidden\r\n" + head + b"\r\npages of x may not connect: \nread\n\n"
            )
            if not head:
                self.assertEqual(self.client.refusal, "")
                self.pipe.arrive(None)
            self.assertEqual(
                self.client.refusal, "the server answered 403 Forbidden (pages of x may not connect: read)"
            )
            self.assertEqual(self.talk.heard, [])
            self.assertTrue(self.pipe.lost)

    def test_wrong_accept(self) -> None:
        """An answer to another key, or with another subprotocol, is refused by us."""
        self.pipe.arrive(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n" + text_frame(b"x")
        )
        self.assertIn("does not speak this protocol", self.client.refusal)
        self.assertTrue(self.pipe.lost)
        self.setUp()
        self.answer(b"Sec-WebSocket-Protocol: other")
        self.assertIn("other", self.client.refusal)
        self.assertEqual(self.talk.heard, [])

    def test_no_http(self) -> None:
        """A server of something else is refused, however much it says."""
        for noise in (b"220 mail ready\r\n", b"\x00" * 20_000, b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 999):
            self.setUp()
            self.pipe.arrive(noise)
            self.assertIn("does not speak this protocol", self.client.refusal)
            self.assertTrue(self.pipe.lost)

    def test_no_answer(self) -> None:
        """A server that does not answer in time is left."""
        self.pipe.arrive(b"HTTP/1.1 101 Switch")
        self.advance(3.9)
        self.assertFalse(self.pipe.lost)
        self.advance(0.2)
        self.assertTrue(self.pipe.lost)
        self.assertEqual(self.client.refusal, "the server did not answer the handshake")

    def test_closed_before_the_answer(self) -> None:
        """A server that closes without an answer is named as that."""
        for data in (b"", b"HTTP/1.1 101 Switch"):
            self.setUp()
            if data:
                self.pipe.arrive(data)
            self.pipe.arrive(None)
            self.assertEqual(
                self.client.refusal, "the server closed the connection before it had answered the handshake"
            )

    def test_server_closes(self) -> None:
        """A close of the server is answered, and the talk is told its code when the server has gone."""
        self.answer()
        self.pipe.arrive(frame(CLOSE, b"\x03\xe9stop", mask=False))
        self.assertEqual(self.said(), [("close", 1001, "stop")])
        self.assertIsNone(self.talk.code)
        self.pipe.arrive(None)
        self.assertEqual(self.talk.heard[-1], ("ended", 1001, "stop"))

    def test_server_vanishes(self) -> None:
        """A server that goes without a close is 1006; one that leaves the closing to us is cut off."""
        self.answer()
        self.pipe.arrive(None)
        self.assertEqual(self.talk.heard[-1], ("ended", 1006, ""))
        self.talk.heard.clear()
        self.setUp()
        self.answer()
        self.pipe.arrive(frame(CLOSE, b"\x03\xe8", mask=False))
        self.advance(3.1)
        self.assertTrue(self.pipe.aborted)
        self.assertEqual(self.talk.code, 1000)

    def test_too_large(self) -> None:
        """R14: the client's limit holds as well."""
        self.answer(behind=b"\x82\x7f" + (1 << 40).to_bytes(8, "big"))
        self.assertEqual(self.said()[0][:2], ("close", 1009))

    def test_with_our_server(self) -> None:
        """Our client and our server understand each other, byte for byte of each other's stream."""
        served = Served(self)
        peer = served.connect()
        peer.send(self.request)
        self.pipe.arrive(peer.take())
        self.talk.socket.send_text("grüß".encode())
        self.talk.socket.close(4000, "ok")
        self.pipe.pump()
        peer.send(bytes(self.pipe.sent))
        self.assertEqual(served.talk.messages, ["grüß"])
        self.pipe.arrive(peer.take())
        self.assertEqual(self.talk.heard[1], ("text", "grüß"))
        self.pipe.arrive(None)
        self.assertEqual((served.talk.code, self.talk.code), (4000, 4000))
