"""Which connections of the counter are handed to workers, and what becomes of those that cannot be."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protosuite.config import CounterConfig
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
        self.service = CounterService(config, CounterStore(own), Clock())

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
        connection.makeConnection(Passage(ours, connection, ("10.0.0.1", 1), None, 1, None))
        return connection, peer

    def test_nobody_there(self) -> None:
        """While no worker runs, who comes is refused and closed, and takes nobody's place."""
        for count in (1, 2):
            _, peer = self.accept()
            self.assertEqual(peer.recv(1), b"")
            self.assertEqual(self.service.refusals, {"overloaded": count})
        self.assertEqual(self.service.connections, set())
        self.assertEqual(
            [refusal.reason for refusal in self.service.recent], ["no worker runs; try again later"] * 2
        )
