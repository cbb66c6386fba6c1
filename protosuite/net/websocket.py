"""A WebSocket (RFC 6455) over a Twisted transport, for either side.

The rules are in :mod:`protosuite.net.websocket_rules`, what cannot be sent yet waits in a
:mod:`protosuite.net.outbox`. Here they meet a transport: every message is handed on as its last frame is
parsed, and a peer that is silent or does not read is let go.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from io import BytesIO, StringIO
from typing import Any
from typing import Protocol as Interface

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import CONNECTING

from protosuite.net.frame_receiver import LEAST, FrameReceiver
from protosuite.net.outbox import Outbox
from protosuite.net.prompt import USUAL, expect
from protosuite.net.unfinished import Unfinished
from protosuite.net.websocket_rules import ClientRules, ServerRules, deflate, text_frame

log = Logger()

OVERRUN = 4008  # our close code for a peer that does not read what it is sent
UNAUTHENTICATED = 4401  # our close code for a peer whose token is no longer good
GOING_AWAY = (1001, "the server stops")

_DATA = (Opcode.BINARY, Opcode.CONT)
_MIN_COMPRESSED = 256  # bytes; less gains nothing
_MAX_REASON = 123  # bytes: a control frame without the code


@frozen
class Limits:
    """The bounds of a connection: sizes in bytes, times in seconds.

    `max_message` is the largest message taken, `max_backlog` the most that waits to be sent. A peer that
    has not taken what the transport holds (64 KiB, or one larger message) after `write_timeout` is let
    go, and one from which nothing has come for `ping_interval` and, after a ping, for `ping_timeout`.
    `close_timeout` is how long a close may take, `message_timeout`, if there is one, a message of the peer
    from the first byte of its first fragment to its last.
    """

    max_message: int = 64 << 10
    max_backlog: int = 4 << 20
    write_timeout: float = 30.0
    ping_interval: float = 20.0
    ping_timeout: float = 20.0
    close_timeout: float = 5.0
    message_timeout: float | None = None


class Talk(Interface):
    """What is done over a connection. Nothing is called after `ended`, which is called once."""

    def began(self, socket: WebSocket) -> None:
        """The handshake is done: `socket` may be written to."""

    def text(self, text: str) -> None:
        """A text message came."""

    def binary(self, data: bytes) -> None:
        """A binary message came."""

    def drained(self) -> None:
        """What waited to be sent has left: see :attr:`WebSocket.is_writable`."""

    def stopping(self) -> None:
        """The server stops: answer what was accepted, then close with :data:`GOING_AWAY`."""

    def ended(self, code: int, reason: str) -> None:
        """The connection is gone: what the peer's close said, else what ours said, else 1006."""


class Pieces(Interface):
    """Who takes binary messages as their bytes come."""

    def takes(self, size: int) -> bool:
        """Whether a message of this size, which begins, is taken so. Others come whole."""

    def piece(self, data: bytes) -> None:
        """Bytes of such a message came."""

    def most(self) -> int:
        """How many bytes, of this message and those behind it, a thread may receive; 0 if there is none."""

    def receive(self, receiver: FrameReceiver, done: Callable[[], None]) -> None:
        """Have a thread call `receiver.receive`, again while that is true, then call `done` here.

        Until then nothing more comes.
        """


