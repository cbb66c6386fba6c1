"""``protosuite-migrate``: move what a suite has from SQLite to PostgreSQL."""

from __future__ import annotations

import json
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import attrs
import sqlalchemy as sa
from sqlalchemy import URL, Connection, Table, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from tqdm import tqdm

import protosuite.auth.revocations
import protosuite.bus.store
import protosuite.counter.store
import protosuite.mediachat.store
import protosuite.numbers.store  # noqa: F401 - all of them declare tables
from protosuite import program
from protosuite.chatlog.layout import file as file_entries
from protosuite.errors import StartError, StorageError
from protosuite.logs import first_line, redacted
from protosuite.moving import copying
from protosuite.moving.checking import Content, content
from protosuite.program import EXIT_FAILED, EXIT_OK, Failed
from protosuite.storage import damage, engines, migrate
from protosuite.storage.engines import Transactions
from protosuite.storage.measures import revision
from protosuite.storage.schema import HEAD, metadata
from protosuite.storage.timeouts import Timeouts

NAME = "protosuite-migrate"

_TIMEOUTS = Timeouts(whole=60.0)
_FIRST = Timeouts(whole=5.0)  # somebody waits to see whether it is the right place
_KNOWN = {"alembic_version", "sqlite_sequence"}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the program."""
    sys.exit(run(parse(argv)))


def parse(argv: Sequence[str] | None = None) -> Namespace:
    """The command line. Ends the program if it is wrong."""
    parser = program.parser(
        NAME,
        "Move all that a suite has in SQLite to PostgreSQL, and check it there. The suite must not run\n"
        "meanwhile. What was interrupted goes on where it was. The media are files, and stay where they are.",
        f"{NAME} --from sqlite:///protosuite.sqlite3 --to postgresql+psycopg://suite@db.example.org/suite",
    )
    parser.add_argument("--from", dest="source", metavar="URL", required=True, help="sqlite:///FILE")
    parser.add_argument(
        "--to",
        dest="target",
        metavar="URL",
        required=True,
        help="postgresql+psycopg://USER@HOST/NAME, empty; PGPASSFILE names a file with the password",
    )
    parser.add_argument("--json", action="store_true", help="print what was moved as a JSON object")
    arguments = parser.parse_args(argv)
    for name, begin in (("source", "sqlite:///"), ("target", "postgresql+psycopg://")):
        try:
            url = make_url(getattr(arguments, name))
        except (ArgumentError, ValueError):  # as of a port that is no number
            url = None
        if url is None or not getattr(arguments, name).startswith(begin):
            parser.error(f"--{'from' if name == 'source' else 'to'} is a URL, and begins with {begin}")
        setattr(arguments, name, url)
    return arguments


def run(arguments: Namespace) -> int:
    """Move; the exit code, after one line on standard error if it is not 0."""

    def interrupted(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, interrupted)
    try:
        _Move(arguments).run()
    except KeyboardInterrupt:
        return 130
    except (Failed, StartError, StorageError) as error:
        program.say(redacted(f"{NAME}: {error}"))
        return EXIT_FAILED
    except DBAPIError as error:
        program.say(redacted(f"{NAME}: {first_line(error.orig)}; it goes on when it is run again"))
        return EXIT_FAILED
    return EXIT_OK


def _revision(here: Connection) -> str | None:
    return revision(here) if sa.inspect(here).has_table("alembic_version") else None


class _Move:
    """One run of the program."""

    def __init__(self, arguments: Namespace) -> None:
        self._json = arguments.json
        self._source: URL = arguments.source
        self._target: URL = arguments.target
        self._bar: tqdm[Any] | None = None

    def run(self) -> None:
        file = Path(self._source.database or "").absolute()
        if not file.is_file():
            raise Failed(f"there is no file {file}")
        if (found := damage.find(file)) is not None:
            raise Failed(f"the database {file} is damaged ({found}): restore a backup")
        began = time.monotonic()
        source = engines.writing(self._source.set(database=str(file)), _TIMEOUTS, time.monotonic)
        target = engines.writing(self._target, _TIMEOUTS, time.monotonic)
        others = engines.writing(self._target, _FIRST, time.monotonic)
        try:
            # As a writer that keeps all others out: nobody adds to what has been moved.
            with source.at_start() as here, self._alone(others):
                self._check_schema(here, file)
                file_entries(here)  # what is not filed would not be found
                self._move(here, target, str(file), began)
        finally:
            for each in (source, target, others):
                each.stop()

    @contextmanager
    def _alone(self, others: Transactions) -> Iterator[None]:
        """Keep suites, and others of this program, from the target for as long as this lasts.

        A server that dies meanwhile forgets it; no suite starts then either, for not all is there.
        """
        from protosuite.storage import postgresql

        with ExitStack() as entered:
            guard = entered.enter_context(others.at_start())
            if not postgresql.exclude_others(guard, wait=5):
                raise Failed("a suite is starting with the target, or another of this program fills it")
            leave = entered.pop_all().close
        try:
            yield
        finally:
            with suppress(DBAPIError):
                leave()

    def _check_schema(self, here: Connection, file: Path) -> None:
        found = _revision(here)
        if found != HEAD:
            raise Failed(
                f"the database {file} has schema {found}, not {HEAD}: start this version with it once"
            )
        known = _KNOWN | set(metadata.tables)
        for name in sorted(set(sa.inspect(here).get_table_names()) - known):
            program.say(f"{NAME}: the table {name} is not the suite's own, and is not moved")

    def _move(self, here: Connection, target: Transactions, file: str, began: float) -> None:
        with target.at_start() as there:
            migrate.bring_up_to_date(there)
            is_resumed = copying.prepare(there, file)
        counts = {
            table: here.execute(sa.select(sa.func.count()).select_from(copying.found(table))).scalar_one()
            for table in copying.tables()
        }
        self._begin("moving", sum(counts.values()))
        for table in counts:
            self._copy(here, target, table)
        self._begin("checking", 2 * sum(counts.values()))
        found = {table.name: self._checked(here, target, table) for table in counts}
        with target.at_start() as there:
            copying.finish(there, here)
        self._end()
        rows = sum(each.rows for each in found.values())
        if self._json:
            moved = {name: attrs.asdict(each) for name, each in found.items()}
            print(json.dumps({"tables": moved, "rows": rows, "resumed": is_resumed}), flush=True)
        else:
            print(
                f"{rows:,} rows of {len(found)} tables moved and checked in {time.monotonic() - began:.1f} s;"
                " [suite] database can be the new one"
            )

    def _copy(self, here: Connection, target: Transactions, table: Table) -> None:
        after = target.run(lambda there: copying.reached(there, table), time.monotonic())
        for batch in copying.batches(here, table, after):
            target.run(lambda there, batch=batch: copying.put(there, table, batch), time.monotonic())  # type: ignore[misc]
            self._advance(table.name, len(batch))

    def _checked(self, here: Connection, target: Transactions, table: Table) -> Content:
        advance = partial(self._advance, table.name)
        with target.at_start() as there:
            from protosuite.storage import postgresql

            postgresql.take_time(there)
            theirs = content(there, table, advance)
        ours = content(here, copying.found(table), advance)
        if ours != theirs:
            raise Failed(
                f"{table.name} has {ours.rows:,} rows here and {theirs.rows:,} in the target, and they are"
                " not the same: the source was changed since this began; begin again with an empty database"
            )
        return ours

    def _begin(self, what: str, total: int) -> None:
        self._end()
        self._bar = tqdm(
            desc=what,
            total=total,
            unit=" rows",
            leave=False,
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
        )

    def _advance(self, table: str, rows: int) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(table, refresh=False)
            self._bar.update(rows)

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
