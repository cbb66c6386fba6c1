"""A service that listens on endpoints, lets connections in, counts them, and drains them when it stops."""

from __future__ import annotations

import os
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.config import ServiceConfig
from protosuite.errors import PeerFault, StartError
from protosuite.figures import Figure, Histogram, Kind, Refusal, Traffic, counter, gauge, histogram, split
from protosuite.files import descriptors_are_scarce
from protosuite.logs import Muffled
from protosuite.net.connection import Connection
from protosuite.net.limits import Door
from protosuite.net.prompt import make_prompt
from protosuite.net.proxied import server_from_string
from protosuite.net.tls import innermost, is_proxied

# Connections that wait to be accepted, where the endpoint does not say. With Twisted's 50, when 2,000 clients
# came back at once the last of them had to wait for half a minute: the kernel drops what it cannot queue.
BACKLOG = 1024
_PLAIN = ("tcp", "tcp6", "unix", "systemd")  # endpoints that take it that a factory builds nothing
_PROBES = 6  # for a sign of life
_MAX_PATH = 107  # bytes of a UNIX socket's path: so much has the system's structure room for, and its end
_RECENT = 20  # refusals that are kept to be looked at

T = TypeVar("T")

# A topic, and fields for JSON: how a service tells the others what happened.
Publish = Callable[[str, Mapping[str, object]], None]


def unheard(topic: str, fields: Mapping[str, object]) -> None:
    """A `Publish` where there is no bus."""


class ListeningService(Service):
    """Listens on several endpoints, within the limits of `config`.

    The sockets are bound in :meth:`privilegedStartService`, before a change of user; what fails there
    is a :exc:`StartError`. `reactor` provides the time and whatever the endpoints ask for. `refusals`
    counts, by code, what was refused or given up, and ``message-rate`` how often a connection was slowed.
    Connections send at once what they are given, unless `sends_at_once` says otherwise.
    """

    sends_at_once = True

    def __init__(self, name: str, reactor: Any, config: ServiceConfig) -> None:
        self.setName(name)
        self.log = Logger(namespace=f"protosuite.{name}")
        self.strangers = Muffled(self.log, reactor)  # for what they cause
        self.reactor = reactor
        self.limits = config
        self.door = Door(config.allow, config.max_connections, config.max_connections_per_address)
        self.connections: set[Connection] = set()
        self.refusals: Counter[str] = Counter()
        self.recent: deque[Refusal] = deque(maxlen=_RECENT)  # the last of them
        self.traffic = Traffic()
        self.latency = Histogram()  # of what clients wait for; see `timed`
        self.ports: list[IListeningPort] = []
        self._drained: Deferred[None] | None = None

    def connection(self, address: IAddress | None) -> Connection:
        """A new connection, for a factory."""
        raise NotImplementedError

    def factory(self, endpoint: str = "tcp:0") -> ConnectionFactory:
        """What builds this service's connections on an endpoint."""
        return ConnectionFactory(self.connection, self._shortage, endpoint)

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        for endpoint in self.limits.listen:
            factory = self.factory(endpoint)
            listening = server_endpoint(self.reactor, str(self.name), endpoint).listen(factory)
            listening.addCallback(self._opened, endpoint)
            failures: list[Failure] = []
            if listening.called:
                listening.addErrback(failures.append)
            else:  # an endpoint of others', which takes its time
                listening.addErrback(self._not_opened, endpoint)
            if failures:
                raise StartError(_why(str(self.name), endpoint, failures[0]))

    def _not_opened(self, failure: Failure, endpoint: str) -> None:
        self.log.error("{why}", why=_why(str(self.name), endpoint, failure))

    def _opened(self, port: IListeningPort, endpoint: str) -> None:
        self.ports.append(port)
        if self.sends_at_once:
            make_prompt(port)
        listening = getattr(port, "socket", None)
        if listening is not None:
            if "backlog=" not in endpoint:
                listening.listen(BACKLOG)  # a second call changes it
            if listening.family != socket.AF_UNIX:
                _keep_alive(listening, self.limits.keepalive)

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        if self.refusals:
            counts = ", ".join(f"{code} {count}" for code, count in sorted(self.refusals.items()))
            self.log.info("refused or given up: {counts}", counts=counts)
        return None

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
            try:
                connection.shut_down()
            except Exception:  # the others are to be told all the same
                self.log.failure("{peer} could not be told that the service stops", peer=connection.peer)
                connection.transport.abortConnection()

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

    # For whoever looks after the suite.

    def figures(self) -> Iterator[Figure]:
        """What this service has to tell. A subclass adds what only it has."""
        name = str(self.name)
        traffic = self.traffic
        yield gauge("connections", "Connections that are open.", len(self.connections), service=name)
        yield gauge(
            "connections_limit", "Most connections at once.", self.limits.max_connections, service=name
        )
        for key, doc, value in (
            ("connections_accepted_total", "Connections that were let in.", traffic.accepted),
            ("messages_total", "Messages of clients; a request of HTTP is one.", traffic.messages),
            ("received_bytes_total", "Bytes that came.", traffic.received),
            ("sent_bytes_total", "Bytes that were written.", traffic.sent),
        ):
            yield counter(key, doc, value, service=name)
        doc = "What was refused or given up, by its code; message-rate is how often a client was slowed down."
        yield split(Kind.COUNTER, "refusals_total", doc, "code", self.refusals, service=name)
        doc = "Seconds from what a client asks of the storage to the storage's answer."
        yield histogram("storage_answer_seconds", doc, self.latency, service=name)

    def overview(self) -> Mapping[str, object]:
        """What a person wants to see of this service at a glance, as JSON has it. It does not block.

        It is made anew for each call: what reads it, maybe in a thread, finds it as it was.
        """
        return {}

    def timed(self, answer: Deferred[T]) -> Deferred[T]:
        """`answer`, which a client waits for; how long it takes is counted."""
        began = self.reactor.seconds()

        def came(outcome: T) -> T:
            self.latency.observe(self.reactor.seconds() - began)
            return outcome

        return answer.addBoth(came)

    def stop_begins(self) -> None:
        """The suite is about to stop; until then all goes on."""

    # For the connections.

    def joined(self, connection: Connection) -> PeerFault | None:
        """A connection is open, or has said where it comes from; or why it may not stay."""
        if connection in self.connections:
            self.door.leave(None)  # its address was not known
            self.connections.discard(connection)
            self.traffic.accepted -= 1
        refusal = self.door.enter(connection.host)
        if refusal is not None:
            return PeerFault(*refusal)
        self.connections.add(connection)
        self.traffic.accepted += 1
        return None

    def left(self, connection: Connection) -> None:
        """A connection is gone."""
        if connection in self.connections:
            self.door.leave(connection.host)
            self.connections.discard(connection)
        if self._drained is not None and not self.connections:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def turned_down(self, peer: str, code: str, reason: str) -> bool:
        """Count something that was refused or given up; whether it was logged, too."""
        self.refusals[code] += 1
        self.recent.append(Refusal(self.reactor.seconds(), peer, code, reason))
        return self.strangers.info("{peer} refused: {code}: {reason}", peer=peer, code=code, reason=reason)

    def _shortage(self, address: IAddress | None) -> None:
        peer = getattr(address, "host", None) or "local"
        self.turned_down(peer, "overloaded", "too many files are open; try again later")

    def slowed_down(self) -> None:
        """Count a connection that is read no faster than its rate."""
        self.refusals["message-rate"] += 1


