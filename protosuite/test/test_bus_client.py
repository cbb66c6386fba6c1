"""The client of bus/1, in memory: against a server that says what a test tells it to, and the real one."""

from __future__ import annotations

from random import Random
from typing import Any

from google.protobuf.message import Message
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.client import BusClientFactory
from protosuite.bus.load import EchoLoad
from protosuite.bus.server import BusService
from protosuite.bus.store import BusStore
from protosuite.bus.subscription import Subscription
from protosuite.bus.wire import FROM_CLIENT, Decoder, encode_reply
from protosuite.config import BusConfig
from protosuite.errors import BadRequest, OutcomeUnknown, Overloaded, ServerRefused
from protosuite.net.latencies import Latencies
from protosuite.net.load import Load
from protosuite.testing import Line, MemoryTransport, database, decoded

FENCE = pb.EchoMessage()  # behind each Subscribe and Unsubscribe


class Scripted(Protocol):
    """A server's connection: notes what the client says, and says what the test wants.

    The fences it answers by itself, after `refuses`, an error for what is before them.
    """

    transport: Any

    def __init__(self, script: Script) -> None:
        self.heard: list[Message] = []
        self._script = script
        self._decoder = Decoder(FROM_CLIENT)

    def dataReceived(self, data: bytes) -> None:
        for body in decoded(self._decoder, data):
            last = self.heard[-1] if self.heard else None
            if body != FENCE or not isinstance(last, pb.Subscribe | pb.Unsubscribe):
                self.heard.append(body)
            elif self._script.answers_fences:
                if self._script.refuses is not None:
                    self.say(self._script.refuses)
                self.say(FENCE)

    def say(self, *bodies: Message | bytes) -> None:
        self.transport.write(
            b"".join(body if isinstance(body, bytes) else encode_reply(body) for body in bodies)
        )


class Script(ServerFactory):
    """Makes the connections of a scripted server."""

    noisy = False
    answers_fences = True
    refuses: pb.Error | None = None

    def buildProtocol(self, addr: Any) -> Scripted:
        return Scripted(self)


