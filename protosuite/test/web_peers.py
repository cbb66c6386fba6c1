"""A server of HTTP and WebSockets, and peers that do what browsers do not, in memory and with a `Clock`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request
from websockets.extensions import Extension
from websockets.frames import Close, Frame, Opcode
from websockets.streams import StreamReader
from zope.interface import directlyProvides

from protosuite.config import ChatLogConfig
from protosuite.figures import Traffic
from protosuite.net.frame_receiver import FrameReceiver
from protosuite.net.handshake import Terms, upgrade, wants_upgrade
from protosuite.net.web import Website
from protosuite.net.websocket import GOING_AWAY, Limits, WebSocket

CHUNK = 1 << 16  # bytes in a transport before it asks its producer to stop, as in Twisted
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
CLOSE_TIMEOUT = 5
REQUEST_TIMEOUT = 10
IDLE_TIMEOUT = 30


class Pipe:
    """A TCP transport: what is written waits in `pieces`, at the longest while the peer does not read."""

    def __init__(self, protocol: Any, host: str = "127.0.0.1") -> None:
        self.protocol = protocol
        self.host = host
        self.peer_reads = True
        self.sent = bytearray()  # what the peer has got
        self.eof_sent = False  # the peer has seen the end
        self.lost = False
        self.aborted = False
        self.reading = True
        self.expected = 0
        self.at_once = 0  # bytes that it says it receives: whatever comes is as much, and more may be there
        self.producer: Any = None
        self.pieces: list[bytes] = []
        self._blocked = False
        self._arrived: deque[bytes | None] = deque()
        self._closing = False
        self._half_closing = False
        directlyProvides(self, ITCPTransport, IPushProducer, IConsumer)
        protocol.makeConnection(self)

    def expect(self, size: int) -> int:
        """How a transport of the suite is told what is coming."""
        self.expected = size
        return self.at_once

    # The peer.

    def arrive(self, data: bytes | None) -> None:
        """Bytes from the peer, or its half-close."""
        self._arrived.append(data)
        self.pump()

    def pump(self) -> None:
        """Carry bytes both ways until nothing moves."""
        while not self.lost and (self._pump_in() or self._pump_out()):
            pass

    def take_once(self) -> None:
        """The peer reads what is here now, and no more."""
        self.sent += b"".join(self.pieces)
        self.pieces.clear()
        self._blocked = False
        self.producer.resumeProducing()

    def _pump_in(self) -> bool:
        if self.aborted:
            self.lose(ConnectionAborted())
            return True
        if not self._arrived or not self.reading or self._closing:
            return False
        data = self._arrived.popleft()
        if data is not None:
            self.protocol.dataReceived(data)
        elif IHalfCloseableProtocol.providedBy(self.protocol):
            self.reading = False
            self.protocol.readConnectionLost()
        else:
            self.lose(ConnectionDone())
        return True

    def _pump_out(self) -> bool:
        if self.pieces and not self.peer_reads:
            return False
        if self.pieces:
            self.sent += b"".join(self.pieces)
            self.pieces.clear()
        elif not (self._blocked or self._closing or (self._half_closing and not self.eof_sent)):
            return False
        if self._blocked:
            self._blocked = False
            if self.producer is not None:
                self.producer.resumeProducing()
        elif self._closing:
            self.lose(ConnectionDone())
        elif self._half_closing and not self.eof_sent:
            self.eof_sent = True
            self.protocol.writeConnectionLost()
        return True

    def lose(self, error: Exception) -> None:
        """The connection is gone."""
        if not self.lost:
            self.lost = True
            producer, self.producer = self.producer, None
            if producer is not None:
                producer.stopProducing()
            self.protocol.connectionLost(Failure(error))

    # ITransport and friends.

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError("only bytes can be written")
        if data and not self.lost and not self.eof_sent:
            self.pieces.append(data)
            if self.producer is not None and sum(map(len, self.pieces)) > CHUNK:
                self._blocked = True
                self.producer.pauseProducing()

    def writeSequence(self, pieces: list[bytes]) -> None:
        self.write(b"".join(pieces))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self.producer is not None:
            raise RuntimeError("there is a producer")
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        if not self.lost and not self._closing:
            self.reading = True

    def loseWriteConnection(self) -> None:
        self._half_closing = True

    def loseConnection(self) -> None:
        if self.eof_sent:
            self.lose(ConnectionDone())
        self._closing = True

    def abortConnection(self) -> None:
        self.aborted = True

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", self.host, 40000)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 80)

    def setTcpNoDelay(self, on: bool) -> None:
        """As TCP."""


class Recorder:
    """A talk that writes down what it is told, and may do something about it."""

    def __init__(self, then: Callable[[Recorder, str, Any], None] | None = None) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.pieces: list[bytes] = []  # of messages that came in pieces
        self.socket: Any = None
        self._then = then

    def _hear(self, what: str, *more: Any) -> None:
        self.heard.append((what, *more))
        if self._then is not None:
            self._then(self, what, more[0] if more else None)

    def began(self, socket: WebSocket) -> None:
        self.socket = socket
        self._hear("began")

    def text(self, text: str) -> None:
        self._hear("text", text)

    def binary(self, data: bytes) -> None:
        self._hear("binary", data)

    def stopping(self) -> None:
        self.socket.close(*GOING_AWAY)

    def drained(self) -> None:
        self._hear("drained")

    def ended(self, code: int, reason: str) -> None:
        self._hear("ended", code, reason)

    @property
    def messages(self) -> list[Any]:
        """What came, as str and bytes."""
        return [event[1] for event in self.heard if event[0] in ("text", "binary")]

    @property
    def code(self) -> int | None:
        """What it ended with."""
        return next((event[1] for event in self.heard if event[0] == "ended"), None)


class Piecemeal(Recorder):
    """One that takes binary messages of some sizes as they come, and hears of each when it is whole."""

    def __init__(
        self,
        then: Callable[[Recorder, str, Any], None] | None = None,
        takes: Callable[[int], bool] = lambda size: True,
    ) -> None:
        super().__init__(then)
        self._takes = takes
        self._size = 0
        self._begun: list[bytes] = []
        self.spare = 0  # bytes that a thread may receive
        self.lent: list[tuple[FrameReceiver, Callable[[], None]]] = []

    def began(self, socket: WebSocket) -> None:
        super().began(socket)
        socket.take_pieces(self)

    def takes(self, size: int) -> bool:
        if not self._takes(size):
            return False
        self._size, self._begun = size, []
        return True

    def piece(self, data: bytes) -> None:
        self.pieces.append(data)
        self._begun.append(data)
        if sum(map(len, self._begun)) == self._size:
            self._hear("binary", b"".join(self._begun))
        elif self._then is not None:
            self._then(self, "piece", data)

    def most(self) -> int:
        return self.spare

    def receive(self, receiver: FrameReceiver, done: Callable[[], None]) -> None:
        self.lent.append((receiver, done))


def echo(talk: Recorder, what: str, message: Any) -> None:
    """Send every message back."""
    if what == "text":
        talk.socket.send_text(message.encode())
    elif what == "binary":
        talk.socket.send_binary(message)


class Root(Resource):
    """A page that is also a WebSocket. `slow` requests are kept in `waiting`."""

    isLeaf = True

    def __init__(self, terms: Terms, talk: Callable[[], Recorder]) -> None:
        super().__init__()
        self.waiting: list[Request] = []
        self.bodies: list[bytes] = []
        self.types: list[bytes | None] = []
        self._terms = terms
        self._talk = talk

    def render_GET(self, request: Request) -> Any:
        if request.path.startswith(b"/slow"):
            self.waiting.append(request)
            return 1  # NOT_DONE_YET
        if wants_upgrade(request):
            return upgrade(request, self._terms, self._talk)
        return b"the page"

    def render_POST(self, request: Request) -> bytes:
        assert request.content is not None
        self.types.append(request.getHeader(b"content-type"))
        self.bodies.append(request.content.read())
        return b"taken"

    def answer(self, request: Request) -> None:
        """Answer what had to wait."""
        body = upgrade(request, self._terms, self._talk) if wants_upgrade(request) else b"at last"
        if body != 1:
            request.write(body)
            request.finish()


class Served:
    """A server, its clock and the talks it began. When the test is over all of it must be gone."""

    def __init__(
        self,
        case: SynchronousTestCase,
        then: Callable[[Recorder, str, Any], None] | None = echo,
        compression: bool = False,
        origins: tuple[str, ...] = (),
        message_rate: int = 0,
        make: Callable[..., Recorder] = Recorder,
        **limits: Any,
    ) -> None:
        self.case = case
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.talks: list[Recorder] = []
        self.pipes: list[Pipe] = []
        self.connections: set[Any] = set()
        self.limits = Limits(**limits)
        self._then = then
        self._make = make
        self.root = Root(Terms("echo", self.limits, origins, compression), self._talk)
        self.refusals: list[str] = []
        self.traffic = Traffic()
        config = ChatLogConfig(
            handshake_timeout=REQUEST_TIMEOUT,
            write_timeout=REQUEST_TIMEOUT,
            idle_timeout=IDLE_TIMEOUT,
            message_rate=message_rate,
        )
        self._website = Website(self.root, self, self.clock, config)
        case.addCleanup(self.assert_clean)

    def _talk(self) -> Recorder:
        talk = self._make(then=self._then)
        self.talks.append(talk)
        return talk

    def joined(self, connection: Any) -> None:
        self.connections.add(connection)

    def left(self, connection: Any) -> None:
        self.connections.remove(connection)

    def turned_down(self, peer: str, code: str, reason: str) -> bool:
        self.refusals.append(code)
        return True

    def slowed_down(self) -> None:
        self.refusals.append("message-rate")

    @property
    def talk(self) -> Recorder:
        """The latest."""
        return self.talks[-1]

    def connect(self) -> Peer:
        """A new connection."""
        pipe = Pipe(self._website.connection(None))
        self.pipes.append(pipe)
        pipe.pump()
        return Peer(pipe, self)

    def open(self, *headers: bytes) -> Peer:
        """A new connection that is a WebSocket."""
        peer = self.connect()
        peer.send(handshake(*headers))
        head = peer.take_head()
        self.case.assertIn(b"101", head.split(b"\r\n")[0])
        return peer

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        parts = max(1, round(seconds / 0.25))
        for _ in range(parts):
            self.clock.advance(seconds / parts)
            for pipe in self.pipes:
                pipe.pump()

    def assert_clean(self) -> None:
        """Drop what is left. Then no timer runs, and each talk began and ended once, and heard no more."""
        for pipe in self.pipes:
            pipe.lose(ConnectionDone())
        assert_over(self.case, self.clock, self.talks)
        self.case.assertEqual(self.connections, set())


def assert_over(case: SynchronousTestCase, clock: Clock, talks: list[Recorder]) -> None:
    """With every connection gone no timer runs, and each talk began and ended once, and heard no more."""
    case.assertEqual(clock.getDelayedCalls(), [])
    for talk in talks:
        names = [event[0] for event in talk.heard]
        case.assertEqual((names[0], names[-1]), ("began", "ended"))
        case.assertEqual((names.count("began"), names.count("ended")), (1, 1))


class Peer:
    """A client, byte for byte. It closes when the server does, unless it is `stubborn`."""

    def __init__(self, pipe: Pipe, served: Served) -> None:
        self.pipe = pipe
        self.stubborn = False
        self._taken = 0
        self._finished = False

    def send(self, data: bytes) -> None:
        """Let `data` arrive in one piece."""
        self.pipe.arrive(data)
        self.see()

    def finish(self) -> None:
        """Close our side only."""
        if not self._finished:
            self._finished = True
            self.pipe.arrive(None)

    def see(self) -> None:
        """Do what a client does that sees the server's end of the stream."""
        if self.pipe.eof_sent and not self.stubborn and not self.pipe.lost:
            self.finish()

    def read(self, on: bool) -> None:
        """Begin or stop reading."""
        self.pipe.peer_reads = on
        self.pipe.pump()
        self.see()

    def read_once(self) -> None:
        """Take what the transport has, and stop again."""
        self.pipe.take_once()

    @property
    def is_closed(self) -> bool:
        """Whether the server has closed, be it a half or the whole."""
        return self.pipe.eof_sent or self.pipe.lost

    def take(self) -> bytes:
        """What has come since the last look."""
        self.pipe.pump()
        self.see()
        data = bytes(self.pipe.sent[self._taken :])
        self._taken = len(self.pipe.sent)
        return data

    def take_head(self) -> bytes:
        """The head of the next answer; what follows is left."""
        self.pipe.pump()
        end = self.pipe.sent.index(b"\r\n\r\n", self._taken) + 4
        head = bytes(self.pipe.sent[self._taken : end])
        self._taken = end
        return head

    def status(self) -> int:
        """The status of the next answer, all of which is taken."""
        return int(self.take().split(b" ", 2)[1])

    def frames(self) -> list[tuple[Any, ...]]:
        """The frames that came: ``("text", b"x")``, ``("close", 1000, "")``."""
        return list(parse(self.take()))

    def close_code(self) -> int | None:
        """The code of the close that came, if one came."""
        return next((frame[1] for frame in self.frames() if frame[0] == "close"), None)