class ConnectionFactory(Factory):
    """Builds connections with `build`; while there are too many files, it calls `shortage` instead."""

    noisy = False

    def __init__(
        self,
        build: Callable[[IAddress | None], Connection],
        shortage: Callable[[IAddress | None], object] = lambda address: None,
        endpoint: str = "tcp:0",
    ) -> None:
        self._build = build
        self._shortage = shortage
        self._is_proxied = is_proxied(endpoint)
        self._is_plain = not self._is_proxied and innermost(endpoint)[0][0] in _PLAIN

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        if descriptors_are_scarce():
            self._shortage(addr)
            return None if self._is_plain else _Refused()
        connection = self._build(addr)
        connection.is_proxied = self._is_proxied
        return connection


class _Refused(Protocol):
    """A connection that is cut where a factory cannot have its socket closed by building nothing."""

    transport: Any

    def connectionMade(self) -> None:
        self.transport.abortConnection()


def _keep_alive(listening: socket.socket, seconds: float) -> None:
    """Have a silent peer asked for a sign of life after `seconds`, and given up after as long again.

    Connections have it from the socket that accepts them. Keepalive asks only where nothing is on its way;
    for what is, there is the user timeout.
    """
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", int(seconds)),
        ("TCP_KEEPINTVL", max(1, int(seconds / _PROBES))),
        ("TCP_KEEPCNT", _PROBES),
        ("TCP_USER_TIMEOUT", int(2000 * seconds)),
    ):
        if hasattr(socket, name):  # Linux has all of them
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def server_endpoint(reactor: Any, section: str, endpoint: str) -> Any:
    """The endpoint for a string of the configuration; :exc:`StartError` names the setting if it is none."""
    try:
        made = server_from_string(reactor, endpoint)
        _check_path(endpoint)
        return made
    except StartError as error:  # of an endpoint of ours
        reason = str(error)
    except Exception as error:  # each plugin raises what it likes
        reason = f"{type(error).__name__}: {error}"
        if innermost(endpoint)[0][0] == "systemd" and isinstance(error, LookupError):
            reason = "the service manager has passed no such socket"
    raise StartError(f"[{section}] listen = {endpoint}: not a usable endpoint ({reason})")


def _check_path(endpoint: str) -> None:
    """:exc:`StartError` where a UNIX socket cannot have the path that it is to have."""
    (kind, *positional), named = innermost(endpoint)
    path = positional[0] if positional else named.get("address", "")
    length = len(os.fsencode(path)) if kind == "unix" else 0
    if length > _MAX_PATH:
        raise StartError(f"the path has {length} bytes, and that of a UNIX socket at most {_MAX_PATH}")


def _why(section: str, endpoint: str, failure: Failure) -> str:
    error = failure.value
    cause = error.socketError if isinstance(error, CannotListenError) else error
    reason = getattr(cause, "strerror", None) or str(cause)
    return f"cannot listen on {endpoint} ({reason}): change [{section}] listen, or stop what uses it"


def _address(port: IListeningPort) -> str:
    host: Any = port.getHost()
    if hasattr(host, "host"):
        return f"{host.type.lower()} {host.host}:{host.port}"
    return f"unix {os.fsdecode(getattr(host, 'name', None) or '')}"
