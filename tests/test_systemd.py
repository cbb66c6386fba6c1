"""R35: the suite under a service manager, which the tests stand in for with its own sockets."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path

from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import TestCase

from protosuite.config import Config
from protosuite.counter.wire import encode_request
from tests.peers import connect
from tests.processes import BIN, LIMIT, Program, Suite, Watched, reactor
from tests.requirements import require

PAGES = Path(__file__).parents[1] / "docs" / "howto"


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

    def activated(self, suite: Suite, listening: socket.socket) -> Program:
        """Start it with a socket, as the manager does."""
        # What is executed must have the process id that the variable names.
        code = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); "
        code += "os.execv(sys.argv[1], sys.argv[1:])"
        return suite.spawn(
            environment={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "counter"},
            launcher=(sys.executable, "-c", code),
            descriptors={3: listening.fileno()},
        )

    async def test_inherited_socket(self) -> None:
        """R35: with a ``systemd:`` endpoint the suite serves on the socket that it inherits."""
        suite = Suite(self, counter={"listen": "systemd:domain=INET:index=0"})
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            await self.activated(suite, listening).says("ready")
        peer = await connect(self, port)
        peer.send(encode_request(7))
        self.assertEqual(await peer.total(), 7)

    async def test_restart(self) -> None:
        """R35: who connects to an inherited socket while the suite is stopped is served by the next one."""
        suite = Suite(self, counter={"listen": "systemd:domain=INET:name=counter", "durability": "always"})
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            await self.activated(suite, listening).says("ready")
            first = await connect(self, port)
            first.send(encode_request(7))
            self.assertEqual(await first.total(), 7)
            self.assertEqual(await suite.terminate(), 0)
            meanwhile = await connect(self, port)
            meanwhile.send(encode_request(1))
            await self.activated(suite, listening).says("ready")
            self.assertEqual(await meanwhile.total(), 8)


class UnitTests(TestCase):
    """The unit file of the documentation."""

    timeout = LIMIT

    def setUp(self) -> None:
        require("systemd-analyze")
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        for page in PAGES.glob("protosuite*.*"):
            text = page.read_text("utf-8").replace("/opt/protosuite/bin", str(BIN))
            (self.folder / page.name).write_text(text, "utf-8")
        self.unit = self.folder / "protosuite.service"
        self.page = (PAGES / "systemd.rst").read_text("utf-8")

    async def exposure(self) -> float:
        """What ``systemd-analyze security`` says of the unit, from 0 to 10."""
        command = ("systemd-analyze", "security", "--offline=true", "--no-pager", self.unit)
        run = Program(self, *command, folder=self.folder)
        await run.exit()
        return float(re.findall(r"exposure level for protosuite.service: ([\d.]+)", run.story())[0])

    async def test_exposure(self) -> None:
        """R35: its exposure is what the page says, below 2.0 of 10; with sockets from outside it is less."""
        said = re.findall(r"exposure (?:of|is)\s+([\d.]+\d)", self.page)
        self.assertEqual(len(said), 2)
        alone = await self.exposure()
        self.assertEqual(str(alone), said[0])
        self.assertLess(alone, 2.0)
        with self.unit.open("a", encoding="utf-8") as file:
            file.write("[Service]\nPrivateNetwork=yes\nRestrictAddressFamilies=\n")
            file.write("RestrictAddressFamilies=AF_UNIX\n")
        self.assertEqual(str(await self.exposure()), said[1])

    async def test_right(self) -> None:
        """R35: the units are right in the eyes of systemd."""
        files = sorted(self.folder.iterdir())
        self.assertEqual(len(files), 5)
        run = Program(self, "systemd-analyze", "verify", *files, folder=self.folder)
        self.assertEqual((await run.exit(), run.output, run.errors), (0, [], []))

    def test_limits(self) -> None:
        """R35: it leaves the suite the open files and the time that its settings may take."""
        config = Config()
        values = dict(line.split("=", 1) for line in self.unit.read_text("utf-8").splitlines() if "=" in line)
        services = [config.section(name) for name in config.suite.services]
        most = sum(service.max_connections for service in services)
        self.assertGreaterEqual(int(values["LimitNOFILE"]), most + 256)
        self.assertGreater(
            int(values["TimeoutStopSec"]), config.suite.drain_delay + 2 * config.suite.drain_timeout
        )
