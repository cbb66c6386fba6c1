"""Clients that go to another node when theirs is gone, consoles that come back, and a desk that answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from protosuite.mediachat.client import MediaChatClientFactory, chat_url
from protosuite.mediachat.receiving import Received
from protosuite.mediachat.wire import SUBPROTOCOL
from protosuite.net.websocket_client import WebSocketClient
from tests.faults.checks import require
from tests.faults.checks.mediachat import ChatsCheck, Said
from tests.faults.loads import SILENCE, Load
from tests.faults.loads.mediachat import LIMITS
from tests.mediachat_peers import Client, head, parsed
from tests.peers import Peer
from tests.processes import LIMIT, Suite, Watched, reactor

_AGAIN = 0.05  # seconds after which something is tried again

Fields = dict[str, Any]


class Moving(MediaChatClientFactory):
    """A client that tries another node, of those at `ports`, whenever its connection is gone."""

    ports: Sequence[int] = ()

    def clientConnectionLost(self, connector: Any, reason: Any) -> None:
        self._move(connector)
        super().clientConnectionLost(connector, reason)

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        self._move(connector)
        super().clientConnectionFailed(connector, reason)

    def _move(self, connector: Any) -> None:
        others = [port for port in self.ports if port != connector.port]
        connector.port = self._random.choice(others or self.ports)


async def ask(
    suite: Any, method: str, path: str, fields: Fields | None = None, patience: float = 1.0
) -> tuple[int, Any] | None:
    """A request: the status, and what came as JSON; None if that did not come whole in time."""
    body = None if fields is None else json.dumps(fields).encode()
    peer = Peer()
    factory = Factory.forProtocol(lambda: peer)
    factory.noisy = False
    port = suite.ports["mediachat"]
    try:
        await TCP4ClientEndpoint(reactor, "127.0.0.1", port, timeout=LIMIT).connect(factory)
        length = None if body is None else len(body)
        peer.send(head(method, path, length, "Content-Type: application/json") + (body or b""))
        answer = Deferred.fromCoroutine(peer.everything())
        data = await answer.addTimeout(patience, reactor)
    except (ConnectError, DeferredTimeout):
        return None
    finally:
        if not peer.lost and peer.transport is not None:
            peer.transport.abortConnection()
    if b"\r\n\r\n" not in data:
        return None
    status, headers, content = parsed(data)
    if len(content) != int(headers["content-length"]):
        return None
    return status, json.loads(content)


class Chatting(Load):
    """Customers `ids`, who say texts, and a desk that answers and reads; each goes to any of some suites."""

    def __init__(
        self, suites: Sequence[Any], chance: Random, check: ChatsCheck, ids: Sequence[int], pace: float = 0.01
    ) -> None:
        super().__init__("chats", 0, chance, pace)
        self.said_to: dict[int, int] = {}  # the last message of the desk that was acknowledged, by client
        self.texts = self.posts = 0
        self._suites = suites
        self._check = check
        self._ids = ids
        self._clients: dict[int, Moving] = {}
        self._count = 0

    async def begin(self) -> None:
        for number, id in enumerate(self._ids):
            self.port = self._suites[number % len(self._suites)].ports["mediachat"]
            client = self._clients[id] = self.connect(self._client(id))
            client.done.addErrback(self.fail)
            self.work(self._say(id, client))
        self.work(self._post())
        self.work(self._read())

    async def finish(self) -> None:
        await super().finish()
        await self.until(
            lambda: all(self._check.received_by(id) >= last for id, last in self.said_to.items())
        )

    def chat(self, id: int) -> int | None:
        """The chat of a customer, once it is known."""
        welcome = self._clients[id].welcome
        return None if welcome is None else int(welcome["chat"])

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def _client(self, id: int) -> Moving:
        def received(message: Received) -> None:
            self._check.received(id, message.id, str(message.text))

        client = Moving(
            reactor,
            chat_url("127.0.0.1", self.port, id),
            deferToThread,
            self.guard(received),
            timezone="Europe/Paris",
            after=0,
            answer_timeout=SILENCE,
            limits=LIMITS,
            random=self.chance,
        )
        client.ports = [suite.ports["mediachat"] for suite in self._suites]
        return client

    def _word(self, id: int) -> str:
        self._count += 1
        return f"{id} {self._count}"

    async def _say(self, id: int, client: Moving) -> None:
        while not self.is_finishing:
            began = reactor.seconds()
            words = [self._check.said(Said(id, "client", text=self._word(id))) for _ in range(3)]
            answers = [client.say(word) for word in words]
            for word, answer in zip(words, answers, strict=True):
                self._check.saved(word, (await answer).message or 0)
                self.texts += 1
            await self.did(began)

    async def _post(self) -> None:
        """The desk says something, with a key, to one node after the other until one has answered."""
        while not self.is_finishing:
            id, began = self.chance.choice(self._ids), reactor.seconds()
            if (chat := self.chat(id)) is None:
                await deferLater(reactor, _AGAIN)
                continue
            word = self._check.said(Said(id, "desk", text=self._word(id)))
            status, message = await self.insist(f"/chats/{chat}/messages", {"text": word, "key": word})
            require(status in (201, 202), f"mediachat: {word!r} was answered with {status}: {message}")
            self._check.saved(word, message["id"])
            self.said_to[id] = message["id"]
            self.posts += 1
            await self.did(began)

    async def _read(self) -> None:
        """The desk reads a chat up to what it said there last."""
        while not self.is_finishing:
            began = reactor.seconds()
            id = self.chance.choice(self._ids)
            if id in self.said_to:
                path = f"/chats/{self.chat(id)}/read"
                status, chat = await self.insist(path, {"upto": self.said_to[id]})
                require(status == 200, f"mediachat: reading was answered with {status}: {chat}")
            await deferLater(reactor, _AGAIN)
            await self.did(began)

    async def insist(self, path: str, fields: Fields) -> tuple[int, Any]:
        """The answer to something that may be asked again, of whichever node gives one."""
        while True:
            answer = await ask(self.chance.choice(self._suites), "POST", path, fields)
            if answer is not None and answer[0] != 503:
                return answer
            await deferLater(reactor, _AGAIN)


class Console(Watched):
    """A console at one of `suites`, which holds what it knows of the chats as the page does.

    It comes back whenever its connection is lost, to the next of them, and asks for what it has missed.
    """

    def __init__(self, *suites: Any) -> None:
        super().__init__()
        self.messages: dict[int, dict[int, Fields]] = {}  # by chat and id
        self.unread: dict[int, int] = {}
        self.connected: dict[int, int] = {}
        self.connections = 0
        self.leaving = False
        self.line: _Line | None = None
        self._suites = suites
        # Chats of which it was told what is unread, and who is there, since it asked last: newer than what it
        # is answered.
        self._unread_told: set[int] = set()
        self._connected_told: set[int] = set()
        self._high: dict[int, int] = {}  # up to there it has all of each chat, whatever it was told besides

    async def stay(self) -> None:
        """Come back until :attr:`leaving`. What cannot be right ends it."""
        place = 0
        while not self.leaving:
            suite = self._suites[place % len(self._suites)]
            place += 1
            line = self.line = _Line(self)
            if await line.open(suite):
                self.connections += 1
                if not await self._catch_up(suite):
                    await line.leave()
                await line.gone
            if line.wrong is not None:
                raise line.wrong
            await deferLater(reactor, _AGAIN)
        self.changed()

    async def leave(self) -> None:
        """Go, and stay away."""
        self.leaving = True
        if self.line is not None:
            await self.line.leave()

    @property
    def ids(self) -> dict[int, list[int]]:
        """The messages of each chat, in the order that they have in it."""
        return {chat: sorted(found) for chat, found in self.messages.items()}

    async def _catch_up(self, suite: Suite) -> bool:
        """Ask for what was missed; whether that came."""
        self._unread_told.clear()
        self._connected_told.clear()
        if (answer := await ask(suite, "GET", "/chats?limit=100")) is None or answer[0] != 200:
            return False
        for chat in answer[1]["items"]:
            if chat["id"] not in self._unread_told:
                self.unread[chat["id"]] = chat["unread"]
            if chat["id"] not in self._connected_told:
                self.connected[chat["id"]] = chat["connected"]
            if not await self._catch_up_chat(suite, chat["id"]):
                return False
        return True

    async def _catch_up_chat(self, suite: Suite, chat: int) -> bool:
        while True:
            after = self._high.get(chat, 0)
            path = f"/messages?chat_id={chat}&after={after}&limit=100"
            if (answer := await ask(suite, "GET", path)) is None or answer[0] != 200:
                return False
            for message in answer[1]["items"]:
                self._take(message)
                self._high[chat] = message["id"]
            if len(answer[1]["items"]) < 100:
                return True

    def heard(self, said: Fields, last: dict[int, int]) -> None:
        """Something that it was told on a connection, where `last` is the last message of each chat."""
        if said["type"] == "message":
            chat, id = said["message"]["chat_id"], said["message"]["id"]
            if id <= last.get(chat, 0):
                raise AssertionError(f"message {id} of chat {chat} was told behind {last[chat]}")
            last[chat] = id
            if self._take(said["message"]) and said["message"]["from"] == "client" and chat in self.unread:
                self.unread[chat] += 1
        elif said["type"] == "chat":
            chat = said["chat"]["id"]
            self._unread_told.add(chat)
            self._connected_told.add(chat)
            self.unread[chat], self.connected[chat] = said["chat"]["unread"], said["connected"]
        elif said["type"] == "presence":
            self._connected_told.add(said["chat"])
            self.connected[said["chat"]] = said["connected"]
        self.changed()

    def _take(self, message: Fields) -> bool:
        """Keep a message; whether it is new. It is the same wherever it comes from."""
        known = self.messages.setdefault(message["chat_id"], {})
        is_new = message["id"] not in known
        if known.setdefault(message["id"], message) != message:
            raise AssertionError(f"{known[message['id']]} is now {message}")
        return is_new


class _Line(Client):
    """One connection of a console."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.wrong: Exception | None = None
        self.gone: Deferred[None] = Deferred()  # fires when it is
        self._console = console
        self._last: dict[int, int] = {}
        self._is_welcome = False

    def text(self, text: str) -> None:
        said = json.loads(text)
        try:
            if said["type"] == "welcome":
                self._is_welcome = True
            else:
                self._console.heard(said, self._last)
        except Exception as error:  # it is raised where the test waits
            self.wrong = error
            self.transport.abortConnection()
        self.changed()

    def ended(self, code: int, reason: str) -> None:
        super().ended(code, reason)
        if not self.gone.called:
            self.gone.callback(None)

    async def open(self, suite: Any) -> bool:
        """Connect: whether it was welcomed."""
        port = suite.ports["mediachat"]
        url = f"ws://127.0.0.1:{port}/console/ws"
        protocol = WebSocketClient(url, SUBPROTOCOL, reactor, LIMITS, self, LIMIT)
        connection_lost: Any = protocol.connectionLost

        def gone(*reason: Any) -> None:
            connection_lost(*reason)
            if self.code is None:
                self.ended(0, "")

        protocol.connectionLost = gone  # type: ignore[method-assign,assignment]
        factory = Factory.forProtocol(lambda: protocol)
        factory.noisy = False
        try:
            await TCP4ClientEndpoint(reactor, "127.0.0.1", port, timeout=LIMIT).connect(factory)
        except ConnectError:
            return False
        self.transport = protocol.transport
        await self.until(lambda: self._is_welcome or self.over, after_end=True)
        return self._is_welcome
