"""A service that listens beyond this machine has something that keeps strangers out, or says that it has not.

That is one of: tokens, where its protocol carries them; `allow`, less than the whole Internet; an endpoint
that demands certificates of clients. Or ``[suite] insecure = yes``, and a warning at every start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address
from typing import Any

from protosuite.config import Config
from protosuite.net.tls import demands_certificate, innermost
from protosuite.settings import Network

WITHOUT_TOKENS = ("counter",)  # whose frames have no room for them

_ON_ADDRESSES = ("tcp", "tcp6", "ssl")  # the endpoints that have `interface`


class Reach(Enum):
    """From where somebody can connect."""

    LOCAL = "this machine"
    REMOTE = "elsewhere, too"
    UNKNOWN = "known once it listens"


def reach(endpoint: str) -> Reach:
    """From where an endpoint of the configuration can be reached, as far as its text says."""
    (kind, *positional), named = innermost(endpoint)
    if kind == "unix":
        return Reach.LOCAL
    if kind not in _ON_ADDRESSES or len(positional) > 1:
        return Reach.UNKNOWN
    return _reach_of_host(named.get("interface", ""))


def reach_of_port(port: Any) -> Reach:
    """From where a port that listens can be reached."""
    address = port.getHost()
    host = getattr(address, "host", None)
    if host is not None:
        return Reach.LOCAL if _reach_of_host(host) is Reach.LOCAL else Reach.REMOTE
    return Reach.LOCAL if hasattr(address, "name") else Reach.REMOTE  # a UNIX socket's has


def is_guarded(config: Config, service: str, endpoint: str) -> bool:
    """Whether something keeps strangers out of an endpoint of this service."""
    has_tokens = bool(config.auth.secret_file) and takes_tokens(config, service)
    return has_tokens or demands_certificate(endpoint) or _keeps_out(config.section(service).allow)


def takes_tokens(config: Config, service: str) -> bool:
    """Whether this service has those who use it present a token, where there are tokens."""
    extended = config.extended(service)
    return service not in WITHOUT_TOKENS if extended is None else extended.extension.has_tokens


def is_exposed(config: Config, service: str, endpoint: str, port: Any = None) -> bool:
    """Whether anybody from elsewhere can use an endpoint. Its `port` tells what the text leaves open."""
    where = reach(endpoint)
    if where is Reach.UNKNOWN and port is not None:
        where = reach_of_port(port)
    return where is Reach.REMOTE and not is_guarded(config, service, endpoint)


def sentence(config: Config, service: str, endpoint: str) -> str:
    """What is wrong with an endpoint that is exposed, and what to do."""
    tokens = "set [auth] secret_file, " if takes_tokens(config, service) else ""
    return (
        f"[{service}] listen = {endpoint}: anybody from elsewhere could use it: {tokens}set [{service}] "
        "allow, demand client certificates, listen on interface=127.0.0.1, or set [suite] insecure = yes"
    )


def _keeps_out(allow: Sequence[Network]) -> bool:
    """Whether `allow` is less than all addresses of a family."""
    return bool(allow) and all(
        network.prefixlen
        for networks in (
            collapse_addresses(_of(IPv4Network, allow)),
            collapse_addresses(_of(IPv6Network, allow)),
        )
        for network in networks
    )


def _of(family: Any, networks: Iterable[Network]) -> Iterator[Any]:
    return (network for network in networks if isinstance(network, family))


def _reach_of_host(host: str) -> Reach:
    try:
        is_loopback = ip_address(host.partition("%")[0] or "0.0.0.0").is_loopback
    except ValueError:
        return Reach.UNKNOWN  # a name
    return Reach.LOCAL if is_loopback else Reach.REMOTE
