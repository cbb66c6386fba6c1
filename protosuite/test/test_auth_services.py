"""numbers and bus with ``[auth]``: who is let in, who is refused, and what the end of a token does."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import Any, cast

from google.protobuf.message import Message
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from protosuite.auth import revocations
from protosuite.auth.revocations import Revocation
from protosuite.bus import bus_pb2 as pb
from protosuite.bus.client import BusClientFactory
from protosuite.bus.load import EchoLoad
from protosuite.bus.server import BusService
from protosuite.bus.store import BusStore
from protosuite.bus.wire import FROM_SERVER, encode_request
from protosuite.bus.wire import Decoder as BusDecoder
from protosuite.config import BusConfig, NumbersConfig
from protosuite.errors import ServerRefused
from protosuite.net.load import Load
from protosuite.numbers.client import NumbersClientFactory
from protosuite.numbers.server import NumbersService
from protosuite.numbers.store import NumbersStore
from protosuite.numbers.wire import SERVER_MESSAGES, Decoder, Error, Number, SessionOpened, Start, encode
from protosuite.test.bearers import HOUR, Bearers
from protosuite.testing import Line, MemoryTransport, database, decoded

NOT_VALID = "the token is not valid"
SENTENCES = {
    "forged": NOT_VALID,
    "cut": NOT_VALID,
    "rubbish": NOT_VALID,
    "expired": "the token has expired",
    "revoked": "the token has been revoked",
}


class Long(Random):
    """Chance that draws the longest stream each time."""

    def random(self) -> float:
        return 0.999


class Fixture(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.database = database(self.mktemp())
        self.addCleanup(self.database.close)
        self.bearers = Bearers(self, self.database, self.clock)
        self.observer = EventLoggingObserver.createWithCleanup(cast(TestCase, self), globalLogPublisher)

    def token(self, role: str, subject: str, **options: Any) -> str:
        return self.bearers.token(role, subject, **options)

    def logged(self) -> str:
        return "\n".join(formatEvent(event) for event in self.observer)


class NumbersPeer:
    """A connection to numbers that a test drives by hand."""

    def __init__(self, service: NumbersService) -> None:
        protocol = service.factory().buildProtocol(None)
        assert protocol is not None
        self.protocol: Any = protocol
        self.transport = MemoryTransport(self.protocol, True)
        self.protocol.makeConnection(self.transport)

    def start(self, client: str, token: str | None) -> NumbersPeer:
        self.protocol.dataReceived(encode(Start(client, token=token)))
        return self

    def received(self) -> list[Any]:
        return decoded(Decoder(SERVER_MESSAGES), self.transport.getOutBuffer() or b"")

    def refusal(self) -> tuple[str, str]:
        """What the server refused it with, and that it said nothing else after it and closed."""
        *_, last = self.received()
        assert isinstance(last, Error), last
        assert self.transport.disconnecting
        return last.code, last.message


class NumbersTests(Fixture):
    """numbers/1: the token in `start`."""

    def setUp(self) -> None:
        super().setUp()
        config = NumbersConfig(max_messages=12, ack_timeout=HOUR * 10)
        store = NumbersStore(self.database, config.session_ttl)
        self.service = NumbersService(
            config, store, self.clock, Long(7), self.clock.seconds, guard=self.bearers.guard
        )
        self.service.startService()
        self.addCleanup(self.service.stopService)

    def peer(self, client: str, token: str | None) -> NumbersPeer:
        return NumbersPeer(self.service).start(client, token)

    def sessions(self) -> int:
        with self.database.at_start() as connection:
            return int(connection.exec_driver_sql("SELECT count(*) FROM numbers_session").scalar() or 0)

    def test_let_in(self) -> None:
        """A client gets the stream of its own id; an operator and a service any."""
        for role, subject, client in (
            ("client", "ana", "ana"),
            ("operator", "olga", "ana"),
            ("service", "gateway", "bob"),
        ):
            first = self.peer(client, self.token(role, subject)).received()[0]
            self.assertEqual(first.client, client)

    def test_without_a_token(self) -> None:
        """R23: a start without a token is refused, and makes no session."""
        self.assertEqual(self.peer("ana", None).refusal(), ("unauthenticated", "this needs a token"))
        self.assertEqual(self.sessions(), 0)

    def test_bad_tokens(self) -> None:
        """R23: a token that is forged, expired, revoked or cut is refused with a sentence, and logged."""
        for what, token in self.bearers.bad("client", "ana").items():
            self.assertEqual(self.peer("ana", token).refusal(), ("unauthenticated", SENTENCES[what]))
        self.assertNotIn("eyJ", self.logged())
        self.assertEqual(self.sessions(), 0)
        self.assertEqual(self.service.refusals["unauthenticated"], len(SENTENCES))
        self.assertIn("refused: unauthenticated: the token has been revoked", self.logged())

    def test_anothers_stream(self) -> None:
        """R24: another client's id is refused, logged and counted, and the other's stream goes on."""
        ana = self.peer("ana", self.token("client", "ana"))
        self.assertEqual([type(message) for message in ana.received()], [SessionOpened, Number])
        code, message = self.peer("ana", self.token("client", "bob")).refusal()
        self.assertEqual((code, message.partition(": ")[2]), ("forbidden", "with this token only as bob"))
        self.assertIn("refused: forbidden: may not receive the stream", self.logged())
        self.assertEqual(self.service.refusals, {"forbidden": 1})
        self.clock.advance(1)
        self.assertEqual([type(message) for message in ana.received()], [Number])

    def test_expires_in_mid_stream(self) -> None:
        """R23: a token that expires closes the stream that lives on it, within seconds."""
        peer = self.peer("ana", self.token("client", "ana", lifetime=3))
        self.clock.pump([1.0] * 12)
        self.assertEqual(peer.refusal(), ("unauthenticated", "the token has expired"))
        peer.protocol.connectionLost()
        self.assertEqual(self.service.streams, {})

    def test_revoked_in_mid_stream(self) -> None:
        """R23: a token that is revoked closes the streams that live on it within a second, and no others."""
        token = self.token("service", "gateway", id="lost")
        peers = [self.peer(client, token) for client in ("ana", "bob")]
        other = self.peer("eve", self.token("service", "gateway"))
        self.bearers.revoke("lost")
        for peer in peers:
            self.assertEqual(peer.refusal(), ("unauthenticated", "the token has been revoked"))
        self.assertFalse(other.transport.disconnecting)

    def test_a_connection_that_is_gone_holds_nothing(self) -> None:
        """A connection that is lost lets go of its token."""
        peer = self.peer("ana", self.token("client", "ana"))
        self.assertEqual(len(self.bearers.guard._live), 1)
        peer.protocol.connectionLost()
        self.clock.advance(1)
        self.assertEqual(self.bearers.guard._live, {})

    def test_revoked_while_the_database_is_asked(self) -> None:
        """R23: a token that is revoked between the start and the session's finding gets no stream."""
        writer: Any = self.database.writer
        writer.at_once = False
        peer = self.peer("ana", self.token("client", "ana", id="t"))
        with self.database.at_start() as connection:
            revocations.add(connection, Revocation("t", None, 0))
        self.clock.advance(1)  # what was revoked is known first
        writer.at_once = True
        writer.run()
        self.assertEqual([message.code for message in peer.received()], ["unauthenticated"])

    def test_the_client(self) -> None:
        """The client sends its token, and gets its stream over every reconnect."""
        client, line = self.connected(self.token("client", "ana"))
        line.cut()
        line.advance(60, step=0.5)
        self.assertEqual(self.successResultOf(client.result).client, "ana")

    def test_a_client_does_not_come_back(self) -> None:
        """A client that is refused for its token fails with that, at the door or later, and tries no more."""
        bad = self.bearers.bad("client", "ana")
        for token, code in (
            (None, "unauthenticated"),
            (bad["expired"], "unauthenticated"),
            (self.token("client", "bob"), "forbidden"),
        ):
            self.refused(token, code)
        client, line = self.connected(self.token("client", "ana", id="t"))
        self.bearers.revoke("t")
        line.pump()
        self.assert_refused(client, line, "unauthenticated")

    def refused(self, token: str | None, code: str) -> None:
        self.assert_refused(*self.connected(token), code)

    def connected(self, token: str | None) -> tuple[NumbersClientFactory, Line]:
        client = NumbersClientFactory("ana", self.clock, token=token, random=Random(1))
        line = Line(self.clock, client, cast(ServerFactory, self.service.factory()))
        line.connect()
        return client, line

    def assert_refused(self, client: NumbersClientFactory, line: Line, code: str) -> None:
        error: Any = self.failureResultOf(client.result, ServerRefused).value
        self.assertEqual(error.code, code)
        line.advance(120, step=1)
        self.assertEqual(line.attempts, 1)

    def test_no_token_is_shown(self) -> None:
        """R29: a start does not show its token when it is printed."""
        self.assertNotIn("eyJ", repr(Start("ana", token=self.token("client", "ana"))))


