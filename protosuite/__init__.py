"""A suite of network services in one Twisted reactor.

Who knows one service's folder knows them all::

    tap, cli ──► suite ──► <service>/server, client ──► <core>, store ──► wire
                   │
                   └─────► net, auth, storage, fabric               (beneath all of them)

``numbers``, ``counter``, ``bus``, ``chatlog``, ``mediachat``
    The services. Each has ``wire`` (bytes to messages and back, pure), a core named after its
    thing (``sequence``, ``ledger``, ``broker``, ``sequencer``, ``conversation``: the rules, pure),
    ``store`` (its tables and statements), ``server`` and ``client`` (protocols and factories: they
    move bytes), ``cli`` (the program), ``overview`` (what it tells of itself), and ``pages`` where there
    are any.
``admin``
    The service that tells how the others are: health, metrics, a dashboard.
``net``
    What connections share: listening, draining, limits, reconnecting; WebSockets, HTTP and pages.
``auth``
    Who somebody is and what they may do: signed tokens, the one table of roles, what was revoked.
``storage``
    One database: a pool of readers, one writer with group commit, migrations.
``fabric``
    How several nodes hear of each other: in one process, or through Redis.
``messages``, ``hours``, ``figures``, ``lull``
    JSON objects as checked values; opening hours in somebody's time zone; what there is to measure; waiting
    until nobody more comes who could share a commit.
``errors``, ``logs``, ``files``, ``ondemand``
    The exceptions that cross folders; the log, without secrets; files that are synced; names that are
    imported when somebody asks for them.
``program``, ``reaching``
    What the programs share: command lines, exit codes, Ctrl-C; how those reach their server that are clients,
    and their patience with it.
``backup``, ``moving``
    ``protosuite-backup``: a running suite into one file, and back. ``protosuite-migrate``: from SQLite to
    PostgreSQL.
``cert``
    ``protosuite-cert``: certificates for trying TLS.
``testing``
    What tests of one's own can use, too: networks that fail, connections and databases in memory.
``extensions``, ``extending``
    Services that come in packages of their own: how they are found, and what they are made of.
``config``, ``settings``
    ``suite.ini`` to frozen values; every setting with its default, unit and check.
``suite``, ``tap``
    Configuration to running services; ``tap`` is what ``twistd protosuite`` calls.
"""

__version__ = "1.0.0.dev0"
