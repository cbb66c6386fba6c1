"""Sends a service what strangers might: ``SERVICE PORT SEED COUNT``.

Each connection says some good things, then a bad one, closes its side and reads until the server has closed.
In the end it prints how many inputs that were, and over how many connections. It is a process of its own,
and not on a reactor, so that it is not slower than what it attacks.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import sys
from collections.abc import Callable, Sequence
from random import Random

from websockets.frames import Frame, Opcode

from protosuite.bus.wire import encode_request as encode_bus
from protosuite.counter.wire import encode_request as encode_counter
from protosuite.numbers import wire as numbers
from protosuite.test.mutation import VALUES, conversation, misfilled, mutated
from protosuite.test.places_served import FRAMES, REQUESTS
from protosuite.test.places_wire import BUS, CHATLOG, COUNTER, HEAD, MEDIACHAT, NUMBERS
from protosuite.test.web_peers import handshake
from protosuite.testing import decoded

AT_ONCE = 20
MANY = 40  # inputs of a connection, where a bad one does not end it

STARTS = tuple(image.split(b"\n")[0].strip() for image in NUMBERS)

# How many inputs are read of it, what is sent, and what besides when the server has said something.
Attack = tuple[int, bytes, bytes]


def _numbers(chance: Random) -> Attack:
    if chance.random() < 0.2:
        return _stream(chance)
    # The first line that is bad is the last that is read, and the second at the latest.
    first = misfilled(chance.choice(STARTS), chance) + b"\n" if chance.random() < 0.5 else b""
    lines = first + conversation(NUMBERS, chance) + b"\n\n"
    return min(2, len(decoded(numbers.Decoder(numbers.CLIENT_MESSAGES), lines))), lines, b""


def _stream(chance: Random) -> Attack:
    """A stream that begins, often somebody else's, and acknowledgements with all sorts of other fields."""
    start = numbers.encode(numbers.Start(f"n{chance.randrange(300)}", 3))
    acks = [
        json.dumps({"type": "ack", "index": 0, chance.choice("abc"): chance.choice(VALUES)}).encode()[:1000]
        for _ in range(MANY)
    ]
    last = mutated(NUMBERS[0], NUMBERS, chance)
    return MANY + 2, start, b"\n".join([*acks, last, b"", b""])


def _counter(chance: Random) -> Attack:
    frames = [encode_counter(chance.randrange(5)) for _ in range(MANY)]
    return MANY + 1, b"".join([*frames, mutated(COUNTER[1], COUNTER, chance)]), b""


def _bus(chance: Random) -> Attack:
    bodies = [body.SerializeToString() for body in BUS]
    pieces = []
    for _ in range(MANY):
        number = chance.randrange(len(BUS))
        tag = encode_bus(BUS[number])[:1]
        body = mutated(bodies[number], bodies, chance)
        pieces.append(tag + bytes([len(body) & 0x7F | 0x80, len(body) >> 7 & 0x7F]) + body)
    return MANY + 1, b"".join([*pieces, mutated(encode_bus(chance.choice(BUS)), pieces, chance)]), b""


def _chatlog(chance: Random) -> Attack:
    frames = [_text(_object(CHATLOG, chance)) for _ in range(MANY)]
    last = mutated(chance.choice(FRAMES), FRAMES, chance)
    return MANY + 1, b"".join([handshake(start=b"GET /rooms/main HTTP/1.1"), *frames, last]), b""


def _mediachat(chance: Random) -> Attack:
    if chance.random() < 0.5:
        return _requests(chance)
    frames = [_text(_object(MEDIACHAT[2:4], chance)) for _ in range(MANY)]
    door = handshake(start=b"GET /ws/%d HTTP/1.1" % chance.randrange(1, 9))
    last = Frame(Opcode.BINARY, mutated(HEAD, MEDIACHAT, chance)).serialize(mask=True)
    return MANY + 2, b"".join([door, _text(MEDIACHAT[1]), *frames, last]), b""


