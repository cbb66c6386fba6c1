"""Connections to the chat log: raw ones, writers that lose nothing, readers that check all they read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from protosuite.chatlog.wire import SUBPROTOCOL, Entry
from protosuite.net.websocket import Limits, WebSocket
from protosuite.net.websocket_client import WebSocketClient
from tests.faults.checks.chatlog import require_sound
from tests.processes import LIMIT, Suite, Watched, reactor

LIMITS = Limits(max_message=64 << 20, write_timeout=LIMIT, ping_interval=LIMIT, close_timeout=LIMIT)

Fields = dict[str, Any]


class Member(Watched):
    """A :class:`~protosuite.net.websocket.Talk`. What it hears waits in `messages`; `code` is its end."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Fields] = []
        self.code: int | None = None
        self.transport: Any = None
        self.socket: WebSocket | None = None
        self.gone: Deferred[None] = Deferred()  # fires at its end, however long that takes

    # Of a Talk.

    def began(self, socket: WebSocket) -> None:
        self.socket = socket
        self.changed()

    def text(self, text: str) -> None:
        self.hear(json.loads(text))
        self.changed()

    def binary(self, data: bytes) -> None:
        raise AssertionError("a binary message")

    def stopping(self) -> None:
        """Clients are not stopped by a service."""

    def drained(self) -> None:
        """Nothing waits for that."""

    def ended(self, code: int, reason: str) -> None:
        self.code, self.over = code, True
        self.changed()
        self.gone.callback(None)

    # For the test.

    def hear(self, message: Fields) -> None:
        """A message came."""
        self.messages.append(message)

    def raw(self, text: bytes) -> None:
        """Send a text message."""
        if self.socket is not None:
            self.socket.send_text(text)

    def say(self, type: str, **fields: Any) -> None:
        self.raw(json.dumps({"type": type, **fields}).encode())

    def update(self, n: int, upto: int = -1) -> None:
        self.say("ClientUpdate", n=n, upto=upto)

    async def next(self, type: str) -> Fields:
        """The next message of a type; those of others before it are dropped."""

        def find() -> Fields | None:
            while self.messages:
                if (message := self.messages.pop(0))["type"] == type:
                    return message
            return None

        return await self.until(find)

    async def end(self) -> int:
        """The code that the connection ended with."""
        return await self.until(lambda: self.code, after_end=True)

    async def leave(self) -> None:
        """Cut the connection, if it is there."""
        if self.code is None and self.transport is not None:
            self.transport.abortConnection()
            await self.end()

    def story(self) -> str:
        return f"a connection that ended with {self.code}, and {self.messages[:3]} unread"


