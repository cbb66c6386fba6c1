"""Certificates that are looked at again with every connection, and the handshakes that they are for.

Imported only where there is TLS: it needs the ``tls`` extra.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorTime,
)
from twisted.internet.protocol import connectionDone
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates
from twisted.logger import Logger
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from protosuite.errors import StartError
from protosuite.logs import Muffled
from protosuite.net.connection import shown_address

HANDSHAKE_TIMEOUT = 10.0  # seconds, for two round trips and some arithmetic

log = Logger(namespace="protosuite.tls")

# By these one sees that a file is another one or was changed: device, inode, size and time of change.
_Stamps = list[tuple[int, int, int, int]]


@implementer(IOpenSSLServerConnectionCreator)
class Renewing:
    """Begins the server's side of TLS connections, with the PEM files as they are at that moment.

    `cert` has the certificate, and behind it those between it and its root; with `client_ca` a client has to
    show a certificate that is signed by one in there. The files are read at once: :exc:`StartError`. When
    they have changed and cannot be used, what was read last stays in use, an error is logged once, and each
    new connection tries again.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None = None) -> None:
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._complaint = ""
        self._stamps, self._context = self._load()

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """The OpenSSL connection of a new connection."""
        self._renew()
        return SSL.Connection(self._context)

    def _renew(self) -> None:
        try:
            if self._look() == self._stamps:
                return
            self._stamps, self._context = self._load()
        except StartError as error:
            self._complain(str(error))
        else:
            self._complaint = ""
            log.info("{file} has changed and is served from now on", file=str(self._cert))

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:  # each connection finds the same again
            self._complaint = complaint
            log.error("{complaint}: what was read before stays in use", complaint=complaint)

    def _load(self) -> tuple[_Stamps, SSL.Context]:
        stamps = self._look()  # before reading: what changes meanwhile differs from them, and is read again
        try:
            return stamps, _context(self._cert, self._key, self._client_ca)
        except (SSL.Error, UnsupportedAlgorithm, ValueError) as error:  # each of them knows its own limits
            raise StartError(f"{self._cert} and {self._key} cannot be used ({_in_words(error)})") from None

    def _look(self) -> _Stamps:
        files = [self._cert, self._key] + ([self._client_ca] if self._client_ca is not None else [])
        return [_stamp(file) for file in files]


def _stamp(file: Path) -> tuple[int, int, int, int]:
    try:
        status = file.stat()
    except OSError as error:
        raise _unreadable(file, error) from None
    # st_ctime and not st_mtime: it tells of changed rights too, and no copying program sets it back.
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns


def _context(cert: Path, key: Path, client_ca: Path | None) -> SSL.Context:
    """What the connections have in common. Versions and ciphers are Twisted's choice: TLS 1.2 and later."""
    own, *chain = _certificates(cert)
    private = _private_key(key)
    if private.public_key() != own.public_key():
        raise StartError(f"the key in {key} does not belong to the certificate in {cert}")
    certificate = crypto.X509.from_cryptography(own)
    if certificate.has_expired():
        raise StartError(f"the certificate in {cert} has expired")
    authorities = [] if client_ca is None else _certificates(client_ca)
    known = [crypto.X509.from_cryptography(authority) for authority in authorities]
    options = CertificateOptions(
        privateKey=crypto.PKey.from_cryptography_key(private),
        certificate=certificate,
        extraCertChain=[crypto.X509.from_cryptography(each) for each in chain],
        trustRoot=trustRootFromCertificates([Certificate(each) for each in known]) if known else None,
    )
    context = options.getContext()
    for each in known:
        context.add_client_ca(each)  # a client that has several certificates sees which to show
    return context


def _certificates(file: Path) -> list[x509.Certificate]:
    data = _content(file)
    try:
        # The reader passes over a last block without an end.
        if data.count(b"-----BEGIN ") == data.count(b"-----END "):
            return x509.load_pem_x509_certificates(data)
    except ValueError:
        pass
    raise StartError(f"{file} holds no certificate in PEM, or a part of one")


def _private_key(file: Path) -> Any:
    try:
        return load_pem_private_key(_content(file), None)
    except TypeError:
        raise StartError(f"the key in {file} has a password: store it without one") from None
    except ValueError:
        raise StartError(f"{file} holds no private key in PEM, or a part of one") from None


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: OSError) -> StartError:
    return StartError(f"cannot read {file} ({error.strerror})")


class _Handshake(BufferingTLSTransport):
    """A connection that is given up when it is not encrypted after :data:`HANDSHAKE_TIMEOUT`."""

    factory: Any
    transport: Any
    _overdue: IDelayedCall | None = None
    _is_late = False

    def makeConnection(self, transport: Any) -> None:
        self._overdue = self.factory.clock.callLater(HANDSHAKE_TIMEOUT, self._give_up)
        super().makeConnection(transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._overdue is not None and self._overdue.active():
            self._overdue.cancel()
        if not self._is_encrypted():
            self._tell(reason)
        super().connectionLost(reason)

    def _is_encrypted(self) -> bool:
        """Whether the handshake has come to its end, the peer's proof of who it is included."""
        return self.getHandle().get_peer_finished() is not None

    def _give_up(self) -> None:
        if not self._is_encrypted():
            self._is_late = True
            self.abortConnection()

    def _tell(self, reason: Failure) -> None:
        if self.disconnecting and not self._is_late:
            return  # it was the service that ended it
        # What went wrong in TLS is known there alone, and given to the protocol within only.
        error = (getattr(self, "_reason", None) or reason).value
        if isinstance(error, ConnectionDone) and self.getHandle().get_state_string().startswith(b"before"):
            return  # it came and went, as who looks whether a port is open does
        if isinstance(error, ConnectionAborted) and not self._is_late:
            return  # what is below ended it, and has said why
        peer = shown_address(self.transport.getPeer())
        self.factory.strangers.info("{peer}: no TLS handshake: {why}", peer=peer, why=self._why(error))

    def _why(self, error: object) -> str:
        return f"it took more than {HANDSHAKE_TIMEOUT:g} s" if self._is_late else _in_words(error)


def _in_words(error: object) -> str:
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return str(error.args[0][-1][-1])  # OpenSSL's
    return str(error)


class Handshakes(TLSMemoryBIOFactory):
    """Puts TLS on the connections of another factory. A failed handshake is a line in the log, muffled."""

    protocol = _Handshake

    def __init__(self, certificates: Renewing, inner: IProtocolFactory, clock: IReactorTime) -> None:
        super().__init__(certificates, False, inner, clock)
        self.clock = clock
        self.strangers = Muffled(log, clock)

    def buildProtocol(self, addr: IAddress | None) -> TLSMemoryBIOProtocol | None:  # type: ignore[override]
        inner = self.wrappedFactory.buildProtocol(addr)
        return None if inner is None else self.protocol(self, inner)
