"""A chat log, and numbers, on three nodes, with the real servers beneath and before them."""

from __future__ import annotations

import json
import re
from collections import Counter
from random import Random
from typing import Any
from urllib.request import urlopen

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from tests.chatlog_peers import Persistent, Reader, Writer
from tests.cluster.nodes import Front, Nodes
from tests.cluster.rooms import Anywhere, ClusterTests, log_of, others
from tests.faults import naming, seed
from tests.faults.checks.chatlog import RoomCheck
from tests.faults.checks.linearizable import History, first_problem
from tests.faults.checks.numbers import whole
from tests.faults.crashes import MOMENT
from tests.faults.loads.chatlog import ChatLogLoad
from tests.peers import long_session
from tests.processes import LIMIT, Program, Suite, poll, reactor

FROZEN = (
    20.0  # seconds: longer than the lock of a row lasts, and than anybody sends clients to a node that hangs
)
# Transactions of nodes that have stopped in their midst: another one would be over by now.
STUCK = """
    SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'
    AND state_change < clock_timestamp() - interval '0.5 s'
"""


class NodesTests(ClusterTests):
    """What may happen to nodes."""

    async def test_nodes_are_killed(self) -> None:
        """R1, R3, R4, R5: on three nodes, any of which is killed, one order: nothing lost, nothing twice.

        Who was cut off comes back to any node, and sends there again what was not acknowledged.
        """
        chosen = seed()
        with naming(chosen):
            random = Random(chosen)
            nodes = await self.start()
            writers, readers = self.enter([Anywhere(nodes, random)] * 3)
            await self.progress(writers)
            for _ in range(6):
                node = random.choice(nodes.nodes)
                await deferLater(reactor, random.random() * MOMENT)
                await node.kill()
                await self.progress(writers, 10)
                await node.start()
                await self.progress(writers, 5)
            await self.settle(nodes, writers, readers)

    async def test_linearizable(self) -> None:
        """R4: reads and appends on three nodes are linearizable, while nodes are killed at random."""
        chosen = seed()
        with naming(chosen):
            random = Random(chosen)
            nodes = await self.start()
            await nodes.start_proxy()
            check, history = RoomCheck(), History()
            ports = {"any": nodes.ports["chatlog"]}
            ports |= {f"n{n}": node.ports["chatlog"] for n, node in enumerate(nodes.nodes)}
            loads = [
                ChatLogLoad(name, port, Random(f"{chosen} {name}"), check, history, "main", 5, 3, 1)
                for name, port in ports.items()
            ]
            for load in loads:
                self.addCleanup(load.leave)
                await load.begin()
            for _ in range(4):
                await gatherResults([Deferred.fromCoroutine(load.rises_by(100)) for load in loads])
                node = random.choice(nodes.nodes)
                await deferLater(reactor, random.random() * MOMENT)
                await node.kill()
                await loads[0].rises_by(100)
                await node.start()
            for load in loads:
                await load.finish()
                await load.leave()
            self.assertIsNone(first_problem(history.operations))
            self.assertGreater(len(history.operations), 1000)
            check.settle(*log_of(nodes))

    async def test_rolling_restart(self) -> None:
        """R32: every node behind HAProxy is restarted under load: nothing is lost, and clients resume.

        None of them sees more of it than that it is told to come back, and streams of numbers are whole.
        """
        nodes = await self.start(suite={"drain_delay": 2.5}, numbers={"interval": 0.05, "max_messages": 400})
        await nodes.start_proxy()
        writers, readers = self.enter([Front(nodes)] * 3)
        await self.progress(writers)
        streams = await self.streams(nodes, 200)
        for node in nodes.nodes:
            self.assertEqual(await node.terminate(), 0)
            await node.start()
            await self.progress(writers, 10)
        everybody: list[Persistent] = [*writers, *readers]
        self.assertGreater(sum(each.connections for each in everybody), len(everybody))
        codes = Counter(code for each in everybody for code in each.codes)
        self.assertEqual(set(codes), {1001}, codes)  # each was told, and nobody was cut off
        await self.settle(nodes, writers, readers)
        self.assertGreater(await self.whole(nodes, streams), 0)

    async def test_numbers_go_on_elsewhere(self) -> None:
        """R5: a stream of numbers whose node is killed goes on behind HAProxy on the next, and is whole."""
        nodes = await self.start(numbers={"interval": 0.05, "max_messages": 100})
        await nodes.start_proxy()
        first = nodes.nodes[0]
        streams = await self.streams(nodes, 80)
        await first.kill()
        self.assertGreater(await self.whole(nodes, streams), 0)
        self.assertGreater(sent(nodes.nodes[1]), 0)

    async def streams(self, nodes: Nodes, least: int) -> dict[str, Program]:
        """Clients, by their names, that have all begun to receive streams of at least so many numbers."""
        first, port = nodes.nodes[0], nodes.ports["numbers"]
        names = [await long_session(self, first, f"client-{n}", least) for n in range(5)]
        streams = {
            name: first.client("protosuite-numbers", port, "--json", "--client", name) for name in names
        }
        begun = "SELECT count(*) FROM numbers_session WHERE acknowledged > 0"
        await poll(lambda: nodes.execute(begun) == [(len(names),)], "some numbers have come")
        return streams

    async def whole(self, nodes: Nodes, streams: dict[str, Program]) -> int:
        """Hold what clients received against their sessions; how often they came back."""
        reconnects = 0
        for name, client in streams.items():
            self.assertEqual(await client.exit(), 0, client.story())
            found = json.loads(client.output[-1])
            query = f"SELECT seed, count FROM numbers_session WHERE client = '{name}'"
            [(seed, count)] = nodes.execute(query)
            expected = whole(int.from_bytes(seed, "big"), count)
            self.assertEqual(
                (found["count"], found["sum"], found["checksum"]),
                (expected.count, expected.sum, expected.checksum),
            )
            reconnects += found["reconnects"]
        return reconnects