class Fixture(SynchronousTestCase):
    """A client on a clock, with a line to a scripted server."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.script = Script()
        self.said: list[str] = []
        self.use()

    def use(self, **settings: Any) -> None:
        """A client with these settings; nothing is connected."""
        self.client = BusClientFactory(self.clock, random=Random(1), on_status=self.said.append, **settings)
        self.line = Line(self.clock, self.client, self.script)

    @property
    def heard(self) -> list[Message]:
        """What the server has heard on the present connection."""
        self.line.pump()
        heard: list[Message] = self.line.server_protocol.heard
        return heard

    def say(self, *bodies: Message | bytes) -> None:
        """The server says so."""
        self.line.pump()
        self.line.server_protocol.say(*bodies)
        self.line.pump()

    def cut(self) -> None:
        """The connection is lost with what is on its way, and made again a second later."""
        self.line.cut()
        self.line.advance(1)
        self.assertEqual(self.line.state, "connected")

    def refused(self, answer: Deferred[Any]) -> str:
        """The code that a request was refused with."""
        error: Any = self.failureResultOf(answer, ServerRefused).value
        return str(error.code)


class AnswerTests(Fixture):
    """Each answer goes to the request that it is for."""

    def setUp(self) -> None:
        super().setUp()
        self.line.connect()

    def test_answers_in_order(self) -> None:
        """Echoes and sums are pipelined, and answered in the order of the requests."""
        answers: list[Deferred[Any]] = [self.client.echo("x"), self.client.add(-1, 2), self.client.echo("")]
        self.assertEqual(
            self.heard, [pb.EchoMessage(content="x"), pb.AddRequest(a=-1, b=2), pb.EchoMessage()]
        )
        self.say(pb.EchoMessage(content="x"), pb.AddResponse(result=1))
        self.assertEqual([self.successResultOf(a) for a in answers[:2]], ["x", 1])
        self.assertNoResult(answers[2])
        self.say(pb.EchoMessage())
        self.assertEqual(self.successResultOf(answers[2]), "")

    def test_overflow_in_place(self) -> None:
        """An overflow takes the place of its sum, and those around it get their own answers."""
        first, second, third = self.client.add(1, 1), self.client.add(2**31 - 1, 1), self.client.add(2, 2)
        self.say(pb.AddResponse(result=2), pb.Error(code="overflow"), pb.AddResponse(result=4))
        self.assertEqual((self.successResultOf(first), self.successResultOf(third)), (2, 4))
        self.assertEqual(self.refused(second), "overflow")

    def test_receipts(self) -> None:
        """Receipts and refusals find their publish by its id, in whatever order they come."""
        answers = [self.client.publish("a.b", payload, "text/plain") for payload in (b"1", b"2", b"3")]
        echo = self.client.echo("x")
        ids = [body.id for body in self.heard if isinstance(body, pb.Publish)]
        self.assertEqual(
            self.heard[0], pb.Publish(topic="a.b", payload=b"1", content_type="text/plain", id=ids[0])
        )
        self.assertEqual(len({0, *ids}), 4)
        self.say(
            pb.Receipt(id=ids[2], sequence=30),
            pb.Error(id=ids[0], code="overloaded"),
            pb.EchoMessage(content="x"),
            pb.Receipt(id=ids[1], sequence=20),
        )
        self.assertEqual([self.successResultOf(a) for a in answers[1:]], [20, 30])
        self.assertEqual(self.refused(answers[0]), "overloaded")
        self.assertEqual(self.successResultOf(echo), "x")

    def test_without_receipt(self) -> None:
        """A publish without a receipt has id 0, fires when it is written, and nothing is awaited for it."""
        self.assertEqual(self.successResultOf(self.client.publish("a", b"x", receipt=False)), 0)
        self.assertEqual(self.heard, [pb.Publish(topic="a", payload=b"x")])
        self.cut()
        self.assertEqual(self.heard, [])

    def test_errors_that_answer_nobody(self) -> None:
        """An error about something else does not take an answer's place, and is reported."""
        answer = self.client.echo("x")
        self.say(
            pb.Error(code="bad-topic", message="of a publish without a receipt"), pb.EchoMessage(content="x")
        )
        self.say(pb.Error(code="overloaded", message="again"))
        self.assertEqual(self.successResultOf(answer), "x")
        self.assertEqual(
            self.said,
            [
                "the server says bad-topic: of a publish without a receipt",
                "the server says overloaded: again",
            ],
        )

    def test_late_acknowledgements(self) -> None:
        """That a delivery is unknown is not worth a word."""
        self.say(pb.Error(code="unknown-delivery"))
        self.assertEqual(self.said, [])

    def test_answers_that_make_no_sense(self) -> None:
        """An answer to another request, or bytes that are no message, end the connection, not the client."""
        for nonsense in (
            pb.AddResponse(result=1),
            pb.EchoMessage(content="y"),
            pb.Receipt(id=999, sequence=1),
            b"\xff" * 11,
            b"\x0a\x03\x0a\x01\xff",
            b"\x32\x00",
        ):
            self.said.clear()
            answer = self.client.echo("x")
            self.say(nonsense)
            self.failureResultOf(answer, ConnectionError)
            self.assertIn("makes no sense", self.said[0])
            self.line.advance(60)
            self.assertEqual(self.line.state, "connected")

    def test_nobody_asked(self) -> None:
        """An answer when nothing was asked ends the connection too."""
        self.say(pb.EchoMessage(content="x"))
        self.assertEqual(self.line.state, "disconnected")


