"""The stream of bus/1, and which topics match which patterns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.topics import Trie, check_pattern, check_topic
from protosuite.bus.wire import (
    FROM_CLIENT,
    FROM_SERVER,
    MAX_MESSAGE,
    Decoder,
    Malformed,
    encode_reply,
    encode_request,
    plain_echoes,
)
from protosuite.errors import BadRequest, PeerFault
from protosuite.testing import assert_cuts_alike, decoded

TEXTS = st.text(max_size=10)
UINT32, UINT64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
BYTES = st.binary(max_size=200)  # past 127 a length takes two bytes
ECHOES = st.builds(pb.EchoMessage, content=TEXTS)
REQUESTS: st.SearchStrategy[Message] = st.one_of(
    ECHOES,
    st.builds(pb.AddRequest, a=INT32, b=INT32),
    st.builds(pb.Subscribe, pattern=TEXTS, replay=UINT32, durable=TEXTS, prefetch=UINT32, depth=UINT32),
    st.builds(pb.Unsubscribe, pattern=TEXTS, durable=TEXTS),
    st.builds(pb.Publish, topic=TEXTS, payload=BYTES, content_type=TEXTS, id=UINT64),
    st.builds(pb.Ack, delivery=UINT64),
    st.builds(pb.Authenticate, token=TEXTS),
)
REPLIES: st.SearchStrategy[Message] = st.one_of(
    ECHOES,
    st.builds(pb.AddResponse, result=INT32),
    st.builds(
        pb.Event,
        topic=TEXTS,
        payload=BYTES,
        content_type=TEXTS,
        sequence=UINT64,
        delivery=UINT64,
        published_at=st.integers(-(2**63), 2**63 - 1),
        dropped=UINT64,
        pattern=TEXTS,
    ),
    st.builds(pb.Receipt, id=UINT64, sequence=UINT64),
    st.builds(pb.Error, code=TEXTS, message=TEXTS, id=UINT64),
)
HELLO = bytes.fromhex("0a070a0568656c6c6f")  # ClientMessage(echo_message=EchoMessage(content="hello"))


def client_decoder() -> Decoder:
    return Decoder(FROM_CLIENT)


def small_decoder() -> Decoder:
    return Decoder(FROM_CLIENT, max_message=20)


class EncodingTests(SynchronousTestCase):
    """What goes over the wire is one encoded message, and nothing else."""

    def test_examples(self) -> None:
        """The bytes are those that the contract shows, in both directions."""
        for image, body in (
            ("0a070a0568656c6c6f", pb.EchoMessage(content="hello")),
            ("0a00", pb.EchoMessage()),
            ("120408051007", pb.AddRequest(a=5, b=7)),
            ("120b08" + "ff" * 9 + "01", pb.AddRequest(a=-1)),
            ("1a030a0123", pb.Subscribe(pattern="#")),
            ("3202080c", pb.Ack(delivery=12)),
        ):
            self.assertEqual(encode_request(body), bytes.fromhex(image))
            self.assertEqual(assert_cuts_alike(client_decoder, bytes.fromhex(image)), [body])
        self.assertEqual(encode_reply(pb.AddResponse(result=12)), bytes.fromhex("1202080c"))
        self.assertEqual(encode_reply(pb.EchoMessage(content="hello")), HELLO)

    def test_bare_messages_of_an_old_client(self) -> None:
        """A ``ClientMessage`` as the protobuf library writes it, a zero explicit or not, is a request."""
        for message, body in (
            (pb.ClientMessage(echo_message=pb.EchoMessage(content="hello")), pb.EchoMessage(content="hello")),
            (pb.ClientMessage(add_request=pb.AddRequest(a=1)), pb.AddRequest(a=1)),
        ):
            self.assertEqual(decoded(client_decoder(), message.SerializeToString()), [body])
        explicit_zero = bytes.fromhex("120408011000")
        self.assertEqual(decoded(client_decoder(), explicit_zero), [pb.AddRequest(a=1, b=0)])

    @given(REQUESTS, REPLIES)
    def test_an_old_peer_reads_it(self, request: Any, reply: Any) -> None:
        """The protobuf library reads what is written as a message with that one field."""
        for image, message in (
            (encode_request(request), pb.ClientMessage()),
            (encode_reply(reply), pb.ServerMessage()),
        ):
            message.ParseFromString(image)
            [(_, body)] = message.ListFields()
            self.assertIn(body, (request, reply))
            self.assertEqual(message.SerializeToString(), image)

    @given(st.lists(REQUESTS, max_size=3), st.lists(REPLIES, max_size=3))
    def test_round_trips(self, requests: list[Message], replies: list[Message]) -> None:
        """R12: what is encoded is decoded as it was, however it is cut."""
        self.assertEqual(assert_cuts_alike(client_decoder, b"".join(map(encode_request, requests))), requests)
        image = b"".join(map(encode_reply, replies))
        self.assertEqual(assert_cuts_alike(lambda: Decoder(FROM_SERVER), image), replies)

    def test_lengths(self) -> None:
        """Bodies are framed right on both sides of each length that takes a byte more."""
        for size in (120, 122, 124, 125, 126, 130, 16_370, 16_378, 16_379, 16_380, 16_390, MAX_MESSAGE - 4):
            body = pb.EchoMessage(content="x" * size)
            image = encode_request(body)
            self.assertEqual(image, pb.ClientMessage(echo_message=body).SerializeToString())
            self.assertEqual(decoded(client_decoder(), image[:3], image[3:]), [body])


class PlainEchoTests(SynchronousTestCase):
    """Echoes that are answered with their own bytes."""

    @given(
        st.lists(
            st.one_of(
                st.builds(encode_request, ECHOES),
                st.builds(encode_request, st.builds(pb.EchoMessage, content=st.text("ab\0\n", max_size=130))),
                st.lists(st.sampled_from([10, 10, 0, 1, 2, 3, 4, 8, 97, 200]), max_size=12).map(bytes),
            ),
            max_size=6,
        ).map(b"".join)
    )
    def test_the_same_answer(self, image: bytes) -> None:
        """R13: what is found is so many echoes, and its bytes are what answers them one by one."""
        count, end = plain_echoes(image)
        bodies = list(Decoder(FROM_CLIENT).feed(image[:end]))
        self.assertEqual([type(body) for body in bodies], [pb.EchoMessage] * count)
        answers = [encode_reply(body) for body in bodies if isinstance(body, Message)]
        self.assertEqual(b"".join(answers), image[:end])

    def test_as_far_as_they_are_plain(self) -> None:
        """All that anybody's library writes of short texts is found, up to what is something else or cut."""
        texts = ("", "a", "hello", "x" * 125)
        plain = b"".join(encode_request(pb.EchoMessage(content=text)) for text in texts)
        for other in (encode_request(pb.AddRequest(a=1)), HELLO[:-1], b"\x0a", b""):
            self.assertEqual(plain_echoes(plain + other), (4, len(plain)), other)
        for text in ("x" * 126, "é"):
            self.assertEqual(plain_echoes(plain + encode_request(pb.EchoMessage(content=text))), (0, 0))


