"""The files of a page, served from memory to browsers that are told to trust nothing else."""

from __future__ import annotations

import mimetypes
from hashlib import blake2b
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
    """The same, with ``index.html`` as the resource itself, and ``assets``, which all pages share."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.putChild(b"assets", _Folder(ASSETS))

    def getChild(self, path: bytes, request: Request) -> IResource:
        if path == b"" and not request.postpath:  # a second slash leads nowhere
            return self
        return super().getChild(path, request)

    def render_GET(self, request: Request) -> Any:
        return self.send(request, "index.html")

    def send(self, request: Request, name: str) -> bytes:
        """Answer with one of the files."""
        return _send(request, self._files[name])


class _Page(Resource):
    isLeaf = True

    def __init__(self, file: _File) -> None:
        super().__init__()
        self._file = file

    def render_GET(self, request: Request) -> bytes:
        return _send(request, self._file)


def _load(path: Path) -> _File:
    data = path.read_bytes()
    type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if type.startswith("text/"):
        type += "; charset=utf-8"
    return _File(type.encode(), data, b'"' + blake2b(data, digest_size=8).hexdigest().encode() + b'"')


def _send(request: Request, file: _File) -> bytes:
    for name, value in (
        (b"Content-Type", file.type),
        (b"Cache-Control", b"no-cache"),  # ask whether it has changed: the tag makes that cheap
        (b"Content-Security-Policy", _POLICY),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Referrer-Policy", b"no-referrer"),
    ):
        request.setHeader(name, value)
    if request.setETag(file.tag) is CACHED:
        return b""
    return file.data
