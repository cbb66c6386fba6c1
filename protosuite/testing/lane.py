"""One direction of a connection through a proxy, and the two sides that it joins."""

from __future__ import annotations

from collections import deque
from typing import Any
from typing import Protocol as Interface

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from protosuite.testing.faults import Fate

MAX_HELD = 256 << 10  # bytes that are under way one way; with more the sender is not read


class Joins(Interface):
    """The connection that sides and lanes are parts of."""

    def opened(self, side: Side) -> None:
        """A side is connected."""

    def lost(self, side: Side, is_clean: bool) -> None:
        """A side is closed, for good; not `is_clean` if it was not in order."""

    def room(self) -> int:
        """How many bytes may pass until something happens; 1 at least."""

    def passed(self, count: int) -> None:
        """So many bytes have passed."""


@implementer(IPushProducer)
class Lane:
    """Bytes on their way from one side of a link to the other. Each piece leaves when its time has come."""

    def __init__(self, clock: IReactorTime, fate: Fate, source: Side, target: Side, link: Joins) -> None:
        self.held = 0  # bytes
        self._clock = clock
        self._fate = fate
        self._source = source
        self._target = target
        self._link = link
        self._queue: deque[tuple[float, bytes]] = deque()  # when each piece leaves
        self._call: IDelayedCall | None = None
        self._is_stopped = False
        self._is_blocked = True  # the target is not there, or has enough to send
        self._is_ended = False  # nothing more comes
        self._is_reset = False  # and it did not come to its end in order
        self._is_done = False  # the target has been told so

    @property
    def is_busy(self) -> bool:
        """Whether something is on its way that the target has not got."""
        return bool(self._queue) or (self._is_ended and not self._is_done)

    def take(self, data: bytes) -> None:
        """The source sent something."""
        if self._is_ended:
            return
        now = self._clock.seconds()
        for piece in self._fate.cut(data):
            due = now + self._fate.delay()
            if self._queue:
                due = max(due, self._queue[-1][0])
            if self._fate.rate:
                due += len(piece) / self._fate.rate
            self._queue.append((due, piece))
            self.held += len(piece)
        if self.held >= MAX_HELD:
            self._source.pause()
        self._move()

    def end(self, is_reset: bool = False) -> None:
        """The source sends nothing more, or is not to be heard any more."""
        if not self._is_ended:
            self._is_ended, self._is_reset = True, is_reset
            self._source.pause()
            self._move()
        elif is_reset:
            self._is_reset = True
            self._move()

    def stop(self) -> None:
        """Let nothing pass."""
        self._is_stopped = True

    def start(self) -> None:
        """Let things pass again."""
        self._is_stopped = False
        self._move()

    def drop(self) -> None:
        """Lose what is on its way."""
        self._queue.clear()
        self.held = 0
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def connected(self) -> None:
        """The target is there."""
        self._target.transport.registerProducer(self, True)
        self._is_blocked = False
        self._move()

    # IPushProducer: the target's transport says how much it takes.

    def pauseProducing(self) -> None:
        self._is_blocked = True

    def resumeProducing(self) -> None:
        self._is_blocked = False
        self._move()

    def stopProducing(self) -> None:
        """The target is being closed."""

    def _move(self) -> None:
        """Send what is due, one piece a turn, so that pieces stay pieces."""
        if self._is_blocked and self._is_reset:
            self._target.abort()  # it does not read, and hears of a reset all the same
        if self._is_stopped or self._is_blocked or self._call is not None:
            return
        if self._queue:
            wait = self._queue[0][0] - self._clock.seconds()
            self._call = self._clock.callLater(max(0.0, wait), self._send)
        elif self._is_ended and not self._is_done:
            self._is_done = True
            if self._is_reset:
                self._target.abort()
            elif self._source.is_lost:
                self._target.close()
            else:
                self._target.close_writing()

    def _send(self) -> None:
        self._call = None
        if self._is_stopped or self._is_blocked or not self._queue:
            return
        due, piece = self._queue.popleft()
        room = self._link.room()
        if len(piece) > room:
            self._queue.appendleft((due, piece[room:]))
            piece = piece[:room]
        self.held -= len(piece)
        self._target.write(piece)
        if self.held < MAX_HELD and not self._is_ended:
            self._source.resume()
        self._link.passed(len(piece))
        self._move()


@implementer(IHalfCloseableProtocol)
class Side(Protocol):
    """One side of a link: what it reads goes into `out`."""

    transport: Any
    out: Lane

    def __init__(self, link: Joins) -> None:
        self.is_connected = False
        self.is_lost = False
        self._link = link
        self._is_paused = False
        self._has_read_all = False
        self._has_closed_writing = False

    def connectionMade(self) -> None:
        self.is_connected = True
        self.transport.setTcpNoDelay(True)
        self._link.opened(self)

    def dataReceived(self, data: bytes) -> None:
        self.out.take(data)

    def readConnectionLost(self) -> None:
        self._has_read_all = True
        self.out.end()
        if self._has_closed_writing:
            self.close()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._link.lost(self, bool(reason.check(ConnectionDone)))

    def pause(self) -> None:
        """Read no more for now."""
        if self.is_connected and not self._is_paused:
            self._is_paused = True
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Read again."""
        if self._is_paused and not self.is_lost and not self._has_read_all:
            self._is_paused = False
            self.transport.resumeProducing()

    def write(self, data: bytes) -> None:
        """Send, if nobody has closed it meanwhile."""
        if not self._has_closed_writing:
            self.transport.write(data)

    def close_writing(self) -> None:
        """Nothing more is written to it."""
        self._has_closed_writing = True
        if self._has_read_all:
            self.close()
        elif self.is_connected and not self.is_lost:
            self.transport.unregisterProducer()  # a transport that has one waits for it
            self.transport.loseWriteConnection()

    def close(self) -> None:
        """Close it in order."""
        self._has_closed_writing = True
        if self.is_connected and not self.is_lost:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def abort(self) -> None:
        """Reset it."""
        self._has_closed_writing = True
        if self.is_connected and not self.is_lost:
            self.transport.abortConnection()
