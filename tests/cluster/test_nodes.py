"""A chat log on three nodes, with the real servers beneath and before them, and what may happen to them."""

from __future__ import annotations

import json
import re
from collections import Counter
from random import Random
from typing import Any
from urllib.request import urlopen

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from protosuite.chatlog.chain import Verifier
from protosuite.chatlog.wire import Entry
from tests.chatlog_peers import Persistent, Reader, Writer
from tests.cluster.nodes import Nodes
from tests.faults import seed
from tests.processes import LIMIT, Suite, poll, together

_ENTRIES = """
    SELECT slot, author, content, at, session, seq, key, e.hash FROM chatlog_entry e
    JOIN chatlog_room r ON r.id = e.room WHERE r.name = 'main' ORDER BY slot
"""


class Front:
    """Where clients connect: HAProxy, in the place of a suite."""

    def __init__(self, nodes: Nodes) -> None:
        self.ports = nodes.ports


class ClusterTests(TestCase):
    """Clients that come back, on all nodes."""

    timeout = 2 * LIMIT

    async def start(self, **settings: Any) -> Nodes:
        """Three nodes."""
        nodes = Nodes(self, 3, **settings)
        await nodes.start()
        return nodes

    def enter(self, places: list[Any], writers: int = 2) -> tuple[list[Writer], list[Reader]]:
        """Some who write and one who reads, at each of some places."""
        writing = [Writer(place, f"w{n}-{m}") for n, place in enumerate(places) for m in range(writers)]
        reading = [Reader(place) for place in places]
        self.staying = [Deferred.fromCoroutine(each.stay()) for each in (*writing, *reading)]
        return writing, reading

    async def progress(self, writers: list[Writer], count: int = 20) -> None:
        """Each of these has so many more acknowledged."""
        for writer in writers:
            wanted = len(writer.acknowledged) + count
            await poll(lambda: len(writer.acknowledged) >= wanted or self._failed(), f"{writer.name} appends")  # noqa: B023

    def _failed(self) -> bool:
        for staying in self.staying:
            if staying.called and hasattr(staying.result, "raiseException"):
                staying.result.raiseException()
        return False

    async def settle(self, nodes: Nodes, writers: list[Writer], readers: list[Reader]) -> list[Entry]:
        """R1, R3, R4, R5: all that was acknowledged is there, once, in the one order that everybody saw."""
        await together(writer.finish() for writer in writers)
        rows = nodes.postgresql.execute(_ENTRIES, nodes.database.rpartition("/")[2])
        log = [_entry(*row) for row in rows]
        [(epoch,)] = nodes.postgresql.execute(
            "SELECT epoch FROM chatlog_room WHERE name = 'main'", nodes.database.rpartition("/")[2]
        )
        self.assertIsNone(Verifier(str(epoch)).first_problem(log))
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
        for node in nodes.nodes:
            self.assertEqual(node.defects, [])
        return log

    async def test_nodes_are_killed(self) -> None:
        """R1, R3, R4, R5: on three nodes, any of which is killed, one order: nothing lost, nothing twice."""
        random = Random(seed())
        nodes = await self.start()
        writers, readers = self.enter(list(nodes.nodes))
        await self.progress(writers)
        for _ in range(5):
            node = random.choice(nodes.nodes)
            await node.kill()
            others = [w for w in writers if w._suite is not node]
            await self.progress(others, 10)
            await node.start()
            await self.progress(writers, 5)
        await self.settle(nodes, writers, readers)

    async def test_rolling_restart(self) -> None:
        """R32: every node behind HAProxy is restarted under load: nothing is lost, and clients resume."""
        nodes = await self.start(suite={"drain_delay": 2.5})
        await nodes.start_proxy()
        writers, readers = self.enter([Front(nodes)] * 3)
        await self.progress(writers)
        for node in nodes.nodes:
            self.assertEqual(await node.terminate(), 0)
            await node.start()
            await self.progress(writers, 10)
        everybody: list[Persistent] = [*writers, *readers]
        self.assertGreater(sum(each.connections for each in everybody), len(everybody))
        codes = Counter(code for each in everybody for code in each.codes)
        self.assertEqual(set(codes), {1001}, codes)  # each was told, and nobody was cut off
        await self.settle(nodes, writers, readers)

    async def test_redis_in_trouble(self) -> None:
        """R33: Redis is frozen, killed, emptied: appends go on, others catch up, and wake-ups come back."""
        nodes = await self.start(suite={"catch_up_interval": 1})
        writers, readers = self.enter(list(nodes.nodes))
        await self.progress(writers)
        nodes.redis.freeze()
        await self.progress(writers, 50)
        nodes.redis.thaw()
        await self.progress(writers)
        await nodes.redis.kill()
        await self.progress(writers, 50)
        await self.told(writers, readers)
        await nodes.redis.start()
        nodes.redis.ask("FLUSHALL")
        await self.progress(writers)
        await self.settle(nodes, writers, readers)
        for node in nodes.nodes:
            self.assertTrue(any("is reached again" in line for line in node.log))

    async def told(self, writers: list[Writer], readers: list[Reader]) -> None:
        """What has been acknowledged by now is read on every node."""
        latest = max(slot for writer in writers for slot in writer.acknowledged.values())
        for reader in readers:
            await poll(lambda: reader.held >= latest or self._failed(), "it is read")  # noqa: B023

    async def test_a_frozen_node(self) -> None:
        """A node that is frozen for a while, and thawed, acknowledges nothing that is not so."""
        nodes = await self.start()
        writers, readers = self.enter(list(nodes.nodes))
        await self.progress(writers)
        frozen = nodes.nodes[1]
        frozen.program.signal("STOP")
        others = [w for w in writers if w._suite is not frozen]
        await self.progress(others, 100)
        frozen.program.signal("CONT")
        await self.progress(writers)
        await self.settle(nodes, writers, readers)

    async def test_numbers_go_on_elsewhere(self) -> None:
        """R5: a stream of numbers whose node is killed goes on behind HAProxy on the next, and is whole."""
        nodes = await self.start(numbers={"interval": 0.05, "max_messages": 100})
        await nodes.start_proxy()
        first = nodes.nodes[0]
        port, names = nodes.ports["numbers"], [f"client-{n}" for n in range(5)]
        words = ("protosuite-numbers", port, "--json", "--client")
        clients = [first.client(*words, name) for name in names]
        await poll(lambda: _sent(first) >= 100, "some have come")
        await first.kill()
        found = []
        for client, name in zip(clients, names, strict=True):
            self.assertEqual(await client.exit(), 0, client.story())
            found.append(json.loads(client.output[-1]))
            again = nodes.nodes[2].client(*words, name)  # undisturbed
            self.assertEqual(await again.exit(), 0, again.story())
            whole = json.loads(again.output[-1])
            for key in ("count", "sum", "checksum"):
                self.assertEqual(found[-1][key], whole[key])
        self.assertGreater(sum(each["reconnects"] for each in found), 0)
        self.assertGreater(_sent(nodes.nodes[1]), 0)

    async def test_wake_ups(self) -> None:
        """Without catching up now and then, others hear at once: it is Redis that wakes them."""
        nodes = await self.start(suite={"catch_up_interval": 3600})
        writers, readers = self.enter(nodes.nodes[:1], 1)
        elsewhere = [Reader(node) for node in nodes.nodes[1:]]
        self.staying += [Deferred.fromCoroutine(each.stay()) for each in elsewhere]
        await self.progress(writers, 50)
        await self.settle(nodes, writers, [*readers, *elsewhere])


def _entry(*row: Any) -> Entry:
    slot, author, content, at, session, seq, key, hash = row
    return Entry(slot, author, content, at, session, seq, key, hash=hash)


def _sent(node: Suite) -> float:
    """Bytes that its numbers have sent."""
    url = f"http://127.0.0.1:{node.ports['admin']}/metrics"
    with urlopen(url, timeout=LIMIT) as answer:
        text = answer.read().decode()
    [value] = re.findall(r'^protosuite_sent_bytes_total\{service="numbers"\} (\S+)$', text, re.MULTILINE)
    return float(value)


async def _end(staying: Deferred[None]) -> None:
    await staying
