"""Places where bytes of others are read, each with a check that holds for any bytes at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

from attrs import frozen
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from protosuite.testing import Decodes, decoded

Take = Callable[[bytes], None]


@frozen
class Place:
    """Where bytes of others are read.

    `open` gives what reads some of them, which raises if a promise is broken; it may keep files in the
    folder that it is given. `images` are bytes as they should be. `run`, where there is a stream, is what
    comes of one that is cut into pieces.
    """

    open: Callable[[Path], Take]
    images: Sequence[bytes]
    run: Callable[[Sequence[bytes]], object] | None = None
    is_slow: bool = False


def cut(data: bytes) -> list[bytes]:
    """`data` in pieces. Where it is cut follows from `data`, so that what fails once fails again."""
    chance = Random(crc32(data))
    if len(data) < 200 and chance.random() < 0.2:
        return [data[i : i + 1] for i in range(len(data))]
    places = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(1, 5)))
    return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True)]


@implementer(ILogObserver)
class Quiet:
    """A context in which nothing may be logged that is an error."""

    def __init__(self) -> None:
        self._seen: list[str] = []

    def __enter__(self) -> Quiet:
        globalLogPublisher.addObserver(self)
        return self

    def __exit__(self, *_: object) -> None:
        globalLogPublisher.removeObserver(self)
        if self._seen:
            raise AssertionError("logged: " + "\n".join(self._seen))

    def __call__(self, event: LogEvent) -> None:
        failure = event.get("log_failure")
        if (
            failure is not None
            or event.get("isError")
            or event.get("log_level", LogLevel.info) >= LogLevel.error
        ):
            self._seen.append(formatEvent(event) + ("" if failure is None else "\n" + failure.getTraceback()))


def exchange(run: Callable[[Sequence[bytes]], object], *images: bytes) -> Place:
    """Where a stream is read: what comes of it is the same however it is cut."""

    def take(data: bytes) -> None:
        whole, pieces = run([data]), cut(data)
        found = run(pieces)
        assert found == whole, f"{pieces} give {found}, and not {whole}"

    return Place(lambda folder: take, images, run)


def stream(make: Callable[[], Decodes[Any]], *images: bytes) -> Place:
    """The same for a decoder: messages, or one fault."""
    return exchange(lambda pieces: decoded(make(), *pieces), *images)


def single(take: Take, *images: bytes) -> Place:
    """Where one piece of data is read at a time."""
    return Place(lambda folder: take, images)


def text_of(data: bytes) -> str:
    """The text that a WebSocket would make of `data`, were it UTF-8."""
    return data.decode(errors="ignore")


def as_json(**fields: object) -> bytes:
    """An object."""
    return json.dumps(fields).encode()
