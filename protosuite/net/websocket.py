"""A WebSocket (RFC 6455) over a Twisted transport, for either side.

The rules of the protocol are the ``websockets`` package's, which does no I/O. Here its bytes meet a
transport: every message is handed on as its last frame is parsed, what cannot be sent yet waits in a
bounded queue, and a peer that is silent or does not read is let go.
"""

from __future__ import annotations

import codecs
import logging
from collections import deque
from collections.abc import Callable
from typing import Any
from typing import Protocol as Interface

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from websockets.client import ClientProtocol
from websockets.exceptions import ProtocolError
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, Protocol
from websockets.server import ServerProtocol
from zope.interface import implementer

log = Logger()

OVERRUN = 4008  # our close code for a peer that does not read what it is sent

# The package's own log of each frame and handshake goes nowhere: what matters is logged here.
silent = logging.getLogger("protosuite.net.websocket")
silent.propagate = False
silent.addHandler(logging.NullHandler())
silent.setLevel(logging.CRITICAL)

_MIN_COMPRESSED = 256  # bytes; less gains nothing


@frozen
class Limits:
    """The bounds of a connection: sizes in bytes, times in seconds.

    `max_message` is the largest message taken, `max_backlog` the most that waits to be sent. A peer that
    takes nothing for `write_timeout` is let go, and one from which nothing has come for `ping_interval`
    and, after a ping, for `ping_timeout`. `close_timeout` is how long a close may take.
    """

    max_message: int = 64 << 10
    max_backlog: int = 4 << 20
    write_timeout: float = 30.0
    ping_interval: float = 20.0
    ping_timeout: float = 20.0
    close_timeout: float = 5.0


class Talk(Interface):
    """What is done over a connection. Nothing is called after `ended`."""

    def began(self, socket: WebSocket) -> None:
        """The handshake is done: `socket` may be written to."""

    def text(self, text: str) -> None:
        """A text message came."""

    def binary(self, data: bytes) -> None:
        """A binary message came."""

    def drained(self) -> None:
        """What waited to be sent has left: see :attr:`WebSocket.is_writable`."""

    def ended(self, code: int, reason: str) -> None:
        """The connection is gone; `code` is 1006 if no close came from the peer."""


def text_frame(text: bytes) -> bytes:
    """The frame of one text message from a server, to send to as many clients as should have it."""
    return Frame(Opcode.TEXT, text).serialize(mask=False)


def deflate() -> list[ServerPerMessageDeflateFactory]:
    """The extensions of a server that compresses: 4 KiB windows, so some 20 KiB a connection."""
    return [
        ServerPerMessageDeflateFactory(
            server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
        )
    ]


class _Rules(Protocol):
    """The package's machine, which hands every frame on before it looks at the next.

    So what a message makes us say comes before the answer to a close behind it.
    """

    take: Callable[[Frame], None]

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None  # a close may come between two fragments (5.4, 5.5.1)
        super().recv_frame(frame)
        self.events.clear()
        self.take(frame)


class ServerRules(_Rules, ServerProtocol):
    """The rules for a server."""


class ClientRules(_Rules, ClientProtocol):
    """The rules for a client."""