def handshake(*headers: bytes, start: bytes = b"GET / HTTP/1.1", without: bytes = b"-") -> bytes:
    """A request for a WebSocket; `headers` replace those of the same name."""
    usual = [
        b"Host: 127.0.0.1:80",
        b"Connection: keep-alive, Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: " + KEY,
    ]
    names = {header.split(b":")[0] for header in headers} | {without}
    kept = [header for header in usual if header.split(b":")[0] not in names]
    return b"\r\n".join([start, *kept, *headers, b"", b""])


def frame(
    opcode: Opcode, data: bytes = b"", fin: bool = True, rsv1: bool = False, mask: bool = True
) -> bytes:
    """A frame as a client sends it."""
    image = bytearray(Frame(opcode, data, fin).serialize(mask=mask))
    if rsv1:
        image[0] |= 0x40
    return bytes(image)


def text(message: str) -> bytes:
    """A text message as a client sends it."""
    return frame(Opcode.TEXT, message.encode())


def close(code: int, reason: str = "") -> bytes:
    """A close as a client sends it."""
    return frame(Opcode.CLOSE, code.to_bytes(2, "big") + reason.encode())


def parse(data: bytes, mask: bool = False) -> Iterator[tuple[Any, ...]]:
    """The frames in `data`, which are whole."""
    reader = StreamReader()
    reader.feed_data(data)
    while reader.buffer:
        steps = Frame.parse(reader.read_exact, mask=mask, max_size=None, extensions=[_Anything()])
        try:
            next(steps)
        except StopIteration as done:
            found: Frame = done.value
        else:
            raise AssertionError(f"half a frame: {data!r}")
        name = found.opcode.name.lower() + ("" if found.fin else " part")
        if found.opcode is Opcode.CLOSE:
            said = Close.parse(found.data)
            yield name, int(said.code), said.reason
        else:
            yield name, bytes(found.data)


class _Anything(Extension):
    """Lets compressed frames pass as they are."""

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        return Frame(frame.opcode, frame.data, frame.fin)
