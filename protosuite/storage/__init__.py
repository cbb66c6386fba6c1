"""One database for the whole suite: many requests share one commit, and no request waits on the reactor.

``workers`` runs work in threads (or by hand, in tests), ``database`` queues reads and writes and
commits in groups, ``sqlite`` makes engines, ``migrations`` brings the schema up to date at start.
"""

from protosuite.storage.database import Database
from protosuite.storage.schema import metadata

__all__ = ["Database", "metadata"]