class FrozenTests(ClusterTests):
    """A node hangs, and goes on."""

    is_patient = True  # what was asked of it is overdue then, and has to be asked again

    async def test_a_frozen_node(self) -> None:
        """R4: a node that is frozen in a transaction and goes on after 20 s tells nothing that is not so."""
        nodes = await self.start()
        proxy = await nodes.start_proxy()
        writers, readers = self.enter(nodes.nodes)
        await self.progress(writers)
        node = nodes.nodes[1]
        began = await self.freeze_in_a_transaction(nodes, node, writers)
        await self.progress(others(writers, node), 100)
        await poll(lambda: is_down(proxy, "chatlog/node2"), "HAProxy sees it")
        place: Any = Front(nodes)
        late = Writer(place, "late")
        self.staying.append(Deferred.fromCoroutine(late.stay()))
        await self.progress([late])
        await poll(lambda: reactor.seconds() > began + FROZEN, "it is frozen for long enough")
        node.program.signal("CONT")
        await self.progress(writers)
        await self.settle(nodes, [*writers, late], readers)

    async def freeze_in_a_transaction(self, nodes: Nodes, node: Suite, writers: list[Writer]) -> float:
        """Freeze a node at a moment at which it has a row that the others need; when."""
        while True:
            began: float = reactor.seconds()
            node.program.signal("STOP")
            stored = nodes.count()
            await poll(lambda: nodes.execute(STUCK) or nodes.count() > stored + 50, "it has locks or not")  # noqa: B023
            if nodes.execute(STUCK):
                return began
            node.program.signal("CONT")
            await self.progress(writers, 1)


class RedisTests(ClusterTests):
    """What may happen to Redis, while three nodes serve."""

    async def test_frozen(self) -> None:
        """R33: Redis hangs: appends go on, others catch up, and wake-ups come back when it goes on."""
        nodes = await self.start(suite={"catch_up_interval": 1})
        writers, readers = self.enter(nodes.nodes)
        await self.progress(writers)
        nodes.redis.freeze()
        await self.progress(writers, 50)
        await poll(lambda: all(says(node, "is away") for node in nodes.nodes), "all see it")
        await self.progress(writers, 50)
        await self.told(writers, readers)
        nodes.redis.thaw()
        await poll(lambda: all(says(node, "is reached again") for node in nodes.nodes), "it is back")
        await self.settle(nodes, writers, readers)

    async def test_stopped(self) -> None:
        """R33: Redis is killed, and started again with nothing: appends go on, others catch up."""
        nodes = await self.start(suite={"catch_up_interval": 1})
        writers, readers = self.enter(nodes.nodes)
        await self.progress(writers)
        await nodes.redis.kill()
        await self.progress(writers, 50)
        await self.told(writers, readers)
        await nodes.redis.start()
        await poll(lambda: all(says(node, "is reached again") for node in nodes.nodes), "it is back")
        await self.settle(nodes, writers, readers)

    async def test_emptied(self) -> None:
        """R33: Redis is emptied again and again: wake-ups do not mind, and nobody notices."""
        nodes = await self.start(suite={"catch_up_interval": 3600, "fabric_timeout": 60})
        writers, readers = self.enter(nodes.nodes)
        for _ in range(10):
            await self.progress(writers, 10)
            self.assertEqual(nodes.redis.ask("FLUSHALL"), "+OK")
        await self.told(writers, readers)
        await self.settle(nodes, writers, readers)
        for node in nodes.nodes:
            self.assertFalse(says(node, "is away"))

    async def test_wake_ups(self) -> None:
        """Without catching up now and then, others hear at once: it is Redis that wakes them."""
        nodes = await self.start(suite={"catch_up_interval": 3600})
        writers, readers = self.enter(nodes.nodes[:1], 1)
        elsewhere = [Reader(node) for node in nodes.nodes[1:]]
        self.staying += [Deferred.fromCoroutine(each.stay()) for each in elsewhere]
        await self.progress(writers, 50)
        await self.settle(nodes, writers, [*readers, *elsewhere])


def is_down(proxy: Program, server: str) -> bool:
    """Whether HAProxy has said that it sends nobody there any more."""
    return any(f"{server} is DOWN" in line for line in [*proxy.output, *proxy.errors])


def says(node: Suite, text: str) -> bool:
    """Whether a node has logged that."""
    return any(text in line for line in node.log)


def sent(node: Suite) -> float:
    """Bytes that its numbers have sent."""
    url = f"http://127.0.0.1:{node.ports['admin']}/metrics"
    with urlopen(url, timeout=LIMIT) as answer:
        text = answer.read().decode()
    [value] = re.findall(r'^protosuite_sent_bytes_total\{service="numbers"\} (\S+)$', text, re.MULTILINE)
    return float(value)
