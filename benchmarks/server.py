"""The suite as a process of its own, on free ports, in a folder that goes with it."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from protosuite.config import Config


@frozen
class Running:
    """A suite that is ready: its process id and the port of each service."""

    pid: int
    ports: dict[str, int]

    def resident_bytes(self) -> int:
        """The memory that the process has in use."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise LookupError("VmRSS")

    def cpu_seconds(self) -> float:
        """What the process has had of the processors."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(**sections: dict[str, Any]) -> Iterator[Running]:
    """Start the suite with these settings over the defaults; stop it at the end."""
    ports = {name: free_port() for name in Config().suite.services}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sections["suite"] = {"data": str(folder / "data"), **sections.get("suite", {})}
        lines: list[str] = []
        for name in ("suite", *ports):
            settings = dict(sections.get(name, {}))
            if name in ports:
                settings["listen"] = f"tcp:{ports[name]}:interface=127.0.0.1:backlog=1024"
            lines += [f"[{name}]", *(f"{key} = {value}" for key, value in settings.items())]
        (folder / "suite.ini").write_text("\n".join(lines))
        process = subprocess.Popen(
            [
                Path(sys.executable).with_name("twistd"),
                "-n",
                "--pidfile=",
                "protosuite",
                "-c",
                folder / "suite.ini",
            ],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(process.wait, 60)
        stack.callback(process.terminate)
        assert process.stdout is not None
        for line in process.stdout:
            if "suite: ready" in line:
                break
        else:
            raise SystemExit("the suite did not start")
        yield Running(process.pid, ports)
