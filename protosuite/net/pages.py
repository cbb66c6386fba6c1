"""The files of a page, served from memory to browsers that are told to trust nothing else."""

from __future__ import annotations

import mimetypes
from functools import cache
from hashlib import blake2b
from html import escape
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.web.http import CACHED
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

# Scripts, styles and connections from our own origin alone; `blob:` and `data:` for media made on the page.
_POLICY = (
    b"default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self' ws: wss:; "
    b"object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_LOGIN_POLICY = (
    b"default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    b"frame-ancestors 'none'"
)
ASSETS = Path(__file__).parent / "assets"
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".svg": "image/svg+xml"}


@frozen
class _File:
    type: bytes
    data: bytes
    tag: bytes


class _Folder(Resource):
    """The files of `folder` by their names."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._files = {path.name: _load(path) for path in sorted(folder.iterdir()) if path.is_file()}

    def getChild(self, path: bytes, request: Request) -> IResource:
        file = self._files.get(path.decode("latin-1"))
        return _Page(file) if file is not None and not request.postpath else notFound()

    def render_GET(self, request: Request) -> Any:
        return notFound().render(request)


class Pages(_Folder):
    """The same for everybody but for the pages themselves, and ``assets``, which all pages share."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._pages = {name: self._files.pop(name) for name in list(self._files) if name.endswith(".html")}
        self.putChild(b"assets", _assets())

    def getChild(self, path: bytes, request: Request) -> IResource:
        if path == b"" and not request.postpath:  # a second slash leads nowhere
            return self
        return super().getChild(path, request)

    def send(self, request: Request, name: str) -> bytes:
        """Answer with one of the pages, to somebody who may see it."""
        return _send(request, self._pages[name])


@cache
def _assets() -> _Folder:
    return _Folder(ASSETS)  # once for all pages


class _Page(Resource):
    isLeaf = True

    def __init__(self, file: _File) -> None:
        super().__init__()
        self._file = file

    def render_GET(self, request: Request) -> bytes:
        return _send(request, self._file)


def _load(path: Path) -> _File:
    data = path.read_bytes()
    # What the machine adds to Python's own table is in files, which are not to be read at each start.
    type = _TYPES.get(path.suffix) or mimetypes.types_map.get(path.suffix)
    type = type or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if type.startswith("text/"):
        type += "; charset=utf-8"
    return _File(type.encode(), data, b'"' + blake2b(data, digest_size=8).hexdigest().encode() + b'"')


_LOGIN = _load(ASSETS / "login.html")
_GOAL = b'name="next" value="/"'


def send_login(request: Request, goal: str, status: int = 200) -> bytes:
    """Answer with the page that asks for a token, and then goes to `goal`.

    With 403 it says that this page needs another one.
    """
    request.setResponseCode(status)
    _describe(request, _LOGIN, _LOGIN_POLICY)
    request.setHeader(b"Referrer-Policy", b"same-origin")  # without a referrer its form is of no origin
    request.setHeader(b"Cache-Control", b"no-store")
    return _LOGIN.data.replace(_GOAL, b'name="next" value="%s"' % escape(goal).encode())


def _send(request: Request, file: _File) -> bytes:
    _describe(request, file, _POLICY)
    if request.setETag(file.tag) is CACHED:
        return b""
    return file.data


def _describe(request: Request, file: _File, policy: bytes) -> None:
    for name, value in (
        (b"Content-Type", file.type),
        (b"Cache-Control", b"no-cache"),  # ask whether it has changed: the tag makes that cheap
        (b"Content-Security-Policy", policy),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Referrer-Policy", b"no-referrer"),
    ):
        request.setHeader(name, value)
