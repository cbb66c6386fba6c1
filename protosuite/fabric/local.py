"""The fabric of one process: nodes that share its memory. A suite alone has one, and it costs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from protosuite.fabric.interface import Listener
from protosuite.figures import Figure


class Hub:
    """What nodes of one process share."""

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self.nodes: list[LocalFabric] = []

    def node(self, name: str) -> LocalFabric:
        """One more node."""
        self.nodes.append(LocalFabric(self, name))
        return self.nodes[-1]


class LocalFabric:
    """A :class:`~protosuite.fabric.interface.Fabric` that is always reachable and loses nothing.

    Others hear of what is published in the next turn of the reactor, as they would over a network.
    """

    is_reachable = True

    def __init__(self, hub: Hub, node: str) -> None:
        self.node = node
        self._hub = hub
        self._listeners: dict[str, list[Listener]] = {}
        self._groups: dict[str, set[str]] = {}

    @property
    def is_shared(self) -> bool:
        """Whether there are other nodes."""
        return len(self._hub.nodes) > 1

    def start(self) -> None:
        """There is nobody to look for."""

    def stop(self) -> Deferred[None]:
        """Leave."""
        if self in self._hub.nodes:
            self._hub.nodes.remove(self)
        left, self._groups = self._groups, {}
        for group in left:
            self.publish(group, 0)
        return succeed(None)

    def publish(self, topic: str, number: int) -> None:
        """Wake the others."""
        for other in self._hub.nodes:
            if other is not self and topic in other._listeners:
                self._hub.clock.callLater(0, other._wake, topic, number)

    def subscribe(self, topic: str, listener: Listener) -> None:
        """Wake `listener` from now on."""
        self._listeners.setdefault(topic, []).append(listener)
        if self.is_shared:
            self._hub.clock.callLater(0, self._begun, topic, listener)

    def unsubscribe(self, topic: str, listener: Listener) -> None:
        """Wake it no more."""
        listeners = self._listeners.get(topic, [])
        if listener in listeners:
            listeners.remove(listener)
        if not listeners:
            self._listeners.pop(topic, None)

    def enter(self, group: str, who: str) -> None:
        """`who` is in `group` here."""
        self._groups.setdefault(group, set()).add(who)
        self.publish(group, 0)

    def leave(self, group: str, who: str) -> None:
        """`who` is not there any more."""
        members = self._groups.get(group, set())
        members.discard(who)
        if not members:
            self._groups.pop(group, None)
        self.publish(group, 0)

    def present(self, group: str) -> Deferred[Mapping[str, frozenset[str]]]:
        """Who is in `group`, and where."""
        found: dict[str, frozenset[str]] = {}
        for fabric in self._hub.nodes:
            for who in fabric._groups.get(group, ()):
                found[who] = found.get(who, frozenset()) | {fabric.node}
        return succeed(found)

    def health(self) -> Deferred[str | None]:
        """Nothing can be wrong."""
        return succeed(None)

    def figures(self) -> Iterable[Figure]:
        """There is nothing to tell."""
        return ()

    def _wake(self, topic: str, number: int) -> None:
        for listener in list(self._listeners.get(topic, ())):
            listener.woken(topic, number)

    def _begun(self, topic: str, listener: Listener) -> None:
        if listener in self._listeners.get(topic, ()):
            listener.catch_up([topic])
