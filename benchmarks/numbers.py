"""numbers: many streams in one process; how late numbers are, and what a stream costs.

The clients run in a process of their own, acknowledge every number and verify every checksum.
"""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import time
from typing import Any

from benchmarks.server import running

CONNECTS_A_TURN = 20  # of the load, 50 turns a second: what is measured is streams, not their beginning


def load(port: int, streams: int) -> dict[str, Any]:
    """Receive `streams` streams, and tell how late each number was.

    A stream's clock is set by whichever of its numbers was the earliest against its place: the first may
    itself be late, in the crowd of the beginning.
    """
    from twisted.internet import reactor as _reactor
    from twisted.internet.protocol import ClientFactory, Protocol

    from protosuite.numbers.sequence import Progress
    from protosuite.numbers.wire import (
        SERVER_MESSAGES,
        Ack,
        Decoder,
        End,
        Number,
        SessionOpened,
        Start,
        encode,
    )

    reactor: Any = _reactor
    lateness: list[float] = []
    wrong: list[str] = []
    left = streams
    ids = itertools.count()

    class Client(Protocol):
        transport: Any

        def connectionMade(self) -> None:
            self.decoder, self.progress = Decoder(SERVER_MESSAGES), Progress()
            self.offsets: list[float] = []
            self.transport.write(encode(Start(f"load-{next(ids)}", next=0)))

        def dataReceived(self, data: bytes) -> None:
            for message in self.decoder.feed(data):
                if isinstance(message, SessionOpened):
                    self.interval = message.interval_ms / 1000
                elif isinstance(message, Number):
                    self.offsets.append(time.monotonic() - message.index * self.interval)
                    self.progress = self.progress.take([message])
                    self.transport.write(encode(Ack(message.index)))
                elif isinstance(message, End):
                    self.progress.verify(message)
                    self.finished = True
                    lateness.extend(offset - min(self.offsets) for offset in self.offsets)
                    self.transport.loseConnection()

        finished = False

        def connectionLost(self, reason: Any = None) -> None:
            nonlocal left
            if not self.finished:
                wrong.append("a stream did not come to its end")
            left -= 1
            if not left:
                reactor.stop()

    factory = ClientFactory.forProtocol(Client)
    factory.noisy = False

    def connect(remaining: int) -> None:
        for _ in range(min(remaining, CONNECTS_A_TURN)):
            reactor.connectTCP("127.0.0.1", port, factory)
        if remaining > CONNECTS_A_TURN:
            reactor.callLater(0.02, connect, remaining - CONNECTS_A_TURN)

    connect(streams)
    reactor.run()
    lateness.sort()
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "numbers": len(lateness),
        "p50": lateness[len(lateness) // 2],
        "p99": lateness[len(lateness) * 99 // 100],
        "wrong": wrong,
        "cpu": cpu.ru_utime + cpu.ru_stime,
    }


def main(quick: bool) -> None:
    """Print the row."""
    streams = 1000 if quick else 10_000
    settings = {"max_messages": 60, "window": 8}
    with running(suite={"services": "numbers"}, numbers=settings) as suite:
        before, began = suite.resident_bytes(), time.monotonic()
        command = [sys.executable, "-m", "benchmarks.numbers", str(suite.ports["numbers"]), str(streams)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        peak = before
        while process.poll() is None:
            peak = max(peak, suite.resident_bytes())
            time.sleep(0.5)
        took = time.monotonic() - began
        assert process.stdout is not None
        report = json.loads(process.stdout.read())
        cpu = suite.cpu_seconds()
    if report["wrong"]:
        raise SystemExit(report["wrong"][0])
    print(
        f"numbers {streams} streams, one number a second each, {report['numbers']} numbers: late p50 "
        f"{report['p50'] * 1000:.1f} ms, p99 {report['p99'] * 1000:.1f} ms; "
        f"{(peak - before) / streams / 1024:.1f} KiB a stream; CPU of the server {cpu / took:.0%}, "
        f"of the load {report['cpu'] / took:.0%}",
        flush=True,
    )


if __name__ == "__main__":
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(json.dumps(load(int(sys.argv[1]), int(sys.argv[2]))))
