"""Requests that are added by the turn of the reactor: a real epoll and real sockets, and no ports."""

from __future__ import annotations

import os
import socket
from typing import Any

from attrs import evolve
from hypothesis import settings
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from protosuite.config import CounterConfig
from protosuite.counter import batching
from protosuite.counter.server import CounterService
from protosuite.counter.store import CounterStore
from protosuite.counter.wire import MAX, ReplyDecoder, encode_request
from protosuite.net.turns import make_brief
from protosuite.test.counter_cuttings import any_requests, cuttings
from protosuite.test.turning import own_epoll
from protosuite.testing import HandWorker, database, decoded


class Client:
    """The other end of a connection of the service."""

    def __init__(self, service: CounterService, is_near: bool = False) -> None:
        accepted, self.socket = socket.socketpair()
        accepted.setblocking(False)
        self.socket.setblocking(False)
        factory: Any = service.factory()
        self.protocol: Any = factory.buildProtocol(None)
        self.transport: Any = service.batch.transport(
            accepted, self.protocol, ("127.0.0.1", 1), None, 1, service.reactor
        )
        self.transport.is_near = is_near
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

    def client(self, service: CounterService | None = None, is_near: bool = False) -> Client:
        """One whose requests are batched from now on, for it has sent one: to add 0."""
        client = Client(service or self.service, is_near)
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

    def test_read_behind_one_that_is_refused(self) -> None:
        """Several requests behind one of the same turn that cannot be added are not added, nor answered."""
        client = self.client()
        self.service.ledger.total = MAX - 1
        for amounts in ((2,), (0, 1)):
            client.ask(*amounts)
            client.transport.doRead()
        self.turn(2)
        self.assertEqual((client.replies(), self.service.ledger.total), ([0, "end"], MAX - 1))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_read_behind_one_whose_reply_waits(self) -> None:
        """Replies to several are behind one of the same turn that the system did not take."""
        client = self.client()
        filling = self.fill(client)
        client.ask(1)
        client.transport.doRead()
        while filling:
            filling -= len(client.socket.recv(filling))
        patched = self.patch(os, "write", lambda number, data: 0)  # the system takes nothing, for a moment
        client.ask(2, 3)
        client.transport.doRead()
        patched.restore()
        self.turn(3)
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
        self.assertIs(client.protocol.batch, client.transport)

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
        before = client.protocol.last_heard()
        client.ask(1)
        self.turn()
        heard = client.protocol.last_heard()
        self.assertGreater(heard, before)
        client.transport.leave()
        self.assertEqual((client.protocol.batch, client.protocol.last_heard()), (None, heard))

    def test_one_that_is_not_read(self) -> None:
        """Whom the reactor does not read, the batch does not either, until the reactor does again."""
        holding, client = self.client(), self.client()
        client.ask(3)
        holding.ask(1)
        client.transport.pauseProducing()
        self.turn()
        self.assertEqual((holding.replies(), client.replies()), ([0, 1], [0]))
        client.transport.resumeProducing()
        self.turn()
        self.assertEqual((client.replies(), client.protocol.batch), ([0, 4], client.transport))
        self.assertIsNotNone(self.reactor.doIteration.readers[client.transport.fileno()])

    def test_one_that_is_not_read_any_more(self) -> None:
        """Whom another one's request in the same turn has had paused is not read in that turn."""
        clients = [self.client() for _ in range(2)]
        refuse = self.service.refused

        def refused(connection: Any, fault: Any) -> None:
            refuse(connection, fault)
            for client in clients:
                if client.protocol is not connection:
                    client.transport.pauseProducing()

        self.patch(self.service, "refused", refused)
        for client in clients:
            client.socket.send(bytes(16))
        self.turn()
        self.assertEqual(self.service.ledger.refused, 1)

    def test_a_descriptor_that_is_another_ones(self) -> None:
        """Who asks and is lost in one turn is answered by then: its descriptor may be another client's."""
        lost = self.client().ask(5)
        number = lost.transport.fileno()
        lost.transport.doRead()
        self.service.batch._seconds = lambda: 1e12  # as a clock that is set back later
        lost.transport.connectionLost(Failure(ConnectionDone()))
        other = Client(self.service)
        self.clients.append(other)
        self.assertEqual(other.transport.fileno(), number)
        self.turn()
        self.assertEqual((other.replies(), lost.replies()), ([], [0, 5, "end"]))
        other.ask(1)
        self.turn()
        self.assertEqual((other.replies(), other.protocol.batch), ([6], other.transport))
        self.assertLess(other.protocol.last_heard(), 1e12)

    def test_nobody_is_kept(self) -> None:
        """Of a client that is gone nothing is kept."""
        for _ in range(3):
            client = self.client().ask(5)
            client.transport.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.service.batch._transports, self.service.ledger.total), ({}, 0))
        self.assertFalse(any(self.reactor.doIteration.readers))

    def test_a_rate(self) -> None:
        """R20: who may send only so many a second is not batched."""
        client = self.client(self.make_service(message_rate=1))
        for _ in range(3):
            client.ask(1)
            self.turn()
        self.assertEqual(client.replies(), [0, 1])


