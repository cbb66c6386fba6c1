"""Loads on rooms and chats over WebSocket: what is said is stored, and the answer says so."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any

from benchmarks.loads.asking import Conversation
from benchmarks.loads.measuring import WrongAnswer
from benchmarks.loads.websocket import CLOSE, PING, PONG, TEXT, Frames, Numbered, frame, handshake, only_text

_decode = json.JSONDecoder().raw_decode


class _Speaker(Conversation):
    """A WebSocket whose answers are JSON objects. A subclass has what is said in `messages`."""

    messages: Numbered

    def __init__(self, options: Mapping[str, Any], number: int) -> None:
        super().__init__(options, number)
        self._port: int = options["port"]
        self._frames = Frames()
        self._pongs = b""
        self.said = 0  # messages that have been sent

    def path(self) -> str:
        """Where its WebSocket is."""
        raise NotImplementedError

    def open(self, connection: socket.socket) -> None:
        handshake(connection, self._port, self.path())

    def request(self) -> bytes:
        first, self.said = self.said, self.said + self.depth
        if self.depth == 1 and not self._pongs:
            return self.messages.frame(first)
        pongs, self._pongs = self._pongs, b""
        return pongs + b"".join(map(self.messages.frame, range(first, self.said)))

    def answers(self, data: bytes) -> int:
        if not self._frames.rest and (payload := only_text(data)) is not None:
            return self._answer(payload, 0)
        count = 0
        for opcode, payload in self._frames.feed(data):
            if opcode == PING:
                self._pongs += frame(payload, PONG)
            elif opcode == TEXT:
                count += self._answer(payload, count)
            elif opcode == CLOSE:
                raise WrongAnswer(f"the server closed a WebSocket: {payload!r}")
        return count

    def _answer(self, payload: bytes, before: int) -> int:
        """How many answers a text is, behind others of the same piece."""
        if not self.is_answer(payload):
            return 0
        text = payload.decode()
        answer, end = _decode(text)
        if end != len(text):
            raise WrongAnswer(f"more than an object: {text}")
        self.check(answer, self.said - self.due + before)
        return 1

    def is_answer(self, payload: bytes) -> bool:
        """Whether a message answers one of its own."""
        return True

    def check(self, answer: dict[str, Any], number: int) -> None:
        """The answer to message `number`; :exc:`WrongAnswer` if it is not that."""
        raise NotImplementedError


class Appends(_Speaker):
    """Appends to a room of its own. Where a log is ``gapless``, each slot must follow the one before."""

    def __init__(self, options: Mapping[str, Any], number: int) -> None:
        super().__init__(options, number)
        self._content = "x" * options["content"]
        self.speaks_as("ana")
        self._is_gapless: bool = options.get("gapless", False)
        self._name: str = options.get("name", "bench")
        self._slot = 0

    def path(self) -> str:
        return f"/rooms/{self._name}-{self.number}"

    def speaks_as(self, author: str) -> None:
        """Make the requests of this author."""
        self._author = author
        rest = f',"author":"{author}","content":"{self._content}"}}'
        self.messages = Numbered(b'{"type":"ClientAppend","seq":', b"%d", rest.encode())

    def check(self, answer: dict[str, Any], number: int) -> None:
        entry = answer.get("entry", {})
        slot = entry.get("slot", 0)
        if (
            answer.get("type") != "ServerAck"
            or entry.get("seq") != number
            or entry.get("author") != self._author
            or entry.get("content") != self._content
        ):
            raise WrongAnswer(f"append {number} became {answer!r}")
        if slot <= self._slot or (self._is_gapless and slot != self._slot + 1):
            raise WrongAnswer(f"after slot {self._slot} came {slot}")
        self._slot = slot

    def more(self) -> dict[str, float]:
        return {"appends": self.said}


class SharedAppends(Appends):
    """Appends to one room to which others append too: what it is told of theirs is passed over.

    Names begin with ``name``, which is another one for each process.
    """

    def __init__(self, options: Mapping[str, Any], number: int) -> None:
        super().__init__(options, number)
        author = f"{options['name']}-{number}"
        self.speaks_as(author)
        self._mark = f'"author":"{author}"'.encode()

    def path(self) -> str:
        return "/rooms/bench"

    def is_answer(self, payload: bytes) -> bool:
        return self._mark in payload


class Texts(_Speaker):
    """Text messages of a client of a media chat."""

    def __init__(self, options: Mapping[str, Any], number: int) -> None:
        super().__init__(options, number)
        self.messages = Numbered(b"text ", b"%14d", b" " + b"x" * (options["content"] - 20))
        self._last = 0

    def path(self) -> str:
        return f"/ws/{self.number + 1}"

    def open(self, connection: socket.socket) -> None:
        super().open(connection)
        connection.sendall(frame(b"UTC"))

    def check(self, answer: dict[str, Any], number: int) -> None:
        if answer.get("status") != "saved" or answer.get("message", 0) <= self._last:
            raise WrongAnswer(f"after message {self._last} came {answer!r}")
        self._last = answer["message"]

    def more(self) -> dict[str, float]:
        return {"texts": self.said}
