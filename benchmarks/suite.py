"""The suite as a process of its own: one service on a free port, in a folder that goes with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.processes import Running, accepts, free_port, started

_QUIET = 3600  # seconds: no ping falls into a run of connections that only listen


@contextmanager
def serving(
    bench: Bench, service: str, settings: Mapping[str, object] | None = None, folder: Path | None = None
) -> Iterator[Running]:
    """Start the suite with one service and these settings of it; stop it at the end.

    What is in `folder` is kept, for another start.
    """
    if folder is None:
        with bench.folder() as own, serving(bench, service, settings, own) as running:
            yield running
        return
    port = free_port()
    sections: dict[str, dict[str, object]] = {"suite": {"services": service, "data": folder / "data"}}
    sections[service] = {**(settings or {}), "listen": f"tcp:{port}:interface=127.0.0.1"}
    with started(
        bench, command(), folder, lambda: is_ready(folder) and accepts(port), variables(sections)
    ) as process:
        yield Running(process.pid, port)


def command() -> list[str | Path]:
    """What starts the suite."""
    return [Path(sys.executable).with_name("twistd"), "-n", "--pidfile=", "protosuite"]


def variables(sections: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    """Settings as the environment has them: no file is needed to type the command again."""
    return {
        f"PROTOSUITE_{section}_{name}".upper(): str(value)
        for section, settings in sections.items()
        for name, value in settings.items()
    }


def is_ready(folder: Path) -> bool:
    """Whether the suite whose output is in this folder has said so."""
    return "suite: ready" in (folder / "log").read_text(errors="replace")


QUIET = {"ping_interval": _QUIET, "idle_timeout": _QUIET}
