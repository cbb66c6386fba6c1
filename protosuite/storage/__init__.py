"""One database for the whole suite: many requests share one commit, and no request waits on the reactor.

``workers`` runs work in threads (or by hand, in tests), ``database`` queues reads and writes and commits in
groups, ``measures`` is what it tells of that. ``engines`` says what a URL means: ``sqlite``, or
``postgresql`` with ``attempts`` (tried again while it is away), ``marks`` (was it committed?), ``overdue``
and ``timeouts`` (an end to each wait). ``migrate`` takes the data folder, looks for ``damage`` and brings
the ``schema`` up to date with ``migrations``. For the stores there are ``gathering``,
``locking``, ``prepared`` and ``upsert``.
"""

from protosuite.storage.database import Database
from protosuite.storage.schema import metadata

__all__ = ["Database", "metadata"]
