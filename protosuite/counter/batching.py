"""Requests that come one at a time, as most do: read, added and answered by the turn of the reactor.

In turns with the version before, on two processors which loads had, too: 140,000 increments a second of one
reactor became 156,000, and 116,000 of two workers 148,000.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.main import CONNECTION_LOST

from protosuite.counter.connection import CounterConnection, Counting
from protosuite.counter.wire import REPLY_SIZE, REQUEST_SIZE, decode_request, encode_each
from protosuite.net.prompt import PromptServer

Send = Callable[[bytes], int]

_EVERY = 48  # answers from one rest to the next


class Batch:
    """One request each of some connections, all received in this turn of the reactor.

    At its end they are added with one look at the ledger, and answered in that order. Where clients of this
    machine are among them, `rest` is called after every 48 answers.
    """

    def __init__(self, service: Counting, rest: Callable[[], object] | None = None) -> None:
        self._service = service
        self._rest = rest
        self._unrested = 0  # answers since the last rest
        self._seconds: Callable[[], float] = service.reactor.seconds
        # Bounded: of each connection there is one.
        self._asked: list[tuple[CounterConnection, Send]] = []
        self._increments: list[int] = []

    def transport(self, *arguments: Any) -> BatchedServer:
        """What a port makes for a connection."""
        return BatchedServer(self, *arguments)

    def reader(self, transport: BatchedServer, connection: CounterConnection) -> Callable[[], Any]:
        """Reads `transport` for as long as whole requests come one at a time; else gives that up.

        What it uses is in the cells of a function: to look all of it up in objects, and to pass through the
        methods that any protocol has, made two workers a sixth slower.
        """
        receive, size = transport.socket.recv, transport.bufferSize
        asks, increments = self._asked.append, self._increments.append
        asker = (connection, transport.socket.send)

        def read() -> Any:
            try:
                data = receive(size)
            except BlockingIOError:
                return None
            except OSError:
                return CONNECTION_LOST
            if len(data) == REQUEST_SIZE and connection.batch is not None:
                increment = decode_request(data)
                if increment >= 0:
                    asks(asker)
                    increments(increment)
                    return None
            self.answer()
            return transport.read_otherwise(data)

        return read

    def answer(self) -> None:
        """Add what has been asked for, and answer. At the end of each turn."""
        if self._asked:
            asked, increments = self._asked[:], self._increments[:]
            self._asked.clear()
            self._increments.clear()
            self._add(asked, increments)
            if self._rest is not None:
                self._rest_in_time(self._rest, asked)

    def _rest_in_time(
        self, rest: Callable[[], object], answered: list[tuple[CounterConnection, Send]]
    ) -> None:
        self._unrested += len(answered)
        if self._unrested >= _EVERY:
            self._unrested = 0
            if any(connection.transport.is_near for connection, _ in answered):
                rest()

    def _add(self, asked: list[tuple[CounterConnection, Send]], increments: list[int]) -> None:
        totals, fault = self._service.ledger.apply(increments)
        self._count(len(totals) + (fault is not None))
        self._reply(asked, totals)
        if fault is not None:
            asked[len(totals)][0].refuse(fault)
            for place in range(len(totals) + 1, len(asked)):  # each by itself: it may yet be added
                self._add(asked[place : place + 1], increments[place : place + 1])

    def _count(self, requests: int) -> None:
        traffic = self._service.traffic
        traffic.messages += requests
        traffic.received += requests * REQUEST_SIZE

    def _reply(self, asked: list[tuple[CounterConnection, Send]], totals: list[int]) -> None:
        now = self._seconds()
        waits = self._service.always
        if not waits:
            self._service.traffic.sent += len(totals) * REPLY_SIZE
        for (connection, send), reply in zip(asked, encode_each(totals), strict=False):
            connection.heard = now
            if waits:
                connection.answer(reply)
                continue
            try:
                sent = send(reply)
            except OSError:  # that it would block, or what the reactor will come upon
                sent = 0
            if sent < REPLY_SIZE:
                connection.batch = None  # the next reply must wait behind this one
                connection.transport.write(reply[sent:])


class BatchedServer(PromptServer):
    """A transport of the counter. It has a :class:`Batch` read requests where they come one at a time."""

    def __init__(self, batch: Batch, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._batch = batch
        # Whether its client is on this machine, and may wait for the processor that we have.
        self.is_near = self.socket.getsockname()[:1] == self.client[:1]

    def doRead(self) -> Any:
        outcome: Any = super().doRead()
        connection = self.protocol
        if isinstance(connection, CounterConnection) and connection.can_be_batched() and not self.has_unsent:
            connection.batch = self._batch
            self.__dict__["doRead"] = self._batch.reader(self, connection)
        return outcome

    def read_otherwise(self, data: bytes) -> Any:
        """Something else has come than one request: take that, and read oneself from now on."""
        self._read_oneself()
        return self._dataReceived(data)

    def connectionLost(self, reason: Any) -> None:
        self._read_oneself()
        super().connectionLost(reason)

    def _read_oneself(self) -> None:
        self.__dict__.pop("doRead", None)
        if isinstance(self.protocol, CounterConnection):
            self.protocol.batch = None
