"""What was said in a client's chat, over the HTTP API: page by page, from the newest backwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from protosuite.errors import PeerFault, ServerRefused

_PAGE = 100  # as many as the server gives at once
_MAX_BODY = 16 << 20  # bytes; a hundred of the longest texts are less than 7 MiB
_LAST = 2**53 - 1
_FIELDS: dict[str, type] = {"id": int, "from": str, "kind": str, "status": str, "at": int}


class _Body(Protocol):
    """Reads the body of an answer."""

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._stop())
        self._pieces: list[bytes] = []
        self._left = _MAX_BODY

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._stop()
        else:
            self._pieces.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if self._left < 0:
            self.done.errback(PeerFault("too-large", "the server's answer has no end"))
        elif reason.check(ResponseDone):
            self.done.callback(b"".join(self._pieces))
        else:
            self.done.errback(ConnectionError("the connection was lost"))

    def _stop(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


class History:
    """The messages of client `client_id` on the server at `base`, ``http://127.0.0.1:8000``.

    `on_page` is called whenever the server has answered. `token` says who asks.
    """

    def __init__(
        self,
        agent: Agent,
        base: str,
        client_id: int,
        on_page: Callable[[], None],
        token: str | None = None,
    ) -> None:
        self._agent = agent
        self._on_page = on_page
        self._base = base
        self._client_id = client_id
        self._headers = Headers()
        if token is not None:
            self._headers.addRawHeader("Authorization", f"Bearer {token}")

    async def read(self, limit: int, before: int | None = None) -> list[dict[str, Any]]:
        """The last `limit` messages, those before id `before`, oldest first.

        Raises :exc:`ServerRefused`, :exc:`PeerFault` for nonsense, and `ConnectionError`.
        """
        chats = await self._get("chats", {"client_id": self._client_id, "limit": 1})
        if not chats:
            return []
        if type(chats[0].get("id")) is not int:
            raise PeerFault("bad-field", "the server's answer makes no sense: a chat without an id")
        found: list[dict[str, Any]] = []  # newest first
        place = _LAST if before is None else before
        while len(found) < limit:
            wanted = min(limit - len(found), _PAGE)
            page = await self._get("messages", {"chat_id": chats[0]["id"], "limit": wanted, "before": place})
            if not all(type(item.get(name)) is kind for item in page for name, kind in _FIELDS.items()):
                raise PeerFault("bad-field", "the server's answer makes no sense: no message")
            found += reversed(page)
            if len(page) < wanted:
                break
            if page[0]["id"] >= place:
                raise PeerFault("bad-order", "the server's answer makes no sense: it goes round in circles")
            place = page[0]["id"]
        return found[::-1]

    async def _get(self, path: str, query: dict[str, int]) -> list[dict[str, Any]]:
        """The items of a page."""
        url = f"{self._base}/{path}?{urlencode(query)}"
        try:
            response = await self._agent.request(b"GET", url.encode(), self._headers)
            body = await _read(response)
        except ResponseFailed as error:
            raise ConnectionError(f"the connection was lost ({error.reasons[0].value})") from None
        self._on_page()
        fields = _json(body)
        if response.code != 200:
            told = fields if isinstance(fields, dict) else {}
            code = str(told.get("code") or response.code)
            raise ServerRefused(code, str(told.get("detail") or "the server does not give its messages"))
        items = fields.get("items") if isinstance(fields, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise PeerFault("bad-json", "the server's answer makes no sense: no list of items")
        return items


def _read(response: IResponse) -> Deferred[bytes]:
    body = _Body()
    response.deliverBody(body)
    return body.done


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
