"""The services and what they have in common, in memory: connections on which anything may come."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from attrs import evolve, frozen
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Opcode

from protosuite.auth.guard import TokenGuard
from protosuite.auth.tokens import Identity
from protosuite.bus.server import BusService
from protosuite.bus.store import BusStore
from protosuite.bus.wire import encode_request
from protosuite.chatlog.server import ChatLogService
from protosuite.chatlog.store import ChatLogStore
from protosuite.config import BusConfig, ChatLogConfig, CounterConfig, NumbersConfig
from protosuite.counter.server import CounterService
from protosuite.counter.store import CounterStore
from protosuite.mediachat.media.folder import MediaFolder
from protosuite.mediachat.server import MediaChatService
from protosuite.mediachat.store import MediaChatStore
from protosuite.net.access import COOKIE
from protosuite.numbers.server import NumbersService
from protosuite.numbers.store import NumbersStore
from protosuite.test.bearers import KEYS
from protosuite.test.chatlog_peers import Workers
from protosuite.test.mediachat_peers import OPEN, Threads
from protosuite.test.places import Place, Take, cut, exchange
from protosuite.test.places_wire import BUS, CHATLOG, COUNTER, HEAD, MEDIACHAT, NUMBERS
from protosuite.test.web_peers import Pipe, Served, close, echo, frame, handshake, text
from protosuite.testing import database

PATIENCE = 200  # seconds by which every timeout is over
_DATE = re.compile(rb"\r\nDate: [^\r]*")
_DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate"


class _Case(SynchronousTestCase):
    """Only for its assertions."""

    def runTest(self) -> None:
        """There is nothing to run."""


def web(pieces: Sequence[bytes], compression: bool = False, opening: bytes = b"") -> object:
    """What a server of pages and an echo says to `pieces`, and what it hears."""
    served = Served(_Case(), echo, compression, max_message=5000, max_backlog=100_000)
    peer = served.connect()
    for piece in (opening, *pieces) if opening else pieces:
        peer.send(piece)
    peer.finish()
    while served.root.waiting:
        request = served.root.waiting.pop(0)
        if request.channel is not None:
            served.root.answer(request)
    served.advance(0.25)
    if not peer.pipe.lost:
        served.advance(40)
    assert peer.pipe.lost, "the connection is still there"
    served.assert_clean()
    return (
        _DATE.sub(b"", bytes(peer.pipe.sent)),
        [talk.heard for talk in served.talks],
        served.root.bodies,
        served.refusals,
    )


@frozen
class Running:
    """A service in memory. `settle` lets its threads do what there is to do."""

    service: Any
    clock: Clock
    settle: Callable[[], None] = lambda: None


def served(start: Callable[[Path], Running], *images: bytes) -> Place:
    """Where a service reads: it takes whatever comes, and lets each connection go in the end."""

    def opened(folder: Path) -> Take:
        running = start(folder)
        running.service.startService()
        running.settle()

        def take(data: bytes) -> None:
            pipe = Pipe(running.service.factory().buildProtocol(None))
            for piece in (*cut(data), None):
                pipe.arrive(piece)
                _settle(running, pipe)
            for _ in range(PATIENCE):
                if pipe.lost:
                    break
                running.clock.advance(1)
                _settle(running, pipe)
            assert pipe.lost, "the connection is still there"
            assert not running.service.connections

        return take

    return Place(opened, images, is_slow=True)


def _settle(running: Running, pipe: Pipe) -> None:
    sent = -1
    while sent != len(pipe.sent):  # what it sends may be what lets it read on
        sent = len(pipe.sent)
        running.settle()
        pipe.pump()


def _clock() -> Clock:
    clock = Clock()
    clock.advance(1_700_000_000)
    return clock


def make_numbers(folder: Path, config: NumbersConfig | None = None) -> Running:
    """The service numbers."""
    clock = _clock()
    config = config or NumbersConfig(
        max_messages=5, interval=0.01, ack_timeout=1, sweep_interval=100, session_ttl=100
    )
    store = NumbersStore(database(str(folder)), config.session_ttl)
    return Running(NumbersService(config, store, clock, Random(7), clock.seconds), clock)


def make_counter(folder: Path, config: CounterConfig | None = None) -> Running:
    """The service counter."""
    clock, store = _clock(), CounterStore(database(str(folder)))
    return Running(CounterService(config or CounterConfig(), store, clock), clock)


def make_bus(folder: Path, config: BusConfig | None = None) -> Running:
    """The service bus."""
    clock = _clock()
    config = config or BusConfig(
        max_durable_events=3, max_pending=4, max_durables=20, max_topics=50, max_message=2000
    )
    return Running(BusService(config, BusStore(database(str(folder))), clock, clock.seconds), clock)


def _chatlog(folder: Path) -> Running:
    clock, workers = _clock(), Workers(str(folder))
    config = ChatLogConfig(max_rooms=20, keep_entries=50, max_message=20_000, max_reply=20_000)
    store = ChatLogStore(workers.database, config.max_rooms)
    service = ChatLogService(config, store, clock, Random(1), clock.seconds)
    return Running(service, clock, workers.settle)


def _guarded(folder: Path) -> Running:
    """The media chat, which asks for tokens."""
    clock, threads = _clock(), Threads(str(folder))
    store, media = MediaChatStore(threads.database, 200_000), MediaFolder(folder)
    guard = TokenGuard(KEYS, threads.database, 1e9, clock, clock.seconds)
    wall = clock.seconds
    service = MediaChatService(OPEN, store, media, threads.calls, clock, Random(1), wall, guard=guard)
    return Running(service, clock, threads.settle)


def _mediachat(folder: Path) -> Running:
    clock, threads = _clock(), Threads(str(folder))
    config = evolve(OPEN, max_media=10_000, quota_per_chat=200_000, sweep_interval=1000)
    store = MediaChatStore(threads.database, config.quota_per_chat)
    media = MediaFolder(folder)
    service = MediaChatService(config, store, media, threads.calls, clock, Random(1), clock.seconds)
    return Running(service, clock, threads.settle)


def _request(line: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{line} HTTP/1.1", "Host: 127.0.0.1", *headers]
    if body or line.startswith("POST"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


_JSON = "Content-Type: application/json"
_FORM = "Content-Type: application/x-www-form-urlencoded"
_TOKEN = KEYS.sign(Identity("t", "operator", "7", 2_000_000_000), 0)
_BEARER, _COOKIE = f"Authorization: Bearer {_TOKEN}", f"Cookie: a=b; {COOKIE}={_TOKEN}"
_TEXT, _BINARY = Opcode.TEXT, Opcode.BINARY

FRAMES = (
    text("grüß") + frame(_BINARY, b"\x00\xff"),
    frame(_TEXT, b"gr\xc3", fin=False) + frame(Opcode.PING, b"p") + frame(Opcode.CONT, b"\xbc\xc3\x9f"),
    frame(_BINARY, b"x", fin=False) + frame(Opcode.CONT, b"") + close(1000, "enough"),
    frame(Opcode.PONG) + frame(_TEXT, b"\xff") + text("x"),
    frame(_BINARY, b"x" * 5001) + text("x"),
    b"\x82\xff\x7f" + b"\xff" * 7 + b"mask",
    text("x") + b"\x31\x83mask" + b"\xff" * 3,  # reserved bits, and no UTF-8 either
    frame(_TEXT, b"x" * 4990, fin=False) + frame(Opcode.CONT, b"\xff" * 20),
)
DEFLATED = (
    frame(_TEXT, b"\xca\x48\xcd\xc9\xc9\x07\x00", rsv1=True) + text("plain") + close(1000),
    frame(_TEXT, b"\xca\x48", fin=False, rsv1=True) + frame(Opcode.CONT, b"\xcd\xc9\xc9\x07\x00"),
    frame(_BINARY, b"\xc1\x00", rsv1=True) + frame(_BINARY, b"", rsv1=True),
)
REQUESTS = (
    _request("GET /") + _request("HEAD /x?y=%00&y=..") + _request("OPTIONS /"),
    _request("POST /", "Expect: 100-continue", body=b"hello") + _request("GET /slow") + _request("GET /"),
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    _request("POST /", "Content-Type: multipart/form-data; boundary=x", body=b"--x\r\n\r\n--"),
    handshake(b"Origin: http://127.0.0.1:80", b"Sec-WebSocket-Protocol: echo") + text("hi") + close(1000),
    _request("GET /") + handshake(_DEFLATE, start=b"GET /slow HTTP/1.1") + text("early"),
)
_ROOM = handshake(start=b"GET /rooms/r HTTP/1.1")
_CHAT = handshake(start=b"GET /ws/7 HTTP/1.1")

PLACES: dict[str, Place] = {
    "websocket": exchange(lambda pieces: web(pieces, opening=handshake()), *FRAMES),
    "websocket-deflate": exchange(lambda pieces: web(pieces, True, handshake(_DEFLATE)), *DEFLATED, *FRAMES),
    "http": exchange(web, *REQUESTS),
    "numbers-service": served(make_numbers, *NUMBERS),
    "counter-service": served(make_counter, *COUNTER),
    "bus-service": served(make_bus, b"".join(map(encode_request, BUS)), *map(encode_request, BUS)),
    "chatlog-service": served(
        _chatlog,
        _ROOM + b"".join(frame(_TEXT, message) for message in CHATLOG) + close(1000),
        _ROOM + frame(_TEXT, CHATLOG[0]) * 3 + frame(_BINARY, b"x") + frame(Opcode.PING, b"p"),
        _request("GET /") + _request("GET /assets/x") + _request("GET /rooms/%2e%2e"),
    ),
    "mediachat-service": served(
        _mediachat,
        _CHAT + text("Europe/Paris") + text("hello") + frame(_BINARY, MEDIACHAT[5]) + frame(_BINARY, b"ab"),
        _CHAT + b"".join(frame(_TEXT, each) for each in MEDIACHAT[1:4]) + frame(_BINARY, HEAD) + close(1000),
        _request("POST /chats/1/messages", _JSON, body=b'{"text":"hi","key":"k"}') + _request("GET /chats"),
        _request("POST /chats/1/media?name=a.png&kind=image", body=b"\x89PNG\r\n\x1a\n" + bytes(20))
        + _request("GET /messages?chat_id=1&limit=5&before=9"),
        _request("GET /media/1", "Range: bytes=0-1,3-4") + _request("POST /chats/1/read", _JSON, body=b"{}"),
        handshake(start=b"GET /console/ws HTTP/1.1") + text("x") + close(1000),
    ),
    "login": served(
        _guarded,
        _request("GET /console?a=b", "Accept: text/html") + _request("GET /whoami", _COOKIE),
        _request("POST /login", _FORM, body=f"token={_TOKEN}&next=%2Fconsole".encode()),
        _request("POST /login", _JSON, body=f'{{"token":"{_TOKEN}","next":"//x"}}'.encode()),
        _request("GET /chats", _BEARER) + _request("POST /logout", _COOKIE, "Sec-Fetch-Site: same-origin"),
        handshake(_COOKIE.encode(), b"Origin: http://127.0.0.1:80", start=b"GET /console/ws HTTP/1.1"),
    ),
}
