"""What the sections of services have in common: of all, of those that speak HTTP, and WebSocket too."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from protosuite.settings import Network, count, endpoints, networks, origins, seconds, setting, size, switch


def listening_first(_: type, fields: list[Any]) -> list[Any]:
    """Where a service listens is the first of its settings, wherever its class says so."""
    return sorted(fields, key=lambda field: field.name != "listen")


@frozen(kw_only=True, field_transformer=listening_first)
class ServiceConfig:
    """What the sections of all services have: where to listen, and what a connection may cost."""

    listen: tuple[str, ...]
    allow: tuple[Network, ...] = setting(
        (), networks(), "Networks whose addresses may connect; none: every address may."
    )
    max_connections: int = setting(10_000, count(1, 1_000_000), "Most connections at once; more are closed.")
    max_connections_per_address: int = setting(
        0, count(0, 1_000_000), "Most of them from one IPv4 address, or one IPv6 /64; 0 for no such limit."
    )
    message_rate: int = setting(
        0,
        count(0, 100_000_000),
        "Messages a second that one connection may send on the whole; a faster one is read that slowly."
        " 0 for no limit.",
    )
    handshake_timeout: float = setting(
        60.0, seconds(0.1), "Seconds from its opening that a connection has for its first whole message."
    )
    idle_timeout: float = setting(
        3600.0,
        seconds(0.1),
        "Seconds without a byte from a client that waits for nothing, after which it is closed.",
    )
    write_timeout: float = setting(
        30.0,
        seconds(0.1),
        "Seconds without reading after which a connection that is sent something is cut off.",
    )
    keepalive: float = setting(
        60.0,
        seconds(6, 32_000),
        "Seconds of silence after which the system asks whether the other machine is still there;"
        " it is given up after as long again.",
    )
    close_timeout: float = setting(
        5.0, seconds(0.1), "Seconds that a peer has to close its side after the server closed its own."
    )


def first_byte_to_last() -> Any:
    return setting(
        60.0,
        seconds(0.1),
        "Seconds from the first byte of a message to its last, while the server reads.",
    )


def listening_on(port: int) -> Any:
    """The setting `listen` of a service whose port is `port` unless something else is said."""
    return setting(
        (f"tcp:{port}:interface=127.0.0.1",),
        endpoints(),
        "Where to listen; Twisted server endpoints, one a line.",
    )


@frozen(kw_only=True, field_transformer=listening_first)
class HttpConfig(ServiceConfig):
    """What the services that speak HTTP share."""

    origins: tuple[str, ...] = setting(
        (),
        origins(),
        "Pages that may connect besides our own, as https://chat.example.org. Our own may when the server is"
        " called by an address or as localhost; its own name behind a proxy has to be here.",
    )
    handshake_timeout: float = setting(
        10.0,
        seconds(0.1),
        "Seconds in which a whole HTTP request has to come: the first from the opening of its connection on,"
        " others from their first byte on.",
    )
    idle_timeout: float = setting(
        30.0,
        seconds(0.1),
        "Seconds that a connection is kept for another HTTP request; a WebSocket is kept anyway.",
    )


@frozen(kw_only=True, field_transformer=listening_first)
class WebConfig(HttpConfig):
    """What the services that speak HTTP and WebSocket share."""

    max_message: int = setting(
        64 << 10, size(1 << 10, 64 << 20), "Most bytes in one WebSocket message of a client."
    )
    message_timeout: float = first_byte_to_last()
    max_backlog: int = setting(
        4 << 20,
        size(64 << 10, 1 << 40),
        "Bytes that wait for a connection that does not read; above it the connection is cut off.",
    )
    ping_interval: float = setting(
        20.0, seconds(0.1), "Seconds without a sign of life after which a WebSocket is asked for one."
    )
    ping_timeout: float = setting(
        20.0,
        seconds(0.1),
        "Seconds that a silent WebSocket has to answer when it is asked for a sign of life;"
        " then it is given up.",
    )
    compression: bool = setting(
        False,
        switch(),
        "Compress long WebSocket messages (permessage-deflate): less traffic, more CPU and memory.",
    )
