"""Every setting of the suite. The one place to look, and where ``suite.ini`` and the reference come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import Factory, evolve, frozen

from protosuite.extensions import BadExtension, Extended, Extension, find
from protosuite.hours import Hours, parse
from protosuite.settings import (
    ConfigurationError,
    Entries,
    Entry,
    Network,
    Problem,
    choice,
    count,
    endpoints,
    fields_of,
    fill,
    nearest,
    networks,
    opening,
    origins,
    read_environment,
    read_file,
    seconds,
    secret,
    setting,
    size,
    subset,
    switch,
    text,
    written,
)

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
        "Seconds that connections get to finish at a stop; what is left is cut off.",
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


def _listening_first(_: type, fields: list[Any]) -> list[Any]:
    """Where a service listens is the first of its settings, wherever its class says so."""
    return sorted(fields, key=lambda field: field.name != "listen")


@frozen(kw_only=True, field_transformer=_listening_first)
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


def _message_timeout() -> Any:
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


@frozen(kw_only=True, field_transformer=_listening_first)
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
    message_timeout: float = _message_timeout()
    idle_timeout: float = setting(
        31_536_000.0,
        seconds(0.1),
        "Seconds without a byte from a client after which it is closed. `ack_timeout` leaves little for it.",
    )
    max_line: int = setting(1024, size(256, 65_536), "Most bytes in one line from a client.")
    max_connections: int = setting(12_000, count(1, 1_000_000), "Most connections at once.")


@frozen(kw_only=True, field_transformer=_listening_first)
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


@frozen(kw_only=True, field_transformer=_listening_first)
class BusConfig(ServiceConfig):
    """``[bus]``: echo, add, publish and subscribe."""

    listen: tuple[str, ...] = listening_on(8081)
    max_message: int = setting(1 << 20, size(1 << 10, 64 << 20), "Most bytes in the body of one message.")
    message_timeout: float = _message_timeout()
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


@frozen(kw_only=True, field_transformer=_listening_first)
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


@frozen(kw_only=True, field_transformer=_listening_first)
class WebConfig(HttpConfig):
    """What the services that speak HTTP and WebSocket share."""

    max_message: int = setting(
        64 << 10, size(1 << 10, 64 << 20), "Most bytes in one WebSocket message of a client."
    )
    message_timeout: float = _message_timeout()
    max_backlog: int = setting(
        4 << 20,
        size(64 << 10, 1 << 40),
        "Bytes that wait for a connection that does not read; above it the connection is cut off.",
    )
    ping_interval: float = setting(
        20.0, seconds(0.1), "Seconds without a sign of life after which a WebSocket is asked for one."
    )
    ping_timeout: float = setting(20.0, seconds(0.1), "Seconds after which it is given up then.")
    compression: bool = setting(
        False,
        switch(),
        "Compress long WebSocket messages (permessage-deflate): less traffic, more CPU and memory.",
    )


@frozen(kw_only=True, field_transformer=_listening_first)
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


@frozen(kw_only=True, field_transformer=_listening_first)
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
        512 << 10,
        size(64 << 10, 1 << 30),
        "Bytes of one upload that wait for the disk; above it the connection is not read.",
    )
    max_pending: int = setting(
        1000,
        count(1, 1_000_000),
        "Texts of one connection that wait to be stored; above it the connection is not read.",
    )
    media: str = setting(
        "local",
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


@frozen(kw_only=True, field_transformer=_listening_first)
class AdminConfig(HttpConfig):
    """``[admin]``: health, metrics and the dashboard, for those who run the suite."""

    listen: tuple[str, ...] = listening_on(8001)
    min_free: int = setting(
        64 << 20,
        size(0, 1 << 50),
        "Bytes that must be free on the disk of the data; with less, /readyz says that it is not ready.",
    )
    probe_timeout: float = setting(
        2.0,
        seconds(0.05, 60),
        "Seconds for which /readyz waits for the database and the disk; what has not answered is not ready.",
    )
    max_connections: int = setting(200, count(1, 1_000_000), "Most connections at once; more are closed.")


@frozen
class Config:
    """A whole configuration, checked: one attribute a section."""

    suite: SuiteConfig = Factory(SuiteConfig)
    numbers: NumbersConfig = Factory(NumbersConfig)
    counter: CounterConfig = Factory(CounterConfig)
    bus: BusConfig = Factory(BusConfig)
    chatlog: ChatLogConfig = Factory(ChatLogConfig)
    admin: AdminConfig = Factory(AdminConfig)
    mediachat: MediaChatConfig = Factory(MediaChatConfig)
    auth: AuthConfig = Factory(AuthConfig)
    extensions: tuple[Extended, ...] = ()  # those that it names

    def section(self, name: str) -> Any:
        """A section by its name."""
        extended = self.extended(name)
        return getattr(self, name) if extended is None else extended.config

    def extended(self, name: str) -> Extended | None:
        """A service that does not come with the suite, by its name; None if it does."""
        return next((each for each in self.extensions if each.name == name), None)

    def sections(self) -> dict[str, Any]:
        """All of them by name."""
        own = {name: getattr(self, name) for name in SECTIONS}
        return own | {each.name: each.config for each in self.extensions}

    def written(self) -> str:
        """The text of a ``suite.ini`` that says all of this, comments included."""
        lines = [
            "# Every setting of protosuite. What is left out keeps its default.",
            "# PROTOSUITE_<SECTION>_<KEY> in the environment overrides a value: PROTOSUITE_NUMBERS_WINDOW=8",
            "# `twistd protosuite --check --config FILE` checks a file, `--print-config` prints it all.",
            "",
        ]
        for name, section in self.sections().items():
            lines.extend(written(name, section))
        return "\n".join(lines)


SECTIONS: dict[str, type] = {
    "suite": SuiteConfig,
    "auth": AuthConfig,
    "numbers": NumbersConfig,
    "counter": CounterConfig,
    "bus": BusConfig,
    "chatlog": ChatLogConfig,
    "mediachat": MediaChatConfig,
    "admin": AdminConfig,
}


Check = Callable[["Config"], Iterable[tuple[str, str, str]]]


def load(file: str | None, environment: Mapping[str, str], check: Check | None = None) -> Config:
    """The configuration from `file` (None: defaults alone) with the environment over it.

    `check` finds what cannot be seen from one value alone: (section, key, sentence) for each problem.
    Raises :exc:`ConfigurationError` with every problem of every sort.
    """
    problems: list[Problem] = []
    known = _Sections()
    entries = read_file(file, known, problems) if file else {}
    first = fill("suite", SuiteConfig, entries | read_environment(environment, SECTIONS, []), [])
    missing = [name for name in first.services if not known.look_for(name)]
    entries |= read_environment(environment, known, problems)
    values: dict[str, Any] = {name: fill(name, cls, entries, problems) for name, cls in known.items()}
    services = tuple(name for name in first.services if name in values)
    values["suite"] = evolve(values["suite"], services=services)
    extended = tuple(Extended(name, each, values.pop(name)) for name, each in known.extensions.items())
    config = Config(**values, extensions=extended)
    problems += _unusable(entries, known, missing, file or "the environment")
    for section, key, what in check(config) if check else ():
        entry = entries.get((section, key), Entry("", "the defaults", 0))
        problems.append(Problem(entry.source, entry.line, what))
    if problems:
        raise ConfigurationError(sorted(problems, key=lambda p: (p.source, p.line)))
    return config


class _Sections(dict[str, type]):
    """The sections that there are, by name. What is not among those of the suite is looked for elsewhere."""

    def __init__(self) -> None:
        super().__init__(SECTIONS)
        self.extensions: dict[str, Extension] = {}
        self.bad: dict[str, str] = {}  # what is wrong with a service that was named

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and self.look_for(name))

    def look_for(self, name: str) -> bool:
        """Whether there is a section of that name, be it one that cannot be used."""
        if super().__contains__(name) or name in self.bad:
            return True
        try:
            extension = find(name)
        except BadExtension as error:
            self.bad[name] = str(error)
            return True
        if extension is None:
            return False
        if not (isinstance(extension.config, type) and issubclass(extension.config, ServiceConfig)):
            self.bad[name] = f"the service {name} cannot be used: its section is no ServiceConfig"
            return True
        self.extensions[name] = extension
        self[name] = extension.config
        return True


def _unusable(entries: Entries, known: _Sections, missing: Sequence[str], source: str) -> Iterator[Problem]:
    """What is wrong with the services that were named, and are not among those of the suite."""
    named = entries.get(("suite", "services"), Entry("", source, 0))
    for name, why in known.bad.items():
        at = next((entry for (section, _), entry in entries.items() if section == name), named)
        yield Problem(at.source, at.line, why)
    for name in missing:
        allowed = fields_of(SuiteConfig)["services"][1].allowed
        what = f"[suite] services = {named.value!r}: must be {allowed}; no service {name} is installed"
        close = nearest(name, dict.fromkeys((*SERVICES, *known.extensions)))
        yield Problem(named.source, named.line, what + (close if "did you" in close else ""))
