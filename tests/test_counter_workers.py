"""The counter with several processes: one counter, one set of limits, whichever of them is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall, deferLater

from protosuite.counter.wire import MAX, encode_request
from tests import test_counter_faults as one_process
from tests.faults import naming, seed
from tests.faults.checks.counter import CounterCheck
from tests.faults.loads.counter import CounterLoad
from tests.peers import Peer, add, connect
from tests.processes import LIMIT, Suite, poll, reactor, together
from tests.test_admin import get
from tests.test_counter_faults import CounterCase, Tally

WORKERS = 3
KILLS = 10
MOMENT = 0.02  # seconds within which a worker is killed once so much has been done


def workers(suite: Suite) -> list[int]:
    """The processes of a suite's workers."""
    parent = suite.program.pid
    pids = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [pid for pid in map(int, pids) if is_alive(pid)]


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it has not only to be buried yet."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def sockets(pid: int) -> int:
    """How many connections a worker has."""
    files = [os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir() if file.is_symlink()]
    return sum(name.startswith("socket:") for name in files) - 1  # its channel


def crowd(scope: Any, **settings: object) -> Suite:
    """A suite with several workers."""
    return Suite(scope, counter={"workers": WORKERS, **settings})


class WorkersCase(CounterCase):
    """What the tests below share."""

    timeout = 4 * LIMIT

    def setUp(self) -> None:
        super().setUp()
        self.processors = os.sched_getaffinity(0)
        self._next = cycle(self.processors)
        self.addCleanup(os.sched_setaffinity, 0, self.processors)

    def move(self) -> None:
        """Go to another processor: which worker gets a connection depends on where its client runs."""
        os.sched_setaffinity(0, {next(self._next)})

    async def spread(self, suite: Suite, count: int) -> list[Peer]:
        """So many connections, each with a worker that answers it, in turn from each processor."""
        peers = await together(connect(self, suite.counter) for _ in range(count))
        for peer in peers:
            self.move()
            peer.send(encode_request(0))
            await peer.total()
        os.sched_setaffinity(0, self.processors)  # what is started has them all
        return peers


class StopTests(one_process.StopTests):
    """SIGTERM, with several processes."""

    async def stop_under_load(self, durability: str) -> None:
        """The same as with one, with all books of all processes; not with ``always``, which is refused."""
        if durability != "always":
            suite, tally = crowd(self, durability=durability), Tally()
            await self.stop_again_and_again(suite, tally)


class KillTests(WorkersCase):
    """SIGKILL."""

    async def test_linearizable(self) -> None:
        """R10: however often workers are killed, no addition that was answered is lost or given twice."""
        number = seed()
        with naming(number):
            chance = Random(number)
            suite, check = crowd(self), CounterCheck()
            await suite.start()
            moving = LoopingCall(self.move)
            moving.start(MOMENT)
            self.addCleanup(moving.stop)
            load = CounterLoad("kills", suite.counter, chance, check, (1, 1, 1, 1, 1, 1, 8, 8, 64, 64))
            self.addCleanup(load.leave)
            await load.begin()
            for _ in range(KILLS):
                await poll(lambda: len(workers(suite)) == WORKERS, "all workers run")
                await load.rises_by(chance.choice((1, chance.randrange(2, 1000))))
                await deferLater(reactor, chance.random() * MOMENT)
                victims = chance.sample(workers(suite), chance.choice((1, 1, 2)))
                for pid in victims:
                    os.kill(pid, signal.SIGKILL)
                await poll(lambda: not any(map(is_alive, victims)), "they have ended")  # noqa: B023
            await poll(lambda: len(workers(suite)) == WORKERS, "all workers run again")
            await load.finish()
            await load.leave()
            check.settle(await add(self, suite))
            self.assertEqual(await suite.terminate(), 0, suite.program.story())
            self.assertEqual(suite.defects, [])

    async def test_only_its_own_connections(self) -> None:
        """A worker that is killed takes its connections with it and no other, and is replaced."""
        suite = crowd(self)
        await suite.start()
        peers = await self.spread(suite, 3 * WORKERS)
        victim, *others = workers(suite)
        its = sockets(victim)
        self.assertGreater(its, 0)
        os.kill(victim, signal.SIGKILL)
        await poll(lambda: sum(peer.lost for peer in peers) == its, "its connections are closed")
        await suite.program.says(f"its {its} connections are lost")
        await poll(lambda: len(set(workers(suite)) - {victim}) == WORKERS, "another is there")
        self.assertLess(set(others), set(workers(suite)))
        for peer in peers:
            if not peer.lost:
                peer.send(encode_request(1))
                await peer.total()
        new = await self.spread(suite, 3)
        self.assertEqual(await add(self, suite), 3 * WORKERS - its)
        self.assertFalse(any(peer.lost for peer in new))

    async def test_nobody_is_left(self) -> None:
        """When the suite is killed under load, its workers end: nobody answers for a counter that is gone."""
        suite, tally = crowd(self), Tally()
        await suite.start()
        adders = await self.load(suite, tally, 1)
        await tally.rises_by(100)
        pids = workers(suite)
        self.assertEqual(len(pids), WORKERS)
        await suite.kill()
        await poll(lambda: not any(map(is_alive, pids)), "the workers have ended")
        await self.ended(adders)
        await suite.start()
        self.assertLessEqual(await add(self, suite), tally.sent)


