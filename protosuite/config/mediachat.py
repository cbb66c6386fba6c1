"""The settings of ``mediachat``."""

from __future__ import annotations

from attrs import frozen

from protosuite.config.service import WebConfig, listening_first, listening_on
from protosuite.hours import Hours, parse
from protosuite.settings import count, opening, seconds, secret, setting, size

LOCAL = "local"  # of `media`: in the data folder


@frozen(kw_only=True, field_transformer=listening_first)
class MediaChatConfig(WebConfig):
    """``[mediachat]``: text and media between clients and the people who answer."""

    listen: tuple[str, ...] = listening_on(8000)
    hours_text: Hours = setting(
        parse("05:00-23:59"), opening(), "When text is taken, by the clock of the client's zone."
    )
    hours_voice: Hours = setting(
        parse("08:00-12:00"), opening(), "When voice is taken, by the clock of the client's zone."
    )
    hours_image: Hours = setting(
        parse("08:00-23:59"), opening(), "When an image is taken, by the clock of the client's zone."
    )
    hours_file: Hours = setting(
        parse("08:00-23:59"), opening(), "When a file is taken, by the clock of the client's zone."
    )
    hours_video: Hours = setting(
        parse("08:00-23:59"), opening(), "When video is taken, by the clock of the client's zone."
    )
    hello_timeout: float = setting(10.0, seconds(0.1), "Seconds that a client has to say its time zone.")
    ping_interval: float = setting(
        10.0, seconds(0.1), "Seconds without a sign of life after which a WebSocket is asked for one."
    )
    max_message: int = setting(
        1 << 20, size(64 << 10, 64 << 20), "Most bytes in one WebSocket message; media come in many."
    )
    max_media: int = setting(256 << 20, size(1, 1 << 40), "Most bytes of one media message.")
    quota_per_chat: int = setting(4 << 30, size(1, 1 << 50), "Most bytes of media in one chat.")
    min_rate: int = setting(
        8 << 10,
        size(1, 1 << 30),
        "Bytes of a posted file that have to come in a second, on the whole, after `handshake_timeout`.",
    )
    max_unwritten: int = setting(
        2 << 20,
        size(64 << 10, 1 << 30),
        "Bytes of one upload that wait for the disk; above it the connection is not read.",
    )
    max_unwritten_total: int = setting(
        64 << 20,
        size(1 << 20, 1 << 40),
        "Bytes that wait for the disk of all uploads: each has its share of this, but 64 KiB at least.",
    )
    max_pending: int = setting(
        1000,
        count(1, 1_000_000),
        "Texts of one connection that wait to be stored; above it the connection is not read.",
    )
    media: str = setting(
        LOCAL,
        secret(
            "local, the path of a folder from / on, or a URL as s3://BUCKET/PREFIX?endpoint=https://HOST",
            r"local|/[^\x00\n]*|s3://[^\x00\n\s]+",
        ),
        "Where media are kept: local, in the data folder; or, for several nodes, in a folder that they share,"
        " or in a bucket of something that speaks S3, whose credentials come from where AWS looks for them.",
    )
    media_part: int = setting(
        8 << 20,
        size(5 << 20, 1 << 30),
        "Bytes of an upload that go to S3 at once, or are synced at once in a shared folder: what at most has"
        " to be sent again when it is broken off.",
    )
    media_timeout: float = setting(
        10.0,
        seconds(0.1, 600),
        "Seconds that S3 has to take a connection, and to go on with an answer; it is tried three times.",
    )
    media_threads: int = setting(4, count(1, 64), "Threads that read and write media, one request each.")
    upload_ttl: float = setting(
        86_400.0, seconds(60), "Seconds for which an upload that was broken off can be continued."
    )
    sweep_interval: float = setting(
        3600.0, seconds(1), "Seconds between two looks for files that need not be kept."
    )
