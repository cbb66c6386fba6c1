"""The bytes of a media message over HTTP: in parts if they are asked for, and never run in our origin."""

from __future__ import annotations

import unicodedata
from io import BufferedReader
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.http import CACHED
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from protosuite.errors import StorageError
from protosuite.mediachat.media.interface import INLINE, MediaStore, Reading
from protosuite.mediachat.tables import Message
from protosuite.net.api import Problem
from protosuite.net.ranges import Unsatisfiable, parse
from protosuite.net.sendfile import FileSender
from protosuite.storage.workers import Calls

# Bytes read and written at once: what a client has to take in `write_timeout`.
_CHUNK = 64 << 10


@implementer(IPushProducer)
class Download:
    """Sends a file as the client takes it, in the threads of media: the system does, where it can."""

    def __init__(self, request: Request, calls: Calls) -> None:
        self._request = request
        self._calls = calls
        self.is_gone = request.channel is None  # it went before there was anything to send
        self._wake: Deferred[None] | None = None
        self._is_paused = False
        self._sender: FileSender | None = None
        request.notifyFinish().addErrback(self._gone)

    async def send(self, file: Reading, parts: list[tuple[bytes, int, int]]) -> None:
        """Send, for each part, what comes before it and its bytes; the file is closed at the end."""
        try:
            if not self.is_gone:
                await self._send_parts(file, parts)
        finally:
            if self._sender is not None:
                self._sender.close()
            await self._calls.run(file.close)
            if not self.is_gone:
                self._request.unregisterProducer()

    async def _send_parts(self, file: Reading, parts: list[tuple[bytes, int, int]]) -> None:
        self._request.registerProducer(self, True)
        number = file.fileno() if isinstance(file, BufferedReader) else None
        if number is not None:
            channel: Any = self._request.channel
            self._sender = channel.connection.file_sender(self._calls.run)
        for before, first, last in parts:
            self._request.write(before)  # and what comes before all parts
            if self._sender is not None and number is not None:
                await self._sender.send(number, first, last - first + 1)
            else:
                await self._copy(file, first, last - first + 1)

    async def _copy(self, file: Reading, first: int, left: int) -> None:
        run = self._calls.run
        await run(file.seek, first)
        while left and not self.is_gone:
            block = await run(file.read, min(left, _CHUNK))
            if not block:
                raise OSError("a media file is shorter than it was")
            left -= len(block)
            await self._may_write()
            if not self.is_gone:
                self._request.write(block)

    async def _may_write(self) -> None:
        if self._is_paused and not self.is_gone:
            self._wake = Deferred()
            await self._wake

    def _gone(self, _: object) -> None:
        self.is_gone = True
        if self._sender is not None:
            self._sender.stop()
        self.resumeProducing()

    # IPushProducer

    def pauseProducing(self) -> None:
        self._is_paused = True

    def resumeProducing(self) -> None:
        self._is_paused = False
        if self._wake is not None:
            wake, self._wake = self._wake, None
            wake.callback(None)

    def stopProducing(self) -> None:
        self._gone(None)


async def serve(
    request: Request, message: Message, folder: MediaStore, calls: Calls, is_guarded: bool
) -> object:
    """Answer ``GET /media/{id}``. What `is_guarded` is asked for each time, and costs a 304."""
    assert message.sha256 is not None
    size = message.size or 0
    tag = b'"' + message.sha256.encode() + b'"'
    for name, value in _headers(message, is_guarded):
        request.setHeader(name, value)
    if request.setETag(tag) is CACHED:
        return b""
    wanted = request.getHeader(b"range")
    condition = request.getHeader(b"if-range")
    if wanted is None or (condition is not None and condition != tag) or request.method == b"HEAD":
        parts = None  # the whole
    else:
        try:
            parts = parse(wanted.decode("latin-1"), size)
        except Unsatisfiable:
            request.setHeader(b"Content-Range", b"bytes */%d" % size)
            raise Problem(416, f"there are {size} bytes") from None
    try:
        file = await calls.run(folder.read, message.sha256)
    except FileNotFoundError:
        raise Problem(404, "the file is not there any more") from None
    pieces, tail = _pieces(request, parts, size, message.sha256.encode())
    if request.method == b"HEAD":
        await calls.run(file.close)
        return b""
    download = Download(request, calls)
    try:
        await download.send(file, pieces)
    except (OSError, StorageError):
        request.loseConnection()  # the headers have promised more: only a broken connection says that
        return NOT_DONE_YET
    if not download.is_gone:
        if tail:
            request.write(tail)
        request.finish()
    return NOT_DONE_YET


def _headers(message: Message, is_guarded: bool) -> list[tuple[bytes, bytes]]:
    is_safe = message.type in INLINE
    kind = (message.type or "") if is_safe else "application/octet-stream"
    place = "inline" if is_safe else "attachment"
    plain = unicodedata.normalize("NFKD", message.name or "").encode("ascii", "ignore").decode()
    plain = "".join(c for c in plain if c.isalnum() or c in " ._-").strip() or "file"
    shown = "".join(c for c in message.name or "file" if unicodedata.category(c) != "Cf")  # no turning round
    name = quote(shown.replace("/", "_").replace("\\", "_"), safe="")
    return [
        (b"Content-Type", kind.encode()),
        (b"Content-Disposition", f"{place}; filename=\"{plain}\"; filename*=UTF-8''{name}".encode()),
        (b"Content-Security-Policy", b"default-src 'none'; sandbox"),
        (b"Cross-Origin-Resource-Policy", b"same-origin"),
        (b"Cache-Control", b"private, no-cache" if is_guarded else b"private, max-age=31536000, immutable"),
        (b"Accept-Ranges", b"bytes"),
    ]


def _pieces(
    request: Request, parts: list[tuple[int, int]] | None, size: int, boundary: bytes
) -> tuple[list[tuple[bytes, int, int]], bytes]:
    """What is sent: for each part the bytes before it, its first and its last byte; and the end of all.

    The `boundary` of several parts is the file's hash, which no file can be made to hold.
    """
    if parts is None:
        request.setHeader(b"Content-Length", b"%d" % size)
        return [(b"", 0, size - 1)], b""
    request.setResponseCode(206)
    if len(parts) == 1:
        first, last = parts[0]
        request.setHeader(b"Content-Range", b"bytes %d-%d/%d" % (first, last, size))
        request.setHeader(b"Content-Length", b"%d" % (last - first + 1))
        return [(b"", first, last)], b""
    kinds = request.responseHeaders.getRawHeaders(b"Content-Type") or [b""]
    request.setHeader(b"Content-Type", b"multipart/byteranges; boundary=" + boundary)
    pieces = [
        (
            b"\r\n--%s\r\nContent-Type: %s\r\nContent-Range: bytes %d-%d/%d\r\n\r\n"
            % (boundary, kinds[0], first, last, size),
            first,
            last,
        )
        for first, last in parts
    ]
    tail = b"\r\n--%s--\r\n" % boundary
    length = sum(len(before) + last - first + 1 for before, first, last in pieces) + len(tail)
    request.setHeader(b"Content-Length", b"%d" % length)
    return pieces, tail
