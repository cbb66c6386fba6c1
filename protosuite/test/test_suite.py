"""The suite as a whole in memory, the service manager's side, and what the programs share."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from protosuite import program
from protosuite.config import SERVICES as CONFIGURED
from protosuite.config import Config, CounterConfig, MediaChatConfig, SuiteConfig
from protosuite.errors import StartError
from protosuite.net.listening import ListeningService
from protosuite.net.systemd import Notifier
from protosuite.storage import migrate
from protosuite.suite import SERVICES, Suite, check, warnings


class Reactor(MemoryReactorClock):
    """A reactor in memory that runs what threads hand to it while somebody waits."""

    def __init__(self) -> None:
        super().__init__()
        self._handed: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(self, function: Any, *args: Any, **kwargs: Any) -> None:
        self._handed.put(partial(function, *args, **kwargs))

    def wait(self, deferred: Deferred[None]) -> Deferred[None]:
        """Go on until it has fired."""
        while not deferred.called:
            self._handed.get(timeout=60)()
        return deferred


class Broken(ListeningService):
    """A service that fails at one step of a stop."""

    def __init__(self, step: str, reactor: Any) -> None:
        super().__init__("broken", reactor, CounterConfig())
        setattr(self, step, lambda *_: 1 // 0)


class SuiteTests(SynchronousTestCase):
    """Start and stop."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.folder = self.mktemp()
        self.config = Config(suite=SuiteConfig(data=self.folder))

    def start(self, config: Config | None = None) -> Suite:
        suite = Suite(config or self.config, self.reactor)
        suite.privilegedStartService()
        suite.startService()
        self.addCleanup(self.stop, suite)
        return suite

    def stop(self, suite: Suite) -> None:
        """It stops, if it has not."""
        if suite.running:
            self.successResultOf(self.reactor.wait(suite.stopService()))

    def test_every_service_has_a_section(self) -> None:
        """The services that can be configured are those that can be made."""
        self.assertEqual(tuple(SERVICES), CONFIGURED)

    def test_listens_as_configured(self) -> None:
        """By default each service listens on its own port of 127.0.0.1; others are not made."""
        self.start()
        self.assertEqual(
            [(port, interface) for port, _, _, interface in self.reactor.tcpServers],
            [(port, "127.0.0.1") for port in (8081, 5500, 8080, 8082, 8000, 8001)],
        )
        self.reactor.tcpServers.clear()
        config = evolve(self.config, suite=SuiteConfig(data=self.mktemp(), services=("counter",)))
        self.assertEqual([s.name for s in self.start(config).services], ["counter"])

    def test_the_fabric_is_checked(self) -> None:
        """R38: a fabric that cannot be is named before the start, without its password."""
        for wrong in ("redis://:secret@a,b", "rediss://:secret@a?ca=/nowhere", "redis://:secret@a/x"):
            config = evolve(self.config, suite=SuiteConfig(data=self.folder, fabric=wrong))
            [(section, key, what)] = check(config, self.reactor)
            self.assertEqual((section, key), ("suite", "fabric"))
            self.assertNotIn("secret", what)
            self.assertRaises(StartError, Suite(config, self.reactor).privilegedStartService)
        url = "redis+sentinel://:secret@a/b?sentinel_password=secret"
        config = Config(suite=SuiteConfig(fabric=url))
        self.assertNotIn("secret@", config.written())
        self.assertNotIn("=secret", config.written())

    def test_the_database_is_checked(self) -> None:
        """R38: a database URL that cannot be read is named before the start, without its password."""
        for wrong in ("secret@a:1,b:2/x", "secret@a:port/x"):
            url = f"postgresql+psycopg://ana:{wrong}"
            config = evolve(self.config, suite=SuiteConfig(data=self.folder, database=url))
            [(section, key, what)] = check(config, self.reactor)
            self.assertEqual((section, key), ("suite", "database"))
            self.assertNotIn("secret", what)
            self.assertRaises(StartError, Suite(config, self.reactor).privilegedStartService)

    def test_media_that_one_node_has_to_itself(self) -> None:
        """Where there are several nodes, media that only one of them would have are warned of."""
        for fabric, media, count in (
            ("redis://a", "local", 1),
            ("redis://a", "/m", 0),
            ("local", "local", 0),
        ):
            config = Config(
                suite=SuiteConfig(services=("mediachat",), fabric=fabric),
                mediachat=MediaChatConfig(media=media),
            )
            asking = Deferred.fromCoroutine(warnings(config, self.reactor))
            self.assertEqual(len(self.successResultOf(asking)), count)

    def test_sockets_come_before_files(self) -> None:
        """Sockets are bound with the first rights of the process; the data folder is made with the last."""
        suite = Suite(self.config, self.reactor)
        suite.privilegedStartService()
        self.assertFalse(Path(self.folder).exists())
        self.assertEqual(len(self.reactor.tcpServers), 6)

    def test_a_stop_frees_the_folder(self) -> None:
        """After a stop the same folder can be started with again."""
        suite = self.start()
        with self.assertRaises(StartError):
            self.start()
        self.stop(suite)
        self.start()

    def test_a_service_that_cannot_stop(self) -> None:
        """R31: whatever one service does at a stop, the others stop, and the folder is free."""
        for step in ("stop_begins", "stop_listening", "drain", "stopService"):
            suite = self.start()
            suite.services.insert(0, Broken(step, self.reactor))
            self.stop(suite)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1, step)
            suite.services.pop(0)
            self.assertEqual([service.running for service in suite.services], [False] * 6)
            migrate.take(Path(self.folder)).close()

    def test_a_busy_port(self) -> None:
        """A port that cannot be had is one line with the setting to change."""

        def busy(port: int, *_: object, **__: object) -> None:
            raise CannotListenError("127.0.0.1", port, OSError(98, "Address already in use"))

        self.reactor.listenTCP = busy  # type: ignore[method-assign]
        with self.assertRaises(StartError) as caught:
            self.start()
        self.assertEqual(
            str(caught.exception),
            "cannot listen on tcp:8081:interface=127.0.0.1 (Address already in use): "
            "change [bus] listen, or stop what uses it",
        )

    def test_endpoints_are_checked(self) -> None:
        """An endpoint that is none is found without listening; one of a service that is off is not."""
        wrong = evolve(self.config, counter=evolve(self.config.counter, listen=("unix:1", "tpc:2", "tcp:x")))
        self.assertEqual([place[:2] for place in check(wrong, self.reactor)], [("counter", "listen")] * 2)
        off = evolve(wrong, suite=SuiteConfig(services=("numbers",)))
        self.assertEqual(check(off, self.reactor), [])
        self.assertEqual(self.reactor.tcpServers, [])

    def test_paths_of_sockets_are_checked(self) -> None:
        """R38: a path that is too long for a UNIX socket is found before the start, whatever is around it."""
        right, wrong = "x" * 107, "/" + "ü" * 53 + "x"  # 108 bytes
        for endpoint in ("unix:{}", "unix:address={}:mode=600", "haproxy:unix:{}"):
            own = evolve(self.config.counter, listen=(endpoint.format(right), endpoint.format(wrong)))
            [(section, key, what)] = check(evolve(self.config, counter=own), self.reactor)
            self.assertEqual((section, key), ("counter", "listen"))
            self.assertIn("the path has 108 bytes, and that of a UNIX socket at most 107", what)


