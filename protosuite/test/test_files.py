"""How many files may be open, and who goes without when there are too many."""

from __future__ import annotations

import os
import resource
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase

from protosuite.errors import Overloaded
from protosuite.files import descriptors_are_scarce
from protosuite.mediachat.media.folder import MediaFolder
from protosuite.mediachat.wire import Head
from protosuite.net.connection import Connection
from protosuite.net.listening import ConnectionFactory


class ScarceDescriptorsTests(SynchronousTestCase):
    """This process, with no more open files than it has and a few."""

    def setUp(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        self.limit = 4 * (self.lowest() + 20)  # a quarter of it is spare
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.limit, hard))
        self.opened = ExitStack()
        self.addCleanup(self.opened.close)

    @staticmethod
    def lowest() -> int:
        with Path(os.devnull).open("rb") as file:
            return file.fileno()

    def open_until(self, number: int) -> None:
        """Leave `number` as the lowest descriptor that is free."""
        while self.lowest() < number:
            self.opened.enter_context(Path(os.devnull).open("rb"))  # noqa: SIM115 - it is closed with the others

    def test_in_time(self) -> None:
        """Descriptors are scarce before they are at an end, for some uses earlier than for others."""
        spare = min(128, self.limit // 4)
        self.assertFalse(descriptors_are_scarce())
        self.open_until(self.limit - spare - 1)
        self.assertFalse(descriptors_are_scarce())
        self.open_until(self.limit - spare)
        self.assertEqual((descriptors_are_scarce(), descriptors_are_scarce(0.5)), (True, False))
        self.open_until(self.limit - spare // 2)
        self.assertTrue(descriptors_are_scarce(0.5))
        self.open_until(self.limit - 1)
        self.opened.enter_context(Path(os.devnull).open("rb"))  # noqa: SIM115 - it is closed with the others
        self.assertTrue(descriptors_are_scarce(0.5))
        self.opened.close()
        self.assertFalse(descriptors_are_scarce())

    def test_connections(self) -> None:
        """R20: nothing is built for a connection then; behind a wrapper, something that is cut at once."""
        told: list[Any] = []
        address = IPv4Address("TCP", "192.0.2.1", 1)
        self.open_until(self.limit - 1)
        for endpoint in ("tcp:0", "unix:/a", "systemd:domain=INET:name=a", "protosuite-tls:1:cert=a:key=b"):
            factory = ConnectionFactory(self.unwanted, told.append, endpoint)
            self.assertIsNone(factory.buildProtocol(address), endpoint)
        for endpoint in ("haproxy:tcp:0", "protosuite-tls:haproxy:tcp:1:cert=a:key=b", "ssl:1", "tls:/a"):
            protocol = ConnectionFactory(self.unwanted, told.append, endpoint).buildProtocol(address)
            assert protocol is not None
            transport: Any = StringTransportWithDisconnection()
            transport.protocol = protocol
            protocol.makeConnection(transport)
            self.assertTrue(transport.disconnecting or not transport.connected, endpoint)
        self.assertEqual(told, [address] * 8)

    def unwanted(self, address: object) -> Connection:
        raise AssertionError("a connection is built")

    def test_media(self) -> None:
        """R20: no file of media is opened then, and none is made."""
        root = Path(self.mktemp())
        folder = MediaFolder(root)
        root.mkdir()
        folder.open()
        self.open_until(self.limit - 1)
        with self.assertRaises(Overloaded):
            folder.begin(1, Head(name="a", size=1, kind="file"), "one")
        with self.assertRaises(Overloaded):
            folder.read("0" * 64)
        self.opened.close()
        self.assertEqual([path.name for path in (root / "parts").iterdir()], [".boot"])
