"""R35: the suite under a service manager, which the tests stand in for with its own sockets."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import TestCase

from protosuite.counter.wire import encode_request
from tests.peers import connect
from tests.processes import LIMIT, Suite, Watched, reactor


class Manager(DatagramProtocol, Watched):
    """Takes the states that a service sends."""

    def __init__(self) -> None:
        Watched.__init__(self)
        self.states: list[str] = []

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        self.states.append(datagram.decode())
        self.changed()

    async def hears(self, state: str) -> None:
        """Wait for a state."""
        await self.until(lambda: state in self.states)


class NotificationTests(TestCase):
    """``Type=notify``."""

    timeout = LIMIT

    def manager(self) -> tuple[Manager, str]:
        address = str(Path(self.mktemp()).absolute())
        if len(address) > 100:  # what fits into a socket's name
            address = f"\0protosuite-test-{id(self)}"
        manager = Manager()
        port = reactor.listenUNIXDatagram(address, manager)
        self.addCleanup(port.stopListening)
        return manager, address.replace("\0", "@")

    async def test_ready_stopping_and_alive(self) -> None:
        """R35: READY comes when every port answers, WATCHDOG while it lives, STOPPING at a stop."""
        manager, address = self.manager()
        suite = Suite(self)
        suite.spawn(environment={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"})
        await manager.hears("READY=1")
        for port in suite.ports.values():
            await connect(self, port)
        manager.states.clear()
        await manager.hears("WATCHDOG=1")
        self.assertNotIn("STOPPING=1", manager.states)
        self.assertEqual(await suite.terminate(), 0)
        await manager.hears("STOPPING=1")

    async def test_a_start_that_fails_is_not_ready(self) -> None:
        """A suite that cannot start does not say that it is ready."""
        manager, address = self.manager()
        suite = Suite(self, suite={"data": "/dev/null/nowhere"})
        run = suite.spawn(environment={"NOTIFY_SOCKET": address})
        self.assertEqual(await run.exit(), 1)
        self.assertEqual(manager.states, [])


class ActivationTests(TestCase):
    """Sockets that the service manager listens on."""

    timeout = LIMIT

    async def test_inherited_socket(self) -> None:
        """R35: with a ``systemd:`` endpoint the suite serves on the socket that it inherits."""
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            port = listening.getsockname()[1]
            suite = Suite(self, counter={"listen": "systemd:domain=INET:index=0"})
            # As the manager does: what is executed must have the process id that the variable names.
            code = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); "
            code += "os.execv(sys.argv[1], sys.argv[1:])"
            run = suite.spawn(
                environment={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "counter"},
                launcher=(sys.executable, "-c", code),
                descriptors={3: listening.fileno()},
            )
            await run.says("ready")
        peer = await connect(self, port)
        peer.send(encode_request(7))
        self.assertEqual(await peer.total(), 7)
