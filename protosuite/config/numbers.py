"""The settings of ``numbers``."""

from __future__ import annotations

from attrs import frozen

from protosuite.config.service import ServiceConfig, first_byte_to_last, listening_first, listening_on
from protosuite.settings import count, seconds, setting, size


@frozen(kw_only=True, field_transformer=listening_first)
class NumbersConfig(ServiceConfig):
    """``[numbers]``: streams of numbers that resume."""

    listen: tuple[str, ...] = listening_on(5500)
    max_messages: int = setting(20, count(1, 65_535), "Most numbers in one stream.")
    interval: float = setting(1.0, seconds(0.001, 3600), "Seconds from one number to the next.")
    window: int = setting(64, count(1, 65_535), "Numbers sent and not acknowledged before the server waits.")
    ack_timeout: float = setting(
        60.0, seconds(0.1), "Seconds without an acknowledgement that is due before a connection is closed."
    )
    session_ttl: float = setting(86_400.0, seconds(1), "Seconds from its last use until a session expires.")
    sweep_interval: float = setting(600.0, seconds(0.1), "Seconds between removals of expired sessions.")
    flush_interval: float = setting(
        0.2,
        seconds(0, 60),
        "Seconds for which acknowledgements are gathered before they are stored. After a kill, a client that"
        " does not say what it has gets the numbers of so long again.",
    )
    handshake_timeout: float = setting(60.0, seconds(0.1), "Seconds that a connection has to send its start.")
    message_timeout: float = first_byte_to_last()
    idle_timeout: float = setting(
        31_536_000.0,
        seconds(0.1),
        "Seconds without a byte from a client after which it is closed. `ack_timeout` leaves little for it.",
    )
    max_line: int = setting(1024, size(256, 65_536), "Most bytes in one line from a client.")
    max_connections: int = setting(12_000, count(1, 1_000_000), "Most connections at once.")
