"""Signed tokens (JSON Web Tokens, HS256): who somebody is, until when, and by which key."""

from __future__ import annotations

import binascii
import os
import re
import stat
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from protosuite.auth.rules import ROLES
from protosuite.errors import StartError, Unauthenticated
from protosuite.messages import characters, name

ALGORITHM = "HS256"  # the only one: a token does not choose how it is checked
MAX_TOKEN = 2048  # characters; 64 of a subject outside ASCII are 1,024 of them
LEEWAY = 5.0  # seconds that the clocks of two machines may differ
MIN_SECRET = 32  # bytes: RFC 7518 wants as many as the hash has

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_MAX_TIME = 1 << 50  # seconds; in milliseconds it still is a 64-bit number

is_id = name(64)[0]
is_subject = characters(64)[0]
is_key_id = name(32)[0]


@frozen
class Identity:
    """Who a token says that somebody is.

    `id` names the token itself, `expires` is in seconds since the epoch, `key` is the key that signed.
    """

    id: str
    role: str
    subject: str
    expires: int
    key: str = ""


class NotValid(Unauthenticated):
    """Not a token that any of our keys has signed."""

    def __init__(self) -> None:
        super().__init__("the token is not valid")


class Expired(Unauthenticated):
    """Its time is over."""

    def __init__(self) -> None:
        super().__init__("the token has expired")


class Keys:
    """The secrets that tokens are signed with: the first signs, all of them verify.

    That makes a change of keys possible without a moment at which good tokens are refused.
    """

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        self._secrets = dict(secrets)
        self._signing = next(iter(self._secrets))

    def sign(self, identity: Identity, issued: int) -> str:
        """The token for `identity`, whatever its `key` says; `issued` is in seconds since the epoch."""
        claims = {
            "jti": identity.id,
            "role": identity.role,
            "sub": identity.subject,
            "iat": issued,
            "exp": identity.expires,
        }
        import jwt

        headers = {"kid": self._signing}
        return jwt.encode(claims, self._secrets[self._signing], algorithm=ALGORITHM, headers=headers)

    def verify(self, token: str, now: float) -> Identity:
        """Who `token` is for. Raises :exc:`Unauthenticated`; that it expired only its owner can learn."""
        identity = self.read(token)
        if now >= identity.expires + LEEWAY:
            raise Expired
        return identity

    def read(self, token: str) -> Identity:
        """Who `token` is for, if its signature is right, even if its time is over. Raises :exc:`NotValid`."""
        import jwt  # who has no keys needs it not, and it is a tenth of a start

        if len(token) > MAX_TOKEN or not _COMPACT.fullmatch(token):
            raise NotValid
        try:
            key = jwt.get_unverified_header(token).get("kid")
            secret = self._secrets.get(key) if isinstance(key, str) else None
            if secret is None:
                raise NotValid
            claims = jwt.decode(token, secret, algorithms=[ALGORITHM], options=_OPTIONS)
        except jwt.PyJWTError:
            raise NotValid from None
        return _identity(claims, str(key))


def unverified(token: str) -> dict[str, Any]:
    """The claims of a token, whoever signed it, and its key id as ``kid``; none if it is no token at all."""
    import jwt

    if len(token) > MAX_TOKEN or not _COMPACT.fullmatch(token):
        return {}
    try:
        whole = jwt.decode_complete(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return {}
    return {"kid": whole["header"].get("kid"), **whole["payload"]}


# The time is handed in, so that it is checked here and not by the library's own clock.
_OPTIONS: Any = {
    "require": ["exp", "jti", "sub", "role"],
    "verify_exp": False,
    "verify_iat": False,
}


def _identity(claims: Mapping[str, Any], key: str) -> Identity:
    id, role, subject, expires = (claims[claim] for claim in ("jti", "role", "sub", "exp"))
    is_time = type(expires) is int and 0 <= expires < _MAX_TIME
    if not (is_id(id) and is_subject(subject) and role in ROLES and is_time):
        raise NotValid
    return Identity(id, role, subject, expires, key)


def load(path: Path) -> Keys:
    """The keys in a file: one a line, its id and its secret in base64url. Raises :exc:`StartError`."""
    return Keys(parse(read_secret(path), path))


def read_secret(path: Path) -> str:
    """The text of a file that nobody but its owner may read."""
    try:
        with open(path, encoding="ascii") as file:
            status = os.fstat(file.fileno())
            if is_open_to_others(status.st_mode, status.st_uid):
                raise StartError(f"{path} can be read by others: chmod 600 {path}")
            return file.read(1 << 20)
    except OSError as error:
        raise StartError(
            f"cannot read the keys in {path} ({error.strerror}): make them with protosuite-token init"
        ) from None
    except UnicodeDecodeError:
        raise StartError(f"{path} is not a file of keys: make one with protosuite-token init") from None


def is_open_to_others(mode: int, owner: int) -> bool:
    """Whether more than the owner may use a file. One of root's may be readable by its group.

    That is how a service manager hands a secret to a service that does not run as root.
    """
    return bool(stat.S_IMODE(mode) & (0o037 if owner == 0 else 0o077))


def parse(text: str, path: Path) -> dict[str, bytes]:
    """Key id to secret, in the file's order. No error shows any of the text."""
    secrets: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        secret = _secret(words[1]) if len(words) == 2 else None
        if secret is None or not is_key_id(words[0]):
            raise StartError(
                f"{path}:{number}: a line is a key's id and its secret, {MIN_SECRET} bytes or more in base64"
            )
        if words[0] in secrets:
            raise StartError(f"{path}:{number}: a second key with the id of an earlier one")
        secrets[words[0]] = secret
    if not secrets:
        raise StartError(f"{path} holds no key: make one with protosuite-token init")
    return secrets


def _secret(text: str) -> bytes | None:
    if not re.fullmatch(r"[A-Za-z0-9_-]+={0,2}", text):
        return None
    try:
        secret = urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
    except binascii.Error:
        return None
    return secret if len(secret) >= MIN_SECRET else None


def key_line(id: str, secret: bytes) -> str:
    """A line of a file of keys."""
    return f"{id} {urlsafe_b64encode(secret).decode().rstrip('=')}\n"
