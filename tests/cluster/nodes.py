"""Several nodes of one suite, with PostgreSQL and Redis beneath them and HAProxy before them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests.cluster.redis import Redis
from tests.postgresql import Cluster, shared
from tests.processes import Program, Scope, Suite, free_port, poll, together
from tests.requirements import require
from tests.test_admin import get

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVICES = ("numbers", "counter", "bus", "chatlog", "mediachat", "admin")
# Ports, as deploy/haproxy.cfg has them.
DEFAULTS = {"numbers": 5500, "counter": 8080, "bus": 8081, "chatlog": 8082, "mediachat": 8000, "admin": 8001}


class Node(Suite):
    """One of several. On `proxied` it takes the connections of HAProxy, on its other ports anybody's."""

    def __init__(self, scope: Scope, database: str, redis: Redis, **more: dict[str, object]) -> None:
        self.proxied = {name: free_port() for name in DEFAULTS if name != "admin"}
        suite = {
            "services": ", ".join(SERVICES),
            "database": database,
            "fabric": redis.url,
            "fabric_timeout": 0.5,
            **more.pop("suite", {}),
        }
        sections: Any = more  # of settings
        super().__init__(scope, suite=suite, **sections)
        listen = {
            name: {
                "listen": f"\n    tcp:{self.ports[name]}:interface=127.0.0.1"
                f"\n    haproxy:tcp:{port}:interface=127.0.0.1"
            }
            for name, port in self.proxied.items()
        }
        self.write(**listen)


class Nodes:
    """`count` nodes on a database and a Redis of their own. They end with `scope`.

    The database is on `postgresql`; with a `standby` of that, the nodes know of both.
    """

    def __init__(
        self,
        scope: Scope,
        count: int = 3,
        postgresql: Cluster | None = None,
        standby: Cluster | None = None,
        **more: dict[str, object],
    ) -> None:
        self.postgresql = postgresql or shared()
        self.name = self.postgresql.database(schema=False)  # of the database
        self.database = self.postgresql.url(self.name)
        if standby is not None:
            ports = f"{self.postgresql.port},{standby.port}"
            self.database = f"postgresql+psycopg://suite@/{self.name}?host=127.0.0.1,127.0.0.1&port={ports}"
        self._said = self.postgresql.deadlocks()
        # The counter's total has to outlive it.
        self.redis = Redis(scope, appendonly=True)
        media = Path(scope.mktemp()).absolute()  # that all of them share
        media.mkdir(parents=True)
        more["mediachat"] = {"media": media, **more.get("mediachat", {})}
        self.nodes = [
            Node(scope, self.database, self.redis, **{k: dict(v) for k, v in more.items()})
            for _ in range(count)
        ]
        self.ports: dict[str, int] = {}  # of HAProxy
        self._scope = scope

    def execute(self, statement: str) -> list[Any]:
        """The rows of a statement that is committed at once. Blocks."""
        return list(self.postgresql.execute(statement, self.name))

    def count(self, table: str = "chatlog_entry") -> int:
        """The rows of a table. Blocks."""
        return int(self.execute(f"SELECT count(*) FROM {table}")[0][0])

    def moved(self, postgresql: Cluster) -> None:
        """Another server has the database now."""
        self.postgresql, self._said = postgresql, postgresql.deadlocks()

    def deadlocks(self) -> int:
        """How many of them PostgreSQL has found since the nodes were made."""
        return self.postgresql.deadlocks() - self._said

    async def start(self) -> None:
        """Redis, and then all nodes at once: one of them makes the schema."""
        await self.redis.start()
        await together(node.start() for node in self.nodes)

    async def start_proxy(self) -> Program:
        """HAProxy, with the configuration of ``deploy/`` and the ports that there are here."""
        require("haproxy")
        folder = Path(self._scope.mktemp()).absolute()
        folder.mkdir(parents=True)
        self.ports = {name: free_port() for name in DEFAULTS if name != "admin"}
        path = folder / "haproxy.cfg"
        path.write_text(self._proxy_configuration(), "utf-8")
        program = Program(self._scope, "haproxy", "-db", "-f", path, folder=folder)
        for name in self.ports:
            await poll(lambda: program.over or self._listens(name), "HAProxy listens")  # noqa: B023
        if program.over:
            raise AssertionError(program.story())
        return program

    def _proxy_configuration(self) -> str:
        """That of ``deploy/``, for these ports."""
        names = {port: name for name, port in DEFAULTS.items()}

        def bind(match: re.Match[str]) -> str:
            return f"bind 127.0.0.1:{self.ports[names[int(match[1])]]}"

        def server(match: re.Match[str]) -> str:
            node = self.nodes[int(match[1]) - 1]
            return f"127.0.0.1:{node.proxied[names[int(match[2])]]} check port {node.ports['admin']}"

        text = (DEPLOY / "haproxy.cfg").read_text("utf-8")
        text = re.sub(r"bind :(\d+)", bind, text)
        text = re.sub(r"\bnode(\d):(\d+) check port 8001", server, text)
        return text.replace("maxconn 40000", "maxconn 1000")

    def _listens(self, name: str) -> bool:
        # What is listening is in the table of the kernel: asking would make a connection to a node.
        wanted = f"0100007F:{self.ports[name]:04X} 00000000:0000 0A"
        return wanted in Path("/proc/net/tcp").read_text("ascii")


class Front:
    """Where clients connect: HAProxy, in the place of a suite."""

    def __init__(self, nodes: Nodes) -> None:
        self.ports = nodes.ports


async def told(case: TestCase, node: Node) -> dict[str, str] | None:
    """The nodes that one speaks of; None if it cannot know."""
    nodes: dict[str, str] | None = (await get(case, node, "/status")).fields["nodes"]
    return nodes


async def forgotten(case: TestCase, node: Node, by: Node) -> None:
    """Wait until one node takes another for gone, which is after `presence_ttl`."""
    while any(place.endswith(f" {node.program.pid}") for place in (await told(case, by) or {}).values()):
        pass