class BusPeer:
    """A connection to the bus that a test drives by hand."""

    def __init__(self, service: BusService, *messages: Message | bytes) -> None:
        protocol = service.factory().buildProtocol(None)
        assert protocol is not None
        self.protocol: Any = protocol
        self.transport: Any = MemoryTransport(self.protocol, True)
        self.protocol.makeConnection(self.transport)
        self._decoder = BusDecoder(FROM_SERVER)
        self.send(*messages)

    def send(self, *messages: Message | bytes) -> BusPeer:
        self.protocol.dataReceived(
            b"".join(m if isinstance(m, bytes) else encode_request(m) for m in messages)
        )
        return self

    def received(self) -> list[Any]:
        return decoded(self._decoder, self.transport.getOutBuffer() or b"")

    def refusals(self) -> list[tuple[str, int]]:
        """Code and id of all the errors that came; nothing else may have."""
        found = self.received()
        assert all(isinstance(body, pb.Error) for body in found), found
        return [(body.code, body.id) for body in found]


HELLO = pb.EchoMessage(content="x")


def authenticate(token: str) -> pb.Authenticate:
    return pb.Authenticate(token=token)


class BusFixture(Fixture):
    def setUp(self) -> None:
        super().setUp()
        self.service = BusService(
            BusConfig(), BusStore(self.database), self.clock, self.clock.seconds, self.bearers.guard
        )
        self.service.startService()
        self.addCleanup(self.service.stopService)

    def peer(self, *messages: Message | bytes) -> BusPeer:
        return BusPeer(self.service, *messages)

    def bearer(self, role: str, subject: str = "s", **options: Any) -> BusPeer:
        return self.peer(authenticate(self.token(role, subject, **options)))


