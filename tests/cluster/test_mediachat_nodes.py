"""A media chat on three nodes, with the real servers beneath them, and what may happen to them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.cluster.mediachat_peers import Chatting, Console
from tests.cluster.nodes import Front, Nodes, forgotten
from tests.faults import seed
from tests.faults.checks.mediachat import ChatsCheck, Row
from tests.mediachat_peers import OPEN, ask, come, say
from tests.processes import LIMIT, poll

_ROWS = """
    SELECT m.id, client_id, sender, kind, status, text, name, size, sha256, chat_id
    FROM mediachat_message m JOIN mediachat_chat c ON c.id = m.chat_id ORDER BY m.id
"""
_UNREAD = """
    SELECT chat_id, count(*) FILTER (WHERE m.sender = 'client'), max(c.unread)
    FROM mediachat_message m JOIN mediachat_chat c ON c.id = m.chat_id GROUP BY chat_id
"""
IDS = (1, 2, 3, 4)


class MediaChatTests(TestCase):
    """Customers, a desk and its consoles, on all nodes."""

    timeout = 2 * LIMIT

    async def start(self, **suite: Any) -> Nodes:
        """Three nodes."""
        self.staying: list[Deferred[None]] = []
        self.consoles: list[Console] = []
        self.nodes = Nodes(self, 3, suite={"services": "mediachat, admin", **suite}, mediachat=dict(OPEN))
        await self.nodes.start()
        return self.nodes

    def watch(self, *places: Any) -> Console:
        """A console at the first of these nodes, or the next."""
        console = Console(*places)
        self.consoles.append(console)
        self.staying.append(Deferred.fromCoroutine(console.stay()))
        self.addCleanup(console.leave)
        return console

    async def load(
        self, chance: Random, *places: Any, writing: Sequence[Any] = ()
    ) -> tuple[Chatting, ChatsCheck]:
        """Customers on all nodes, and consoles on the second and the third; or at three `places`.

        All that is stored is stored at those that are `writing`.
        """
        check = ChatsCheck()
        one, two, three = places = places or tuple(self.nodes.nodes)
        chatting = Chatting(writing or places, chance, check, IDS)
        self.addCleanup(chatting.leave)
        await chatting.begin()
        self.watch(two)
        self.watch(three)
        self.watch(one, two, three)
        await chatting.rises_by(30)
        return chatting, check

    def failed(self) -> bool:
        """Whether a console has been told what cannot be; raises that."""
        for staying in self.staying:
            if staying.called and hasattr(staying.result, "raiseException"):
                staying.result.raiseException()
        return False

    def execute(self, statement: str) -> list[Any]:
        return list(self.nodes.postgresql.execute(statement, self.nodes.database.rpartition("/")[2]))

    async def settle(self, chatting: Chatting, check: ChatsCheck) -> None:
        """R1, R3, R4, R5: all that was acknowledged is there, once, and everybody agrees on all of it."""
        await chatting.finish()
        rows = self.execute(_ROWS)
        check.settle([Row(*row[:-1]) for row in rows], {}, 0)
        ids: dict[int, list[int]] = {}
        for row in rows:
            ids.setdefault(row[-1], []).append(row[0])
        unread = {chat: count for chat, _, count in self.execute(_UNREAD)}
        for chat, said, count in self.execute(_UNREAD):
            self.assertLessEqual(count, said, chat)
        here = dict.fromkeys(ids, 1)
        for number, console in enumerate(self.consoles):
            await poll(lambda: console.ids == ids or self.failed(), f"console {number} has it all")  # noqa: B023
            await poll(lambda: console.unread == unread or self.failed(), f"console {number} counts right")  # noqa: B023
            await poll(lambda: console.connected == here or self.failed(), f"console {number} sees them")  # noqa: B023
            await console.leave()
        for staying in self.staying:
            await staying
        for node in self.nodes.nodes:
            self.assertEqual(node.defects, [])

    async def test_everybody_sees_the_same(self) -> None:
        """R4: customers at one node, consoles at two others: one order, one count, each message once."""
        await self.start(catch_up_interval=3600)  # it is Redis that wakes them
        chatting, check = await self.load(Random(seed()), writing=self.nodes.nodes[:1])
        await chatting.rises_by(100)
        await self.settle(chatting, check)

    async def test_nodes_are_killed(self) -> None:
        """R1, R3, R4, R5: nodes are killed under load: nothing is lost or twice, and everybody agrees."""
        chance = Random(seed())
        await self.start(presence_ttl=3)
        chatting, check = await self.load(chance)
        for _ in range(5):
            node = chance.choice(self.nodes.nodes)
            await node.kill()
            await chatting.rises_by(20)
            await node.start()
            await chatting.rises_by(20)
        self.assertGreater(chatting.reconnects, 0)
        await self.settle(chatting, check)

    async def test_redis_in_trouble(self) -> None:
        """R33: Redis is frozen, killed, emptied: all goes on, and comes to everybody with the next look."""
        await self.start(catch_up_interval=1)
        chatting, check = await self.load(Random(seed()))
        self.nodes.redis.freeze()
        await chatting.rises_by(30)
        await self.told()
        self.nodes.redis.thaw()
        await chatting.rises_by(20)
        await self.nodes.redis.kill()
        await chatting.rises_by(30)
        await self.told()
        await self.nodes.redis.start()
        self.nodes.redis.ask("FLUSHALL")
        await chatting.rises_by(20)
        await self.settle(chatting, check)

    async def told(self) -> None:
        """What is stored by now consoles on all nodes are told."""
        [(last, chat)] = self.execute(
            "SELECT id, chat_id FROM mediachat_message WHERE id = (SELECT max(id) FROM mediachat_message)"
        )
        for console in self.consoles:
            await poll(lambda: last in console.messages.get(chat, {}) or self.failed(), "it is told")  # noqa: B023

    async def test_a_frozen_node(self) -> None:
        """A node that is frozen and thawed acknowledges nothing that is not so, and its consoles catch up."""
        await self.start(presence_ttl=1.5)
        chatting, check = await self.load(Random(seed()))
        frozen = self.nodes.nodes[1]
        frozen.program.signal("STOP")
        await chatting.rises_by(60)
        await forgotten(self, frozen, self.nodes.nodes[0])
        frozen.program.signal("CONT")
        await chatting.rises_by(20)
        await self.settle(chatting, check)

    async def test_backends_are_killed(self) -> None:
        """R34: connections to PostgreSQL are cut under load: nothing is lost or twice, and all agree."""
        await self.start()
        chatting, check = await self.load(Random(seed()))
        killed = 0
        for _ in range(5):
            killed += self.nodes.postgresql.kill_backends(self.nodes.database.rpartition("/")[2])
            await chatting.rises_by(20)
        self.assertGreater(killed, 0)
        await self.settle(chatting, check)

    async def test_rolling_restart(self) -> None:
        """R32: every node behind HAProxy is restarted under load: nothing is lost, and everybody goes on."""
        await self.start(drain_delay=2.5)
        await self.nodes.start_proxy()
        chatting, check = await self.load(Random(seed()), *[Front(self.nodes)] * 3)
        for node in self.nodes.nodes:
            self.assertEqual(await node.terminate(), 0)
            await chatting.rises_by(20)
            await node.start()
            await chatting.rises_by(20)
        self.assertGreater(chatting.reconnects, 0)
        await self.settle(chatting, check)

    async def test_goes_on_at_another_node(self) -> None:
        """R5: a client that comes to another node has what it missed once, and its own are stored once."""
        await self.start(catch_up_interval=3600)
        one, two, three = self.nodes.nodes
        ana = await come(self, one)
        ana.say(type="text", text="hi", key="k")
        saved = await ana.next()
        first = await say(self, two, "one")
        self.assertEqual((await ana.next("message"))["id"], first["id"])
        await one.kill()
        second = await say(self, three, "two")
        back = await come(self, two, after=first["id"])
        self.assertEqual((await back.next("message"))["id"], second["id"])
        back.say(type="text", text="hi", key="k")
        self.assertEqual((await back.next())["message"], saved["message"])
        third = await say(self, three, "three")
        self.assertEqual((await back.next("message"))["id"], third["id"])
        status, _, _ = await ask(
            self, three, "POST", "/chats/1/messages", b'{"text":"four"}', "Content-Type: application/json"
        )
        self.assertEqual(status, 201)  # it is there: at another node