class LossTests(Fixture):
    """What happens to requests when the connection does."""

    def test_waits_for_the_connection(self) -> None:
        """What is asked before there is a connection is sent once there is one, in order."""
        answers: list[Deferred[Any]] = [
            self.client.echo("1"),
            self.client.publish("a", b""),
            self.client.add(1, 2),
        ]
        self.line.up = False
        self.line.connect()
        self.line.up = True
        self.line.advance(1)
        self.assertEqual([type(b) for b in self.heard], [pb.EchoMessage, pb.Publish, pb.AddRequest])
        self.say(pb.EchoMessage(content="1"), pb.AddResponse(result=3))
        self.assertEqual(self.successResultOf(answers[0]), "1")

    def test_in_flight_at_a_cut(self) -> None:
        """What was sent fails with a name: unknown for what changes something, else a lost connection."""
        self.line.connect()
        asked: list[Deferred[Any]] = [self.client.echo("x"), self.client.add(1, 1)]
        changing: list[Deferred[Any]] = [self.client.publish("a", b""), self.client.delete_durable("a", "d")]
        self.script.answers_fences = False
        self.line.pump()
        self.line.cut()
        for answer in asked:
            self.failureResultOf(answer, ConnectionError)
        for answer in changing:
            self.failureResultOf(answer, OutcomeUnknown)
        self.line.advance(1)
        self.assertEqual(self.heard, [], "nothing is sent again")

    def test_waiting_requests_survive_a_cut(self) -> None:
        """What was not sent when the connection was lost is sent over the next one."""
        self.use(max_in_flight=1)
        self.line.connect()
        lost, kept = self.client.echo("lost"), self.client.echo("kept")
        self.assertEqual(self.heard, [pb.EchoMessage(content="lost")])
        self.cut()
        self.failureResultOf(lost, ConnectionError)
        self.assertEqual(self.heard, [pb.EchoMessage(content="kept")])
        self.say(pb.EchoMessage(content="kept"))
        self.assertEqual(self.successResultOf(kept), "kept")

    def test_asking_while_failing(self) -> None:
        """Who asks again when its request fails is served by the next connection."""
        self.line.connect()
        again: list[Deferred[str]] = []
        self.client.echo("x").addErrback(lambda failure: again.append(self.client.echo("y")))
        self.cut()
        self.say(pb.EchoMessage(content="y"))
        self.assertEqual(self.successResultOf(again[0]), "y")

    def test_the_servers_last_word(self) -> None:
        """Where the server said why before it closed, what fails by that says it."""
        self.line.connect()
        for code in (
            "too-large",
            "unknown-field",
            "bad-wire-type",
            "bad-varint",
            "shutting-down",
            "overloaded",
        ):
            publishing, echo = self.client.publish("a", b""), self.client.echo("x")
            self.say(pb.Error(code=code, message="so it is"))
            self.line.server_protocol.transport.loseConnection()
            self.line.pump()
            for answer, kind in ((publishing, OutcomeUnknown), (echo, ConnectionError)):
                self.assertIn(f"{code}: so it is", str(self.failureResultOf(answer, kind).value))
            self.line.advance(60)
            self.assertEqual(self.line.state, "connected")
        self.client.echo("x")
        unexplained = self.client.echo("y")
        self.say(pb.Error(code="bad-topic"), pb.EchoMessage(content="x"))
        self.line.cut()
        self.assertNotIn("said", str(self.failureResultOf(unexplained, ConnectionError).value))

    def test_progress(self) -> None:
        """A server that only refuses is come back to more and more slowly; an answer resets that."""
        self.line.connect()
        for _ in range(5):
            self.say(pb.Error(code="overloaded"))
            self.line.server_protocol.transport.loseConnection()
            self.line.pump()
            self.line.advance(60)
        self.assertGreater(self.client.delay, 4)
        self.client.echo("x")
        self.say(pb.EchoMessage(content="x"))
        self.assertEqual(self.client.delay, self.client.initialDelay)

    def test_silence(self) -> None:
        """A silent connection is asked for a sign of life, and given up if it gives none."""
        self.use(silence_timeout=10)
        self.line.connect()
        self.client.echo("")
        self.say(FENCE)
        self.line.advance(19, 1)
        self.assertEqual(self.heard, [FENCE])
        self.line.advance(1)
        self.assertEqual(self.heard, [FENCE] * 2)
        self.say(FENCE)
        self.line.advance(20, 1)
        self.assertEqual((self.heard, self.line.attempts), ([FENCE] * 3, 1))
        self.line.advance(10, 1)
        self.assertEqual(self.line.attempts, 1)
        self.line.advance(1)
        self.assertEqual(self.line.attempts, 2)

    def test_silence_while_it_closes(self) -> None:
        """A server that takes nothing more of a client that closes is left after some silence, too."""
        self.use(silence_timeout=10)
        self.line.connect()
        self.client.publish("a", b"x" * 100, receipt=False)
        closed = self.client.close()
        self.clock.pump([1.0] * 29)
        self.assertNoResult(closed)
        self.clock.advance(1)
        self.line.pump()
        self.successResultOf(closed)


