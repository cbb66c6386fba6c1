"""Load on the media chat: clients that say and send, a desk that answers, and downloads of what was sent."""

from __future__ import annotations

import json
from hashlib import sha256
from io import BytesIO
from random import Random
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread

from protosuite.errors import ServerRefused
from protosuite.mediachat.client import MediaChatClientFactory, chat_url
from protosuite.mediachat.receiving import Received
from protosuite.net.websocket import Limits
from tests.faults.checks import require
from tests.faults.checks.mediachat import ChatsCheck, Said
from tests.faults.loads import SILENCE, Load
from tests.mediachat_peers import head, parsed
from tests.peers import Peer
from tests.processes import reactor

LIMITS = Limits(max_message=1 << 20, ping_interval=SILENCE, ping_timeout=SILENCE)
SIZES = (0, 10, 40_000, 300_000)  # bytes of a file
KEPT = 10  # files that may be downloaded again


class MediaChatLoad(Load):
    """The clients `ids`, and a desk that talks to all of them. A quota that is used up is no failure.

    Each piece of an upload counts as a thing done.
    """

    def __init__(
        self,
        name: str,
        port: int,
        chance: Random,
        check: ChatsCheck,
        ids: range,
        sizes: tuple[int, ...] = SIZES,
        pace: float = 0.0,
    ) -> None:
        super().__init__(name, port, chance, pace)
        self.resumed = 0  # uploads that went on behind their beginning
        self.refused = 0
        self._check = check
        self._ids = ids
        self._sizes = sizes
        self._count = 0
        self._clients: dict[int, MediaChatClientFactory] = {}
        self._posted: dict[int, int] = {}  # the last message of the desk that was acknowledged, by client
        self._files: list[tuple[int, str]] = []  # ids and hashes of some that were saved

    async def begin(self) -> None:
        for id in self._ids:
            client = self._clients[id] = self.connect(self._client(id))
            client.done.addErrback(self.fail)
            self.work(self._say(id, client))
            self.work(self._send(id, client))
        self.work(self._post())
        self.work(self._download())

    async def finish(self) -> None:
        await super().finish()
        await self.until(lambda: all(self._has_all(id) for id in self._ids))

    def _has_all(self, id: int) -> bool:
        return self._check.received_by(id) >= self._posted.get(id, 0)

    def _client(self, id: int) -> MediaChatClientFactory:
        def received(message: Received) -> None:
            self._check.received(id, message.id, str(message.text or message.name))

        return MediaChatClientFactory(
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

    def _word(self, id: int) -> str:
        self._count += 1
        return f"{self.name} {id} {self._count}"

    async def _say(self, id: int, client: MediaChatClientFactory) -> None:
        while not self.is_finishing:
            began = reactor.seconds()
            word = self._check.said(Said(id, "client", text=self._word(id)))
            status = await client.say(word)
            self._check.saved(word, status.message or 0)
            await self.did(began)

    async def _send(self, id: int, client: MediaChatClientFactory) -> None:
        while not self.is_finishing:
            began, data = reactor.seconds(), self.chance.randbytes(self.chance.choice(self._sizes))
            digest = sha256(data).hexdigest()
            said = Said(id, "client", name=self._word(id), size=len(data), sha256=digest)
            word, steps = self._check.said(said), Steps(self)
            try:
                status = await client.send_file(BytesIO(data), "file", word, on_progress=steps.take)
            except ServerRefused as refused:
                require(refused.code == "quota", f"mediachat: {word!r} was refused: {refused}")
                self.refused += 1
            else:
                message = status.message or 0
                self._check.saved(word, message)
                self._files = [*self._files[1 - KEPT :], (message, digest)]
            self.resumed += steps.has_resumed
            await self.did(began)

    # The desk, over HTTP: what is not answered may have been done.

    async def _post(self) -> None:
        while not self.is_finishing:
            id, began = self.chance.choice(self._ids), reactor.seconds()
            welcome = self._clients[id].welcome
            if welcome is None:  # its chat is not known yet
                await self.something()
                continue
            word, answer = await self._desk(id, f"/chats/{welcome['chat']}")
            if answer is not None and answer[0] in (201, 202):
                message = json.loads(answer[1])["id"]
                self._check.saved(word, message)
                self._posted[id] = message
            await self.did(began)

    async def _desk(self, id: int, chat: str) -> tuple[str, tuple[int, bytes] | None]:
        """Say something, or send a file: what, and the answer."""
        word = self._word(id)
        if self.chance.random() < 0.7:
            self._check.said(Said(id, "desk", text=word))
            body = json.dumps({"text": word}).encode()
            return word, await self._ask("POST", f"{chat}/messages", body)
        data = self.chance.randbytes(self.chance.choice(self._sizes))
        self._check.said(Said(id, "desk", name=word, size=len(data), sha256=sha256(data).hexdigest()))
        path = f"{chat}/media?name={quote(word)}&kind=file"
        return word, await self._ask("POST", path, data, "application/octet-stream")

    async def _download(self) -> None:
        while not self.is_finishing:
            began = reactor.seconds()
            if not self._files:
                await self.something()
                continue
            id, digest = self.chance.choice(self._files)
            answer = await self._ask("GET", f"/media/{id}")
            if answer is not None and answer[0] != 503:
                found = sha256(answer[1]).hexdigest()
                require(
                    (answer[0], found) == (200, digest),
                    f"mediachat: message {id} with the hash {digest} is served as {answer[0]}, {found}",
                )
            await self.did(began)

    async def _ask(
        self, method: str, path: str, body: bytes | None = None, type: str = "application/json"
    ) -> tuple[int, bytes] | None:
        """A request: the status and the body of what came; None if that did not come whole."""
        request = head(method, path, None if body is None else len(body), f"Content-Type: {type}")
        try:
            answer = await Deferred.fromCoroutine(self._answer(request + (body or b""))).addTimeout(
                2 * SILENCE, reactor
            )
        except (ConnectError, DeferredTimeout):
            return None
        if b"\r\n\r\n" not in answer:
            return None
        status, headers, content = parsed(answer)
        return (status, content) if len(content) == int(headers["content-length"]) else None

    async def _answer(self, request: bytes) -> bytes:
        """All that comes on a connection of its own."""
        peer = Peer()
        factory = Factory.forProtocol(lambda: peer)
        factory.noisy = False
        await TCP4ClientEndpoint(reactor, "127.0.0.1", self.port).connect(factory)
        try:
            peer.send(request)
            return await peer.everything()
        finally:
            if not peer.lost:
                peer.transport.abortConnection()

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


class Steps:
    """How an upload went on."""

    def __init__(self, load: Load) -> None:
        self.has_resumed = False  # behind its beginning
        self._load = load
        self._last = 0

    def take(self, done: int, size: int) -> None:
        """So many bytes have been sent; not more than before if it was begun again."""
        self.has_resumed = self.has_resumed or 0 < done <= self._last
        self._last = done
        self._load.done += 1
        self._load.changed()
