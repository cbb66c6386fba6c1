"""The client of bus/1: echo, add, publish and subscribe over one connection that is made again when lost."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random, SystemRandom
from typing import Any

from google.protobuf.message import Message
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.requests import Kind, Request, Requests
from protosuite.bus.subscription import Callback, Subscription
from protosuite.bus.topics import check_content_type, check_pattern, check_topic
from protosuite.bus.wire import FROM_SERVER, MAX_MESSAGE, Decoder, Malformed, encode_request
from protosuite.errors import BadRequest, PeerFault, ServerRefused
from protosuite.net.reconnect import GREETING, ResumingClientFactory, Status

_BATCH_BYTES = 64 << 10  # written at once: what a transport takes before it says that it is enough
_EVENT_EXTRA = 1 << 10  # bytes that an event may have more than its publish: a pattern and four numbers


class BusClientFactory(ResumingClientFactory):
    """A client of a bus that reconnects. Requests wait for the connection, subscriptions are made again.

    At most `max_in_flight` requests are sent and unanswered; up to `max_waiting` more, or until their
    bodies are `max_waiting_bytes`, wait to be sent, and past that they fail with :exc:`Overloaded`.
    What waits is sent after reconnecting. What was sent and not answered when the connection was lost
    fails: publish and delete_durable with :exc:`OutcomeUnknown`, for the server may have done it;
    echo and add with `ConnectionError`, for it would not matter. What the server refuses fails with
    :exc:`ServerRefused`. Every Deferred can be cancelled: what has not been sent is taken back.

    `token` says who one is to a server that asks. A client whom the server does not know, or no longer, comes
    back no more: all that is unanswered fails with what the server said, `on_refusal` is called with it, and
    what is asked for later fails with it.

    Every `silence_timeout` seconds a connection on which nothing has arrived since the last time is asked
    for an echo, and the time after that it is given up. That must be longer than the server's
    ``publish_timeout``. `max_message` is the server's setting of that name.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        max_in_flight: int = 1024,
        max_waiting: int = 100_000,
        max_waiting_bytes: int = 64 << 20,
        max_message: int = MAX_MESSAGE,
        silence_timeout: float = 60.0,
        token: str | None = None,
        random: Random | None = None,
        on_status: Status | None = None,
        on_refusal: Callable[[ServerRefused], None] | None = None,
    ) -> None:
        super().__init__(clock, random or SystemRandom(), on_status)
        self.token = token
        self._on_refusal = on_refusal or (lambda refusal: None)
        self._refusal: ServerRefused | None = None
        self.silence_timeout = silence_timeout
        self.max_message = max_message
        self._requests = Requests(max_in_flight, max_waiting, max_waiting_bytes)
        self._subscriptions: dict[str, Subscription] = {}
        self._connection: BusClient | None = None
        self._ids = itertools.count(1)
        self._last_word = ""  # an error that came last, and may be why the server then closes
        self._closed: Deferred[None] | None = None

    # What it can be asked. All of it may raise BadRequest, and ValueError for a number out of its range.

    def echo(self, text: str) -> Deferred[str]:
        """The server's echo of `text`."""
        return self._ask(Kind.ECHO, pb.EchoMessage(content=text))

    def add(self, a: int, b: int) -> Deferred[int]:
        """The sum, by the server; :exc:`ServerRefused` with ``overflow`` if it is no int32."""
        return self._ask(Kind.SUM, pb.AddRequest(a=a, b=b))

    def publish(
        self, topic: str, payload: bytes, content_type: str = "", *, receipt: bool = True
    ) -> Deferred[int]:
        """Publish an event: its sequence, once every durable subscription has it on stable storage.

        Without `receipt`, 0 once it is written; what becomes of it then is not known.
        """
        check_topic(topic)
        check_content_type(content_type)
        id = next(self._ids) if receipt else 0
        body = pb.Publish(topic=topic, payload=payload, content_type=content_type, id=id)
        return self._ask(Kind.RECEIPT if receipt else Kind.NOTHING, body)

    def subscribe(
        self,
        pattern: str,
        callback: Callback,
        *,
        replay: int = 0,
        durable: str = "",
        prefetch: int = 0,
        depth: int = 0,
    ) -> Subscription:
        """Call `callback` with each event that matches, until the subscription is stopped or replaced.

        Another subscription for the same pattern replaces it. `replay` is asked for until something has
        come of it, and not again after a reconnect. An event of a durable subscription is acknowledged
        when what `callback` returned has fired. If it fails, that is logged, and the event comes again:
        after the server's ``ack_timeout``, or a reconnect. Events that arrive meanwhile do not wait for
        it: `prefetch` bounds how many are with the callback at a time, and 1 is one after the other.
        """
        check_pattern(pattern)
        self._check_open()
        body = pb.Subscribe(pattern=pattern, replay=replay, durable=durable, prefetch=prefetch, depth=depth)
        subscription = Subscription(body, callback, self._unsubscribe, self.report)
        if (replaced := self._subscriptions.get(pattern)) is not None:
            replaced.end()
        self._subscriptions[pattern] = subscription
        if self._connection is not None:
            self._subscribe(subscription)
        return subscription

    def delete_durable(self, pattern: str, name: str) -> Deferred[None]:
        """Delete the durable subscription `name` with all that it is owed."""
        check_pattern(pattern)
        subscription = self._subscriptions.get(pattern)
        if subscription is not None and subscription.body.durable == name:
            self._subscriptions.pop(pattern).end()
        return self._ask(Kind.FENCE, pb.Unsubscribe(pattern=pattern, durable=name))

    def renew(self, token: str) -> None:
        """Use another token from now on: one that lives longer, of the same subject and role."""
        self.token = token
        self._authenticate()

    def close(self) -> Deferred[None]:
        """Close the connection and do not come back. What is unanswered fails.

        Fires when the connection is closed and all that was written has left; cancelling cuts it short.
        """
        for pattern in list(self._subscriptions):
            self._subscriptions.pop(pattern).end()
        self._disconnect()
        self._requests.lose("the client was closed")
        self._requests.give_up("the client was closed before this was sent")
        return self._closed or succeed(None)

    # What the subscriptions need.

    def _unsubscribe(self, subscription: Subscription) -> Deferred[None]:
        """End it, if it is not over; fires when the server has done it."""
        pattern = subscription.body.pattern
        if self._subscriptions.get(pattern) is not subscription:
            return succeed(None)
        self._subscriptions.pop(pattern).end()
        if self._connection is None:
            return succeed(None)
        done: Deferred[None] = Deferred()

        def settle(outcome: object) -> None:  # no subscription, or no connection: it is over either way
            if not done.called:
                done.callback(None)

        self._send_past(Request(Kind.FENCE, pb.Unsubscribe(pattern=pattern), settle))
        return done

    def _subscribe(self, subscription: Subscription) -> None:
        """Ask for it on this connection."""
        self._send_past(Request(Kind.FENCE, subscription.body, subscription.settle))

    def _send_past(self, request: Request) -> None:
        """Send a request at once: there are no more of these than subscriptions."""
        assert self._connection is not None
        self._requests.sent(request)
        self._connection.write(request.encoded())

    # What the connection tells.

    def buildProtocol(self, addr: IAddress | None) -> BusClient:
        return BusClient(self)

    def connected(self, connection: BusClient) -> None:
        """A connection is there: subscribe again, and send what waits."""
        self._connection = connection
        self._last_word = ""
        self._authenticate()
        for subscription in list(self._subscriptions.values()):
            self._subscribe(subscription)
        self.send()

    def probe(self) -> None:
        """Ask for a sign of life."""
        self._send_past(Request(Kind.ECHO, pb.EchoMessage(), lambda outcome: None))

    def received(self, connection: BusClient, body: Message | Malformed) -> None:
        """Take a message. Raises :exc:`PeerFault` if the connection makes no sense any more."""
        if isinstance(body, Malformed):
            raise PeerFault("bad-message", body.message)
        if isinstance(body, pb.Error):
            self._refused(body)
            return
        self.progressed()
        self._last_word = ""
        if not isinstance(body, pb.Event):
            self._requests.answered(body)
        elif (subscription := self._subscriptions.get(body.pattern)) is not None:
            subscription.deliver(connection, body)

    def send(self) -> None:
        """Write what may be in flight, as far as the connection takes it."""
        while (connection := self._connection) is not None and connection.is_writable:
            requests = self._requests.take(_BATCH_BYTES)
            if not requests:
                return
            connection.write(b"".join(request.encoded() for request in requests))
            for request in requests:
                if request.kind is Kind.NOTHING:
                    request.settle(0)

    def lost(self) -> None:
        self._connection = None
        said = f" (the server said {self._last_word})" if self._last_word else ""
        self._requests.lose(f"the connection was lost{said}")

    def gone(self) -> None:
        """The connection that was open at the close is closed."""
        if self._closed is not None:
            closed, self._closed = self._closed, None
            if not closed.called:
                closed.callback(None)

    def report(self, text: str) -> None:
        """Something is wrong that no Deferred can tell."""
        self.log.warn("{text}", text=text)
        self._on_status(text)

    def _refused(self, error: pb.Error) -> None:
        if error.code == "unknown-delivery":
            return  # a late acknowledgement: the event has come again, or is somebody else's now
        if error.code == "unauthenticated":
            self._give_up(ServerRefused(error.code, error.message))
            return
        self._last_word = "" if error.id else f"{error.code}: {error.message}"
        if not self._requests.refused(error):
            self.report(f"the server says {error.code}: {error.message}")

    def _give_up(self, refusal: ServerRefused) -> None:
        """The server does not know us: what it has not answered it has not done, and it never will."""
        self._refusal = refusal
        self._disconnect()
        subscriptions, self._subscriptions = self._subscriptions, {}
        for subscription in subscriptions.values():
            subscription.settle(refusal)
        self._requests.refuse(refusal)
        self._on_refusal(refusal)

    def _authenticate(self) -> None:
        if self._connection is not None and self.token is not None:
            self._connection.write(encode_request(pb.Authenticate(token=self.token)))

    def _disconnect(self) -> None:
        """Close the connection, and do not come back."""
        self.stopTrying()
        connection, self._connection = self._connection, None
        if connection is not None:
            self._closed = Deferred(lambda _: connection.abort())
            connection.close()

    def _check_open(self) -> None:
        if not self.continueTrying:
            raise self._refusal or ConnectionError("this client has been closed")

    def _ask(self, kind: Kind, body: Message) -> Deferred[Any]:
        if body.ByteSize() > self.max_message:
            raise BadRequest("too-large", f"a message of {body.ByteSize()} bytes; at most {self.max_message}")
        answer: Deferred[Any] = Deferred(lambda _: self._requests.withdraw(request))

        def settle(outcome: object) -> None:
            if not answer.called:
                answer.callback(Failure(outcome) if isinstance(outcome, Exception) else outcome)

        request = Request(kind, body, settle)
        try:
            self._check_open()
            self._requests.put(request)
        except Exception as error:
            settle(error)
        else:
            self.send()
        return answer


