"""A chat log in memory whose workers run when a test says so, and clients that speak to it frame by frame."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, evolve
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Opcode

from protosuite.auth.guard import OPEN, Guard
from protosuite.chatlog.server import ChatLogService
from protosuite.chatlog.store import ChatLogStore
from protosuite.chatlog.wire import Error, ServerAck, ServerReply, from_server
from protosuite.config import ChatLogConfig
from protosuite.storage import Database, sqlite
from protosuite.storage.migrate import upgrade
from protosuite.test.web_peers import Pipe, close, frame, handshake, parse, text
from protosuite.testing import HandWorker
from protosuite.testing.memory import begin_file


@define(eq=False)
class Breakable(Database):
    """A database that fails while a test says so."""

    no_reads: Exception | None = None
    no_writes: Exception | None = None

    def read(self, work: Any) -> Deferred[Any]:
        return super().read(work) if self.no_reads is None else fail(self.no_reads)

    def write(self, work: Any, rows: Any = None) -> Deferred[Any]:
        def attempt(connection: Any) -> Any:
            if self.no_writes is not None:
                raise self.no_writes
            return work(connection)

        return super().write(attempt, rows)


class Workers:
    """The threads of a database, and the way back to the reactor. They work at once, or step by step."""

    def __init__(self, folder: str, max_queue: int = 1000, clock: Clock | None = None) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        begin_file(Path(folder) / "test.sqlite3")
        self.writer = HandWorker(at_once=True)
        self.reader = HandWorker(at_once=True)
        self.answers: deque[tuple[Any, ...]] = deque()
        self.at_once = True
        self.clock = clock
        self.database = Breakable(
            url=sqlite.resolve("sqlite:///test.sqlite3", Path(folder).absolute()),
            writer=self.writer,
            readers=self.reader,
            call_in_reactor=self._call_in_reactor,
            max_queue=max_queue,
        )
        upgrade(self.database)

    def _call_in_reactor(self, *call: Any) -> None:
        self.answers.append(call)
        if self.at_once:
            self.answer(len(self.answers))

    def by_hand(self, by_hand: bool = True) -> None:
        """From now on work waits for :meth:`write`, :meth:`read` and :meth:`answer`, or does not."""
        self.at_once = self.writer.at_once = self.reader.at_once = not by_hand

    def write(self) -> None:
        """The writer's thread does what waits for it."""
        self.writer.run()

    def read(self) -> None:
        """A reader's thread does the next thing."""
        if self.reader.tasks:
            self.reader.tasks.pop(0)()

    def answer(self, most: int = 1) -> None:
        """The reactor turns: it gets the next answers."""
        for _ in range(min(most, len(self.answers))):
            call, *arguments = self.answers.popleft()
            call(*arguments)
            if self.clock is not None:
                self.clock.advance(0)

    @property
    def is_busy(self) -> bool:
        """Whether there is something to do."""
        return bool(self.writer.tasks or self.reader.tasks or self.answers)

    def settle(self) -> None:
        """Do all there is to do."""
        while self.is_busy:
            self.write()
            self.read()
            self.answer()


