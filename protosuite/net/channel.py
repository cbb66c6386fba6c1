"""Packets between a process and one that it has started, with open files on top of them."""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet import main
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

_LARGEST = 1 << 16  # bytes of a packet; the largest are tracebacks
_A_TURN = 100  # packets that are read before others are let have the reactor

Received = Callable[[bytes, int | None], object]


def pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a channel."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


@implementer(IReadWriteDescriptor)
class Channel:
    """One end. Packets arrive whole and in order.

    `received` gets each, with the descriptor that came along, which is its own then. `lost` is called once,
    when the other end is gone, and not after :meth:`close`. What the system does not take waits without a
    bound: whoever sends has to know one.
    """

    def __init__(
        self, reactor: Any, end: socket.socket, received: Received, lost: Callable[[], object]
    ) -> None:
        self._reactor = reactor
        self._end = end
        self._received = received
        self._lost = lost
        self._waiting: deque[tuple[bytes, int | None]] = deque()
        self._is_open = True
        end.setblocking(False)
        reactor.addReader(self)

    def send(self, packet: bytes, descriptor: int | None = None) -> None:
        """Send a packet that is not empty, and an open file with it, which may be closed at once."""
        if not self._is_open:
            return
        if not self._waiting and self._is_sent(packet, descriptor):
            return
        self._waiting.append((packet, None if descriptor is None else os.dup(descriptor)))
        self._reactor.addWriter(self)

    def close(self) -> None:
        """Nothing arrives any more, and nothing leaves."""
        if self._is_open:
            self._is_open = False
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            for _, descriptor in self._waiting:
                if descriptor is not None:
                    os.close(descriptor)
            self._waiting.clear()
            self._end.close()

    def _is_sent(self, packet: bytes, descriptor: int | None) -> bool:
        try:
            socket.send_fds(self._end, [packet], [] if descriptor is None else [descriptor])
        except OSError as error:
            # Too many files on their way count as no room; of an end that is gone the reader hears.
            return error.errno not in (errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS)
        return True

    # For the reactor.

    def fileno(self) -> int:
        return self._end.fileno()

    def logPrefix(self) -> str:
        return "channel"

    def doRead(self) -> Any:
        for _ in range(_A_TURN):
            if not self._is_open:
                return None
            outcome = self._read()
            if outcome is not None:
                return outcome or None
        return None

    def read_rest(self) -> None:
        """Take all that has come. For when nobody is at the other end any more."""
        while self._is_open and self._read() is None:
            pass

    def _read(self) -> Any:
        """Take one packet: None. Or False if there is none, or why there will be none."""
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._end, _LARGEST, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return False
        except OSError:
            return main.CONNECTION_LOST
        if not packet:
            return main.CONNECTION_DONE
        self._received(packet, descriptors[0] if descriptors else None)
        return None

    def doWrite(self) -> None:
        while self._waiting:
            packet, descriptor = self._waiting[0]
            if not self._is_sent(packet, descriptor):
                return
            self._waiting.popleft()
            if descriptor is not None:
                with suppress(OSError):
                    os.close(descriptor)
        self._reactor.removeWriter(self)

    def connectionLost(self, reason: Failure) -> None:
        if self._is_open:
            self.close()
            self._lost()