class DecoderTests(SynchronousTestCase):
    """Bytes in, messages or one fault out."""

    def faults(self, image: bytes, code: str) -> None:
        """Hold that what `image` has after a good message is a fault, however it is cut."""
        self.assertEqual(
            assert_cuts_alike(client_decoder, HELLO + image), [pb.EchoMessage(content="hello"), code]
        )

    @given(st.binary(max_size=60))
    def test_any_bytes_give_messages_or_one_fault(self, image: bytes) -> None:
        """R12, R13: no bytes raise anything but a fault, and every cut of them gives the same."""
        assert_cuts_alike(client_decoder, image)

    @given(st.lists(st.sampled_from([*HELLO, 0x12, 0x1A, 0x20, 0x7F, 0x80, 0xFF]), max_size=40))
    def test_bytes_that_are_nearly_right(self, image: list[int]) -> None:
        """R12, R13: the same holds for bytes of the kind that messages are made of."""
        assert_cuts_alike(small_decoder, bytes(image))

    def test_unknown_fields(self) -> None:
        """A field number that is not a message's ends the stream, the largest and 0 among them."""
        for number in (0, 8, 15, 16, 2047, 2**29 - 1, 2**61 - 1):
            self.faults(varint(number << 3 | 2) + b"\x00", "unknown-field")

    def test_what_only_the_other_side_sends(self) -> None:
        """Each side takes the messages of the other, and no more."""
        self.assertEqual(decoded(Decoder(FROM_SERVER), b"\x32\x00"), ["unknown-field"])
        self.assertEqual(decoded(client_decoder(), b"\x12\x02\x08\x0c"), [pb.AddRequest(a=12)])

    def test_wire_types(self) -> None:
        """A known field of each other wire type ends the stream."""
        for wire_type in (0, 1, 3, 4, 5, 6, 7):
            for number in FROM_CLIENT:
                self.faults(varint(number << 3 | wire_type) + b"\x00", "bad-wire-type")

    def test_varints_too_long(self) -> None:
        """A number of more than ten bytes or 64 bits ends the stream, in a tag and in a length."""
        for number in (b"\x80" * 10, b"\xff" * 10 + b"\x01", b"\x80" * 9 + b"\x02", b"\xff" * 9 + b"\x7f"):
            self.faults(number, "bad-varint")
            self.faults(b"\x0a" + number, "bad-varint")

    def test_numbers_written_longer_than_they_need(self) -> None:
        """Ten bytes that make a small number are that number, as protobuf has it."""
        for zeros in range(9):
            tail = b"\x80" * zeros + b"\x00"
            self.assertEqual(
                assert_cuts_alike(client_decoder, b"\x8a" + tail + b"\x82" + tail + b"\x0a\x00"),
                [pb.EchoMessage()],
            )

    def test_varints_too_long_in_a_body(self) -> None:
        """Inside a body such a number is a message that does not parse, and the stream goes on."""
        for number in (b"\x80" * 10, b"\xff" * 11 + b"\x01"):
            body = b"\x08" + number
            image = b"\x12" + bytes([len(body)]) + body + HELLO
            bad, good = assert_cuts_alike(client_decoder, image)
            self.assertIsInstance(bad, Malformed)
            self.assertEqual(good, pb.EchoMessage(content="hello"))

    def test_bodies_that_do_not_parse(self) -> None:
        """Text that is no UTF-8, a body cut short or of another shape costs only itself."""
        for body in (b"\x0a\x01\xff", b"\x0a\x02\xc0\x80", b"\x0a\x03\xed\xa0\x80", b"\x0a\x05abc", b"\x0f"):
            image = HELLO + b"\x0a" + bytes([len(body)]) + body + HELLO
            first, bad, last = assert_cuts_alike(client_decoder, image)
            self.assertIsInstance(bad, Malformed)
            self.assertIn("EchoMessage", bad.message)
            self.assertEqual([first, last], [pb.EchoMessage(content="hello")] * 2)

    def test_fields_of_a_later_version_are_left_alone(self) -> None:
        """A body with a field that this version does not have is taken without it."""
        [body] = decoded(client_decoder(), b"\x0a\x0a" + HELLO[2:] + b"\x9a\x06\x00")
        self.assertEqual(body.content, "hello")

    def test_too_large(self) -> None:
        """R14: a body of the most bytes is taken; one more is refused from its length, before any of it."""
        body = b"\x0a\x12" + b"x" * 18
        self.assertEqual(
            assert_cuts_alike(small_decoder, b"\x0a\x14" + body), [pb.EchoMessage(content="x" * 18)]
        )
        self.assertEqual(assert_cuts_alike(small_decoder, b"\x0a\x15"), ["too-large"])
        for length in (MAX_MESSAGE + 1, 2**32, 2**64 - 1):
            self.faults(b"\x0a" + varint(length), "too-large")

    def test_nothing_is_kept_after_a_fault(self) -> None:
        """R14: what comes after a fault is not collected, and is the same fault."""
        decoder = small_decoder()
        for data in (b"\x0a\x7f" + b"x" * 1000, b"x" * 1000, HELLO):
            with self.assertRaises(PeerFault) as caught:
                list(decoder.feed(data))
            self.assertEqual(caught.exception.code, "too-large")
            self.assertEqual(len(decoder._buffer), 0)

    def test_what_is_kept_is_bounded(self) -> None:
        """R14: however it is cut, no more than one incomplete message is kept once what came is taken."""
        decoder = small_decoder()
        image = encode_request(pb.EchoMessage(content="x" * 18)) * 20
        kept = 0
        for i in range(0, len(image), 7):
            list(decoder.feed(image[i : i + 7]))
            kept = max(kept, len(decoder._buffer))
        self.assertLess(kept, 22)

    @given(st.lists(REQUESTS, max_size=6), st.lists(st.integers(0, 3), max_size=12), st.integers(1, 50))
    def test_who_stops_asking_loses_nothing(
        self, requests: list[Message], asked: list[int], piece: int
    ) -> None:
        """What was not asked for comes from the next call, in order and once."""
        decoder, found = client_decoder(), []
        image = b"".join(map(encode_request, requests))
        for turn, at in enumerate(range(0, len(image), piece)):
            arrived = decoder.feed(image[at : at + piece])
            for _ in range(asked[turn] if turn < len(asked) else 1):
                if (body := next(arrived, None)) is not None:
                    found.append(body)
        found.extend(decoder.feed(b""))
        self.assertEqual(found, requests)

    def test_a_fault_waits_for_those_before_it(self) -> None:
        """Good messages of a segment come first, also to one who stops between them and the fault."""
        decoder = client_decoder()
        arrived = decoder.feed(HELLO + HELLO + b"\xff\xff")
        self.assertEqual(next(arrived), pb.EchoMessage(content="hello"))
        del arrived
        self.assertEqual(decoded(decoder, b"", b"\xff" * 8), [pb.EchoMessage(content="hello"), "bad-varint"])


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


