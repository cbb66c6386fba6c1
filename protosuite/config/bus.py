"""The settings of ``bus``."""

from __future__ import annotations

from attrs import frozen

from protosuite.config.service import ServiceConfig, first_byte_to_last, listening_first, listening_on
from protosuite.settings import count, seconds, setting, size


@frozen(kw_only=True, field_transformer=listening_first)
class BusConfig(ServiceConfig):
    """``[bus]``: echo, add, publish and subscribe."""

    listen: tuple[str, ...] = listening_on(8081)
    max_message: int = setting(1 << 20, size(1 << 10, 64 << 20), "Most bytes in the body of one message.")
    message_timeout: float = first_byte_to_last()
    depth: int = setting(
        1000, count(1, 1_000_000), "Events waiting for a best-effort subscription that says none."
    )
    max_depth: int = setting(
        10_000, count(1, 1_000_000), "Most events that a subscription may ask to have waiting."
    )
    max_backlog: int = setting(
        16 << 20,
        size(1 << 10, 1 << 30),
        "Events waiting for one connection, in bytes; above it the oldest go.",
    )
    prefetch: int = setting(
        100, count(1, 1_000_000), "Unacknowledged events of a durable subscription that says none."
    )
    max_prefetch: int = setting(10_000, count(1, 1_000_000), "Most that a durable subscription may ask for.")
    retain: int = setting(100, count(0, 100_000), "Last events of each topic that are kept for replay.")
    max_retained: int = setting(
        64 << 20, size(0, 1 << 40), "Events kept for replay, in bytes, of all topics."
    )
    max_topics: int = setting(
        10_000, count(1, 10_000_000), "Topics remembered; above it the least recent go."
    )
    max_subscriptions: int = setting(1000, count(1, 1_000_000), "Most subscriptions of one connection.")
    max_durables: int = setting(1000, count(1, 1_000_000), "Most durable subscriptions.")
    max_durable_events: int = setting(
        100_000,
        count(1, 1_000_000_000),
        "Unacknowledged events stored for one durable subscription; above it publishers wait.",
    )
    ack_timeout: float = setting(
        30.0, seconds(0.1), "Seconds until an event that is not acknowledged is delivered again."
    )
    node_timeout: float = setting(
        10.0,
        seconds(0.5),
        "Seconds of silence after which other nodes take one for dead, and deliver what it had.",
    )
    publish_timeout: float = setting(
        30.0,
        seconds(0.1),
        "Seconds that a publish waits for room in a durable subscription until it is refused.",
    )
    max_pending: int = setting(
        1000,
        count(1, 1_000_000),
        "Publishes of one connection that wait; above it the connection is not read.",
    )
    max_unstored: int = setting(
        64 << 20,
        size(1 << 20, 1 << 40),
        "Events on their way to the store, in bytes; above it publishers wait.",
    )
    max_connections: int = setting(3_000, count(1, 1_000_000), "Most connections at once.")
