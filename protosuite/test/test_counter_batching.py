"""Requests that are added by the turn of the reactor: a real epoll and real sockets, and no ports."""

from __future__ import annotations

import socket
from typing import Any

from attrs import evolve
from hypothesis import settings
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from protosuite.config import CounterConfig
from protosuite.counter import server
from protosuite.counter.server import CounterService
from protosuite.counter.store import CounterStore
from protosuite.counter.wire import MAX, ReplyDecoder, encode_request
from protosuite.net.turns import make_brief
from protosuite.test.counter_cuttings import any_requests, cuttings
from protosuite.test.turning import own_epoll
from protosuite.testing import HandWorker, database, decoded


class Client:
    """The other end of a connection of the service."""

    def __init__(self, service: CounterService) -> None:
        accepted, self.socket = socket.socketpair()
        accepted.setblocking(False)
        self.socket.setblocking(False)
        factory: Any = service.factory()
        self.protocol: Any = factory.buildProtocol(None)
        self.transport: Any = service.batch.transport(
            accepted, self.protocol, ("127.0.0.1", 1), None, 1, service.reactor
        )
        self.protocol.makeConnection(self.transport)
        self._received = b""

    def ask(self, *amounts: int) -> Client:
        """Send requests in one piece."""
        self.socket.send(b"".join(map(encode_request, amounts)))
        return self

    def replies(self) -> list[int | str]:
        """All that came, and ``end`` where the service has closed its side."""
        is_open = True
        try:
            while data := self.socket.recv(1 << 16):
                self._received += data
            is_open = False
        except BlockingIOError:
            pass
        except ConnectionError:
            is_open = False
        return [*decoded(ReplyDecoder(), self._received), *(() if is_open else ("end",))]


class BatchCase(SynchronousTestCase):
    """A service whose reactor turns when a test says so."""

    def setUp(self) -> None:
        self.reactor: Any = own_epoll(self)
        make_brief(self.reactor)
        self.writer = HandWorker(at_once=True)
        self.database = database(self.mktemp(), self.writer)
        self.addCleanup(self.database.close)
        self.clients: list[Client] = []
        self.addCleanup(self.close)
        self.service = self.make_service()

    def make_service(self, **changes: Any) -> CounterService:
        """One on this reactor."""
        return CounterService(evolve(CounterConfig(), **changes), CounterStore(self.database), self.reactor)

    def client(self, service: CounterService | None = None) -> Client:
        """One whose requests are batched from now on, for it has sent one: to add 0."""
        client = Client(service or self.service)
        self.clients.append(client)
        client.ask(0)
        self.turn()
        client.replies()
        return client

    def close(self) -> None:
        """End all connections, with their timers."""
        for client in self.clients:
            client.socket.close()
            if client.transport.connected:
                client.transport.connectionLost(Failure(ConnectionDone()))

    def turn(self, count: int = 1) -> None:
        """Turns of the reactor."""
        for _ in range(count):
            self.reactor.runUntilCurrent()
            self.reactor.doIteration(0)


