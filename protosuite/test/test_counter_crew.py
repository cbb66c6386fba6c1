"""Which connections of the counter are handed to workers, and what becomes of those that cannot be."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from protosuite.config import CounterConfig
from protosuite.counter import crew as crew_module
from protosuite.counter.connection import CounterConnection
from protosuite.counter.crew import Crew, HandedConnection, Passage
from protosuite.counter.server import CounterService
from protosuite.counter.shared import SharedLedger
from protosuite.counter.store import CounterStore
from protosuite.testing import database


class CrewTests(SynchronousTestCase):
    """A service with workers, none of which runs."""

    def setUp(self) -> None:
        own = database(self.mktemp())
        self.addCleanup(own.close)
        config = CounterConfig(workers=2, max_connections=1)
        self.reactor: Any = MemoryReactorClock()
        self.service = CounterService(config, CounterStore(own), self.reactor)

    def test_endpoints(self) -> None:
        """What comes over plain TCP is handed over; with anything around it, it stays with the suite."""
        handed = ("tcp:1", "tcp6:1:interface=\\:\\:1", "TCP:port=1", "systemd:domain=INET:name=x")
        kept = ("unix:/s", "systemd:domain=UNIX:name=x", "haproxy:tcp:1", "protosuite-tls:1:cert=a:key=b")
        for endpoints, kind in ((handed, HandedConnection), (kept, CounterConnection)):
            for endpoint in endpoints:
                self.assertEqual(Crew.takes(endpoint), kind is HandedConnection, endpoint)
                factory: Any = self.service.factory(endpoint)
                self.assertIsInstance(factory.buildProtocol(None), kind, endpoint)
        self.assertIsInstance(self.service.ledger, SharedLedger)

    def accept(self) -> tuple[Any, socket.socket]:
        """A connection that has been accepted, and its other end."""
        ours, peer = socket.socketpair()
        self.addCleanup(peer.close)
        factory: Any = self.service.factory("tcp:1")
        connection = factory.buildProtocol(None)
        connection.makeConnection(Passage(ours, connection, ("10.0.0.1", 1), None, 1, self.reactor))
        return connection, peer

    def speak(self) -> None:
        """The reactor finds that something has come."""
        (passage,) = self.reactor.getReaders()
        passage.doRead()

    def test_nobody_there(self) -> None:
        """While no worker runs, who comes is refused and closed, and takes nobody's place."""
        for count in (1, 2):
            _, peer = self.accept()
            self.speak()
            self.assertEqual(peer.recv(1), b"")
            self.assertEqual(self.service.refusals, {"overloaded": count})
        self.assertEqual(self.service.connections, set())
        self.assertEqual(
            [refusal.reason for refusal in self.service.recent], ["no worker runs; try again later"] * 2
        )

    def test_who_is_silent(self) -> None:
        """Who says nothing in time is refused by the suite, and is nobody else's by then."""
        _, peer = self.accept()
        self.reactor.advance(self.service.config.handshake_timeout)
        self.assertEqual((peer.recv(1), self.reactor.getReaders()), (b"", []))
        self.assertEqual((self.service.ledger.refused, self.service.connections), (1, set()))
        self.assertEqual(self.service.refusals, {"handshake-timeout": 1})

    def test_who_has_spoken(self) -> None:
        """Who has said something is a worker's, which is told of a stop; the suite gives nobody a time."""
        told: list[tuple[object, ...]] = []

        def take(connection: HandedConnection, passage: Passage) -> None:
            connection.number = 5
            passage.close()

        worker: Any = SimpleNamespace(
            is_lost=False, connections={}, take=take, tell=lambda *word: told.append(word)
        )
        crew: Any = self.service._crew
        crew.workers.append(worker)
        connection, _ = self.accept()
        self.speak()
        self.assertEqual(self.reactor.getReaders(), [])
        self.reactor.advance(self.service.config.handshake_timeout)
        self.assertEqual((self.service.refusals, self.reactor.getDelayedCalls()), ({}, []))
        connection.shut_down()
        connection.transport.abortConnection()
        self.assertEqual(told, [("shut down", 5), ("abort", 5)])

    def test_a_stop(self) -> None:
        """At a stop, who has said nothing is closed."""
        for end in ("shut_down", "cut_off"):
            connection, peer = self.accept()
            getattr(connection, end)()
            self.assertEqual((peer.recv(1), self.reactor.getReaders()), (b"", []))
            self.assertEqual((self.service.refusals, self.reactor.getDelayedCalls()), ({}, []))


class NearestTests(SynchronousTestCase):
    """Who serves whom: workers have those that come in on their share of the processors."""

    def crew(self, *loads: int) -> Crew:
        """Workers with so many connections; with -1 it is lost."""
        nothing: Any = None
        crew = Crew(nothing, 0)
        found: list[Any] = [
            SimpleNamespace(is_lost=load < 0, connections=dict.fromkeys(range(load)), place=place)
            for place, load in enumerate(loads)
        ]
        crew.workers = found
        return crew

    def place(self, crew: Crew, incoming: int, processors: set[int]) -> int | None:
        """The place of the one that gets a connection."""
        accepted: Any = SimpleNamespace(getsockopt=lambda level, option: incoming)
        self.patch(os, "sched_getaffinity", lambda pid: processors)
        worker: Any = crew.worker_for(accepted)
        return None if worker is None else worker.place

    def test_as_many_as_processors(self) -> None:
        """Each processor has its worker, whatever the numbers of those that there are."""
        for crew in (self.crew(3, 2, 1), self.crew(1, 2, 3)):
            self.assertEqual([self.place(crew, number, {4, 6, 9}) for number in (4, 6, 9)], [0, 1, 2])

    def test_fewer(self) -> None:
        """A worker has several processors next to each other."""
        crew = self.crew(1, 0)
        self.assertEqual([self.place(crew, number, {0, 1, 2, 3}) for number in range(4)], [0, 0, 1, 1])

    def test_more(self) -> None:
        """Of the workers that share a processor the one with the fewest connections gets it."""
        self.assertEqual([self.place(self.crew(2, 1, 0), number, {0, 1}) for number in (0, 1)], [1, 2])

    def test_one_that_has_many_more(self) -> None:
        """One that has more than twice as many as another, and 32, gets no more."""
        for most, fewest, place in ((32, 0, 0), (33, 0, 1), (232, 100, 0), (233, 100, 1)):
            self.assertEqual(self.place(self.crew(most, fewest), 0, {0, 1}), place)

    def test_elsewhere(self) -> None:
        """What comes in on a processor that is not ours goes to the one with the fewest."""
        self.assertEqual([self.place(self.crew(2, 1), number, {0, 1}) for number in (-1, 7)], [1, 1])

    def test_who_is_lost(self) -> None:
        """Nobody gets a connection who is lost; the others share the processors."""
        self.assertEqual([self.place(self.crew(-1, 5, 0), number, {0, 1}) for number in (0, 1)], [1, 2])
        self.assertIsNone(self.place(self.crew(-1, -1), 0, {0, 1}))

    def test_another_system(self) -> None:
        """Where the system does not tell, the one with the fewest gets it."""
        self.patch(crew_module, "socket", SimpleNamespace())
        self.assertEqual(self.place(self.crew(2, 1), 0, {0, 1}), 1)