class OneCounterTests(WorkersCase):
    """What is one, however many serve it."""

    async def test_all_of_them(self) -> None:
        """Connections are spread over all workers; all see what others add, also over other endpoints."""
        suite = crowd(self)
        path = os.path.relpath(suite.folder / "s")  # of any length, while a socket's path has 107 bytes
        suite.write(counter={"listen": f"tcp:{suite.counter}:interface=127.0.0.1\n  unix:s"})
        await suite.start()
        local: Any = Peer()
        await UNIXClientEndpoint(reactor, path).connect(Factory.forProtocol(lambda: local))
        self.addCleanup(local.abort)
        peers = [*await self.spread(suite, 2 * WORKERS), local]
        for total, peer in enumerate(peers, 1):
            peer.send(encode_request(1))
            self.assertEqual(await peer.total(), total)
        served = [sockets(pid) for pid in workers(suite)]
        self.assertEqual(sum(served), 2 * WORKERS)
        self.assertTrue(all(served), served)

    async def test_one_that_is_silent(self) -> None:
        """Who has not said anything is the suite's own, which closes it at a stop."""
        suite = crowd(self)
        await suite.start()
        silent = await together(connect(self, suite.counter) for _ in range(3))
        await self.has(suite, 3)
        self.assertEqual([sockets(pid) for pid in workers(suite)], [0] * WORKERS)
        await silent[0].abort()
        await self.has(suite, 2)
        self.assertEqual(await suite.terminate(), 0)
        for peer in silent[1:]:
            self.assertEqual(await peer.everything(), b"")
        self.assertEqual(suite.defects, [])

    async def test_overflow(self) -> None:
        """As many additions as fit are answered, whoever is asked; what does not fit changes nothing."""
        suite = crowd(self)
        await suite.start()
        await add(self, suite, MAX - 50)
        peers = await self.spread(suite, 2 * WORKERS)
        for peer in peers:
            peer.send(encode_request(1) * 60)
        answers = [await peer.everything() for peer in peers]
        totals = [total for answer in answers for total in struct.unpack(f">{len(answer) // 8}Q", answer)]
        self.assertEqual(sorted(totals), list(range(MAX - 49, MAX + 1)))
        self.assertEqual(await add(self, suite), MAX)
        await suite.terminate()
        await suite.program.says("refused or given up: overflow 6")
        await suite.program.says(f"stopped: total {MAX}, 58 requests, 6 refused frames")

    async def test_limits(self) -> None:
        """R20: limits hold for all workers together, and who leaves makes room."""
        suite = crowd(self, max_connections=7, max_connections_per_address=4, message_rate=10)
        await suite.start()
        peers = await self.spread(suite, 4)
        refused = await connect(self, suite.counter)
        self.assertEqual(await refused.everything(), b"")
        others = await together(connect(self, suite.counter, source="127.0.0.2") for _ in range(3))
        one_more = await connect(self, suite.counter, source="127.0.0.3")
        self.assertEqual(await one_more.everything(), b"")
        for peer in peers:
            peer.finish()
            await peer.gone()
        for peer in others:
            peer.send(encode_request(1) * 11)
            for _ in range(11):
                await peer.total()
        self.assertEqual(await suite.terminate(), 0)
        await suite.program.says("refused or given up: message-rate 3, overloaded 2")

    async def test_refused_frames(self) -> None:
        """What a worker refuses is logged, counted and closed as by the suite's own process."""
        suite = crowd(self, handshake_timeout=0.2)
        await suite.start()
        peer, silent = await connect(self, suite.counter), await connect(self, suite.counter)
        peer.send(encode_request(1) + b"x" * 16 + encode_request(2))
        self.assertEqual([await peer.total(), await peer.everything()], [1, b""])
        self.assertEqual(await silent.everything(), b"")
        await suite.program.says("refused: bad-hash: a frame's hash is not that of its increment")
        await suite.program.says("refused: handshake-timeout")
        self.assertEqual(await suite.terminate(), 0)
        await suite.program.says("stopped: total 1, 1 requests, 2 refused frames")
        await suite.program.says("refused or given up: bad-hash 1, handshake-timeout 1")

    async def test_figures(self) -> None:
        """What is told of the counter is the sum over its workers, one that was killed among them."""
        suite = crowd(self)
        await suite.start()
        for times in (1, 2):
            for peer in await self.spread(suite, 2 * WORKERS):
                peer.finish()
                await peer.gone()
            await self.has(suite, 0)  # a worker tells that one has left when it has
            os.kill(workers(suite)[0], signal.SIGKILL)
            await suite.program.until(
                lambda: sum("its 0 connections are lost" in line for line in suite.log) == times  # noqa: B023
            )
        text = await self.metrics(suite)
        for name, value in (
            ("connections", 0),
            ("connections_accepted_total", 4 * WORKERS),
            ("messages_total", 4 * WORKERS),
            ("received_bytes_total", 4 * WORKERS * 16),
            ("sent_bytes_total", 4 * WORKERS * 8),
        ):
            self.assertIn(f'protosuite_{name}{{service="counter"}} {float(value)}\n', text)

    async def has(self, suite: Suite, count: int) -> None:
        """Wait until it has so many connections."""
        while f'protosuite_connections{{service="counter"}} {count:.1f}\n' not in await self.metrics(suite):
            pass

    async def metrics(self, suite: Suite) -> str:
        """What it tells of itself."""
        return (await get(self, suite, "/metrics")).body.decode()

    async def test_always_is_refused(self) -> None:
        """R38: several processes and ``always`` do not go together, which is said before anything starts."""
        suite = crowd(self, durability="always")
        (line,) = await suite.refusal()
        self.assertIn("[counter] workers: with durability = always one process has to answer", line)
        self.assertIn("set workers = 1, or durability = everysec", line)
