"""Limits that every service has: who may connect, how many, how fast, and how long one may be silent."""

from __future__ import annotations

import socket
from argparse import Namespace
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from random import Random
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.server import BusService
from protosuite.bus.store import BusStore
from protosuite.bus.wire import encode_request
from protosuite.chatlog.server import ChatLogService
from protosuite.chatlog.store import ChatLogStore
from protosuite.config import Config
from protosuite.counter.server import CounterService
from protosuite.counter.store import CounterStore
from protosuite.counter.wire import encode_request as increment
from protosuite.mediachat.media.folder import MediaFolder
from protosuite.mediachat.server import MediaChatService
from protosuite.mediachat.store import MediaChatStore
from protosuite.net import listening
from protosuite.net.limits import Door, Rate
from protosuite.net.listening import ListeningService, _keep_alive
from protosuite.numbers.server import NumbersService
from protosuite.numbers.store import NumbersStore
from protosuite.storage.workers import Calls
from protosuite.test.web_peers import Pipe
from protosuite.testing import HandWorker, database

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
# What a client of each says first, and what it may repeat; each is one message.
FIRST = {
    "numbers": b'{"type":"start","client":"ana"}\n',
    "counter": increment(1),
    "bus": encode_request(pb.EchoMessage(content="a longer one")),
    "chatlog": GET,
    "mediachat": GET,
}
AGAIN = FIRST | {"numbers": b'{"type":"ack","index":0}\n'}


class DoorTests(SynchronousTestCase):
    """Who is let in."""

    def test_room(self) -> None:
        """As many as there is room for; who leaves makes some."""
        door = Door((), 2, 0)
        self.assertEqual([door.enter(host) for host in ("1.1.1.1", None)], [None, None])
        self.assertEqual(door.enter("1.1.1.2"), ("overloaded", "too many connections; try again later"))
        door.leave(None)
        self.assertIsNone(door.enter("1.1.1.2"))

    def test_one_address(self) -> None:
        """An address has its share, one IPv6 /64 is one address, and so is IPv4 written as IPv6."""
        door = Door((), 100, 2)
        for first, second, other in (
            ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("2001:db8::1", "2001:db8::ffff:2%eth0", "2001:db8:0:1::1"),
            ("::ffff:10.0.0.3", "10.0.0.3", "::ffff:10.0.0.4"),
        ):
            self.assertEqual([door.enter(first), door.enter(second)], [None, None])
            self.assertIn("from this address", str(door.enter(first)))
            self.assertIsNone(door.enter(other))
            door.leave(second)
            self.assertIsNone(door.enter(first))
        self.assertEqual([door.enter(None) for _ in range(5)], [None] * 5)  # UNIX sockets have none

    def test_allowed(self) -> None:
        """Only addresses of the networks that are named may connect, if any are."""
        door = Door((ip_network("10.1.0.0/16"), ip_network("fd00::/8")), 100, 0)
        hosts = ("10.1.2.3", "10.2.0.0", "fd12::1", "fe80::1%lo", "::ffff:10.1.0.1", "no address", None)
        refused = [host for host in hosts if door.enter(host) is not None]
        self.assertEqual(refused, ["10.2.0.0", "fe80::1%lo", "no address"])

    @given(st.lists(st.tuples(st.booleans(), st.sampled_from(["1.1.1.1", "2::1", "2::2", None]))))
    def test_any_order(self, moves: list[tuple[bool, str | None]]) -> None:
        """Whatever comes and goes, no bound is exceeded, and an empty house forgets everybody."""
        door, inside = Door((), 5, 2), list[str | None]()
        for enters, host in moves:
            if enters:
                same = sum((h or "")[:1] == (host or "")[:1] for h in inside)
                full = len(inside) == 5 or (host is not None and same == 2)
                self.assertEqual(door.enter(host) is not None, full)
                if not full:
                    inside.append(host)
            elif host in inside:
                inside.remove(host)
                door.leave(host)
        for host in inside:
            door.leave(host)
        self.assertEqual((door._count, dict(door._inside)), (0, {}))


