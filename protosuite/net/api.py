"""JSON over HTTP: coroutines that answer requests, with errors as RFC 9457 has them."""

from __future__ import annotations

import errno
import gzip
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from protosuite.errors import Overloaded, PeerFault, StorageError, StorageFull
from protosuite.messages import read
from protosuite.net.handshake import is_allowed

log = Logger()

_MIN_GZIP = 1000  # bytes; less gains nothing
Answer = Callable[[Request], Awaitable[Any]]


class Problem(Exception):
    """Why a request is refused: a status, and a sentence for a person."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Api(Resource):
    """A resource of JSON. A subclass has :meth:`get`, :meth:`post` or both, which return what is sent.

    `origins` are the pages of other hosts that may use it, as in :class:`~.handshake.Terms`.
    """

    isLeaf = True

    def __init__(self, origins: Sequence[str]) -> None:
        super().__init__()
        self._origins = origins
        found: dict[bytes, Answer | None] = {
            b"GET": getattr(self, "get", None),
            b"HEAD": getattr(self, "get", None),
            b"POST": getattr(self, "post", None),
        }
        self._answers: Mapping[bytes, Answer] = {
            name: call for name, call in found.items() if call is not None
        }

    def render(self, request: Request) -> Any:
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"Vary", b"Origin, Accept-Encoding")
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        async def answer() -> None:
            try:
                check_caller(request, self._origins)
                if self.isLeaf and request.postpath:
                    raise Problem(404, "there is nothing below this")
                value = await self._answer(request)
            except Exception as error:
                value = refuse(request, error)
            if not gone and value is not NOT_DONE_YET:
                request.write(value if isinstance(value, bytes) else encode(request, value))
                request.finish()

        Deferred.fromCoroutine(answer()).addErrback(_unforeseen, request, gone)
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> Any:
        call = self._answers.get(request.method)
        allowed = ", ".join(sorted(name.decode() for name in self._answers))
        if call is not None:
            return await call(request)
        request.setHeader(b"Allow", f"{allowed}, OPTIONS".encode())
        if request.method != b"OPTIONS":
            raise Problem(405, f"this takes {allowed}")
        request.setHeader(b"Access-Control-Allow-Methods", allowed.encode())
        request.setHeader(b"Access-Control-Allow-Headers", b"Content-Type")
        request.setHeader(b"Access-Control-Max-Age", b"600")
        request.setResponseCode(204)
        return b""


class Nothing(Api):
    """Where an API has nothing: 404, as everything else says it."""

    async def _answer(self, request: Request) -> Any:
        raise Problem(404, "there is nothing here")


def check_caller(request: Request, origins: Sequence[str]) -> None:
    """Refuse pages of others, also those that had their name point to us (DNS rebinding)."""
    host = request.getHeader(b"host")
    if not is_own(host, origins):
        name = (host or b"").decode("latin-1")
        raise Problem(421, f"not known as {name!r}: a setting `origins` says under which names it is")
    origin = request.getHeader(b"origin")
    if origin is None:
        return
    text = origin.decode("latin-1")
    if not is_allowed(text, host, origins):
        raise Problem(403, f"pages of {text} may not do this: a setting `origins` says which may")
    request.setHeader(b"Access-Control-Allow-Origin", origin)


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
    status, detail = 500, "something went wrong here"
    if isinstance(error, Problem):
        status, detail = error.status, error.detail
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
    fields = {
        "type": "about:blank",
        "title": phrase,
        "status": status,
        "detail": detail,
    }
    return encode(request, fields, "application/problem+json")


def integer(
    request: Request, name: str, minimum: int, maximum: int, default: int | None = None
) -> int | None:
    """A whole number of the query; `default` if it is not there."""
    text = word(request, name)
    if text is None:
        return default
    if re.fullmatch("-?[0-9]{1,18}", text) is None or not minimum <= int(text) <= maximum:
        raise Problem(400, f"{name} must be a whole number from {minimum} to {maximum}")
    return int(text)


def word(request: Request, name: str) -> str | None:
    """A parameter of the query; None if it is not there."""
    values = request.args.get(name.encode(), [])
    if not values:
        return None
    if len(values) > 1:
        raise Problem(400, f"{name} is given {len(values)} times")
    try:
        return str(values[0], "utf-8")
    except UnicodeDecodeError:
        raise Problem(400, f"{name} is not UTF-8") from None


def body(request: Request) -> dict[str, Any]:
    """The JSON object that a request brings."""
    kind = (request.getHeader(b"content-type") or b"").split(b";")[0].strip().lower()
    if kind != b"application/json":
        raise Problem(415, "the body must be application/json")
    assert request.content is not None
    try:
        return read(request.content.read())
    except PeerFault as fault:
        raise Problem(400, fault.message) from None


def _unforeseen(failure: Failure, request: Request, gone: list[object]) -> None:
    log.failure("an answer could not be written", failure=failure)
    if not gone:
        request.loseConnection()


def is_own(host: bytes | None, origins: Sequence[str]) -> bool:
    """Whether `host` is a name of ours: an address, localhost, or that of one of `origins`."""
    name = (host or b"").decode("latin-1").lower()
    if any(urlsplit(origin).netloc == name for origin in origins):
        return True
    try:
        return is_allowed(f"http://{name}", name, ())
    except ValueError:
        return False
