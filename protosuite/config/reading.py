"""An INI file and the environment to sections, with every problem that there is with them, and its place."""

from __future__ import annotations

import configparser
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from attrs import frozen

from protosuite.logs import redacted
from protosuite.settings import fields_of

ENVIRONMENT_PREFIX = "PROTOSUITE_"

_HEADER = re.compile(r"\[(?P<name>[^\]]+)\]")
_KEY = re.compile(r"(?P<name>[^\s#;=:\[][^=:]*?)\s*[=:]")

S = TypeVar("S")


@frozen
class Problem:
    """One thing that is wrong with a configuration, and where.

    `line` is 0 where there is none: the problem is then with a variable of the environment.
    """

    source: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.what}" if self.line else f"{self.source}: {self.what}"


class ConfigurationError(Exception):
    """A configuration that cannot be used, with every problem in it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = list(problems)


@frozen
class Entry:
    """One value as it was written, and where."""

    value: str
    source: str
    line: int


Entries = dict[tuple[str, str], Entry]


def read_file(name: str, sections: Mapping[str, type], problems: list[Problem]) -> Entries:
    """The values of an INI file by section and key; what is wrong with its form goes to `problems`."""
    try:
        with open(name, encoding="utf-8-sig") as file:  # some editors begin a file with a mark
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        problems.append(Problem(name, 0, f"cannot read the configuration: {reason}"))
        return {}
    places = _places(name, lines, problems)
    parser = _parse(name, lines, problems)
    entries: Entries = {}
    for section in parser.sections():
        if section not in sections:
            hint = nearest(section, sections)
            if not hint.endswith("?"):
                hint = f"; no service of that name is installed{hint}"
            problems.append(Problem(name, places.get((section, ""), 1), f"unknown section [{section}]{hint}"))
            continue
        for key, value in parser.items(section):
            entries[section, key] = Entry(value, name, places.get((section, key), 1))
    return entries


def _parse(name: str, lines: list[str], problems: list[Problem]) -> configparser.RawConfigParser:
    """Parse, leaving out one by one the lines that the parser stumbles over, so that it sees the rest."""
    while True:
        parser = configparser.RawConfigParser(
            strict=False, default_section="\0", inline_comment_prefixes=("#",), empty_lines_in_values=False
        )
        try:
            parser.read_string("\n".join(lines))
        except configparser.MissingSectionHeaderError as error:
            wrong = [(error.lineno, "a setting before the first [section]")]
        except configparser.ParsingError as error:
            wrong = [(number, "neither [section] nor key = value") for number, _ in error.errors]
        else:
            return parser
        for number, what in wrong:
            problems.append(Problem(name, number, what))
            lines[number - 1] = ""


def _places(name: str, lines: Sequence[str], problems: list[Problem]) -> dict[tuple[str, str], int]:
    """Line numbers by (section, key), with key "" for the header; a repeated one is a problem."""
    places: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(lines, 1):
        if header := _HEADER.match(line):
            section, key = header["name"], ""
        elif match := _KEY.match(line):
            key = match["name"].lower()
        else:
            continue
        if (section, key) in places:
            what = f"[{section}] {key}" if key else f"section [{section}]"
            problems.append(
                Problem(name, number, f"{what} again; it is first on line {places[section, key]}")
            )
        places.setdefault((section, key), number)
    return places


def read_environment(
    environment: Mapping[str, str], sections: Mapping[str, type], problems: list[Problem]
) -> Entries:
    """Values from ``PROTOSUITE_<SECTION>_<KEY>``.

    A name that is nearly a known one is a problem. Others that begin alike are left alone: container
    platforms put variables such as PROTOSUITE_SERVICE_HOST into every process.
    """
    known = {
        f"{ENVIRONMENT_PREFIX}{section}_{key}".upper(): (section, key)
        for section, cls in sections.items()
        for key in fields_of(cls)
    }
    entries: Entries = {}
    for name, value in sorted(environment.items()):
        if name in known:
            entries[known[name]] = Entry(value, f"environment variable {name}", 0)
        elif name.startswith(ENVIRONMENT_PREFIX) and difflib.get_close_matches(name, known, 1, 0.85):
            source = f"environment variable {name}"
            problems.append(Problem(source, 0, f"unknown setting{nearest(name, known)}"))
    return entries


def fill(section: str, cls: type[S], entries: Entries, problems: list[Problem]) -> S:
    """The section's values: what `entries` say, and the defaults for the rest."""
    known = fields_of(cls)
    values = {}
    for (where, key), entry in entries.items():
        if where != section:
            continue
        if key not in known:
            what = f"[{section}] {key}: unknown setting{nearest(key, known)}"
            problems.append(Problem(entry.source, entry.line, what))
            continue
        kind = known[key][1]
        try:
            values[key] = kind.parse(entry.value.strip())
        except ValueError:
            what = redacted(f"[{section}] {key} = {entry.value.strip()!r}: must be {kind.allowed}")
            problems.append(Problem(entry.source, entry.line, what))
    return cls(**values)


def nearest(name: str, known: Mapping[str, object]) -> str:
    """``; did you mean X?``, or what is known when nothing is near."""
    close = difflib.get_close_matches(name, known, 1, 0.6)
    return f"; did you mean {close[0]}?" if close else "; known are " + ", ".join(known)
