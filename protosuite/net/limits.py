"""Who may connect, how often, and how fast messages may come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv6Address, IPv6Network, ip_address

from protosuite.settings import Network

_HOST_BITS = 64  # of IPv6: who has one address there has all that share its first 64 bits


class Rate:
    """A bound on messages a second. A second's worth may come at once; what is more has to be waited for."""

    def __init__(self, per_second: int, now: float) -> None:
        self._per_second = per_second
        self._spent_until = now - 1.0  # when what was spent would have come at an even pace

    def spend(self, count: int, now: float) -> float:
        """Take `count` messages; how many seconds nothing more is to be read then."""
        self._spent_until = max(self._spent_until, now - 1.0) + count / self._per_second
        return max(0.0, self._spent_until - now)


class Door:
    """Lets connections in: from `allow` (empty: from everywhere), and no more than there is room for.

    `max_connections` at once, `per_address` (0: as many) from one IPv4 address or one IPv6 /64. Whoever has
    no address, on a UNIX socket, is subject to `max_connections` alone.
    """

    def __init__(self, allow: Sequence[Network], max_connections: int, per_address: int) -> None:
        self.max_connections = max_connections
        self._allow = allow
        self._per_address = per_address
        self._inside: Counter[str] = Counter()
        self._count = 0

    def enter(self, host: str | None) -> tuple[str, str] | None:
        """Let somebody in; or a code and a sentence that say why not."""
        if self._count >= self.max_connections:
            return "overloaded", "too many connections; try again later"
        if host is not None:
            if not self.allows(host):
                return "not-allowed", "this address may not connect"
            if self._per_address and self._inside[household(host)] >= self._per_address:
                return "overloaded", "too many connections from this address; try again later"
            self._inside[household(host)] += 1
        self._count += 1
        return None

    def leave(self, host: str | None) -> None:
        """Somebody who had been let in is gone."""
        self._count -= 1
        if host is not None:
            home = household(host)
            self._inside[home] -= 1
            if not self._inside[home]:
                del self._inside[home]

    def allows(self, host: str) -> bool:
        """Whether connections from this address are wanted."""
        if not self._allow:
            return True
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return any((mapped or address) in network for network in self._allow)


def household(host: str) -> str:
    """What addresses that belong together have in common."""
    if ":" not in host:
        return host
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address) >> _HOST_BITS << _HOST_BITS, 128 - _HOST_BITS)))
