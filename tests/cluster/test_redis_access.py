"""Ways to a Redis: a password, a user of its own, TLS, Sentinels, and a network that takes its time."""

from __future__ import annotations

from io import StringIO
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IHostResolution
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from zope.interface import implementer

from protosuite.fabric import Fabric
from protosuite.fabric import redis as over_redis
from protosuite.fabric.address import Address, parse
from protosuite.fabric.connection import dial
from protosuite.fabric.interface import Away
from protosuite.fabric.link import Link
from protosuite.logs import TextObserver
from protosuite.test.fabric_contract import Reader, Truth
from protosuite.testing import FaultProxy, Faults
from protosuite.testing.faults import ANY_ACT
from tests.certificates import Authority
from tests.cluster.redis import Redis
from tests.cluster.test_fabric import OverRedis
from tests.processes import LIMIT, Program, free_port, reactor

# What the fabric and the counter ask for, and nothing else.
ACL = "user suite on >geheim resetchannels &protosuite/* ~protosuite/* -@all +ping"
ACL += " +publish +subscribe +unsubscribe"
ACL += " +eval +evalsha +time +zadd +zrem +zrange +zremrangebyscore +pexpire"
ACL += " +hget +hmget +hset +config|get"  # of the counter

_EOL = "\r\n"
_SENTINEL = """\
bind 127.0.0.1
port {port}
dir {folder}
sentinel monitor mine 127.0.0.1 {master} 1
sentinel down-after-milliseconds mine 300
sentinel failover-timeout mine 3000
"""


class _Sentinel(ServerFactory):
    """Answers whatever it is asked with the place of a Redis on this machine."""

    def __init__(self, port: int) -> None:
        self.asked = 0
        self.port = str(port)

    def buildProtocol(self, addr: object) -> Protocol:
        answering = Protocol()
        answering.dataReceived = lambda data: self._answer(answering)  # type: ignore[method-assign]
        return answering

    def _answer(self, asker: Protocol) -> None:
        self.asked += 1
        assert asker.transport is not None
        words = ("127.0.0.1", self.port)
        asker.transport.write(
            f"*2{''.join(f'{_EOL}${len(word)}{_EOL}{word}' for word in words)}{_EOL}".encode()
        )


@implementer(IHostResolution)
class _Names:
    """A server of names: every name is this machine's, at once, or no name is ever answered for."""

    def __init__(self, answers: bool) -> None:
        self.asked: list[str] = []
        self._answers = answers

    def resolveHostName(self, receiver: Any, name: str, portNumber: int = 0, *more: object) -> _Names:
        self.name = name
        self.asked.append(name)
        receiver.resolutionBegan(self)
        if self._answers:
            receiver.addressResolved(IPv4Address("TCP", "127.0.0.1", portNumber))
            receiver.resolutionComplete()
        return self

    def cancel(self) -> None:
        """There is nothing to end."""


