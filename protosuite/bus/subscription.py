"""One subscription of a client of bus/1: who is called back, and when an event is acknowledged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import Protocol as Interface

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.wire import encode_request
from protosuite.errors import ServerRefused

Callback = Callable[[pb.Event], Any]  # what it returns may be a Deferred or a coroutine

_OPEN = object()


class Writes(Interface):
    """A connection; what is written to one that is gone is lost."""

    def write(self, data: bytes) -> None:
        """Send `data`."""


class Subscription:
    """What :meth:`BusClientFactory.subscribe` gives."""

    log = Logger()

    def __init__(
        self,
        body: pb.Subscribe,
        callback: Callback,
        unsubscribe: Callable[[Subscription], Deferred[None]],
        report: Callable[[str], None],
    ) -> None:
        self.body = body
        self._callback = callback
        self._unsubscribe = unsubscribe
        self._report = report
        self._outcome: object = _OPEN  # or None when the server has it, or why it has not
        self._observers: list[Deferred[None]] = []

    def when_ready(self) -> Deferred[None]:
        """Fires when the server has the subscription; fails with :exc:`ServerRefused` if it refused it.

        A refused subscription is asked for again at every reconnect, until it is stopped.
        """
        observer: Deferred[None] = Deferred(self._observers.remove)
        self._observers.append(observer)
        if self._outcome is not _OPEN:
            self._tell()
        return observer

    def stop(self) -> Deferred[None]:
        """Call back no more. Fires when the server has taken that, and every acknowledgement before it.

        A durable subscription stays on the server, and with it what is not acknowledged.
        """
        return self._unsubscribe(self)

    def settle(self, outcome: object) -> None:
        """What the server made of it."""
        if isinstance(outcome, Exception) and not isinstance(outcome, ServerRefused):
            return  # the connection was lost: it is asked for again on the next one
        if outcome is self._outcome:
            return  # known already
        self._outcome = outcome
        if outcome is None:
            self.body.replay = 0
        elif not self._observers:
            self._report(f"the subscription for {self.body.pattern} was refused: {outcome}")
        self._tell()

    def end(self) -> None:
        """It is stopped, or replaced by another one for its pattern."""
        if self._outcome is _OPEN:
            self._outcome = ConnectionError("the subscription ended before the server had it")
            self._tell()

    def deliver(self, connection: Writes, event: pb.Event) -> None:
        """Call back, and acknowledge on the connection that the event came from."""
        self.body.replay = 0  # some of it may have come already
        done = maybeDeferred(self._callback, event)
        if event.delivery:
            done.addCallback(lambda _: connection.write(encode_request(pb.Ack(delivery=event.delivery))))
        done.addErrback(self._failed, event)

    def _failed(self, failure: Failure, event: pb.Event) -> None:
        self.log.failure(
            "the callback for {pattern} failed at {topic} {sequence}",
            failure=failure,
            pattern=event.pattern,
            topic=event.topic,
            sequence=event.sequence,
        )

    def _tell(self) -> None:
        observers = self._observers[:]
        self._observers.clear()
        outcome = self._outcome
        for observer in observers:
            if isinstance(outcome, Exception):
                observer.errback(outcome)
            else:
                observer.callback(None)