class BatchTests(BatchCase):
    """What is read in one turn."""

    def runs(self) -> list[list[int]]:
        """What the ledger is asked to add from now on, run by run."""
        found: list[list[int]] = []
        ledger: Any = self.service.ledger

        class Told:
            """The ledger, which tells of it."""

            def __getattr__(self, name: str) -> Any:
                return getattr(ledger, name)

            def apply(self, increments: list[int]) -> Any:
                found.append(list(increments))
                return ledger.apply(increments)

        told: Any = Told()
        self.service.ledger = told
        return found

    def test_a_turn(self) -> None:
        """Requests that are read in one turn are added as one run, and each gets its own total."""
        clients = [self.client() for _ in range(5)]
        runs = self.runs()
        for amount, client in enumerate(clients, 1):
            client.ask(amount)
        self.turn()
        self.assertEqual([sorted(run) for run in runs], [[1, 2, 3, 4, 5]])
        totals = [client.replies()[1:] for client in clients]
        added = [runs[0].index(amount) for amount in range(1, 6)]
        self.assertEqual(totals, [[sum(runs[0][: place + 1])] for place in added])

    @settings(max_examples=60, deadline=None)
    @any_requests
    def test_any_cutting(self, amounts: list[int | None], cuts: set[int], is_closed: bool) -> None:
        """R12: however requests are cut, the same is answered, counted, kept and refused."""
        outcomes = []
        for pieces in cuttings(amounts, cuts):
            service = self.make_service()
            client = self.client(service)
            service.ledger.is_closed = is_closed
            for piece in pieces:
                client.socket.send(piece)
                self.turn(2)
            ledger, traffic = service.ledger, service.traffic
            messages = None if service.refusals else (traffic.messages, traffic.received)
            outcomes.append((client.replies(), ledger, messages, traffic.sent, dict(service.refusals)))
            self.close()
        self.assertEqual(outcomes[0], outcomes[1])
        self.assertEqual(outcomes[0], outcomes[2])

    def test_one_that_cannot_be_added(self) -> None:
        """A request that would pass the end is refused; those of others in its turn are answered."""
        clients = [self.client() for _ in range(4)]
        self.service.ledger.total = MAX - 1
        for client, amount in zip(clients, (0, 2, 0, 1), strict=True):
            client.ask(amount)
        self.turn(2)
        reads, refused, added = clients[::2], clients[1], clients[3]
        self.assertEqual((refused.replies()[1:], added.replies()[1:]), (["end"], [MAX]))
        for client in reads:
            self.assertIn(client.replies()[1:], ([MAX - 1], [MAX]))
        self.assertEqual((self.service.ledger.refused, self.service.ledger.total), (1, MAX))
        self.assertEqual((self.service.traffic.messages, self.service.traffic.received), (8, 8 * 16))

    def test_all_refused(self) -> None:
        """While nothing can be stored, who adds is closed and who reads is answered."""
        clients = [self.client() for _ in range(4)]
        self.service.ledger.is_closed = True
        for client, amount in zip(clients, (1, 0, 1, 0), strict=True):
            client.ask(amount)
        self.turn(2)
        self.assertEqual([client.replies()[1:] for client in clients], [["end"], [0], ["end"], [0]])

    def test_many_refused(self) -> None:
        """However many cannot be added, each is looked at twice at most: thousands may ask in one turn."""
        clients = [self.client() for _ in range(6)]
        self.service.ledger.total = MAX
        runs = self.runs()
        for client in clients:
            client.ask(1)
        self.turn(2)
        self.assertEqual(runs, [[1] * 6, *[[1]] * 5])
        self.assertEqual([client.replies()[1:] for client in clients], [["end"]] * 6)

    def test_a_stop_in_the_same_turn(self) -> None:
        """What was read before a stop is answered before the close; what comes behind is not added."""
        client = self.client().ask(5)
        client.transport.doRead()
        client.protocol.shut_down()
        self.assertEqual(client.replies(), [0, 5])
        client.ask(7)
        self.turn(2)
        self.assertEqual((client.replies(), self.service.ledger.total), ([0, 5, "end"], 5))

    def test_a_client_that_leaves(self) -> None:
        """Who closes behind a request has it added, and nobody else is the worse for it."""
        leaving, other = self.client(), self.client()
        leaving.ask(5)
        leaving.socket.close()
        other.ask(1)
        self.turn(3)
        self.assertIn(other.replies()[1:], ([1], [6]))
        self.assertEqual((self.service.ledger.total, leaving.transport.connected), (6, 0))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_half_close(self) -> None:
        """R15: a client that asks and closes its side gets its reply."""
        client = self.client().ask(5)
        client.socket.shutdown(socket.SHUT_WR)
        self.turn(3)
        self.assertEqual(client.replies(), [0, 5, "end"])

    def test_a_client_that_does_not_read(self) -> None:
        """Replies that the system does not take wait, in their order, and nothing is lost."""
        client = self.client()
        filling = self.fill(client)
        for amount in (1, 2):
            client.ask(amount)
            self.turn()
        while filling:
            filling -= len(client.socket.recv(filling))
            self.turn()
        self.turn(2)
        client.ask(3)
        self.turn(2)
        self.assertEqual(client.replies(), [0, 1, 3, 6])

    def test_replies_behind_one_that_waits(self) -> None:
        """Replies are in order also when the system takes some again before what waits has been sent."""
        client = self.client()
        filling = self.fill(client)
        client.ask(1)
        self.turn()
        while filling:
            filling -= len(client.socket.recv(filling))
        for amount in (2, 3, 4):
            client.ask(amount)
            client.transport.doRead()
            self.service.batch.answer()
        self.turn(3)
        self.assertEqual(client.replies(), [0, 1, 3, 6, 10])

    def fill(self, client: Client) -> int:
        """Send a client as many bytes as the system takes."""
        count = 0
        while True:
            try:
                count += client.transport.socket.send(bytes(1 << 10))
            except BlockingIOError:
                return count

    def test_read_twice(self) -> None:
        """Several requests behind one that waits for the end of the turn are answered behind it."""
        client = self.client()
        for amounts in ((1,), (2, 3)):
            client.ask(*amounts)
            client.transport.doRead()
        self.turn()
        self.assertEqual(client.replies(), [0, 1, 3, 6])

    def test_behind_half_a_request(self) -> None:
        """A good request behind a part of one is no request."""
        client = self.client()
        for _ in range(2):
            client.socket.send(bytes(4))
            self.turn()
        client.ask(5)
        self.turn(2)
        self.assertEqual((client.replies(), self.service.ledger.total), ([0, "end"], 0))

    def test_before_the_first(self) -> None:
        """The first request is never batched: with it another clock begins to run."""
        client = Client(self.service)
        self.clients.append(client)
        client.transport.doRead()
        self.assertIsNone(client.protocol.batch)
        client.ask(0)
        self.turn()
        self.assertIs(client.protocol.batch, self.service.batch)

    def test_one_that_is_cut_off(self) -> None:
        """Nothing is added for who has been cut off."""
        client = self.client()
        client.protocol.cut_off()
        client.ask(7)
        self.turn(2)
        self.assertEqual((client.replies(), self.service.ledger.total), ([0, "end"], 0))

    def test_silence(self) -> None:
        """A client is heard when it asks, not only when it asked first."""
        client = self.client()
        client.protocol.heard = 1.0
        client.ask(1)
        self.turn()
        self.assertGreater(client.protocol.heard, 1.0)

    def test_a_rate(self) -> None:
        """R20: who may send only so many a second is not batched."""
        client = self.client(self.make_service(message_rate=1))
        for _ in range(3):
            client.ask(1)
            self.turn()
        self.assertEqual(client.replies(), [0, 1])


