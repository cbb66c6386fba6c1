"""What may happen to PostgreSQL, while three nodes serve."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

from twisted.internet.threads import deferToThread

from tests.chatlog_peers import Writer
from tests.cluster.nodes import Nodes
from tests.cluster.rooms import ClusterTests
from tests.faults import naming, seed
from tests.postgresql import Cluster, Standby
from tests.processes import Suite, poll, together
from tests.test_admin import until, wrong

C = TypeVar("C", bound=Cluster)

OWN = "datname = current_database() AND pid <> pg_backend_pid()"


class Fixture(ClusterTests):
    """A PostgreSQL of each test's own."""

    async def cluster(self, make: Callable[[], C]) -> C:
        """One that runs."""
        cluster = await deferToThread(make)
        self.addCleanup(deferToThread, cluster.discard)
        await deferToThread(cluster.start)
        return cluster

    async def nodes(self, **more: Any) -> Nodes:
        """Three nodes, on a server of their own unless they are given one."""
        more.setdefault("postgresql", None)
        return await self.start(**{**more, "postgresql": more["postgresql"] or await self.cluster(Cluster)})


class BackendTests(Fixture):
    """The clients notice nothing but that it takes longer."""

    async def test_backends_are_killed(self) -> None:
        """R34, R1, R3: with backends ended at random, in commits too, nothing is lost, and nothing twice."""
        chosen = seed()
        with naming(chosen):
            random = Random(chosen)
            nodes = await self.nodes()
            writers, readers = self.enter(nodes.nodes)
            await self.progress(writers)
            for _ in range(60):
                pids = [pid for (pid,) in nodes.execute(f"SELECT pid FROM pg_stat_activity WHERE {OWN}")]
                for pid in random.sample(pids, min(len(pids), random.choice((1, 1, 1, len(pids))))):
                    nodes.execute(f"SELECT pg_terminate_backend({pid})")
                await self.progress([random.choice(writers)], random.randint(1, 3))
            await self.settle(nodes, writers, readers)

    async def test_a_restart(self) -> None:
        """R34: while PostgreSQL is restarted, in order or by a crash, all wait, and nobody sees an error."""
        nodes = await self.nodes(suite={"database_timeout": 60})
        writers, readers = self.enter(nodes.nodes)
        for how in ("INT", "QUIT", "INT"):
            await self.progress(writers)
            await deferToThread(nodes.postgresql.stop, how)
            await deferToThread(nodes.postgresql.start)
        await self.progress(writers)
        await self.settle(nodes, writers, readers)
        for each in (*writers, *readers):
            self.assertEqual(each.connections, 1)

    async def test_a_crashed_backend(self) -> None:
        """R34: a backend that crashes takes all others down with it: the same."""
        nodes = await self.nodes(suite={"database_timeout": 60})
        writers, readers = self.enter(nodes.nodes)
        await self.progress(writers)
        for _ in range(3):
            [(pid,), *_] = nodes.execute(f"SELECT pid FROM pg_stat_activity WHERE {OWN}")
            os.kill(pid, signal.SIGKILL)
            await self.progress(writers)
        await self.settle(nodes, writers, readers)


class AwayTests(Fixture):
    """Nobody can wait for it."""

    is_patient = True

    async def test_away(self) -> None:
        """R34, R36: without PostgreSQL clients are told, no node is ready, and all of it recovers."""
        nodes = await self.nodes(suite={"database_timeout": 2})
        writers, readers = self.enter(nodes.nodes)
        await self.progress(writers)
        await deferToThread(nodes.postgresql.stop)
        for node in nodes.nodes:
            await until(self, node, "database", "schema", "writes")
        await poll(lambda: all(refused(writer) for writer in writers) or self.failed(), "all are told")
        await deferToThread(nodes.postgresql.start)
        await together(until(self, node) for node in nodes.nodes)
        await self.progress(writers)
        await self.settle(nodes, writers, readers)


class FailoverTests(Fixture):
    """A primary, and a standby to which it streams."""

    is_patient = True  # how long it takes is up to whoever promotes the standby

    async def test_the_primary_is_killed(self) -> None:
        """R34, R1: the primary dies and its standby is promoted: what was acknowledged is there, once."""
        primary = await self.cluster(Cluster)
        standby = await self.cluster(lambda: Standby(primary))
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        primary.execute("SELECT pg_reload_conf()")
        await poll(lambda: is_synchronous(primary), "what is committed is at the standby too")
        nodes = await self.nodes(postgresql=primary, standby=standby)
        writers, readers = self.enter(nodes.nodes)
        await self.progress(writers)
        await deferToThread(primary.stop, "KILL")
        await deferToThread(standby.promote)
        nodes.moved(standby)
        await self.progress(writers)
        await together(self.is_ready(node) for node in nodes.nodes)
        await self.settle(nodes, writers, readers)

    async def is_ready(self, node: Suite) -> None:
        """Wait until nothing is wrong with a node."""
        while await wrong(self, node):
            pass


def refused(writer: Writer) -> bool:
    """Whether a writer has been told that it cannot be stored now."""
    return bool(getattr(writer, "refused", 0))


def is_synchronous(primary: Cluster) -> bool:
    """Whether a standby is waited for."""
    rows = primary.execute("SELECT sync_state FROM pg_stat_replication")
    return [str(state) for (state,) in rows] == ["sync"]
