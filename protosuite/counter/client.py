"""The client of counter/1: pipelines increments, and says so when it cannot know what became of one."""

from __future__ import annotations

from collections import deque
from random import Random, SystemRandom

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from protosuite.counter.wire import MAX, ReplyDecoder, encode_request
from protosuite.errors import OutcomeUnknown, Overloaded
from protosuite.net.reconnect import GREETING, ResumingClientFactory, Status


@define(eq=False, repr=False)
class _Increment:
    amount: int
    answer: Deferred[int]
    attempts: int = 0


class CounterClientFactory(ResumingClientFactory):
    """Increments a counter over one connection that is made again when it is lost.

    At most `max_in_flight` requests are written and unanswered; up to `max_waiting` more wait to be
    written, and past that :meth:`increment` fails with :exc:`Overloaded`.

    When the connection is lost, what was never written is sent again. What was written and not
    answered may or may not have counted: it fails with :exc:`OutcomeUnknown`, or, with
    `at_least_once`, is sent again and may then count twice. A request at whose turn the server closed
    `max_attempts` connections is given up as well: a close is how the server refuses.

    A server that owes an answer and is silent for `answer_timeout` seconds is left for a new connection. A
    client that has nothing to ask reads the counter once, so that the server knows that it is one.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        at_least_once: bool = False,
        max_in_flight: int = 1024,
        max_waiting: int = 100_000,
        max_attempts: int = 5,
        answer_timeout: float = 60.0,
        random: Random | None = None,
        on_status: Status | None = None,
    ) -> None:
        super().__init__(clock, random or SystemRandom(), on_status)
        self._at_least_once = at_least_once
        self._max_in_flight = max_in_flight
        self._max_waiting = max_waiting
        self.answer_timeout = answer_timeout
        self._max_attempts = max_attempts
        self._waiting: deque[_Increment] = deque()
        self._in_flight: deque[_Increment] = deque()
        self._connection: CounterClient | None = None

    def increment(self, amount: int) -> Deferred[int]:
        """Add `amount` (0 … 2^64 − 1; 0 reads). The Deferred fires with the counter after it.

        Cancelling takes back what has not been written; what has been may count all the same.
        """
        if not 0 <= amount <= MAX:
            raise ValueError(f"an increment is 0 to {MAX}")
        item = _Increment(amount, Deferred(self._forget))
        if not self.continueTrying:
            item.answer.errback(ConnectionError("this client has been closed"))
        elif len(self._waiting) >= self._max_waiting:
            item.answer.errback(Overloaded("too many increments wait to be sent"))
        else:
            self._waiting.append(item)
            self._send()
        return item.answer

    def get(self) -> Deferred[int]:
        """Read the counter."""
        return self.increment(0)

    def close(self) -> None:
        """Close the connection and do not come back. What is unanswered fails."""
        self.stopTrying()
        if self._connection is not None and self._connection.transport is not None:
            self._connection.transport.loseConnection()
        self._fail(self._in_flight, OutcomeUnknown("the client was closed before the answer came"))
        self._fail(self._waiting, ConnectionError("the client was closed before this was sent"))

    def buildProtocol(self, addr: IAddress | None) -> CounterClient:
        return CounterClient(self)

    def connected(self, connection: CounterClient) -> None:
        """A connection is there: send what waits."""
        self._connection = connection
        self._send()

    @property
    def is_owed(self) -> bool:
        """Whether the server owes an answer."""
        return bool(self._in_flight)

    def greet(self) -> None:
        """Nothing has been asked yet: ask something."""
        self.get().addErrback(lambda failure: None)  # nobody waits for it

    def answered(self, total: int) -> bool:
        """Take a reply. False: nothing was asked."""
        if not self._in_flight:
            return False
        item = self._in_flight.popleft()
        self.progressed()
        if not item.answer.called:
            item.answer.callback(total)
        return True

    def answered_all(self) -> None:
        """What the transport had is taken: there may be room for more."""
        self._send()

    def lost(self) -> None:
        self._connection = None
        unanswered, self._in_flight = self._in_flight, deque()
        if unanswered:
            unanswered[0].attempts += 1
        if not self._at_least_once:
            self._fail(unanswered, OutcomeUnknown("the connection was lost before the answer came"))
            return
        if unanswered and unanswered[0].attempts >= self._max_attempts:
            refused = deque([unanswered.popleft()])
            self._fail(refused, OutcomeUnknown(f"the server closed {self._max_attempts} connections at it"))
        self._waiting.extendleft(item for item in reversed(unanswered) if not item.answer.called)

    def _forget(self, answer: Deferred[int]) -> None:
        for item in self._waiting:
            if item.answer is answer:
                self._waiting.remove(item)
                return

    def _send(self) -> None:
        """Write as much as may be in flight, in one piece."""
        if self._connection is None or self._connection.transport is None:
            return
        frames = []
        while self._waiting and len(self._in_flight) < self._max_in_flight:
            item = self._waiting.popleft()
            self._in_flight.append(item)
            frames.append(encode_request(item.amount))
        if frames:
            self._connection.write(b"".join(frames))

    @staticmethod
    def _fail(items: deque[_Increment], error: Exception) -> None:
        while items:
            answer = items.popleft().answer
            if not answer.called:
                answer.errback(error)


class CounterClient(Protocol):
    """One connection of a :class:`CounterClientFactory`."""

    transport: ITransport | None = None

    def __init__(self, factory: CounterClientFactory) -> None:
        self._factory = factory
        self._decoder = ReplyDecoder()
        self._greeting: IDelayedCall | None = None  # until something is written
        self._overdue: IDelayedCall | None = None  # while something is owed

    def connectionMade(self) -> None:
        self._greeting = self._factory.clock.callLater(GREETING, self._greet)
        self._factory.connected(self)

    def write(self, data: bytes) -> None:
        """Send requests."""
        self._need_not_greet()
        if self._overdue is None:
            self._overdue = self._factory.clock.callLater(self._factory.answer_timeout, self._too_late)
        assert self.transport is not None
        self.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        if self._overdue is not None:
            self._overdue.reset(self._factory.answer_timeout)
        for totals in self._decoder.feed(data):
            for total in totals:
                if not self._factory.answered(total) and self.transport is not None:
                    self.transport.loseConnection()  # it answers what nobody asked: not a counter
                    return
        self._factory.answered_all()
        if not self._factory.is_owed:
            self._need_not_wait()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.transport = None
        self._need_not_greet()
        self._need_not_wait()

    def _greet(self) -> None:
        self._greeting = None
        self._factory.greet()

    def _need_not_greet(self) -> None:
        if self._greeting is not None:
            self._greeting.cancel()
            self._greeting = None

    def _too_late(self) -> None:
        self._overdue = None
        if self.transport is not None:
            abort = getattr(self.transport, "abortConnection", self.transport.loseConnection)
            abort()

    def _need_not_wait(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