class BusTests(BusFixture):
    """bus/1: Authenticate first."""

    def test_let_in(self) -> None:
        """Who authenticates first is answered, in whatever pieces it all comes."""
        image = encode_request(authenticate(self.token("client", "ana"))) + encode_request(HELLO)
        self.assertEqual(self.peer(image).received(), [HELLO])
        peer = self.peer()
        for at in range(len(image)):
            peer.send(image[at : at + 1])
        self.assertEqual(peer.received(), [HELLO])

    def test_without_a_token(self) -> None:
        """R23: anything before Authenticate gets one error and a close, and what is behind it is not done."""
        firsts: list[Message | bytes] = [
            HELLO,
            pb.AddRequest(a=1, b=2),
            pb.Publish(topic="a", id=5),
            pb.Subscribe(pattern="#", replay=5),
            pb.Subscribe(pattern="#", durable="d"),
            pb.Unsubscribe(pattern="#", durable="d"),
            pb.Ack(delivery=1),
            b"\x0a\x03\x0a\x01\xff",  # a body that does not parse
        ]
        watcher = self.bearer("service").send(pb.Subscribe(pattern="#"))
        late = (authenticate(self.token("service", "s")), pb.Publish(topic="b", id=6))
        for first, behind in product(firsts, (late, (), (HELLO,))):
            peer = self.peer(first, *behind)
            self.assertEqual(peer.refusals(), [("unauthenticated", 0)], first)
            self.assertTrue(peer.transport.disconnecting)
        self.assertEqual(watcher.received(), [])
        self.assertEqual(self.service.exchange.broker.durables, {})
        self.assertEqual(self.service.refusals, {"unauthenticated": 3 * len(firsts)})

    def test_bad_tokens(self) -> None:
        """R23: a token that is forged, expired, revoked, cut or none ends the connection with a sentence."""
        for what, token in {**self.bearers.bad("service", "s"), "none": ""}.items():
            peer = self.peer(authenticate(token), HELLO)
            (error,) = peer.received()
            self.assertEqual(
                (error.code, error.message), ("unauthenticated", SENTENCES.get(what, "this needs a token"))
            )
            self.assertTrue(peer.transport.disconnecting)

    def test_a_client_asks_and_no_more(self) -> None:
        """R24: a client may echo and add; each other request is refused by itself, logged, and counted."""
        peer = self.bearer("client", "ana")
        peer.send(pb.Publish(topic="a", id=7), pb.Publish(topic="a"), pb.Subscribe(pattern="a"))
        peer.send(pb.Subscribe(pattern="a", durable="d"), pb.Unsubscribe(pattern="a"))
        peer.send(pb.Unsubscribe(pattern="a", durable="d"))
        self.assertEqual(peer.refusals(), [("forbidden", 7)] + [("forbidden", 0)] * 5)
        self.assertEqual(self.service.refusals, {"forbidden": 6})
        self.assertIn(
            "refused: forbidden: may not publish to a topic: not with the role client", self.logged()
        )
        self.assertEqual(
            peer.send(HELLO, pb.AddRequest(a=1, b=2)).received(), [HELLO, pb.AddResponse(result=3)]
        )
        self.assertEqual(self.service.exchange.broker.durables, {})

    def test_the_others_do_all(self) -> None:
        """An operator and a service publish and subscribe, and delete what is durable."""
        for role in ("operator", "service"):
            peer = self.bearer(role).send(
                pb.Subscribe(pattern="a", durable=role), pb.Publish(topic="a", id=1)
            )
            receipt, event = peer.received()
            self.assertEqual((receipt.id, event.topic), (1, "a"))
            peer.send(pb.Ack(delivery=event.delivery), pb.Unsubscribe(pattern="a", durable=role))
            self.assertEqual(peer.received(), [])

    def test_topics_of_the_suite(self) -> None:
        """R24: nobody from outside says what the suite says; the suite itself does, and all may listen."""
        peer = self.bearer("service").send(pb.Subscribe(pattern="#"))
        peer.send(
            *(pb.Publish(topic=f"{word}.x", id=1) for word in ("numbers", "counter", "chatlog", "mediachat"))
        )
        self.assertEqual(peer.refusals(), [("forbidden", 1)] * 4)
        self.service.exchange.publish("numbers.session.ended", {})
        self.assertEqual([event.topic for event in peer.received()], ["numbers.session.ended"])

    def test_revoked_while_subscribed(self) -> None:
        """R23: a revoked token closes its connection within a second, and no event goes there any more."""
        peer = self.bearer("service", id="lost").send(pb.Subscribe(pattern="a"))
        other = self.bearer("service").send(pb.Subscribe(pattern="a"))
        self.bearers.revoke("lost")
        self.assertTrue(peer.transport.disconnecting)
        other.send(pb.Publish(topic="a"))
        (error,) = peer.received()
        self.assertEqual((error.code, error.message), ("unauthenticated", "the token has been revoked"))
        self.assertEqual(len(other.received()), 1)
        self.assertFalse(other.transport.disconnecting)

    def test_expires_with_a_publish_under_way(self) -> None:
        """R23: what was accepted before a token ended is answered before the connection is closed."""
        writer: Any = self.database.writer
        peer = self.bearer("service", lifetime=3).send(pb.Subscribe(pattern="a", durable="d"))
        writer.at_once = False
        peer.send(pb.Publish(topic="a", id=1))
        self.clock.pump([1.0] * 12)
        self.assertEqual(peer.received(), [])
        peer.send(pb.Publish(topic="a", id=2))
        writer.at_once = True
        writer.run()
        receipt, error = peer.received()
        self.assertEqual((receipt.id, error.code), (1, "unauthenticated"))

    def test_renewed(self) -> None:
        """A second token of the same subject and role takes the place of the first, which may then end."""
        peer = self.bearer("service", id="old", lifetime=3).send(pb.Subscribe(pattern="a"))
        peer.send(authenticate(self.token("service", "s", id="new")))
        self.clock.pump([1.0] * 20)
        self.bearers.revoke("old")
        self.assertEqual(peer.send(HELLO).received(), [HELLO])
        self.bearers.revoke("new")
        self.assertEqual(peer.refusals(), [("unauthenticated", 0)])

    def test_not_renewed(self) -> None:
        """R24: a token of somebody else is refused, and a bad one ends the connection."""
        peer = self.bearer("service", id="first").send(pb.Subscribe(pattern="a"))
        peer.send(authenticate(self.token("service", "t")), authenticate(self.token("client", "s")))
        self.assertEqual(peer.refusals(), [("forbidden", 0)] * 2)
        self.bearers.revoke("first")
        self.assertEqual(peer.refusals(), [("unauthenticated", 0)])
        peer = self.bearer("service").send(authenticate("x"), HELLO)
        self.assertEqual(peer.refusals(), [("unauthenticated", 0)])

    def test_a_connection_that_is_gone_holds_nothing(self) -> None:
        """A connection that is lost lets go of its token."""
        peer = self.bearer("service")
        self.assertEqual(len(self.bearers.guard._live), 1)
        peer.protocol.connectionLost()
        self.clock.advance(1)
        self.assertEqual(self.bearers.guard._live, {})

    def test_leaves_while_it_is_ended(self) -> None:
        """A token's end finds a connection that leaves already: it is told once why."""
        peer = self.bearer("service", id="t")
        self.service.connections.copy().pop().shut_down()
        self.bearers.revoke("t")
        self.assertEqual(peer.refusals(), [("shutting-down", 0)])


