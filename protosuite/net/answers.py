"""What is answered over HTTP: JSON, and errors as RFC 9457 has them."""

from __future__ import annotations

import errno
import gzip
import json
from http import HTTPStatus
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from protosuite.errors import Forbidden, Overloaded, StorageError, StorageFull, Unauthenticated

log = Logger()

_MIN_GZIP = 1000  # bytes; less gains nothing


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
    data = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    request.setHeader(b"Content-Type", kind.encode())
    accepted = (request.getHeader(b"accept-encoding") or b"").lower()
    if len(data) >= _MIN_GZIP and b"gzip" in accepted and b"gzip;q=0" not in accepted.replace(b" ", b""):
        request.setHeader(b"Content-Encoding", b"gzip")
        data = gzip.compress(data, compresslevel=5, mtime=0)
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
    elif isinstance(error, StorageFull) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
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
