"""A process that serves connections of the counter for another one, which has accepted them.

``python -m protosuite.counter.worker`` is started by :mod:`protosuite.counter.crew`: with a channel to it
as file 3, and the ledger's memory as file 4. It ends when the channel does, however that came about;
signals that are for the suite as a whole it leaves to the suite.
"""

from __future__ import annotations

import json
import signal
import socket
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogBeginner

from protosuite.config import CounterConfig
from protosuite.counter.batching import Batch
from protosuite.counter.connection import CounterConnection
from protosuite.counter.crew import encode
from protosuite.counter.ledger import Book
from protosuite.counter.shared import SharedLedger
from protosuite.errors import PeerFault
from protosuite.figures import Traffic
from protosuite.net.channel import Channel
from protosuite.net.connection import Connection
from protosuite.net.prompt import PromptServer
from protosuite.net.turns import make_brief

_CHANNEL, _MEMORY = 3, 4
_TELLING = 0.2  # seconds from one time that the figures are told, if they have changed, to the next
_LONGEST = 30_000  # characters of a traceback that are passed on


class Serving:
    """What the connections of a worker belong to: a :class:`~.connection.Counting`."""

    always = False  # replies that wait for a commit are for the process that has the database

    def __init__(self, reactor: Any, end: socket.socket, ledger: SharedLedger) -> None:
        self.reactor = reactor
        self.ledger: Book = ledger
        self.traffic = Traffic()
        self.config = CounterConfig()
        self.batch = Batch(self)
        self._transport = self.batch.transport if self.batch.is_possible else PromptServer
        self._told = Traffic()
        self._numbers: dict[Connection, int] = {}
        self._connections: dict[int, CounterConnection] = {}
        self._channel = Channel(reactor, end, self._received, reactor.stop)
        telling = LoopingCall(self._tell_figures)
        telling.clock = reactor
        telling.start(_TELLING, now=False)

    def tell(self, word: str, *values: object) -> None:
        """Say something to the suite."""
        self._channel.send(encode(word, *values))

    def failed(self, event: LogEvent) -> None:
        """Pass on what was logged, if it is a failure: it goes into the suite's log."""
        if event.get("log_level", LogLevel.info) >= LogLevel.warn:
            failure = event.get("log_failure")
            text = formatEvent(event) if failure is None else failure.getTraceback()
            self.tell("failed", text[-_LONGEST:])

    # What the suite says.

    def _received(self, packet: bytes, descriptor: int | None) -> None:
        word, *values = json.loads(packet)
        if word == "settings":
            self.config = CounterConfig(**values[0])
        elif word == "take":
            self._take(values[0], tuple(values[1]), descriptor)
        elif values[0] in self._connections:  # else it has ended in the meantime
            connection = self._connections[values[0]]
            if word == "shut down":
                connection.shut_down()
            elif word == "abort":
                connection.transport.abortConnection()

    def _take(self, number: int, client: Any, descriptor: int | None) -> None:
        if descriptor is None:  # too many files are open here
            self.tell("ended", number)
            return
        connection = CounterConnection(self)
        self._numbers[connection], self._connections[number] = number, connection
        accepted = socket.socket(fileno=descriptor)
        port: Any = None
        connection.makeConnection(self._transport(accepted, connection, client, port, number, self.reactor))

    def _tell_figures(self) -> None:
        traffic, told = self.traffic, self._told
        if traffic != told:
            self._told = Traffic(0, traffic.messages, traffic.received, traffic.sent)
            self.tell("figures", traffic.messages, traffic.received, traffic.sent)

    # For the connections.

    def joined(self, connection: Connection) -> PeerFault | None:
        """The suite has let it in."""
        return None

    def left(self, connection: Connection) -> None:
        """A connection is closed: whoever hears of it knows of all that came over it."""
        self._tell_figures()
        number = self._numbers.pop(connection)
        del self._connections[number]
        self.tell("ended", number)

    def turned_down(self, peer: str, code: str, reason: str) -> bool:
        """Have it counted and logged."""
        self.tell("turned down", peer, code, reason)
        return False

    def refused(self, connection: CounterConnection, fault: PeerFault) -> None:
        """Have it counted, logged and published."""
        self.tell("refused", connection.peer, fault.code, fault.message)

    def slowed_down(self) -> None:
        """Have it counted."""
        self.tell("slowed down")

    def answer_when_stored(self, connection: CounterConnection, replies: bytes) -> None:
        raise AssertionError("durability = always is not for workers")


def main() -> None:
    """Serve until the suite is gone."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    from twisted.internet import reactor as _reactor

    reactor: Any = _reactor
    make_brief(reactor, yields=True)
    serving = Serving(reactor, socket.socket(fileno=_CHANNEL), SharedLedger(_MEMORY))
    observer: Any = serving.failed
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    reactor.run(installSignalHandlers=False)


if __name__ == "__main__":
    main()
