"""What all services share, and how one lets somebody in: ``[suite]`` and ``[auth]``."""

from __future__ import annotations

from attrs import frozen

from protosuite.settings import count, seconds, secret, setting, subset, switch, text

SERVICES = ("numbers", "counter", "bus", "chatlog", "mediachat", "admin")


@frozen
class SuiteConfig:
    """``[suite]``: what all services share."""

    services: tuple[str, ...] = setting(
        SERVICES,
        subset(*SERVICES, others="services that are installed"),
        "The services to run. `all` are those that come with the suite; others are named beside it.",
    )
    data: str = setting(
        "./protosuite-data",
        text("the path of a folder", r"[^\x00\n]+"),
        "Folder for everything that is kept. Made when missing; only one suite uses it at a time.",
    )
    database: str = setting(
        "sqlite:///protosuite.sqlite3",
        secret(
            "an SQLAlchemy URL that begins with sqlite:/// or postgresql+psycopg://",
            r"sqlite:///[^\x00\n?]+|postgresql\+psycopg://[^\x00\n\s]+",
        ),
        "Database URL. A relative SQLite path is inside the data folder. Several nodes may use one"
        " of PostgreSQL, whose password may be in a file that PGPASSFILE in the environment names.",
    )
    database_readers: int = setting(4, count(1, 64), "Threads that read the database.")
    database_timeout: float = setting(
        10.0,
        seconds(1, 600),
        "Seconds that a read or write may wait for PostgreSQL in all; while that is away they are tried again"
        " so long, and then fail.",
    )
    database_connect_timeout: float = setting(
        3.0, seconds(2, 60), "Seconds that one host of PostgreSQL has to accept a connection."
    )
    database_lock_timeout: float = setting(
        3.0,
        seconds(0.1, 60),
        "Seconds that PostgreSQL has a write wait for another node's, which is tried again then; and after"
        " which it takes its locks from a node that hangs in the midst of one.",
    )
    database_queue: int = setting(
        100_000,
        count(1, 10_000_000),
        "Writes, and as many reads, that may wait for the database; more are refused until there is room.",
    )
    fabric: str = setting(
        "local",
        secret(
            "local, or a URL that begins with redis://, rediss://, redis+sentinel:// or rediss+sentinel://",
            r"local|rediss?(\+sentinel)?://[^\x00\n\s]+",
        ),
        "How nodes that share a database hear of each other: through a Redis; local for a node alone.",
    )
    fabric_timeout: float = setting(
        2.0,
        seconds(0.05, 60),
        "Seconds that Redis has for an answer; then the connection is given up. Nobody waits for it.",
    )
    catch_up_interval: float = setting(
        5.0,
        seconds(0.1, 3600),
        "Seconds between two looks for what other nodes have stored and Redis has not told of.",
    )
    presence_ttl: float = setting(
        30.0,
        seconds(1, 3600),
        "Seconds after which others forget who was on a node that ended without a word.",
    )
    drain_delay: float = setting(
        0.0,
        seconds(0, 600),
        "Seconds at a stop for which all goes on and only /readyz says that it stops, so that a load balancer"
        " sends nobody any more.",
    )
    drain_timeout: float = setting(
        10.0,
        seconds(0.1, 600),
        "Seconds that connections get to finish at a stop; what is left is cut off. After that media that are"
        " being read or written get as long again.",
    )
    insecure: bool = setting(
        False,
        switch(),
        "Start even if anybody from elsewhere could use a service: without tokens, `allow` or client"
        " certificates. Every start warns of it.",
    )


@frozen
class AuthConfig:
    """``[auth]``: tokens, which say who somebody is."""

    secret_file: str = setting(
        "",
        text("the path of a file, or nothing", r"[^\x00\n]*"),
        "File of the keys that tokens are signed with, as protosuite-token init makes it. Without one nobody"
        " needs a token, and everybody may do everything.",
    )
    revocation_interval: float = setting(
        1.0,
        seconds(0.1, 60),
        "Seconds between two looks for tokens that have expired or were revoked; the connections that live"
        " on them are closed.",
    )
    secure_cookie: bool = setting(
        False,
        switch(),
        "Have browsers send the cookie of a login over TLS alone, also where the login came without it as far"
        " as the suite sees: behind a proxy that ends TLS.",
    )
