"""What is answered over HTTP: JSON, and errors as RFC 9457 has them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from http import HTTPStatus
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from protosuite.errors import Forbidden, Overloaded, StorageError, Unauthenticated, is_full

log = Logger()

_MIN_GZIP = 1000  # bytes; less gains nothing
_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)

Packed = tuple[bytes, bool]  # what is sent, and whether that is compressed
Run = Callable[[Callable[[], Packed]], Awaitable[Packed]]


class Problem(Exception):
    """Why a request is refused: a status, and a sentence for a person.

    With a `code` it is counted and logged under that, as what strangers try.
    """

    def __init__(self, status: int, detail: str, code: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code


def encode(request: Request, value: Any, kind: str = "application/json") -> bytes:
    """A JSON body, with its headers; compressed if the client takes that and it is worth it."""
    return _described(request, _packed([_JSON.encode(value)], _takes_gzip(request)), kind)


async def encode_apart(request: Request, make: Callable[[], Any], run: Run) -> bytes:
    """As :func:`encode`, for what takes milliseconds: `run` calls a function in a thread.

    What is sent is made there, too, by `make`: nothing that it looks at may change meanwhile.
    """
    channel: Any = request.channel
    if channel is None:  # the client went while others were asked
        return b""
    packed = await run(partial(_made, make, _takes_gzip(request)))
    return _described(request, packed, "application/json")


def _made(make: Callable[[], Any], takes_gzip: bool) -> Packed:
    """In pieces, for the interpreter is kept for each: 20 ms for the whole of a page of long texts."""
    return _packed(_JSON.iterencode(make()), takes_gzip)


def _packed(pieces: Iterable[str], takes_gzip: bool) -> Packed:
    data = b"".join([piece.encode() for piece in pieces])
    if not takes_gzip or len(data) < _MIN_GZIP:
        return data, False
    return gzip.compress(data, compresslevel=5, mtime=0), True


def _takes_gzip(request: Request) -> bool:
    accepted = (request.getHeader(b"accept-encoding") or b"").lower()
    return b"gzip" in accepted and b"gzip;q=0" not in accepted.replace(b" ", b"")


def _described(request: Request, packed: Packed, kind: str) -> bytes:
    """What is sent, once its headers are set."""
    data, is_compressed = packed
    request.setHeader(b"Content-Type", kind.encode())
    if is_compressed:
        request.setHeader(b"Content-Encoding", b"gzip")
    request.setHeader(b"Content-Length", str(len(data)).encode())
    return data


def refuse(request: Request, error: Exception) -> bytes:
    """The answer to a request that failed. What was not foreseen is logged, and not told."""
    status, detail, code = 500, "something went wrong here", None
    if isinstance(error, Problem):
        status, detail, code = error.status, error.detail, error.code
    elif isinstance(error, Unauthenticated):
        status, detail, code = 401, error.message, error.code
        request.setHeader(b"WWW-Authenticate", b"Bearer")
    elif isinstance(error, Forbidden):
        status, detail, code = 403, error.message, error.code
    elif is_full(error):
        status, detail = 507, "there is no room for it now"
    elif isinstance(error, Overloaded):
        status, detail = 503, "too much waits to be done: try again"
    elif isinstance(error, StorageError):
        status, detail = 503, "the storage cannot do this now: try again"
    else:
        log.failure("a request failed", failure=Failure(error))
    if status == 503:
        request.setHeader(b"Retry-After", b"5")
    request.etag = None  # that, and this, is of what would have been sent
    request.responseHeaders.removeHeader(b"Content-Disposition")
    request.setHeader(b"Cache-Control", b"no-store")
    phrase = HTTPStatus(status).phrase
    request.setResponseCode(status, phrase.encode())
    fields = {"type": "about:blank", "title": phrase, "status": status, "detail": detail}
    if code is not None:
        fields["code"] = code
    return encode(request, fields, "application/problem+json")