class _Client(WebSocketClient):
    """A connection whose member also hears that it never began."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if isinstance(self._talk, Member) and self._talk.socket is None:
            self._talk.ended(0, self.refusal)


async def enter(suite: Suite, member: Member, room: str) -> None:
    """Connect `member`; :exc:`ConnectError` if the server is not there, or goes before it has answered."""
    url = f"ws://127.0.0.1:{suite.ports['chatlog']}/rooms/{room}"
    client = _Client(url, SUBPROTOCOL, reactor, LIMITS, member, LIMIT)
    factory = Factory.forProtocol(lambda: client)
    factory.noisy = False
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", suite.ports["chatlog"], timeout=LIMIT)
    await endpoint.connect(factory)
    member.transport = client.transport
    await member.until(lambda: member.socket is not None or member.code is not None, after_end=True)
    if member.socket is None:
        raise ConnectError(string=client.refusal)


async def join(case: TestCase, suite: Suite, room: str = "main") -> Member:
    """A connection in a room, which ends with `case`."""
    member = Member()
    await enter(suite, member, room)
    case.addCleanup(member.leave)
    return member


class Persistent(Watched):
    """One that stays in a room: it comes back whenever its connection is lost, until it is told to leave."""

    def __init__(self, suite: Suite, room: str = "main") -> None:
        super().__init__()
        self.connections = 0
        self.codes: list[int] = []
        self.member: Member | None = None
        self.leaving = False
        self._suite = suite
        self._room = room

    async def stay(self) -> None:
        """Come back until :attr:`leaving`. What `heard` raises ends it."""
        while not self.leaving:
            member = _Relay(self)
            try:
                await enter(self._suite, member, self._room)
            except ConnectError:
                await deferLater(reactor, 0.02)
                continue
            self.member = member
            self.connections += 1
            self.entered()
            await member.gone
            self.codes.append(await member.end())
            self.member = None
            if member.wrong is not None:
                raise member.wrong
        self.changed()

    def say(self, type: str, **fields: Any) -> None:
        if self.member is not None:
            self.member.say(type, **fields)

    def leave(self) -> None:
        """Close, and stay away."""
        self.leaving = True
        if self.member is not None and self.member.socket is not None:
            self.member.socket.close()

    # For the subclass.

    def entered(self) -> None:
        """It is in the room."""

    def heard(self, message: Fields) -> None:
        """The server said something."""


class _Relay(Member):
    """A connection of a persistent one."""

    def __init__(self, owner: Persistent) -> None:
        super().__init__()
        self.wrong: Exception | None = None
        self._owner = owner

    def hear(self, message: Fields) -> None:
        try:
            self._owner.heard(message)
        except Exception as error:  # it is raised where the test waits
            self.wrong = error
            self.transport.abortConnection()
        self._owner.changed()


class Writer(Persistent):
    """Appends one entry after another, `window` at a time, each until it is acknowledged."""

    def __init__(self, suite: Suite, name: str, window: int = 2, room: str = "main", size: int = 1) -> None:
        super().__init__(suite, room)
        self.name = name
        self.acknowledged: dict[str, int] = {}  # slots by key
        self.pending: dict[str, None] = {}  # keys, in order
        self.finishing = False
        self.last = -1
        self._window = window
        self._size = size
        self._count = 0
        self._seq = 0

    def entered(self) -> None:
        self._seq = 0
        for key in self.pending:
            self._send(key)
        self._go_on()

    def heard(self, message: Fields) -> None:
        if message["type"] != "ServerAck":
            raise AssertionError(f"{self.name} was told {message}")
        entry = message["entry"]
        key = entry.get("key")
        if key in self.pending:
            del self.pending[key]
            self.acknowledged[key] = entry["slot"]
            self._go_on()
        elif self.acknowledged.get(key, entry["slot"]) != entry["slot"]:
            raise AssertionError(f"{key} has slots {self.acknowledged[key]} and {entry['slot']}")

    def _go_on(self) -> None:
        while len(self.pending) < self._window and not self.finishing and not self.leaving:
            self._count += 1
            key = f"{self.name}-{self._count}"
            self.pending[key] = None
            self._send(key)

    def _send(self, key: str) -> None:
        content = key.ljust(self._size, ".")
        self.say("ClientAppend", seq=self._seq, author=self.name, content=content, key=key)
        self._seq += 1

    async def finish(self) -> None:
        """Append nothing new; leave when all is acknowledged."""
        self.finishing = True
        await self.until(lambda: not self.pending)
        self.leave()


class Reader(Persistent):
    """Keeps the whole log, asks for what it misses, and holds that nobody ever tells it otherwise."""

    def __init__(self, suite: Suite, room: str = "main") -> None:
        super().__init__(suite, room)
        self.entries: dict[int, Fields] = {}
        self.epoch: str | None = None
        self.held = 0  # all slots up to this one are in `entries`
        self._acked: int | None = None  # on this connection

    def entered(self) -> None:
        self._acked = None
        self.say("ClientUpdate", n=100, upto=-1)

    def heard(self, message: Fields) -> None:
        if message["type"] == "ServerReply":
            if self.epoch not in (None, message["epoch"]):
                raise AssertionError("another epoch")
            self.epoch = message["epoch"]
            for entry in message["entries"]:
                self._take(entry)
            low = message["entries"][0]["slot"] if message["entries"] else 1
            if low > self.held + 1:  # there is a hole, and this is its upper end now
                self.say("ClientUpdate", n=min(1000, low - 1 - self.held), upto=low - 1)
            return
        slot = message["entry"]["slot"]
        if self._acked is not None and slot != self._acked + 1:
            raise AssertionError(f"slot {slot} was acknowledged behind {self._acked}")
        self._acked = slot
        self._take(message["entry"])

    def _take(self, entry: Fields) -> None:
        slot = entry["slot"]
        if self.entries.setdefault(slot, entry) != entry:
            raise AssertionError(f"slot {slot} was {self.entries[slot]} and is {entry}")
        while self.held + 1 in self.entries:
            self.held += 1

    async def reaches(self, slot: int) -> None:
        """Wait until all up to `slot` is here."""
        await self.until(lambda: self.held >= slot)


def stored(suite: Suite, room: str = "main") -> Iterator[Entry]:
    """The log of a room as it is in the database."""
    connection = sqlite3.connect(suite.data / "protosuite.sqlite3", timeout=LIMIT)
    try:
        query = (
            "SELECT slot, author, content, at, session, seq, key, e.hash FROM chatlog_log e"
            " JOIN chatlog_room r ON r.id = e.room WHERE r.name = ? ORDER BY slot"
        )
        for slot, author, content, at, session, seq, key, hash in connection.execute(query, (room,)):
            yield Entry(slot, author, content, at, session, seq, key, hash=hash)
    finally:
        connection.close()


def epoch_and_head(suite: Suite, room: str = "main") -> tuple[str, int]:
    """The epoch of a room and the last slot that it says it has."""
    connection = sqlite3.connect(suite.data / "protosuite.sqlite3", timeout=LIMIT)
    query = (
        "SELECT epoch, max(head, coalesce((SELECT max(slot) FROM chatlog_log e WHERE e.room = r.id), 0))"
        " FROM chatlog_room r WHERE name = ?"
    )
    row = connection.execute(query, (room,)).fetchone()
    connection.close()
    return row or ("", 0)


def assert_sound(case: TestCase, suite: Suite, note: str = "", room: str = "main") -> list[Entry]:
    """Hold that the log in the database has no hole, no key twice and the right hashes. It is returned."""
    epoch, head = epoch_and_head(suite, room)
    entries = list(stored(suite, room))
    case.assertEqual(len(entries), head, note)
    require_sound(epoch, entries)
    return entries
