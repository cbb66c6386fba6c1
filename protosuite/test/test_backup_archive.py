"""The archive of a backup: what is written is read, and nothing else is."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protosuite.backup.archive import DATABASE, HEADING, MANIFEST, Damaged, Reader, Writer, media_name

MEDIA = media_name("ab" * 32)
NAMES = (HEADING, DATABASE, MEDIA, MANIFEST)
SIZES = st.integers(0, 2) | st.integers(510, 514) | st.integers(10_000, 11_000)


def written(*contents: bytes, modified: int = 0) -> bytes:
    """An archive of as many files."""
    out = io.BytesIO()
    writer = Writer(out.write)
    for name, content in zip(NAMES, contents, strict=False):
        writer.add(name, len(content), modified, io.BytesIO(content).read)
    writer.end()
    return out.getvalue()


def read(data: bytes, length: bool = True, step: int = 0) -> list[tuple[str, bytes]]:
    """All files of an archive, which comes in pieces of `step` bytes if that is not 0."""
    source = io.BytesIO(data)
    take: Callable[[int], bytes] = (lambda most: source.read(min(most, step))) if step else source.read
    reader = Reader(take, len(data) if length else None)
    found = []
    while (member := reader.member()) is not None:
        found.append((member.name, b"".join(reader.content(member))))
    return found


def foreign(change: Callable[[tarfile.TarInfo], None], format: int = tarfile.GNU_FORMAT) -> bytes:
    """An archive that a tar program might make: one file of three bytes, as `change` makes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        info = tarfile.TarInfo(MEDIA)
        info.mode = 0o600
        info.size = 3
        change(info)
        archive.addfile(info, io.BytesIO(b"abc"))
    return out.getvalue()


class ArchiveTests(SynchronousTestCase):
    """What is written."""

    @settings(max_examples=50, deadline=None)
    @given(st.lists(SIZES, max_size=4), st.integers(0, 2**40), st.sampled_from([0, 1, 511]))
    def test_there_and_back(self, sizes: list[int], modified: int, step: int) -> None:
        """What is written is read, of any size and time, and in pieces of any size."""
        contents = [bytes([n + 1]) * size for n, size in enumerate(sizes)]
        data = written(*contents, modified=modified)
        self.assertEqual(read(data, step=step), list(zip(NAMES, contents, strict=False)))
        self.assertEqual(len(data) % tarfile.RECORDSIZE, 0)

    def test_other_programs_read_it(self) -> None:
        """It is a tar like any other."""
        data = written(b"{}", b"x" * 1000, b"media")
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            self.assertEqual([member.name for member in archive], list(NAMES[:3]))
            file = archive.extractfile(MEDIA)
            assert file is not None
            self.assertEqual(file.read(), b"media")

    def test_a_file_that_got_shorter(self) -> None:
        """What a file has not of its size is zeros, and its hash is that of what is in the archive."""
        out = io.BytesIO()
        writer = Writer(out.write)
        digest = writer.add(MEDIA, 600, 0, io.BytesIO(b"short").read)
        writer.end()
        with_zeros = b"short" + bytes(595)
        self.assertEqual(read(out.getvalue()), [(MEDIA, with_zeros)])
        self.assertEqual(digest, Writer(lambda _: None).add(MEDIA, 600, 0, io.BytesIO(with_zeros).read))

    def test_more_than_eight_gib(self) -> None:
        """A size that the old tar has no room for is read as it was written."""
        blocks: list[bytes] = []

        class Enough(Exception):
            pass

        def write(data: bytes) -> None:
            blocks.append(data)
            raise Enough

        with self.assertRaises(Enough):
            Writer(write).add(DATABASE, 1 << 50, 0, lambda most: b"")
        member = Reader(io.BytesIO(blocks[0]).read).member()
        assert member is not None
        self.assertEqual((member.name, member.size), (DATABASE, 1 << 50))