class BoundTests(Fixture):
    """Nothing grows without a bound, and callers can change their minds."""

    def test_in_flight(self) -> None:
        """No more than `max_in_flight` are sent and unanswered, publishes and echoes together."""
        self.use(max_in_flight=2)
        self.line.connect()
        for _ in range(2):
            self.client.publish("a", b"")
            self.client.echo("x")
        self.assertEqual(len(self.heard), 2)
        self.say(pb.EchoMessage(content="x"))
        self.assertEqual(len(self.heard), 3)

    def test_waiting(self) -> None:
        """Too many waiting, or too much in bytes, is Overloaded; what was accepted stays so."""
        self.use(max_waiting=2, max_waiting_bytes=1000)
        kept = [self.client.echo("x"), self.client.echo("x")]
        self.failureResultOf(self.client.echo("x"), Overloaded)
        kept.pop().addErrback(lambda failure: None).cancel()
        big = self.client.publish("a", b"x" * 1000)
        self.failureResultOf(self.client.echo("x"), Overloaded)
        big.addErrback(lambda failure: None).cancel()
        self.client.publish("a", b"x" * 1000)
        self.failureResultOf(self.client.echo("x"), Overloaded)
        self.line.connect()
        self.assertEqual([type(b) for b in self.heard], [pb.EchoMessage, pb.Publish])
        self.client.echo("x")
        self.assertEqual(len(self.heard), 3)

    def test_a_server_that_does_not_read(self) -> None:
        """While the transport is full nothing more is written to it, and what waits is bounded."""
        self.use(max_waiting=3)
        self.line.connect()
        connection: Any = self.client._connection
        connection.pauseProducing()
        answers = [self.client.publish("a", b"", receipt=False) for _ in range(3)]
        self.failureResultOf(self.client.echo("x"), Overloaded)
        self.assertEqual(self.heard, [])
        connection.resumeProducing()
        self.assertEqual([self.successResultOf(a) for a in answers], [0, 0, 0])
        self.assertEqual(len(self.heard), 3)

    def test_batches(self) -> None:
        """What waits is written piece by piece, so that a full transport can say so in between."""
        for _ in range(4):
            self.client.publish("a", b"x" * 40_000)
        written: list[int] = []
        client = self.client.buildProtocol(None)

        class Narrow(MemoryTransport):
            """Is full after each write."""

            def write(self, data: bytes) -> None:
                written.append(len(data))
                client.pauseProducing()

        transport: Any = Narrow(client, False)
        client.makeConnection(transport)
        self.assertEqual([n // 40_000 for n in written], [2])
        client.resumeProducing()
        self.assertEqual([n // 40_000 for n in written], [2, 2])

    def test_mistakes_of_the_caller(self) -> None:
        """What the server would refuse for its shape is refused at once, and not sent."""
        self.use(max_message=1000)
        self.line.connect()
        for code, call in (
            ("bad-topic", lambda: self.client.publish("a.*", b"")),
            ("bad-content-type", lambda: self.client.publish("a", b"", "text\n")),
            ("bad-pattern", lambda: self.client.subscribe("a..b", print)),
            ("bad-pattern", lambda: self.client.delete_durable("", "d")),
            ("too-large", lambda: self.client.publish("a", b"x" * 1000)),
            ("too-large", lambda: self.client.echo("x" * 1000)),
        ):
            with self.assertRaises(BadRequest) as caught:
                call()
            self.assertEqual(caught.exception.code, code)
        for number in (2**31, -(2**31) - 1):
            self.assertRaises(ValueError, self.client.add, number, 0)
        self.assertRaises(ValueError, self.client.subscribe, "a", print, replay=-1)
        self.assertEqual(self.heard, [])

    def test_cancelling(self) -> None:
        """What waits is taken back; what is in flight still takes its answer, and the next its own."""
        self.use(max_in_flight=3)
        self.line.connect()
        echo, publishing, last = self.client.echo("1"), self.client.publish("a", b""), self.client.echo("2")
        waiting = self.client.echo("never")
        for answer in (echo, publishing, waiting):
            answer.cancel()
            self.failureResultOf(answer, CancelledError)
        [id] = [body.id for body in self.heard if isinstance(body, pb.Publish)]
        self.say(pb.EchoMessage(content="1"), pb.Receipt(id=id, sequence=1), pb.EchoMessage(content="2"))
        self.assertEqual(self.successResultOf(last), "2")
        self.assertEqual(len(self.heard), 3)

    def test_timeouts(self) -> None:
        """A request can be given a time, and its late answer disturbs nobody."""
        self.line.connect()
        late = self.client.echo("late").addTimeout(5, self.clock)
        self.line.advance(5)
        self.failureResultOf(late, TimeoutError)
        after = self.client.echo("after")
        self.say(pb.EchoMessage(content="late"), pb.EchoMessage(content="after"))
        self.assertEqual(self.successResultOf(after), "after")

    def test_closing(self) -> None:
        """A closed client leaves, fails what it owes and what is asked later, and does not come back."""
        self.use(max_in_flight=2)
        self.line.connect()
        publishing, echo, waiting = (
            self.client.publish("a", b""),
            self.client.echo("x"),
            self.client.echo("y"),
        )
        closed = self.client.close()
        self.assertIsNone(self.line._io.clientIO.producer, "a transport that has one would wait for it")
        self.assertNoResult(closed)
        self.failureResultOf(publishing, OutcomeUnknown)
        for answer in (echo, waiting, self.client.echo("later")):
            self.failureResultOf(answer, ConnectionError)
        self.assertRaises(ConnectionError, self.client.subscribe, "a", print)
        self.line.pump()
        self.assertIsNone(self.successResultOf(closed))
        self.line.advance(100)
        self.assertEqual((self.line.attempts, self.line.state), (1, "disconnected"))
        self.assertIsNone(self.successResultOf(self.client.close()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closing_while_away(self) -> None:
        """Closing ends the attempts to connect."""
        self.line.up = False
        self.line.connect()
        waiting = self.client.echo("x")
        self.assertIsNone(self.successResultOf(self.client.close()))
        self.failureResultOf(waiting, ConnectionError)
        self.line.advance(100)
        self.assertEqual(self.line.attempts, 1)

    def test_closing_cut_short(self) -> None:
        """Who does not want to wait for what was written cancels, and the connection is cut."""
        self.line.connect()
        closed = self.client.close().addTimeout(5, self.clock)
        transport = self.line._io.clientIO
        self.clock.advance(5)
        self.failureResultOf(closed, TimeoutError)
        self.assertTrue(transport.aborted)
        self.line.pump()

    def test_closing_from_a_callback(self) -> None:
        """After a close within a callback nothing more is called back."""
        self.line.connect()
        events: list[pb.Event] = []

        def take(event: pb.Event) -> None:
            events.append(event)
            self.client.close()

        self.client.subscribe("#", take)
        self.say(*[pb.Event(topic="a", pattern="#")] * 3, pb.EchoMessage(content="unasked"))
        self.assertEqual((len(events), self.said), (1, []))


class SubscriptionTests(Fixture):
    """Subscriptions live as long as the client wants, whatever the connection does."""

    def setUp(self) -> None:
        super().setUp()
        self.events: list[pb.Event] = []

    def subscribe(self, pattern: str = "#", **settings: Any) -> Subscription:
        return self.client.subscribe(pattern, self.events.append, **settings)

    def test_what_is_asked_for(self) -> None:
        """What the caller wants is what the server hears, at once or when there is a connection."""
        self.subscribe("a.*", replay=3, depth=7)
        self.line.connect()
        self.subscribe("b.#", durable="d", prefetch=5)
        self.assertEqual(
            self.heard,
            [
                pb.Subscribe(pattern="a.*", replay=3, depth=7),
                pb.Subscribe(pattern="b.#", durable="d", prefetch=5),
            ],
        )

    def test_events_go_where_they_belong(self) -> None:
        """An event is for the subscription whose pattern it has, and no other."""
        self.line.connect()
        others: list[pb.Event] = []
        self.subscribe("a.#")
        self.client.subscribe("#", others.append)
        events = [pb.Event(topic="a.b", pattern=pattern, sequence=1) for pattern in ("a.#", "#", "gone")]
        self.say(*events)
        self.assertEqual((self.events, others), (events[:1], events[1:2]))

    def test_events_do_not_disturb_answers(self) -> None:
        """Events come between answers and are not taken for any."""
        self.line.connect()
        self.subscribe()
        echo = self.client.echo("x")
        self.say(pb.Event(topic="a", pattern="#"), pb.EchoMessage(content="x"))
        self.assertEqual(self.successResultOf(echo), "x")

    def test_ready(self) -> None:
        """It is ready when the server says so, and stays so for those who ask later."""
        self.script.answers_fences = False
        self.line.connect()
        subscription = self.subscribe()
        ready = subscription.when_ready()
        self.line.pump()
        self.assertNoResult(ready)
        self.say(FENCE)
        self.successResultOf(ready)
        self.successResultOf(subscription.when_ready())

    def test_refused(self) -> None:
        """A refusal fails who waits for it, is said if nobody does, and costs no echo its answer."""
        self.line.connect()
        self.script.refuses = pb.Error(code="bad-durable", message="another pattern")
        ready = self.subscribe(durable="d").when_ready()
        echo = self.client.echo("x")
        self.line.pump()
        self.assertEqual(self.refused(ready), "bad-durable")
        self.assertEqual(self.said, [])
        self.say(pb.EchoMessage(content="x"))
        self.assertEqual(self.successResultOf(echo), "x")
        self.subscribe("a")
        self.line.pump()
        self.assertEqual(self.said, ["the subscription for a was refused: bad-durable: another pattern"])

    def test_made_again(self) -> None:
        """After a reconnect the server hears of each subscription again, before anything else."""
        self.line.connect()
        self.subscribe("a")
        self.subscribe("b", durable="d", prefetch=3)
        self.line.pump()
        self.line.cut()
        self.client.echo("x")
        self.line.advance(1)
        self.assertEqual(
            self.heard,
            [
                pb.Subscribe(pattern="a"),
                pb.Subscribe(pattern="b", durable="d", prefetch=3),
                pb.EchoMessage(content="x"),
            ],
        )

    def test_replayed_once(self) -> None:
        """Replay is not asked for again once the server has heard of it or something has come of it."""
        for is_confirmed, is_begun in ((True, False), (False, True), (True, True)):
            self.use()
            self.script.answers_fences = is_confirmed
            self.line.connect()
            self.subscribe(replay=5)
            self.line.pump()
            if is_begun:
                self.say(pb.Event(topic="a", pattern="#"))
            self.cut()
            self.assertEqual(self.heard, [pb.Subscribe(pattern="#")])

    def test_replay_that_was_lost(self) -> None:
        """If the connection was lost before the server took the request, replay is asked for again."""
        self.script.answers_fences = False
        self.line.connect()
        ready = self.subscribe(replay=5).when_ready()
        self.cut()
        self.assertEqual(self.heard, [pb.Subscribe(pattern="#", replay=5)])
        self.say(FENCE)
        self.successResultOf(ready)

    def test_stopping(self) -> None:
        """After a stop nothing is called back, the server hears of it, and a reconnect does not undo it."""
        self.line.connect()
        subscription = self.subscribe()
        stopped = subscription.stop()
        self.assertNoResult(stopped)
        self.assertEqual(self.heard, [pb.Subscribe(pattern="#"), pb.Unsubscribe(pattern="#")])
        self.successResultOf(stopped)
        self.say(pb.Event(topic="a", pattern="#", delivery=1))
        self.assertEqual(self.events, [])
        self.successResultOf(subscription.stop())
        self.assertEqual(len(self.heard), 2)
        self.cut()
        self.assertEqual(self.heard, [])

    def test_stopping_what_the_server_does_not_have(self) -> None:
        """A stop that the server refuses or that a cut overtakes is a stop all the same."""
        self.line.connect()
        refused, cut, away = self.subscribe("a"), self.subscribe("b"), self.subscribe("c")
        self.line.pump()
        self.script.refuses = pb.Error(code="not-subscribed")
        stopped = refused.stop()
        self.line.pump()
        self.successResultOf(stopped)
        self.script.answers_fences = False
        stopped = cut.stop()
        self.line.cut()
        self.successResultOf(stopped)
        self.successResultOf(away.stop())
        self.line.advance(1)
        self.assertEqual(self.heard, [])

    def test_stopped_before_it_was_ready(self) -> None:
        """Who waits for a subscription that ends is told so."""
        subscriptions = [
            self.subscribe("a"),
            self.subscribe("b"),
            self.subscribe("b"),
            self.subscribe("c", durable="d"),
        ]
        waiting = [s.when_ready() for s in subscriptions]
        subscriptions[0].stop()
        self.client.delete_durable("c", "d").addErrback(lambda failure: None)
        self.client.close()
        for ready in waiting:
            self.failureResultOf(ready, ConnectionError)

    def test_replacing(self) -> None:
        """A second subscription for a pattern takes the place of the first, whose stop does nothing then."""
        self.line.connect()
        first = self.client.subscribe("#", lambda event: self.fail("replaced"))
        self.subscribe(depth=5)
        self.successResultOf(first.stop())
        self.say(pb.Event(topic="a", pattern="#"))
        self.assertEqual(len(self.events), 1)
        self.cut()
        self.assertEqual(self.heard, [pb.Subscribe(pattern="#", depth=5)])

    def test_deleting(self) -> None:
        """A durable subscription is deleted by name, and not made again; what is refused is said."""
        self.line.connect()
        self.subscribe("a", durable="d")
        self.subscribe("b", durable="e")
        deleting = self.client.delete_durable("a", "d")
        self.assertEqual(self.heard[2:], [pb.Unsubscribe(pattern="a", durable="d")])
        self.successResultOf(deleting)
        self.script.refuses = pb.Error(code="not-subscribed")
        deleting = self.client.delete_durable("a", "d")
        self.line.pump()
        self.assertEqual(self.refused(deleting), "not-subscribed")
        self.script.refuses = None
        self.cut()
        self.assertEqual(self.heard, [pb.Subscribe(pattern="b", durable="e")])

    def test_a_callback_that_fails(self) -> None:
        """A failing callback of a best-effort subscription is logged, and the next event comes."""
        self.line.connect()
        self.client.subscribe("#", lambda event: 1 // event.sequence)
        self.say(*[pb.Event(topic="a", pattern="#", sequence=sequence) for sequence in (0, 1)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class DurableTests(Fixture):
    """An event is acknowledged when it has been dealt with, and not before."""

    def setUp(self) -> None:
        super().setUp()
        self.working: list[Deferred[None]] = []
        self.client.subscribe("#", self.take, durable="d")
        self.line.connect()

    def take(self, event: pb.Event) -> Deferred[None]:
        self.working.append(Deferred())
        return self.working[-1]

    def deliver(self, *deliveries: int) -> None:
        self.say(*[pb.Event(topic="a", pattern="#", delivery=delivery) for delivery in deliveries])

    def acknowledged(self) -> list[int]:
        return [body.delivery for body in self.heard if isinstance(body, pb.Ack)]

    def test_acknowledged_when_done(self) -> None:
        """Each delivery is acknowledged when its own callback's Deferred fires, in whatever order."""
        self.deliver(7, 8)
        self.assertEqual(self.acknowledged(), [])
        self.working[1].callback(None)
        self.assertEqual(self.acknowledged(), [8])
        self.working[0].callback(None)
        self.assertEqual(self.acknowledged(), [8, 7])

    def test_values_and_coroutines(self) -> None:
        """A callback that returns no Deferred is done when it returns, a coroutine when it ends."""

        async def slowly(event: pb.Event) -> None:
            await self.take(event)

        self.client.subscribe("#", lambda event: None, durable="d")
        self.deliver(1)
        self.assertEqual(self.acknowledged(), [1])
        self.client.subscribe("#", slowly, durable="d")
        self.deliver(2)
        self.assertEqual(self.acknowledged(), [1])
        self.working[0].callback(None)
        self.assertEqual(self.acknowledged(), [1, 2])

    def test_failing(self) -> None:
        """A callback that fails, now or later, leaves its event unacknowledged, and is logged."""
        self.deliver(1)
        self.working[0].errback(ValueError())
        self.client.subscribe("#", lambda event: 1 // 0, durable="d")
        self.deliver(2)
        self.assertEqual(self.acknowledged(), [])
        self.assertEqual(len(self.flushLoggedErrors(ValueError, ZeroDivisionError)), 2)

    def test_done_after_a_cut(self) -> None:
        """An event is acknowledged on its own connection or not at all: on the next it comes again."""
        self.deliver(1)
        self.cut()
        self.deliver(1)
        self.working[0].callback(None)
        self.assertEqual(self.acknowledged(), [])
        self.working[1].callback(None)
        self.assertEqual(self.acknowledged(), [1])

    def test_done_after_a_close(self) -> None:
        """An event that is done after the client was closed disturbs nobody."""
        self.deliver(1)
        self.client.close()
        self.line.pump()
        self.working[0].callback(None)
        self.assertEqual(self.acknowledged(), [])


class ServerTests(SynchronousTestCase):
    """The client with the real server."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.database = database(self.mktemp())
        self.addCleanup(self.database.close)
        self.service = BusService(BusConfig(), BusStore(self.database), self.clock, self.clock.seconds)
        self.service.startService()
        self.addCleanup(self.service.stopService)

    def client(self) -> tuple[BusClientFactory, Line]:
        client = BusClientFactory(self.clock, random=Random(1))
        line = Line(self.clock, client, self.service.factory())  # type: ignore[arg-type]
        self.addCleanup(line.pump)
        self.addCleanup(client.close)
        return client, line

    def test_nothing_to_say(self) -> None:
        """A client that says nothing for long is not closed as if it were none, and is answered then."""
        client, line = self.client()
        line.connect()
        line.advance(10 * BusConfig().handshake_timeout, 5)
        self.assertEqual(line.attempts, 1)
        answer = client.echo("x")
        line.pump()
        self.assertEqual(self.successResultOf(answer), "x")

    def test_requests(self) -> None:
        """Echo, add, overflow and publish, pipelined with subscriptions good and bad."""
        client, line = self.client()
        events: list[pb.Event] = []
        ready = client.subscribe("a.#", events.append).when_ready()
        answers: list[Deferred[Any]] = [client.echo("x"), client.add(2**31 - 1, 1), client.add(-1, -2)]
        answers += [
            client.publish("a.b", b"1"),
            client.publish("a.b", b"2"),
            client.delete_durable("a", "no"),
        ]
        line.connect()
        self.successResultOf(ready)
        for at in (1, 5):
            self.failureResultOf(answers.pop(-1 if at == 5 else 1), ServerRefused)
        self.assertEqual([self.successResultOf(a) for a in answers], ["x", -3, 1, 2])
        self.assertEqual(
            [(e.topic, e.payload, e.sequence) for e in events], [("a.b", b"1", 1), ("a.b", b"2", 2)]
        )

    def test_at_least_once(self) -> None:
        """What was published is dealt with over cuts and failures, and then is no longer there."""
        client, line = self.client()
        line.connect()
        done: list[bytes] = []

        def take(event: pb.Event) -> None:
            if event.payload not in seen:
                seen.add(event.payload)
                raise ValueError("the first time it fails")
            done.append(event.payload)

        seen: set[bytes] = set()
        subscription = client.subscribe("#", take, durable="d")
        for payload in (b"1", b"2", b"3"):
            client.publish("a", payload)
            line.pump()
            line.cut()
            line.advance(1)
        line.advance(self.service.config.ack_timeout + 1, 1)
        self.assertEqual(sorted(done), [b"1", b"2", b"3"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 3)
        stopped = subscription.stop()
        line.pump()
        self.successResultOf(stopped)
        client.subscribe("#", take, durable="d")
        line.advance(self.service.config.ack_timeout + 1, 1)
        self.assertEqual(len(done), 3)

    def test_slow_callbacks(self) -> None:
        """No more than `prefetch` events are with a callback that takes its time."""
        client, line = self.client()
        line.connect()
        working: list[Deferred[None]] = []

        def take(event: pb.Event) -> Deferred[None]:
            working.append(Deferred())
            return working[-1]

        client.subscribe("#", take, durable="d", prefetch=2)
        for _ in range(5):
            client.publish("a", b"")
        line.pump()
        self.assertEqual(len(working), 2)
        working[0].callback(None)
        line.pump()
        self.assertEqual(len(working), 3)

    def test_load(self) -> None:
        """The load of the program counts what it did, and finds every answer right."""
        load = Load(EchoLoad, self.clock, 1, 4, 3.0)

        class Ten(Latencies):
            """Ends the load after ten batches: in memory it would go on without time passing."""

            def add(self, seconds: float) -> None:
                super().add(seconds)
                if self.count == 10:
                    load.stop()

        load.latencies = Ten()
        Line(self.clock, load, self.service.factory()).connect()  # type: ignore[arg-type]
        report = self.successResultOf(load.finished)
        self.assertEqual((report.requests, report.unanswered, report.errors), (40, 0, ()))

    def test_a_load_that_is_answered_wrongly(self) -> None:
        """A wrong answer, an error or a close in the middle ends the load with what was wrong."""
        for says, words in (
            (pb.EchoMessage(content="?"), "not the echo of 'echo 0"),
            (pb.Error(code="overloaded"), "overloaded"),
            (b"\xff" * 11, "bad-varint"),
            (None, "requests unanswered"),
        ):
            load = Load(EchoLoad, self.clock, 1, 2, 3.0)
            line = Line(self.clock, load, Script())
            line.connect()
            if says is None:
                line.server_protocol.transport.loseConnection()
            else:
                line.server_protocol.say(says)
            line.pump()
            report = self.successResultOf(load.finished)
            self.assertEqual((report.requests, report.unanswered), (0, 2))
            self.assertIn(words, report.errors[0])
