"""The diagrams of connections over TCP: each of their arrows is what a server does."""

from __future__ import annotations

import re
from typing import Any

from attrs import fields
from twisted.trial.unittest import SynchronousTestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.wire import FROM_CLIENT
from protosuite.bus.wire import encode_request as encode_bus_request
from protosuite.config import SECTIONS, SERVICES, BusConfig, CounterConfig, NumbersConfig
from protosuite.counter.server import CounterService
from protosuite.counter.store import CounterStore
from protosuite.counter.wire import MAX, encode_request
from protosuite.numbers.wire import Ack, Error, Number, SessionOpened, Start
from protosuite.test import test_bus_service as bus
from protosuite.test import test_counter_service as counter
from protosuite.test import test_numbers_service as numbers
from tests.states import Case, Passing, check
from tests.test_documentation import DOCS, of_docs

# The diagrams of each service on whose connections time runs out.
DRAWN = {
    "numbers": ("numbers",),
    "counter": ("counter", "counter-nodes"),
    "bus": ("bus", "durable"),
    "chatlog": ("chatlog", "websocket"),
    "mediachat": ("mediachat", "hello", "websocket"),
    "admin": ("websocket",),
}
NOT_OF_CONNECTIONS = {"probe_timeout", "node_timeout", "media_timeout"}  # of what else the suite waits for


def does_not_read(peer: Any) -> None:
    """The transport has enough to send."""
    peer.raw.protocol.pauseProducing()


class NumbersPeer:
    """A connection to numbers/1."""

    def __init__(self, case: Case, state: str) -> None:
        self.case, self.clock = case, case.clock
        self.raw = numbers.Raw(case.service)
        if state == "closed":
            self.raw.send(b"hello\n")
        elif state != "opened":
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
        if self.raw.transport.aborted:
            return state == "cut off"
        if self.raw.protocol.finishing:
            return state == "closed"
        if stream is None:
            return state == "opened"
        is_full = stream.next - stream.acknowledged == 3
        return state == ("window full" if is_full else "sending")


class NumbersStateTests(numbers.Fixture):
    """numbers/1."""

    config = NumbersConfig(max_messages=12, window=3, interval=1, ack_timeout=50)

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
                "handshake_timeout": Passing("handshake_timeout"),
                "message_timeout": Passing("message_timeout", lambda peer: peer.raw.send(b'{"type"')),
                "idle_timeout": Passing("idle_timeout"),
                "write_timeout": Passing("write_timeout", does_not_read),
                "close_timeout": Passing("close_timeout"),
                "interval": lambda peer: (peer.raw.send(Ack(0)), peer.pass_intervals()),
                "interval, window full": NumbersPeer.fill_the_window,
                "interval, last number": NumbersPeer.near_the_end,
                "no JSON": lambda peer: peer.raw.send(b"hello\n"),
                "stop": lambda peer: peer.raw.protocol.shut_down(),
            },
        )


class CounterPeer:
    """A connection to counter/1, whose every reply waits for a commit."""

    def __init__(self, case: Case, state: str) -> None:
        self.case = case
        self.raw = counter.Raw(case.service)
        if state != "opened":
            self.raw.add(1)
        if state == "closed":
            self.half_close()
        if state in ("commit awaited", "leaving"):
            self.add_slowly()
        if state == "leaving":
            self.half_close()

    def add_slowly(self) -> None:
        self.case.writer.at_once = False
        self.raw.add(1)

    def add_in_vain(self) -> None:
        self.case.break_store()
        self.raw.add(1)

    def add_too_much(self) -> None:
        self.case.set_total(MAX)
        self.raw.add(1)

    def arrive(self, data: bytes) -> None:
        self.raw.protocol.dataReceived(data)

    def half_close(self) -> None:
        self.raw.protocol.readConnectionLost()

    def said(self) -> str:
        return ", ".join("reply" for _ in self.raw.replies())

    def is_in(self, state: str) -> bool:
        protocol = self.raw.protocol
        if self.raw.transport.aborted:
            return state == "cut off"
        if protocol.finishing:
            return state == "closed"
        if protocol.is_owed():
            return state == ("leaving" if protocol._leaving else "commit awaited")
        return state == ("answering" if protocol.heard else "opened")


class CounterStateTests(counter.Fixture):
    """counter/1."""

    config = CounterConfig(durability="always")

    def make_service(self, **changes: Any) -> CounterService:
        self.clock.advance(1_000_000)
        service = CounterService(self.config, CounterStore(self.database), self.clock)
        service.startService()
        self.addCleanup(service.stopService)
        self.addCleanup(setattr, self.writer, "at_once", True)
        return service

    def test_states(self) -> None:
        """Each arrow of counter/1 is what the server does."""
        check(
            self,
            "counter",
            CounterPeer,
            {
                "request": lambda peer: peer.raw.add(1),
                "request, commit takes its time": CounterPeer.add_slowly,
                "request, not stored": CounterPeer.add_in_vain,
                "commit": lambda peer: peer.case.writer.run(),
                "wrong hash": lambda peer: peer.arrive(bytes(16)),
                "increment past the end": CounterPeer.add_too_much,
                "half-close": CounterPeer.half_close,
                "stop": lambda peer: peer.raw.protocol.shut_down(),
                "handshake_timeout": Passing("handshake_timeout"),
                "frame_timeout": Passing("frame_timeout", lambda peer: peer.arrive(encode_request(1)[:9])),
                "idle_timeout": Passing("idle_timeout"),
                "write_timeout": Passing("write_timeout", does_not_read),
                "close_timeout": Passing("close_timeout"),
            },
        )


