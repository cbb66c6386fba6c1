"""What listens beyond this machine has something that keeps strangers out, or the suite does not start."""

from __future__ import annotations

from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any, cast

from attrs import evolve
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from protosuite.config import AuthConfig, Config, SuiteConfig
from protosuite.errors import StartError
from protosuite.net.exposure import Reach, is_exposed, reach, reach_of_port
from protosuite.suite import Suite, check

CERTIFICATES = "cert=c.pem:key=k.pem"


class Reactor(MemoryReactorClock):
    """A reactor in memory that runs at once what threads hand to it."""

    def callFromThread(self, function: Any, *args: Any, **kwargs: Any) -> None:
        function(*args, **kwargs)


def port(address: Any) -> Any:
    """Something that listens there."""
    return SimpleNamespace(getHost=lambda: address)


def configured(
    service: str = "counter", *, insecure: bool = False, secret_file: str = "", **settings: Any
) -> Config:
    """A configuration with one service, and settings of its section."""
    config = Config(
        suite=SuiteConfig(services=(service,), insecure=insecure), auth=AuthConfig(secret_file=secret_file)
    )
    return evolve(config, **{service: evolve(getattr(config, service), **settings)})


class ReachTests(SynchronousTestCase):
    """From where an endpoint can be reached."""

    def test_by_its_text(self) -> None:
        """R30: what is bound to a loopback address or a UNIX socket is local; all else is not."""
        endpoints = {
            Reach.LOCAL: (
                "tcp:80:interface=127.0.0.1",
                "tcp:interface=127.9.9.9:port=80",
                r"tcp6:80:interface=\:\:1",
                "unix:/run/x",
                "ssl:443:privateKey=k:certKey=c:interface=127.0.0.1",
                "haproxy:tcp:80:interface=127.0.0.1",
                f"protosuite-tls:443:interface=127.0.0.1:{CERTIFICATES}",
                f"protosuite-tls:unix:/run/x:{CERTIFICATES}",
                f"protosuite-tls:haproxy:tcp:80:interface=127.0.0.1:{CERTIFICATES}",
            ),
            Reach.REMOTE: (
                "tcp:80",
                "tcp:80:interface=",
                "tcp:80:interface=0.0.0.0",
                "tcp:80:interface=10.0.0.1",
                "tcp:80:backlog=5",
                r"tcp6:80:interface=\:\:",
                r"tcp6:80:interface=\:\:ffff\:10.0.0.1",
                "tcp6:80",
                "ssl:443:privateKey=interface=127.0.0.1:certKey=c",
                "haproxy:tcp:80",
                f"protosuite-tls:443:{CERTIFICATES}",
            ),
            Reach.UNKNOWN: (
                "systemd:domain=INET:index=0",
                "haproxy:systemd:domain=INET:index=0",
                f"protosuite-tls:systemd:domain=INET:name=x:{CERTIFICATES}",
                "tcp:80:127.0.0.1",
                "tcp:80:interface=localhost",
                "onion:80",
            ),
        }
        for expected, each in endpoints.items():
            for endpoint in each:
                self.assertEqual(reach(endpoint), expected, endpoint)

    def test_by_its_port(self) -> None:
        """R30: what a text does not tell its address does; one of an unknown sort is not local."""
        for address, expected in (
            (IPv4Address("TCP", "127.0.0.1", 80), Reach.LOCAL),
            (IPv6Address("TCP", "::1", 80), Reach.LOCAL),
            (UNIXAddress("/run/x"), Reach.LOCAL),
            (IPv4Address("TCP", "0.0.0.0", 80), Reach.REMOTE),
            (IPv4Address("TCP", "10.0.0.1", 80), Reach.REMOTE),
            (IPv6Address("TCP", "::", 80), Reach.REMOTE),
            (IPv6Address("TCP", "fe80::1%eth0", 80), Reach.REMOTE),
            (object(), Reach.REMOTE),
        ):
            self.assertEqual(reach_of_port(port(address)), expected, address)


