"""TLS: certificates that are renewed, peers that have to show one, and what is wrong with the files."""

from __future__ import annotations

import re
import socket
import struct
import sys
from itertools import count
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import TestCase

from protosuite.counter.wire import encode_request
from protosuite.net.tls import demands_certificate
from tests.certificates import Authority, Pair, connect_tls, in_place_of, openssl, shown_to
from tests.peers import Peer, connect, undisturbed
from tests.processes import BIN, LIMIT, Program, Suite, free_port
from tests.requirements import require_tls

DOCS = Path(__file__).parents[1] / "docs"


def endpoint(port: int, own: Pair, client_ca: Path | None = None) -> str:
    """A listener of 127.0.0.1."""
    end = f":client_ca={client_ca}" if client_ca else ""
    return f"protosuite-tls:{port}:interface=127.0.0.1:cert={own.cert}:key={own.key}{end}"


class Secured(Suite):
    """A suite whose numbers are behind TLS."""

    def __init__(self, case: TestCase, own: Pair, client_ca: Path | None = None, **numbers: object) -> None:
        self.port = free_port()
        super().__init__(case, numbers={"listen": endpoint(self.port, own, client_ca), **numbers})


async def greeted(
    case: TestCase, suite: Secured, authority: Authority, own: Pair | None = None, name: str = "ana"
) -> Peer:
    """A connection to numbers that has a session."""
    peer = await connect_tls(case, suite.port, authority, own)
    peer.say("start", client=name)
    case.assertEqual((await peer.message())["type"], "session")
    return peer


