"""Loads on rooms and chats over WebSocket: what is said is stored, and the answer says so."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any

from benchmarks.loads.asking import Conversation
from benchmarks.loads.measuring import WrongAnswer
from benchmarks.loads.websocket import CLOSE, PING, PONG, TEXT, Frames, frame, handshake


class _Speaker(Conversation):
    """A WebSocket whose answers are JSON objects."""

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
        pongs, self._pongs = self._pongs, b""
        messages = [frame(self.message(self.said + turn)) for turn in range(self.depth)]
        self.said += self.depth
        return pongs + b"".join(messages)

    def message(self, number: int) -> bytes:
        """The text of a message."""
        raise NotImplementedError

    def answers(self, data: bytes) -> int:
        count = 0
        for opcode, payload in self._frames.feed(data):
            if opcode == PING:
                self._pongs += frame(payload, PONG)
            elif opcode == TEXT and self.is_answer(payload):
                self.check(json.loads(payload), self.said - self.due + count)
                count += 1
            elif opcode == CLOSE:
                raise WrongAnswer(f"the server closed a WebSocket: {payload!r}")
        return count

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
        content = "x" * options["content"]
        self._text = f'{{"type":"ClientAppend","seq":%d,"author":"ana","content":"{content}"}}'
        self._wanted = {"author": "ana", "content": content}
        self._is_gapless: bool = options.get("gapless", False)
        self._name: str = options.get("name", "bench")
        self._slot = 0

    def path(self) -> str:
        return f"/rooms/{self._name}-{self.number}"

    def message(self, number: int) -> bytes:
        return (self._text % number).encode()

    def check(self, answer: dict[str, Any], number: int) -> None:
        entry = answer.get("entry", {})
        slot = entry.get("slot", 0)
        if answer.get("type") != "ServerAck" or not entry.items() >= {**self._wanted, "seq": number}.items():
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
        self._text = self._text.replace('"ana"', f'"{author}"')
        self._wanted["author"] = author
        self._mark = f'"author":"{author}"'.encode()

    def path(self) -> str:
        return "/rooms/bench"

    def is_answer(self, payload: bytes) -> bool:
        return self._mark in payload


class Texts(_Speaker):
    """Text messages of a client of a media chat."""

    def __init__(self, options: Mapping[str, Any], number: int) -> None:
        super().__init__(options, number)
        self._filling = "x" * (options["content"] - 20)
        self._last = 0

    def path(self) -> str:
        return f"/ws/{self.number + 1}"

    def open(self, connection: socket.socket) -> None:
        super().open(connection)
        connection.sendall(frame(b"UTC"))

    def message(self, number: int) -> bytes:
        return f"text {number:14d} {self._filling}".encode()

    def check(self, answer: dict[str, Any], number: int) -> None:
        if answer.get("status") != "saved" or answer.get("message", 0) <= self._last:
            raise WrongAnswer(f"after message {self._last} came {answer!r}")
        self._last = answer["message"]

    def more(self) -> dict[str, float]:
        return {"texts": self.said}
