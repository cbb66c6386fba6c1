"""A service of somebody's own over HTTP and WebSocket: the sample, as a user would have it."""

from __future__ import annotations

import json
from typing import Any

from protosuite.test.web_peers import handshake, parse
from tests.mediachat_peers import head, parsed
from tests.peers import Peer, connect
from tests.processes import BIN
from tests.test_admin import get
from tests.test_extending import Fixture, install

JSON = "Content-Type: application/json"


class Reader:
    """Somebody who follows the board over a WebSocket."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def frames(self) -> list[tuple[Any, ...]]:
        """All that came, once the handshake has been answered."""
        first, end, data = bytes(self.peer.received).partition(b"\r\n\r\n")
        return list(parse(data)) if end and b" 101 " in first else []

    async def notices(self, count: int) -> list[str]:
        """The texts that came, when there are so many."""
        await self.peer.until(lambda: len(self.frames()) >= count)
        return [json.loads(data)["text"] for kind, data in self.frames() if kind == "text"]

    async def code(self) -> int:
        """What it is closed with."""
        await self.peer.until(lambda: any(kind == "close" for kind, *_ in self.frames()), after_end=True)
        return int(self.frames()[-1][1])


class BoardTests(Fixture):
    """The sample does what the pages of the suite do."""

    service = "board"

    async def ask(self, text: str | None = None, *headers: str) -> tuple[int, Any]:
        """The notice, or what is answered to another one: a status, and JSON."""
        body = None if text is None else json.dumps({"text": text}).encode()
        method, length = ("GET", None) if body is None else ("POST", len(body))
        peer = await connect(self, self.port)
        peer.send(head(method, "/notice", length, JSON, *headers) + (body or b""))
        status, _, answer = parsed(await peer.everything())
        return status, json.loads(answer)

    async def reader(self, *headers: str) -> Reader:
        """A new one."""
        peer = await connect(self, self.port)
        peer.send(handshake(*(header.encode() for header in headers)))
        return Reader(peer)

    async def test_it_works(self) -> None:
        """What is posted is there, and told to who follows; what is wrong is refused with why."""
        suite = self.suite(install(self, "board"))
        await self.start(suite)
        reader = await self.reader()
        await reader.notices(1)
        self.assertEqual(await self.ask("closed"), (200, {"text": "closed"}))
        self.assertEqual(await self.ask(), (200, {"text": "closed"}))
        self.assertEqual(await reader.notices(2), ["", "closed"])
        status, problem = await self.ask("x" * 501)
        self.assertEqual((status, problem["detail"]), (400, "text must be at most 500 characters"))
        self.assertEqual((await self.ask("open", "Origin: https://example.org"))[0], 403)
        told = (await get(self, suite, "/status")).fields["services"]["board"]
        self.assertEqual(told["overview"], {"notice": "closed", "readers": 1})
        self.assertEqual(await suite.terminate(), 0)
        self.assertEqual((await reader.code(), suite.defects), (1001, []))

    async def test_tokens(self) -> None:
        """R23, R24: without a token there is nothing, a client reads only, and who is revoked is closed."""
        suite = self.suite(install(self, "board"), auth={"secret_file": "keys"})
        keys = (BIN / "protosuite-token", "--config", suite.config)
        self.assertEqual((await self.run_program(suite, *keys, "init", "keys")).code, 0)
        bearers = {}
        for role in ("client", "operator"):
            made = await self.run_program(suite, *keys, "make", "--role", role, "--subject", "ana")
            bearers[role] = f"Authorization: Bearer {made.output[0]}"
        token = bearers["client"].rpartition(" ")[2]
        await self.start(suite)
        self.assertEqual((await self.ask())[0], 401)
        self.assertEqual((await self.ask("closed", bearers["client"]))[0], 403)
        self.assertEqual((await self.ask("closed", bearers["operator"]))[0], 200)
        reader = await self.reader(bearers["client"])
        self.assertEqual(await reader.notices(1), ["closed"])
        revoked = await self.run_program(suite, *keys, "revoke", token)
        self.assertEqual(revoked.code, 0, revoked.story())
        self.assertEqual((await reader.code(), suite.defects), (4401, []))
