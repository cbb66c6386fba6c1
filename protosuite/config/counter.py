"""The settings of ``counter``."""

from __future__ import annotations

from attrs import frozen

from protosuite.config.service import ServiceConfig, listening_first, listening_on
from protosuite.settings import choice, count, seconds, setting, size


@frozen(kw_only=True, field_transformer=listening_first)
class CounterConfig(ServiceConfig):
    """``[counter]``: one shared 64-bit counter."""

    listen: tuple[str, ...] = listening_on(8080)
    durability: str = setting(
        "everysec",
        choice("always", "everysec", "no"),
        "When the total is on stable storage: before each reply, once a second, or at a clean stop only."
        " Where it is in the Redis of [suite] fabric: what that has to promise.",
    )
    sync_interval: float = setting(
        0.5,
        seconds(0.01, 1),
        "Seconds from one sync to the next with durability = everysec; with a Redis, from one note in the"
        " database of how far the total has got to the next.",
    )
    engine_timeout: float = setting(
        5.0,
        seconds(0.05, 600),
        "Seconds that a request waits where the total is in the Redis of [suite] fabric, and that is away;"
        " then its connection is closed.",
    )
    frame_timeout: float = setting(2.0, seconds(0.01), "Seconds from the first byte of a frame to its last.")
    max_backlog: int = setting(
        64 << 10,
        size(1 << 10, 1 << 30),
        "Replies waiting for one connection, in bytes, before the server stops reading from it.",
    )
    workers: int = setting(
        1,
        count(1, 64),
        "Processes that serve connections. 1: the suite's own; with more, as many of theirs, which share the"
        " counter. Not with durability = always, nor with a Redis as [suite] fabric.",
    )
    max_connections: int = setting(4_000, count(1, 1_000_000), "Most connections at once; more are closed.")
