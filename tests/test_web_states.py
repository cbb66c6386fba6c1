"""The diagrams of connections over HTTP: each of their arrows is what a server does."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Opcode

from protosuite.chatlog.wire import Error as ChatLogError
from protosuite.errors import StorageError
from protosuite.mediachat.conversation import (
    Answer,
    Begin,
    Close,
    Conversation,
    Discard,
    Finish,
    SaveText,
    Step,
)
from protosuite.mediachat.wire import Status
from protosuite.test import mediachat_peers as media
from protosuite.test import test_mediachat_conversation as talk
from protosuite.test.chatlog_peers import Fixture as ChatLogFixture
from protosuite.test.web_peers import Pipe, close, frame, handshake, parse
from tests.states import Case, Passing, check


class ChatLogPeer:
    """A connection in a room."""

    def __init__(self, case: Case, state: str) -> None:
        self.case = case
        self.client = case.join()
        if state == "one is missing":
            self.append(1)

    def append(self, seq: int, content: str = "x") -> None:
        self.client.append(content, seq=seq)

    def append_used(self) -> None:
        self.append(0)
        self.said()
        self.append(0)

    def fail_to_store(self) -> None:
        self.case.workers.database.no_writes = StorageError("no")
        self.append(0)
        self.case.settle()

    def said(self) -> str:
        found = []
        for message in self.client.heard():
            code = f" {message.code}" if isinstance(message, ChatLogError) else ""
            found.append(type(message).__name__ + code)
        return ", ".join(found)

    def is_in(self, state: str) -> bool:
        if self.client.close_code is not None:
            return state == "closed"
        [member] = self.case.service._members.values()
        return state == ("one is missing" if member.writer.held else "in order")


class ChatLogStateTests(ChatLogFixture):
    """chatlog.v1."""

    def test_states(self) -> None:
        """Each arrow of chatlog.v1 is what the server does."""
        check(
            self,
            "chatlog",
            ChatLogPeer,
            {
                "append": lambda peer: peer.append(0),
                "append that cannot be": lambda peer: peer.append(0, ""),
                "append, seq used": ChatLogPeer.append_used,
                "append, seq ahead": lambda peer: peer.append(1),
                "append, too far ahead": lambda peer: peer.append(1000),
                "the missing append": lambda peer: peer.append(0),
                "append, not stored": ChatLogPeer.fail_to_store,
                "update": lambda peer: peer.client.update(),
                "stop": lambda peer: peer.case.service.drain(60),
            },
        )


class Talk:
    """A conversation with the media chat, and its server's side, which answers as the real one does."""

    HOURS = talk.HOURS

    def __init__(self, case: Case, state: str) -> None:
        self.core = Conversation(talk.PARIS, False, self.HOURS, talk.MAX)
        self.words: list[str] = []
        self.is_closed = False
        self.head: Any = None
        ways = {"announced": {"upload": "u"}, "storing": {}, "draining": {"kind": "voice"}}
        if state in ways:
            self.binary(talk.head(**ways[state]))

    def binary(self, data: bytes) -> None:
        self.do(self.core.binary(data, talk.NOON))

    def text(self, text: str) -> None:
        self.do(self.core.text(text, talk.NOON))

    def do(self, steps: list[Step]) -> None:
        for step in steps:
            match step:
                case SaveText() | Finish():
                    self.words.append("saved")
                case Discard():
                    self.words.append("discarded")
                case Begin(head):
                    self.head = head
                case Answer(Status(status, code=code)):
                    self.words.append(f"{status} {code}")
                case Close():
                    self.is_closed = True

    def be_ready(self) -> None:
        self.words.append("ready")
        self.do(self.core.ready(self.head, 0))

    def refuse(self) -> None:
        self.words.append("error quota")
        self.core.refused(self.head)

    def said(self) -> str:
        words, self.words = self.words, []
        return ", ".join(words)

    def is_in(self, state: str) -> bool:
        names = {"NONE": "between", "WAITING": "announced", "STORING": "storing", "DRAINING": "draining"}
        return state == ("closed" if self.is_closed else names[self.core._state.name])


class MediaChatStateTests(SynchronousTestCase):
    """mediachat.v1."""

    def test_states(self) -> None:
        """Each arrow of mediachat.v1 is what its conversation does."""
        check(
            self,
            "mediachat",
            Talk,
            {
                "text": lambda made: made.text('{"type":"text","text":"x"}'),
                "cancel": lambda made: made.text('{"type":"cancel"}'),
                "head": lambda made: made.binary(talk.head()),
                "head with upload": lambda made: made.binary(talk.head(upload="u")),
                "head, outside the hours": lambda made: made.binary(talk.head(kind="voice")),
                "head with upload, outside the hours": lambda made: made.binary(
                    talk.head(kind="voice", upload="u")
                ),
                "head, too large": lambda made: made.binary(talk.head(size=talk.MAX + 1)),
                "a binary frame that is no head": lambda made: made.binary(b"{}"),
                "the store is ready": Talk.be_ready,
                "the store refuses": Talk.refuse,
                "bytes": lambda made: made.binary(b"x"),
                "last bytes": lambda made: made.binary(b"xxx"),
                "more than announced": lambda made: made.binary(b"xxxx"),
            },
        )


