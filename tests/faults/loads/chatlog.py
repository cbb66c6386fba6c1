"""Load on a room of the chat log: writers, who read along, and readers, who ask for parts of it."""

from __future__ import annotations

from random import Random

from protosuite.chatlog.client import ChatLogClientFactory, room_url
from protosuite.chatlog.view import Change
from protosuite.net.websocket import Limits
from tests.faults.checks import require
from tests.faults.checks.chatlog import RoomCheck
from tests.faults.checks.linearizable import History
from tests.faults.loads import SILENCE, Load
from tests.processes import reactor

LIMITS = Limits(max_message=64 << 20, ping_interval=SILENCE, ping_timeout=SILENCE)


class ChatLogLoad(Load):
    """`writers` clients that append, each `window` entries at a time, and `readers` that only read.

    What is asked and answered is recorded in `history`.
    """

    def __init__(
        self,
        name: str,
        port: int,
        chance: Random,
        check: RoomCheck,
        history: History,
        room: str = "main",
        writers: int = 8,
        readers: int = 3,
        window: int = 2,
        pace: float = 0.0,
    ) -> None:
        super().__init__(name, port, chance, pace)
        self._check = check
        self._history = history
        self._room = room
        self._writers = writers
        self._readers = readers
        self._window = window
        self._counts: dict[str, int] = {}
        self._reads = 0
        self._clients: dict[str, ChatLogClientFactory] = {}

    async def begin(self) -> None:
        for number in range(self._readers):
            self.work(self._read(self._client(f"{self.name}r{number}")))
        for number in range(self._writers):
            author = f"{self.name}w{number}"
            client = self._client(author)
            for _ in range(self._window):
                self.work(self._append(author, client))

    async def finish(self) -> None:
        await super().finish()
        last = self._check.last_acknowledged
        await self.until(lambda: all(self._check.read_up_to(name) >= last for name in self._clients))

    def _client(self, name: str) -> ChatLogClientFactory:
        def changed(change: Change) -> None:
            require(not change.is_reset, f"chatlog: {name} was given another log")
            require(not change.problems, f"chatlog: {name} found {change.problems}")
            self._check.read(name, change.new)

        client = ChatLogClientFactory(
            reactor,
            room_url("127.0.0.1", self.port, self._room),
            self.guard(changed),
            keep=100,
            poll_interval=SILENCE,
            limits=LIMITS,
            random=self.chance,
        )
        self._clients[name] = client
        return self.connect(client)

    async def _append(self, author: str, client: ChatLogClientFactory) -> None:
        while not self.is_finishing:
            self._counts[author] = number = self._counts.get(author, 0) + 1
            content, began = f"{author}-{number}", reactor.seconds()
            self._check.appended(content)
            self._history.asked(content, is_read=False)
            entry = await client.append(author, content)
            self._history.answered(content, entry.slot)
            self._check.acknowledged(content, entry)
            await self.did(began)

    async def _read(self, client: ChatLogClientFactory) -> None:
        while not self.is_finishing:
            self._reads += 1
            name, began = f"{self.name} read {self._reads}", reactor.seconds()
            self._history.asked(name, is_read=True)
            reply = await client.read(self.chance.randrange(1, 50))
            self._history.answered(name, reply.latest)
            self._check.shown(reply.latest, reply.entries)
            await self.did(began)

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
