"""Where media are kept, as others see it: in a folder of this node, in one that nodes share, or in S3.

Everything here blocks: it is for the threads of media. Nobody's file name is ever part of a path or a key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from hashlib import blake2b
from typing import Protocol as Interface

from attrs import frozen

from protosuite.errors import Overloaded, StorageError
from protosuite.figures import Figure
from protosuite.files import descriptors_are_scarce
from protosuite.mediachat.wire import Head

BLOCK = 1 << 20  # bytes read at once by who reads a whole file
BEGIN = 64 << 10  # bytes at the beginning of a file that say what it is
NAMELESS = "once-"  # how the names of parts begin to which nobody can come back
MOST_PARTS = 16  # uploads of one chat that were begun and not finished: they are no part of its quota

# What browsers play or show without running anything, by the names that the library gives.
INLINE = frozenset(
    {
        *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"),
        *("audio/mpeg", "audio/ogg", "audio/wav", "audio/wave", "audio/flac", "audio/mp4", "audio/aac"),
        *("audio/webm", "video/webm", "video/mp4", "video/ogg", "video/quicktime"),
    }
)


class WrongHash(Exception):
    """What came is not what was announced."""


class MediaUnavailable(StorageError):
    """What keeps the media cannot be reached, or refuses. Trying again later is safe."""


@frozen
class Stored:
    """A whole file: its name, and what its bytes look like."""

    sha256: str
    size: int
    type: str


class Part(Interface):
    """An upload in one connection's hands."""

    offset: int  # bytes that are there, and need not come again

    def write(self, pieces: Iterable[bytes | bytearray]) -> None:
        """Append."""

    def finish(self) -> Stored:
        """That was all: put it on stable storage, and give it its name.

        Raises :exc:`WrongHash`, and then nothing stays; with :exc:`MediaUnavailable`, :meth:`close` decides.
        """

    def close(self, keep: bool) -> None:
        """No more comes. What is there stays if it should and has a name to be found by."""


class Reading(Interface):
    """A whole file, open for reading."""

    def seek(self, offset: int, /) -> object:
        """Go on there."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end. Raises `OSError` or :exc:`MediaUnavailable`."""

    def close(self) -> None:
        """That was all."""


class MediaStore(Interface):
    """Parts that grow, and whole files under the SHA-256 of their content."""

    place: str  # where that is, for a person

    def open(self) -> None:
        """Make it ready, at the start of a node. Raises :exc:`~protosuite.errors.StartError`."""

    def stop(self) -> None:
        """The node stops. Nobody waits for an answer any more; does not block."""

    def begin(self, chat_id: int, head: Head, unique: str) -> Part:
        """The part of a media message: what came of it earlier, if it has a name, and else a new one.

        `unique` is a name that no other part has. Raises :exc:`Overloaded` where too many files are open.
        """

    def read(self, digest: str) -> Reading:
        """The file of a SHA-256. Raises `FileNotFoundError`, :exc:`Overloaded`, :exc:`MediaUnavailable`."""

    def belongs_to(self, owner: str | None) -> bool:
        """Whether what is here is known to be the media of a database; who comes first names itself.

        Raises :exc:`MediaUnavailable` if they are another's: then nothing may be deleted.
        """

    # What a sweep needs, see `sweep`. Times are in seconds since the epoch.

    def old_parts(self, before: float, active: Collection[Part]) -> None:
        """Delete parts that nobody has added to since `before`, but for those that are `active` here."""

    def prefixes(self) -> list[str]:
        """The beginnings of the hashes that there are files of."""

    def old_files(self, prefix: str, before: float) -> list[str]:
        """The hashes with a beginning whose files got their names before a time."""

    def sweep(self, unreferenced: Iterable[str], before: float) -> int:
        """Delete files, or put them aside, unless they got their names (again) after `before`. How many."""

    def put_aside(self, before: float) -> list[str]:
        """The hashes of files that were put aside before a time."""

    def restore(self, hashes: Iterable[str]) -> None:
        """Give files that were put aside their names again: there are messages that have them."""

    def forget(self, hashes: Iterable[str]) -> None:
        """Delete files that were put aside."""

    def free(self) -> int | None:
        """Bytes that are free where media are; None where that cannot be said, or others say it."""

    def figures(self) -> Iterator[Figure]:
        """How it goes. For the reactor's thread."""


def check_owner(found: str, owner: str) -> bool:
    """Raise :exc:`MediaUnavailable` if these are not the same."""
    if found != owner:
        raise MediaUnavailable("these media belong to another database: no file of them is deleted")
    return True


def check_descriptors() -> None:
    """Files of media stay open as long as their clients take. Raises :exc:`Overloaded`."""
    if descriptors_are_scarce(0.5):
        raise Overloaded("too many files are open")


def part_name(chat_id: int, head: Head, unique: str) -> str:
    """The same name for the same upload, if it has one: one that differs in anything is another."""
    if head.upload is None:
        return NAMELESS + unique
    fields = (head.upload, head.name, head.size, head.kind, head.sha256)
    return f"{chat_id}-{blake2b(repr(fields).encode(), digest_size=20).hexdigest()}"


def type_of(begin: bytes) -> str:
    """What the first bytes say that a file is."""
    import puremagic  # by whoever gets the first file: its tables take a while

    try:
        found = puremagic.from_string(begin, mime=True)
    except (puremagic.PureError, ValueError):
        return "application/octet-stream"
    return found or "application/octet-stream"
