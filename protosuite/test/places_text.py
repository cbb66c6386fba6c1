"""What is read besides the protocols: headers, settings, files of the clients; and what is logged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path
from zlib import crc32
from zoneinfo import ZoneInfo

from twisted.logger import Logger

from protosuite import config as configuration
from protosuite import hours
from protosuite.config import ConfigurationError
from protosuite.errors import PeerFault
from protosuite.logs import JSONObserver, TextObserver
from protosuite.mediachat import saving
from protosuite.net import ranges
from protosuite.net.proxied import HeaderDecoder
from protosuite.numbers import client as numbers
from protosuite.test.places import Place, Take, as_json, exchange, single, text_of

PARIS = ZoneInfo("Europe/Paris")
DEVICES = ("con", "prn", "aux", "nul", "clock$", "com1", "lpt9")


def _range(data: bytes) -> None:
    size, _, header = data.decode("latin-1").partition("|")
    length = int(size) if size.isdecimal() and len(size) < 16 else len(size)
    try:
        parts = ranges.parse(header, length) or []
    except ranges.Unsatisfiable:
        return
    end = -1
    for first, last in sorted(parts):
        assert end < first <= last < length, (parts, length)
        end = last


def _hours(data: bytes) -> None:
    try:
        found = hours.parse(text_of(data))
    except ValueError:
        return
    assert hours.parse(str(found)) == found
    at = crc32(data) * 1000
    following = found.next_open(at, PARIS)
    assert following is None or (following >= at and found.is_open(following, PARIS))


def _settings(folder: Path) -> Take:
    path = folder / "suite.ini"

    def take(data: bytes) -> None:
        path.write_bytes(data)
        try:
            found = configuration.load(str(path), {})
        except ConfigurationError as error:
            problems = error.problems
        else:
            problems = []
        if problems:
            lines = data.decode(errors="ignore").splitlines()
            assert all(0 <= problem.line <= len(lines) + 1 for problem in problems), problems
            assert "\n" not in "".join(problem.what for problem in problems), problems
            return
        path.write_text(found.written(), "utf-8")
        assert configuration.load(str(path), {}) == found

    return take


def _state_files(folder: Path) -> Take:
    path = folder / "state.json"
    numbers_store, mediachat_store = numbers.StateFile(path), saving.StateFile(path, 7)

    def take(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(ValueError):
            progress = numbers_store.load()
            assert progress is not None
            numbers_store.save(*progress)
            assert numbers_store.load() == progress
        path.write_bytes(data)
        with suppress(ValueError):
            taken = mediachat_store.load()
            assert taken is not None
            mediachat_store.save(taken)
            assert mediachat_store.load() == taken

    return take


def _file_names(folder: Path) -> Take:
    root = folder / "names"
    root.mkdir(exist_ok=True)

    def take(data: bytes) -> None:
        name = saving.safe_name(data.decode("utf-8", "surrogateescape"))
        assert name not in ("", ".", ".."), name
        assert (root / name).parent == root, name
        assert name[0] not in ".-", name
        assert not any(ord(c) < 32 or c in '/\\<>:"|?*\x7f' for c in name), name
        assert name.partition(".")[0].lower() not in DEVICES, name
        assert len(name.encode()) <= 200, name

    return take


def _proxy_header(pieces: Sequence[bytes]) -> object:
    """What a proxy says for whom it connects, and what came behind that; or the fault that it is."""
    decoder, rest = HeaderDecoder(), list(pieces)
    try:
        while rest:
            if (header := decoder.feed(rest.pop(0))) is not None:
                return header.source, header.rest + b"".join(rest)
    except PeerFault as fault:
        return fault.code
    return None


def _log(data: bytes) -> None:
    """What is logged of a stranger's is one line, printable, and JSON where it should be."""
    for value in (data.decode("latin-1"), data.decode("utf-8", "surrogateescape")):
        for observer in (TextObserver, JSONObserver):
            out = StringIO()
            log = Logger("protosuite.numbers", observer=observer(out))
            log.info("{peer} refused: {reason}", peer="p", reason=value)
            line = out.getvalue()
            assert line[-1] == "\n", line
            assert line[:-1].isprintable(), line
            line.encode()
            if observer is JSONObserver:
                assert json.loads(line)["message"].startswith("p refused: ")


PLACES: dict[str, Place] = {
    "ranges": single(_range, b"100|bytes=0-0,5-9,-3", b"7|bytes=3-", b"0|bytes=-1"),
    "hours": single(_hours, b"22:00-06:00, 12:00-13:00", b"always", b"never", b"02:10-02:50"),
    "settings": Place(
        _settings,
        (
            b"[suite]\nservices = numbers, bus\n[numbers]\nwindow = 8\nlisten =\n    tcp:1\n    unix:/x\n",
            b"[counter]\ndurability = always\nmax_unsent = 64 KiB\n[nothing]\nx = 1\n",
            b"x = 1\n[chatlog\nkeep_for = 1e3 # s\n[mediachat]\nhours_text=always\nhours_text=never\n",
        ),
    ),
    "state-files": Place(
        _state_files,
        (
            as_json(client="ana", next=3, sum=9, checksum=1),
            as_json(client=7, after=9, saving=[10, "a.png"]),
            as_json(client=7, after=9, saving=None),
            b"[" * 100_000,
        ),
    ),
    "file-names": Place(
        _file_names,
        (
            b"../../a.png",
            b"C:\\con.txt",
            "\u202egnp.exe".encode(),
            b"-rf",
            b".profile",
            b"a" * 300,
        ),
    ),
    "proxy-header": exchange(
        _proxy_header,
        b"PROXY TCP4 10.0.0.1 127.0.0.1 4000 80\r\nGET",
        b"PROXY TCP6 2001:db8::1 ::1 65535 80\r\n",
        b"PROXY UNKNOWN x\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0f\x0a\x00\x00\x01\x7f\x00\x00\x01\x0f\xa0\x00\x50\x04\x00\x00GET",
        b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
    ),
    "log": single(_log, b"a\r\nforged\x1b[2J", "\u2028\u2029\x85\u202e😀".encode(), b"\xff\xed\xa0\x80"),
}
