"""What a service of one's own is made of: all of it from here, under names that stay.

``docs/howto/extending.rst`` shows how; ``docs/examples/tally`` is a whole one, ``docs/examples/board`` is one
over HTTP and WebSocket.
"""

from protosuite.auth.guard import OPEN, Bearer, Guard
from protosuite.auth.rules import Rule, Scope, ServiceAction
from protosuite.auth.tokens import Identity
from protosuite.config import HttpConfig, ServiceConfig, WebConfig, listening_on
from protosuite.errors import Forbidden, Overloaded, PeerFault, StartError, StorageError, Unauthenticated
from protosuite.extensions import Extension, Migrations
from protosuite.figures import Figure, Histogram, counter, gauge, histogram
from protosuite.net.access import Access
from protosuite.net.api import Api, Problem, body, integer, word
from protosuite.net.connection import Connection, PacedConnection
from protosuite.net.listening import ListeningService, Publish, unheard
from protosuite.net.login import add_login
from protosuite.net.pages import Pages
from protosuite.net.reconnect import ResumingClientFactory
from protosuite.net.web_service import HttpService, WebService
from protosuite.net.websocket import GOING_AWAY, UNAUTHENTICATED, Talk, WebSocket
from protosuite.settings import choice, count, seconds, setting, size, switch, text
from protosuite.storage.database import Database
from protosuite.suite import Shared

__all__ = [
    "GOING_AWAY",
    "OPEN",
    "UNAUTHENTICATED",
    "Access",
    "Api",
    "Bearer",
    "Connection",
    "Database",
    "Extension",
    "Figure",
    "Forbidden",
    "Guard",
    "Histogram",
    "HttpConfig",
    "HttpService",
    "Identity",
    "ListeningService",
    "Migrations",
    "Overloaded",
    "PacedConnection",
    "Pages",
    "PeerFault",
    "Problem",
    "Publish",
    "ResumingClientFactory",
    "Rule",
    "Scope",
    "ServiceAction",
    "ServiceConfig",
    "Shared",
    "StartError",
    "StorageError",
    "Talk",
    "Unauthenticated",
    "WebConfig",
    "WebService",
    "WebSocket",
    "add_login",
    "body",
    "choice",
    "count",
    "counter",
    "gauge",
    "histogram",
    "integer",
    "listening_on",
    "seconds",
    "setting",
    "size",
    "switch",
    "text",
    "unheard",
    "word",
]