class WebPeer:
    """A connection to a service that speaks HTTP, and WebSocket."""

    def __init__(self, case: Case, state: str) -> None:
        self.case = case
        self.pipe = Pipe(case.factory().buildProtocol(None))
        self.taken = 0
        case.addCleanup(self.pipe.lose, ConnectionError())
        if state != "HTTP":
            self.ask(handshake(start=b"GET /rooms/r HTTP/1.1"))
        if state == "pinged":
            case.clock.advance(case.config.ping_interval)
        if state == "closing":
            case.service.drain(60)
        if state == "closed":
            self.ask(close(1000))

    def ask(self, data: bytes) -> None:
        self.pipe.arrive(data)

    def said(self) -> str:
        self.pipe.pump()
        data, self.taken = bytes(self.pipe.sent[self.taken :]), len(self.pipe.sent)
        found = []
        if data.startswith(b"HTTP/1.1 "):
            code = data[9:12].decode()
            found.append(code)
            data = data.partition(b"\r\n\r\n")[2] if code == "101" else b""
        for kind, *what in parse(data):
            found.append(f"close {what[0]}" if kind == "close" else kind)
        return ", ".join(found)

    def is_in(self, state: str) -> bool:
        connection = self.pipe.protocol
        if self.pipe.aborted:
            return state == "cut off"
        if connection.finishing:
            return state == "closed"
        if connection.socket is None:
            return state == "HTTP"
        if not connection.socket.is_open:
            return state == "closing"
        return state == ("WebSocket" if connection.socket._pinged is None else "pinged")


class WebSocketStateTests(ChatLogFixture):
    """HTTP and WebSocket, as the services that speak them have them in common."""

    def test_states(self) -> None:
        """Each arrow of a connection that becomes a WebSocket is what the server does."""
        foreign = handshake(b"Origin: https://example.org", start=b"GET /rooms/r HTTP/1.1")
        request = b"GET /whoami HTTP/1.1\r\nHost: localhost\r\n\r\n"
        check(
            self,
            "websocket",
            WebPeer,
            {
                "request": lambda peer: peer.ask(request),
                "handshake": lambda peer: peer.ask(handshake(start=b"GET /rooms/r HTTP/1.1")),
                "handshake of a foreign page": lambda peer: peer.ask(foreign),
                "close": lambda peer: peer.ask(close(1000)),
                "pong": lambda peer: peer.ask(frame(Opcode.PONG, b"")),
                "what is no frame": lambda peer: peer.ask(b"\xff\xff"),
                "stop": lambda peer: peer.case.service.drain(60),
                "handshake_timeout": Passing("handshake_timeout", lambda peer: peer.ask(request[:9])),
                "idle_timeout": Passing("idle_timeout", lambda peer: peer.ask(request)),
                "message_timeout": Passing("message_timeout", lambda peer: peer.ask(b"\x81")),
                "ping_interval": Passing("ping_interval"),
                "ping_timeout": Passing("ping_timeout"),
                "write_timeout": Passing("write_timeout", lambda peer: peer.pipe.producer.pauseProducing()),
                "close_timeout": Passing("close_timeout"),
            },
        )


class HelloPeer:
    """A client of the media chat that has connected."""

    def __init__(self, case: Case, state: str) -> None:
        self.case = case
        self.socket = case.connect("/ws/7")

    def said(self) -> str:
        self.case.settle()
        found = []
        for message in self.socket.heard():
            found.append(
                " ".join(filter(None, (message.get("status", message["type"]), message.get("code"))))
            )
        if self.socket.code is not None and not found:
            found.append(f"close {self.socket.code}")
        return ", ".join(found)

    def is_in(self, state: str) -> bool:
        if self.socket.code is not None:
            return state == "closing"
        talk = self.socket.pipe.protocol.socket._talk
        return state == ("no hello yet" if talk.chat is None else "talking")


class HelloStateTests(media.Fixture):
    """mediachat.v1, before the conversation."""

    def test_states(self) -> None:
        """Each arrow of the beginning of mediachat.v1 is what the server does."""
        hello = json.dumps({"timezone": "Europe/Paris"})
        check(
            self,
            "hello",
            HelloPeer,
            {
                "hello": lambda peer: peer.socket.raw(hello),
                "a time zone alone": lambda peer: peer.socket.raw("Europe/Paris"),
                "what is no time zone": lambda peer: peer.socket.raw("Europe/Atlantis"),
                "binary": lambda peer: peer.socket.binary(b"Europe/Paris"),
                "hello_timeout": Passing("hello_timeout"),
            },
        )
