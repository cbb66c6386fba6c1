"""What there is on the port of mediachat.v1: the API, the pages and the doors of the WebSockets."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from protosuite.auth.rules import Action
from protosuite.auth.tokens import Identity
from protosuite.config import MediaChatConfig
from protosuite.errors import BadRequest
from protosuite.mediachat.client_talk import ClientTalk
from protosuite.mediachat.desk_talk import DeskTalk
from protosuite.mediachat.media.download import serve
from protosuite.mediachat.media.interface import MediaStore
from protosuite.mediachat.posting import MAX_ID, Posting, checked, id_of, key_of, refusal
from protosuite.mediachat.store import MediaChatStore, as_fields
from protosuite.mediachat.tables import Chat, Message, New
from protosuite.mediachat.wire import TEXT
from protosuite.net.access import Access
from protosuite.net.answers import encode_apart
from protosuite.net.api import Api, Nothing, Problem, body, integer, word
from protosuite.net.handshake import Terms
from protosuite.net.login import add_login
from protosuite.net.pages import Pages
from protosuite.storage.workers import Calls

# Characters of a page's messages: as many are encoded and compressed at once, in a millisecond at most. A
# hundred of the longest texts take 60 ms, or 300 if nothing in them is said twice.
_AT_ONCE = 4096


class Service(Interface):
    """What the API needs."""

    config: MediaChatConfig
    store: MediaChatStore
    folder: MediaStore
    calls: Calls
    terms: Terms
    access: Access
    reactor: Any

    def now(self) -> int:
        """Milliseconds since the epoch."""

    def client(self, client_id: int, who: Identity | None) -> ClientTalk:
        """A new connection of a client."""

    def desk(self, who: Identity | None) -> DeskTalk:
        """A new console."""

    async def present(self, chat_ids: Collection[int]) -> dict[int, int]:
        """With how many connections the clients of chats are there."""

    def added(self, message: Message) -> None:
        """A message has been stored."""

    def has_read(self, chat: Chat) -> None:
        """The desk has read a chat."""


class Root(Pages):
    """``/``: the client's page, and all the rest. What asks for no :class:`.Action` is for everybody."""

    def __init__(self, service: Service) -> None:
        super().__init__(Path(__file__).parent / "pages")
        self._access = service.access
        self.putChild(b"ws", _Doors(service))
        self.putChild(b"console", _Console(service, self))
        self.putChild(b"chats", _Chats(service))
        self.putChild(b"messages", _Messages(service))
        self.putChild(b"media", _Media(service))
        self.putChild(b"openapi.json", _Description(service.access))
        add_login(self, service.access, service.reactor)

    def render_GET(self, request: Request) -> bytes:
        refusal = self._access.page(request, Action.MEDIACHAT_TALK)
        return self.send(request, "index.html") if refusal is None else refusal


class _Doors(Resource):
    """``/ws/``."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service

    def getChild(self, path: bytes, request: Request) -> IResource:
        client_id = id_of(path)
        if client_id is None or request.postpath:
            return notFound()
        return _Door(self._service, client_id)


class _Door(Resource):
    """``/ws/{id}``."""

    isLeaf = True

    def __init__(self, service: Service, client_id: int) -> None:
        super().__init__()
        self._service = service
        self._client_id = client_id

    def render_GET(self, request: Request) -> Any:
        service, client_id = self._service, self._client_id
        return service.access.door(
            request,
            service.terms,
            Action.MEDIACHAT_TALK,
            str(client_id),
            lambda who: service.client(client_id, who),
        )


class _Console(Resource):
    """``/console``, the page, and ``/console/ws``."""

    def __init__(self, service: Service, pages: Pages) -> None:
        super().__init__()
        self._access = service.access
        self._pages = pages
        self.putChild(b"ws", _DeskDoor(service))

    def getChild(self, path: bytes, request: Request) -> IResource:
        return notFound()

    def render_GET(self, request: Request) -> Any:
        refusal = self._access.page(request, Action.MEDIACHAT_DESK)
        return self._pages.send(request, "console.html") if refusal is None else refusal


class _DeskDoor(Resource):
    isLeaf = True

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service

    def render_GET(self, request: Request) -> Any:
        service = self._service
        return service.access.door(request, service.terms, Action.MEDIACHAT_DESK, "", service.desk)


class _Chats(Api):
    """``/chats``, and below it what the desk does in one."""

    isLeaf = False

    def __init__(self, service: Service) -> None:
        super().__init__(service.access)
        self._service = service

    def getChild(self, path: bytes, request: Request) -> IResource:
        chat_id, rest = id_of(path), request.postpath or []
        what = _IN_A_CHAT.get(rest[0]) if len(rest) == 1 else None
        if chat_id is None or what is None:
            return Nothing(self.access)
        rest.clear()
        return what(self._service, chat_id)

    def asks(self, request: Request) -> tuple[Action, str]:
        client_id = integer(request, "client_id", 1, MAX_ID)
        if client_id is None:
            return Action.MEDIACHAT_DESK, ""
        return Action.MEDIACHAT_READ, str(client_id)

    async def get(self, request: Request) -> Any:
        limit = integer(request, "limit", 1, 100, 10)
        client_id = integer(request, "client_id", 1, MAX_ID)
        found = await self._service.store.chats(limit or 10, client_id, _place(word(request, "after")))
        last = found[-1] if len(found) == limit else None
        present = await self._service.present([chat.id for chat in found])
        items = [{**chat.fields(), "connected": present[chat.id]} for chat in found]
        return {"items": items, "next": f"{last.active_at}.{last.id}" if last else None}


class _Messages(Api):
    """``/messages``."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.access)
        self._service = service

    def asks(self, request: Request) -> tuple[Action, None]:
        return Action.MEDIACHAT_READ, None  # whose chat it is will be seen

    async def get(self, request: Request) -> Any:
        chat_id = integer(request, "chat_id", 1, MAX_ID)
        if chat_id is None:
            raise Problem(400, "chat_id must be there: whose messages?")
        limit = integer(request, "limit", 1, 100, 10) or 10
        before = integer(request, "before", 0, MAX_ID)
        after = integer(request, "after", 0, MAX_ID)
        offset = integer(request, "offset", 0, MAX_ID)
        store, found = self._service.store, None
        if await _may_read(self._service, request, chat_id):
            found = await store.page(chat_id, limit, before=before, after=after, offset=offset or 0)
        if found is None:
            raise Problem(404, f"there is no chat {chat_id}")
        if sum(len(each.text or each.name or "") for each in found) <= _AT_ONCE:
            return _items(found)
        return await encode_apart(request, partial(_items, found), store.compute)


