"""Connections that ask and wait: each writes a batch of requests, reads all answers, and again."""

from __future__ import annotations

import select
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.loads.measuring import Report, Window, WrongAnswer

_CHUNK = 1 << 16  # bytes that are read at once
_BATCH = 1 << 20  # bytes that can be sent at once; the system may allow less
_SILENCE = 60.0  # seconds without any answer after which the server is given up


class Conversation:
    """One connection. A subclass makes its requests and checks the answers."""

    def __init__(self, options: Mapping[str, Any], number: int) -> None:
        self.depth: int = options["depth"]
        self.number = number
        self.due = 0
        self.sent_at = 0.0

    def open(self, connection: socket.socket) -> None:
        """What comes before the first request; the socket blocks."""

    def request(self) -> bytes:
        """The next `depth` requests."""
        raise NotImplementedError

    def answers(self, data: bytes) -> int:
        """How many answers `data` completes; :exc:`WrongAnswer` if one is wrong."""
        raise NotImplementedError

    def more(self) -> dict[str, float]:
        """What there is to tell besides; it is added up over all connections."""
        return {}


class Asking:
    """Drives `conversations`, which may be of any protocol, for so many seconds after a warm-up."""

    def __init__(self, port: int, conversations: Sequence[Conversation], seconds: float) -> None:
        self._seconds = seconds
        self._conversations = conversations
        self._sockets = [connect(port) for _ in conversations]
        for conversation, connection in zip(conversations, self._sockets, strict=True):
            conversation.open(connection)
            connection.setblocking(False)

    def run(self) -> Report:
        """Ask until the time is over and every answer has come."""
        window = Window(self._seconds)
        self._ask(window)
        more: Counter[str] = Counter()
        for conversation in self._conversations:
            more.update(conversation.more())
        report = window.report(self._conversations[0].depth, more)
        for connection in self._sockets:
            connection.close()
        return report

    def _ask(self, window: Window) -> None:
        clock = time.monotonic
        poll = select.epoll()
        speakers = {}
        for conversation, connection in zip(self._conversations, self._sockets, strict=True):
            speakers[connection.fileno()] = (conversation, connection.recv, connection.send)
            poll.register(connection.fileno(), select.EPOLLIN)
            _ask_again(conversation, connection.send, clock())
        while speakers:
            for number in ready(poll):
                conversation, receive, send = speakers[number]
                if not _is_answered(conversation, receive(_CHUNK)):
                    continue
                now = clock()
                window.add(now, conversation.sent_at)
                if window.is_over(now):
                    poll.unregister(number)
                    del speakers[number]
                else:
                    _ask_again(conversation, send, now)


def _is_answered(conversation: Conversation, data: bytes) -> bool:
    """Whether `data` completes what was asked for."""
    if not data:
        raise WrongAnswer("the server closed a connection")
    conversation.due -= conversation.answers(data)
    if conversation.due < 0:
        raise WrongAnswer("an answer that nobody asked for")
    return conversation.due == 0


def _ask_again(conversation: Conversation, send: Any, now: float) -> None:
    request = conversation.request()
    conversation.due = conversation.depth
    conversation.sent_at = now
    if send(request) != len(request):  # all before has been answered, so the buffer was empty
        raise WrongAnswer(f"a batch of {len(request)} bytes is more than the system takes at once")


def ready(poll: select.epoll) -> list[int]:
    """The descriptors that have something to read, of which there must be one before long."""
    found = [number for number, _ in poll.poll(_SILENCE)]
    if not found:
        raise WrongAnswer(f"nothing came for {_SILENCE:g} s")
    return found


def connect(port: int) -> socket.socket:
    """A connection that sends at once what it is given."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=_SILENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BATCH)
    return connection


def exactly(connection: socket.socket, size: int) -> bytes:
    """The next `size` bytes."""
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise WrongAnswer("the server closed a connection")
        data += piece
    return bytes(data)