def _requests(chance: Random) -> Attack:
    pieces = []
    for _ in range(MANY // 2):
        target = _target((b"/chats/1/messages", b"/chats/1/read", b"/chats/1/media?name=a&kind=file"), chance)
        body = _object((b'{"text":"hi","key":"k","upto":3}',), chance)
        headers = b"Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d" % len(body)
        pieces.append(b"POST %s HTTP/1.1\r\n%s\r\n\r\n%s" % (target, headers, body))
        target = _target((b"/chats?after=1.1", b"/messages?chat_id=1&limit=2", b"/media/1"), chance)
        pieces.append(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes=0-\r\n\r\n" % target)
    return len(pieces) + 1, b"".join([*pieces, mutated(chance.choice(REQUESTS), REQUESTS, chance)]), b""


def _admin(chance: Random) -> Attack:
    targets = (b"/healthz", b"/readyz", b"/metrics", b"/status", b"/live", b"/", b"/assets/base.css")
    pieces = [b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % _target(targets, chance) for _ in range(MANY)]
    return MANY + 1, b"".join([*pieces, mutated(chance.choice(REQUESTS), REQUESTS, chance)]), b""


def _target(targets: Sequence[bytes], chance: Random) -> bytes:
    """What a request asks for: no byte of it ends its line."""
    changed = mutated(chance.choice(targets), targets, chance)
    return b"/" + bytes(byte for byte in changed[1:500] if 0x21 <= byte < 0x7F)


def _object(images: Sequence[bytes], chance: Random) -> bytes:
    """A JSON object with a field that may be wrong, or what is nearly one."""
    image = chance.choice(images)
    return misfilled(image, chance) if chance.random() < 0.5 else mutated(image, images, chance)


def _text(data: bytes) -> bytes:
    return Frame(Opcode.TEXT, data.decode(errors="ignore").encode()).serialize(mask=True)


ATTACKS: dict[str, Callable[[Random], Attack]] = {
    "numbers": _numbers,
    "counter": _counter,
    "bus": _bus,
    "chatlog": _chatlog,
    "mediachat": _mediachat,
    "admin": _admin,
}


class Connection:
    """One attack on its way."""

    def __init__(self, port: int, inputs: int, first: bytes, then: bytes) -> None:
        self.inputs = inputs
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", port))
        self._unsent = first
        self._then = then

    @property
    def waits_for(self) -> int:
        """What it can go on with."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)

    def go_on(self) -> bool:
        """Read and write what can be; False when the server has closed."""
        try:
            if self._read() == b"":
                return False
            if self._unsent:
                self._write()
        except ConnectionError:
            return False
        return True

    def _read(self) -> bytes | None:
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return None
        if data and self._then:
            self._unsent, self._then = self._unsent + self._then, b""
        return data

    def _write(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._unsent = self._unsent[self.socket.send(self._unsent) :]
        if not self._unsent and not self._then:
            self.socket.shutdown(socket.SHUT_WR)


class Attacker:
    """Connections to one port, some at once, each with one attack of a service."""

    def __init__(self, service: str, port: int, seed: int, count: int) -> None:
        self.inputs = 0
        self.connections = 0
        self._count = count
        self._port = port
        self._attack = ATTACKS[service]
        self._chance = Random(seed)
        self._selector = selectors.DefaultSelector()
        self._open = 0

    def run(self) -> None:
        """Go on until so many inputs have been sent, and all connections are closed."""
        for _ in range(AT_ONCE):
            self._begin()
        while self._open:
            for key, _ in self._selector.select():
                connection: Connection = key.data
                waited_for = connection.waits_for
                if not connection.go_on():
                    self._selector.unregister(connection.socket)
                    connection.socket.close()
                    self._open -= 1
                    self._begin()
                elif connection.waits_for != waited_for:
                    self._selector.modify(connection.socket, connection.waits_for, connection)

    def _begin(self) -> None:
        if self.inputs < self._count:
            connection = Connection(self._port, *self._attack(self._chance))
            self.inputs += connection.inputs
            self.connections += 1
            self._open += 1
            self._selector.register(connection.socket, connection.waits_for, connection)


def main(service: str, port: str, seed: str, count: str) -> None:
    """Attack."""
    attacker = Attacker(service, int(port), int(seed), int(count))
    attacker.run()
    print(f"{attacker.inputs} inputs over {attacker.connections} connections")


if __name__ == "__main__":
    main(*sys.argv[1:])
