"""A service of somebody's own, whose tables are in PostgreSQL, on several nodes."""

from __future__ import annotations

import shutil
from typing import Any

from tests import postgresql
from tests.processes import BIN, READY, Suite, together
from tests.test_extending import Fixture, install

_VERSION = "SELECT version_num FROM tally_version"
_NEWER = """
revision, down_revision, branch_labels, depends_on = "0002", "0001", None, None
def upgrade():
    from alembic import op
    op.execute("ALTER TABLE tally_votes ADD COLUMN note TEXT")
def downgrade():
    from alembic import op
    op.execute("ALTER TABLE tally_votes DROP COLUMN note")
"""


class PostgreSQLTests(Fixture):
    """The sample."""

    def setUp(self) -> None:
        self.cluster = postgresql.shared()
        self.name = self.cluster.database(schema=False)
        self.site = install(self)

    def node(self) -> Suite:
        """One more, on a port of its own: :attr:`port`."""
        suite = self.suite(self.site)
        suite.write(suite={"services": "admin, tally", "database": self.cluster.url(self.name)})
        return suite

    async def test_stored(self) -> None:
        """R1: votes are stored in PostgreSQL, and are there after ``kill -9``, for another node too."""
        suite = self.node()
        await self.start(suite)
        for count in (1, 2, 3):
            self.assertEqual((await self.tally(suite, "vote", "tea")).output, [f"tea {count}"])
        await suite.kill()
        other = self.node()
        await self.start(other)
        self.assertEqual((await self.tally(other, "vote", "tea")).output, ["tea 4"])
        self.assertEqual(self.execute("SELECT * FROM tally_votes"), [("tea", 4)])
        self.assertEqual([*suite.defects, *other.defects], [])

    async def test_many_nodes_start(self) -> None:
        """R8: of nodes that start at once with an empty database one makes its tables, the others wait."""
        nodes = [self.node() for _ in range(3)]
        await together(self.run_node(node) for node in nodes)
        self.assertEqual(self.execute(_VERSION), [("0001",)])
        for node in nodes:
            self.assertEqual(node.defects, [])

    async def test_a_newer_version(self) -> None:
        """R8, R32: a newer version of it adds to its tables, beside a node of the version before."""
        old = self.node()
        port = self.port
        await self.start(old)
        self.assertEqual((await self.tally(old, "vote", "tea")).output, ["tea 1"])
        before, self.site = self.found, install(self)
        folder = self.site / "protosuite_tally"
        (folder / "migrations" / "0002_note.py").write_text(_NEWER)
        [module] = [path for path in folder.glob("*.py") if "Migrations(" in path.read_text()]
        module.write_text(module.read_text().replace('"0001"', '"0002"'))
        # As long as before, and perhaps in the same second: what was compiled would be taken for it.
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
        new = self.node()
        await self.start(new)
        self.assertEqual(self.execute(_VERSION), [("0002",)])
        self.assertEqual((await self.tally(new, "vote", "milk")).output, ["milk 1"])
        self.port = port
        self.assertEqual((await self.tally(old, "vote", "tea")).output, ["tea 2"])
        await old.kill()
        refused = old.spawn(environment=before)
        self.assertEqual(await refused.exit(), 1)
        self.assertIn("the tables of tally have schema 0002, newer than the installed", refused.errors[-1])

    async def test_moved(self) -> None:
        """What moves a suite to PostgreSQL says that it leaves these tables, and they begin anew."""
        suite = self.suite(self.site)
        await self.start(suite)
        self.assertEqual((await self.tally(suite, "vote", "tea")).output, ["tea 1"])
        self.assertEqual(await suite.terminate(), 0)
        command: list[Any] = [
            BIN / "protosuite-migrate",
            "--from",
            f"sqlite:///{suite.data / 'protosuite.sqlite3'}",
        ]
        program = await self.run_program(suite, *command, "--to", self.cluster.url(self.name))
        self.assertEqual(program.code, 0, program.story())
        for table in ("tally_version", "tally_votes"):
            self.assertIn(
                f"the table {table} is not the suite's own, and is not moved", "\n".join(program.errors)
            )
        suite.write(suite={"services": "all, tally", "database": self.cluster.url(self.name)})
        await self.start(suite)
        self.assertEqual((await self.tally(suite, "vote", "tea")).output, ["tea 1"])

    async def run_node(self, node: Suite) -> None:
        await node.spawn(environment=self.found).says(READY)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        return [tuple(row) for row in self.cluster.execute(statement, self.name)]
