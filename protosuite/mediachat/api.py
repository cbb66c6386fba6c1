"""What there is on the port of mediachat.v1: the API, the pages and the doors of the WebSockets."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from protosuite.config import MediaChatConfig
from protosuite.errors import BadRequest
from protosuite.mediachat.client_talk import ClientTalk
from protosuite.mediachat.desk_talk import DeskTalk
from protosuite.mediachat.download import serve
from protosuite.mediachat.media import MediaFolder
from protosuite.mediachat.posting import MAX_ID, Posting, checked, id_of, key_of, refusal
from protosuite.mediachat.store import Chat, MediaChatStore, Message, New, as_fields
from protosuite.mediachat.wire import TEXT
from protosuite.net.api import Api, Nothing, Problem, body, integer, word
from protosuite.net.pages import Pages
from protosuite.net.web import Terms, upgrade
from protosuite.storage.workers import Calls


class Service(Interface):
    """What the API needs."""

    config: MediaChatConfig
    store: MediaChatStore
    folder: MediaFolder
    calls: Calls
    terms: Terms

    def now(self) -> int:
        """Milliseconds since the epoch."""

    def client(self, client_id: int) -> ClientTalk:
        """A new connection of a client."""

    def desk(self) -> DeskTalk:
        """A new console."""

    def connected(self, chat_id: int) -> int:
        """With how many connections a client is there."""

    def added(self, message: Message) -> None:
        """A message has been stored."""

    def has_read(self, chat: Chat) -> None:
        """The desk has read a chat."""


class Root(Pages):
    """``/``."""

    def __init__(self, service: Service) -> None:
        super().__init__(Path(__file__).parent / "pages")
        origins = service.config.origins
        self.putChild(b"ws", _Doors(service))
        self.putChild(b"console", _Console(service, self))
        self.putChild(b"chats", _Chats(service, origins))
        self.putChild(b"messages", _Messages(service, origins))
        self.putChild(b"media", _Media(service, origins))
        self.putChild(b"openapi.json", _Description(origins))


class _Doors(Resource):
    """``/ws/``."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service

    def getChild(self, path: bytes, request: Request) -> IResource:
        client_id = id_of(path)
        if client_id is None or request.postpath:
            return notFound()
        return _Door(self._service.terms, lambda: self._service.client(client_id))


class _Door(Resource):
    isLeaf = True

    def __init__(self, terms: Terms, talk: Any) -> None:
        super().__init__()
        self._terms = terms
        self._talk = talk

    def render_GET(self, request: Request) -> Any:
        return upgrade(request, self._terms, self._talk)


class _Console(Resource):
    """``/console``, the page, and ``/console/ws``."""

    def __init__(self, service: Service, pages: Pages) -> None:
        super().__init__()
        self._pages = pages
        self.putChild(b"ws", _Door(service.terms, service.desk))

    def getChild(self, path: bytes, request: Request) -> IResource:
        return notFound()

    def render_GET(self, request: Request) -> Any:
        return self._pages.send(request, "console.html")


class _Chats(Api):
    """``/chats``, and below it what the desk does in one."""

    isLeaf = False

    def __init__(self, service: Service, origins: Any) -> None:
        super().__init__(origins)
        self._service = service

    def getChild(self, path: bytes, request: Request) -> IResource:
        chat_id, rest = id_of(path), request.postpath or []
        what = _IN_A_CHAT.get(rest[0]) if len(rest) == 1 else None
        if chat_id is None or what is None:
            return Nothing(self._origins)
        rest.clear()
        return what(self._service, self._origins, chat_id)

    async def get(self, request: Request) -> Any:
        limit = integer(request, "limit", 1, 100, 10)
        client_id = integer(request, "client_id", 1, MAX_ID)
        found = await self._service.store.chats(limit or 10, client_id, _place(word(request, "after")))
        last = found[-1] if len(found) == limit else None
        items = [{**chat.fields(), "connected": self._service.connected(chat.id)} for chat in found]
        return {"items": items, "next": f"{last.active_at}.{last.id}" if last else None}


class _Messages(Api):
    """``/messages``."""

    def __init__(self, service: Service, origins: Any) -> None:
        super().__init__(origins)
        self._service = service

    async def get(self, request: Request) -> Any:
        chat_id = integer(request, "chat_id", 1, MAX_ID)
        if chat_id is None:
            raise Problem(400, "chat_id must be there: whose messages?")
        limit = integer(request, "limit", 1, 100, 10) or 10
        before = integer(request, "before", 0, MAX_ID)
        after = integer(request, "after", 0, MAX_ID)
        offset = integer(request, "offset", 0, MAX_ID)
        store = self._service.store
        found = await store.page(chat_id, limit, before=before, after=after, offset=offset or 0)
        if found is None:
            raise Problem(404, f"there is no chat {chat_id}")
        return {"items": as_fields(found)}


class _InChat(Api):
    """Something below ``/chats/{id}/``."""

    def __init__(self, service: Service, origins: Any, chat_id: int) -> None:
        super().__init__(origins)
        self._service = service
        self._chat_id = chat_id

    async def _add(self, request: Request, new: New) -> Any:
        try:
            message, is_new = await self._service.store.add(new)
        except BadRequest as error:
            raise refusal(error) from None
        if is_new:
            self._service.added(message)
        request.setResponseCode(201 if self._service.connected(self._chat_id) else 202)
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
        return {**chat.fields(), "connected": self._service.connected(chat.id)}


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

    def __init__(self, service: Service, origins: Any, message_id: int | None = None) -> None:
        super().__init__(origins)
        self._service = service
        self._message_id = message_id
        self.isLeaf = message_id is not None

    def getChild(self, path: bytes, request: Request) -> IResource:
        message_id = id_of(path)
        if message_id is None or request.postpath:
            return Nothing(self._origins)
        return _Media(self._service, self._origins, message_id)

    async def get(self, request: Request) -> Any:
        message = None if self._message_id is None else await self._service.store.message(self._message_id)
        if message is None or message.sha256 is None:
            raise Problem(404, "there is no such media message")
        return await serve(request, message, self._service.folder, self._service.calls)


class _Description(Api):
    """``/openapi.json``."""

    def __init__(self, origins: Any) -> None:
        super().__init__(origins)
        self._text = json.loads((files("protosuite.mediachat") / "openapi.json").read_text("utf-8"))

    async def get(self, request: Request) -> Any:
        return self._text


def _place(text: str | None) -> tuple[int, int] | None:
    """Where a page of chats ended."""
    if text is None:
        return None
    at, found, id = text.partition(".")
    if not found or not (at + id).isascii() or not at.isdigit() or not id.isdigit() or len(text) > 40:
        raise Problem(400, "after must be the `next` of the page before")
    return min(int(at), MAX_ID), min(int(id), MAX_ID)