class RenewalTests(TestCase):
    """Files that change while the suite runs."""

    timeout = LIMIT

    def setUp(self) -> None:
        self.authority = Authority(self)
        self.own = self.authority.issue("server")

    async def served_by(self, suite: Secured) -> int:
        peer = await greeted(self, suite, self.authority)
        serial = shown_to(peer)
        await peer.abort()
        return serial

    async def test_renewed(self) -> None:
        """R37: a renewed certificate is served to new connections at once; old ones go on to their end."""
        suite = Secured(self, self.own, interval=0.05, max_messages=100)
        await suite.start()
        first = self.own.serial
        old = await greeted(self, suite, self.authority, name="old")
        self.assertEqual(shown_to(old), first)
        in_place_of(self.own, self.authority.issue("renewed"))
        self.assertNotEqual(self.own.serial, first)
        self.assertEqual(await self.served_by(suite), self.own.serial)
        self.assertEqual(await self.served_by(suite), self.own.serial)
        whole = undisturbed(suite)["old"]
        values = []
        while (message := await old.message())["type"] == "number":
            values.append(message["value"])
            old.say("ack", index=len(values) - 1)
        self.assertEqual((message["type"], tuple(values)), ("end", whole.values))
        self.assertEqual(len([line for line in suite.log if "is served from now on" in line]), 1)

    async def test_half_written(self) -> None:
        """R37: files that are half written or do not match leave the old ones in use; one line says so."""
        suite = Secured(self, self.own)
        await suite.start()
        first, new = self.own.serial, self.authority.issue("renewed")
        whole = new.cert.read_bytes()
        for what, write in (
            ("a part of one", lambda: self.own.cert.write_bytes(whole[: len(whole) // 2])),
            ("does not belong to", lambda: self.own.cert.write_bytes(whole)),
            ("cannot read", self.own.key.unlink),
            ("a part of one", lambda: self.own.key.write_bytes(new.key.read_bytes()[:50])),
        ):
            write()
            before = len(suite.log)
            for _ in range(3):
                self.assertEqual(await self.served_by(suite), first)
            said = [line for line in suite.log[before:] if what in line]
            self.assertEqual(len(said), 1, suite.program.story())
            self.assertRegex(said[0], r" error .*: what was read before stays in use$")
        in_place_of(self.own, new)
        self.assertEqual(await self.served_by(suite), new.serial)

    async def test_an_expired_one_does_not_replace(self) -> None:
        """R37: a certificate that has expired already does not replace the one in use."""
        suite = Secured(self, self.own)
        await suite.start()
        first = self.own.serial
        in_place_of(self.own, self.authority.issue("old", days=-1))
        self.assertEqual(await self.served_by(suite), first)
        await suite.program.says("has expired: what was read before stays in use")

    async def test_a_weak_one_does_not_replace(self) -> None:
        """R37: a certificate that OpenSSL does not take, as its key is short, leaves the old one in use."""
        suite = Secured(self, self.own)
        await suite.start()
        first = self.own.serial
        weak = Pair(self.authority.folder / "weak.pem", self.authority.folder / "weak.key")
        openssl(
            "req", "-x509", "-newkey", "rsa:512", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-keyout", weak.key, "-out", weak.cert,
        )  # fmt: skip
        in_place_of(self.own, weak)
        self.assertEqual(await self.served_by(suite), first)
        await suite.program.says("too small): what was read before stays in use")
        self.assertEqual([line for line in suite.log if " critical " in line], [])

    async def test_chain(self) -> None:
        """What is behind the certificate in its file is sent along: who knows only the root trusts it."""
        self.own.cert.write_bytes(self.own.cert.read_bytes() + self.authority.cert.read_bytes())
        suite = Secured(self, self.own)
        await suite.start()
        peer = await greeted(self, suite, self.authority)
        self.assertEqual(len(peer.transport.getHandle().get_peer_cert_chain()), 2)


class ClientCertificateTests(TestCase):
    """``client_ca``."""

    timeout = LIMIT

    def setUp(self) -> None:
        self.authority = Authority(self)
        self.own = self.authority.issue("server")
        self.known = self.authority.issue("ana", for_client=True)

    async def test_only_the_known_get_in(self) -> None:
        """Without a certificate of the right authority, valid and for clients, nobody is answered."""
        suite = Secured(self, self.own, self.authority.cert)
        await suite.start()
        stranger = Authority(self, "authority")  # of the same name
        shown = [
            None,
            stranger.issue("eve", for_client=True),
            self.authority.issue("late", days=-1, for_client=True),
            self.own,  # of a server
        ]
        for own in shown:
            peer = await connect_tls(self, suite.port, self.authority, own)
            peer.say("start", client="eve")
            self.assertEqual(await peer.everything(), b"")
        await greeted(self, suite, self.authority, self.known)
        self.assertEqual(list(undisturbed(suite)), ["ana"])
        refused = [line for line in suite.log if "no TLS handshake" in line]
        self.assertEqual(len(refused), len(shown), suite.program.story())
        for line in refused:
            self.assertRegex(line, r" info +tls: 127\.0\.0\.1:\d+: no TLS handshake: \w")
        self.assertNotIn(" critical ", "".join(suite.log))
        self.assertTrue(demands_certificate(endpoint(suite.port, self.own, self.authority.cert)))

    async def lasting(self, suite: Secured) -> Peer:
        """A connection whose stream has more than one number: chance gives one in twenty a single one."""
        for attempt in count():
            peer = await connect_tls(self, suite.port, self.authority, self.known)
            peer.say("start", client=f"old-{attempt}")
            if (await peer.message())["count"] > 1:
                break
        return peer

    async def test_another_authority(self) -> None:
        """Who is known follows the file too, from the next connection on."""
        suite = Secured(self, self.own, self.authority.cert, interval=60)
        await suite.start()
        old = await self.lasting(suite)
        other = Authority(self, "other")
        self.authority.cert.with_suffix(".keep").write_bytes(self.authority.cert.read_bytes())
        trusted = Pair(self.authority.cert, self.authority.key)
        root = self.authority.cert.read_bytes()
        in_place_of(trusted, Pair(other.cert, other.key), ["cert"])
        new = other.issue("ben", for_client=True)
        self.authority.cert = self.authority.folder / "root.pem"
        self.authority.cert.write_bytes(root)
        await greeted(self, suite, self.authority, new)
        peer = await connect_tls(self, suite.port, self.authority, self.known)
        peer.say("start", client="ana")
        self.assertEqual(await peer.everything(), b"")
        self.assertFalse(old.over)


class MistakeTests(TestCase):
    """An endpoint that cannot be used is found before the start."""

    timeout = 3 * LIMIT  # it runs many programs, one after the other

    async def check(self, listen: str, environment: dict[str, str] | None = None) -> tuple[int, list[str]]:
        """``--check``: the exit code and what it says."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        (folder / "suite.ini").write_text(f"[numbers]\nlisten = {listen}\n")
        command = ("twistd", "-n", "--pidfile=", "protosuite", "--check", "--config", "suite.ini")
        run = Program(self, BIN / command[0], *command[1:], folder=folder, environment=environment)
        return await run.exit(), run.errors

    async def test_mistakes(self) -> None:
        """``--check`` names the setting, its line and what is wrong, for every way in which it can be."""
        authority = Authority(self)
        own, other = authority.issue("server"), authority.issue("other")
        late = authority.issue("late", days=-1)
        secret = authority.folder / "secret.pem"
        openssl("ec", "-in", own.key, "-out", secret, "-aes128", "-passout", "pass:secret")
        right = endpoint(5501, own)
        self.assertEqual(await self.check(right), (0, []))
        for listen, said in (
            (
                right.replace("server.pem", "none.pem"),
                f"cannot read {authority.folder}/none.pem (No such",
            ),
            (right.replace("/server.key", ""), f"cannot read {authority.folder} (Is a directory)"),
            (right.replace("server.key", "other.key"), "does not belong to the certificate in"),
            (endpoint(5501, late), "late.pem has expired"),
            (right.replace("server.pem", "server.key"), "server.key holds no certificate in PEM"),
            (right.replace("server.key", "server.pem"), "server.pem holds no private key in PEM"),
            (right.replace("server.key", "secret.pem"), "secret.pem has a password: store it without one"),
            (right + ":client_ca=none.pem", "cannot read none.pem"),
            (right + f":client_ca={other.key}", "other.key holds no certificate in PEM"),
            (right + ":client_ca=", "client_ca= is empty"),
            (right.replace(":key=", ":kee="), "key= is missing"),
            (right.replace(":cert=", ":crt="), "cert= is missing"),
            (right + ":interfaec=x", "interfaec"),
        ):
            code, errors = await self.check(listen)
            self.assertEqual((code, len(errors)), (1, 1), (listen, errors))
            self.assertTrue(errors[0].startswith("suite.ini:2: [numbers] listen = protosuite-tls:"), errors)
            self.assertIn(said, errors[0])
            self.assertNotIn("StartError", errors[0])

    async def test_without_the_extra(self) -> None:
        """Where TLS is not installed the check says what to install, and other listeners do not miss it."""
        absent = Path(self.mktemp()).absolute()
        absent.mkdir(parents=True)
        (absent / "OpenSSL.py").write_text("raise ImportError('there is no OpenSSL here')\n")
        environment = {"PYTHONPATH": f"{absent}:{Path(__file__).parents[1]}"}
        code, errors = await self.check("protosuite-tls:5501:cert=a:key=b", environment)
        self.assertEqual((code, len(errors)), (1, 1), errors)
        self.assertIn("pip install 'protosuite[tls]'", errors[0])
        self.assertEqual(await self.check("haproxy:tcp:5501:interface=127.0.0.1", environment), (0, []))


class HandshakeTests(TestCase):
    """What strangers do to a port with TLS."""

    timeout = LIMIT

    async def test_failed_handshakes_are_muffled(self) -> None:
        """What is no handshake costs a peer its connection, and the log few lines at level info."""
        authority = Authority(self)
        own = authority.issue("server")
        suite = Suite(self)
        ports = {name: free_port() for name in suite.ports}
        suite.write(**{name: {"listen": endpoint(port, own)} for name, port in ports.items()})
        await suite.start()
        hello = client_hello()
        for port in ports.values():
            for sent in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\0" * 100, hello[:-1], hello, b""):
                peer = await connect(self, port)
                peer.send(sent)
                peer.finish()
                await peer.everything()
                reset(port, sent)
        for name, port in ports.items():
            peer = await connect_tls(self, port, authority)
            get = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
            peer.send(encode_request(1) if name == "counter" else get)
            self.assertNotEqual(await peer.exactly(1), b"")  # what was asked for, or what is wrong with it
            (await connect(self, port)).send(hello[:-1])  # and the stop comes before the rest
        self.assertEqual(await suite.terminate(), 0)
        said = [line for line in suite.log if "no TLS handshake" in line]
        self.assertTrue(0 < len(said) <= 10 * len(ports), suite.program.story())
        for line in said:
            self.assertRegex(line, r"Z info +tls: 127\.0\.0\.1:\d+: no TLS handshake: \w")
        wrong = [line for line in suite.log if re.search(r"Z (critical|error) |Traceback|Unhandled", line)]
        self.assertEqual(wrong, [])

    async def test_old_versions(self) -> None:
        """TLS 1.1 is refused, 1.2 and 1.3 are spoken."""
        authority = Authority(self)
        suite = Secured(self, authority.issue("server"))
        await suite.start()
        for version, works in (("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
            command = ["openssl", "s_client", "-connect", f"127.0.0.1:{suite.port}", version, "-brief"]
            command += ["-CAfile", str(authority.cert), "-verify_return_error", "-cipher", "ALL:@SECLEVEL=0"]
            client = Program(self, *command, folder=suite.folder)
            self.assertEqual((await client.exit()) == 0, works, client.story())

    async def test_where_they_come_from(self) -> None:
        """A failed handshake is one line with the peer's address, whoever says what that is, and however."""
        authority = Authority(self)
        listen = endpoint(0, authority.issue("server"))
        suite = Suite(self)
        around, within = free_port(), free_port()
        suite.write(
            counter={"listen": listen.replace("protosuite-tls:0", f"protosuite-tls:haproxy:tcp:{around}")},
            numbers={"listen": "haproxy:" + listen.replace(":0", f":{within}")},
        )
        await suite.start()
        header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 2222\r\n"
        for port, sent in ((around, header + bytes(100)), (around, bytes(100)), (within, bytes(100))):
            peer = await connect(self, port)
            peer.send(sent)
            await peer.everything()
        self.assertEqual(await suite.terminate(), 0)
        said = [line.partition("info     ")[2] for line in suite.log if re.search(r" (tls|net): ", line)]
        self.assertEqual(len(said), 3, said)
        self.assertEqual(said[0], "tls: 192.0.2.1:1111: no TLS handshake: wrong version number")
        self.assertRegex(said[1], r"^net: 127\.0\.0\.1:\d+: bad-header: ")
        self.assertRegex(said[2], r"^tls: 127\.0\.0\.1:\d+: no TLS handshake: wrong version number$")

    async def test_around_another_endpoint(self) -> None:
        """An endpoint in the place of the port gets TLS: here the PROXY protocol of a load balancer."""
        authority = Authority(self)
        own = authority.issue("server")
        suite = Suite(self)
        port = free_port()
        listen = endpoint(port, own).replace("protosuite-tls:", "protosuite-tls:haproxy:tcp:")
        suite.write(counter={"listen": listen})
        await suite.start()
        peer = await connect(self, port)
        peer.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 2222\r\n" + client_hello())
        self.assertEqual((await peer.exactly(3))[:2], b"\x16\x03")  # a record of a handshake


def client_hello() -> bytes:
    """The first bytes of a TLS connection."""
    from OpenSSL import SSL

    connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD))
    connection.set_connect_state()
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        return connection.bio_read(1 << 16)
    raise AssertionError("it was done before an answer came")


def reset(port: int, sent: bytes) -> None:
    """Connect, send and cut the connection with a reset."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(sent)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class DocumentationTests(TestCase):
    """What the documentation says about TLS."""

    timeout = LIMIT

    async def test_as_documented(self) -> None:
        """The commands of the page make certificates, with which its listener and its example work."""
        require_tls()
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        page = (DOCS / "howto" / "tls.rst").read_text("utf-8")
        commands = re.findall(r"^    ((?:openssl (?:req|x509)|printf) (?:.*\\\n)*.*)$", page, re.MULTILINE)
        self.assertEqual(len(commands), 5)
        shell = Program(self, "sh", "-ec", "\n".join(commands), folder=folder)
        self.assertEqual(await shell.exit(), 0, shell.story())
        own = Pair(folder / "cert.pem", folder / "key.pem")
        suite = Secured(self, own, interval=0.01)
        suite.write(counter={"listen": endpoint(suite.counter, own, folder / "clients.pem")})
        await suite.start()
        example = (DOCS / "examples" / "numbers_tls_client.py").read_text("utf-8")
        (folder / "client.py").write_text(example.replace("5501", str(suite.port)), "utf-8")
        run = Program(self, sys.executable, "client.py", folder=folder)
        self.assertEqual(await run.exit(), 0, run.story())
        self.assertRegex(run.output[-1], r"\d+ numbers, sum \d+")
        ana = Pair(folder / "ana.pem", folder / "ana.key")
        peer = await connect_tls(self, suite.counter, own, ana)
        peer.send(encode_request(9))
        self.assertEqual(await peer.total(), 9)


class DeadlineTests(TestCase):
    """A handshake in memory, whose clock is turned by hand."""

    async def test_a_handshake_that_does_not_end(self) -> None:
        """R18: a peer that does not finish its handshake is cut off after ten seconds, whatever it sends."""
        require_tls()
        from protosuite.net.certificates import HANDSHAKE_TIMEOUT, Handshakes, Renewing

        own = Authority(self).issue("server")
        clock = Clock()
        factory: Any = Handshakes(Renewing(own.cert, own.key), Factory.forProtocol(Peer), clock)
        made = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        transport: Any = StringTransportWithDisconnection()
        transport.protocol = made
        made.makeConnection(transport)
        for byte in client_hello()[:99]:
            made.dataReceived(bytes([byte]))
            clock.advance(HANDSHAKE_TIMEOUT / 100)
            self.assertTrue(transport.connected)
        clock.advance(HANDSHAKE_TIMEOUT / 50)
        self.assertFalse(transport.connected)
        self.assertEqual(clock.getDelayedCalls(), [])