@implementer(IPushProducer)
class WebSocket:
    """One connection. `finish` closes `transport` cleanly.

    Whoever owns the transport calls :meth:`received` with what comes, and :meth:`lost`; on the server's
    side, where the handshake has been answered before, also :meth:`begin`.
    """

    def __init__(
        self,
        rules: ServerRules | ClientRules,
        transport: Any,
        clock: IReactorTime,
        limits: Limits,
        talk: Talk,
        finish: Callable[[], None],
        peer: str = "?",
    ) -> None:
        self.peer = peer
        self.backlog = 0  # bytes that wait to be sent, besides what the transport has
        self._rules = rules
        self._transport = transport
        self._clock = clock
        self._limits = limits
        self._talk = talk
        self._finish = finish
        self._queue: deque[bytes] = deque()
        self._blocked = False  # the transport has enough
        self._eof = False  # nothing more may be sent: finish when the queue is empty
        self._begun = False
        self._gone = False
        self._said: tuple[int, str] | None = None  # what our close said
        self._overdue: IDelayedCall | None = None  # gives up a peer that does not read
        self._closing: IDelayedCall | None = None  # gives up a peer that does not close
        self._heartbeat: IDelayedCall | None = None
        self._heard = True  # something came since the last look
        self._pinged = False
        self._fragments: list[Any] = []
        self._is_text = False
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        rules.take = self._take

    # For the talk.

    @property
    def is_open(self) -> bool:
        """Whether a message can still be sent."""
        return self._rules.state is OPEN and not self._gone

    @property
    def is_writable(self) -> bool:
        """Whether the peer keeps up: a long answer is best sent while it does."""
        return self.is_open and not self._blocked

    def send_text(self, text: bytes) -> None:
        """Send a text message, given as UTF-8. What is sent after a close goes nowhere."""
        if self.is_open:
            if self._rules.extensions and len(text) >= _MIN_COMPRESSED:
                self._rules.send_text(text)
                self._flush()
            else:
                self.send(Frame(Opcode.TEXT, text).serialize(mask=isinstance(self._rules, ClientRules)))

    def send_binary(self, data: bytes) -> None:
        """Send a binary message, as it is: media do not shrink."""
        if self.is_open:
            self.send(Frame(Opcode.BINARY, data).serialize(mask=isinstance(self._rules, ClientRules)))

    def send(self, frame: bytes) -> None:
        """Send a frame of :func:`text_frame`: the same bytes wait for everybody who is sent them."""
        if self.is_open:
            self._write(frame)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin an orderly close. Messages that came before the peer's answer are still handed on."""
        if self.is_open:
            self._said = (code, reason)
            self._rules.send_close(code, reason)
            self._flush()

    def pause_reading(self) -> None:
        """Take nothing more for now, but for what was read already."""
        self._transport.pauseProducing()

    def resume_reading(self) -> None:
        """Read again."""
        if not self._gone and not self._eof:
            self._transport.resumeProducing()

    # For the owner of the transport.

    def begin(self) -> None:
        """The handshake is done: the connection is open."""
        self._begun = True
        self._transport.registerProducer(self, True)
        self._heartbeat = self._clock.callLater(self._limits.ping_interval, self._beat)
        self._flush()
        self._call(self._talk.began, self)
        self._flush()

    def received(self, data: bytes) -> None:
        """Bytes came from the peer."""
        self._heard = True
        self._rules.receive_data(data)
        if not self._begun and self.is_open:
            self.begin()
        self._flush()

    def end_of_stream(self) -> None:
        """The peer sends nothing more."""
        self._rules.receive_eof()
        self._flush()
        self._end()

    def lost(self) -> None:
        """The transport is gone."""
        if self._gone:
            return
        self._gone = True
        self._queue.clear()
        self.backlog = 0
        for call in (self._overdue, self._closing, self._heartbeat):
            if call is not None and call.active():
                call.cancel()
        received = self._rules.close_rcvd
        if not self._begun:
            return
        if received is None:
            self._talk.ended(*(self._said or (int(CloseCode.ABNORMAL_CLOSURE), "")))
        else:
            self._talk.ended(int(received.code), received.reason)

    # What comes.

    def _take(self, frame: Frame) -> None:
        """A frame has been parsed. What this raises is the peer's fault, and ends the connection."""
        if not self._begun:  # it came in one piece with the answer to our handshake
            self.begin()
        if self._rules.writes:  # a pong goes before what the next message makes us say
            self._flush()
        opcode = frame.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            self._is_text = opcode is Opcode.TEXT
            if frame.fin:
                if self._is_text:
                    self._call(self._talk.text, bytes(frame.data).decode())
                else:
                    self._call(self._talk.binary, bytes(frame.data))
                return
            self._decoder.reset()
            self._fragments = []
        elif opcode is not Opcode.CONT:
            return
        part = self._decoder.decode(frame.data, frame.fin) if self._is_text else bytes(frame.data)
        if part:  # empty ones cost nothing, however many there are
            self._fragments.append(part)
        if frame.fin:
            fragments, self._fragments = self._fragments, []
            if self._is_text:
                self._call(self._talk.text, "".join(fragments))
            else:
                self._call(self._talk.binary, b"".join(fragments))

    def _call(self, call: Callable[..., None], *arguments: Any) -> None:
        """Hand on. What goes wrong there is our fault, and ends this connection only."""
        try:
            call(*arguments)
        except Exception:
            log.failure("a WebSocket of {peer} failed", peer=self.peer)
            if self.is_open:
                self._rules.fail(CloseCode.INTERNAL_ERROR)

    # What goes.

    def _flush(self) -> None:
        """Send what the rules want to be sent."""
        for data in self._rules.data_to_send():
            if data:
                self._write(data)
            else:
                self._end()
        if self._rules.close_expected():
            self._bound_close()

    def _write(self, data: bytes) -> None:
        if self._gone or self._eof:
            return
        if not self._blocked:
            self._transport.write(data)
            return
        self._queue.append(data)
        self.backlog += len(data)
        if self.backlog > self._limits.max_backlog:
            self._overrun(f"more than {self._limits.max_backlog} bytes wait to be read")

    def _overrun(self, why: str) -> None:
        """The peer does not read: drop what waits, and tell it if it ever does."""
        self._queue.clear()
        self.backlog = 0
        if self.is_open:
            self._said = (OVERRUN, why)
            self._rules.fail(OVERRUN, why)
            for data in self._rules.data_to_send():
                if data:
                    self._transport.write(data)
        self._end()

    def _end(self) -> None:
        """Nothing more is to be sent: close when all has left, or when that takes too long."""
        self._eof = True
        self._bound_close()
        if not self._queue and not self._gone:
            self._transport.unregisterProducer()  # a transport that has one waits for it
            self._finish()

    def _bound_close(self) -> None:
        """From now on the connection may last as long as a close may take."""
        if self._closing is None and not self._gone:
            self._closing = self._clock.callLater(self._limits.close_timeout, self._abort)

    def _abort(self) -> None:
        if not self._gone:
            self._transport.abortConnection()

    # Signs of life.

    def _beat(self) -> None:
        """Look whether something came since the last look: if not, ask; if that did not help, give up."""
        limits = self._limits
        if self._heard:
            self._heard = self._pinged = False
            wait = limits.ping_interval
        elif self._pinged:
            self._said = (int(CloseCode.ABNORMAL_CLOSURE), "the peer was silent")
            self._abort()
            return
        else:
            self._pinged = True
            if self.is_open:
                self._rules.send_ping(b"")
                self._flush()
            wait = limits.ping_timeout
        self._heartbeat = self._clock.callLater(wait, self._beat)

    # IPushProducer: the transport says whether the peer reads.

    def pauseProducing(self) -> None:
        self._blocked = True
        if self._overdue is None:
            seconds = self._limits.write_timeout
            self._overdue = self._clock.callLater(seconds, self._not_read, seconds)

    def resumeProducing(self) -> None:
        self._blocked = False
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        while self._queue and not self._blocked:
            data = self._queue.popleft()
            self.backlog -= len(data)
            self._transport.write(data)
        if self._eof:
            self._end()
        elif not self._blocked:
            self._call(self._talk.drained)
            self._flush()

    def stopProducing(self) -> None:
        """The connection is being lost."""

    def _not_read(self, seconds: float) -> None:
        self._overdue = None
        self._overrun(f"nothing was read for {seconds:g} s")


__all__ = [
    "OVERRUN",
    "ClientRules",
    "Limits",
    "ProtocolError",
    "ServerRules",
    "Talk",
    "WebSocket",
    "deflate",
    "silent",
    "text_frame",
]
