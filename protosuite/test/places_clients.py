"""The clients of all services, in memory: a server that says anything."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from websockets.frames import Frame, Opcode
from websockets.utils import accept_key

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.client import BusClientFactory
from protosuite.bus.wire import encode_reply
from protosuite.chatlog.client import ChatLogClientFactory
from protosuite.counter.client import CounterClientFactory
from protosuite.counter.wire import encode_replies
from protosuite.mediachat.client import MediaChatClientFactory
from protosuite.mediachat.saving import SaveFolder, StateFile
from protosuite.net.websocket import Limits
from protosuite.net.websocket_client import WebSocketClient
from protosuite.numbers.client import NumbersClientFactory
from protosuite.numbers.sequence import Progress, checksum, value
from protosuite.numbers.wire import End, Error, Message, Number, SessionOpened, encode
from protosuite.test.places import Place, Take, as_json, cut, exchange
from protosuite.test.places_wire import BUS_ANSWERS, CHATLOG_ANSWERS, MEDIACHAT_ANSWERS
from protosuite.test.web_peers import KEY, Pipe, Recorder

UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + accept_key(KEY.decode()).encode() + b"\r\nSec-WebSocket-Protocol: %s\r\n\r\n"
)


def _connected(client: Any) -> Pipe:
    """A connection of `client`. One that speaks WebSocket has sent its key: the same each time."""
    pipe = Pipe(client)
    pipe.pump()
    if isinstance(client, WebSocketClient):
        client._rules.key = KEY.decode()
    return pipe


def websocket(pieces: Sequence[bytes]) -> object:
    """What a client of WebSockets hears of a server that says `pieces`."""
    clock, talk = Clock(), Recorder()
    client = WebSocketClient("ws://127.0.0.1/", "echo", clock, Limits(max_message=5000), talk)
    pipe = _connected(client)
    for piece in pieces:
        pipe.arrive(piece)
    pipe.arrive(None)
    clock.pump([1] * 60)
    pipe.pump()
    assert pipe.lost, "the connection is still there"
    assert not clock.getDelayedCalls(), "a timer is left"
    # How much of a line that is too long has come by then is no promise.
    return talk.heard, re.sub(r"read \d+ bytes", "", client.refusal)


def client(begin: Callable[[Path, Clock], Any], upgrade: bytes, *images: bytes) -> Place:
    """Where the client of a service reads. `upgrade` is the subprotocol of its WebSocket, if it has one."""

    def opened(folder: Path) -> Take:
        def take(data: bytes) -> None:
            clock = Clock()
            factory = begin(folder, clock)
            pipe = _connected(factory.buildProtocol(None))
            if upgrade:
                pipe.arrive(UPGRADED % upgrade)
            for piece in cut(data):
                pipe.arrive(piece)
                clock.pump([1] * 3)
                pipe.pump()
            pipe.arrive(None)
            pipe.pump()
            (factory.stop if hasattr(factory, "stop") else factory.close)()
            clock.pump([1] * 30)
            pipe.pump()
            assert pipe.lost, "the connection is still there"
            assert not clock.getDelayedCalls(), "a timer is left"

        return take

    return Place(opened, images, is_slow=True)


def _unheard(*outcomes: Deferred[Any]) -> None:
    """Whatever becomes of these is right."""
    for outcome in outcomes:
        outcome.addErrback(lambda _: None)


def _numbers(folder: Path, clock: Clock) -> NumbersClientFactory:
    factory = NumbersClientFactory("ana", clock, random=Random(1), progress=Progress())
    _unheard(factory.result)
    return factory


def _counter(folder: Path, clock: Clock) -> CounterClientFactory:
    factory = CounterClientFactory(clock, random=Random(1))
    _unheard(factory.increment(1), factory.increment(2), factory.get())
    return factory


def _bus(folder: Path, clock: Clock) -> BusClientFactory:
    factory = BusClientFactory(clock, random=Random(1))
    _unheard(factory.echo("x"), factory.add(1, 2), factory.publish("a", b"p"))
    for pattern, durable in (("a.#", ""), ("#", "d")):
        _unheard(factory.subscribe(pattern, lambda event: None, durable=durable).when_ready())
    return factory


def _chatlog(folder: Path, clock: Clock) -> ChatLogClientFactory:
    factory = ChatLogClientFactory(
        clock, "ws://127.0.0.1/rooms/r", lambda change: None, keep=10, random=Random(1)
    )
    _unheard(factory.append("ana", "x"), factory.append("ana", "y"), factory.update(3), factory.read(2, 5))
    return factory


def _mediachat(folder: Path, clock: Clock) -> MediaChatClientFactory:
    saved = folder / "saved"
    shutil.rmtree(saved, ignore_errors=True)
    (folder / "state.json").unlink(missing_ok=True)
    factory = MediaChatClientFactory(
        clock,
        "ws://127.0.0.1/ws/7",
        execute,
        lambda message: None,
        timezone="Europe/Paris",
        folder=SaveFolder(saved),
        state=StateFile(folder / "state.json", 7),
        random=Random(1),
    )
    _unheard(factory.done, factory.say("hello"))
    return factory


def _said(*texts: bytes) -> bytes:
    """What a server says over a WebSocket."""
    return b"".join(Frame(Opcode.TEXT, text).serialize(mask=False) for text in texts)


def _sent(*pieces: bytes) -> bytes:
    return b"".join(Frame(Opcode.BINARY, piece).serialize(mask=False) for piece in pieces)


_CLOSE = Frame(Opcode.CLOSE, b"\x03\xe9bye").serialize(mask=False)
_SEED = 5
ANSWERS: Sequence[Message] = (
    SessionOpened("ana", 2, 0, 5),
    *(Number(index, value(_SEED, index)) for index in range(2)),
    End(2, checksum(_SEED, 2)),
)
STREAM = b"".join(map(encode, ANSWERS))
_PICTURE = b"\x89PNG"
_WELCOME = as_json(type="welcome", chat=1, after=0, hours={"text": {"hours": "always", "open": True}})
_FILE = as_json(
    type="media",
    id=4,
    name="../a.png",
    kind="image",
    size=4,
    sha256=sha256(_PICTURE).hexdigest(),
    url="/media/4",
    at=1,
)

BUS_CLIENT = (  # what its requests are answered with, in order
    pb.EchoMessage(),
    pb.EchoMessage(),
    pb.EchoMessage(content="x"),
    pb.AddResponse(result=3),
    pb.Receipt(id=1, sequence=1),
    pb.Event(topic="a.b", payload=b"p", sequence=3, delivery=4, pattern="#"),
    pb.Event(topic="a.b", payload=b"p", sequence=3, pattern="a.#"),
)

PLACES: dict[str, Place] = {
    "websocket-client": exchange(
        websocket,
        UPGRADED % b"echo" + _said("grüß".encode()) + _sent(b"x") + _CLOSE,
        UPGRADED % b"echo" + b"\x01\x01a\x89\x00\x80\x01b" + _CLOSE,
        UPGRADED % b"other" + _said(b"x"),
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot there",
    ),
    "numbers-client": client(_numbers, b"", STREAM, encode(Error("bad-json", "m")), STREAM[:-40] * 2),
    "counter-client": client(_counter, b"", encode_replies([1, 3, 3]), encode_replies([1, 3, 3, 4])),
    "bus-client": client(_bus, b"", b"".join(map(encode_reply, BUS_CLIENT)), *map(encode_reply, BUS_ANSWERS)),
    "chatlog-client": client(
        _chatlog,
        b"chatlog.v1",
        *map(_said, CHATLOG_ANSWERS),
        _said(*CHATLOG_ANSWERS, *CHATLOG_ANSWERS) + _CLOSE,
    ),
    "mediachat-client": client(
        _mediachat,
        b"mediachat.v1",
        *(_said(_WELCOME, answer) for answer in MEDIACHAT_ANSWERS),
        _said(_WELCOME, _FILE) + _sent(_PICTURE[:3], _PICTURE[3:]) + _said(*MEDIACHAT_ANSWERS) + _CLOSE,
    ),
}
