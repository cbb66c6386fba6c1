"""Files that go from the system's cache to a socket, and never come into Python."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from protosuite.net.prompt import PromptServer

_MOST = 1 << 20  # bytes that one call may send: a thread has others to serve

Run = Callable[..., Deferred[Any]]
Told = Callable[[], None]


@implementer(IWriteDescriptor)
class FileSender:
    """Sends files over a transport of ours for plain TCP, from threads, which `run` calls a function in.

    The system does it (``sendfile``): a MiB of a file cost the server 1.3 ms of processor time when it was
    read and written, and 0.25 this way. It has a descriptor of its own for the socket: the transport's may be
    another connection's by the time that a thread uses it. Nothing else may be written before :meth:`send`
    ends.

    `stuck` is called when the peer takes no more for now, `reads` when it does again, and `sent` with each
    number of bytes that the system has taken.
    """

    def __init__(
        self, transport: PromptServer, run: Run, stuck: Told, reads: Told, sent: Callable[[int], None]
    ) -> None:
        self._transport = transport
        self._run = run
        self._stuck = stuck
        self._reads = reads
        self._sent = sent
        self._reactor: Any = transport.reactor
        self._socket = transport.socket.dup()
        self._writable: Deferred[None] | None = None
        self._is_stopped = False

    async def send(self, file: int, offset: int, count: int) -> None:
        """Send `count` bytes of an open file; fewer if it is stopped.

        Raises `OSError` where there are not as many, or the connection is gone.
        """
        left = count
        while left and not self._is_stopped:
            if self._transport.has_unsent:  # that comes before it
                await self._room()
                continue
            taken = await self._run(self._send, file, offset + count - left, min(left, _MOST))
            if taken is None:
                await self._room()
            elif taken:
                left -= taken
                self._sent(taken)
            else:
                raise OSError("the file is shorter than it was")

    def stop(self) -> None:
        """Send nothing more."""
        self._is_stopped = True
        self._wake()

    def close(self) -> None:
        """Give the descriptor back; :meth:`send` has ended."""
        self._socket.close()

    def _send(self, file: int, offset: int, count: int) -> int | None:
        """In a thread: how many bytes the system took; None if the socket has no room."""
        try:
            return os.sendfile(self._socket.fileno(), file, offset, count)
        except BlockingIOError:
            return None

    async def _room(self) -> None:
        """Wait until the socket may have room."""
        if self._is_stopped:
            return
        self._stuck()
        self._writable = Deferred()
        self._reactor.addWriter(self)
        await self._writable
        self._reads()

    def _wake(self) -> None:
        if self._writable is not None:
            self._reactor.removeWriter(self)
            writable, self._writable = self._writable, None
            writable.callback(None)

    # IWriteDescriptor

    def fileno(self) -> int:
        return self._socket.fileno()

    def doWrite(self) -> None:
        self._wake()

    def connectionLost(self, reason: Failure) -> None:
        self._wake()  # the next attempt to send says so

    def logPrefix(self) -> str:
        return "a file"
