"""Writers and readers of the chat log on several nodes, and what must hold of what they were told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from protosuite.chatlog.chain import Verifier
from protosuite.chatlog.wire import Entry
from tests.chatlog_peers import Fields, Persistent, Reader, Writer
from tests.cluster.nodes import Node, Nodes
from tests.processes import LIMIT, poll, together

_ENTRIES = """
    SELECT slot, author, content, at, session, seq, key, e.hash FROM chatlog_entry e
    JOIN chatlog_room r ON r.id = e.room WHERE r.name = '{}' ORDER BY slot
"""


class Anywhere:
    """Where clients connect: to any node, another one each time."""

    def __init__(self, nodes: Nodes, random: Random) -> None:
        self._nodes = nodes.nodes
        self._random = random

    @property
    def ports(self) -> dict[str, int]:
        """Those of some node."""
        return self._random.choice(self._nodes).ports


class PatientWriter(Writer):
    """One that may be told that its entries cannot be stored now, and then sends them again."""

    refused = 0

    def heard(self, message: Fields) -> None:
        if message["type"] == "Error" and message["code"] == "storage":
            self.refused += 1
        else:
            super().heard(message)


class PatientReader(Reader):
    """One that may be told that entries cannot be read now, and then asks again."""

    def heard(self, message: Fields) -> None:
        if message["type"] == "Error" and message["code"] == "storage":
            self.entered()
        else:
            super().heard(message)


def log_of(nodes: Nodes, room: str = "main") -> tuple[str, list[Entry]]:
    """The epoch of a room, and its log as it is stored."""
    rows = nodes.execute(_ENTRIES.format(room))
    [(epoch,)] = nodes.execute(f"SELECT epoch FROM chatlog_room WHERE name = '{room}'")
    return str(epoch), [_entry(*row) for row in rows]


class ClusterTests(TestCase):
    """Clients that come back, on all nodes."""

    timeout = 2 * LIMIT
    is_patient = False  # the clients may be told that it cannot be done now

    async def start(self, **settings: Any) -> Nodes:
        """Three nodes."""
        nodes = Nodes(self, 3, **settings)
        await nodes.start()
        return nodes

    def enter(self, places: Sequence[Any], writers: int = 2) -> tuple[list[Writer], list[Reader]]:
        """Some who write and one who reads, at each of some places."""
        write, read = (PatientWriter, PatientReader) if self.is_patient else (Writer, Reader)
        writing: list[Writer] = [
            write(place, f"w{n}-{m}") for n, place in enumerate(places) for m in range(writers)
        ]
        reading: list[Reader] = [read(place) for place in places]
        self.staying = [Deferred.fromCoroutine(each.stay()) for each in (*writing, *reading)]
        return writing, reading

    async def progress(self, writers: Sequence[Writer], count: int = 20) -> None:
        """Each of these has so many more acknowledged."""
        wanted = {writer: len(writer.acknowledged) + count for writer in writers}
        for writer, most in wanted.items():
            await poll(lambda: len(writer.acknowledged) >= most or self.failed(), f"{writer.name} appends")  # noqa: B023

    async def told(self, writers: Sequence[Writer], readers: Sequence[Reader]) -> None:
        """What has been acknowledged by now is read on every node."""
        latest = max(slot for writer in writers for slot in writer.acknowledged.values())
        for reader in readers:
            await poll(lambda: reader.held >= latest or self.failed(), "it is read")  # noqa: B023

    def failed(self) -> bool:
        """False; what a client found wrong is raised."""
        for staying in self.staying:
            if staying.called and hasattr(staying.result, "raiseException"):
                staying.result.raiseException()
        return False

    async def settle(self, nodes: Nodes, writers: Sequence[Writer], readers: Sequence[Reader]) -> list[Entry]:
        """R1, R3, R4, R5: all that was acknowledged is there, once, in the one order that everybody saw."""
        await together(writer.finish() for writer in writers)
        epoch, log = log_of(nodes)
        self.assertIsNone(Verifier(epoch).first_problem(log))
        self.assertEqual([entry.slot for entry in log], [*range(1, len(log) + 1)])
        slots = {entry.key: entry.slot for entry in log}
        self.assertEqual(max(Counter(entry.key for entry in log).values()), 1)
        for writer in writers:
            self.assertEqual(writer.acknowledged, {key: slots[key] for key in writer.acknowledged})
        for reader in readers:
            await reader.reaches(len(log))
            seen = {slot: (each["hash"], each["content"]) for slot, each in reader.entries.items()}
            self.assertEqual(seen, {entry.slot: (entry.hash, entry.content) for entry in log})
            reader.leave()
        await together(_end(each) for each in self.staying)
        self.assertEqual(nodes.deadlocks(), 0)
        for node in nodes.nodes:
            self.assertEqual(node.defects, [])
        return log


def others(clients: Sequence[Persistent], node: Node) -> list[Any]:
    """Those who are not at a node."""
    return [client for client in clients if client._suite is not node]


def _entry(*row: Any) -> Entry:
    slot, author, content, at, session, seq, key, hash = row
    return Entry(slot, author, content, at, session, seq, key, hash=hash)


async def _end(staying: Deferred[None]) -> None:
    await staying
