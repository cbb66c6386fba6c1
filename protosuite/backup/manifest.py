"""The two JSON texts of a backup: what it is, and what is in it.

Both are a function of what they describe, to the byte. Whoever reads a backup writes down what is in it
in the same way, and has to arrive at the same text.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, cast

import attrs
from attrs import frozen

from protosuite.backup.archive import Damaged, Member

FORMAT = 1
FORMAT_WITHOUT_MEDIA = 2  # which says where those are
MAX_HEADING = 4096  # bytes

_IN_MEMORY = 4 << 20  # bytes of a manifest that need no file: about 30,000 media
_FIELDS = {
    "version": r"[0-9A-Za-z.+!_-]{1,64}",
    "schema": r"[0-9A-Za-z_]{1,32}",
    "created_at": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
}
_PLACE = r"[\x20-\x7e]{1,1024}"


class TooNew(Exception):
    """The backup was made by a newer version than this. The text says so, for a person."""


@frozen
class Heading:
    """What a backup is. Everything that was acknowledged before `created_at`, in UTC, is in it.

    But for media that are kept elsewhere: then `media_at` says where.
    """

    version: str  # of protosuite
    schema: str  # of the database
    created_at: str
    media_at: str = ""

    def fields(self) -> dict[str, str]:
        """What it says."""
        return {name: value for name, value in attrs.asdict(self).items() if value or name in _FIELDS}

    def encode(self) -> bytes:
        """As it is in the archive."""
        format = FORMAT_WITHOUT_MEDIA if self.media_at else FORMAT
        return json.dumps({"format": format, **self.fields()}).encode() + b"\n"


def parse_heading(data: bytes) -> Heading:
    """The inverse of :meth:`Heading.encode`. Raises :exc:`Damaged` or :exc:`TooNew`."""
    try:
        fields: Any = json.loads(data)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Damaged("its heading is no JSON object")
    format = fields.pop("format", None)
    if type(format) is int and format > FORMAT_WITHOUT_MEDIA:
        raise TooNew(f"the backup has format {format}, and this version knows {FORMAT_WITHOUT_MEDIA}")
    patterns = _FIELDS | ({"media_at": _PLACE} if format == FORMAT_WITHOUT_MEDIA else {})
    is_known = type(format) is int and format in (FORMAT, FORMAT_WITHOUT_MEDIA)
    if (is_known, fields.keys()) != (True, patterns.keys()) or not all(
        isinstance(fields[name], str) and re.fullmatch(pattern, fields[name], re.ASCII)
        for name, pattern in patterns.items()
    ):
        raise Damaged("its heading is not one of a backup")
    return Heading(**fields)


class Manifest:
    """The text of ``manifest.json``, a line for each file, as it grows; what is long is in `folder`."""

    def __init__(self, heading: Heading, folder: Path) -> None:
        self.size = 0
        self._is_first = True
        self._spool = cast(IO[bytes], tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(folder)))  # noqa: SIM115
        self._put(b'{"backup": ' + heading.encode().rstrip() + b', "files": [\n')

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *error: object) -> None:
        self._spool.close()

    def file(self, member: Member, sha256: str) -> None:
        """A file is in the archive."""
        self._line({"name": member.name, "size": member.size, "sha256": sha256})

    def lost(self, name: str) -> None:
        """A media file is named in the database, and was not there any more."""
        self._line({"name": name, "lost": True})

    def end(self) -> None:
        """That was all. It can be read now."""
        self._put(b"\n]}\n")
        self._spool.seek(0)

    def read(self, most: int) -> bytes:
        """The next bytes."""
        return self._spool.read(most)

    def difference(self, pieces: Iterable[bytes]) -> str | None:
        """The first line of this text, :meth:`end` has been called, that `pieces` have not in its place."""
        offset = 0
        for piece in pieces:
            own = self.read(len(piece))
            if own != piece:
                pairs = zip(own, piece, strict=False)
                same = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(own), len(piece)))
                return self._line_at(offset + same)
            offset += len(piece)
        return None if offset == self.size else self._line_at(offset)

    def _line(self, fields: dict[str, object]) -> None:
        self._put((b"" if self._is_first else b",\n") + json.dumps(fields).encode())
        self._is_first = False

    def _put(self, data: bytes) -> None:
        self._spool.write(data)
        self.size += len(data)

    def _line_at(self, offset: int) -> str:
        self._spool.seek(0)
        end = 0
        line = b""
        for line in self._spool:
            end += len(line)
            if end > offset:
                break
        return line.decode("ascii", "replace").strip().rstrip(",")