@implementer(IPushProducer)
class BusClient(Protocol):
    """One connection of a :class:`BusClientFactory`."""

    transport: Any  # ITCPTransport, or those of TLS and UNIX sockets

    def __init__(self, factory: BusClientFactory) -> None:
        self._factory = factory
        self._decoder = Decoder(FROM_SERVER, factory.max_message + _EVENT_EXTRA)
        self._is_open = False
        self._is_paused = False
        self._silences = 0  # checks of `_watch` since something arrived
        self._watch: IDelayedCall | None = None
        self._greeting: IDelayedCall | None = None  # until something is written

    @property
    def is_writable(self) -> bool:
        """Whether it is there, and takes more than what it already has to send."""
        return self._is_open and not self._is_paused

    def connectionMade(self) -> None:
        self._is_open = True
        self.transport.registerProducer(self, True)
        self._watch = self._factory.clock.callLater(self._factory.silence_timeout, self._check)
        self._greeting = self._factory.clock.callLater(GREETING, self._greet)
        self._factory.connected(self)

    def dataReceived(self, data: bytes) -> None:
        self._silences = 0
        try:
            for body in self._decoder.feed(data):
                if not self._is_open:
                    return
                self._factory.received(self, body)
        except PeerFault as fault:
            self._factory.report(f"the server makes no sense: {fault}")
            self.abort()
        self._factory.send()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_open = False
        if self._watch is not None:
            self._watch.cancel()
        self._need_not_greet()
        self._factory.gone()

    def write(self, data: bytes) -> None:
        """Write, if the connection is still there."""
        if self._is_open:
            self._need_not_greet()
            self.transport.write(data)

    def close(self) -> None:
        """Close once what was written has left."""
        self._is_open = False
        self._need_not_greet()
        self.transport.unregisterProducer()  # a transport that has one waits for it
        self.transport.loseConnection()

    def abort(self) -> None:
        """Close now."""
        self._is_open = False
        self._need_not_greet()
        self.transport.unregisterProducer()
        self.transport.abortConnection()

    def _greet(self) -> None:
        self._greeting = None
        self._factory.probe()

    def _need_not_greet(self) -> None:
        if self._greeting is not None:
            self._greeting.cancel()
            self._greeting = None

    def _check(self) -> None:
        """Nothing since the last time: ask for it, unless it is closing. Nothing the time after: give up."""
        self._watch = self._factory.clock.callLater(self._factory.silence_timeout, self._check)
        self._silences += 1
        if self._silences == 2 and self._is_open:
            self._factory.probe()
        elif self._silences > 2:
            self.abort()

    # IPushProducer: the transport says when the server is behind with reading.

    def pauseProducing(self) -> None:
        self._is_paused = True

    def resumeProducing(self) -> None:
        self._is_paused = False
        self._factory.send()

    def stopProducing(self) -> None:
        """The connection is being lost."""
