"""A page of history, wherever it is in however long a one."""

from __future__ import annotations

import http.client
import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.bench import Bench, Figures, Wrong
from benchmarks.comparing import Goal
from benchmarks.growth import STEEPEST, Growth, each
from benchmarks.loads.asking import connect
from benchmarks.loads.measuring import Stopwatch
from benchmarks.loads.websocket import Frames, frame, handshake, next_text
from benchmarks.processes import Running
from benchmarks.suite import serving

_PAGE = 50
_PAGES = 200

# What a service has of its own is written past it: at a million appends a minute it would take too long.
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)"
_CHATLOG = (
    "INSERT INTO chatlog_room (id, name, epoch, head, hash, first)"
    " VALUES (1, 'bench', printf('%032x', 1), :count, printf('%032x', :count), 1)",
    f"{_NUMBERS} INSERT INTO chatlog_log (id, room, slot, author, content, at, session, seq, hash)"
    " SELECT i, 1, i, 'ana', printf('entry %100d', i), i, 'session', i, printf('%032x', i) FROM n",
    f"{_NUMBERS} INSERT INTO chatlog_filed (room, slot, id) SELECT 1, i, i FROM n",
    "INSERT INTO chatlog_filing VALUES (:count)",
)
_MEDIACHAT = (
    "INSERT INTO mediachat_chat"
    " (id, client_id, timezone, created_at, active_at, unread, delivered, media_bytes)"
    " VALUES (1, 1, 'UTC', 0, 0, 0, 0, 0)",
    f"{_NUMBERS} INSERT INTO mediachat_message (id, chat_id, sender, kind, status, at, text)"
    " SELECT i, 1, 'client', 'text', 'saved', i, printf('text %100d', i) FROM n",
    f"{_NUMBERS} INSERT INTO mediachat_filed (chat_id, id) SELECT 1, i FROM n",
    "INSERT INTO mediachat_filing VALUES (:count)",
)

Page = Callable[
    [int], list[int]
]  # gives the numbers of the entries that a page has which ends at one of them


def _history(
    bench: Bench, count: int, service: str, filling: tuple[str, ...], pages: Callable[[Running], Page]
) -> Figures:
    with bench.folder() as folder:
        with serving(bench, service, folder=folder):
            pass  # makes the tables
        _fill(folder, filling, count)
        with serving(bench, service, folder=folder) as server:
            return _measure(pages(server), count)


def _fill(folder: Path, filling: tuple[str, ...], count: int) -> None:
    with closing(sqlite3.connect(folder / "data" / "protosuite.sqlite3")) as connection:
        with connection:
            for statement in filling:
                connection.execute(statement, {"count": count})
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _measure(page: Page, count: int) -> Figures:
    """The median time of pages anywhere in it, and beside it that of the last."""
    chance = random.Random(count)
    anywhere = [_timed(page, chance.randrange(_PAGE, count + 1)) for _ in range(_PAGES)]
    last = [_timed(page, count) for _ in range(_PAGES)]
    p99 = sorted(anywhere)[_PAGES * 99 // 100]
    return Figures(median(anywhere) * 1000, {"p99 ms": p99 * 1000, "the last page, ms": median(last) * 1000})


def _timed(page: Page, end: int) -> float:
    watch = Stopwatch()
    found = page(end)
    took = watch.seconds()
    if found != list(range(end - _PAGE + 1, end + 1)):
        raise Wrong(f"the page that ends at {end} has {found}")
    return took


def _slots(server: Running) -> Page:
    """Pages of a room."""
    connection, frames = connect(server.port), Frames()
    handshake(connection, server.port, "/rooms/bench")

    def page(end: int) -> list[int]:
        connection.sendall(frame(b'{"type":"ClientUpdate","n":%d,"upto":%d}' % (_PAGE, end)))
        return [entry["slot"] for entry in json.loads(next_text(connection, frames))["entries"]]

    return page


def _messages(server: Running) -> Page:
    """Pages of a chat."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)

    def page(end: int) -> list[int]:
        connection.request("GET", f"/messages?chat_id=1&limit={_PAGE}&before={end + 1}")
        return sorted(message["id"] for message in json.load(connection.getresponse())["items"])

    return page


def _row(service: str, what: str, filling: tuple[str, ...], pages: Callable[[Running], Page]) -> Growth:
    return Growth(
        f"growth-history-{service}",
        f"a page of {_PAGE} {what}, anywhere in the history",
        "ms",
        "messages",
        (10**3, 10**5, 10**7),
        (10**3, 10**4),
        each(partial(_history, service=service, filling=filling, pages=pages)),
        (Goal(STEEPEST, at_most=1.5),),
    )


ROWS = (
    _row("chatlog", "entries", _CHATLOG, _slots),
    _row("mediachat", "messages", _MEDIACHAT, _messages),
)
