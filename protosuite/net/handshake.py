"""The answer to a request that asks for a WebSocket: who may connect, and what is spoken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen
from twisted.web.server import NOT_DONE_YET, Request
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeader, NegotiationError
from websockets.http11 import Request as Handshake
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Origin, Subprotocol

from protosuite.net.websocket import Limits, Talk
from protosuite.net.websocket_rules import ServerRules, deflate, max_size, silent


@frozen
class Terms:
    """How WebSockets are served: `subprotocol` is the one that is spoken, also with a client that names none.

    `origins` are pages of other hosts that may connect, as browsers name them: ``https://example.org``.
    """

    subprotocol: str
    limits: Limits = field(factory=Limits)
    origins: Sequence[str] = ()
    compression: bool = False


def wants_upgrade(request: Request) -> bool:
    """Whether a request asks for a WebSocket."""
    return b"websocket" in (request.getHeader(b"upgrade") or b"").lower()


def upgrade(request: Request, terms: Terms, talk: Callable[[], Talk]) -> Any:
    """Answer a handshake, for a resource's ``render``: 101 and a talk, or why not.

    It may be called later, too. What it returns then is the body to write, unless it is NOT_DONE_YET.
    """
    channel: Any = request.channel
    if channel is None:  # the client did not wait for the answer
        return NOT_DONE_YET
    try:
        headers = Headers(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, values in request.requestHeaders.getAllRawHeaders()
            for value in values
        )
    except InvalidHeader as error:
        return _refuse(request, 400, f"{error}\n")
    origin = headers.get_all("Origin")
    if origin and not is_allowed(origin[0], request.getHeader(b"host"), terms.origins):
        return _refuse(
            request, 403, f"pages of {origin[0]} may not connect: a setting `origins` says which may\n"
        )
    if request.getHeader(b"sec-websocket-version") not in (None, b"13"):
        request.setHeader(b"Sec-WebSocket-Version", b"13")
        request.setHeader(b"Upgrade", b"websocket")
        return _refuse(request, 426, "this server speaks version 13 of the WebSocket protocol\n")
    rules = ServerRules(
        origins=[None, Origin(origin[0])] if origin else None,
        subprotocols=[Subprotocol(terms.subprotocol)],
        select_subprotocol=_select,
        extensions=deflate() if terms.compression else None,
        max_size=max_size(terms.limits.max_message),
        logger=silent,
        state=State.OPEN,  # the request has been read already
    )
    asked = Handshake(
        request.uri.decode("latin-1"),
        headers,
        request.method.decode("latin-1"),
        request.clientproto.decode("latin-1"),
    )
    response = rules.accept(asked)
    if response.status_code != 101:
        return _answer(request, response)
    channel.upgrade(response.serialize(), rules, terms.limits, talk())
    return NOT_DONE_YET


def _select(rules: Any, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Ours, if it is offered; without any offer none is named, and ours is spoken."""
    ours: Subprotocol = rules.available_subprotocols[0]
    if offered and ours not in offered:
        raise NegotiationError(f"only {ours} is spoken here")
    return ours if offered else None


def _refuse(request: Request, status: int, text: str) -> bytes:
    request.setResponseCode(status, HTTPStatus(status).phrase.encode())
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
    return text.encode("utf-8", "backslashreplace")


def _answer(request: Request, response: Response) -> bytes:
    """The answer of the rules to a handshake that is none."""
    for name, value in response.headers.raw_items():
        if name.lower() not in ("connection", "content-length", "date"):
            request.setHeader(name.encode(), value.encode())
    request.setResponseCode(response.status_code, response.reason_phrase.encode())
    return bytes(response.body or b"")


def is_allowed(origin: str, host: str | bytes | None, origins: Sequence[str]) -> bool:
    """Whether a page of `origin` may connect to us, whom it called `host`.

    A page of ours may, if we are called by an address or as localhost: a foreign name in both could be
    one that was made to point here (DNS rebinding). Other names have to be among `origins`.
    """
    if origin in origins:
        return True
    name = host.decode("latin-1") if isinstance(host, bytes) else host
    try:
        parts = urlsplit(origin)
        own = urlsplit(f"//{name}").hostname
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or name is None or parts.netloc.lower() != name.lower():
        return False
    return own == "localhost" or _is_address(own or "")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