WORDS = ("a", "b", "c")
TOPICS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(".".join)
PATTERNS = st.lists(st.sampled_from((*WORDS, "*", "#")), min_size=1, max_size=6).map(".".join)


def matches(pattern: list[str], topic: list[str]) -> bool:
    """The rule, as one says it."""
    if not pattern:
        return not topic
    first, *rest = pattern
    if first == "#":
        return any(matches(rest, topic[i:]) for i in range(len(topic) + 1))
    return bool(topic) and first in ("*", topic[0]) and matches(rest, topic[1:])


def does_match(pattern: str, topic: str) -> bool:
    return matches(pattern.split("."), topic.split("."))


class Looked(dict[str, Any]):
    """A node's children, counting who looks at them."""

    looks = 0

    def get(self, *arguments: Any) -> Any:
        Looked.looks += 1
        return super().get(*arguments)


def looks(trie: Trie[int], topic: str) -> int:
    """How often finding what matches `topic` looks for a child of a node."""
    waiting = [trie._root]
    while waiting:
        node = waiting.pop()
        node.children = Looked(node.children)
        waiting.extend(node.children.values())
    Looked.looks = 0
    list(trie.matching(topic))
    return Looked.looks


def filled(patterns: Iterable[str]) -> Trie[int]:
    """A trie with the place of each pattern under it."""
    trie: Trie[int] = Trie()
    for place, pattern in enumerate(patterns):
        trie.add(pattern, place)
    return trie


