"""What there is on the port of mediachat.v1: the API, the pages and the doors of the WebSockets."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from protosuite.config import MediaChatConfig
from protosuite.errors import BadRequest
from protosuite.mediachat.client_talk import ClientTalk
from protosuite.mediachat.desk_talk import DeskTalk
from protosuite.mediachat.download import serve
from protosuite.mediachat.media import MediaFolder, Stored
from protosuite.mediachat.store import Chat, MediaChatStore, Message, New, as_fields
from protosuite.mediachat.upload import Sender, Upload
from protosuite.mediachat.wire import KIND, NAME, TEXT, Head
from protosuite.messages import Rule, characters
from protosuite.net.api import Api, Problem, body, encode, integer, word
from protosuite.net.pages import Pages
from protosuite.net.web import Terms, upgrade
from protosuite.storage.workers import Calls

_MAX_ID = 2**53 - 1
_KEY = characters(64)


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

    def write(self, chat_id: int, head: Head, sender: Sender) -> Upload:
        """Begin to write a media message."""


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
        client_id = _id(path)
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
        chat_id, rest = _id(path), request.postpath or []
        what = _IN_A_CHAT.get(rest[0]) if len(rest) == 1 else None
        if chat_id is None or what is None:
            return notFound()
        rest.clear()
        return what(self._service, self._origins, chat_id)

    async def get(self, request: Request) -> Any:
        limit = integer(request, "limit", 1, 100, 10)
        client_id = integer(request, "client_id", 1, _MAX_ID)
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
        chat_id = integer(request, "chat_id", 1, _MAX_ID)
        if chat_id is None:
            raise Problem(400, "chat_id must be there: whose messages?")
        limit = integer(request, "limit", 1, 100, 10) or 10
        before = integer(request, "before", 0, _MAX_ID)
        after = integer(request, "after", 0, _MAX_ID)
        offset = integer(request, "offset", 0, _MAX_ID)
        if sum(value is not None for value in (before, after, offset)) > 1:
            raise Problem(400, "only one of before, after and offset can be given")
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
            statuses = {"no-such-chat": 404, "quota": 507}
            raise Problem(statuses.get(error.code, 400), error.message) from None
        if is_new:
            self._service.added(message)
        request.setResponseCode(201 if self._service.connected(self._chat_id) else 202)
        return message.fields()


class _Said(_InChat):
    """``/chats/{id}/messages``."""

    async def post(self, request: Request) -> Any:
        fields = body(request)
        key = _checked(fields.get("key"), _KEY, "key", optional=True)
        text = _checked(fields.get("text"), TEXT, "text")
        named = None if key is None else f"desk:{key}"
        return await self._add(
            request, New(self._chat_id, "desk", "text", self._service.now(), text=text, key=named)
        )


class _Read(_InChat):
    """``/chats/{id}/read``."""

    async def post(self, request: Request) -> Any:
        upto = body(request).get("upto")
        if type(upto) is not int or not 0 <= upto <= _MAX_ID:
            raise Problem(400, "upto must be the id of a message")
        chat = await self._service.store.read(self._chat_id, upto)
        if chat is None:
            raise Problem(404, f"there is no chat {self._chat_id}")
        self._service.has_read(chat)
        return chat.fields()


class _Sent(_InChat):
    """``/chats/{id}/media``."""

    async def post(self, request: Request) -> Any:
        name = _checked(word(request, "name"), NAME, "name")
        kind = _checked(word(request, "kind"), KIND, "kind")
        key = _checked(word(request, "key"), _KEY, "key", optional=True)
        assert request.content is not None
        content = request.content.read()
        config = self._service.config
        if len(content) > config.max_media:
            raise Problem(413, f"at most {config.max_media} bytes")
        stored = await _Posted(self._service, self._chat_id, name or "", kind or "", content).done
        new = New(
            self._chat_id,
            "desk",
            kind or "",
            self._service.now(),
            name=name,
            size=stored.size,
            type=stored.type,
            sha256=stored.sha256,
            key=None if key is None else f"desk:{key}",
        )
        return await self._add(request, new)


class _Posted:
    """The bytes of a request on their way to the disk."""

    def __init__(self, service: Service, chat_id: int, name: str, kind: str, content: bytes) -> None:
        self.done: Deferred[Stored] = Deferred()
        upload = service.write(chat_id, Head(name, len(content), kind), self)
        upload.feed(content)
        upload.finish()

    def upload_begun(self, upload: Upload, offset: int) -> None:
        """It is a new file."""

    def upload_relieved(self) -> None:
        """There is nothing more."""

    def upload_done(self, upload: Upload, outcome: Stored | Failure) -> None:
        """It is there, or not."""
        self.done.callback(outcome)  # a Failure fails it


_IN_A_CHAT: dict[bytes, type[_InChat]] = {b"messages": _Said, b"media": _Sent, b"read": _Read}


class _Media(Api):
    """``/media/{id}``."""

    isLeaf = False

    def __init__(self, service: Service, origins: Any, message_id: int | None = None) -> None:
        super().__init__(origins)
        self._service = service
        self._message_id = message_id

    def getChild(self, path: bytes, request: Request) -> IResource:
        message_id = _id(path)
        if self._message_id is not None or message_id is None or request.postpath:
            return notFound()
        found = _Media(self._service, self._origins, message_id)
        found.isLeaf = True
        return found

    async def get(self, request: Request) -> Any:
        message = None if self._message_id is None else await self._service.store.message(self._message_id)
        if message is None or message.sha256 is None:
            raise Problem(404, "there is no such media message")
        return await serve(request, message, self._service.folder, self._service.calls)


class _Description(Api):
    """``/openapi.json``."""

    async def get(self, request: Request) -> Any:
        text = (files("protosuite.mediachat") / "openapi.json").read_text("utf-8")
        return encode(request, json.loads(text))


def _id(path: bytes) -> int | None:
    """A positive whole number as a part of a path."""
    text = path.decode("latin-1")
    is_id = text.isascii() and text.isdigit() and len(text) <= 16 and not text.startswith("0")
    return int(text) if is_id and int(text) <= _MAX_ID else None


def _place(text: str | None) -> tuple[int, int] | None:
    """Where a page of chats ended."""
    if text is None:
        return None
    at, found, id = text.partition(".")
    if not found or not (at + id).isascii() or not at.isdigit() or not id.isdigit() or len(text) > 40:
        raise Problem(400, "after must be the `next` of the page before")
    return min(int(at), _MAX_ID), min(int(id), _MAX_ID)


def _checked(value: Any, rule: Rule, name: str, optional: bool = False) -> str | None:
    if value is None and optional:
        return None
    check, allowed = rule
    if not check(value):
        raise Problem(400, f"{name} must be {allowed}")
    return str(value)