class GuardedTests(SynchronousTestCase):
    """What keeps strangers out."""

    def exposed(self, service: str = "counter", endpoint: str = "tcp:80", **settings: Any) -> bool:
        return is_exposed(configured(service, **settings), service, endpoint)

    def networks(self, *texts: str) -> Any:
        return tuple(ip_network(text) for text in texts)

    def test_nothing(self) -> None:
        """R30: beyond this machine without anything is exposed; on it nothing is."""
        for service in ("numbers", "counter", "bus", "chatlog", "mediachat"):
            self.assertTrue(self.exposed(service))
            self.assertFalse(self.exposed(service, "tcp:80:interface=127.0.0.1"))

    def test_tokens(self) -> None:
        """R30: tokens guard the services whose protocol has room for them, which the counter's has not."""
        for service in ("numbers", "bus", "chatlog", "mediachat"):
            self.assertFalse(self.exposed(service, secret_file="keys"))
        self.assertTrue(self.exposed("counter", secret_file="keys"))

    def test_allow(self) -> None:
        """R30: `allow` guards, unless it is all addresses of a family, however it is put."""
        for guarding in (["10.0.0.0/8"], ["0.0.0.0/1"], ["10.0.0.0/8", "fd00::/8"], ["192.0.2.1"]):
            self.assertFalse(self.exposed(allow=self.networks(*guarding)), guarding)
        for open_to_all in (
            ["0.0.0.0/0"],
            ["::/0"],
            ["10.0.0.0/8", "::/0"],
            ["0.0.0.0/1", "128.0.0.0/1"],
            ["0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/1", "fd00::/8"],
        ):
            self.assertTrue(self.exposed(allow=self.networks(*open_to_all)), open_to_all)

    def test_certificates(self) -> None:
        """R30: an endpoint guards that demands certificates of its clients; TLS alone does not."""
        self.assertFalse(self.exposed(endpoint=f"protosuite-tls:443:{CERTIFICATES}:client_ca=ca.pem"))
        self.assertTrue(self.exposed(endpoint=f"protosuite-tls:443:{CERTIFICATES}"))
        self.assertTrue(self.exposed(endpoint="ssl:443:privateKey=k:certKey=c"))
        self.assertTrue(self.exposed(endpoint="tcp:80:client_ca=ca.pem"))

    def test_the_port_of_an_unknown_one(self) -> None:
        """R30: an endpoint whose text tells nothing is judged once it listens; until then it is let be."""
        config, endpoint = configured(), "systemd:domain=INET:index=0"
        self.assertFalse(is_exposed(config, "counter", endpoint))
        self.assertFalse(is_exposed(config, "counter", endpoint, port(IPv4Address("TCP", "127.0.0.1", 80))))
        self.assertTrue(is_exposed(config, "counter", endpoint, port(IPv4Address("TCP", "0.0.0.0", 80))))


class SuiteTests(SynchronousTestCase):
    """The start, and the check before it."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.observer = EventLoggingObserver.createWithCleanup(cast(TestCase, self), globalLogPublisher)

    def suite(self, config: Config) -> Suite:
        return Suite(evolve(config, suite=evolve(config.suite, data=self.mktemp())), self.reactor)

    def warnings(self) -> list[str]:
        return [event["listeners"] for event in self.observer if "insecure" in (event["log_format"] or "")]

    def test_checked(self) -> None:
        """R30: the check names section and key, and what can be done; a service that is off is let be."""
        (problem,) = check(configured(listen=("tcp:80", "unix:/run/x")), self.reactor)
        self.assertEqual(problem[:2], ("counter", "listen"))
        for words in (
            "[counter] listen = tcp:80:",
            "allow",
            "certificates",
            "interface=127.0.0.1",
            "insecure = yes",
        ):
            self.assertIn(words, problem[2])
        self.assertNotIn("secret_file", problem[2])
        (problem,) = check(configured("bus", listen=("tcp:80",)), self.reactor)
        self.assertIn("set [auth] secret_file", problem[2])
        off = evolve(configured("bus"), counter=configured(listen=("tcp:80",)).counter)
        self.assertEqual(check(off, self.reactor), [])

    def test_does_not_start(self) -> None:
        """R30: an exposed suite does not start; each listener at fault is named."""
        suite = self.suite(configured(listen=("tcp:80", "tcp:81:interface=127.0.0.1", "tcp:82")))
        with self.assertRaises(StartError) as caught:
            suite.privilegedStartService()
        text = str(caught.exception)
        self.assertEqual([text.count(f"listen = tcp:{port}") for port in (80, 81, 82)], [1, 0, 1])

    def test_insecure(self) -> None:
        """R30: with `insecure` it starts, and every start names the listeners that are exposed."""
        config = configured(insecure=True, listen=("tcp:80", "tcp:81:interface=127.0.0.1"))
        self.assertEqual(check(config, self.reactor), [])
        for _ in range(2):
            suite = self.suite(config)
            suite.privilegedStartService()
            suite.startService()
            suite.stopService()
        self.assertEqual(self.warnings(), ["[counter] tcp:80"] * 2)
        suite = self.suite(configured(insecure=True))
        suite.privilegedStartService()
        suite.startService()
        suite.stopService()
        self.assertEqual(len(self.warnings()), 2)

    def test_keys_are_checked(self) -> None:
        """A file of keys that cannot be used is reported at its setting, and stops the start."""
        config = configured("bus", secret_file=self.mktemp())
        (problem,) = check(config, self.reactor)
        self.assertEqual(problem[:2], ("auth", "secret_file"))
        self.assertIn("protosuite-token init", problem[2])
        self.assertRaises(StartError, self.suite(config).privilegedStartService)
