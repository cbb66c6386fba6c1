"""Entries as lines for a person or a program, and lines of a person or a program as what to append."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

import attrs
from attrs import frozen

from protosuite.chatlog.wire import MAX_CONTENT, Entry
from protosuite.messages import characters
from protosuite.program import shown

MAX_AUTHOR = 64  # characters
_MAX_LINE = 4 * MAX_CONTENT + 1  # bytes of UTF-8, and a carriage return
_INDENT = " " * 6  # as wide as the time

_check_author, _author_rule = characters(MAX_AUTHOR)
_check_content, _content_rule = characters(MAX_CONTENT, lines=True)


def local_time(entry: Entry) -> datetime | None:
    """When `entry` was committed; None if no calendar has it."""
    try:
        return datetime.fromtimestamp(entry.at / 1000)
    except (OverflowError, OSError, ValueError):
        return None


def clock(entry: Entry) -> str:
    """The local time of `entry`, in hours and minutes."""
    time = local_time(entry)
    return f"{time:%H:%M}" if time is not None else "??:??"


def text_lines(entry: Entry) -> str:
    """``HH:MM author: text``; what follows in the text is indented."""
    first, *rest = map(shown, entry.content.split("\n"))
    return "\n".join([f"{clock(entry)} {shown(entry.author)}: {first}", *[_INDENT + line for line in rest]])


def json_line(entry: Entry) -> str:
    """`entry` with the fields that it has on the wire, as one line of ASCII."""
    fields = {name: value for name, value in attrs.asdict(entry).items() if value is not None}
    return json.dumps(fields, separators=(",", ":"))


def author_problem(author: str) -> str | None:
    """What is wrong with the name of an author, for a person; None if nothing is."""
    return None if _check_author(author) else f"{author!r} is not {_author_rule}"


def content_problem(content: str) -> str | None:
    """What is wrong with the content of an entry, for a person; None if nothing is."""
    return None if _check_content(content) else f"not {_content_rule}"


@frozen
class Line:
    """A line of input, numbered from 1: its text, or what is wrong with it."""

    number: int
    text: str = ""
    problem: str | None = None


class LineSplitter:
    """Bytes into lines, of which empty ones are left out. A line that no entry can hold is not kept."""

    def __init__(self) -> None:
        self._rest = b""
        self._number = 0
        self._is_too_long = False  # the line that has begun

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines that end in `data`."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            yield from self._end(self._rest + end)
        self._rest += rest
        if len(self._rest) > _MAX_LINE:
            self._rest, self._is_too_long = b"", True

    def finish(self) -> Iterator[Line]:
        """The last line, if it has no end."""
        if self._rest or self._is_too_long:
            yield from self._end(self._rest)

    def _end(self, data: bytes) -> Iterator[Line]:
        is_too_long = self._is_too_long or len(data) > _MAX_LINE  # however it was cut
        self._is_too_long, self._rest = False, b""
        self._number += 1
        data = data.removesuffix(b"\r")
        if is_too_long or data:
            yield Line(self._number, problem=content_problem("")) if is_too_long else self._line(data)

    def _line(self, data: bytes) -> Line:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return Line(self._number, problem="not UTF-8")
        return Line(self._number, text, content_problem(text))
