"""The rules of WebSockets for either side: those of the ``websockets`` package, as we use them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger
from websockets.client import ClientProtocol
from websockets.exceptions import PayloadTooBig
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.protocol import CONNECTING, Protocol
from websockets.server import ServerProtocol

from protosuite.net.early_text import FrameReader

log = Logger()

MAX_CONTROL = 125  # bytes in a control frame (5.5)


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

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.frames = FrameReader(lambda: self.state is not CONNECTING)
        self.reader = self.frames
        self.parser = self.parse()
        next(self.parser)  # up to where it needs something to read

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None  # a close may come between two fragments (5.4, 5.5.1)
        elif frame.opcode is Opcode.CONT and self.current_size is not None:
            left = (self.max_fragment_size or 0) - self.current_size
            if len(frame.data) > left:
                raise PayloadTooBig(len(frame.data), left)
        super().recv_frame(frame)
        self.events.clear()
        self.take(frame)


class ServerRules(_Rules, ServerProtocol):
    """The rules for a server."""


class ClientRules(_Rules, ClientProtocol):
    """The rules for a client."""


def text_frame(text: bytes) -> bytes:
    """The frame of one text message from a server, to send to as many clients as should have it."""
    return Frame(Opcode.TEXT, text).serialize(mask=False)


def deflate() -> list[ServerPerMessageDeflateFactory]:
    """The extensions of a server that compresses: with windows of 4 KiB, some 55 KiB a connection."""
    return [
        ServerPerMessageDeflateFactory(
            server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
        )
    ]
