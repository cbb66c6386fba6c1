"""Settings as declared values: each knows its default, its unit, what is allowed and how it is written.

A section is a frozen attrs class whose fields are made with :func:`setting`. :func:`written` turns it into a
part of a file that is ready to be saved; how one is made of a file is in :mod:`protosuite.config`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import attrs
from attrs import frozen

from protosuite import hours
from protosuite.logs import redacted

_SIZE = re.compile(r"([0-9]+)\s*(B|KiB|MiB|GiB)?")
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

Network = IPv4Network | IPv6Network


@frozen
class Kind:
    """How one sort of value is read and written.

    `parse` takes the text and returns the value or raises `ValueError`; its words are not shown,
    `allowed` is. `write` is its inverse.
    """

    allowed: str
    parse: Callable[[str], Any]
    write: Callable[[Any], str] = str


def seconds(minimum: float = 0.001, maximum: float = 31_536_000.0) -> Kind:
    """A span of time in seconds, fractions allowed."""

    def parse(text: str) -> float:
        value = float(text)
        if not minimum <= value <= maximum:  # also false for NaN
            raise ValueError
        return value

    return Kind(f"a number of seconds from {minimum:g} to {maximum:.0f}", parse, lambda v: f"{v:g}")


def count(minimum: int, maximum: int) -> Kind:
    """A whole number from `minimum` to `maximum`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise ValueError
        value = int(text)
        if not minimum <= value <= maximum:
            raise ValueError
        return value

    return Kind(f"a whole number from {minimum} to {maximum}", parse)


def size(minimum: int, maximum: int) -> Kind:
    """A number of bytes, with an optional suffix ``KiB``, ``MiB`` or ``GiB``."""

    def parse(text: str) -> int:
        match = _SIZE.fullmatch(text)
        if match is None:
            raise ValueError
        value = int(match[1]) * _UNITS[match[2] or "B"]
        if not minimum <= value <= maximum:
            raise ValueError
        return value

    return Kind(
        f"a size from {_write_size(minimum)} to {_write_size(maximum)}, as in 64 KiB", parse, _write_size
    )


def _write_size(value: int) -> str:
    for unit in ("GiB", "MiB", "KiB"):
        if value and value % _UNITS[unit] == 0:
            return f"{value // _UNITS[unit]} {unit}"
    return str(value)


def choice(*names: str) -> Kind:
    """One of a few words."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError
        return text

    return Kind("one of " + ", ".join(names), parse)


def switch() -> Kind:
    """``yes`` or ``no``."""
    words = {"yes": True, "no": False}

    def parse(text: str) -> bool:
        if text not in words:
            raise ValueError
        return words[text]

    return Kind("yes or no", parse, lambda value: "yes" if value else "no")


def opening() -> Kind:
    """Opening hours, as :func:`protosuite.hours.parse` reads them."""
    return Kind("hours such as 08:00-12:00, 14:00-18:00, or always, or never", hours.parse)


def origins() -> Kind:
    """Origins of pages, as a browser names them: none, or some separated by commas or white space."""

    def parse(text: str) -> tuple[str, ...]:
        words = tuple(text.replace(",", " ").split())
        if not all(re.fullmatch(r"https?://[a-z0-9.\-\[\]:]+", word) for word in words):
            raise ValueError
        return words

    return Kind("origins such as https://chat.example.org, separated by commas", parse, ", ".join)


def networks() -> Kind:
    """Networks of IP addresses: none, or some separated by commas or white space."""

    def parse(text: str) -> tuple[Network, ...]:
        return tuple(ip_network(word) for word in text.replace(",", " ").split())

    return Kind(
        "networks such as 10.0.0.0/8 or fd00::/8, and single addresses, separated by commas",
        parse,
        lambda value: ", ".join(map(str, value)),
    )


def subset(*names: str, others: str = "") -> Kind:
    """``all``, or some of a few words separated by commas or white space.

    With `others`, which says what those are, words that are not in `names` are taken as well, behind these;
    whether they mean anything is for whoever reads the value to find out.
    """

    def parse(text: str) -> tuple[str, ...]:
        words = text.replace(",", " ").split()
        if not words or len(set(words)) != len(words):
            raise ValueError
        more = [word for word in words if word not in names and word != "all"]
        if more and not (others and all(re.fullmatch(r"[a-z][a-z0-9_]*", word) for word in more)):
            raise ValueError
        return (*(name for name in names if name in words or "all" in words), *more)

    def write(value: Sequence[str]) -> str:
        all_first = tuple(value[: len(names)]) == names
        return ", ".join(["all", *value[len(names) :]] if all_first else value)

    more = f", and {others}," if others else ""
    return Kind(f"all, or some of {', '.join(names)}{more} separated by commas", parse, write)


def endpoints() -> Kind:
    """One or more Twisted server endpoint strings, one a line."""

    def parse(text: str) -> tuple[str, ...]:
        lines = tuple(line.strip() for line in text.splitlines() if line.strip())
        if not lines or not all(re.match(r"[a-z][a-z0-9-]*:", line) for line in lines):
            raise ValueError
        return lines

    def write(value: Sequence[str]) -> str:
        return value[0] if len(value) == 1 else "".join("\n    " + line for line in value)

    return Kind("Twisted server endpoints, one a line, as in tcp:5500:interface=127.0.0.1", parse, write)


def text(allowed: str, pattern: str) -> Kind:
    """Text that matches `pattern` as a whole."""

    def parse(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError
        return value

    return Kind(allowed, parse)


def secret(allowed: str, pattern: str) -> Kind:
    """Text that may hold a password of a URL, which is never printed."""
    return Kind(allowed, text(allowed, pattern).parse, redacted)


def setting(default: Any, kind: Kind, doc: str) -> Any:
    """A field of a section: its default value, its kind, and a sentence with the unit."""
    return attrs.field(default=default, metadata={"kind": kind, "doc": doc}, kw_only=True)


def fields_of(section: type) -> dict[str, tuple[Any, Kind, str]]:
    """Name to (default, kind, doc) for each setting of a section class, in order."""
    return {f.name: (f.default, f.metadata["kind"], f.metadata["doc"]) for f in attrs.fields(section)}


def written(name: str, section: Any) -> Iterator[str]:
    """The lines of one section of a file, with comments, that reads back as `section`."""
    yield f"[{name}]"
    for key, (default, kind, doc) in fields_of(type(section)).items():
        shown = kind.write(default).strip().replace("\n    ", " and ")
        yield f"# {doc}"
        yield f"# Allowed: {kind.allowed}. Default: {shown}"
        yield f"{key} = {kind.write(getattr(section, key))}".rstrip()
        yield ""
