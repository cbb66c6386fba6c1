"""``protosuite-migrate`` from a filled SQLite file to a real PostgreSQL, killed on the way."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from protosuite.chatlog.tables import recent
from protosuite.moving import cli, copying
from protosuite.testing import database
from tests import postgresql
from tests.peers import add
from tests.processes import BIN, LIMIT, Program, Suite, poll

assert cli  # it has imported all that declares tables

CHATS, ROOMS, MESSAGES, ENTRIES = 50, 20, 20_000, 30_000
RECENT = 10  # of the entries, each the last one of its room, wait to be merged


def fill(folder: Path) -> None:
    """A database with rows in every table, of every sort of text, and ids that were given and are gone."""
    database(str(folder)).close()
    chance = random.Random(7)
    texts = ["x", "", "two\nlines", "\t", "😀 ünïcode", "'; --", "%s %(x)s :x", "\\N", "a" * 5000]
    with closing(sqlite3.connect(folder / "test.sqlite3")) as connection, connection:
        connection.executemany(
            "INSERT INTO chatlog_room VALUES (?, ?, ?, ?, ?, ?)",
            [
                (n, f"room-{n}", "e" * 32, ENTRIES // ROOMS - (n > ROOMS - RECENT), "h" * 32, 1)
                for n in range(1, ROOMS + 1)
            ],
        )
        entries = [
            (
                1 + n % ROOMS,
                1 + n // ROOMS,
                "ana",
                chance.choice(texts),
                2**40 + n,
                "s",
                n,
                chance.choice([None, f"k{n}"]),
                "h" * 32,
            )
            for n in range(ENTRIES)
        ]
        connection.executemany(
            "INSERT INTO chatlog_log (room, slot, author, content, at, session, seq, key, hash)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            entries,
        )
        # Those that came last are not filed.
        upto = ENTRIES - RECENT
        connection.execute(
            f"INSERT INTO chatlog_filed SELECT room, slot, id FROM chatlog_log WHERE id <= {upto}"
        )
        connection.execute(f"INSERT INTO chatlog_filing VALUES ({upto})")
        connection.executemany(
            "INSERT INTO mediachat_chat (id, client_id, timezone, created_at, last_message_at, active_at,"
            " unread, delivered, media_bytes) VALUES (?, ?, 'Europe/Paris', 1, NULL, 1, 0, 0, ?)",
            [(n, 2**62 + n, 2**52) for n in range(1, CHATS + 1)],
        )
        connection.executemany(
            "INSERT INTO mediachat_message (chat_id, sender, kind, status, at, text, key)"
            " VALUES (?, 'client', 'text', 'saved', ?, ?, ?)",
            [(1 + n % CHATS, n, chance.choice(texts), f"k{n}") for n in range(MESSAGES)],
        )
        connection.execute("DELETE FROM mediachat_message WHERE id > ?", (MESSAGES - 10,))
        connection.executemany(
            "INSERT INTO bus_owed (id, durable, topic, sequence, payload, content_type, published_at)"
            " VALUES (?, 'd', 't', ?, ?, 'text/plain', 1)",
            [(n, n, chance.randbytes(n % 300)) for n in range(1, 2001)],
        )
        connection.execute("INSERT INTO bus_durable VALUES ('d', '#')")
        connection.execute("INSERT INTO bus_topic (topic, sequence) VALUES ('t', 2000)")
        connection.execute("INSERT INTO bus_event VALUES (7, 't', 7, x'00ff', 'text/plain', 1)")
        connection.execute("INSERT INTO bus_head VALUES (1, 7, 2000, 0, 0, 0, 'd')")
        connection.execute("INSERT INTO bus_node VALUES ('n', 1)")
        connection.execute("INSERT INTO mediachat_lane VALUES (255, 8)")
        connection.execute("INSERT INTO counter (id, total) VALUES (1, '18446744073709551615')")
        connection.executemany(
            "INSERT INTO numbers_session VALUES (?, ?, 5, 1, 1)",
            [(f"Client-{n:x}", chance.randbytes(8)) for n in range(5000)],
        )
        connection.execute("INSERT INTO auth_revocation VALUES ('t', NULL, 1)")


class MovingTests(TestCase):
    """From one engine to the other."""

    timeout = LIMIT

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.cluster = postgresql.shared()
        self.name = self.cluster.database(schema=False)

    def migrate(self, *more: str, target: str = "") -> Program:
        source = f"sqlite:///{self.folder / 'test.sqlite3'}"
        command: list[str | Path] = [
            BIN / "protosuite-migrate",
            "--from",
            source,
            "--to",
            target or self.cluster.url(self.name),
        ]
        return Program(self, *command, *more, folder=self.folder)

    def count(self, table: str) -> int:
        """Rows in the target; 0 without the table."""
        found = self.cluster.execute(f"SELECT to_regclass('{table}') IS NOT NULL", self.name)
        if not found[0][0]:
            return 0
        return int(str(self.cluster.execute(f"SELECT count(*) FROM {table}", self.name)[0][0]))

    def rows(self, table: str, order: str) -> Any:
        """All rows of both sides, in the same order."""
        entries = "(SELECT room, slot, author, content, at, session, seq, key, hash FROM chatlog_log)"
        source = entries if table == "chatlog_entry" else table
        with closing(sqlite3.connect(self.folder / "test.sqlite3")) as connection:
            ours = connection.execute(f"SELECT * FROM {source} ORDER BY {order}").fetchall()
        theirs = self.cluster.execute(f"SELECT * FROM {table} ORDER BY {order}", self.name)
        return ours, [tuple(row) for row in theirs]

    async def test_killed_again_and_again(self) -> None:
        """R1: killed with SIGKILL wherever it is, it goes on, and in the end every row is there, once."""
        fill(self.folder)
        kills = 0
        for limit in range(5000, 50_000, 12_000):
            program = self.migrate()
            await poll(
                lambda limit=limit, program=program: (
                    program.over  # type: ignore[misc]
                    or self.count("chatlog_entry") + self.count("mediachat_message") >= limit
                ),
                "it moves",
            )
            kills += not program.over
            await program.kill()
        self.assertGreater(kills, 2)
        self.assertEqual(self.count("protosuite_move") > 0, True)
        refused = Suite(self, suite={"database": self.cluster.url(self.name)})
        (line,) = await refused.refusal()
        self.assertIn("run protosuite-migrate again", line)
        program = self.migrate("--json")
        self.assertEqual(await program.exit(), 0, program.story())
        told = json.loads(program.output[-1])
        self.assertTrue(told["resumed"])
        self.assertEqual(told["tables"]["chatlog_entry"]["rows"], ENTRIES)
        await self.all_is_there()
        self.assertEqual(self.count("protosuite_move"), 0)
        # Ids go on where they were, also behind those that are gone.
        (row,) = self.cluster.execute(
            "INSERT INTO mediachat_message (chat_id, sender, kind, status, at)"
            " VALUES (1, 'desk', 'text', 'saved', 1) RETURNING id",
            self.name,
        )
        self.assertEqual(row[0], MESSAGES + 1)

    async def all_is_there(self) -> None:
        """Every table has something in it, and the same on both sides."""
        for table in copying.tables():
            order = ", ".join(column.name for column in table.primary_key)
            ours, theirs = await deferToThread(self.rows, table.name, order)
            self.assertEqual(len(ours) > 0, table is not recent, table.name)  # they have been merged
            self.assertEqual(ours == theirs, True, table.name)

    async def test_the_server_dies(self) -> None:
        """R34: when the server is killed on the way it waits for it, or ends, and goes on when run again."""
        fill(self.folder)
        self.cluster = postgresql.Cluster()
        self.addCleanup(deferToThread, self.cluster.discard)
        await deferToThread(self.cluster.start)
        self.name = self.cluster.database(schema=False)
        codes, stops = [], 0
        for limit in (3000, 20_000, 10**9):
            program = self.migrate()
            await poll(
                lambda limit=limit, program=program: (
                    program.over or self.count("chatlog_entry") >= limit  # type: ignore[misc]
                ),
                "it moves",
            )
            if not program.over:
                stops += 1
                await deferToThread(self.cluster.stop, "QUIT")
                await deferToThread(self.cluster.start)
            codes.append(await program.exit())
            if codes[-1] == 0:
                break  # it has waited for the server
            self.assertIn("it goes on when it is run again", program.errors[-1])
        self.assertEqual(codes[-1], 0, (codes, program.story()))
        self.assertGreater(stops, 0)
        await self.all_is_there()

    async def test_a_suite_goes_on(self) -> None:
        """What a suite had counted in SQLite it goes on from in PostgreSQL."""
        suite = Suite(self, counter={"durability": "always"})
        await suite.start()
        self.assertEqual(await add(self, suite, 41), 41)
        source = f"sqlite:///{suite.data / 'protosuite.sqlite3'}"
        target = self.cluster.url(self.name)
        self.assertEqual(await suite.terminate(), 0)
        program = Program(
            self, BIN / "protosuite-migrate", "--from", source, "--to", target, folder=suite.folder
        )
        self.assertEqual(await program.exit(), 0, program.story())
        suite.write(suite={"database": target})
        await suite.start()
        self.assertEqual(await add(self, suite, 1), 42)

    async def test_refused(self) -> None:
        """A target with rows of its own, a source that is not there, and wrong URLs are refused in a line."""
        fill(self.folder)
        name = self.cluster.database()
        self.cluster.execute("INSERT INTO counter VALUES (1, '7')", name)
        program = self.migrate(target=self.cluster.url(name).replace("suite@", "suite:s3cr3t@"))
        self.assertEqual((await program.exit(), len(program.errors)), (1, 1))
        self.assertIn("the target is not empty, there are rows in counter", program.errors[0])
        program = self.migrate(target="postgresql+psycopg://suite:s3cr3t@127.0.0.1:1/x")
        self.assertEqual((await program.exit(), len(program.errors)), (1, 1))
        self.assertIn("cannot be reached", program.errors[0])
        self.assertNotIn("s3cr3t", program.errors[0])
        for wrong in ("mysql://x", "postgresql+psycopg://suite@db:port/x"):
            self.assertEqual(await self.migrate(target=wrong).exit(), 2, wrong)
        (self.folder / "test.sqlite3").unlink()
        program = self.migrate()
        self.assertEqual((await program.exit(), len(program.errors)), (1, 1))
        self.assertIn("there is no file", program.errors[0])

    async def test_changed_meanwhile(self) -> None:
        """A row that changed between two runs, after it was moved, is found by the check."""
        fill(self.folder)
        program = self.migrate()
        await poll(lambda: program.over or self.count("chatlog_entry") > 2000, "it moves")
        await program.kill()
        with closing(sqlite3.connect(self.folder / "test.sqlite3")) as connection, connection:
            connection.execute("UPDATE chatlog_log SET author = 'bob' WHERE room = 1 AND slot = 1")
        program = self.migrate()
        self.assertEqual(await program.exit(), 1, program.story())
        self.assertIn("chatlog_entry has 30,000 rows here and 30,000 in the target", program.errors[0])
