"""WebSockets that say nothing, but for the pong that a ping asks for."""

from __future__ import annotations

import select
import time

from benchmarks.loads.asking import connect
from benchmarks.loads.measuring import Report, Stopwatch, WrongAnswer
from benchmarks.loads.websocket import CLOSE, PING, PONG, Frames, frame, handshake


class Idling:
    """Opens `count` of them, each at `path` with its number for ``{}``, says `greeting`, and waits."""

    def __init__(self, port: int, count: int, seconds: float, path: str, greeting: str | None) -> None:
        self._seconds = seconds
        self._sockets = {}
        for number in range(1, count + 1):
            connection = connect(port)
            handshake(connection, port, path.format(number))
            if greeting is not None:
                connection.sendall(frame(greeting.encode()))
            self._sockets[connection.fileno()] = (connection, Frames())

    def run(self) -> Report:
        """Be there for as long as was said; the answers are pongs."""
        watch, pongs = Stopwatch(), 0
        end = time.monotonic() + self._seconds
        poll = select.epoll()
        for number in self._sockets:
            poll.register(number, select.EPOLLIN)
        while (left := end - time.monotonic()) > 0:
            for number, _ in poll.poll(left):
                pongs += self._answer(number)
        return Report(pongs, watch.seconds(), watch.busy(), pongs)

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
