"""Where Redis is: the URL of ``[suite] fabric`` as checked values."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import field, frozen

_SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")
_PORT = 6379
_SENTINEL_PORT = 26379
_EXTRA = "Redis needs more than is installed: pip install 'protosuite[redis]'"

Host = tuple[str, int]


@frozen
class Address:
    """One Redis, or the Sentinels who know which it is now. The password is in no text of this."""

    hosts: tuple[Host, ...]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    prefix: str = "protosuite"  # before the name of everything that is kept or told
    is_tls: bool = False
    authorities: Path | None = None  # certificates, in PEM, that may vouch for the server
    master: str | None = None  # the name that the Sentinels, who are the hosts, have for it
    sentinel_password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        hosts = ", ".join(f"{host}:{port}" for host, port in self.hosts)
        return hosts if self.master is None else f"{self.master} (by the Sentinels {hosts})"


def parse(url: str) -> Address:
    """The address that a URL means. Raises `ValueError` with a sentence that has no password in it.

    ``redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]``, or ``rediss://`` for TLS;
    ``redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/MASTER[/DATABASE]``. After ``?``:
    ``prefix``, ``ca`` (a file, with TLS) and ``sentinel_password``.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # it says what it does not like, which may be in a password
        raise ValueError("it is no URL: in a password @ / ? # [ ] and the like are %40 %2F …") from None
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"a URL begins with one of {', '.join(f'{scheme}://' for scheme in _SCHEMES)}")
    is_sentinel = parts.scheme.endswith("+sentinel")
    identity, _, places = parts.netloc.rpartition("@")
    username, colon, password = identity.partition(":")
    if identity and not colon:
        raise ValueError("what stands before the @ is a user, a colon and a password")
    master, database = _path(parts.path, is_sentinel)
    options = _options(parts.query)
    is_tls = parts.scheme.startswith("rediss")
    if "ca" in options and not is_tls:
        raise ValueError("ca is for rediss://")
    if "sentinel_password" in options and not is_sentinel:
        raise ValueError("sentinel_password is for redis+sentinel://")
    return Address(
        hosts=_hosts(places, is_sentinel),
        username=unquote(username) or None,
        password=unquote(password) if identity else None,
        database=database,
        prefix=options.get("prefix", "protosuite"),
        is_tls=is_tls,
        authorities=Path(options["ca"]) if "ca" in options else None,
        master=master,
        sentinel_password=options.get("sentinel_password"),
    )


def check(url: str) -> str | None:
    """What is wrong with a URL, or with what is installed for it; None if nothing is."""
    try:
        address = parse(url)
    except ValueError as error:
        return str(error)
    if importlib.util.find_spec("txredisapi") is None:
        return _EXTRA
    if address.is_tls and importlib.util.find_spec("OpenSSL") is None:
        return "TLS needs more than is installed: pip install 'protosuite[tls]'"
    if address.authorities is not None and not address.authorities.is_file():
        return f"ca: there is no file {address.authorities}"
    return None


def _path(path: str, is_sentinel: bool) -> tuple[str | None, int]:
    """The name of the master, and the number of the database."""
    words = [unquote(word) for word in path.split("/")[1:]]
    master = None
    if is_sentinel:
        if not words or not words[0]:
            raise ValueError("after the Sentinels come a slash and the name of the master")
        master = words.pop(0)
    if words in ([], [""]):
        return master, 0
    if len(words) != 1 or not (words[0].isascii() and words[0].isdigit() and len(words[0]) <= 5):
        raise ValueError("the path is the number of a database")
    return master, int(words[0])


def _hosts(places: str, is_sentinel: bool) -> tuple[Host, ...]:
    found = tuple(_host(place, _SENTINEL_PORT if is_sentinel else _PORT) for place in places.split(","))
    if len(found) > 1 and not is_sentinel:
        raise ValueError("several hosts are for redis+sentinel://")
    return found


def _host(place: str, default: int) -> Host:
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.netloc.endswith(":"):
        raise ValueError("a host is a name or an address, with a colon and a port number or without")
    return host, default if port is None else port


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in options.items():
        if name not in ("prefix", "ca", "sentinel_password"):
            # A password with ? or & in it, that are not written as %3F and %26, comes here in pieces.
            what = "nothing else" if "@" in query or "password" in query else f"not {name}"
            raise ValueError(f"after ? there may be prefix, ca and sentinel_password, {what}")
        if not value:
            raise ValueError(f"{name} says nothing")
    return options
