"""Who asks, over HTTP: the token of a request, what its bearer may do, and the answer if that is not enough.

Programs send ``Authorization: Bearer``; browsers have the token in a cookie, which the page of
:mod:`~protosuite.net.login` sets. What a browser sends because a page of others asked it to does not count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from twisted.web.server import Request

from protosuite.auth.guard import Guard
from protosuite.auth.rules import AnyAction
from protosuite.auth.tokens import Identity
from protosuite.errors import Forbidden, Unauthenticated
from protosuite.net.answers import refuse
from protosuite.net.handshake import Terms, is_allowed, upgrade, wants_upgrade
from protosuite.net.pages import send_login
from protosuite.net.websocket import Talk

COOKIE = "protosuite_token"
LOGIN = "/login"

_MAX_PATH = 2000  # characters of an address to come back to
_SHOWN = 100  # of them in a line of the log
# A path of ours: not //host or /\host, and nothing that a browser would pass over or turn into one.
_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")

Turned = Callable[[str, str, str], object]


class Access:
    """Asks `guard` for each request. What is refused goes to `turned_down`: a peer, a code, a reason.

    `origins` are the pages of other hosts that may use a service, as in :class:`~.handshake.Terms`. `wall`
    gives seconds since the epoch. With `secure_cookie` a browser sends its cookie over TLS alone, even if
    the login did not come over TLS as far as can be seen from here: behind a proxy that ends it.
    """

    def __init__(
        self,
        guard: Guard,
        turned_down: Turned,
        wall: Callable[[], float],
        origins: Sequence[str] = (),
        secure_cookie: bool = False,
    ) -> None:
        self.guard = guard
        self.origins = origins
        self._turned_down = turned_down
        self._wall = wall
        self._secure_cookie = secure_cookie

    # Who it is.

    def identify(self, request: Request) -> Identity | None:
        """Who asks; None where no token is asked for. Raises :exc:`Unauthenticated`, :exc:`Forbidden`."""
        if not self.guard.is_on:
            return None
        tokens = _bearers(request)
        if len(tokens) > 1:
            raise Unauthenticated("one token is enough")
        token = tokens[0] if tokens else None
        if token is None and (token := _cookie(request)) is not None:
            self._check_page(request)
        who: Identity | None = self.guard.verify(token)
        request.who = who  # type: ignore[attr-defined]  # ours has it, for what is logged
        return who

    def admit(self, request: Request, action: AnyAction, resource: str | None = None) -> Identity | None:
        """Who asks, if they may do that; without a `resource`, to what is their own. Raises as above."""
        who = self.identify(request)
        own = "" if who is None else who.subject
        self.guard.check(who, action, own if resource is None else resource)
        return who

    def may(self, request: Request, action: AnyAction, resource: str) -> bool:
        """Whether who asks, and has been admitted, may also do this. If not it is counted as refused."""
        try:
            self.guard.check(getattr(request, "who", None), action, resource)
        except (Unauthenticated, Forbidden) as error:
            self.turn_down(request, error.code, error.message)
            return False
        return True

    def brings_token(self, request: Request) -> bool:
        """Whether there is a token that could say who asks."""
        return self.guard.is_on and (bool(_bearers(request)) or _cookie(request) is not None)

    def _check_page(self, request: Request) -> None:
        """A cookie comes whichever page asks: one that changes anything or opens a socket must be ours."""
        origins = _values(request, b"origin")
        site = request.getHeader(b"sec-fetch-site")
        reads = request.method in (b"GET", b"HEAD") and not wants_upgrade(request)
        if origins:
            host = request.getHeader(b"host")
            is_ours = all(is_allowed(origin, host, self.origins) for origin in origins)
        elif site is not None:
            is_opened = (
                request.getHeader(b"sec-fetch-mode") == b"navigate"
            )  # by a person, who sees the answer
            is_ours = site == b"same-origin" or (reads and (site == b"none" or is_opened))
        else:
            is_ours = reads
        if not is_ours:
            raise Forbidden("a page of another origin, or of none, asked for this with the cookie of a login")

    # What they get.

    def page(self, request: Request, action: AnyAction) -> bytes | None:
        """None if a page may be shown: one on which `action` is done to what is the reader's own.

        Otherwise the answer.
        """
        try:
            self.admit(request, action)
        except (Unauthenticated, Forbidden) as error:
            return self.refuse(request, error)
        return None

    def door(
        self,
        request: Request,
        terms: Terms,
        action: AnyAction,
        resource: str,
        talk: Callable[[Identity | None], Talk],
    ) -> Any:
        """Answer a WebSocket's handshake: as :func:`~.handshake.upgrade`, for who may do this."""
        try:
            who = self.admit(request, action, resource)
        except (Unauthenticated, Forbidden) as error:
            return self.refuse(request, error)
        return upgrade(request, terms, lambda: talk(who))

    def refuse(self, request: Request, error: Exception) -> bytes:
        """The answer to a request that failed; one for a page that needs a token sends the reader to get one.

        What is refused is counted and logged, without what it is refused for: a token, or none.
        """
        if isinstance(error, Unauthenticated) and is_navigation(request):
            if self.brings_token(request):
                self.turn_down(request, error.code, error.message)
            return see_other(request, login_address(request))
        if isinstance(error, Unauthenticated | Forbidden):
            self.turn_down(request, error.code, error.message)
        if isinstance(error, Forbidden) and is_navigation(request):
            return send_login(request, own_path(request.uri.decode("latin-1")), 403)
        return refuse(request, error)

    def turn_down(self, request: Request, code: str, reason: str) -> None:
        """Count and log what is refused."""
        peer = str(getattr(request, "peer", "?"))
        who: Identity | None = getattr(request, "who", None)
        if who is not None:
            peer += f", {who.role} {who.subject},"
        what = f"{request.method.decode('latin-1')[:8]} {request.path.decode('latin-1')[:_SHOWN]}"
        self._turned_down(peer, code, f"{what}: {reason}")

    def hold(self, request: Request, who: Identity | None) -> None:
        """Cut a request off, whose answer is still on its way, when the token is no longer good."""
        channel: Any = request.channel
        if who is None or channel is None:
            return

        def end(reason: Unauthenticated) -> None:
            self.turn_down(request, reason.code, reason.message)
            channel.connection.transport.abortConnection()

        hold = self.guard.hold(who, end)
        request.notifyFinish().addBoth(lambda _: hold.release())

    # Cookies.

    def cookie(self, request: Request, token: str, who: Identity) -> bytes:
        """What sets the cookie. It is sent with what our own pages ask for, and read by no script."""
        age = max(0, int(who.expires - self._wall()))
        return self._cookie(request, token, age)

    def no_cookie(self, request: Request) -> bytes:
        """What takes it back."""
        return self._cookie(request, "", 0)

    def _cookie(self, request: Request, value: str, age: int) -> bytes:
        secure = "; Secure" if self._secure_cookie or request.isSecure() else ""
        return f"{COOKIE}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}".encode()


