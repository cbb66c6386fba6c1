"""A notice that everybody sees, over HTTP and WebSocket: a service of one's own for protosuite.

``GET /notice`` gives ``{"text": "closed on Monday"}``, ``POST /notice`` with such a body puts up another one,
and a WebSocket at ``/`` is told each as it is put up. A stop takes it down: how to keep something is in the
sample `tally`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import frozen
from twisted.web.resource import Resource
from twisted.web.server import Request

from protosuite.extending import (
    GOING_AWAY,
    UNAUTHENTICATED,
    Api,
    Extension,
    Identity,
    Problem,
    Rule,
    Scope,
    ServiceAction,
    Shared,
    Unauthenticated,
    WebConfig,
    WebService,
    WebSocket,
    add_login,
    body,
    count,
    listening_on,
    setting,
)

READ = ServiceAction("read the notice", Rule(Scope.ALL, Scope.ALL, Scope.ALL))
PUT_UP = ServiceAction("put up a notice", Rule(Scope.NONE, Scope.ALL, Scope.ALL))


@frozen(kw_only=True)
class BoardConfig(WebConfig):
    """``[board]``: a notice that everybody sees."""

    listen: tuple[str, ...] = listening_on(8091)
    max_text: int = setting(500, count(1, 10_000), "Most characters of the notice.")


class BoardService(WebService):
    """The notice, and who is told of the next one."""

    def __init__(self, config: BoardConfig, shared: Shared) -> None:
        super().__init__(
            "board", "board.v1", config, shared.reactor, shared.wall, shared.guard, shared.secure_cookie
        )
        self.max_text = config.max_text
        self.notice = {"text": ""}
        self.readers: set[WebSocket] = set()
        self._publish = shared.publish
        root: Any = Resource()  # a type checker that does not know of interfaces takes no other
        root.putChild(b"", Entrance(self))
        root.putChild(b"notice", Notice(self))
        add_login(root, self.access, shared.reactor)
        self.serve(root)

    def overview(self) -> Mapping[str, object]:
        return {"notice": self.notice["text"], "readers": len(self.readers)}

    def put_up(self, text: str) -> None:
        """From now on this is the notice."""
        self.notice = {"text": text}
        for socket in list(self.readers):  # a slow one may leave meanwhile
            socket.send_text(json.dumps(self.notice).encode())
        self._publish("board.notice", self.notice)


class Notice(Api):
    """``/notice``."""

    def __init__(self, service: BoardService) -> None:
        super().__init__(service.access)
        self._service = service

    def asks(self, request: Request) -> tuple[ServiceAction, str]:
        return (PUT_UP if request.method == b"POST" else READ), ""

    async def get(self, request: Request) -> Any:
        return self._service.notice

    async def post(self, request: Request) -> Any:
        text = body(request).get("text")
        if not isinstance(text, str) or len(text) > self._service.max_text:
            raise Problem(400, f"text must be at most {self._service.max_text} characters")
        self._service.put_up(text)
        return self._service.notice


class Entrance(Resource):
    """``/``: the WebSocket."""

    isLeaf = True

    def __init__(self, service: BoardService) -> None:
        super().__init__()
        self._service = service

    def render_GET(self, request: Request) -> Any:
        service = self._service
        return service.access.door(request, service.terms, READ, "", lambda who: Reader(service, who))


class Reader:
    """One who is told, for as long as the token is good; what they say is passed over."""

    def __init__(self, service: BoardService, who: Identity | None) -> None:
        self._service = service
        self._who = who

    def began(self, socket: WebSocket) -> None:
        self._socket = socket
        self._hold = self._service.access.guard.hold(self._who, self._token_ended)
        self._service.readers.add(socket)
        socket.send_text(json.dumps(self._service.notice).encode())

    def text(self, text: str) -> None:
        """Nothing."""

    def binary(self, data: bytes) -> None:
        """Nothing."""

    def drained(self) -> None:
        """Nothing waits for that."""

    def stopping(self) -> None:
        self._socket.close(*GOING_AWAY)

    def ended(self, code: int, reason: str) -> None:
        self._hold.release()
        self._service.readers.discard(self._socket)

    def _token_ended(self, reason: Unauthenticated) -> None:
        self._socket.close(UNAUTHENTICATED, reason.message)


board = Extension(BoardConfig, BoardService, has_tokens=True)