class RateTests(SynchronousTestCase):
    """How fast messages may come."""

    @given(
        st.integers(1, 1000),
        st.lists(st.tuples(st.integers(1, 50), st.floats(0, 3)), min_size=1, max_size=50),
    )
    def test_never_faster(self, rate: int, messages: list[tuple[int, float]]) -> None:
        """Who waits as it is told sends no more than `rate` a second and a second's worth at once."""
        bucket, now, taken = Rate(rate, 0.0), 0.0, 0
        for count, pause in messages:
            self.assertLessEqual(taken, (now + 1) * rate + 1e-6)
            now += bucket.spend(count, now) + pause
            taken += count

    def test_a_burst(self) -> None:
        """A second's worth may come at once; what is beyond takes its time."""
        bucket = Rate(10, 100.0)
        self.assertEqual(bucket.spend(10, 100.0), 0)
        self.assertAlmostEqual(bucket.spend(5, 100.0), 0.5)
        self.assertAlmostEqual(bucket.spend(1, 101.0), 0)


class ServiceTests(SynchronousTestCase):
    """Each of the services keeps its limits, and counts."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)

    def make(self, name: str, **changes: Any) -> ListeningService:
        config = Config()
        own = evolve(getattr(config, name), **changes)
        store, clock, wall, chance = database(self.mktemp()), self.clock, self.clock.seconds, Random(1)
        self.addCleanup(store.close)
        calls = Calls(HandWorker(at_once=True), lambda call, *args: call(*args))
        folder = MediaFolder(Path(self.mktemp()))
        makers: dict[str, Callable[[], ListeningService]] = {
            "numbers": lambda: NumbersService(own, NumbersStore(store, 60.0), clock, chance, wall),
            "counter": lambda: CounterService(own, CounterStore(store), clock),
            "bus": lambda: BusService(own, BusStore(store), clock, wall),
            "chatlog": lambda: ChatLogService(own, ChatLogStore(store, 9), clock, chance, wall),
            "mediachat": lambda: MediaChatService(
                own, MediaChatStore(store, 9), folder, calls, clock, chance, wall
            ),
        }
        service = makers[name]()
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def test_an_endpoint_that_takes_its_time(self) -> None:
        """One that comes to nothing after the start is told of, for nobody else would notice."""
        listening_later: Deferred[Any] = Deferred()
        endpoint = Namespace(listen=lambda factory: listening_later)
        self.patch(listening, "server_endpoint", lambda *_: endpoint)
        service = self.make("counter", listen=("onion:80",))
        service.privilegedStartService()
        with capturedLogs() as events:
            listening_later.errback(OSError(111, "Connection refused"))
        [event] = [each for each in events if each["log_level"] is LogLevel.error]
        self.assertIn("cannot listen on onion:80 (Connection refused)", formatEvent(event))

    def connect(self, service: ListeningService, host: str = "127.0.0.1", is_proxied: bool = False) -> Pipe:
        pipe = Pipe(service.factory("haproxy:tcp:0" if is_proxied else "tcp:0").buildProtocol(None), host)
        self.addCleanup(pipe.lose, ConnectionError())
        pipe.pump()
        return pipe

    def gone(self, pipe: Pipe) -> bool:
        """Whether a peer that reads, and closes when the server does, has been let go."""
        pipe.pump()
        if pipe.eof_sent and not pipe.lost:
            pipe.arrive(None)
        return pipe.lost

    def test_too_many(self) -> None:
        """R20: one above `max_connections` goes, is counted, and finds room when another has left."""
        for name in FIRST:
            service = self.make(name, max_connections=2)
            first, second, third = (self.connect(service) for _ in range(3))
            found = [self.gone(pipe) for pipe in (first, second, third)]
            self.assertEqual((found, service.refusals), ([False, False, True], {"overloaded": 1}), name)
            first.lose(ConnectionError())
            self.assertFalse(self.gone(self.connect(service)), name)

    def test_too_many_of_one_address(self) -> None:
        """R20: one above `max_connections_per_address` goes; other addresses are not touched."""
        for name in FIRST:
            service = self.make(name, max_connections_per_address=1)
            pipes = [self.connect(service, host) for host in ("10.0.0.1", "10.0.0.1", "10.0.0.2")]
            found = [self.gone(pipe) for pipe in pipes]
            self.assertEqual((found, service.refusals), ([False, True, False], {"overloaded": 1}), name)

    def test_not_allowed(self) -> None:
        """Who comes from outside of `allow` goes at once, and nothing that it says is done."""
        for name, first in FIRST.items():
            service = self.make(name, allow=(ip_network("10.0.0.0/8"),))
            stranger = self.connect(service, "192.0.2.1")
            stranger.arrive(first)
            self.assertEqual((self.gone(stranger), service.refusals), (True, {"not-allowed": 1}), name)
            self.assertFalse(self.gone(self.connect(service, "10.9.9.9")), name)

    def test_behind_a_proxy(self) -> None:
        """With the PROXY protocol it is the address that the proxy tells that counts."""
        for name in FIRST:
            service = self.make(name, allow=(ip_network("10.0.0.0/8"),), max_connections_per_address=1)
            first, second, stranger, silent = (
                self.connect(service, "192.0.2.1", is_proxied=True) for _ in range(4)
            )
            for pipe, host in ((first, "10.0.0.1"), (second, "10.0.0.1"), (stranger, "192.0.2.7")):
                pipe.host = host
                pipe.arrive(FIRST[name][:3])
            found = [self.gone(pipe) for pipe in (first, second, stranger, silent)]
            self.assertEqual(found, [False, True, True, False], name)
            self.assertEqual(service.refusals, {"overloaded": 1, "not-allowed": 1}, name)
            for pipe in (first, silent):
                pipe.lose(ConnectionError())
            self.assertEqual((service.door._count, dict(service.door._inside)), (0, {}), name)

    def test_silent_from_the_start(self) -> None:
        """R18: who says nothing whole within `handshake_timeout` goes, however often it sends a byte."""
        for name in FIRST:
            service = self.make(name, handshake_timeout=8, **self.patient(name))
            pipe = self.connect(service)
            for i in range(8):
                self.assertFalse(self.gone(pipe), name)
                pipe.arrive(FIRST[name][i : i + 1])
                self.clock.advance(1)
            code = "not-started" if name == "numbers" else "handshake-timeout"
            self.assertEqual((self.gone(pipe), service.refusals), (True, {code: 1}), name)

    def patient(self, name: str) -> dict[str, Any]:
        """Settings that let bytes come as slowly as one likes."""
        return {"frame_timeout": 1000} if name == "counter" else {}

    def test_silent_later(self) -> None:
        """R18: who has said something goes after `idle_timeout` without another byte, and not before."""
        for name, first in FIRST.items():
            if name == "numbers":
                continue  # its stream has ended by then, or waits for an acknowledgement
            service = self.make(name, idle_timeout=20, handshake_timeout=5)
            pipe = self.connect(service)
            pipe.arrive(first)
            self.clock.advance(19)
            self.assertFalse(self.gone(pipe), name)
            pipe.arrive(first)
            self.clock.advance(19)
            self.assertFalse(self.gone(pipe), name)
            self.clock.advance(1)
            self.assertTrue(self.gone(pipe), name)

    def test_silent_within_a_stream(self) -> None:
        """numbers closes a client that acknowledges nothing for `idle_timeout` though it need not yet."""
        service = self.make("numbers", idle_timeout=20, ack_timeout=1000, interval=50)
        pipe = self.connect(service)
        pipe.arrive(b'{"type":"start","client":"ana","next":0}\n')
        self.clock.advance(19)
        self.assertFalse(self.gone(pipe))
        self.clock.advance(1)
        self.assertTrue(self.gone(pipe))
        self.assertEqual(service.refusals, {"idle-timeout": 1})

    def test_a_subscriber_may_be_silent(self) -> None:
        """Who has subscribed waits for events, for as long as it likes."""
        service = self.make("bus", idle_timeout=20)
        pipe = self.connect(service)
        pipe.arrive(encode_request(pb.Subscribe(pattern="#")))
        for _ in range(20):
            self.clock.advance(15)
        self.assertFalse(self.gone(pipe))

    def test_too_fast(self) -> None:
        """R20: what comes faster than `message_rate` is read that slowly, and every message is answered."""
        for name in ("counter", "bus", "chatlog", "mediachat"):
            service = self.make(name, message_rate=10)
            pipe, slow = self.connect(service), self.connect(service)
            for _ in range(50):
                pipe.arrive(AGAIN[name])
            answered = [self.answers(pipe)]
            slow.arrive(FIRST[name])
            self.assertEqual(self.answers(slow), self.answers(slow), name)
            for _ in range(40):
                self.clock.advance(0.1)
                pipe.pump()
                answered.append(self.answers(pipe))
            whole = answered[-1] / 50
            self.assertIn(round(answered[0] / whole), (10, 11), name)
            self.assertIn(round(answered[20] / whole), (30, 31), name)
            self.assertGreaterEqual(service.refusals["message-rate"], 1, name)
            self.assertEqual(set(service.refusals), {"message-rate"}, name)

    def answers(self, pipe: Pipe) -> int:
        """How many bytes have been answered."""
        pipe.pump()
        return len(pipe.sent)

    def test_too_many_acknowledgements(self) -> None:
        """R20: numbers reads what comes no faster than `message_rate`, too."""
        service = self.make("numbers", message_rate=10)
        pipe = self.connect(service)
        pipe.arrive(b'{"type":"start","client":"ana"}\n')
        for _ in range(30):
            pipe.arrive(AGAIN["numbers"])
        self.assertIn(len(pipe._arrived), (20, 21))
        self.clock.advance(1)
        pipe.pump()
        self.assertIn(len(pipe._arrived), (10, 11))

    def test_one_that_is_slowed_is_not_silent(self) -> None:
        """While a connection is not read for its rate, `idle_timeout` does not run."""
        service = self.make("counter", message_rate=1, idle_timeout=20)
        pipe = self.connect(service)
        pipe.arrive(FIRST["counter"] * 101)
        for _ in range(10):
            self.clock.advance(9.9)
        self.assertFalse(self.gone(pipe))
        for seconds in (2, 18):
            self.clock.advance(seconds)
            self.assertFalse(self.gone(pipe))
        self.clock.advance(21)
        self.assertEqual((self.gone(pipe), service.refusals["idle-timeout"]), (True, 1))

    def test_one_that_is_slowed_can_finish(self) -> None:
        """A stop does not wait for the rate of a connection, nor read what it holds back."""
        service = self.make("counter", message_rate=1)
        pipe = self.connect(service)
        for _ in range(10):
            pipe.arrive(FIRST["counter"])
        next(iter(service.connections)).shut_down()
        self.assertTrue(self.gone(pipe))

    def test_reader_that_stops(self) -> None:
        """R16: numbers, counter and bus cut off who takes nothing for `write_timeout`, and count it."""
        for name, message in (
            ("counter", increment(0) * 4096),
            ("bus", encode_request(pb.EchoMessage(content="x" * 60_000))),
        ):
            service = self.make(name, write_timeout=7)
            pipe = self.connect(service)
            pipe.peer_reads = False
            for _ in range(50):
                pipe.arrive(message)
            self.assertLess(sum(map(len, pipe.pieces)), 200_000, name)
            self.clock.advance(6)
            pipe.take_once()
            pipe.pump()
            self.clock.advance(6)
            pipe.pump()
            self.assertFalse(pipe.lost, name)
            self.clock.advance(1)
            pipe.pump()
            self.assertEqual((pipe.lost, service.refusals), (True, {"write-timeout": 1}), name)

    def test_stream_that_nobody_reads(self) -> None:
        """R16: numbers sends no more than a connection takes, and cuts off who takes nothing."""
        service = self.make(
            "numbers", write_timeout=7, ack_timeout=1000, max_messages=65_535, window=65_535, interval=0.001
        )
        pipe = self.connect(service)
        pipe.peer_reads = False
        pipe.arrive(FIRST["numbers"])
        self.clock.pump([0.5] * 60)
        self.assertLess(sum(map(len, pipe.pieces)), 200_000)
        pipe.pump()
        self.assertEqual((pipe.lost, service.refusals), (True, {"write-timeout": 1}))

    def test_keepalive(self) -> None:
        """R19: the system asks a silent peer after `keepalive` and gives it up after as long again."""
        with socket.socket() as listening:
            _keep_alive(listening, 60.0)
            self.assertEqual(listening.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
                found = [listening.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
                self.assertEqual(found, [60, 10, 6, 120_000])
