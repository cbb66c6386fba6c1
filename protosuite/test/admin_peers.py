"""A suite in memory with an admin service, and questions to that over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

from attrs import frozen
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protosuite.admin.overseen import Overseen
from protosuite.admin.server import AdminService
from protosuite.auth.guard import OPEN, Guard
from protosuite.bus.server import BusService
from protosuite.bus.store import BusStore
from protosuite.config import Config, NumbersConfig
from protosuite.counter.server import CounterService
from protosuite.counter.store import CounterStore
from protosuite.counter.wire import encode_request
from protosuite.fabric import Hub
from protosuite.numbers.server import NumbersService
from protosuite.numbers.store import NumbersStore
from protosuite.storage.workers import Calls
from protosuite.test.web_peers import Pipe
from protosuite.testing import HandWorker, database

EPOCH = 1_700_000_000  # seconds


@frozen
class Answer:
    """An answer over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def fields(self) -> Any:
        """Its JSON."""
        return json.loads(self.body)


class Overview:
    """Numbers, counter, bus and admin over one database, whose work is done at once. It ends with `case`."""

    def __init__(
        self, case: SynchronousTestCase, config: Config | None = None, guard: Guard | None = None
    ) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.folder = Path(case.mktemp()).absolute()
        self.writer = HandWorker(at_once=True)
        self.database = database(str(self.folder), self.writer)
        self.config = config or Config(numbers=NumbersConfig(interval=1.0, max_messages=65_535))
        own = self.config
        self.counter = CounterService(own.counter, CounterStore(self.database), self.clock)
        store = NumbersStore(self.database, own.numbers.session_ttl)
        self.numbers = NumbersService(own.numbers, store, self.clock, Random(1), self.wall)
        self.bus = BusService(own.bus, BusStore(self.database), self.clock, self.wall)
        services = [self.numbers, self.counter, self.bus]
        self.aside = HandWorker(at_once=True)
        calls = Calls(self.aside, lambda call, *arguments: call(*arguments))
        self.hub = Hub(self.clock)
        fabric = self.hub.node("one")
        overseen = Overseen(own, services, self.database, [], self.folder, calls, fabric)
        self.admin = AdminService(overseen, self.clock, self.wall, guard or OPEN)
        services.append(self.admin)
        for service in services:
            service.startService()
        self._pipes: list[Pipe] = []
        case.addCleanup(self._stop, services)

    def wall(self) -> float:
        """Seconds since the epoch."""
        return EPOCH + self.clock.seconds()

    def connect(self, service: Any) -> Pipe:
        """A connection to a service."""
        pipe = Pipe(service.factory().buildProtocol(None))
        self._pipes.append(pipe)
        pipe.pump()
        return pipe

    def add(self, *amounts: int) -> Pipe:
        """Add to the counter, over a connection of its own."""
        pipe = self.connect(self.counter)
        pipe.arrive(b"".join(map(encode_request, amounts)))
        return pipe

    def get(self, path: str, *headers: str, method: str = "GET") -> Answer:
        """The answer of the admin service, over a connection of its own."""
        pipe = self.connect(self.admin)
        named = {header.partition(":")[0].lower() for header in headers}
        usual = [] if "host" in named else ["Host: 127.0.0.1:8001"]
        pipe.arrive("\r\n".join([f"{method} {path} HTTP/1.0", *usual, *headers, "", ""]).encode())
        head, _, body = bytes(pipe.sent).partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
        pipe.lose(ConnectionDone())
        return Answer(int(first.split()[1]), fields, body)

    def advance(self, seconds: int) -> None:
        """Let time pass, a second after the other."""
        for _ in range(seconds):
            self.clock.advance(1)

    def _stop(self, services: list[Any]) -> None:
        for pipe in self._pipes:
            if not pipe.lost:
                pipe.lose(ConnectionDone())
        for service in services:
            service.stopService()
        self.database.close()
