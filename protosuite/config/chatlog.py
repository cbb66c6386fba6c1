"""The settings of ``chatlog``."""

from __future__ import annotations

from attrs import frozen

from protosuite.config.service import WebConfig, listening_first, listening_on
from protosuite.settings import count, seconds, setting, size


@frozen(kw_only=True, field_transformer=listening_first)
class ChatLogConfig(WebConfig):
    """``[chatlog]``: a totally ordered, durable log a room."""

    listen: tuple[str, ...] = listening_on(8082)
    max_message: int = setting(64 << 10, size(1 << 10, 16 << 20), "Most bytes in one message of a client.")
    max_entries: int = setting(1000, count(1, 100_000), "Most entries in one reply.")
    max_reply: int = setting(
        1 << 20, size(1 << 10, 64 << 20), "Most bytes of entries in one reply; a single one may be more."
    )
    reorder_limit: int = setting(
        64, count(0, 10_000), "How far an append may be ahead of one that is missing."
    )
    max_unacknowledged: int = setting(
        1000,
        count(1, 1_000_000),
        "Appends of one connection that wait to be stored; above it the connection is not read.",
    )
    max_batch: int = setting(1000, count(1, 10_000), "Most appends in one commit.")
    cache_entries: int = setting(1000, count(0, 1_000_000), "Last entries of an open room kept in memory.")
    cache_bytes: int = setting(1 << 20, size(0, 1 << 40), "Most bytes of them, a room.")
    keep_entries: int = setting(
        0, count(0, 10**15), "Newest entries of a room that are kept; 0 keeps all of them."
    )
    keep_for: float = setting(
        0.0, seconds(0, 3e9), "Seconds for which entries are kept; 0 keeps them for ever."
    )
    sweep_interval: float = setting(
        60.0, seconds(0.1), "Seconds between two looks for entries that need not be kept."
    )
    max_rooms: int = setting(100_000, count(1, 1_000_000_000), "Most rooms; no more are made.")
