"""A service that listens on endpoints, counts its connections, and drains them when it stops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.errors import StartError
from protosuite.net.connection import Connection

# Connections that wait to be accepted, where the endpoint does not say. With Twisted's 50, when 2,000 clients
# came back at once the last of them had to wait for half a minute: the kernel drops what it cannot queue.
BACKLOG = 1024

# A topic, and fields for JSON: how a service tells the others what happened.
Publish = Callable[[str, Mapping[str, object]], None]


def unheard(topic: str, fields: Mapping[str, object]) -> None:
    """A `Publish` where there is no bus."""


class ListeningService(Service):
    """Listens with one factory on several endpoints.

    The sockets are bound in :meth:`privilegedStartService`, before a change of user; what fails there
    is a :exc:`StartError`. `reactor` provides the time and whatever the endpoints ask for.
    """

    def __init__(self, name: str, reactor: Any, listen: Sequence[str], max_connections: int) -> None:
        self.setName(name)
        self.log = Logger(namespace=f"protosuite.{name}")
        self.reactor = reactor
        self.listen = listen
        self.max_connections = max_connections
        self.connections: set[Connection] = set()
        self.ports: list[IListeningPort] = []
        self._drained: Deferred[None] | None = None

    def factory(self) -> IProtocolFactory:
        """The factory of this service's connections."""
        raise NotImplementedError

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        factory = self.factory()
        for endpoint in self.listen:
            listening = server_endpoint(self.reactor, str(self.name), endpoint).listen(factory)
            listening.addCallback(self._opened, endpoint)
            failures: list[Failure] = []
            listening.addErrback(failures.append)
            if failures:
                raise StartError(_why(str(self.name), endpoint, failures[0]))

    def _opened(self, port: IListeningPort, endpoint: str) -> None:
        self.ports.append(port)
        socket = getattr(port, "socket", None)
        if socket is not None and "backlog=" not in endpoint:
            socket.listen(BACKLOG)  # a second call changes it

    def addresses(self) -> str:
        """Where this service listens, for a person to read."""
        return ", ".join(str(_address(port)) for port in self.ports)

    def stop_listening(self) -> Deferred[None]:
        """Accept nothing more. Connections stay."""
        ports, self.ports = self.ports, []
        closing = [maybeDeferred(port.stopListening) for port in ports]
        return gatherResults(closing).addCallback(lambda _: None)

    def drain(self, timeout: float) -> Deferred[None]:
        """Shut every connection down; those that are not gone after `timeout` seconds are cut off.

        The Deferred fires when none is left.
        """
        drained: Deferred[None] = Deferred()
        if not self.connections:
            drained.callback(None)
            return drained
        self._drained = drained
        cutting: IDelayedCall = self.reactor.callLater(timeout, self._cut_off)
        for connection in list(self.connections):
            connection.shut_down()

        def done(_: None) -> None:
            if cutting.active():
                cutting.cancel()

        return drained.addCallback(done)

    def _cut_off(self) -> None:
        self.log.warn(
            "{count} connections did not finish in time and are cut off", count=len(self.connections)
        )
        for connection in list(self.connections):
            connection.transport.abortConnection()

    def joined(self, connection: Connection) -> None:
        """A connection is open."""
        self.connections.add(connection)

    def left(self, connection: Connection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if self._drained is not None and not self.connections:
            drained, self._drained = self._drained, None
            drained.callback(None)


def server_endpoint(reactor: Any, section: str, endpoint: str) -> Any:
    """The endpoint for a string of the configuration; :exc:`StartError` names the setting if it is none."""
    try:
        return serverFromString(reactor, endpoint)
    except Exception as error:  # each plugin raises what it likes
        reason = f"{type(error).__name__}: {error}"
        if endpoint.startswith("systemd:") and isinstance(error, LookupError):
            reason = "the service manager has passed no such socket"
        raise StartError(f"[{section}] listen = {endpoint}: not a usable endpoint ({reason})") from None


def _why(section: str, endpoint: str, failure: Failure) -> str:
    error = failure.value
    cause = error.socketError if isinstance(error, CannotListenError) else error
    reason = getattr(cause, "strerror", None) or str(cause)
    return f"cannot listen on {endpoint} ({reason}): change [{section}] listen, or stop what uses it"


def _address(port: IListeningPort) -> str:
    host: Any = port.getHost()
    if hasattr(host, "host"):
        return f"{host.type.lower()} {host.host}:{host.port}"
    return f"unix {getattr(host, 'name', host)}"
