"""A hundred clients of a service, of which one asks for much and reads nothing: how long do the others wait?

``python -m tests.faults.stalled`` measures it, for each service.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.task import deferLater

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.wire import encode_request as encode_bus
from protosuite.counter.wire import encode_request as encode_counter
from protosuite.net.latencies import Latencies
from protosuite.test.web_peers import handshake
from tests.faults import seed
from tests.faults.checks.bus import BusCheck
from tests.faults.checks.chatlog import RoomCheck
from tests.faults.checks.counter import CounterCheck
from tests.faults.checks.linearizable import History
from tests.faults.checks.mediachat import ChatsCheck
from tests.faults.checks.numbers import StreamsCheck
from tests.faults.churn import frame
from tests.faults.loads import Load
from tests.faults.loads.bus import BusLoad
from tests.faults.loads.chatlog import ChatLogLoad
from tests.faults.loads.counter import CounterLoad
from tests.faults.loads.mediachat import MediaChatLoad
from tests.faults.loads.numbers import NumbersLoad
from tests.faults.place import Place, run
from tests.mediachat_peers import FRAME, OPEN, come, cut, head
from tests.peers import Peer, connect
from tests.processes import LIMIT, Scope, Suite, reactor

SERVICES = ("numbers", "counter", "bus", "chatlog", "mediachat")
OTHERS = 99
LARGE = 32 << 20  # bytes of a file: more than the kernel takes for one that does not read

PATIENT: dict[str, object] = {"write_timeout": LIMIT, "close_timeout": LIMIT}  # it is there to the end
SETTINGS: dict[str, dict[str, object]] = {
    "numbers": {"interval": 0.2, "max_messages": 20, "window": 1000, "ack_timeout": LIMIT},
    "chatlog": {"ping_timeout": LIMIT},
    "mediachat": OPEN,
}


def load(service: str, port: int, chance: Random, pace: float) -> Load:
    """What the others do: `OTHERS` clients, on the average one thing each `pace` seconds."""
    if service == "numbers":
        return NumbersLoad("others", port, chance, StreamsCheck(), OTHERS, pace)
    if service == "counter":
        return CounterLoad("others", port, chance, CounterCheck(), (1,) * OTHERS, pace)
    if service == "bus":
        return BusLoad("others", port, chance, BusCheck(), 3, 5, pace=pace, listeners=OTHERS - 9)
    if service == "chatlog":
        return ChatLogLoad("others", port, chance, RoomCheck(), History(), "main", 20, OTHERS - 20, 1, pace)
    return MediaChatLoad("others", port, chance, ChatsCheck(), range(1, OTHERS + 1), (0, 1000), pace)


class Greedy:
    """Writes one thing over and over, as much as its connection takes. A pull producer."""

    def __init__(self, peer: Peer, data: bytes) -> None:
        self._peer = peer
        self._data = data
        peer.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        self._peer.send(self._data)

    def stopProducing(self) -> None:
        """The connection is closed."""


def alone(service: str, scope: Scope) -> Suite:
    """A suite of that service only."""
    sections: dict[str, Any] = {"suite": {"services": service}, service: PATIENT | SETTINGS.get(service, {})}
    return Suite(scope, **sections)


async def stall(service: str, scope: Scope, suite: Suite) -> Peer:
    """One that asks for as much as there is, and reads none of it."""
    port = suite.ports[service]
    wanted = ""
    if service == "mediachat":
        wanted = f"/media/{await large_file(scope, suite)}"
    peer = await connect(scope, port)
    peer.transport.pauseProducing()
    if service == "numbers":
        peer.say("start", client="stalled", max=20)
    elif service == "counter":
        Greedy(peer, encode_counter(0) * 1000)
    elif service == "bus":
        peer.send(encode_bus(pb.Subscribe(pattern="load.#", depth=10_000)))
        peer.send(encode_bus(pb.Subscribe(pattern="load.*.*", durable="stalled", prefetch=10_000)))
        Greedy(peer, encode_bus(pb.EchoMessage(content="x" * 1000)) * 100)
    elif service == "chatlog":
        peer.send(handshake(start=b"GET /rooms/main HTTP/1.1"))
        Greedy(peer, frame(b'{"type":"ClientUpdate","n":1000,"upto":-1}') * 10)
    else:
        peer.send(head("GET", wanted, None))
    return peer


async def large_file(scope: Scope, suite: Suite) -> int:
    """Send one: its message."""
    client = await come(scope, suite, 1000)
    client.begin(LARGE)
    await client.send(cut(bytes(FRAME) * (LARGE // FRAME)))
    id: int = (await client.next())["message"]
    await client.leave()
    return id


async def measure(service: str, place: Place, seconds: float, chance: Random) -> list[Latencies]:
    """How long the others wait: first without and then with one that stalls."""
    suite = alone(service, place)
    await suite.start()
    others = load(service, suite.ports[service], chance, pace=1.0)
    await others.begin()
    found = []
    for is_stalled in (False, True):
        if is_stalled:
            await stall(service, place, suite)
        await deferLater(reactor, seconds / 2)  # until it is warm, or has got stuck
        others.latencies = Latencies()
        await deferLater(reactor, seconds)
        others.look()
        found.append(others.latencies)
    await others.leave()
    await place.close()
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.stalled", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (default: 10)")
    arguments = parser.parse_args()

    async def all_of_them() -> None:
        print("service        p50 ms  with one stalled   p99 ms  with one stalled")
        with TemporaryDirectory() as folder:
            for service, chance in ((name, Random(seed())) for name in SERVICES):
                before, after = await measure(service, Place(Path(folder)), arguments.seconds, chance)
                figures = [1000 * each.quantile(share) for share in (0.5, 0.99) for each in (before, after)]
                print(f"{service:12}" + "".join(f"{figure:9.1f}" for figure in figures), flush=True)

    sys.exit(run(all_of_them))


if __name__ == "__main__":
    main()
