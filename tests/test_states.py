"""The diagrams of connections: each of their arrows is what a server does."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.wire import FROM_CLIENT, encode_request
from protosuite.chatlog.wire import Error as ChatLogError
from protosuite.config import BusConfig, NumbersConfig
from protosuite.errors import StorageError
from protosuite.mediachat.conversation import (
    Answer,
    Begin,
    Close,
    Conversation,
    Discard,
    Finish,
    SaveText,
    Step,
)
from protosuite.mediachat.wire import Status
from protosuite.numbers.wire import Ack, Error, Number, SessionOpened, Start
from protosuite.test import test_bus_service as bus
from protosuite.test import test_mediachat_conversation as talk
from protosuite.test import test_numbers_service as numbers
from protosuite.test.chatlog_peers import Fixture as ChatLogFixture
from tests.test_documentation import of_docs

Case = Any  # a test case that has brought a connection into a state


def check(case: Any, protocol: str, begin: Any, events: dict[str, Any]) -> None:
    """Hold every line of a protocol's table against what happens.

    `begin` makes a connection in a state: an object with `said`, which tells what the server has said
    since it was asked last, and `is_in`, whether it is in a state. `events` do one thing each.
    """
    states, rows = of_docs("states").table(protocol)
    case.assertEqual({event for _, event, _, _ in rows}, set(events))
    case.assertEqual({state for row in rows for state in (row[0], row[3])}, set(states))
    for before, event, says, after in rows:
        case.setUp()
        made = begin(case, before)
        case.assertTrue(made.is_in(before), (before, event))
        made.said()
        events[event](made)
        row = (before, event, says, after)
        case.assertEqual((before, event, made.said(), after), row)
        case.assertTrue(made.is_in(after), row)
        case.doCleanups()


class NumbersPeer:
    """A connection to numbers/1."""

    def __init__(self, case: Case, state: str) -> None:
        self.case, self.clock = case, case.clock
        self.raw = numbers.Raw(case.service)
        if state != "opened":
            self.raw.send(Start("ana"))
        if state == "window full":
            self.pass_intervals(2)

    def pass_intervals(self, count: int = 1) -> None:
        for _ in range(count):
            self.clock.advance(1)

    def fill_the_window(self) -> None:
        self.pass_intervals()
        self.said()
        self.pass_intervals()

    def near_the_end(self) -> None:
        for index in range(11):
            self.raw.send(Ack(index))
            self.pass_intervals(index < 10)
        self.said()
        self.pass_intervals()

    def said(self) -> str:
        found = []
        for message in self.raw.received():
            names = {SessionOpened: "session", Number: "number", Error: "error"}
            code = f" {message.code}" if isinstance(message, Error) else ""
            found.append(names.get(type(message), "end") + code)
        return ", ".join(found)

    def is_in(self, state: str) -> bool:
        stream = self.raw.protocol.stream
        if self.raw.protocol.finishing:
            return state == "closed"
        if stream is None:
            return state == "opened"
        is_full = stream.next - stream.acknowledged == 3
        return state == ("window full" if is_full else "sending")


class NumbersStateTests(numbers.Fixture):
    """numbers/1."""

    config = NumbersConfig(max_messages=12, window=3, interval=1, ack_timeout=50, handshake_timeout=5)

    def test_states(self) -> None:
        """Each arrow of numbers/1 is what the server does."""
        check(
            self,
            "numbers",
            NumbersPeer,
            {
                "start": lambda peer: peer.raw.send(Start("ana")),
                "start elsewhere": lambda peer: numbers.Raw(peer.case.service).send(Start("ana")),
                "ack": lambda peer: peer.raw.send(Ack(0)),
                "ack of one not sent": lambda peer: peer.raw.send(Ack(5)),
                "ack_timeout": lambda peer: peer.clock.advance(60),
                "handshake_timeout": lambda peer: peer.clock.advance(6),
                "interval": lambda peer: (peer.raw.send(Ack(0)), peer.pass_intervals()),
                "interval, window full": NumbersPeer.fill_the_window,
                "interval, last number": NumbersPeer.near_the_end,
                "no JSON": lambda peer: peer.raw.send(b"hello\n"),
                "stop": lambda peer: peer.raw.protocol.shut_down(),
            },
        )


class BusPeer:
    """A connection to bus/1, and another one whose durable subscription is full, or will be."""

    def __init__(self, case: Case, state: str) -> None:
        self.case, self.clock = case, case.clock
        self.subscriber = bus.Raw(case.service).send(pb.Subscribe(pattern="full", durable="d"))
        bus.Raw(case.service).send(*(bus.publish("full") for _ in range(3)))
        self.raw = bus.Raw(case.service)
        if state != "answering":
            self.publish_to_full()
        if state == "leaving":
            self.raw.protocol.peer_finished()

    def publish_to_full(self) -> None:
        self.raw.send(bus.publish("full", id=7))

    def acknowledge(self) -> None:
        self.case.ack(self.subscriber, self.subscriber.events()[0])

    def said(self) -> str:
        names = {pb.EchoMessage: "echo", pb.Receipt: "receipt", pb.Error: "error"}
        return ", ".join(f"{names[type(m)]} {getattr(m, 'code', '')}".strip() for m in self.raw.received())

    def is_in(self, state: str) -> bool:
        protocol = self.raw.protocol
        if protocol.finishing:
            return state == "closed"
        if protocol.must_wait() or protocol._held:
            return state == ("leaving" if protocol._leaving else "publish waits")
        return state == "answering"


class BusStateTests(bus.Fixture):
    """bus/1."""

    config = BusConfig(max_durable_events=3, publish_timeout=5, ack_timeout=100)

    def test_states(self) -> None:
        """Each arrow of bus/1 is what the server does."""
        self.assertIn(1, FROM_CLIENT)
        check(
            self,
            "bus",
            BusPeer,
            {
                "echo": lambda peer: peer.raw.send(pb.EchoMessage(content="x")),
                "a body that is none": lambda peer: peer.raw.send(b"\x0a\x01\xff"),
                "publish": lambda peer: peer.raw.send(bus.publish("free", id=1)),
                "publish, subscription full": BusPeer.publish_to_full,
                "ack by the subscriber": BusPeer.acknowledge,
                "publish_timeout": lambda peer: peer.clock.pump([1] * 8),
                "unknown field": lambda peer: peer.raw.send(b"\x7a\x00"),
                "half-close": lambda peer: peer.raw.protocol.peer_finished(),
                "stop": lambda peer: peer.raw.protocol.shut_down(),
            },
        )
        self.assertEqual(encode_request(pb.EchoMessage()), b"\x0a\x00")


class ChatLogPeer:
    """A connection in a room."""

    def __init__(self, case: Case, state: str) -> None:
        self.case = case
        self.client = case.join()
        if state == "one is missing":
            self.append(1)

    def append(self, seq: int, content: str = "x") -> None:
        self.client.append(content, seq=seq)

    def append_used(self) -> None:
        self.append(0)
        self.said()
        self.append(0)

    def fail_to_store(self) -> None:
        self.case.workers.database.no_writes = StorageError("no")
        self.append(0)
        self.case.settle()

    def said(self) -> str:
        found = []
        for message in self.client.heard():
            code = f" {message.code}" if isinstance(message, ChatLogError) else ""
            found.append(type(message).__name__ + code)
        return ", ".join(found)

    def is_in(self, state: str) -> bool:
        if self.client.close_code is not None:
            return state == "closed"
        [member] = self.case.service._members.values()
        return state == ("one is missing" if member.writer.held else "in order")


class ChatLogStateTests(ChatLogFixture):
    """chatlog.v1."""

    def test_states(self) -> None:
        """Each arrow of chatlog.v1 is what the server does."""
        check(
            self,
            "chatlog",
            ChatLogPeer,
            {
                "append": lambda peer: peer.append(0),
                "append that cannot be": lambda peer: peer.append(0, ""),
                "append, seq used": ChatLogPeer.append_used,
                "append, seq ahead": lambda peer: peer.append(1),
                "append, too far ahead": lambda peer: peer.append(1000),
                "the missing append": lambda peer: peer.append(0),
                "append, not stored": ChatLogPeer.fail_to_store,
                "update": lambda peer: peer.client.update(),
                "stop": lambda peer: peer.case.service.drain(60),
            },
        )


class Talk:
    """A conversation with the media chat, and its server's side, which answers as the real one does."""

    HOURS = talk.HOURS

    def __init__(self, case: Case, state: str) -> None:
        self.core = Conversation(talk.PARIS, False, self.HOURS, talk.MAX)
        self.words: list[str] = []
        self.is_closed = False
        self.head: Any = None
        ways = {"announced": {"upload": "u"}, "storing": {}, "draining": {"kind": "voice"}}
        if state in ways:
            self.binary(talk.head(**ways[state]))

    def binary(self, data: bytes) -> None:
        self.do(self.core.binary(data, talk.NOON))

    def text(self, text: str) -> None:
        self.do(self.core.text(text, talk.NOON))

    def do(self, steps: list[Step]) -> None:
        for step in steps:
            match step:
                case SaveText() | Finish():
                    self.words.append("saved")
                case Discard():
                    self.words.append("discarded")
                case Begin(head):
                    self.head = head
                case Answer(Status(status, code=code)):
                    self.words.append(f"{status} {code}")
                case Close():
                    self.is_closed = True

    def be_ready(self) -> None:
        self.words.append("ready")
        self.do(self.core.ready(self.head, 0))

    def refuse(self) -> None:
        self.words.append("error quota")
        self.core.refused(self.head)

    def said(self) -> str:
        words, self.words = self.words, []
        return ", ".join(words)

    def is_in(self, state: str) -> bool:
        names = {"NONE": "between", "WAITING": "announced", "STORING": "storing", "DRAINING": "draining"}
        return state == ("closed" if self.is_closed else names[self.core._state.name])


class MediaChatStateTests(SynchronousTestCase):
    """mediachat.v1."""

    def test_states(self) -> None:
        """Each arrow of mediachat.v1 is what its conversation does."""
        check(
            self,
            "mediachat",
            Talk,
            {
                "text": lambda made: made.text('{"type":"text","text":"x"}'),
                "cancel": lambda made: made.text('{"type":"cancel"}'),
                "head": lambda made: made.binary(talk.head()),
                "head with upload": lambda made: made.binary(talk.head(upload="u")),
                "head, outside the hours": lambda made: made.binary(talk.head(kind="voice")),
                "head with upload, outside the hours": lambda made: made.binary(
                    talk.head(kind="voice", upload="u")
                ),
                "head, too large": lambda made: made.binary(talk.head(size=talk.MAX + 1)),
                "a binary frame that is no head": lambda made: made.binary(b"{}"),
                "the store is ready": Talk.be_ready,
                "the store refuses": Talk.refuse,
                "bytes": lambda made: made.binary(b"x"),
                "last bytes": lambda made: made.binary(b"xxx"),
                "more than announced": lambda made: made.binary(b"xxxx"),
            },
        )
