"""The client's side of WebSocket, as little as a load needs."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from benchmarks.loads.measuring import WrongAnswer

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

_KEY, _ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # of RFC 6455, 1.3
_HEADS = {126: 4, 127: 10}  # bytes before a server's payload, by the second of them; otherwise 2
_NO_MASK = bytes(4)  # a mask of zeros is one: what it masks need not be computed


def handshake(connection: socket.socket, port: int, path: str) -> None:
    """Open a WebSocket."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {_KEY}",
        "Sec-WebSocket-Version: 13",
    ]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):  # byte by byte: what comes behind it is left where it is
        byte = connection.recv(1)
        if not byte:
            raise WrongAnswer(f"no WebSocket at {path}: {bytes(head)!r}")
        head += byte
    if not head.startswith(b"HTTP/1.1 101 ") or _ACCEPT not in head:
        raise WrongAnswer(f"no WebSocket at {path}: {bytes(head)!r}")


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A whole message as a client sends it."""
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", 0x80 | opcode, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, size)
    return head + _NO_MASK + payload


class Numbered:
    """Frames of texts that are `before`, a number as `form` writes it, and `after`.

    All but the number is put together beforehand: 0.4 µs a frame, and 1.6 otherwise.
    """

    def __init__(self, before: bytes, form: bytes, after: bytes) -> None:
        self._before, self._form, self._after = before, form, after
        self._heads: dict[int, bytes] = {}  # what comes before the number, by its length

    def frame(self, number: int) -> bytes:
        """The frame with this number."""
        digits = self._form % number
        head = self._heads.get(len(digits))
        if head is None:
            rest = digits + self._after
            head = self._heads[len(digits)] = frame(self._before + rest)[: -len(rest)]
        return head + digits + self._after


def only_text(data: bytes) -> bytes | None:
    """The payload, if `data` is one text frame of a server and nothing else; None if it may be anything."""
    if data[:1] != b"\x81" or frame_end(data, 0) != len(data):
        return None
    return data[_HEADS.get(data[1], 2) :]


class Frames:
    """Bytes from a server in, whole frames out."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The opcode and payload of each frame that `data` completes; the iterator is to be used up."""
        if self.rest:
            data, self.rest = self.rest + data, b""
        at = 0
        while at < len(data):
            end = frame_end(data, at)
            if end is None:
                break
            head = at + _HEADS.get(data[at + 1], 2)
            yield data[at] & 15, data[head:end]
            at = end
        self.rest = data[at:]


def frame_end(data: bytes | bytearray, at: int) -> int | None:
    """Where the server's frame that begins at `at` ends; None if that has not come."""
    if len(data) < at + 2:
        return None
    size, head = data[at + 1], 2
    if size == 126:
        size, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
    elif size == 127:
        size, head = int.from_bytes(data[at + 2 : at + 10], "big"), 10
    end = at + head + size
    return end if len(data) >= max(end, at + head) else None


def next_text(connection: socket.socket, frames: Frames) -> bytes:
    """The next message, which must be text; the socket blocks."""
    while True:
        data = connection.recv(1 << 16)
        if not data:
            raise WrongAnswer("the server closed a connection")
        for opcode, payload in frames.feed(data):
            if opcode != TEXT:
                raise WrongAnswer(f"not a text: {opcode} {payload!r}")
            return payload
