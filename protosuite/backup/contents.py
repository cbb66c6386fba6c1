"""What is in a copy of the database that nobody else uses, and whether it is sound.

It may come from anywhere and be of an older schema: nothing in it is believed, and tables may be missing.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from attrs import define, field

from protosuite.chatlog.chain import Head, Verifier, entry_of

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_BROKEN = 100  # rooms that are told
_PULSE = 100_000  # steps of SQLite's machine: some milliseconds
# All rows of a table up to a point, each once and by its own columns, and nothing else: an index, as a table.
_IS_FILED = """
    WITH filing AS (SELECT coalesce(max(upto), 0) AS upto FROM {filing})
    SELECT (SELECT count(*) FROM {filed}) = (SELECT count(*) FROM {rows} WHERE id <= upto)
        AND NOT EXISTS (SELECT 1 FROM {filed} f LEFT JOIN {rows} r ON r.id = f.id
            WHERE {differs} OR r.id > upto)
    FROM filing
"""
_FILED = {  # by what tells that it should be so
    "mediachat_filed": (
        _IS_FILED.format(
            filed="mediachat_filed",
            filing="mediachat_filing",
            rows="mediachat_message",
            differs="r.chat_id IS NOT f.chat_id",
        ),
        "messages of the media chat are not filed under their chats",
    ),
    "chatlog_filed": (
        _IS_FILED.format(
            filed="chatlog_filed",
            filing="chatlog_filing",
            rows="chatlog_log",
            differs="r.room IS NOT f.room OR r.slot IS NOT f.slot",
        ),
        "entries of the chat log are not filed under their rooms",
    ),
}

# Where entries are, of the newest schema and of older ones: those of a room up to its head, and all above.
_FIELDS = "author, content, at, session, seq, key, hash"
_LOGS = {
    "chatlog_log": (
        f"SELECT f.slot, {_FIELDS} FROM chatlog_filed f JOIN chatlog_log ON chatlog_log.id = f.id"
        " WHERE f.room = ? ORDER BY f.slot",
        f"SELECT room, slot, {_FIELDS} FROM chatlog_log"
        " WHERE id > (SELECT coalesce(max(upto), 0) FROM chatlog_filing) ORDER BY room, slot",
    ),
    "chatlog_recent": (
        f"SELECT slot, {_FIELDS} FROM chatlog_entry WHERE room = ? ORDER BY slot",
        f"SELECT room, slot, {_FIELDS} FROM chatlog_recent ORDER BY room, slot",
    ),
    "chatlog_entry": (f"SELECT slot, {_FIELDS} FROM chatlog_entry WHERE room = ? ORDER BY slot", None),
}


class Unsound(Exception):
    """The database cannot be read, or is not what it says. The text is for a person."""


@define
class Chains:
    """What was found right in the logs of all rooms, and what is wrong with the `broken` ones."""

    rooms: int = 0
    entries: int = 0
    hashes: int = 0
    broken: list[str] = field(factory=list)


class _ByRoom:
    """Rows whose first value is a room, in the order of the rooms, in which they are asked for, too."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self._rows = rows
        self._next: Any = None

    def of(self, room: int) -> Iterator[Any]:
        """The rest of each row of a room. Those of no room, or behind a problem in one, are left out."""
        while (row := self._peek()) is not None and row[0] <= room:
            self._next = None
            if row[0] == room:
                yield row[1:]

    def _peek(self) -> Any:
        if self._next is None:
            self._next = next(self._rows, None)
        if self._next is not None and not isinstance(self._next[0], int):
            raise Unsound("an entry of the chat log has something else for a room")
        return self._next


