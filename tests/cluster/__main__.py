"""Three nodes, PostgreSQL, Redis and HAProxy on free ports, until Ctrl-C: ``make cluster``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from twisted.internet.defer import Deferred

from tests.cluster.nodes import Nodes
from tests.faults.place import Place, run
from tests.postgresql import Cluster
from tests.processes import together


class Running:
    """What ``make cluster`` runs, in the folder of `place`."""

    def __init__(self, place: Place) -> None:
        self._place = place

    async def run(self) -> None:
        """Start everything, say where it is, and wait for Ctrl-C."""
        postgresql = Cluster({"fsync": "on", "full_page_writes": "on"})
        self._place.addCleanup(postgresql.discard)
        postgresql.start()
        nodes = Nodes(self._place, 3, postgresql)
        await nodes.start()
        await nodes.start_proxy()
        self._place.addCleanup(self._stop, nodes)
        for line in addresses(nodes):
            print(line)
        print("Ctrl-C stops all of it", flush=True)
        await Deferred()

    async def _stop(self, nodes: Nodes) -> None:
        print("stopping", file=sys.stderr)
        await together(node.terminate() for node in nodes.nodes if not node.program.over)


def addresses(nodes: Nodes) -> list[str]:
    """Where everything is, for a person."""
    lines = [f"chat log        http://127.0.0.1:{nodes.ports['chatlog']}/  (through HAProxy, to any node)"]
    lines.append(
        f"media chat      http://127.0.0.1:{nodes.ports['mediachat']}/  (the same; the desk at /console)"
    )
    lines.append(f"numbers         127.0.0.1:{nodes.ports['numbers']}  (through HAProxy)")
    lines.append(f"counter         127.0.0.1:{nodes.ports['counter']}  (through HAProxy, to any node)")
    lines.append(f"bus             127.0.0.1:{nodes.ports['bus']}  (through HAProxy, to any node)")
    for number, node in enumerate(nodes.nodes, 1):
        ports = node.ports
        lines.append(
            f"node {number}          http://127.0.0.1:{ports['chatlog']}/  numbers {ports['numbers']}"
            f"  counter {ports['counter']}  bus {ports['bus']}  media chat http://127.0.0.1:{ports['mediachat']}/"
            f"  dashboard http://127.0.0.1:{ports['admin']}/  process {node.program.pid}"
        )
    lines.append(f"PostgreSQL      {nodes.database}")
    lines.append(f"Redis           {nodes.redis.url}")
    return lines


def main() -> None:
    """The command line; it has no options."""
    with tempfile.TemporaryDirectory(prefix="protosuite-cluster-") as folder:
        place = Place(Path(folder))
        code = run(Running(place).run, place)
    sys.exit(0 if code == 130 else code)  # Ctrl-C is how it is meant to end


if __name__ == "__main__":
    main()
