"""The server's side of a TCP connection that sends at once what it is given."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IListeningPort
from twisted.internet.tcp import Port, Server

HEADER = 14  # bytes of the header of a large frame of a WebSocket from a client
USUAL, MOST = 1 << 16, (1 << 18) + HEADER  # bytes that are received at once


class PromptServer(Server):
    """A transport whose :meth:`write` tries to send before it waits for the reactor.

    Twisted's waits for the next turn, and asks epoll twice to tell of it: with that an answer of the counter
    cost 20 µs of processor time, and 16.4 without. What the system does not take is left to Twisted's
    transport, with its buffer, its producers and its errors; what is written while something waits there
    waits behind it. So does all that is written once the connection is to be closed, has been made one of TLS
    by ``startTLS``, or has had a pull producer, which lives on being asked for more.

    ``writeSequence`` waits for the turn as it always did, and so does what is written behind it: it is for
    answers that are made of pieces.
    """

    bufferSize = USUAL
    repstr = "<a connection>"  # Twisted sets it, if there is a port
    _is_prompt = True

    @property
    def has_unsent(self) -> bool:
        """Whether something waits here for the system to take it."""
        return bool(self._tempDataBuffer or self.dataBuffer)

    def expect(self, size: int) -> int:
        """So many bytes are still to come of a message or a body: receive more at once than is usual.

        Each time the interpreter is let go of, and taken by a thread that writes: uploads came at 398
        MiB/s with 64 KiB at once, and at 438 with 256. With a MiB they would come at 500, and each piece hold
        up everybody else for a millisecond. What comes behind those bytes may be thousands of small messages,
        which take longer: of that no more is received than ever, and behind a large message only what says
        how large the next one is. So a frame of 256 KiB comes in one piece: uploads came at 715 MiB/s so, and
        at 670 where each piece had the end of one and the beginning of another. Gives how many are received.
        """
        self.bufferSize = max(USUAL, min(size + HEADER, MOST))
        return self.bufferSize

    def write(self, data: bytes) -> None:
        if not self._is_prompt or self._tempDataBuffer or self.dataBuffer or len(data) > self.SEND_LIMIT:
            super().write(data)
            return
        try:
            sent = self.socket.send(data)
        except OSError:  # that it would block, or what the next attempt comes upon in the reactor's turn
            sent = 0
        if sent < len(data):
            super().write(data[sent:])

    def startTLS(self, ctx: Any, normal: bool = True) -> None:
        self._is_prompt = False
        super().startTLS(ctx, normal)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if not streaming:
            self._is_prompt = False
        super().registerProducer(producer, streaming)

    def loseConnection(self) -> None:
        self._is_prompt = False
        super().loseConnection()

    def loseWriteConnection(self) -> None:
        self._is_prompt = False
        super().loseWriteConnection()

    def abortConnection(self) -> None:
        self._is_prompt = False
        super().abortConnection()

    def connectionLost(self, reason: Any) -> None:
        self._is_prompt = False
        super().connectionLost(reason)


def expect(transport: Any, size: int) -> int:
    """:meth:`PromptServer.expect`, if it is one, or speaks TLS over one; others do not need it."""
    its: Callable[[int], int] | None = getattr(transport, "expect", None)
    return USUAL if its is None else its(size)


def make_prompt(port: IListeningPort) -> None:
    """Have the connections of a port send at once, if it is one of TCP.

    One small piece after another would wait for the peer's acknowledgement (Nagle), so that is switched off,
    too; connections have it from the socket that accepts them.
    """
    if isinstance(port, Port) and port.transport is Server:
        port.transport = PromptServer
        port.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
