"""The rules of WebSockets for either side: those of the ``websockets`` package, as we use them."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger
from websockets.client import ClientProtocol
from websockets.exceptions import PayloadTooBig
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.protocol import CONNECTING, OPEN, Protocol, State
from websockets.server import ServerProtocol

from protosuite.net.early_text import FrameReader
from protosuite.net.masking import MASK, apply_mask, turned

log = Logger()

MAX_CONTROL = 125  # bytes in a control frame (5.5)

# A frame (5.2): its first byte if it is a whole message; in the second what says that it is masked.
_WHOLE_TEXT, _WHOLE_BINARY, _MASKED = 0x81, 0x82, 0x80
_MORE = 126  # in the place of a length: the length is in the next 2 bytes; one more: in the next 8
_MOST = (1 << 16) - 1  # that 2 bytes can say
_LEAST = 6  # bytes of a frame with a mask: a length of 2 bytes is within them, too
_HEAD_16, _HEAD_64 = struct.Struct(">BBH"), struct.Struct(">BBQ")


class _Defects(logging.Handler):
    """What the package logs as an error is a defect, the package's or ours: it goes where ours go."""

    def emit(self, record: logging.LogRecord) -> None:
        log.failure("WebSocket: {what}", what=record.getMessage())


# The package's own log of each frame and handshake goes nowhere: what matters is logged by us.
silent = logging.getLogger("protosuite.net.websocket")
silent.propagate = False
silent.addHandler(_Defects())
silent.setLevel(logging.ERROR)


def max_size(max_message: int) -> tuple[int, int]:
    """The package's limits for messages of `max_message` bytes.

    It counts a control frame between two fragments as a part of the message, so there is room for one;
    the exact sum is looked at in :meth:`_Rules.recv_frame`.
    """
    return max_message + MAX_CONTROL, max_message