class WebSocket:
    """One connection. `finish` closes `transport` cleanly, `spend` counts a message against a rate,
    `gave_up` is told the code and the reason when a silent or slow peer is let go, `is_read` says whether
    the owner of the transport reads.

    Whoever owns it calls :meth:`received` with what comes, :meth:`read_on` when it reads again, and
    :meth:`lost`; on the server's side, where the handshake has been answered before, also :meth:`begin`.
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
        spend: Callable[[], None] = lambda: None,
        gave_up: Callable[[str, str], object] = lambda code, why: None,
        is_read: Callable[[], bool] = lambda: True,
    ) -> None:
        self.peer = peer
        self.spend = spend
        self._gave_up = gave_up
        self._is_read = is_read
        self._rules = rules
        self._transport = transport
        self._clock = clock
        self._limits = limits
        self._talk = talk
        self._finish = finish
        self._outbox = Outbox(
            transport, clock, limits.max_backlog, limits.write_timeout, self._overrun, self._drained
        )
        self._paused = False  # the talk takes nothing
        self._eof = False  # nothing more may be sent: finish when the queue is empty
        self._begun = False
        self._gone = False
        self._closing: IDelayedCall | None = None  # gives up a peer that does not close
        self._heartbeat: IDelayedCall | None = None
        self._heard = clock.seconds()  # when something came
        self._pinged: float | None = None  # when we asked since then
        self._why = ""  # it was ended without a close
        self._message: StringIO | BytesIO | None = None  # whose fragments come
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._has_ended = False  # a message, since we looked
        self._pieces: Pieces | None = None
        self._missing = 0  # bytes of the frame that is coming
        self._at_once = USUAL  # bytes that the transport receives at once
        self._unfinished: Unfinished | None = None
        if limits.message_timeout is not None:
            self._unfinished = Unfinished(
                clock,
                limits.message_timeout,
                lambda: not rules.is_between_frames or self._message is not None,
                lambda: not self._paused and is_read(),
                self._not_finished,
            )
        rules.take = self._take
        if isinstance(rules, ServerRules):
            rules.take_text = self._take_text
            rules.take_piece = self._take_piece
        rules.frames.continued = self._decoder.getstate

    # For the talk.

    @property
    def is_open(self) -> bool:
        """Whether a message can still be sent."""
        return self._rules.is_open

    @property
    def is_writable(self) -> bool:
        """Whether the peer keeps up: a long answer is best sent while it does."""
        return self.is_open and not self._outbox.is_blocked

    @property
    def backlog(self) -> int:
        """Bytes that wait to be sent, besides what the transport has."""
        return self._outbox.size

    def send_text(self, text: bytes) -> None:
        """Send a text message, given as UTF-8. What is sent after a close goes nowhere."""
        if self.is_open:
            if self._rules.extensions and len(text) >= _MIN_COMPRESSED:
                self._rules.send_text(text)
                self._flush()
            else:
                is_masked = isinstance(self._rules, ClientRules)
                self._write(Frame(Opcode.TEXT, text).serialize(mask=True) if is_masked else text_frame(text))

    def send_binary(self, data: bytes) -> None:
        """Send a binary message, as it is: media do not shrink."""
        if self.is_open:
            self._write(Frame(Opcode.BINARY, data).serialize(mask=isinstance(self._rules, ClientRules)))

    def send(self, frame: bytes) -> None:
        """Send a frame of :func:`text_frame`: the same bytes wait for everybody who is sent them."""
        if self._rules.is_open:
            self._outbox.write(frame)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin an orderly close. Messages that come before the peer's answer are still handed on."""
        if self.is_open:
            self._rules.send_close(code, reason.encode()[:_MAX_REASON].decode(errors="ignore"))
            self._flush()

    def stop(self) -> None:
        """The server stops."""
        self._call(self._talk.stopping)
        self._flush()

    def pause_reading(self) -> None:
        """Take nothing more for now, but for what was read already. A close ends the pause."""
        if self.is_open:
            self._paused = True
            self._transport.pauseProducing()

    def resume_reading(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            if not self._gone and not self._eof:
                self._transport.resumeProducing()
                self.read_on()

    def take_pieces(self, pieces: Pieces) -> None:
        """From now on, on the server's side, hand on binary messages as their bytes come, if they are whole
        frames and `pieces` takes them so. What comes faster than it is read may come to a thread.
        """
        if isinstance(self._rules, ServerRules):
            self._rules.takes_pieces, self._pieces = pieces.takes, pieces

    # For the owner of the transport.

    def begin(self) -> None:
        """The handshake is done: the connection is open."""
        self._begun = True
        self._heard = self._clock.seconds()
        self._outbox.start()
        self._heartbeat = self._clock.callLater(self._limits.ping_interval, self._beat)
        self._flush()
        self._call(self._talk.began, self)
        self._flush()

    def received(self, data: bytes) -> None:
        """Bytes came from the peer."""
        rules = self._rules
        self._heard = self._clock.seconds()
        self._pinged = None
        if not rules.receive(data):
            return  # nothing has been begun, and nothing is to be said: a third of the time of a small text
        is_fast = self._pieces is not None and len(data) >= self._at_once
        self._has_come()
        if is_fast:
            self._lend()

    def _has_come(self) -> None:
        """Do what follows from what came."""
        rules = self._rules
        if rules.missing != self._missing:
            self._missing = rules.missing
            self._at_once = expect(self._transport, self._missing)
        if not self._begun and rules.state is not CONNECTING and rules.handshake_exc is None:
            self.begin()
        self._flush()
        if self._unfinished is not None and self.is_open:
            self._unfinished.look(self._has_ended)
            self._has_ended = False

    def _lend(self) -> None:
        """Have a thread receive what comes next, if that is much, and it may."""
        rules, pieces = self._rules, self._pieces
        if isinstance(rules, ServerRules) and pieces is not None and rules.is_open and self._is_read():
            left, mask = rules.coming
            most = pieces.most() if left >= LEAST else 0
            lent = self._transport.lend() if most >= LEAST else None
            if lent is not None:
                receiver = FrameReceiver(lent, left, mask, most, rules.largest)
                pieces.receive(receiver, lambda: self._take_back(rules, receiver))

    def _take_back(self, rules: ServerRules, receiver: FrameReceiver) -> None:
        """A thread has received what it could: go on from there."""
        rules.go_on(receiver.left, receiver.mask)
        receiver.close()
        self._transport.taken_back(receiver.received)
        rules.receive(receiver.rest)
        self._has_come()

    def read_on(self) -> None:
        """The transport is read again after it was not."""
        self._heard = self._clock.seconds()  # the silence was ours
        if self._unfinished is not None:
            self._unfinished.read_on()

    def end_of_stream(self) -> None:
        """The peer sends nothing more."""
        self._rules.receive_eof()
        self._flush()
        self._end()

    def lost(self) -> None:
        """The transport is gone."""
        self._gone = True
        self._rules.is_open = False
        self._stop_looking()
        self._outbox.stop()
        for call in (self._closing, self._heartbeat):
            if call is not None and call.active():
                call.cancel()
        if self._begun:
            close = self._rules.close_rcvd or self._rules.close_sent
            if close is None:
                self._call(self._talk.ended, int(CloseCode.ABNORMAL_CLOSURE), self._why)
            else:
                self._call(self._talk.ended, int(close.code), close.reason)

    # What comes.

    def _take(self, frame: Frame) -> None:
        """A frame has been parsed. What this raises is the peer's fault, and ends the connection."""
        if not self._begun:  # it came in one piece with the answer to our handshake
            self.begin()
        if frame.opcode not in _DATA:  # what is in those counts, for whoever knows what is a message
            self.spend()
        if self._rules.writes:  # a pong goes before what the next message makes us say
            self._flush()
        if frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
            is_text = frame.opcode is Opcode.TEXT
            if frame.fin:
                self._hand_on(str(frame.data, "utf-8") if is_text else bytes(frame.data))
                return
            self._message = StringIO() if is_text else BytesIO()
        elif frame.opcode is not Opcode.CONT:
            return
        message = self._message
        if isinstance(message, StringIO):  # what is no UTF-8 is found with its fragment
            message.write(self._decoder.decode(frame.data, frame.fin))
        elif message is not None:
            message.write(frame.data)
        if frame.fin and message is not None:
            self._message = None
            self._hand_on(message.getvalue())

    def _take_text(self, text: str) -> None:
        """A text has come whole, and nothing waits to be said before what it makes us say."""
        self.spend()
        try:
            self._talk.text(text)
        except Exception:
            self._has_failed()

    def _take_piece(self, data: bytes) -> None:
        """Bytes have come of a message that is handed on so."""
        if not self._rules.missing:
            self._has_ended = True
        assert self._pieces is not None
        try:
            self._pieces.piece(data)
        except Exception:
            self._has_failed()

    def _hand_on(self, message: str | bytes) -> None:
        self._has_ended = True
        if not self._gone:
            self._call(self._talk.text if isinstance(message, str) else self._talk.binary, message)

    def _call(self, call: Callable[..., None], *arguments: Any) -> None:
        """Hand on. What goes wrong there is our fault, and ends this connection only."""
        try:
            call(*arguments)
        except Exception:
            self._has_failed()

    def _has_failed(self) -> None:
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
        if not self._gone and not self._eof:
            self._outbox.write(data)

    def _overrun(self, code: str, why: str) -> None:
        """The peer does not read: drop what waits, and tell it if it ever does."""
        self._gave_up(code, why)
        self._outbox.clear()
        if self.is_open:
            self._rules.fail(OVERRUN, why)
            for data in self._rules.data_to_send():
                if data:
                    self._transport.write(data)
        self._end()

    def _drained(self) -> None:
        """All that waited has left."""
        if self._eof:
            self._end()
        elif self.is_open:
            self._call(self._talk.drained)
            self._flush()

    def _end(self) -> None:
        """Nothing more is to be sent: close when all has left, or when that takes too long."""
        self._eof = True
        self._rules.is_open = False
        self._bound_close()
        if not self._outbox.size and not self._gone:
            self._transport.unregisterProducer()  # a transport that has one waits for it
            self._finish()

    def _bound_close(self) -> None:
        """From now on the connection may last as long as a close may take."""
        self._stop_looking()
        if self._closing is None and not self._gone:
            self._closing = self._clock.callLater(self._limits.close_timeout, self._abort)
            self.resume_reading()  # the peer's answer is to be seen

    def _abort(self) -> None:
        if not self._gone:
            self._transport.abortConnection()

    def _stop_looking(self) -> None:
        if self._unfinished is not None:
            self._unfinished.stop()

    def _not_finished(self) -> None:
        """A message was begun, and its end does not come."""
        why = f"a message was not whole after {self._limits.message_timeout:g} seconds"
        self._gave_up("message-timeout", why)
        self._rules.fail(CloseCode.POLICY_VIOLATION, why)
        self._flush()

    # Signs of life.

    def _beat(self) -> None:
        """Look how long nothing has come: ask, and if that did not help, give up."""
        limits, now = self._limits, self._clock.seconds()
        quiet = 0.0 if self._paused or not self._is_read() else now - self._heard
        if quiet < limits.ping_interval:
            wait = limits.ping_interval - max(quiet, 0)  # less than 0: the clock was set
        elif self._pinged is None:
            self._pinged = now
            if self.is_open:
                self._rules.send_ping(b"")
                self._flush()
            wait = min(limits.ping_timeout, limits.ping_interval)
        elif now - self._pinged < limits.ping_timeout:
            wait = min(limits.ping_timeout - (now - self._pinged), limits.ping_interval)
        else:
            self._why = "the peer was silent"
            self._gave_up("ping-timeout", self._why)
            self._abort()
            return
        if not self._gone:
            self._heartbeat = self._clock.callLater(wait, self._beat)


__all__ = [
    "GOING_AWAY",
    "OVERRUN",
    "UNAUTHENTICATED",
    "Limits",
    "Pieces",
    "Talk",
    "WebSocket",
    "deflate",
    "text_frame",
]
