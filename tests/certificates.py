"""Certificates made with OpenSSL, and clients that show theirs and look at the server's."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from tests.peers import Peer
from tests.processes import LIMIT, reactor
from tests.requirements import require_tls

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_SERVER = "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"
_CLIENT = "extendedKeyUsage=clientAuth\n"


def openssl(*words: str | Path) -> None:
    """Run it; what it complains of fails the test."""
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@frozen
class Pair:
    """A certificate and its key, in PEM files."""

    cert: Path
    key: Path

    @property
    def serial(self) -> int:
        """The number that the authority gave it."""
        command = ["openssl", "x509", "-in", str(self.cert), "-noout", "-serial"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return int(shown.strip().removeprefix("serial="), 16)


class Authority:
    """Signs certificates, in a folder of the test's."""

    def __init__(self, case: TestCase, name: str = "authority") -> None:
        require_tls()
        self.folder = Path(case.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.cert, self.key = self.folder / "ca.pem", self.folder / "ca.key"
        openssl(
            "req", "-x509", *_KEY, "-days", "2", "-subj", f"/CN={name}",
            "-keyout", self.key, "-out", self.cert,
        )  # fmt: skip

    def issue(self, name: str, days: int = 2, for_client: bool = False) -> Pair:
        """A certificate for localhost, or for a client; one that has expired with ``days=-1``."""
        made = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.cnf"
        extensions.write_text(_CLIENT if for_client else _SERVER)
        openssl("req", *_KEY, "-subj", f"/CN={name}", "-keyout", made.key, "-out", request)
        openssl(
            "x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial",
            "-days", str(days), "-extfile", extensions, "-out", made.cert,
        )  # fmt: skip
        return made


async def connect_tls(
    case: TestCase, port: int, authority: Authority | Pair, own: Pair | None = None
) -> Peer:
    """A connection that trusts `authority` and shows `own`. It ends with `case`."""
    from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS

    made = Peer()
    factory = Factory.forProtocol(lambda: made)
    factory.noisy = False
    shown = None if own is None else PrivateCertificate.loadPEM(own.cert.read_bytes() + own.key.read_bytes())
    trusted = Certificate.loadPEM(authority.cert.read_bytes())
    options = optionsForClientTLS("localhost", trustRoot=trusted, clientCertificate=shown)
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port, timeout=LIMIT)
    await wrapClientTLS(options, endpoint).connect(factory)
    case.addCleanup(made.abort)
    return made


def shown_to(peer: Peer) -> int:
    """The number of the certificate that a connection was shown, once it has received something."""
    handle: Any = peer.transport.getHandle()
    serial: int = handle.get_peer_certificate().get_serial_number()
    return serial


def in_place_of(target: Pair, made: Pair, parts: Sequence[str] = ("cert", "key")) -> None:
    """Put a new pair, or a part of it, where the old one is, at one stroke each."""
    for part in parts:
        new: Path = getattr(target, part).with_suffix(".new")
        new.write_bytes(getattr(made, part).read_bytes())
        new.replace(getattr(target, part))