class BusPeer:
    """A connection to bus/1, and another one whose durable subscription is full, or will be."""

    def __init__(self, case: Case, state: str) -> None:
        self.case, self.clock = case, case.clock
        self.subscriber = bus.Raw(case.service).send(pb.Subscribe(pattern="full", durable="d"))
        bus.Raw(case.service).send(*(bus.publish("full") for _ in range(3)))
        self.raw = bus.Raw(case.service)
        if state != "opened":
            self.raw.send(pb.EchoMessage(content="x"))
        if state in ("publish waits", "leaving"):
            self.publish_to_full()
        if state in ("closed", "leaving"):
            self.raw.protocol.peer_finished()

    def publish_to_full(self) -> None:
        self.raw.send(bus.publish("full", id=7))

    def acknowledge(self) -> None:
        self.case.ack(self.subscriber, self.subscriber.events()[0])

    def said(self) -> str:
        return said_by_bus(self.raw.received())

    def is_in(self, state: str) -> bool:
        protocol = self.raw.protocol
        if self.raw.transport.aborted:
            return state == "cut off"
        if protocol.finishing:
            return state == "closed"
        if protocol.must_wait() or protocol._held:
            return state == ("leaving" if protocol._leaving else "publish waits")
        return state == ("answering" if protocol.heard else "opened")


def said_by_bus(messages: list[Any]) -> str:
    """What the bus has said, by its names."""
    names = {pb.EchoMessage: "echo", pb.Receipt: "receipt", pb.Error: "error", pb.Event: "event"}
    return ", ".join(f"{names[type(m)]} {getattr(m, 'code', '')}".strip() for m in messages)


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
                "handshake_timeout": Passing("handshake_timeout"),
                "message_timeout": Passing("message_timeout", lambda peer: peer.raw.send(b"\x0a\x07\x0a")),
                "idle_timeout": Passing("idle_timeout"),
                "write_timeout": Passing("write_timeout", does_not_read),
                "close_timeout": Passing("close_timeout"),
            },
        )
        self.assertEqual(encode_bus_request(pb.EchoMessage()), b"\x0a\x00")


class DurablePeer:
    """A connection to bus/1 that may have a durable subscription."""

    SUBSCRIBE = pb.Subscribe(pattern="own", durable="o")

    def __init__(self, case: Case, state: str) -> None:
        self.case = case
        self.raw = bus.Raw(case.service).send(pb.EchoMessage(content="x"))
        self.event: pb.Event | None = None  # that has not been acknowledged
        self.is_subscribed = False
        if state != "not subscribed":
            self.subscribe()
        if state == "unacknowledged":
            self.publish()
        self.said()

    def subscribe(self) -> None:
        self.raw.send(self.SUBSCRIBE)
        self.is_subscribed = True

    def subscribe_with_backlog(self) -> None:
        bus.Raw(self.case.service).send(self.SUBSCRIBE).lose()
        self.publish()
        self.subscribe()

    def unsubscribe(self) -> None:
        self.raw.send(pb.Unsubscribe(pattern="own", durable="o"))
        self.is_subscribed = False

    def publish(self) -> None:
        bus.Raw(self.case.service).send(bus.publish("own"))

    def acknowledge(self) -> None:
        event, self.event = self.event, None
        assert event is not None
        self.case.ack(self.raw, event)

    def said(self) -> str:
        messages = self.raw.received()
        self.event = next((m for m in messages if isinstance(m, pb.Event)), self.event)
        return said_by_bus(messages)

    def is_in(self, state: str) -> bool:
        if not self.is_subscribed:
            return state == "not subscribed"
        return state == ("nothing due" if self.event is None else "unacknowledged")


class DurableStateTests(bus.Fixture):
    """A durable subscription of bus/1."""

    config = BusConfig(ack_timeout=100)

    def test_states(self) -> None:
        """Each arrow of a durable subscription is what the server does."""
        check(
            self,
            "durable",
            DurablePeer,
            {
                "subscribe": DurablePeer.subscribe,
                "subscribe, something is due": DurablePeer.subscribe_with_backlog,
                "unsubscribe": DurablePeer.unsubscribe,
                "publish": DurablePeer.publish,
                "ack": DurablePeer.acknowledge,
                "ack_timeout": lambda peer: peer.case.clock.pump([1] * 110),
                "idle_timeout": Passing("idle_timeout"),
            },
        )


class DrawnTests(SynchronousTestCase):
    """The diagrams leave out nothing, and their pages nothing of theirs."""

    def test_each_code_is_explained(self) -> None:
        """Each code of an error that a diagram shows is on its page."""
        for name, page in (
            ("numbers", "numbers"),
            ("bus", "bus"),
            ("mediachat", "mediachat"),
            ("hello", "mediachat"),
        ):
            text = (DOCS / "reference" / f"{page}.rst").read_text("utf-8")
            said = " ".join(says for _, _, says, _ in of_docs("states").table(name)[1])
            for code in re.findall(r"error ([a-z-]+)", said):
                self.assertIn(f"``{code}``", text)

    def test_each_is_drawn(self) -> None:
        """Each timeout that a service has for its connections is an arrow in one of its diagrams."""
        self.assertEqual(set(DRAWN), set(SERVICES))
        for service, diagrams in DRAWN.items():
            drawn = {event for name in diagrams for _, event, _, _ in of_docs("states").table(name)[1]}
            settings = {each.name for each in fields(SECTIONS[service]) if each.name.endswith("_timeout")}
            self.assertEqual(settings - drawn - NOT_OF_CONNECTIONS, set(), service)