class _Rules(Protocol):
    """The package's machine, which hands every frame on before it looks at the next.

    So what a message makes us say comes before the answer to a close behind it. What `take` raises is
    the peer's fault: the package's exceptions, or a UnicodeDecodeError.
    """

    take: Callable[[Frame], None]
    is_open = False  # whether a message can still be sent; whoever owns it may end that before its state does

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.frames = FrameReader(lambda: self.state is not CONNECTING)
        self.frames.room = self._room
        self.reader = self.frames
        self.parser = self.parse()
        next(self.parser)  # up to where it needs something to read

    @property
    def state(self) -> State:
        """Of the connection. The package sets it."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state = state
        self.is_open = state is OPEN  # set here and not asked for: it is looked at several times a message

    @property
    def is_between_frames(self) -> bool:
        """Whether nothing has come of the next frame."""
        return self.frames.is_between_frames

    @property
    def missing(self) -> int:
        """Bytes of the data of the next frame that have not come; 0 while its header has not."""
        return self.frames.missing

    def receive(self, data: bytes) -> bool:
        """Take what came. False if it was nothing but whole texts, and there is nothing to be done for it."""
        self.receive_data(data)
        return True

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None  # a close may come between two fragments (5.4, 5.5.1)
        elif frame.opcode is Opcode.CONT and self.current_size is not None and len(frame.data) > self._room():
            raise PayloadTooBig(len(frame.data), self._room())
        super().recv_frame(frame)
        self.events.clear()
        self.take(frame)

    def _room(self) -> int:
        """Bytes that the next frame of a message may have."""
        return (self.max_fragment_size or 0) - (self.current_size or 0)


class ServerRules(_Rules, ServerProtocol):
    """The rules for a server.

    What is plain goes without the package. A text that comes whole in one piece is handed to `take_text`: the
    package takes 20 µs for the same. The bytes of a binary message of which `takes_pieces` says so, by its
    size, are handed to `take_piece` as they come: the package would copy them three times.
    It is only looked at where nothing else can be meant: whatever is odd is the package's to judge.
    """

    take_text: Callable[[str], None]
    take_piece: Callable[[bytes], None]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.takes_pieces: Callable[[int], bool] = lambda size: False
        self.largest = self.max_fragment_size or 0  # bytes of a message
        self._longest = min(_MOST, self.largest)
        self._left = 0  # bytes that are to come of a binary message whose pieces are handed on
        self._mask = b""  # of the next of them

    @property
    def is_between_frames(self) -> bool:
        return not self._left and super().is_between_frames

    @property
    def missing(self) -> int:
        return self._left or super().missing

    @property
    def coming(self) -> tuple[int, bytes]:
        """The bytes that are to come of a binary message whose pieces are handed on, and their mask."""
        return self._left, self._mask

    def go_on(self, left: int, mask: bytes) -> None:
        """Somebody else has taken of what was :attr:`coming`: this is to come now."""
        self._left, self._mask = left, mask

    def receive(self, data: bytes) -> bool:
        if self._left:
            at = self._pass_piece(data, 0)
            self._pass_on(data[at:])
            return True
        missing = self.frames.missing
        if missing and missing < len(data):  # up to the end of a frame that it has: what follows may be plain
            self.receive_data(data[:missing])
            data = data[missing:]
        return self._pass_on(data) or missing > 0 or not self.is_open

    def _pass_on(self, data: bytes) -> bool:
        """Take what begins with a frame, or goes on with one that the package has. Whether more must come."""
        if data:
            data = self._pass_plain(data)
            if data:
                self.receive_data(data)
        return bool(data) or self._left > 0

    def _pass_plain(self, data: bytes) -> bytes:
        """Hand on what `data` begins with, as long as it is plain, and give what is left."""
        at, end = 0, len(data)
        if self.extensions or self.current_size is not None or self.frames.head or self.frames.buffer:
            return data
        while self.is_open and end - at >= _LEAST:
            if data[at] != _WHOLE_TEXT:
                behind = self._begin_pieces(data, at)
                if behind == at:
                    break
                at = behind
                continue
            size, begin = data[at + 1] - _MASKED, at + 6  # behind a length of one byte and the mask
            if size >= _MORE:
                if size > _MORE:
                    break
                size, begin = data[at + 2] << 8 | data[at + 3], at + 8
                if size < _MORE:
                    break
            behind = begin + size
            if not 0 <= size <= self._longest or behind > end:
                break
            try:
                text = str(apply_mask(data[begin:behind], data[begin - 4 : begin]), "utf-8")
            except UnicodeDecodeError:
                break
            at = behind
            self.take_text(text)
        return data[at:]

    def _begin_pieces(self, data: bytes, at: int) -> int:
        """Where it goes on behind a binary message, or what has come of it; `at` if it is not plain."""
        if data[at] != _WHOLE_BINARY:
            return at
        size, begin = data[at + 1] - _MASKED, at + 2
        if size >= _MORE:
            begin += 2 if size == _MORE else 8
        behind = begin + MASK
        if behind > len(data):
            return at
        if size >= _MORE:
            size = int.from_bytes(data[at + 2 : begin])
        if not 0 < size <= self.largest or not self.takes_pieces(size):
            return at
        self._left, self._mask = size, data[begin:behind]
        return self._pass_piece(data, behind)

    def _pass_piece(self, data: bytes, at: int) -> int:
        """Hand on what `data` has of a binary message from `at` on, and give where that ends."""
        size = min(self._left, len(data) - at)
        self._left -= size
        if size and not self.eof_sent:  # which it is when the connection has failed
            piece = apply_mask(memoryview(data)[at : at + size], self._mask)
            self._mask = turned(self._mask, size)
            self.take_piece(piece)
        return at + size


class ClientRules(_Rules, ClientProtocol):
    """The rules for a client."""


def text_frame(text: bytes) -> bytes:
    """The frame of one text message from a server, to send to as many clients as should have it."""
    size = len(text)
    if size < _MORE:
        return bytes((_WHOLE_TEXT, size)) + text
    if size <= _MOST:
        return _HEAD_16.pack(_WHOLE_TEXT, _MORE, size) + text
    return _HEAD_64.pack(_WHOLE_TEXT, _MORE + 1, size) + text


def deflate() -> list[ServerPerMessageDeflateFactory]:
    """The extensions of a server that compresses: with windows of 4 KiB, some 55 KiB a connection."""
    return [
        ServerPerMessageDeflateFactory(
            server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
        )
    ]