class HostileArchiveTests(SynchronousTestCase):
    """R25: what is not."""

    def refused(self, data: bytes, why: str = "") -> None:
        for length in (True, False):
            with self.assertRaises(Damaged) as caught:
                read(data, length)
            self.assertIn(why, str(caught.exception))

    def test_names(self) -> None:
        """R25: names that lead elsewhere, or that the writer never uses, are refused as they come."""
        names = [
            *(
                "../evil",
                "/etc/passwd",
                "media/../../evil",
                "media/ab/../" + "c" * 59,
                "./" + MEDIA,
                MEDIA + "/",
            ),
            *(
                "media/ab/" + "C" * 62,
                "media/ab/" + "c" * 61,
                MEDIA + "\n",
                "lock",
                "restoring",
                "x" * 300,
                "",
            ),
            *("media/ab/" + "c" * 61 + "\u0663", "media\\ab\\" + "c" * 62, "C:evil", "CON", "backup.json "),
        ]
        for name in names:

            def change(info: tarfile.TarInfo, name: str = name) -> None:
                info.name = name

            for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
                if format != tarfile.USTAR_FORMAT or len(name) < 200:
                    self.refused(foreign(change, format), "there is no file of a backup")

    def test_what_is_no_file(self) -> None:
        """R25: links, folders, devices, pipes and whatever else a tar can hold are refused."""
        for type in (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"x", b"g", b"L", b"K", b"S", b"\0", b"?"):

            def change(info: tarfile.TarInfo, type: bytes = type) -> None:
                info.type = type
                info.linkname = "/etc/passwd"

            self.refused(foreign(change), "at byte 0 there is no file of a backup")

    def test_what_comes_with_a_file(self) -> None:
        """Owners, modes and extended headers that the writer does not write are refused."""
        changes: list[dict[str, object]] = [
            {"uid": 1},
            {"gname": "root"},
            {"mode": 0o4755},
            {"pax_headers": {"path": "../evil"}},
            {"pax_headers": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "99"}},
            {"mtime": 1.5},
            {"linkname": "x"},
        ]
        for fields in changes:

            def change(info: tarfile.TarInfo, fields: dict[str, object] = fields) -> None:
                for name, value in fields.items():
                    setattr(info, name, value)

            self.refused(foreign(change, tarfile.PAX_FORMAT), "there is no file of a backup")

    def test_huge_declared_sizes(self) -> None:
        """R14: a size beyond the archive is refused before anything is read, if its length is known."""
        out = io.BytesIO()
        header = tarfile.TarInfo(MEDIA)
        header.size, header.mode = 1 << 60, 0o600
        out.write(header.tobuf(tarfile.GNU_FORMAT) + b"abc")
        data = out.getvalue()
        asked: list[int] = []
        source = io.BytesIO(data)

        def take(most: int) -> bytes:
            asked.append(most)
            return source.read(most)

        with self.assertRaises(Damaged) as caught:
            Reader(take, len(data)).member()
        self.assertIn("is cut off", str(caught.exception))
        self.assertEqual(asked, [512])
        self.refused(data, "cut off")

    def test_negative_numbers(self) -> None:
        """Sizes and times below zero, which the format can say, are refused."""
        block = bytearray(written(b"abc")[:512])
        for place in (124, 136):  # of the size, of the time
            changed = bytearray(block)
            changed[place : place + 12] = b"\xff" * 12
            changed[148:156] = b" " * 8
            changed[148:156] = b"%06o\0 " % sum(changed)
            self.refused(bytes(changed) + bytes(10240 - 512), "at byte 0 there is no file of a backup")

    def test_cut_off(self) -> None:
        """R12: cut off at any place it is refused."""
        data = written(b"{}", b"x" * 600)
        for end in range(0, len(data), 61):
            self.refused(data[:end], "cut off")

    def test_something_behind(self) -> None:
        """Bytes where there should be none are refused: behind a file, behind the last, behind the end."""
        data = written(b"{}")
        self.refused(data[:600] + b"x" + data[601:], f"behind {HEADING} there is something")
        for place in (1600, len(data) - 1):
            self.refused(data[:place] + b"x" + data[place + 1 :], "behind its end there is something")
        self.refused(data + b"x", "behind its end there is something")
        self.refused(data + data, "behind its end there is something")

    def test_a_disk_that_cannot_be_read(self) -> None:
        """An error of the medium is told with its place."""

        def take(most: int) -> bytes:
            raise OSError(5, "Input/output error")

        with self.assertRaises(Damaged) as caught:
            Reader(take).member()
        self.assertEqual(str(caught.exception), "it cannot be read on at byte 0: Input/output error")
