"""Certificates: for a server's names and addresses, for a client, for an authority that signs those."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SLACK = timedelta(minutes=5)  # by which the clock of another machine may be behind

_DOMAIN = re.compile(r"(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)(\.[A-Za-z0-9_-]{1,63})*")


@frozen
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any

    def certificate_pem(self) -> bytes:
        """As a file has it."""
        return self.certificate.public_bytes(Encoding.PEM)

    def key_pem(self) -> bytes:
        """As a file has it, without a password."""
        return bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def is_name(text: str) -> bool:
    """Whether a server may be called so: a name, with ``*.`` before it or not, or an address."""
    return len(text) <= 253 and (_address(text) is not None or _DOMAIN.fullmatch(text) is not None)


def authority(name: str, key_type: str, now: datetime, days: int) -> Issued:
    """An authority that signs itself."""
    return _issue(name, key_type, now, days, [], None, None)


def server(names: Sequence[str], key_type: str, now: datetime, days: int, signer: Issued | None) -> Issued:
    """A certificate for a server that is reached by `names`; signed by itself without a `signer`."""
    return _issue(names[0], key_type, now, days, names, ExtendedKeyUsageOID.SERVER_AUTH, signer)


def client(name: str, key_type: str, now: datetime, days: int, signer: Issued) -> Issued:
    """A certificate for a client."""
    return _issue(name, key_type, now, days, [], ExtendedKeyUsageOID.CLIENT_AUTH, signer)


def again(old: Issued, now: datetime, days: int, signer: Issued | None) -> Issued:
    """The same with a new key, a new number and a new time; signed by itself without a `signer`.

    An authority keeps its key, so that what it has signed stays good.
    """
    certificate = old.certificate
    name = str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    if is_authority(certificate):
        return _issue(name, "", now, days, [], None, None, old.key)
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [str(each.value) for each in found]
    except x509.ExtensionNotFound:
        names = []
    (usage,) = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return _issue(name, _type(old.key), now, days, names, usage, signer)


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may sign others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def is_own(certificate: x509.Certificate) -> bool:
    """Whether it is signed by itself."""
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _issue(
    name: str,
    key_type: str,
    now: datetime,
    days: int,
    names: Sequence[str],
    usage: x509.ObjectIdentifier | None,
    signer: Issued | None,
    key: Any = None,
) -> Issued:
    """One that is good for `days` from `now`; an authority's without a `usage`."""
    key = key or _key(key_type)
    signing, issuer = (signer.key, signer.certificate.subject) if signer else (key, _called(name))
    builder = (
        x509.CertificateBuilder()
        .subject_name(_called(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(usage is None, 0 if usage is None else None), critical=True)
        .add_extension(_usages(is_authority=usage is None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False
        )
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_named, names))), critical=False)
    algorithm = None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Issued(builder.sign(signing, algorithm), key)


def _usages(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])  # as many as there may be


def _named(name: str) -> x509.GeneralName:
    address = _address(name)
    return x509.DNSName(name) if address is None else x509.IPAddress(address)


def _address(text: str) -> Any:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _key(key_type: str) -> Any:
    if key_type == "rsa":
        return rsa.generate_private_key(65_537, 3072)
    if key_type == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def _type(key: Any) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        return "rsa"
    return "ed25519" if isinstance(key, ed25519.Ed25519PrivateKey) else "ec"
