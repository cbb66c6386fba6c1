"""A load on numbers/1: streams, each acknowledged number by number and held against its checksum."""

from __future__ import annotations

import json
import select
import time
import zlib

from benchmarks.loads.asking import connect
from benchmarks.loads.measuring import Report, Stopwatch, WrongAnswer, histogram

_STARTS_A_TURN = 20  # fifty turns a second: what is measured is streams, not their beginning
_TURN = 0.02
_SILENCE = 60.0


class Client:
    """One stream.

    Its clock is set by whichever of its numbers was the earliest against its place: the first may itself be
    late, in the crowd of the beginning.
    """

    def __init__(self, port: int, name: str) -> None:
        self.connection = connect(port)
        self.is_over = False
        self._rest = b""
        self._count = 0
        self._checksum = zlib.adler32(b"")
        self._interval = 1.0
        self._offsets: list[float] = []
        self._say({"type": "start", "client": name, "next": 0})
        self.connection.setblocking(False)

    def ready(self) -> None:
        """Something came."""
        now = time.monotonic()
        data = self.connection.recv(1 << 16)
        if not data:
            raise WrongAnswer("a stream did not come to its end")
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line), now)

    def lateness(self) -> list[float]:
        """How late each number was."""
        first = min(self._offsets)
        return [offset - first for offset in self._offsets]

    def _take(self, message: dict[str, int | str], now: float) -> None:
        if message["type"] == "number":
            if message["index"] != self._count:
                raise WrongAnswer(f"number {self._count} came as {message!r}")
            self._offsets.append(now - self._count * self._interval)
            self._checksum = zlib.adler32(b"%d\n" % int(message["value"]), self._checksum)
            self._say({"type": "ack", "index": self._count})
            self._count += 1
        elif message["type"] == "session":
            self._interval = int(message["interval_ms"]) / 1000
        elif message["type"] == "end" and message["count"] == self._count:
            if message["checksum"] != self._checksum:
                raise WrongAnswer(f"a stream's checksum is {self._checksum}, and came as {message!r}")
            self.is_over = True
            self.connection.close()
        else:
            raise WrongAnswer(f"after {self._count} numbers came {message!r}")

    def _say(self, message: dict[str, int | str]) -> None:
        self.connection.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")


class Streams:
    """So many streams at once, begun at a steady rate. The latencies are how late the numbers were."""

    def __init__(self, port: int, count: int, name: str = "load") -> None:
        self._port = port
        self._count = count
        self._name = name
        self._poll = select.epoll()
        self._clients: dict[int, Client] = {}

    def run(self) -> Report:
        """Receive all of them."""
        watch = Stopwatch()
        lateness: list[float] = []
        begun, next_turn = 0, time.monotonic()
        while begun < self._count or self._clients:
            if begun < self._count and time.monotonic() >= next_turn:
                turn = range(begun, min(begun + _STARTS_A_TURN, self._count))
                for number in turn:
                    self._start(number)
                begun, next_turn = turn.stop, next_turn + _TURN
            wait = max(0.0, next_turn - time.monotonic()) if begun < self._count else _SILENCE
            ready = self._poll.poll(wait)
            if not ready and begun == self._count:
                raise WrongAnswer(f"nothing came for {_SILENCE:g} s")
            for number, _ in ready:
                lateness += self._ready(number)
        return Report(len(lateness), watch.seconds(), watch.busy(), len(lateness), histogram(lateness))

    def _start(self, number: int) -> None:
        client = Client(self._port, f"{self._name}-{number}")
        self._clients[client.connection.fileno()] = client
        self._poll.register(client.connection.fileno(), select.EPOLLIN)

    def _ready(self, number: int) -> list[float]:
        """A socket has something: how late a stream's numbers were, if that was its end."""
        client = self._clients[number]
        client.ready()
        if not client.is_over:
            return []
        del self._clients[number]
        return client.lateness()
