"""All services at once, under all faults at once, with every check all the time.

First the suite is killed, stopped and frozen again and again. Then one process lives for the rest of the
time, while connections come and go and break: it must not grow.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable
from random import Random
from statistics import median
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater

from protosuite.net.latencies import Latencies
from protosuite.testing import Act, FaultProxy
from tests.faults.checks import require
from tests.faults.checks.bus import BusCheck
from tests.faults.checks.chatlog import RoomCheck
from tests.faults.checks.counter import CounterCheck
from tests.faults.checks.linearizable import History
from tests.faults.checks.mediachat import ChatsCheck
from tests.faults.checks.numbers import StreamsCheck
from tests.faults.churn import Churn
from tests.faults.crashes import settle_chats, settle_room
from tests.faults.loads import Load
from tests.faults.loads.bus import BusLoad
from tests.faults.loads.chatlog import ChatLogLoad
from tests.faults.loads.counter import CounterLoad
from tests.faults.loads.mediachat import MediaChatLoad
from tests.faults.loads.numbers import NumbersLoad
from tests.faults.samples import Sample, Wait, growth, sockets, use
from tests.faults.storm import BAD, CALM, Storm
from tests.mediachat_peers import OPEN
from tests.peers import connect, stored_total, undisturbed
from tests.processes import LIMIT, Scope, Suite, poll, reactor, resident_kib

SERVICES = ("numbers", "counter", "bus", "chatlog", "mediachat")
KILLING = 0.4  # of the time, at the beginning
PAUSE = 4.0  # seconds between two things that are done, on the average
GROWTH = 8 << 10  # KiB by which a warm process may have more in memory: allocators keep some
QUOTA = 20 << 20  # bytes of media in a chat
FILES = (0, 10, 5_000, 100_000)  # bytes
HISTORY = 5_000  # operations of the room that are looked at together
FILES_KEPT = 32  # that a process may open while it works: the database's, one set for each thread that reads
TIMERS_KEPT = 5  # that it may have come to need
FIGURE = re.compile(r"^protosuite_(\S+) (\S+)$", re.M)

# What a suite has none of when nobody is there.
PASSING = (
    *(f'connections{{service="{name}"}}' for name in SERVICES),
    "numbers_streams",
    "counter_unanswered",
    "bus_subscriptions",
    "bus_publishers_waiting",
    "bus_unstored_bytes",
    "chatlog_members",
    "chatlog_appends_waiting",
    "mediachat_clients",
    "mediachat_uploads",
    "mediachat_unwritten_bytes",
    "database_writes_waiting",
    "database_reads_waiting",
)

SETTINGS: dict[str, dict[str, object]] = {
    "numbers": {"interval": 0.05, "max_messages": 100, "handshake_timeout": 5, "ack_timeout": 10},
    "counter": {"durability": "always", "handshake_timeout": 5, "frame_timeout": 5},
    "bus": {"publish_timeout": 3, "ack_timeout": 5, "handshake_timeout": 5},
    "chatlog": {"ping_interval": 5, "ping_timeout": 5, "handshake_timeout": 5},
    "mediachat": OPEN
    | {"ping_interval": 5, "ping_timeout": 5, "handshake_timeout": 5, "hello_timeout": 5}
    | {"upload_ttl": 60, "sweep_interval": 1, "quota_per_chat": QUOTA},
}
SHARED: dict[str, object] = {"write_timeout": 5, "close_timeout": 2, "idle_timeout": 10}


@frozen
class Rest:
    """What a process has before anybody has come."""

    sockets: int
    files: int
    timers: float


@define
class Checks:
    """One of each service, for all loads on it."""

    numbers: StreamsCheck = field(factory=StreamsCheck)
    counter: CounterCheck = field(factory=CounterCheck)
    bus: BusCheck = field(factory=BusCheck)
    chatlog: RoomCheck = field(factory=RoomCheck)
    history: History = field(factory=History)
    mediachat: ChatsCheck = field(factory=ChatsCheck)

    def loads(self, name: str, ports: dict[str, int], chance: Callable[[str], Random]) -> dict[str, Load]:
        """Load on each service, by clients that are called `name`."""
        is_direct = name == "direct"
        ids = range(1, 4) if is_direct else range(101, 106)
        return {
            "numbers": NumbersLoad(name, ports["numbers"], chance(name + "n"), self.numbers, 5, pace=0.5),
            "counter": CounterLoad(
                name, ports["counter"], chance(name + "c"), self.counter, (1, 1, 4), pace=0.2
            ),
            "bus": BusLoad(name, ports["bus"], chance(name + "b"), self.bus, 2, 3, is_direct, pace=0.5),
            "chatlog": ChatLogLoad(
                name, ports["chatlog"], chance(name + "l"), self.chatlog, self.history, pace=0.8
            ),
            "mediachat": MediaChatLoad(
                name, ports["mediachat"], chance(name + "m"), self.mediachat, ids, FILES, pace=1.0
            ),
        }


class Torture:
    """One run. What is violated is raised by :meth:`run`; :meth:`summary` says at any time what has been."""

    def __init__(
        self, scope: Scope, seed: int, seconds: float, told: Callable[[str], None] = lambda line: None
    ) -> None:
        self.seed = seed
        self.seconds = seconds
        self.samples: list[Sample] = []
        self.checks = Checks()
        self.violation = ""
        self._scope = scope
        self._told = told
        settings: dict[str, Any] = {name: SHARED | own for name, own in SETTINGS.items()}
        self.suite = Suite(scope, **settings)
        self.proxies = {
            name: FaultProxy(reactor, self._chance(f"proxy {name}"), self.suite.ports[name], BAD)
            for name in SERVICES
        }
        ports = {name: proxy.listen() for name, proxy in self.proxies.items()}
        self.direct = self.checks.loads("direct", self.suite.ports, self._chance)
        self.tortured = self.checks.loads("tortured", ports, self._chance)
        self.churn = Churn(self.suite.ports, self._chance("churn"))
        self.loads = [*self.direct.values(), *self.tortured.values(), self.churn]
        self.storm = Storm(
            self.suite, self.proxies, self._chance("storm"), self._began, self._ended, self.look
        )
        self._start = reactor.seconds()
        self._sampling = LoopingCall(self._sample)
        self._sampling.clock = reactor

    def _chance(self, name: str) -> Random:
        """Chance of its own for each part, so that what one draws does not change another."""
        return Random(f"{self.seed} {name}")

    async def run(self) -> None:
        """All of it. Raises whatever is violated."""
        try:
            await self._run()
        except CancelledError:  # Ctrl-C violates nothing
            raise
        except Exception as error:
            self.violation = f"{type(error).__name__}: {error}"
            raise
        finally:
            if self._sampling.running:
                self._sampling.stop()

    async def _run(self) -> None:
        await self.suite.start()
        self._start = reactor.seconds()
        rest = await self._at_rest()
        for load in self.loads:
            await load.begin()
        self._sampling.start(max(1.0, self.seconds / 600))
        killing = self._start + KILLING * self.seconds
        await self.storm.rage(killing, PAUSE, kills=True)
        await self.storm.restart(counter={"durability": "everysec"})
        await self.storm.rage(self._start + self.seconds, PAUSE, kills=False)
        await self._come_to_rest(rest)
        require(await self.suite.terminate() == 0, "a clean stop did not end with 0")
        await self._settle()

    def look(self) -> None:
        """Raise what has been found wrong so far, and tell how far it is."""
        for load in self.loads:
            load.look()
        self.checks.history.check(HISTORY)
        done = ", ".join(f"{count} {name}" for name, count in self.storm.done.items())
        things = sum(load.done for load in self.loads)
        self._told(f"{reactor.seconds() - self._start:.0f} s of {self.seconds:.0f}: {things} done; {done}")

    async def _come_to_rest(self, before: Rest) -> None:
        """Let the network be well, and all come to their end. Then nothing of them may be left."""
        for proxy in self.proxies.values():
            proxy.faults = CALM
            for link in proxy.links[:]:
                link.reset()
        await gatherResults([Deferred.fromCoroutine(load.finish()) for load in self.loads])
        self.look()
        self._sampling.stop()
        grown = growth(self.samples)
        require(grown < GROWTH, f"memory has grown by {grown} KiB")
        for load in self.loads:
            await load.leave()
        await gatherResults([proxy.close() for proxy in self.proxies.values()])
        pid = self.suite.program.pid
        await poll(lambda: sockets(pid) <= before.sockets, "no socket is left open")
        open_files = use(pid)
        assert open_files is not None
        files = open_files.descriptors - sockets(pid)
        require(
            files <= before.files + FILES_KEPT, f"{files} files are open, and {before.files} were at first"
        )
        await self._come_to_nothing(before.timers + TIMERS_KEPT)

    async def _come_to_nothing(self, timers: float) -> None:
        """Wait until the suite itself says that nothing of anybody is left."""
        deadline = reactor.seconds() + LIMIT
        while True:
            found = await self._figures()
            left = {name: found[name] for name in PASSING if found[name]}
            if found["reactor_delayed_calls"] > timers:
                left["reactor_delayed_calls"] = found["reactor_delayed_calls"]
            if not left:
                return
            require(reactor.seconds() < deadline, f"this is left of clients that are gone: {left}")
            await deferLater(reactor, 0.1)

    async def _settle(self) -> None:
        """Hold everything that was seen against what is stored."""
        suite, checks = self.suite, self.checks
        checks.numbers.settle(undisturbed(suite))
        checks.counter.settle(stored_total(suite))
        checks.bus.settle()
        settle_room(checks.chatlog, suite)
        checks.history.check(0)
        await settle_chats(checks.mediachat, suite, QUOTA)
        require(await suite.terminate() == 0, "a clean stop did not end with 0")
        require(not suite.defects, f"the log speaks of defects: {suite.defects[:5]}")

    async def _at_rest(self) -> Rest:
        """What the suite has when nobody has come yet."""
        found, used = await self._figures(), use(self.suite.program.pid)
        assert used is not None
        open_sockets = sockets(self.suite.program.pid)
        return Rest(open_sockets, used.descriptors - open_sockets, found["reactor_delayed_calls"])

    async def _figures(self) -> dict[str, float]:
        """What the suite tells of itself, by name and service."""
        peer = await connect(self._scope, self.suite.ports["admin"])
        peer.send(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        told = (await peer.everything()).decode()
        await peer.abort()
        return {name: float(value) for name, value in FIGURE.findall(told)}

    # What is measured.

    def _began(self) -> None:
        """The suite is away: whoever waits for it now does not count."""
        for load in self.loads:
            load.measured_from = math.inf

    def _ended(self) -> None:
        for load in self.loads:
            load.measured_from = reactor.seconds()

    def _sample(self) -> None:
        waits = {}
        for name, load in self.direct.items():
            found, load.latencies = load.latencies, Latencies()
            waits[name] = Wait(found.count, found.quantile(0.5), found.quantile(0.99))
        used = use(self.suite.program.pid)
        own = resident_kib(os.getpid())
        self.samples.append(Sample(reactor.seconds() - self._start, len(self.suite.runs), used, waits, own))

    def summary(self) -> dict[str, Any]:
        """What was done and seen, for JSON."""
        waits = {
            name: [each for sample in self.samples if (each := sample.waits[name]).count]
            for name in self.direct
        }
        return {
            "seed": self.seed,
            "seconds": self.seconds,
            "violation": self.violation or None,
            "storm": dict(self.storm.done),
            "network": {act.value: count for act, count in self._acts().items()},
            "connections": sum(proxy.connections for proxy in self.proxies.values()) + self.churn.done,
            "done": {load.name + " " + type(load).__name__: load.done for load in self.loads},
            "memory_growth_kib": growth(self.samples),
            # Medians over the samples, of clients that the network does not harm, while the suite is there.
            "wait_ms": {
                name: {
                    "p50": 1000 * median([wait.p50 for wait in found]),
                    "p99": 1000 * median([wait.p99 for wait in found]),
                }
                for name, found in waits.items()
                if found
            },
            "events": self.storm.events,
            "samples": [sample.fields() for sample in self.samples],
        }

    def _acts(self) -> Counter[Act]:
        return sum((proxy.acts for proxy in self.proxies.values()), Counter())