class Client:
    """A connection in a room. `early` comes in one piece with its handshake."""

    def __init__(
        self, service: ChatLogService, room: str, early: bytes = b"", headers: tuple[bytes, ...] = ()
    ) -> None:
        factory: Any = service.factory()
        self.pipe = Pipe(factory.buildProtocol(None))
        self._clock: Clock = service.reactor
        self.seq = 0
        self.close_code: int | None = None
        self.acks: list[int] = []  # all slots that have been acknowledged
        self._taken = 0
        self.pipe.arrive(handshake(*headers, start=f"GET /rooms/{room} HTTP/1.1".encode()) + early)
        head, _, _ = bytes(self.pipe.sent).partition(b"\r\n\r\n")
        assert b" 101 " in head, head
        self._taken = len(head) + 4
        self._clock.advance(0)

    def raw(self, data: str) -> Client:
        """A text message, whatever it is."""
        return self._arrive(text(data))

    def _arrive(self, data: bytes) -> Client:
        """The reactor reads this, and turns until nothing more is to be done at once."""
        self.pipe.arrive(data)
        self._clock.advance(0)
        return self

    def binary(self, data: bytes) -> Client:
        return self._arrive(frame(Opcode.BINARY, data))

    def say(self, type: str, **fields: Any) -> Client:
        return self.raw(json.dumps({"type": type, **fields}))

    def append(self, content: str = "x", seq: int | None = None, **more: Any) -> Client:
        """An append, with the next `seq` unless another is given."""
        if seq is None:
            seq, self.seq = self.seq, self.seq + 1
        return self.say("ClientAppend", seq=seq, content=content, **{"author": "ana", **more})

    def update(self, n: int = 1000, upto: int = -1) -> Client:
        return self.say("ClientUpdate", n=n, upto=upto)

    def heard(self) -> list[Any]:
        """What the server has said since the last look."""
        self.pipe.pump()
        self._clock.advance(0)
        data = bytes(self.pipe.sent[self._taken :])
        self._taken = len(self.pipe.sent)
        messages: list[Any] = []
        for kind, *what in parse(data):
            if kind == "text":
                messages.append(from_server(what[0].decode()))
            elif kind == "close":
                self.close_code = what[0]
        self.acks += [message.entry.slot for message in messages if isinstance(message, ServerAck)]
        return messages

    def slots(self) -> list[int]:
        """The slots of the ServerAcks since the last look; there is nothing else."""
        return [message.entry.slot for message in self.heard()]

    def errors(self) -> list[tuple[str, int | None]]:
        """The codes of the Errors since the last look, and what they answer."""
        return [(message.code, message.seq) for message in self.heard() if isinstance(message, Error)]

    def reply(self, n: int = 1000, upto: int = -1) -> ServerReply:
        """Ask, and get the answer, which comes alone."""
        self.heard()
        self.update(n, upto)
        (reply,) = self.heard()
        assert isinstance(reply, ServerReply), reply
        return reply

    def log(self, n: int = 1000, upto: int = -1) -> list[str]:
        """What is said in the entries of a reply."""
        return [entry.content for entry in self.reply(n, upto).entries]

    def leave(self) -> None:
        """Close the connection in order."""
        self.pipe.arrive(close(1000))
        self.pipe.arrive(None)

    def lose(self) -> None:
        """The connection breaks."""
        self.pipe.lose(ConnectionError())


class Fixture(SynchronousTestCase):
    """A service on a database in a file."""

    config = ChatLogConfig()
    max_queue = 1000

    def make_guard(self) -> Guard:
        """Whom a service asks."""
        return OPEN

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.workers = Workers(self.mktemp(), self.max_queue, self.clock)
        self.addCleanup(self.workers.database.close)
        self.addCleanup(self.workers.by_hand, False)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.clients: list[Client] = []
        self.service = self.make_service()

    def make_service(self, **changes: Any) -> ChatLogService:
        """Another service on the same database: the same server after a restart."""
        config = evolve(self.config, **changes)
        service = ChatLogService(
            config,
            ChatLogStore(self.workers.database, config.max_rooms, is_alone=True),
            self.clock,
            Random(1),
            self.clock.seconds,
            lambda topic, fields: self.events.append((topic, dict(fields))),
            self.make_guard(),
        )
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def factory(self) -> Any:
        """The service's factory of connections."""
        return self.service.factory()

    def join(self, room: str = "r", *headers: bytes) -> Client:
        client = Client(self.service, room, headers=headers)
        self.clients.append(client)
        self.addCleanup(client.lose)
        return client

    def settle(self) -> None:
        """Let all work be done, and all arrive that was not read before."""
        self.clock.advance(0)
        while self.workers.is_busy:
            self.workers.settle()
            for client in self.clients:
                client.pipe.pump()
            self.clock.advance(0)