class RestTests(BatchCase):
    """Rests between answers, for clients of this machine."""

    def setUp(self) -> None:
        self.patch(server, "rest", self.rest)
        self.rests = 0
        super().setUp()

    def rest(self) -> None:
        """What is called for a rest."""
        self.rests += 1

    def many(self, count: int) -> Client:
        """One client, after so many others that say nothing more."""
        return [self.client() for _ in range(count + 1)][-1]

    def ask(self, clients: list[Client], turns: int) -> None:
        """Have all be answered in each of so many turns."""
        for _ in range(turns):
            for client in clients:
                client.ask(1)
            self.turn()

    def test_every_48(self) -> None:
        """There is a rest behind every 48th answer, and none else."""
        client = self.many(23)
        client.transport.is_near = True
        found = []
        for number in range(1, 100):
            before = self.rests
            self.ask([client], 1)
            self.assertEqual(len(client.replies()), number + 1)
            found += [number] * (self.rests - before)
        self.assertEqual(found, [48, 96])

    def test_one_is_near(self) -> None:
        """One client of this machine among those of a turn is enough."""
        self.many(19)
        clients = [self.client() for _ in range(5)]
        clients[3].transport.is_near = True
        self.ask(clients, 10)
        self.assertEqual(self.rests, 1)

    def test_few(self) -> None:
        """There is none among fewer than 24 connections."""
        client = self.many(22)
        client.transport.is_near = True
        self.ask([client], 100)
        self.assertEqual(self.rests, 0)

    def test_nobody_is_near(self) -> None:
        """For clients of other machines there is none: they have processors of their own."""
        self.many(19)
        self.ask([self.client() for _ in range(5)], 40)
        self.assertEqual(self.rests, 0)

    def test_who_is_near(self) -> None:
        """Near is who comes from the address that it has come to."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        near = []
        for address in ("127.0.0.1", "127.0.0.2"):
            with socket.create_connection(listener.getsockname(), source_address=(address, 0)):
                accepted, peer = listener.accept()
                with accepted:
                    protocol: Any = self.service.factory().buildProtocol(None)
                    transport = self.service.batch.transport(accepted, protocol, peer, None, 1, self.reactor)
                    near.append(transport.is_near)
        self.assertEqual(near, [True, False])

    def test_always(self) -> None:
        """There is none where replies wait for a commit: clients have their turn meanwhile."""
        self.service = self.make_service(durability="always")
        client = self.many(23)
        client.transport.is_near = True
        for _ in range(50):
            self.ask([client], 1)
            self.turn(12)
        self.assertEqual((len(client.replies()), self.rests), (51, 0))


class AlwaysTests(BatchCase):
    """durability = always."""

    def test_replies_wait_for_the_commit(self) -> None:
        """Replies to what came in one turn leave when their totals are on the disk."""
        self.service = self.make_service(durability="always")
        clients = [self.client() for _ in range(3)]
        self.turn(4)
        self.writer.at_once = False
        for client in clients:
            client.ask(1)
        self.turn(12)
        self.assertEqual([client.replies() for client in clients], [[0]] * 3)
        self.writer.run()
        self.assertEqual(sorted(client.replies()[1] for client in clients), [1, 2, 3])

    def test_a_stop_while_replies_wait(self) -> None:
        """A stop answers what was asked before it, once that is stored, and adds nothing behind it."""
        self.service = self.make_service(durability="always")
        client = self.client()
        self.turn(4)
        self.writer.at_once = False
        client.ask(5)
        self.turn(12)
        client.protocol.shut_down()
        client.ask(7)
        self.turn(2)
        self.writer.run()
        self.turn(2)
        self.assertEqual((client.replies(), self.service.ledger.total), ([0, 5, "end"], 5))
