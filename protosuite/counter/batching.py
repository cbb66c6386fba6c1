"""Whole requests, as most reads bring: one is added and answered by the turn of the reactor, a run at once.

In turns with the version before, on two processors which loads had, too: 140,000 increments a second of one
reactor became 156,000, and 116,000 of two workers 148,000. Since nothing of a connection is touched but its
socket and what tables have under its descriptor, 4,000 connections get 141,000 instead of 120,000; and 40
with 16 requests in flight each 1,544,000 instead of 1,263,000.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from contextlib import suppress
from itertools import repeat
from typing import Any

from twisted.internet.main import CONNECTION_LOST

from protosuite.counter.connection import CounterConnection, Counting
from protosuite.counter.wire import (
    REPLY_SIZE,
    REQUEST_SIZE,
    decode_request,
    decode_requests,
    encode_each,
    encode_replies,
)
from protosuite.errors import PeerFault
from protosuite.net.prompt import USUAL, PromptServer
from protosuite.net.turns import DirectReaders, Lookout, at_end, direct_readers, rest

_FEW = 464  # bytes received first, 29 requests: more would be memory that the interpreter has to ask for
_EVERY = 48  # answers from one rest to the next
# Connections of this machine from which on there are rests: the answers of fewer are not enough for anybody
# to go on without waiting, and with twelve it would be a tenth fewer.
_MANY = 24


class Batch:
    """One request each of some connections, all received in this turn of the reactor.

    At its end they are added with one look at the ledger, and answered in that order. Several that come in
    one piece need not wait for it: one look is enough for them. A descriptor in `_asked` is open, and its
    connection's: whoever stops reading one in this way answers first.

    With `pauses` there is a rest after every 48 answers where clients of this machine are among them; and
    where they are few, a look for the next request before the reactor sleeps.
    """

    def __init__(self, service: Counting, pauses: bool = False) -> None:
        self._service = service
        self._seconds: Callable[[], float] = service.reactor.seconds
        # Bounded: of each connection there is one.
        self._asked: list[int] = []
        self._increments: list[int] = []
        # By descriptor.
        self._transports: dict[int, BatchedServer] = {}
        self._heard = array("d")
        self._near = bytearray()
        self._read = self._reader()
        readers = direct_readers(service.reactor)
        self.is_possible = readers is not None and at_end(service.reactor, self.answer)
        self._readers = DirectReaders() if readers is None else readers
        self._lookout = Lookout(service.reactor) if pauses and self.is_possible else None
        self._nearby = 0  # connections of this machine
        self._has_run = False  # in this turn
        self._unrested = 0  # answers since the last rest

    def transport(self, *arguments: Any) -> BatchedServer:
        """What a port makes for a connection."""
        return BatchedServer(self, *arguments)

    def take(self, number: int, transport: BatchedServer) -> None:
        """Read a descriptor in the place of its transport."""
        lacking = max(0, number + 1 - len(self._heard))
        self._heard.extend(repeat(0.0, lacking))
        self._near.extend(bytes(lacking))
        self._heard[number] = 0.0  # it may have been another one's
        self._transports[number] = transport
        self._near[number] = transport.is_near
        self._nearby += transport.is_near
        self.go_on(number)

    def leave(self, number: int) -> None:
        """Answer what was asked for, and leave a descriptor to its transport."""
        self._settle()
        self.hold(number)
        self._nearby -= self._transports.pop(number).is_near

    def hold(self, number: int) -> None:
        """Do not read a descriptor, for the reactor does not."""
        self._readers.put(number, None)

    def go_on(self, number: int) -> None:
        """Read it again."""
        self._readers.put(number, self._read)

    def read(self, number: int) -> Any:
        """Read one now, as its transport would."""
        return self._read(number)

    def heard(self, number: int) -> float:
        """When one asked last; 0 if it has not since it is read here."""
        return self._heard[number]

    def answer(self) -> None:
        """Add what has been asked for, and answer. At the end of each turn."""
        answered = self._settle()
        if (answered or self._has_run) and self._lookout is not None and self._nearby:
            self._has_run = False
            self._pause(self._lookout, answered)

    def _settle(self) -> list[int]:
        if not self._asked:
            return []
        asked, increments = self._asked[:], self._increments[:]
        self._asked.clear()
        self._increments.clear()
        self._add(asked, increments)
        return asked

    def _reader(self) -> Callable[[int], Any]:
        """Reads a descriptor for as long as whole requests come; else gives that up.

        What it uses is in the cells of a function, the same for all: to look all of it up in objects, and to
        pass through the methods that any protocol has, made two workers a sixth slower.
        """
        receive, run = os.read, self._run
        asks, increments = self._asked.append, self._increments.append

        def read(number: int) -> Any:
            try:
                data = receive(number, _FEW)
            except BlockingIOError:
                return None
            except OSError:
                return CONNECTION_LOST
            if len(data) == REQUEST_SIZE:
                increment = decode_request(data)
                if increment >= 0:
                    asks(number)
                    increments(increment)
                    return None
            return run(number, data)

        return read

    def _run(self, number: int, data: bytes) -> Any:
        """Add a run of whole requests, and answer it at once; what is none is for the transport."""
        transport = self._transports[number]
        if len(data) == _FEW:
            with suppress(OSError):  # there is no more, or the reactor will come upon it
                data += os.read(number, USUAL)
        requests, rest = divmod(len(data), REQUEST_SIZE)
        if requests and not rest:
            self._settle()  # it may have asked in this turn before, and what came of that had it leave
            increments = decode_requests(data)
            if len(increments) == requests and number in self._transports:
                self._has_run = True
                totals, fault = self._apply(increments)
                self._heard[number] = self._seconds()
                self._send(number, encode_replies(totals))
                if fault is not None:
                    transport.connection.refuse(fault)
                return None
        return transport.read_otherwise(data)

    def _pause(self, lookout: Lookout, answered: list[int]) -> None:
        if self._nearby < _MANY:
            lookout.look()
            return
        self._unrested += len(answered)
        if self._unrested >= _EVERY:
            self._unrested = 0
            if any(map(self._near.__getitem__, answered)):
                rest()

    def _add(self, asked: list[int], increments: list[int]) -> None:
        totals, fault = self._apply(increments)
        if self._service.always:
            self._have_wait(asked, totals)
        else:
            self._reply(asked, totals)
        if fault is not None:
            self._transports[asked[len(totals)]].connection.refuse(fault)
            for place in range(len(totals) + 1, len(asked)):  # each by itself: it may yet be added
                self._add(asked[place : place + 1], increments[place : place + 1])

    def _apply(self, increments: list[int]) -> tuple[list[int], PeerFault | None]:
        totals, fault = self._service.ledger.apply(increments)
        requests = len(totals) + (fault is not None)
        traffic = self._service.traffic
        traffic.messages += requests
        traffic.received += requests * REQUEST_SIZE
        return totals, fault

    def _send(self, number: int, replies: bytes) -> None:
        """Send what is known, or have it wait for its commit."""
        if self._service.always:
            self._transports[number].connection.answer(replies)
            return
        self._service.traffic.sent += len(replies)
        try:
            sent = os.write(number, replies)
        except OSError:  # that it would block, or what the reactor will come upon
            sent = 0
        if sent < len(replies):
            self._send_otherwise(number, replies[sent:])

    def _send_otherwise(self, number: int, rest: bytes) -> None:
        """Have the transport send what the system did not take: the next reply must wait behind it."""
        transport = self._transports[number]
        transport.leave()
        transport.write(rest)

    def _reply(self, asked: list[int], totals: list[int]) -> None:
        now, heard, send = self._seconds(), self._heard, os.write
        self._service.traffic.sent += len(totals) * REPLY_SIZE
        for number, reply in zip(asked, encode_each(totals), strict=False):
            heard[number] = now
            try:
                sent = send(number, reply)
            except OSError:  # that it would block, or what the reactor will come upon
                sent = 0
            if sent < REPLY_SIZE:
                self._send_otherwise(number, reply[sent:])

    def _have_wait(self, asked: list[int], totals: list[int]) -> None:
        now, heard = self._seconds(), self._heard
        for number, reply in zip(asked, encode_each(totals), strict=False):
            heard[number] = now
            self._transports[number].connection.answer(reply)


class BatchedServer(PromptServer):
    """A transport of the counter. It has a :class:`Batch` read what comes where that is whole requests."""

    _is_batched = False

    def __init__(self, batch: Batch, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._batch = batch
        self._number: int = self.fileno()
        # Whether its client is on this machine, and may wait for the processor that we have.
        self.is_near = self.socket.getsockname()[:1] == self.client[:1]

    @property
    def connection(self) -> CounterConnection:
        """Whose it is."""
        assert isinstance(self.protocol, CounterConnection)
        return self.protocol

    @property
    def heard(self) -> float:
        """When a request came last; for as long as it is the batch that reads."""
        return self._batch.heard(self._number)

    def doRead(self) -> Any:
        if self._is_batched:
            return self._batch.read(self._number)
        outcome: Any = super().doRead()
        connection = self.protocol
        if isinstance(connection, CounterConnection) and connection.can_be_batched() and not self.has_unsent:
            connection.batch = self
            self._is_batched = True
            self._batch.take(self._number, self)
        return outcome

    def read_otherwise(self, data: bytes) -> Any:
        """Something else has come than whole requests: take that, and read oneself from now on."""
        self.leave()
        return self._dataReceived(data)

    def leave(self) -> None:
        """Have what has been asked for answered, and read oneself from now on."""
        if self._is_batched:
            self._is_batched = False
            self._batch.leave(self._number)
            self.connection.left_batch(self.heard)

    def stopReading(self) -> None:
        if self._is_batched:
            self._batch.hold(self._number)
        super().stopReading()

    def startReading(self) -> None:
        if self._is_batched:
            self._batch.go_on(self._number)
        super().startReading()

    def connectionLost(self, reason: Any) -> None:
        self.leave()
        super().connectionLost(reason)