class AccessTests(OverRedis):
    """Each way is gone by two nodes that wake each other and see who is where."""

    async def works(self, url: str) -> tuple[Reader, Reader]:
        """Two nodes reach each other there."""
        truth = Truth()
        one, two = (Reader(truth, self.node(url)) for _ in range(2))
        two.listen("a")
        await self.until(lambda: one.fabric.is_reachable and two.fabric.is_reachable, "they are connected")
        await self.until(lambda: two.is_current, "it listens")
        await self.wakes(one, two)
        one.fabric.enter("room", "ana")
        await self.until(lambda: self.is_here(two.fabric), "she is seen")
        one.fabric.leave("room", "ana")
        return one, two

    async def wakes(self, one: Reader, two: Reader) -> None:
        """What one stores wakes the other."""
        two.woken_with.clear()

        def woken() -> bool:
            one.store("a")
            return bool(two.woken_with)

        await self.until(woken, "a wake-up")

    async def is_here(self, fabric: Fabric) -> bool:
        return "ana" in await fabric.present("room")

    async def test_password_and_user(self) -> None:
        """With a user's password, and no rights but those that the fabric needs, everything works."""
        redis = Redis(self, "requirepass offen", ACL)
        await redis.start()
        await self.works(f"redis://suite:geheim@127.0.0.1:{redis.port}")
        await self.works(f"redis://:offen@127.0.0.1:{redis.port}/3?prefix=another")

    async def test_wrong_password(self) -> None:
        """R29: a wrong password is tried again later, for it may be set right, and is never logged."""
        out = StringIO()
        observer = TextObserver(out)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        redis = Redis(self, "requirepass right")
        await redis.start()
        fabric = self.node(f"redis://:wr0ngsecret@127.0.0.1:{redis.port}")

        async def refused() -> bool:
            return "WRONGPASS" in (await fabric.health() or "")

        await self.until(refused, "it is refused")
        redis.ask_as("right", "CONFIG", "SET", "requirepass", "wr0ngsecret")
        await self.until(lambda: fabric.is_reachable, "it is right now")
        self.assertIn("is away: WRONGPASS", out.getvalue())
        self.assertNotIn("wr0ngsecret", out.getvalue())

    async def test_tls(self) -> None:
        """Over TLS, for a server that the authority vouches for, and for no other."""
        authority, stranger = Authority(self), Authority(self, "stranger")
        pair = authority.issue("server")
        port = free_port()
        lines = (
            f"tls-port {port}",
            f"tls-cert-file {pair.cert}",
            f"tls-key-file {pair.key}",
            "tls-auth-clients no",
        )
        redis = Redis(self, *lines)
        await redis.start()
        url = f"rediss://localhost:{port}"
        described = Path(self.mktemp()).absolute()
        described.write_bytes("Behörde\r\n".encode() + authority.cert.read_bytes())
        for right in (authority.cert, described):
            await self.works(f"{url}?ca={right}")
        for wrong in (f"{url}?ca={stranger.cert}", url):
            fabric = self.node(wrong)

            async def refused() -> bool:
                return "certificate" in (await fabric.health() or "")  # noqa: B023

            await self.until(refused, "the certificate is refused")

    async def test_sentinel(self) -> None:
        """R33: by its Sentinels the new master is found when the old one is gone, and wake-ups go on."""
        master, port = self.redis, free_port()
        replica = Redis(self, f"replicaof 127.0.0.1 {master.port}")
        await replica.start()
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        conf = folder / "sentinel.conf"
        conf.write_text(_SENTINEL.format(port=port, folder=folder, master=master.port), "utf-8")
        sentinel = Program(self, "redis-server", conf, "--sentinel", folder=folder)
        await sentinel.says("+slave slave")
        one, two = await self.works(f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{port}/mine")
        await master.kill()
        await sentinel.says("+switch-master mine")
        await self.until(lambda: one.fabric.is_reachable and two.fabric.is_reachable, "the new one is found")
        await self.wakes(one, two)
        self.assertEqual(replica.ask("PUBSUB", "NUMSUB", "protosuite/wake/a"), "*2")

    async def test_stops_while_it_asks(self) -> None:
        """A node that stops while it tries to reach one Sentinel asks no other, and is away at once."""
        sentinel = _Sentinel(self.redis.port)
        port = reactor.listenTCP(0, sentinel, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{port.getHost().port}/mine"
        in_order = next(n for n in count() if Random(n).sample((0, 1), 2) == [0, 1])
        link = Link(parse(url), LIMIT, reactor, Random(in_order))
        link.start()
        await self.stopped_within(link.stop())
        self.assertEqual((sentinel.asked, link.is_up), (0, False))

    def names(self, answers: bool) -> _Names:
        """Another server of names, to the end of the test."""
        names = _Names(answers)
        self.addCleanup(reactor.installNameResolver, reactor.installNameResolver(names))
        return names

    async def test_stops_while_a_name_is_looked_up(self) -> None:
        """A node that stops while it waits for the server of names looks no other Sentinel up."""
        names = self.names(answers=False)
        link = Link(parse("redis+sentinel://one,two,three/mine"), LIMIT, reactor, Random(1))
        link.start()
        await self.stopped_within(link.stop())
        self.assertEqual(len(names.asked), 1)

    async def test_dialling_is_cancelled(self) -> None:
        """Whoever cancels dialling is told that, not that the host is away: at its name, and at its port."""
        host = ("redis.example", self.redis.port)
        for answers in (False, True):
            self.names(answers)
            dialling = Deferred.fromCoroutine(dial(reactor, host, Address((host,)), LIMIT))
            self.assertNoResult(dialling)
            dialling.cancel()
            self.failureResultOf(dialling, CancelledError)

    async def test_a_name_that_nobody_answers_for(self) -> None:
        """A name that is not found in time is said to be late: it is not known whether there is none."""
        self.names(answers=False)
        host = ("redis.example", self.redis.port)
        with self.assertRaisesRegex(Away, "^no connection within 0.01 s$"):
            await dial(reactor, host, Address((host,)), 0.01)

    async def test_authorities_that_are_gone(self) -> None:
        """A file of certificates that is no more is a reason why Redis is away, and not a defect."""
        gone = Address((("127.0.0.1", self.redis.port),), is_tls=True, authorities=Path("gone.pem"))
        link = Link(gone, 1, reactor, Random(1))
        link.start()
        self.addCleanup(link.stop)
        await self.until(lambda: "gone.pem" in (link.trouble or ""), "it is said")
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_refused(self) -> None:
        """Wake-ups that Redis refuses are tried again on the same connection, now and then."""
        self.patch(over_redis, "_REFUSED_DELAY", 0.05)
        redis = Redis(self, ACL.replace(" +publish", ""))
        await redis.start()
        one, two = (Reader(Truth(), self.node(f"redis://suite:geheim@127.0.0.1:{redis.port}")) for _ in "ab")
        two.listen("a")
        await self.until(lambda: one.fabric.is_reachable and "a" in two.caught_up, "they are connected")
        out = StringIO()
        observer = TextObserver(out)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        one.store("a")
        await self.until(lambda: out.getvalue().count("refuses wake-ups") > 2, "it is refused")
        fabric: Any = one.fabric
        self.assertEqual(fabric._commands.connects, 1)
        redis.ask("ACL", "SETUSER", "suite", "+publish")
        await self.until(lambda: two.woken_with == [("a", 1)], "it is allowed")

    async def test_bad_network(self) -> None:
        """R33: connections that are slow, cut, reset and silent: all is known in the end."""
        faults = Faults(latency=0.02, segment=20, refuse=0.1, acts=ANY_ACT, spell=0.3, stretch=500, pause=0.7)
        proxy = FaultProxy(reactor, Random(5), self.redis.port, faults)
        url = f"redis://127.0.0.1:{proxy.listen()}"
        self.addCleanup(proxy.close)
        truth, random = Truth(), Random(6)
        readers = [Reader(truth, self.node(url, seed=n)) for n in range(3)]
        while sum(proxy.acts.values()) < 30:
            reader, topic = random.choice(readers), f"topic.{random.randrange(5)}"
            random.choice((reader.listen, reader.store, reader.store, reader.store, reader.ignore))(topic)
            await deferLater(reactor, 0)
            if random.random() < 0.05:
                await self.until(lambda: any(reader.fabric.is_reachable for reader in readers), "some are")
        proxy.faults = Faults()
        for link in proxy.links[:]:
            link.reset()
        await self.until(lambda: all(reader.is_current for reader in readers), "all of it")