class Contents:
    """A connection to the copy `path`, which it does not change."""

    def __init__(self, path: Path) -> None:
        uri = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
        self._connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        self.pulse(lambda: 0, _PULSE)
        for pragma in ("trusted_schema = OFF", "cell_size_check = ON"):
            self._connection.execute(f"PRAGMA {pragma}")

    def __enter__(self) -> Contents:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def pulse(self, call: Callable[[], int], steps: int) -> None:
        """Call something every so many steps of SQLite's machine: in Python, so that signals are seen to."""
        self._connection.set_progress_handler(call, steps)

    def check(self) -> None:
        """Look at every page, index and reference. Raises :exc:`Unsound`."""
        (problem,) = next(self._rows("PRAGMA integrity_check(1)"))
        if problem != "ok":
            raise Unsound(str(problem).replace("\n", " "))
        if (found := next(self._rows("PRAGMA foreign_key_check"), None)) is not None:
            raise Unsound(f"a row of {found[0]} refers to one of {found[2]} that is not there")
        foreign = "SELECT name FROM sqlite_schema WHERE type NOT IN ('table', 'index')"
        if (found := next(self._rows(foreign), None)) is not None:
            raise Unsound(f"it has {found[0]!r}, which is none of the suite's tables")
        for table, (is_filed, problem) in _FILED.items():
            if self._has(table) and not next(self._rows(is_filed))[0]:
                raise Unsound(problem)

    def schema(self) -> str:
        """The schema that it says that it has; an empty text if it is not a suite's."""
        if not self._has("alembic_version"):
            return ""
        return str(next(self._rows("SELECT version_num FROM alembic_version"), ("",))[0])

    def chains(self) -> Chains:
        """Check the log of every room from end to end. Raises :exc:`Unsound` if there is no reading it."""
        found = Chains()
        if not self._has("chatlog_room"):
            return found
        log = next((log for table, log in _LOGS.items() if self._has(table)), _LOGS["chatlog_log"])
        held, above = log[0], _ByRoom(iter(()) if log[1] is None else self._rows(log[1]))
        rooms = "SELECT id, name, epoch, first, head, hash FROM chatlog_room ORDER BY id"
        for id, name, *room in self._rows(rooms):
            found.rooms += 1
            try:
                problem = self._chain(found, self._rows(held, id), above.of(id), *room)
            except (TypeError, ValueError, Unsound) as error:  # a value that is not of its column's type
                problem = str(error)
            if problem is not None and len(found.broken) < _MOST_BROKEN:
                found.broken.append(f"room {name!r} of the chat log: {problem}")
        return found

    def media(self) -> Iterator[tuple[str, int]]:
        """SHA-256 and size of every media file that a message names, once each, by SHA-256."""
        if not self._has("mediachat_message"):
            return
        query = (
            "SELECT sha256, min(size), max(size) FROM mediachat_message"
            " WHERE sha256 IS NOT NULL GROUP BY sha256 ORDER BY sha256"
        )
        for digest, size, largest in self._rows(query):
            if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
                raise Unsound("a media message has something else for a SHA-256")
            if not isinstance(size, int) or size != largest:
                raise Unsound(f"the media messages with the SHA-256 {digest} are not of one size")
            yield digest, size

    def _chain(
        self,
        found: Chains,
        held: Iterator[Any],
        above: Iterator[Any],
        epoch: str,
        first: int,
        head: int,
        hash: str,
    ) -> str | None:
        """Count what is right in a room, up to the first problem: what that is, if there is one."""
        verifier = Verifier(epoch)
        last = Head(first - 1, epoch if first == 1 else hash)
        for rows in (held, above):
            for row in rows:
                entry = entry_of(row)
                problem = verifier.problem(entry)
                if problem is None and entry.slot != last.slot + 1:
                    problem = f"slot {entry.slot} comes after slot {last.slot}"
                if problem is not None:
                    return problem
                found.entries += 1
                found.hashes += verifier.checked
                verifier.checked = 0
                last = Head(entry.slot, entry.hash)
            if rows is held and last != Head(head, hash):
                return f"it ends with slot {last.slot}, not as slot {head} should"
        return None

    def _has(self, table: str) -> bool:
        query = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?"
        return next(self._rows(query, table), None) is not None

    def _rows(self, query: str, *values: object) -> Iterator[Any]:
        try:
            for row in self._connection.execute(query, values):  # noqa: UP028 - it would close what is closed
                yield row
        except sqlite3.Error as error:
            if (
                getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT"
            ):  # a signal came while SQLite was at work
                raise KeyboardInterrupt from None
            raise Unsound(str(error)) from None
        except UnicodeDecodeError:
            raise Unsound("it has text that is none") from None
