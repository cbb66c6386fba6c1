"""The data folder and the schema: taken, checked and brought up to date before anything is served."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from twisted.logger import Logger

from protosuite.errors import StartError, StorageError
from protosuite.extensions import Migrations
from protosuite.logs import first_line
from protosuite.storage import damage, engines
from protosuite.storage.database import Database
from protosuite.storage.schema import HEAD

if TYPE_CHECKING:
    from alembic.config import Config

log = Logger(namespace="protosuite.storage")

MOVING = "protosuite_move"  # the table of a database that is not yet filled from another one
RESTORING = "restoring"  # in the data folder for as long as not all of a backup is in its place


def take(folder: Path) -> IO[str]:
    """Make the data folder and take it for this process until the file that is returned is closed.

    Raises :exc:`StartError` when it cannot be written, when another process has it, or when it holds half
    a backup.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = open(folder / "lock", "a+", encoding="ascii")  # noqa: SIM115 - held while the suite runs
    except OSError as error:
        raise StartError(
            f"cannot write to the data folder {folder} ({error.strerror}): change [suite] data"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        owner = lock.read().strip()
        lock.close()
        raise StartError(
            f"the data folder {folder} is in use by process {owner or 'unknown'}: "
            "stop that one, or change [suite] data"
        ) from None
    if (folder / RESTORING).exists():
        lock.close()
        raise StartError(
            f"the restore of a backup into the data folder {folder} did not finish: "
            "empty the folder, and restore again"
        )
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def upgrade(database: Database) -> None:
    """Bring the schema to this version's. Blocks; for the start.

    The check and all migrations are one transaction that excludes other writers; with PostgreSQL, other nodes
    that start. A database that is damaged, or was written by a newer version, is left as it is:
    :exc:`StartError`.
    """
    if not engines.is_file(database.url):
        _guarded(database, _upgrade_server)
        return
    file = Path(database.url.database or "")
    if (found := damage.find(file)) is not None:
        raise StartError(
            f"the database {file} cannot be used, it is damaged ({found}): "
            "restore a backup, or change [suite] database"
        )
    _guarded(database, bring_up_to_date)


def upgrade_own(database: Database, name: str, own: Migrations) -> None:
    """Bring the tables of a service that does not come with the suite up to date. Blocks; for the start."""
    table = f"{name}_version"

    def work(connection: Connection) -> None:
        if not engines.is_file(database.url):
            from protosuite.storage import postgresql

            postgresql.exclude_others(connection)
        found = _revision(connection, table)
        if found == own.head:
            return
        from alembic.script import ScriptDirectory
        from alembic.util import CommandError

        config = _config(connection, own.folder, table)
        try:
            known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        except CommandError as error:
            raise StartError(f"the migrations of the service {name} cannot be read: {error}") from None
        if own.head not in known:
            raise StartError(f"the service {name} names the schema {own.head}, and has no such migration")
        if found is not None and found not in known:
            raise StartError(
                f"the tables of {name} have schema {found}, newer than the installed version of that service "
                f"({own.head}) knows: install the newer version, or restore a backup"
            )
        _run(config, own.head, up=True)

    _guarded(database, work)


def downgrade(database: Database, revision: str) -> None:
    """Take the schema back to `revision` ("base": empty). For a way back to an older version."""
    _guarded(database, lambda connection: _alembic(connection, revision, up=False))


def is_known(revision: str) -> bool:
    """Whether this version can work with a database of a schema, bringing it up to date."""
    if revision == HEAD:
        return True  # without alembic, which takes as long to import as all the rest
    from alembic.script import ScriptDirectory

    return revision in {script.revision for script in ScriptDirectory(_folder()).walk_revisions()}


def _guarded(database: Database, work: Callable[[Connection], None]) -> None:
    try:
        with database.at_start() as connection:
            work(connection)
    except DBAPIError as error:
        what = _remedy(error) if engines.is_file(database.url) else "see to it"
        raise StartError(
            f"the database {engines.shown(database.url)} cannot be used ({first_line(error.orig)}): "
            f"{what}, or change [suite] database"
        ) from None
    except StorageError as error:
        raise StartError(
            f"{error}: start it, or change [suite] database, which is {engines.shown(database.url)}"
        ) from None


def _remedy(error: DBAPIError) -> str:
    """What to do about a file that cannot be used. To restore a backup is right only where it is damaged."""
    code = getattr(error.orig, "sqlite_errorname", "") or ""
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "end what else has it open"
    if code.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_READONLY")):
        return "have the suite's user own it and its folder"
    return "free some room" if code == "SQLITE_FULL" else "restore a backup"


def _upgrade_server(connection: Connection) -> None:
    from protosuite.storage import marks, postgresql

    postgresql.exclude_others(connection)
    if inspect(connection).has_table(MOVING):
        raise StartError(
            f"the database {engines.shown(connection.engine.url)} has only a part of what is moved to it: "
            "run protosuite-migrate again, which goes on"
        )
    bring_up_to_date(connection)
    marks.sweep(connection, int(time.time() * 1000))
    for sentence in postgresql.warnings(connection):
        log.warn("{sentence}", sentence=sentence)


def bring_up_to_date(connection: Connection) -> None:
    """The same in a transaction of the caller's, without looking whether the database is sound."""
    found = _revision(connection)
    if found == HEAD:
        return  # the common start: alembic, which takes as long to import as all the rest, is not needed
    if found is not None and not is_known(found):
        where = engines.shown(connection.engine.url)
        raise StartError(
            f"the database {where} has schema {found}, newer than this version of "
            f"protosuite ({HEAD}) knows: run the newer version, or restore a backup"
        )
    _alembic(connection, "head", up=True)


def _revision(connection: Connection, table: str = "alembic_version") -> str | None:
    if not inspect(connection).has_table(table):
        return None
    return connection.execute(text(f"SELECT version_num FROM {table}")).scalar()


def _folder() -> str:
    return str(Path(__file__).with_name("migrations"))


def _alembic(connection: Connection, revision: str, *, up: bool) -> None:
    _run(_config(connection), revision, up=up)


def _run(config: Config, revision: str, *, up: bool) -> None:
    from alembic import command

    (command.upgrade if up else command.downgrade)(config, revision)


def _config(connection: Connection, versions: Path | None = None, table: str = "alembic_version") -> Config:
    """What alembic works with: `versions` is a folder of them that is not ours, `table` counts them."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", _folder().replace("%", "%%"))
    if versions is not None:
        config.set_main_option("path_separator", "newline")
        config.set_main_option("version_path_separator", "newline")
        config.set_main_option("version_locations", str(versions).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = table
    return config