def _values(request: Request, name: bytes) -> list[str]:
    """All headers of a name; whatever bytes there are in them."""
    return [value.decode("latin-1") for value in request.requestHeaders.getRawHeaders(name, [])]


def _bearers(request: Request) -> list[str]:
    """The tokens of ``Authorization: Bearer``. Other schemes may be for a proxy, and are passed over."""
    return [
        words[2].strip()
        for value in _values(request, b"authorization")
        if (words := value.strip().partition(" "))[0].lower() == "bearer"
    ]


def _cookie(request: Request) -> str | None:
    for header in _values(request, b"cookie"):
        for pair in header.split(";"):
            name, _, value = pair.strip().partition("=")
            if name == COOKIE and value:
                return value
    return None


def is_navigation(request: Request) -> bool:
    """Whether a person opens this in a browser."""
    accept = request.getHeader(b"accept") or b""
    return request.method in (b"GET", b"HEAD") and b"text/html" in accept.lower()


def own_path(text: str | None) -> str:
    """`text` if it is an address of ours to go to after the login, else that of the first page."""
    if text is None or len(text) > _MAX_PATH or _PATH.fullmatch(text) is None:
        return "/"
    return "/" if text.partition("?")[0] in (LOGIN, "/logout") else text


def login_address(request: Request) -> str:
    """Where one gets a token for this page, and comes back to it."""
    return f"{LOGIN}?next={quote(own_path(request.uri.decode('latin-1')), safe='')}"


def see_other(request: Request, address: str) -> bytes:
    """An answer that sends a browser elsewhere."""
    request.setResponseCode(303, HTTPStatus.SEE_OTHER.phrase.encode())
    request.setHeader(b"Location", address.encode("ascii"))
    request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"Content-Length", b"0")
    return b""
