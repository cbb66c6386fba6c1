"""WebSockets that say nothing, but for the pong that a ping asks for."""

from __future__ import annotations

import select
import socket
import time

from benchmarks.loads.asking import connect
from benchmarks.loads.measuring import Report, Stopwatch, WrongAnswer
from benchmarks.loads.websocket import CLOSE, PING, PONG, Frames, frame, handshake

_OPENED_BETWEEN = 100  # before pings are answered: the first may come while the last is being opened


class Idling:
    """Opens `count` of them, each at `path` with its number for ``{}``, says `greeting`, and waits."""

    def __init__(self, port: int, count: int, seconds: float, path: str, greeting: str | None) -> None:
        self._seconds = seconds
        self._poll = select.epoll()
        self._sockets: dict[int, tuple[socket.socket, Frames]] = {}
        for number in range(1, count + 1):
            connection = connect(port)
            handshake(connection, port, path.format(number))
            if greeting is not None:
                connection.sendall(frame(greeting.encode()))
            self._sockets[connection.fileno()] = (connection, Frames())
            self._poll.register(connection.fileno(), select.EPOLLIN)
            if number % _OPENED_BETWEEN == 0:
                self._answer_all(0)

    def run(self) -> Report:
        """Be there for as long as was said; the answers are pongs."""
        watch, pongs = Stopwatch(), 0
        end = time.monotonic() + self._seconds
        while (left := end - time.monotonic()) > 0:
            pongs += self._answer_all(left)
        return Report(pongs, watch.seconds(), watch.busy(), pongs)

    def _answer_all(self, wait: float) -> int:
        """Answer the pings that are there, or come within so many seconds."""
        return sum(self._answer(number) for number, _ in self._poll.poll(wait))

    def _answer(self, number: int) -> int:
        connection, frames = self._sockets[number]
        data = connection.recv(1 << 16)
        pings = 0
        for opcode, payload in frames.feed(data):
            if opcode == PING:
                connection.sendall(frame(payload, PONG))
                pings += 1
            if opcode == CLOSE:
                raise WrongAnswer(f"the server closed a WebSocket: {payload!r}")
        if not data:
            raise WrongAnswer("the server closed a connection")
        return pings
