"""Certificates and keys in files that nobody but their owner reads, whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from protosuite.cert.issuing import Issued
from protosuite.errors import StartError
from protosuite.files import sync_folder


@frozen
class Place:
    """Where a certificate and its key are: ``NAME.pem`` and ``NAME.key`` in a folder."""

    folder: Path
    name: str

    @property
    def certificate(self) -> Path:
        """The file of the certificate."""
        return self.folder / f"{self.name}.pem"

    @property
    def key(self) -> Path:
        """The file of its key."""
        return self.folder / f"{self.name}.key"


def load(place: Place) -> Issued:
    """What is there. Raises :exc:`StartError`."""
    try:
        certificate = x509.load_pem_x509_certificate(place.certificate.read_bytes())
        key = load_pem_private_key(place.key.read_bytes(), None)
    except OSError as error:
        raise StartError(f"cannot read {error.filename} ({error.strerror})") from None
    except (ValueError, TypeError):
        raise StartError(f"{place.certificate} and {place.key} are no certificate and its key") from None
    if key.public_key() != certificate.public_key():
        raise StartError(f"the key in {place.key} does not belong to the certificate in {place.certificate}")
    return Issued(certificate, key)


def save(place: Place, issued: Issued, signer: Issued | None, *, replace: bool) -> None:
    """Write both. The certificate's file has the `signer` behind it, so that it can be sent along.

    Raises :exc:`StartError` if one is there and need not be replaced, or cannot be written.
    """
    chain = issued.certificate_pem() + (signer.certificate_pem() if signer else b"")
    files = [(place.key, issued.key_pem()), (place.certificate, chain)]
    try:
        place.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not replace:
            _refuse(path for path, _ in files)
        for path, data in files:
            _write(path, data, replace=replace)
        sync_folder(place.folder)
    except FileExistsError as error:
        raise _there(error.filename2 or error.filename) from None
    except OSError as error:
        raise StartError(f"cannot write {error.filename} ({error.strerror})") from None


def _refuse(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.exists() or path.is_symlink():
            raise _there(path)


def _there(path: object) -> StartError:
    return StartError(f"{path} is there already: --force replaces it")


def _write(path: Path, data: bytes, *, replace: bool) -> None:
    # A name of its own, whatever a run that was killed has left: in a container the same pid comes again.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # for its owner alone
    beside = Path(name)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(beside, path)
        else:
            os.link(beside, path)  # which fails where something is
    finally:
        beside.unlink(missing_ok=True)
