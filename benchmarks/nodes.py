"""Several nodes of the suite on one machine, on a PostgreSQL and a Redis, and what they ask of those."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from benchmarks.bench import Bench, Missing, Wrong
from benchmarks.loads.redis import command as redis_command
from benchmarks.peers import redis
from benchmarks.processes import Running, Words, accepts, free_port, started
from benchmarks.suite import command, is_ready, variables

_REMEDY = "apt-get install postgresql"


@frozen
class Engines:
    """The servers that nodes share."""

    database: Running
    redis: Running

    def url(self) -> str:
        """As ``[suite] database`` has it."""
        return f"postgresql+psycopg://suite@127.0.0.1:{self.database.port}/postgres"

    def reset(self) -> None:
        """Count from here on."""
        self._query("SELECT pg_stat_statements_reset()")
        redis.ask(self.redis, b"CONFIG", b"RESETSTAT")

    def asked(self) -> tuple[int, int, int]:
        """Since then: statements of PostgreSQL, its commits that wrote, commands of Redis."""
        # All that is not of this module: each transaction that writes leaves its mark once.
        query = "SELECT sum(calls), sum(calls) FILTER (WHERE query LIKE 'INSERT INTO storage_writer%') "
        [(statements, commits)] = self._query(
            query + "FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_%'"
        )
        text = _bulk(self.redis, b"INFO", b"commandstats")
        calls = [
            line.partition("calls=")[2].partition(",")[0] for line in text.splitlines() if "calls=" in line
        ]
        return int(statements or 0), int(commits or 0), sum(map(int, calls))

    def cpu_seconds(self) -> tuple[float, float]:
        """Of PostgreSQL with all its processes, and of Redis."""
        return self.database.cpu_seconds(), self.redis.cpu_seconds()

    def _query(self, text: str) -> list[Any]:
        import psycopg

        url = f"postgresql://suite@127.0.0.1:{self.database.port}/postgres"
        with psycopg.connect(url, autocommit=True) as connection:
            result = connection.execute(text.encode())
            return result.fetchall() if result.description else []


@frozen
class Nodes:
    """So many nodes, that are ready, and their engines."""

    nodes: list[Running]
    engines: Engines


@contextmanager
def serving(
    bench: Bench, count: int, service: str, settings: Mapping[str, object] | None = None
) -> Iterator[Nodes]:
    """Start PostgreSQL, Redis and so many nodes with one service and these settings; stop all at the end."""
    with ExitStack() as stack:
        database = stack.enter_context(_postgresql(bench))
        engines = Engines(database, stack.enter_context(redis.serving(bench, "no")))
        engines._query("CREATE EXTENSION pg_stat_statements")
        nodes = [stack.enter_context(_node(bench, engines, service, settings or {})) for _ in range(count)]
        yield Nodes(nodes, engines)


@contextmanager
def _node(bench: Bench, engines: Engines, service: str, settings: Mapping[str, object]) -> Iterator[Running]:
    port = free_port()
    with bench.folder() as folder:
        sections: dict[str, dict[str, object]] = {
            "suite": {
                "services": service,
                "data": folder / "data",
                "database": engines.url(),
                "fabric": f"redis://127.0.0.1:{engines.redis.port}",
            },
            service: {**settings, "listen": f"tcp:{port}:interface=127.0.0.1"},
        }

        def ready() -> bool:
            return is_ready(folder) and accepts(port)

        with started(bench, command(), folder, ready, variables(sections)) as process:
            yield Running(process.pid, port)


@contextmanager
def _postgresql(bench: Bench) -> Iterator[Running]:
    """A new one, as it is installed: each commit is synced. It counts the statements that it is asked."""
    programs, port = _programs(), free_port()
    user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
    with _its_folder(bench) as folder:
        data = folder / "data"
        make: Words = [*user, programs / "initdb", "-D", data, "-U", "suite", "-A", "trust", "-E", "UTF8"]
        done = subprocess.run([*make, "--locale=C"], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Wrong(f"initdb: {done.stderr[-500:]}")
        settings = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "shared_preload_libraries": "pg_stat_statements",
        }
        words: Words = [*user, programs / "postgres", "-D", data]
        for name, value in settings.items():
            words += ["-c", f"{name}={value}"]

        def ready() -> bool:
            return "ready to accept connections" in (folder / "log").read_text(errors="replace")

        with started(bench, words, folder, ready) as process:
            yield Running(process.pid, port)


@contextmanager
def _its_folder(bench: Bench) -> Iterator[Path]:
    """A folder on a disk. It does not run as root, and may not come to where root puts things."""
    if os.geteuid() != 0:
        with bench.folder() as folder:
            yield folder
        return
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp", ignore_cleanup_errors=True) as name:
        shutil.chown(name, "nobody", "nogroup")
        yield Path(name)


def _programs() -> Path:
    """Where those of the newest PostgreSQL are."""
    if importlib.util.find_spec("psycopg") is None:
        raise Missing("psycopg", "pip install 'protosuite[postgres]'")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda each: float(each.parts[-3]))
    if not found:
        raise Missing("postgresql", _REMEDY)
    return found[-1].parent


def _bulk(server: Running, *words: bytes) -> str:
    """The text that answers a command of Redis."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(redis_command(*words))
        answer = connection.makefile("rb")
        return answer.read(int(answer.readline()[1:])).decode()