class RunTests(BatchCase):
    """Several requests that come in one piece."""

    def read(self, client: Client) -> list[int | str]:
        """Read it now; what it has got before the end of the turn, without its first reply."""
        client.transport.doRead()
        return client.replies()[1:]

    def test_a_run(self) -> None:
        """It is answered as soon as it is read, and the next is read in the same way."""
        client = self.client()
        for amounts, totals in (((1, 2, 3), [1, 3, 6]), ((4, 5), [1, 3, 6, 10, 15])):
            self.assertEqual(self.read(client.ask(*amounts)), totals)
            self.assertIs(client.protocol.batch, client.transport)
        traffic = self.service.traffic
        self.assertEqual((traffic.messages, traffic.received, traffic.sent), (6, 6 * 16, 6 * 8))

    def test_of_any_length(self) -> None:
        """Requests that are more than are received at first are a run all the same."""
        client = self.client()
        lengths = 2, 28, 29, 30, 58, 59, 1000
        for length in lengths:
            client.ask(*[1] * length)
            self.turn()
            self.assertIs(client.protocol.batch, client.transport, length)
        self.assertEqual(client.replies(), [0, *range(1, sum(lengths) + 1)])

    def test_behind_others(self) -> None:
        """It is added behind what was asked before it in the same turn, and that is answered once."""
        single, client = self.client().ask(1), self.client()
        single.transport.doRead()
        self.assertEqual(self.read(client.ask(2, 3)), [3, 6])
        self.turn()
        self.assertEqual((single.replies(), self.service.ledger.total), ([0, 1], 6))

    def test_a_bad_one(self) -> None:
        """Requests before one that is wrong are answered, and the connection is closed behind them."""
        client = self.client()
        good = encode_request(1)
        client.socket.send(good + good + bytes(16) + good)
        self.turn(2)
        self.assertEqual((client.replies(), self.service.ledger.total), ([0, 1, 2, "end"], 2))
        self.assertEqual(dict(self.service.refusals), {"bad-hash": 1})

    def test_beyond_the_end(self) -> None:
        """Requests before one that would pass the end are answered, and none behind it is added."""
        client = self.client()
        self.service.ledger.total = MAX - 2
        client.ask(1, 1, 1, 0)
        self.turn(2)
        self.assertEqual(client.replies(), [0, MAX - 1, MAX, "end"])
        self.assertEqual(dict(self.service.refusals), {"overflow": 1})

    def test_with_a_part_of_the_next(self) -> None:
        """What is no whole request waits for its rest."""
        client = self.client()
        image = encode_request(1) + encode_request(2)
        client.socket.send(image[:20])
        self.turn()
        client.socket.send(image[20:] + encode_request(3) * 2)
        self.turn()
        self.assertEqual(client.replies(), [0, 1, 3, 6, 9])
        self.turn()
        self.assertIs(client.protocol.batch, client.transport)

    def test_replies_that_the_system_does_not_take(self) -> None:
        """They wait, and those to the next run behind them."""
        client = self.client()
        client.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        image = encode_request(1) * 500
        sent = 0
        while client.protocol.batch is not None:  # until the system takes a part
            sent += client.socket.send(image)
            self.turn()
            self.assertLess(sent, 1 << 24, "the system takes all")
        for _ in range(3):
            sent += client.socket.send(image)
        for _ in range(sent // len(image) + 10):
            self.turn()
            client.replies()
        self.assertEqual(client.replies(), [0, *range(1, sent // 16 + 1)])

    def test_a_client_that_leaves(self) -> None:
        """Who closes behind a run has it added, and nothing is logged."""
        for length in (3, 29, 40):
            client, before = self.client(), self.service.ledger.total
            client.ask(*[1] * length)
            client.socket.close()
            self.turn(3)
            self.assertEqual(self.service.ledger.total, before + length)
            self.assertFalse(client.transport.connected)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_silence(self) -> None:
        """A client is heard when it asks for several."""
        client = self.client()
        before = client.protocol.last_heard()
        self.read(client.ask(1, 2))
        self.assertGreater(client.protocol.last_heard(), before)


class PauseTests(BatchCase):
    """Rests between answers, and looks for what comes next, for clients of this machine."""

    def setUp(self) -> None:
        self.patch(batching, "rest", self.rest)
        self.patch(batching, "Lookout", lambda reactor: self)
        self.rests = self.looks = 0
        super().setUp()

    def rest(self) -> None:
        """What is called for a rest."""
        self.rests += 1

    def look(self) -> None:
        """What is called for a look."""
        self.looks += 1

    def many(self, near: int = 0, far: int = 0) -> list[Client]:
        """So many clients, and neither a rest nor a look so far."""
        clients = [self.client(is_near=number < near) for number in range(near + far)]
        self.rests = self.looks = 0
        return clients

    def ask(self, clients: list[Client], turns: int) -> None:
        """Have all be answered in each of so many turns."""
        for _ in range(turns):
            for client in clients:
                client.ask(1)
            self.turn()

    def test_every_48(self) -> None:
        """There is a rest behind every 48th answer, and none else."""
        client = self.many(near=24)[0]
        self.service.batch._unrested = 0
        found = []
        for number in range(1, 100):
            before = self.rests
            self.ask([client], 1)
            self.assertEqual(len(client.replies()), number + 1)
            found += [number] * (self.rests - before)
        self.assertEqual(found, [48, 96])
        self.assertEqual(self.looks, 0)

    def test_one_is_near(self) -> None:
        """One client of this machine among those of a turn is enough."""
        clients = self.many(near=24, far=5)
        self.service.batch._unrested = 0
        self.ask(clients[23:], 8)
        self.assertEqual(self.rests, 1)

    def test_few(self) -> None:
        """Among fewer than 24 clients of this machine there is none, but a look at the end of each turn."""
        clients = self.many(near=23, far=5)
        self.ask(clients, 10)
        self.assertEqual((self.rests, self.looks), (0, 10))
        self.turn(3)
        self.assertEqual(self.looks, 10)

    def test_runs(self) -> None:
        """Behind several requests in one piece there is a look, too, but never a rest."""
        client = self.many(near=23)[0]
        for looks in (1, 2):
            client.ask(*[1] * 60)
            self.turn()
            self.assertEqual((self.rests, self.looks), (0, looks))
        self.turn(3)
        self.assertEqual(self.looks, 2)
        client = self.many(near=1)[0]
        for _ in range(60):
            client.ask(1, 1)
            self.turn()
        self.assertEqual((self.rests, self.looks), (0, 0))

    def test_who_has_gone(self) -> None:
        """Clients that have gone are not counted."""
        clients = self.many(near=25)
        for client in clients[:2]:
            client.transport.connectionLost(Failure(ConnectionDone()))
        self.ask(clients[2:], 5)
        self.assertEqual((self.rests, self.looks), (0, 5))

    def test_those_that_are_near_say_nothing(self) -> None:
        """Behind answers to others there is none."""
        clients = self.many(near=24, far=5)
        self.ask(clients[24:], 40)
        self.assertEqual((self.rests, self.looks), (0, 0))

    def test_nobody_is_near(self) -> None:
        """For clients of other machines there is neither: they have processors of their own."""
        self.ask(self.many(far=25), 8)
        self.assertEqual((self.rests, self.looks), (0, 0))

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
        """There is neither where replies wait for a commit: clients have their turn meanwhile."""
        self.service = self.make_service(durability="always")
        for count in (2, 24):
            client = self.many(near=count)[0]
            for _ in range(50):
                self.ask([client], 1)
                self.turn(12)
            self.assertEqual((len(client.replies()), self.rests, self.looks), (51, 0, 0))


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

    def test_a_run(self) -> None:
        """Replies to several requests in one piece wait for the commit, too."""
        self.service = self.make_service(durability="always")
        client = self.client()
        self.turn(4)
        self.writer.at_once = False
        client.ask(1, 2)
        self.turn(12)
        self.assertEqual((client.replies(), client.protocol.batch), ([0], client.transport))
        self.writer.run()
        self.assertEqual(client.replies(), [0, 1, 3])

    def test_silence(self) -> None:
        """A client is heard when it asks, not only when it asked first."""
        self.service = self.make_service(durability="always")
        client = self.client()
        before = client.protocol.last_heard()
        client.ask(1)
        self.turn()
        self.assertGreater(client.protocol.last_heard(), before)

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