class TopicTests(SynchronousTestCase):
    """What is a topic, what is a pattern, and what matches what."""

    def test_topics(self) -> None:
        """A topic is words joined by dots, 255 bytes at most, and nothing else is one."""
        for topic in ("a", "sensor.temperature", "A-Z_09.-._", "x" * 255):
            check_topic(topic)
            check_pattern(topic)
        for bad in (
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "é",
            "a\n",
            "a.b\n",
            "a/b",
            "x" * 256,
            "a*",
            "#a",
            "*#",
        ):
            for check, code in ((check_topic, "bad-topic"), (check_pattern, "bad-pattern")):
                with self.assertRaises(BadRequest) as caught:
                    check(bad)
                self.assertEqual(caught.exception.code, code)

    def test_patterns(self) -> None:
        """In a pattern a whole word may be a star or a hash; in a topic none may."""
        for pattern in ("*", "#", "a.*", "#.a.*.#", "*.*"):
            check_pattern(pattern)
            self.assertRaises(BadRequest, check_topic, pattern)

    def test_matching_examples(self) -> None:
        """A star is one word, a hash any number of them, none included."""
        for pattern, topics, others in (
            ("#", ("a", "a.b.c"), ()),
            ("a.#", ("a", "a.b", "a.b.c"), ("b", "b.a", "ab")),
            ("#.a", ("a", "b.a", "a.a"), ("a.b",)),
            ("a.*", ("a.b",), ("a", "a.b.c")),
            ("a.#.b", ("a.b", "a.c.b", "a.b.b"), ("a", "b", "a.b.c")),
            ("a.b", ("a.b",), ("a", "a.b.c", "a.c")),
        ):
            for topic in topics:
                self.assertEqual(list(filled([pattern]).matching(topic)), [0], (pattern, topic))
            for topic in others:
                self.assertEqual(list(filled([pattern]).matching(topic)), [], (pattern, topic))

    @given(st.lists(PATTERNS, max_size=12), TOPICS)
    def test_matching(self, patterns: list[str], topic: str) -> None:
        """The values of just those patterns are found that match, each once."""
        expected = [place for place, pattern in enumerate(patterns) if does_match(pattern, topic)]
        self.assertEqual(sorted(filled(patterns).matching(topic)), expected)

    @given(st.lists(TOPICS, max_size=12), PATTERNS)
    def test_under(self, topics: list[str], pattern: str) -> None:
        """The values of just those topics are found that the pattern matches, each once."""
        expected = [place for place, topic in enumerate(topics) if does_match(pattern, topic)]
        self.assertEqual(sorted(filled(topics).under(pattern)), expected)

    @given(st.lists(PATTERNS, max_size=10), st.randoms(use_true_random=False), TOPICS)
    def test_removing(self, patterns: list[str], chance: Any, topic: str) -> None:
        """What is removed is not found, the rest is, and nothing is left behind by what has gone."""
        trie = filled(patterns)
        places = list(range(len(patterns)))
        chance.shuffle(places)
        while places:
            place = places.pop()
            trie.remove(patterns[place], place)
            expected = sorted(p for p in places if does_match(patterns[p], topic))
            self.assertEqual(sorted(trie.matching(topic)), expected)
            self.assertEqual(nodes(trie), nodes(filled(patterns[p] for p in places)))
        self.assertTrue(trie._root.is_empty)

    def test_removing_what_is_not_there(self) -> None:
        """Removing what was not added is a mistake of the caller's, and changes nothing."""
        trie = filled(["a.b"])
        for pattern, value in (("a.b", 7), ("a", 0), ("a.b.c", 0), ("x", 0)):
            self.assertRaises(KeyError, trie.remove, pattern, value)
        self.assertEqual(list(trie.matching("a.b")), [0])

    def test_the_order_of_arrival(self) -> None:
        """Values of one pattern are found in the order in which they were added."""
        trie: Trie[int] = Trie()
        for value in (3, 1, 2):
            trie.add("a", value)
        trie.remove("a", 1)
        trie.add("a", 1)
        self.assertEqual(list(trie.matching("a")), [3, 2, 1])

    def test_others_cost_nothing(self) -> None:
        """Finding looks at as many nodes with ten thousand subscriptions elsewhere as with none."""
        ours = ["a.b.c", "a.#", "*.b.*", "#"]
        others = [f"{kind}.{n}.{m}" for kind in ("x", "*.y", "z.#") for n in range(60) for m in range(60)]
        alone, crowded = looks(filled(ours), "a.b.c"), looks(filled(ours + others), "a.b.c")
        self.assertLess(alone, 60)
        # Some more, for the places that the few words in front of the others lead to.
        self.assertLess(crowded, alone + 20)

    def test_many_hashes(self) -> None:
        """The cost of a pattern full of hashes grows with its length, not with the ways to match it."""
        trie = filled([".".join(["#"] * 128), ".".join(["#", "a"] * 64), ".".join(["#", "*"] * 64)])
        self.assertEqual(sorted(trie.matching(".".join(["a"] * 128))), [0, 1, 2])
        topic = ".".join(["a"] * 127 + ["b"])
        self.assertEqual(sorted(trie.matching(topic)), [0, 2])
        # At most three children are looked for at each of the 384 nodes and each of the 128 words.
        self.assertLess(looks(trie, topic), 3 * 384 * 129)

    def test_many_hashes_under(self) -> None:
        """The same holds the other way round."""
        topics = [f"a.{n}.b.{m}" for n in range(10) for m in range(10)]
        self.assertEqual(len(list(filled(topics).under(".".join(["#"] * 128)))), 100)
        self.assertEqual(sorted(filled(topics).under("#.*.#.3")), [n * 10 + 3 for n in range(10)])


def nodes(trie: Trie[int]) -> int:
    """How many nodes a trie has."""
    waiting, count = [trie._root], 0
    while waiting:
        waiting.extend(waiting.pop().children.values())
        count += 1
    return count
