"""Media, both ways: large files over a few connections, each in a thread, for they wait in system calls."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.loads.asking import connect
from benchmarks.loads.measuring import Report, Stopwatch, WrongAnswer
from benchmarks.loads.websocket import BINARY, PING, PONG, Frames, frame, handshake

MIB = 1 << 20
_FRAME = MIB // 4


class Transfers:
    """Runs each of these to its end, all at once; a transfer gives the bytes that it moved."""

    def __init__(self, transfers: Sequence[Callable[[], int]]) -> None:
        self._transfers = transfers

    def run(self) -> Report:
        """The answers are MiB."""
        watch = Stopwatch()
        with ThreadPoolExecutor(len(self._transfers)) as pool:
            moved = sum(pool.map(lambda transfer: transfer(), self._transfers))
        return Report(moved / MIB, watch.seconds(), watch.busy(), moved / MIB)


def content(number: int, size: int) -> bytes:
    """The bytes of file `number`, like no other's."""
    block = random.Random(number).randbytes(MIB)
    return (block * (size // MIB + 1))[: size - 8] + number.to_bytes(8, "big")


def upload(port: int, number: int, size: int) -> Callable[[], int]:
    """A client of mediachat.v1 that sends file `number`; all is encoded before it begins."""
    connection = connect(port)
    handshake(connection, port, f"/ws/{number + 1}")
    connection.sendall(frame(b"UTC"))
    data = content(number, size)
    head = {"name": f"file {number}", "size": size, "kind": "file"}
    frames = [frame(json.dumps(head).encode(), BINARY)]
    frames += [frame(data[at : at + _FRAME], BINARY) for at in range(0, size, _FRAME)]
    return partial(_upload, connection, frames, size)


def _upload(connection: socket.socket, frames: list[bytes], size: int) -> int:
    for each in frames:
        connection.sendall(each)
    received = Frames()
    while data := connection.recv(1 << 16):
        for opcode, payload in received.feed(data):
            if opcode == PING:
                connection.sendall(frame(payload, PONG))
            elif json.loads(payload).get("status") == "saved":
                connection.close()
                return size
            else:
                raise WrongAnswer(f"an upload became {payload!r}")
    raise WrongAnswer("the server closed a connection")


def download(port: int, path: str, source: Path) -> Callable[[], int]:
    """A client of HTTP that gets a file and holds every byte of it against `source`."""
    connection = connect(port)
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
    wanted = source.read_bytes()
    blocks = [wanted[at : at + MIB] for at in range(0, len(wanted), MIB)]
    return partial(_download, connection, request, blocks)


def _download(connection: socket.socket, request: bytes, blocks: list[bytes]) -> int:
    connection.sendall(request)
    size = sum(map(len, blocks))
    _check_head(connection, size)
    buffer = bytearray(MIB)
    for number, block in enumerate(blocks):
        view, filled = memoryview(buffer)[: len(block)], 0
        while filled < len(block):
            count = connection.recv_into(view[filled:])
            if not count:
                raise WrongAnswer("the server closed a connection within a file")
            filled += count
        if buffer[: len(block)] != block:
            raise WrongAnswer(f"MiB {number} of a file is not what was stored")
    connection.close()
    return size


def _check_head(connection: socket.socket, size: int) -> None:
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            break
        head += byte
    if not head.startswith(b"HTTP/1.1 200 ") or b"\r\ncontent-length: %d\r\n" % size not in head.lower():
        raise WrongAnswer(f"to a request for a file came {bytes(head)!r}")
