"""The whole suite on PostgreSQL, and the programs that use its database."""

from __future__ import annotations

from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from protosuite.storage.schema import HEAD
from tests import postgresql
from tests.peers import add
from tests.postgresql import Cluster
from tests.processes import BIN, LIMIT, Program, Suite
from tests.test_admin import until

PASSWORD = "s3cr%21t"  # no server asks for it


def secretive(url: str) -> str:
    """The URL with a password in it."""
    return url.replace("suite@", f"suite:{PASSWORD}@")


class SuiteTests(TestCase):
    """A node, and its database on a server."""

    timeout = LIMIT

    def setUp(self) -> None:
        self.suites: list[Suite] = []

    def make(self, cluster: Cluster, name: str, **more: Any) -> Suite:
        suite = Suite(
            self,
            suite={"database": secretive(cluster.url(name)), "database_timeout": 2, **more},
            counter={"durability": "always"},
            admin={"probe_timeout": 5},
        )
        self.suites.append(suite)
        return suite

    def tearDown(self) -> None:
        for suite in self.suites:
            self.assertEqual(suite.defects, [])
            self.assertNotIn(
                "s3cr", "\n".join(line for run in suite.runs for line in [*run.output, *run.errors])
            )

    async def test_gone_and_back(self) -> None:
        """R34, R36: without its server a node lives, says that it is not ready, and recovers by itself."""
        cluster = Cluster()
        self.addCleanup(cluster.discard)
        cluster.start()
        suite = self.make(cluster, cluster.database())
        await suite.start()
        await until(self, suite)
        self.assertEqual(await add(self, suite, 7), 7)
        await deferToThread(cluster.stop)
        found = await until(self, suite, "database", "schema", "writes")
        self.assertIn("the database cannot be reached", found["database"])
        self.assertIn("the database cannot be reached", found["writes"])
        await deferToThread(cluster.start)
        await until(self, suite)
        self.assertEqual(await add(self, suite, 1), 8)
        self.assertEqual(await suite.terminate(), 0)
        await suite.start()
        self.assertEqual(await add(self, suite, 1), 9)

    async def test_killed(self) -> None:
        """R1: what a node has acknowledged is there after SIGKILL, for the next one in another folder too."""
        cluster = postgresql.shared()
        name = cluster.database(schema=False)
        suite = self.make(cluster, name)
        await suite.start()
        for total in range(1, 20):
            self.assertEqual(await add(self, suite, 1), total)
        await suite.kill()
        other = self.make(cluster, name)
        await other.start()
        self.assertEqual(await add(self, other, 1), 20)

    async def test_a_newer_schema(self) -> None:
        """R7: a node that is older than the schema does not start, and says what to do."""
        cluster = postgresql.shared()
        name = cluster.database()
        cluster.execute("UPDATE alembic_version SET version_num = '9999'", name)
        (line,) = [line for line in await self.make(cluster, name).refusal() if "schema" in line]
        self.assertIn(f"has schema 9999, newer than this version of protosuite ({HEAD}) knows: run the", line)

    async def test_a_newer_node_beside_it(self) -> None:
        """R32: a node goes on, and is ready, when a newer one has brought the schema further."""
        cluster = postgresql.shared()
        name = cluster.database()
        suite = self.make(cluster, name)
        await suite.start()
        cluster.execute("UPDATE alembic_version SET version_num = '9999'", name)
        await until(self, suite)
        cluster.execute("UPDATE alembic_version SET version_num = '0001'", name)
        self.assertEqual(await until(self, suite, "schema"), {"schema": f"the schema is 0001, not {HEAD}"})

    async def test_programs(self) -> None:
        """A token is revoked in the database of all nodes; a backup is said to be the business of pg_dump."""
        cluster = postgresql.shared()
        suite = self.make(cluster, cluster.database())
        suite.write(auth={"secret_file": suite.folder / "keys"})
        made = self.run_program("protosuite-token", "init", suite.folder / "keys", suite=suite)
        self.assertEqual(await made.exit(), 0, made.story())
        for command in (("revoke", "some-id"), ("list-revoked",)):
            program = self.run_program("protosuite-token", "--config", suite.config, *command, suite=suite)
            self.assertEqual(await program.exit(), 0, program.story())
        self.assertIn("some-id", program.output[0])
        program = self.run_program("protosuite-backup", "--config", suite.config, "x.tar", suite=suite)
        self.assertEqual(await program.exit(), 1)
        (line,) = program.errors
        self.assertIn("pg_dump backs it up", line)
        self.assertNotIn("s3cr", line)
        shown = self.run_program(
            "twistd", "protosuite", "--config", suite.config, "--print-config", suite=suite
        )
        self.assertEqual(await shown.exit(), 0)
        self.assertNotIn("s3cr", "\n".join(shown.output))
        await suite.start()

    def run_program(self, name: str, *arguments: Any, suite: Suite) -> Program:
        return Program(self, BIN / name, *arguments, folder=suite.folder)
