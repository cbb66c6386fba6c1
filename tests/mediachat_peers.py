"""Connections to the media chat of a suite, frame by frame and byte by byte, and what is on disk."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from protosuite.mediachat.wire import SUBPROTOCOL
from protosuite.net.websocket import Limits, WebSocket
from protosuite.net.websocket_client import WebSocketClient
from tests.faults.checks.mediachat import Row
from tests.peers import Peer, connect
from tests.processes import LIMIT, Scope, Suite, Watched, reactor

LIMITS = Limits(max_message=1 << 20, write_timeout=LIMIT, ping_interval=LIMIT, close_timeout=LIMIT)
OPEN: dict[str, object] = {f"hours_{kind}": "always" for kind in ("text", "voice", "image", "file", "video")}
FRAME = 256 << 10  # bytes sent at once

Fields = dict[str, Any]


def settings(**more: object) -> dict[str, Any]:
    """A suite of the media chat alone, which takes everything at any time."""
    return {"suite": {"services": "mediachat"}, "mediachat": OPEN | more}


class Client(Watched):
    """A :class:`~protosuite.net.websocket.Talk` of one client. What it hears waits in `heard`."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Fields] = []
        self.code: int | None = None
        self.bytes = 0  # of media that have come
        self.hash = sha256()  # of them
        self.transport: Any = None
        self.socket: WebSocket | None = None

    # Of a Talk.

    def began(self, socket: WebSocket) -> None:
        self.socket = socket
        self.changed()

    def text(self, text: str) -> None:
        self.heard.append(json.loads(text))
        self.changed()

    def binary(self, data: bytes) -> None:
        self.bytes += len(data)
        self.hash.update(data)
        self.changed()

    def drained(self) -> None:
        self.changed()

    def stopping(self) -> None:
        """Only servers stop."""

    def ended(self, code: int, reason: str) -> None:
        self.code, self.over = code, True
        self.changed()

    # For the test.

    def say(self, **fields: Any) -> None:
        """Send a text frame that is an object."""
        if self.socket is not None:
            self.socket.send_text(json.dumps(fields).encode())

    def begin(self, size: int, **more: Any) -> None:
        """Send the head of a media message."""
        if self.socket is not None:
            fields = {"name": "a.bin", "size": size, "kind": "file"} | more
            self.socket.send_binary(json.dumps(fields).encode())

    async def send(self, pieces: Iterator[bytes]) -> None:
        """Send bytes as fast as the server takes them; less, if it goes away."""
        assert self.socket is not None
        for piece in pieces:
            if not self.socket.is_open:
                return
            self.socket.send_binary(piece)
            if not self.socket.is_writable:
                await self.until(lambda: self.socket.is_writable or self.over, after_end=True)  # type: ignore[union-attr]

    async def next(self, type: str = "status") -> Fields:
        """The next of a type; what came before it is dropped."""

        def find() -> Fields | None:
            while self.heard:
                if (found := self.heard.pop(0))["type"] == type:
                    return found
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
        return f"a client that ended with {self.code}, {self.heard[:3]} unread, {self.bytes} bytes of media"


def cut(data: bytes) -> Iterator[bytes]:
    """Data in pieces for frames."""
    return (data[at : at + FRAME] for at in range(0, len(data), FRAME))


async def come(scope: Scope, suite: Suite, id: int = 7, **hello: Any) -> Client:
    """A client that has been welcomed. :exc:`ConnectError` if the server is not there, or goes."""
    client = Client()
    url = f"ws://127.0.0.1:{suite.ports['mediachat']}/ws/{id}"
    protocol = WebSocketClient(url, SUBPROTOCOL, reactor, LIMITS, client, LIMIT)
    connection_lost: Any = protocol.connectionLost

    def gone(*reason: Any) -> None:
        connection_lost(*reason)
        if client.socket is None:
            client.code, client.over = 0, True
            client.changed()

    protocol.connectionLost = gone  # type: ignore[method-assign,assignment]
    factory = Factory.forProtocol(lambda: protocol)
    factory.noisy = False
    port = suite.ports["mediachat"]
    await TCP4ClientEndpoint(reactor, "127.0.0.1", port, timeout=LIMIT).connect(factory)
    client.transport = protocol.transport
    scope.addCleanup(client.leave)
    await client.until(lambda: client.socket is not None or client.over, after_end=True)
    client.say(timezone="Europe/Paris", **hello)
    await client.until(lambda: client.heard or client.over, after_end=True)
    if not client.heard:
        raise ConnectError(string="not welcomed")
    assert client.heard.pop(0)["type"] == "welcome"
    return client


async def ask(
    case: TestCase, suite: Suite, method: str, path: str, body: bytes | None = None, *headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One request: the status, headers and body of what came."""
    peer = await connect(case, suite.ports["mediachat"])
    peer.send(head(method, path, None if body is None else len(body), *headers) + (body or b""))
    answer = parsed(await peer.everything())
    await peer.abort()
    return answer


def head(method: str, path: str, length: int | None, *headers: str) -> bytes:
    """The head of a request, after whose answer the connection ends."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()


def parsed(data: bytes) -> tuple[int, dict[str, str], bytes]:
    """An answer: its status, headers and body."""
    begin, _, body = data.partition(b"\r\n\r\n")
    first, *lines = begin.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return int(first.split(" ")[1]), {name.lower(): value for name, _, value in pairs}, body


async def say(case: TestCase, suite: Suite, text: str, chat: int = 1) -> Fields:
    """Let the desk say something: the message."""
    body = json.dumps({"text": text}).encode()
    status, _, answer = await ask(
        case, suite, "POST", f"/chats/{chat}/messages", body, "Content-Type: application/json"
    )
    assert status in (201, 202), answer
    fields: Fields = json.loads(answer)
    return fields


class Reader(Peer):
    """A connection that keeps the head of an answer, and counts and hashes what follows."""

    def __init__(self) -> None:
        super().__init__()
        self.head = b""
        self.bytes = 0
        self.hash = sha256()

    def dataReceived(self, data: bytes) -> None:
        if not self.head:
            self.received += data
            before, found, data = bytes(self.received).partition(b"\r\n\r\n")
            if not found:
                return
            self.head = before
            self.received.clear()
        self.bytes += len(data)
        self.hash.update(data)
        self.changed()


def rows(suite: Suite) -> list[Row]:
    """Every message."""
    connection = sqlite3.connect(suite.data / "protosuite.sqlite3", timeout=LIMIT)
    try:
        query = (
            "SELECT m.id, client_id, sender, kind, status, text, name, size, sha256"
            " FROM mediachat_message m JOIN mediachat_chat c ON c.id = m.chat_id ORDER BY m.id"
        )
        return [Row(*fields) for fields in connection.execute(query)]
    finally:
        connection.close()


def files(suite: Suite) -> dict[str, Path]:
    """The whole files, by the hash that their names say."""
    folder = suite.data / "media"
    return {path.parent.name + path.name: path for path in folder.glob("*/*")}


def parts(suite: Suite) -> list[Path]:
    """What is not complete."""
    return [path for path in (suite.data / "parts").iterdir() if path.name != ".boot"]