class NotifierTests(SynchronousTestCase):
    """R35: the service manager's side."""

    def test_sends(self) -> None:
        """States arrive at the socket that the environment names, which no child process is told."""
        path = self.mktemp()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(path)
            environment = {"NOTIFY_SOCKET": path}
            Notifier(environment).send("READY=1")
            self.assertEqual((manager.recv(100), environment), (b"READY=1", {}))

    def test_nobody_there(self) -> None:
        """Without a manager, or with one that is gone, sending does nothing."""
        Notifier({}).send("READY=1")
        Notifier({"NOTIFY_SOCKET": self.mktemp()}).send("READY=1")

    def test_watchdog(self) -> None:
        """Signs of life come at half the interval, if they are asked of this process."""
        pid = str(os.getpid())
        for environment, interval in (
            ({"WATCHDOG_USEC": "3000000"}, 1.5),
            ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": pid}, 1.5),
            ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
            ({"WATCHDOG_USEC": "x"}, None),
            ({}, None),
        ):
            self.assertEqual(Notifier(environment).watchdog_interval, interval)


class ArgumentTests(SynchronousTestCase):
    """The command lines' types."""

    def test_whole_numbers(self) -> None:
        """A number within its bounds is taken, and what is none is refused with them."""
        parse = program.bounded(1, 10)
        self.assertEqual([parse("1"), parse("10")], [1, 10])
        for text in ("0", "11", "-1", "1.0", "", "x", "٣"):
            with self.assertRaises(argparse.ArgumentTypeError) as caught:
                parse(text)
            self.assertIn("from 1 to 10", str(caught.exception))

    def test_seconds(self) -> None:
        """A span above 0 is taken."""
        self.assertEqual(program.positive_seconds("0.5"), 0.5)
        for text in ("0", "-1", "nan", "inf", "x"):
            self.assertRaises(argparse.ArgumentTypeError, program.positive_seconds, text)