class BusClientTests(BusFixture):
    """The client of the bus, with a token."""

    def connect(self, token: str | None, **settings: Any) -> BusClientFactory:
        self.said: list[str] = []
        self.refusals: list[ServerRefused] = []
        client = BusClientFactory(
            self.clock,
            token=token,
            random=Random(1),
            on_status=self.said.append,
            on_refusal=self.refusals.append,
            **settings,
        )
        self.line = Line(self.clock, client, cast(ServerFactory, self.service.factory()))
        return client

    def code(self, answer: Any) -> str:
        error: Any = self.failureResultOf(answer, ServerRefused).value
        return str(error.code)

    def test_authenticates_first(self) -> None:
        """What waited goes out behind the token in one go, and again so after a reconnect."""
        client = self.connect(self.token("service", "s"))
        events: list[pb.Event] = []
        echo = client.echo("x")
        ready = client.subscribe("a", events.append).when_ready()
        self.line.connect()
        self.assertEqual(self.successResultOf(echo), "x")
        self.successResultOf(ready)
        self.line.cut()
        self.line.advance(1)
        publishing = client.publish("a", b"")
        self.line.pump()
        self.assertEqual(self.successResultOf(publishing), 1)
        self.assertEqual(len(events), 1)

    def test_refused_at_the_door(self) -> None:
        """A client whom the server does not know fails all that it was asked, and stays away."""
        client = self.connect(None, max_in_flight=1)
        asked = [client.echo("x"), client.publish("a", b""), client.echo("behind it")]
        ready = client.subscribe("a", self.fail).when_ready()
        client.subscribe("b", self.fail)
        self.line.connect()
        self.assertEqual([self.code(answer) for answer in (*asked, ready)], ["unauthenticated"] * 4)
        self.assertEqual([refusal.code for refusal in self.refusals], ["unauthenticated"])
        self.assertEqual(
            self.said, ["the subscription for b was refused: unauthenticated: this needs a token"]
        )
        self.line.advance(120, step=1)
        self.assertEqual((self.line.attempts, self.line.state), (1, "disconnected"))
        self.assertEqual(self.code(client.echo("later")), "unauthenticated")
        self.assertRaises(ServerRefused, client.subscribe, "a", self.fail)
        self.successResultOf(client.close())

    def test_revoked_later(self) -> None:
        """A client whose token is revoked is told, and does not come back."""
        client = self.connect(self.token("service", "s", id="t"))
        self.line.connect()
        ready = client.subscribe("a", self.fail).when_ready()
        self.line.pump()
        self.successResultOf(ready)
        self.bearers.revoke("t")
        self.line.advance(120, step=1)
        self.assertEqual([refusal.message for refusal in self.refusals], ["the token has been revoked"])
        self.assertEqual(len(self.said), 1)
        self.assertEqual(self.line.attempts, 1)

    def test_forbidden(self) -> None:
        """What a role may not is refused by itself; the client goes on."""
        client = self.connect(self.token("client", "ana"))
        self.line.connect()
        publishing, echo = client.publish("a", b""), client.echo("x")
        ready = client.subscribe("a", self.fail).when_ready()
        deleting = client.delete_durable("a", "d")
        self.line.pump()
        self.assertEqual([self.code(answer) for answer in (publishing, ready, deleting)], ["forbidden"] * 3)
        self.assertEqual(self.successResultOf(echo), "x")
        self.assertEqual(self.refusals, [])

    def test_renews(self) -> None:
        """A client that is given another token in time lives on it."""
        client = self.connect(None)
        client.renew(self.token("service", "s", lifetime=3))
        self.line.connect()
        client.renew(self.token("service", "s"))
        self.line.advance(20, step=1)
        echo = client.echo("x")
        self.line.pump()
        self.assertEqual(self.successResultOf(echo), "x")

    def test_load(self) -> None:
        """A load authenticates each of its connections, once, before the first batch."""
        load = Load(EchoLoad, self.clock, 1, 2, 5.0)
        self.addCleanup(load.stop)
        connection = EchoLoad(load, 0, "token")
        first, second = connection.batch(), connection.batch()
        self.assertEqual(first, encode_request(authenticate("token")) + second)
        self.assertEqual(EchoLoad(load, 0).batch(), second)
        peer = self.peer(authenticate(self.token("client", "ana")), second)
        self.assertEqual(len(peer.received()), 2)
