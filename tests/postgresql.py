"""A real PostgreSQL for tests: a cluster of this process's own, and a database of its own for each test."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.pool import NullPool

from protosuite.testing import database
from tests.processes import LIMIT, free_port
from tests.requirements import require_postgresql

_PR_SET_PDEATHSIG = 1


class Cluster:
    """A PostgreSQL server on a port of 127.0.0.1, whose superuser ``suite`` needs no password from there.

    `settings` are those of ``postgresql.conf``. Without `fsync` among them nothing is synced: it is for
    tests of what the suite does, not of what a disk keeps. It ends with this process, however that does.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._programs = require_postgresql()
        self.folder = Path(tempfile.mkdtemp(prefix="protosuite-postgresql-"))
        self.port = free_port()
        self._settings = {
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": "200",
            "shared_buffers": "32MB",
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "port": str(self.port),
            **(settings or {}),
        }
        self._names = itertools.count()
        self._server: subprocess.Popen[bytes] | None = None
        self._templates: set[str] = set()
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = pwd.getpwnam("nobody")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self._make()

    def _make(self) -> None:
        """The data folder."""
        self._run(
            "initdb", "-D", "data", "-U", "suite", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"
        )

    @property
    def pid(self) -> int:
        """Of the server, which has a process for each connection below it."""
        assert self._server is not None, "it is not running"
        return self._server.pid

    def start(self) -> None:
        """Start it and wait until it takes connections. Blocks."""
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._programs / "postgres", "-D", "data", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._as_user(),
            )
        deadline = time.monotonic() + LIMIT
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self, how: str = "INT") -> None:
        """Stop it: TERM waits for clients, INT cuts them off, QUIT is a crash. Blocks."""
        server, self._server = self._server, None
        if server is not None:
            with contextlib.suppress(ProcessLookupError):
                server.send_signal(signal.SIGCONT)
                server.send_signal(getattr(signal, f"SIG{how}"))
            server.wait(LIMIT)

    def discard(self) -> None:
        """Stop it, and remove its folder."""
        self.stop("QUIT")
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, name: str, more: str = "") -> str:
        """As ``[suite] database`` has it."""
        return f"postgresql+psycopg://suite@127.0.0.1:{self.port}/{name}{more}"

    def engine(self, name: str = "postgres") -> Engine:
        """Connections besides the suite's own, each committed at once."""
        return create_engine(make_url(self.url(name)), poolclass=NullPool, isolation_level="AUTOCOMMIT")

    def execute(self, statement: str, name: str = "postgres") -> list[sqlalchemy.Row[tuple[object, ...]]]:
        """The rows of a statement that is committed at once."""
        with self.engine(name).connect() as connection:
            result = connection.exec_driver_sql(statement)
            return list(result.all()) if result.returns_rows else []

    def database(self, *, schema: bool = True) -> str:
        """The name of a new database, with the newest `schema`, or empty."""
        name = f"test_{next(self._names)}"
        if not schema:
            self.execute(f"CREATE DATABASE {name}")
            return name
        if "template_suite" not in self._templates:
            self.execute("CREATE DATABASE template_suite")
            database(str(self.folder), url=self.url("template_suite")).close()
            self._templates.add("template_suite")
        self.execute(f"CREATE DATABASE {name} TEMPLATE template_suite")
        return name

    def backends(self, name: str, which: str = "") -> list[int]:
        """The processes of all connections to a database, or of those for which a condition holds."""
        found = self.execute(
            f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
            + (f" AND {which}" if which else "")
        )
        return [int(str(pid)) for (pid,) in found]

    def kill_backends(self, name: str) -> int:
        """Have the server end every connection to a database; how many there were."""
        pids = self.backends(name)
        for pid in pids:
            self.execute(f"SELECT pg_terminate_backend({pid})")
        return len(pids)

    def deadlocks(self) -> int:
        """How many the server has found."""
        return (self.folder / "log").read_text("utf-8", "replace").count("deadlock detected")

    def signal(self, name: str) -> None:
        """Send a signal, such as STOP, to the server and to all its processes."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii").split()
        for pid in (self.pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, getattr(signal, f"SIG{name}"))

    def _answers(self) -> bool:
        program = self._programs / "pg_isready"
        command: list[str | Path] = [program, "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments], capture_output=True, check=False, **self._as_user()
        )
        if done.returncode:
            raise AssertionError(f"{program}: {done.stderr.decode()[-2000:]}")

    def _as_user(self) -> dict[str, Any]:
        return {
            "cwd": self.folder,
            "preexec_fn": _die_with_parent,
            "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"},
            **({"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}),
        }


class Standby(Cluster):
    """A copy of a running `primary`, to which streams what is committed there, until it is promoted."""

    def __init__(self, primary: Cluster) -> None:
        self._primary = primary
        super().__init__()

    def _make(self) -> None:
        where = f"host=127.0.0.1 port={self._primary.port} user=suite application_name=standby"
        self._run("pg_basebackup", "-D", "data", "-d", where, "-R", "--checkpoint=fast", "--no-sync")

    def promote(self) -> None:
        """Make it a primary, and wait until it is. Blocks."""
        self.execute("SELECT pg_promote(true, 120)")


def _die_with_parent() -> None:
    """Have the system end this process, as in a crash, with the one that started it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


_shared: list[Cluster] = []


def shared() -> Cluster:
    """The cluster that all tests of this process share; they leave it running."""
    if not _shared:
        cluster = Cluster()
        cluster.start()
        atexit.register(cluster.discard)
        _shared.append(cluster)
    return _shared[0]


def until(find: Callable[[], bool], what: str) -> None:
    """Wait until `find` holds. Blocks: for tests whose work is in threads."""
    deadline = time.monotonic() + LIMIT
    while not find():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {LIMIT} s: {what}")
        time.sleep(0.01)