class _InChat(Api):
    """Something below ``/chats/{id}/``: what the desk does."""

    def __init__(self, service: Service, chat_id: int) -> None:
        super().__init__(service.access)
        self._service = service
        self._chat_id = chat_id

    def asks(self, request: Request) -> tuple[Action, str]:
        return Action.MEDIACHAT_DESK, ""

    async def _add(self, request: Request, new: New) -> Any:
        try:
            message, is_new = await self._service.store.add(new)
        except BadRequest as error:
            raise refusal(error) from None
        if is_new:
            self._service.added(message)
        present = await self._service.present([self._chat_id])
        request.setResponseCode(201 if present[self._chat_id] else 202)
        return message.fields()


class _Said(_InChat):
    """``/chats/{id}/messages``."""

    async def post(self, request: Request) -> Any:
        fields = body(request)
        text, key = checked(fields.get("text"), TEXT, "text"), key_of(fields.get("key"))
        new = New(self._chat_id, "desk", "text", self._service.now(), text=text, key=key)
        return await self._add(request, new)


class _Read(_InChat):
    """``/chats/{id}/read``."""

    async def post(self, request: Request) -> Any:
        upto = body(request).get("upto")
        if isinstance(upto, float) and upto.is_integer():  # to JSON 7.0 is 7
            upto = int(upto)
        if type(upto) is not int or not 0 <= upto <= MAX_ID:
            raise Problem(400, "upto must be the id of a message")
        chat = await self._service.store.read(self._chat_id, upto)
        if chat is None:
            raise Problem(404, f"there is no chat {self._chat_id}")
        self._service.has_read(chat)
        return {**chat.fields(), "connected": (await self._service.present([chat.id]))[chat.id]}


class _Sent(_InChat):
    """``/chats/{id}/media``. The body has gone to the disk as it came: see :mod:`.posting`."""

    async def post(self, request: Request) -> Any:
        posting: object = request.content
        assert isinstance(posting, Posting)
        try:
            stored = await posting.stored()
        except BadRequest as error:
            raise refusal(error) from None
        new = New(
            self._chat_id,
            "desk",
            posting.kind,
            self._service.now(),
            name=posting.name,
            size=stored.size,
            type=stored.type,
            sha256=stored.sha256,
            key=posting.key,
        )
        return await self._add(request, new)


_IN_A_CHAT: dict[bytes, type[_InChat]] = {b"messages": _Said, b"media": _Sent, b"read": _Read}


class _Media(Api):
    """``/media`` and ``/media/{id}``."""

    def __init__(self, service: Service, message_id: int | None = None) -> None:
        super().__init__(service.access)
        self._service = service
        self._message_id = message_id
        self.isLeaf = message_id is not None

    def getChild(self, path: bytes, request: Request) -> IResource:
        message_id = id_of(path)
        if message_id is None or request.postpath:
            return Nothing(self.access)
        return _Media(self._service, message_id)

    def asks(self, request: Request) -> tuple[Action, None]:
        return Action.MEDIACHAT_READ, None  # whose chat it is in will be seen

    async def get(self, request: Request) -> Any:
        service = self._service
        message = None if self._message_id is None else await service.store.message(self._message_id)
        if (
            message is None
            or message.sha256 is None
            or not await _may_read(service, request, message.chat_id)
        ):
            raise Problem(404, "there is no such media message")
        return await serve(request, message, service.folder, service.calls, self.access.guard.is_on)


class _Description(Api):
    """``/openapi.json``."""

    def __init__(self, access: Access) -> None:
        super().__init__(access)
        self._text = json.loads((files("protosuite.mediachat") / "openapi.json").read_text("utf-8"))

    def asks(self, request: Request) -> None:
        return None

    async def get(self, request: Request) -> Any:
        return self._text


def _items(found: list[Message]) -> dict[str, Any]:
    return {"items": as_fields(found)}


async def _may_read(service: Service, request: Request, chat_id: int) -> bool:
    """Whether who asks may see a chat that there is. Who may not is not told that there is one."""
    if not service.access.guard.is_on:
        return True
    client_id = await service.store.client_of(chat_id)
    return service.access.may(request, Action.MEDIACHAT_READ, str(client_id))


def _place(text: str | None) -> tuple[int, int] | None:
    """Where a page of chats ended."""
    if text is None:
        return None
    at, found, id = text.partition(".")
    if not found or not (at + id).isascii() or not at.isdigit() or not id.isdigit() or len(text) > 40:
        raise Problem(400, "after must be the `next` of the page before")
    return min(int(at), MAX_ID), min(int(id), MAX_ID)
