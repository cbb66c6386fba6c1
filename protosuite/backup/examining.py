"""Everything in a backup looked at once, from its first byte to its last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from attrs import define, field

from protosuite.backup.archive import DATABASE, HEADING, MANIFEST, Damaged, Member, Reader, media_name
from protosuite.backup.contents import Chains, Contents, Unsound
from protosuite.backup.manifest import MAX_HEADING, Heading, Manifest, TooNew, parse_heading
from protosuite.storage.migrate import is_known

_MOST = 100  # problems that are told of one backup

Keep = Callable[[str], BinaryIO]  # a new file for the media of a SHA-256


@define
class Report:
    """What a backup has in it, and what is wrong with it.

    `problems` are sentences for a person: what has come to harm since it was made. `missing` and `damaged`,
    the SHA-256 of media, and the rooms that are broken were so before: it has them as the suite had.
    """

    heading: Heading | None = None
    chains: Chains = field(factory=Chains)
    media: int = 0  # files
    media_bytes: int = 0
    missing: list[str] = field(factory=list)
    damaged: list[str] = field(factory=list)
    problems: list[str] = field(factory=list)

    @property
    def is_right(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.problems or self.missing or self.damaged or self.chains.broken)

    def problem(self, text: str) -> None:
        """Something is wrong."""
        if len(self.problems) < _MOST:
            self.problems.append(text)


def examine(reader: Reader, database: Path, keep: Keep | None = None) -> Report:
    """Read a backup. Its database becomes the new file `database`, and its media go where `keep` says.

    Raises :exc:`TooNew`, before anything is written, and `OSError` when something cannot be written.
    """
    examination = _Examination(reader, database, keep)
    try:
        examination.run()
    except Damaged as error:
        examination.report.problem(str(error))
    examination.settle()
    return examination.report


class _Named:
    """The media that the database names, in order, beside those that are there."""

    def __init__(self, media: Iterator[tuple[str, int]]) -> None:
        self._media = media
        self._next = self._read()

    def missing(self, until: str | None) -> Iterator[str]:
        """Those that would have to be there before `until`; None: before the end."""
        while self._next is not None and (until is None or self._next < until):
            yield self._next
            self._next = self._read()

    def take(self, digest: str) -> bool:
        """Whether this is the next one."""
        if self._next != digest:
            return False
        self._next = self._read()
        return True

    def _read(self) -> str | None:
        return next((digest for digest, _ in self._media), None)


class _Examination:
    def __init__(self, reader: Reader, database: Path, keep: Keep | None) -> None:
        self.report = Report()
        self._reader = reader
        self._database = database
        self._keep = keep
        self._named: _Named | None = None  # None: it cannot be known
        self._is_agreed = False  # that all is in the archive that the manifest says, and nothing else

    def run(self) -> None:
        """Read it all. What cannot be read on is :exc:`Damaged`."""
        text, heading = self._heading()
        self.report.heading = heading
        with Manifest(heading, self._database.parent) as manifest:
            manifest.file(Member(HEADING, len(text)), sha256(text).hexdigest())
            self._copy_database(manifest)
            with ExitStack() as stack:
                self._look_into(heading, stack)
                member = self._all_media(manifest)
            self._compare(member, manifest)
        if self._reader.member() is not None:
            raise Damaged(f"behind {MANIFEST} there is something")

    def settle(self) -> None:
        """What seemed lost before has come to harm since, if the manifest does not say so."""
        report = self.report
        if self._is_agreed:
            return
        for text in report.chains.broken:
            report.problem(text)
        for what, digests in (("damaged", report.damaged), ("missing", report.missing)):
            for digest in digests:
                report.problem(f"{media_name(digest)} is {what}")
            digests.clear()
        report.chains.broken.clear()

    def _next(self) -> Member:
        member = self._reader.member()
        if member is None:
            raise Damaged("it ends before its manifest")
        return member

    def _expect(self, name: str) -> Member:
        member = self._next()
        if member.name != name:
            raise Damaged(f"{name} is not where it should be")
        return member

    def _heading(self) -> tuple[bytes, Heading]:
        member = self._expect(HEADING)
        if member.size > MAX_HEADING:
            raise Damaged(f"its heading has {member.size} bytes")
        text = b"".join(self._reader.content(member))
        heading = parse_heading(text)
        if not is_known(heading.schema):
            raise TooNew(
                f"the backup has schema {heading.schema}, which this version does not know: "
                f"use protosuite {heading.version}"
            )
        return text, heading

    def _copy_database(self, manifest: Manifest) -> None:
        member = self._expect(DATABASE)
        with self._database.open("xb") as file:
            manifest.file(member, self._copy(member, file))

    def _copy(self, member: Member, file: BinaryIO | None) -> str:
        """Go through a file, and write it if there is where to; its SHA-256."""
        hash = sha256()
        for piece in self._reader.content(member):
            hash.update(piece)
            if file is not None:
                file.write(piece)
        return hash.hexdigest()

    def _look_into(self, heading: Heading, stack: ExitStack) -> None:
        """Check the database, and find what it names."""
        try:
            contents = stack.enter_context(Contents(self._database))
            contents.check()
            if contents.schema() != heading.schema:
                raise Unsound(f"its schema is {contents.schema()!r}, not {heading.schema}")
            self.report.chains = contents.chains()
            self._named = _Named(iter(()) if heading.media_at else contents.media())
        except Unsound as error:
            self._give_up(error)

    def _give_up(self, error: Unsound) -> None:
        self._named = None
        self.report.problem(f"{DATABASE}: {error}")

    def _all_media(self, manifest: Manifest) -> Member:
        """Look at every media file; what follows them."""
        member = self._next()
        while (digest := member.digest) is not None:
            self._miss(digest, manifest)
            self._media(member, digest, manifest)
            member = self._next()
        self._miss(None, manifest)
        return member

    def _miss(self, digest: str | None, manifest: Manifest) -> None:
        """Note what the database names and is not there before `digest`, None: before the end."""
        if self._named is None:
            return
        try:
            for missing in self._named.missing(digest):
                manifest.lost(media_name(missing))
                self.report.missing.append(missing)
            is_named = digest is None or self._named.take(digest)
        except Unsound as error:
            self._give_up(error)
            return
        if digest is not None and not is_named:
            raise Damaged(f"no message in the database has {media_name(digest)}")

    def _media(self, member: Member, digest: str, manifest: Manifest) -> None:
        with ExitStack() as stack:
            found = self._copy(
                member, None if self._keep is None else stack.enter_context(self._keep(digest))
            )
        manifest.file(member, found)
        self.report.media += 1
        self.report.media_bytes += member.size
        if found != digest:
            self.report.damaged.append(digest)

    def _compare(self, member: Member, manifest: Manifest) -> None:
        """Hold what was found against what the manifest says."""
        if member.name != MANIFEST:
            raise Damaged(f"{member.name} is not where it should be")
        manifest.end()
        line = manifest.difference(self._reader.content(member))
        if line is not None:
            raise Damaged(f"{MANIFEST} does not say {line}")
        self._is_agreed = True
