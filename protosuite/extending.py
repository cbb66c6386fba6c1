"""What a service of one's own is made of: all of it from here, under names that stay.

``docs/howto/extending.rst`` shows how; ``docs/examples/tally`` is a whole one.
"""

from protosuite.auth.guard import OPEN, Bearer, Guard
from protosuite.auth.rules import Rule, Scope, ServiceAction
from protosuite.config import ServiceConfig, listening_on
from protosuite.errors import Forbidden, Overloaded, PeerFault, StartError, StorageError, Unauthenticated
from protosuite.extensions import Extension, Migrations
from protosuite.figures import Figure, Histogram, counter, gauge, histogram
from protosuite.net.connection import Connection, PacedConnection
from protosuite.net.listening import ListeningService, Publish, unheard
from protosuite.net.reconnect import ResumingClientFactory
from protosuite.settings import choice, count, seconds, setting, size, switch, text
from protosuite.storage.database import Database
from protosuite.suite import Shared

__all__ = [
    "OPEN",
    "Bearer",
    "Connection",
    "Database",
    "Extension",
    "Figure",
    "Forbidden",
    "Guard",
    "Histogram",
    "ListeningService",
    "Migrations",
    "Overloaded",
    "PacedConnection",
    "PeerFault",
    "Publish",
    "ResumingClientFactory",
    "Rule",
    "Scope",
    "ServiceAction",
    "ServiceConfig",
    "Shared",
    "StartError",
    "StorageError",
    "Unauthenticated",
    "choice",
    "count",
    "counter",
    "gauge",
    "histogram",
    "listening_on",
    "seconds",
    "setting",
    "size",
    "switch",
    "text",
    "unheard",
]
