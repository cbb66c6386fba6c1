"""The admin service of a real suite: its health while something is wrong, and at a stop."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from attrs import frozen
from twisted.trial.unittest import TestCase

from protosuite.admin.readiness import ADVISORY
from protosuite.counter.wire import encode_request
from tests.disks import fill, small_disk
from tests.peers import Peer, add, connect
from tests.processes import LIMIT, Suite


@frozen
class Answer:
    """An answer over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def fields(self) -> dict[str, Any]:
        """Its JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found


async def get(case: TestCase, suite: Suite, path: str, *headers: str) -> Answer:
    """The answer to a GET of the admin service, over a connection of its own."""
    peer = await connect(case, suite.ports["admin"])
    lines = [f"GET {path} HTTP/1.0", f"Host: 127.0.0.1:{suite.ports['admin']}", *headers, "", ""]
    peer.send("\r\n".join(lines).encode())
    head, _, body = (await peer.everything()).partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
    return Answer(int(first.split()[1]), fields, body)


async def wrong(case: TestCase, suite: Suite) -> dict[str, str]:
    """What ``/readyz`` says is wrong, by its name; ``/healthz`` answers 200 all the while."""
    case.assertEqual((await get(case, suite, "/healthz")).status, 200)
    answer = await get(case, suite, "/readyz")
    found = {name: each["detail"] for name, each in answer.fields["checks"].items() if not each["ok"]}
    is_ready = found.keys() <= ADVISORY
    case.assertEqual((answer.status, answer.fields["ready"]), (200, True) if is_ready else (503, False))
    return found


async def until(case: TestCase, suite: Suite, *names: str) -> dict[str, str]:
    """Ask until just these are wrong: what is said of them."""
    found = await wrong(case, suite)
    while set(found) != set(names):
        found = await wrong(case, suite)
    return found


class ReadinessTests(TestCase):
    """The database goes away, and comes back."""

    timeout = LIMIT

    async def serve(self, **sections: Any) -> Suite:
        """A suite that runs, and is ready."""
        suite = Suite(self, **sections)
        await suite.start()
        await until(self, suite)
        return suite

    async def added(self, suite: Suite) -> None:
        """Add one, and wait for the answer, be it a reply or a close."""
        peer = await connect(self, suite.counter)
        peer.send(encode_request(1))
        await peer.until(lambda: len(peer.received) >= 8 or peer.over, after_end=True)

    async def test_a_full_disk(self) -> None:
        """R36: with no room left /readyz names the disk and the writes, /healthz lives, and both recover."""
        folder = small_disk(self)
        suite = Suite(self, suite={"data": folder / "data"}, admin={"min_free": 65536})
        self.addCleanup(suite.kill)
        await suite.start()
        await until(self, suite)
        filler = fill(folder)
        found = await until(self, suite, "disk")
        self.assertIn("65536 must be", found["disk"])
        while "writes" not in found:  # the log has room for a few
            await self.added(suite)
            found = await wrong(self, suite)
        self.assertIn("full", found["writes"])
        await suite.program.says("not ready: ")
        filler.unlink()
        await until(self, suite)
        await suite.program.says("ready again")

    async def test_the_file_is_moved(self) -> None:
        """R36: when the database's file is taken away /readyz says so until it is back."""
        suite = await self.serve()
        file = suite.data / "protosuite.sqlite3"
        file.rename(suite.data / "away")
        self.assertEqual(await until(self, suite, "file"), {"file": "the file of the database is gone"})
        (suite.data / "away").rename(file)
        await until(self, suite)

    async def test_a_locked_database(self) -> None:
        """R36: behind a write that is stuck no probe queues up: each is answered, and says what waits."""
        suite = await self.serve(admin={"probe_timeout": 0.2})
        other = sqlite3.connect(suite.data / "protosuite.sqlite3", isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        found = await until(self, suite, "writes")
        self.assertRegex(found["writes"], "no answer for|locked by another process")
        for _ in range(20):  # at once, as nobody waits for the same thing again
            self.assertIn("writes", await wrong(self, suite))
        other.execute("ROLLBACK")
        await until(self, suite)
        self.assertEqual(await add(self, suite, 7), 7)


class StopTests(TestCase):
    """The admin service is the last to go."""

    timeout = LIMIT

    async def stubborn(self, suite: Suite) -> Peer:
        """A client that does not let its connection go."""
        peer = await connect(self, suite.numbers, Peer(stubborn=True))
        peer.say("start", client="stubborn")
        for name in ("session", "number"):
            self.assertEqual((await peer.message())["type"], name)
        return peer

    async def test_a_delay(self) -> None:
        """Within `drain_delay` /readyz answers 503, and everything else goes on as before."""
        suite = Suite(self, suite={"drain_delay": 600})
        await suite.start()
        await until(self, suite)
        suite.program.signal("TERM")
        self.assertEqual(await until(self, suite, "running"), {"running": "the suite stops"})
        self.assertEqual(await add(self, suite, 7), 7)
        self.assertEqual(suite.program.code, None)

    async def test_while_others_drain(self) -> None:
        """R31: while others wait for their clients it still answers, and it ends with them, with code 0."""
        long = {"interval": 60, "max_messages": 65535, "close_timeout": 600}
        suite = Suite(self, suite={"drain_timeout": 600}, numbers=long)
        await suite.start()
        peer = await self.stubborn(suite)
        suite.program.signal("TERM")
        self.assertEqual((await peer.message())["code"], "shutting-down")
        self.assertEqual(await wrong(self, suite), {"running": "the suite stops"})
        await peer.abort()
        self.assertEqual(await suite.program.exit(), 0, suite.program.story())

    async def test_a_short_delay(self) -> None:
        """A stop with a delay ends by itself, with code 0."""
        suite = Suite(self, suite={"drain_delay": 0.1})
        await suite.start()
        self.assertEqual(await suite.terminate(), 0)
