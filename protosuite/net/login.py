"""Where a person gives their token to a browser: ``/login``, ``/logout``, and ``/whoami`` for pages.

The token goes into a cookie that no script can read. It may also come in the address of the page, behind
``#token=``, which no server is sent.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any
from urllib.parse import parse_qs, quote

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import Request

from protosuite.auth.tokens import Identity
from protosuite.errors import Forbidden, Unauthenticated
from protosuite.net.access import LOGIN, Access, own_path, see_other
from protosuite.net.answers import Problem
from protosuite.net.api import Api, body
from protosuite.net.limits import household
from protosuite.net.pages import send_login

_BURST = 10  # wrong tokens from one address at once; then one
_EVERY = 6.0  # seconds
_MAX_ADDRESSES = 1024  # that are remembered
_MAX_FIELDS = 4  # of a form


def add_login(root: Resource, access: Access, clock: IReactorTime) -> None:
    """Put the three below `root`."""
    root.putChild(b"login", Login(access, Attempts(clock)))
    root.putChild(b"logout", Logout(access))
    root.putChild(b"whoami", WhoAmI(access))


class Attempts:
    """How often somebody may be wrong. Addresses that belong together are one; the oldest are forgotten."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._paid: OrderedDict[str, float] = OrderedDict()  # when all that was wrong has been waited for

    def wait(self, host: str) -> float:
        """Seconds until somebody there may try again; 0 if they may."""
        paid = self._paid.get(host, 0.0) - self._clock.seconds()
        return max(0.0, paid - (_BURST - 1) * _EVERY)

    def failed(self, host: str) -> None:
        """It was wrong."""
        now = self._clock.seconds()
        self._paid[host] = max(self._paid.get(host, 0.0), now) + _EVERY
        self._paid.move_to_end(host)
        if len(self._paid) > _MAX_ADDRESSES:
            self._paid.popitem(last=False)


class Login(Api):
    """``/login``: the page, and what it posts. Programs may post, too: JSON is answered with JSON."""

    def __init__(self, access: Access, attempts: Attempts) -> None:
        super().__init__(access)
        self._attempts = attempts

    def asks(self, request: Request) -> None:
        return None

    async def get(self, request: Request) -> Any:
        goal = _next(request.args.get(b"next", []))
        return send_login(request, goal) if self.access.guard.is_on else see_other(request, goal)

    async def post(self, request: Request) -> Any:
        _check_site(request)
        is_form = _is_form(request)
        fields = _form(request) if is_form else body(request)
        goal = own_path(_text(fields, "next", "/"))
        try:
            cookie, who = self._try(request, _text(fields, "token"))
        except Unauthenticated as error:
            if not is_form:
                raise
            self.access.turn_down(request, error.code, error.message)
            # A browser without JavaScript has no other way to show it.
            return see_other(request, f"{LOGIN}?next={quote(goal, safe='')}#failed")
        if cookie is not None:
            request.responseHeaders.addRawHeader(b"Set-Cookie", cookie)
        return see_other(request, goal) if is_form else {**who, "next": goal}

    def _try(self, request: Request, token: str) -> tuple[bytes | None, dict[str, Any]]:
        """The cookie for a token, and whose it is."""
        access = self.access
        if not access.guard.is_on:
            return None, _person(None)
        host = household(str(getattr(request, "peer_host", "")))
        wait = self._attempts.wait(host)
        if wait:
            request.setHeader(b"Retry-After", str(int(wait) + 1).encode())
            raise Problem(429, f"too many wrong tokens: try again in {int(wait) + 1} s", "login-rate")
        try:
            who = access.guard.verify(token)
        except Unauthenticated:
            self._attempts.failed(host)
            raise
        assert who is not None
        return access.cookie(request, token, who), _person(who)


class Logout(Api):
    """``/logout``: the browser forgets the token, which stays good."""

    def asks(self, request: Request) -> None:
        return None

    async def post(self, request: Request) -> Any:
        _check_site(request)
        request.responseHeaders.addRawHeader(b"Set-Cookie", self.access.no_cookie(request))
        if _is_form(request):
            return see_other(request, LOGIN)
        request.setResponseCode(204)
        return b""


class WhoAmI(Api):
    """``/whoami``: whom a token is for; nobody without one. A token that is no good is refused."""

    def asks(self, request: Request) -> None:
        return None

    async def get(self, request: Request) -> Any:
        access = self.access
        who = access.identify(request) if access.brings_token(request) else None
        return {"authentication": access.guard.is_on, **_person(who)}


def _person(who: Identity | None) -> dict[str, Any]:
    if who is None:
        return {"role": None, "subject": None, "expires": None}
    return {"role": who.role, "subject": who.subject, "expires": who.expires * 1000}


def _text(fields: dict[str, Any], name: str, default: str | None = None) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise Problem(400, f"{name} must be text")
    return value.strip()


def _next(values: list[bytes]) -> str:
    return own_path(values[0].decode("latin-1") if values else None)


def _check_site(request: Request) -> None:
    """No page of others logs anybody in or out, not even one that hides where it is from."""
    if request.getHeader(b"origin") is None and request.getHeader(b"sec-fetch-site") not in (
        None,
        b"same-origin",
    ):
        raise Forbidden("pages of others may not do this")


def _is_form(request: Request) -> bool:
    kind = (request.getHeader(b"content-type") or b"").split(b";")[0].strip().lower()
    return kind == b"application/x-www-form-urlencoded"


def _form(request: Request) -> dict[str, Any]:
    assert request.content is not None
    try:
        text = request.content.read().decode("ascii")
        found = parse_qs(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise Problem(400, "this is no form with a token") from None
    return {name: values[0] for name, values in found.items()}
