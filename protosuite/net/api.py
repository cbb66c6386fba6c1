"""JSON over HTTP: coroutines that answer requests, for those who may ask."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from protosuite.auth.rules import AnyAction
from protosuite.errors import PeerFault
from protosuite.messages import read
from protosuite.net.access import Access
from protosuite.net.answers import Problem, encode
from protosuite.net.handshake import is_allowed

log = Logger()

Answer = Callable[[Request], Awaitable[Any]]


class Api(Resource):
    """A resource of JSON. A subclass has :meth:`get`, :meth:`post` or both, which return what is sent.

    It says in :meth:`asks` who may ask; `access` looks whether it is one of them.
    """

    isLeaf = True

    def __init__(self, access: Access) -> None:
        super().__init__()
        self.access = access
        found: dict[bytes, Answer | None] = {
            b"GET": getattr(self, "get", None),
            b"HEAD": getattr(self, "get", None),
            b"POST": getattr(self, "post", None),
        }
        self._answers: Mapping[bytes, Answer] = {
            name: call for name, call in found.items() if call is not None
        }

    def asks(self, request: Request) -> tuple[AnyAction, str | None] | None:
        """What one must be allowed to do, as for :meth:`.Access.admit`; None if this is for everybody."""
        raise NotImplementedError

    def render(self, request: Request) -> Any:
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"Vary", b"Origin, Accept-Encoding")
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        async def answer() -> None:
            try:
                check_caller(request, self.access.origins)
                if self.isLeaf and request.postpath:
                    raise Problem(404, "there is nothing below this")
                value = await self._answer(request)
            except Exception as error:
                value = self._refuse(request, error)
            if not gone and value is not NOT_DONE_YET:
                request.write(value if isinstance(value, bytes) else encode(request, value))
                request.finish()

        Deferred.fromCoroutine(answer()).addErrback(_unforeseen, request, gone)
        return NOT_DONE_YET

    def _refuse(self, request: Request, error: Exception) -> bytes:
        if isinstance(error, Problem) and error.code is not None:
            self.access.turn_down(request, error.code, error.detail)
        return self.access.refuse(request, error)

    async def _answer(self, request: Request) -> Any:
        asked = None if request.method == b"OPTIONS" else self.asks(request)  # what a browser asks first
        if asked is not None:
            self.access.hold(request, self.access.admit(request, *asked))
        call = self._answers.get(request.method)
        allowed = ", ".join(sorted(name.decode() for name in self._answers))
        if call is not None:
            return await call(request)
        request.setHeader(b"Allow", f"{allowed}, OPTIONS".encode())
        if request.method != b"OPTIONS":
            raise Problem(405, f"this takes {allowed}")
        request.setHeader(b"Access-Control-Allow-Methods", allowed.encode())
        request.setHeader(b"Access-Control-Allow-Headers", b"Authorization, Content-Type")
        request.setHeader(b"Access-Control-Max-Age", b"600")
        request.setResponseCode(204)
        return b""


class Nothing(Api):
    """Where an API has nothing: 404, as everything else says it."""

    def asks(self, request: Request) -> None:
        return None

    async def _answer(self, request: Request) -> Any:
        raise Problem(404, "there is nothing here")


def check_caller(request: Request, origins: Sequence[str]) -> None:
    """Refuse pages of others, also those that had their name point to us (DNS rebinding)."""
    host = request.getHeader(b"host")
    if not is_own(host, origins):
        name = (host or b"").decode("latin-1")
        detail = f"not known as {name!r}: a setting `origins` says under which names it is"
        raise Problem(421, detail, "origin")
    origin = request.getHeader(b"origin")
    if origin is None:
        return
    text = origin.decode("latin-1")
    if not is_allowed(text, host, origins):
        detail = f"pages of {text} may not do this: a setting `origins` says which may"
        raise Problem(403, detail, "origin")
    request.setHeader(b"Access-Control-Allow-Origin", origin)


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


def check_plain(request: Request) -> None:
    """Refuse a body that is compressed: nobody asked for one, and nothing here grows by being read."""
    coding = (request.getHeader(b"content-encoding") or b"identity").strip().lower()
    if coding != b"identity":
        request.setHeader(b"Accept-Encoding", b"identity")  # RFC 9110, 12.5.3
        raise Problem(415, "the body must not be compressed")


def body(request: Request) -> dict[str, Any]:
    """The JSON object that a request brings."""
    check_plain(request)
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


__all__ = ["Api", "Nothing", "Problem", "body", "check_caller", "integer", "is_own", "word"]
