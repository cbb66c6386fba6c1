"""A proxy that does to connections what networks do. Ends may be lost, no byte is changed or repeated."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Protocol, ServerFactory

from protosuite.testing.faults import Act, Fate, Faults
from protosuite.testing.link import Link


class FaultProxy(ServerFactory):
    """Passes every connection that it accepts on to `port` of `host`, as `faults` have it.

    `random` decides all there is to decide: with the same seed the n-th connection has the same fate.
    `faults` can be changed at any time, for connections that come then. :attr:`links` are the connections
    that are open, for a test that does something to them itself; `acts` counts what was done.
    """

    noisy = False

    def __init__(
        self, reactor: Any, random: Random, port: int, faults: Faults | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.reactor = reactor
        self.faults = faults or Faults()
        self.target = (host, port)
        self.links: list[Link] = []
        self.acts: Counter[Act] = Counter()
        self.connections = 0
        self.port = 0
        self._random = random
        self._listening: IListeningPort | None = None
        self._held: list[Link] = []  # that are to be overtaken
        self._emptied: list[Deferred[None]] = []

    def listen(self) -> int:
        """Accept connections to 127.0.0.1; the port, which stays the same over all calls."""
        listening: Any = self.reactor.listenTCP(self.port, self, interface="127.0.0.1")
        self._listening = listening
        self.port = listening.getHost().port
        return self.port

    def refuse(self) -> Deferred[None]:
        """Refuse connections, until :meth:`listen` is called again. Those that are open stay."""
        listening, self._listening = self._listening, None
        if listening is None:
            return succeed(None)
        return maybeDeferred(listening.stopListening).addCallback(lambda _: None)

    def close(self) -> Deferred[None]:
        """Refuse connections and reset those that are open; fires when none is left."""
        emptied: Deferred[None] = Deferred()
        self._emptied.append(emptied)
        for link in self.links[:]:
            link.reset()
        self._tell()
        return gatherResults([self.refuse(), emptied]).addCallback(lambda _: None)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        self.connections += 1
        link = Link(self, Fate(self.faults, Random(self._random.getrandbits(64))), self.connections)
        self.links.append(link)
        return link.client

    def hold(self, link: Link) -> None:
        """`link` goes on when a later one has carried something."""
        self._held.append(link)

    def carried(self, link: Link) -> None:
        """`link` has carried something: those before it that were to be overtaken have been."""
        for other in self._held[:]:
            if other.number < link.number:
                other.let_go()

    def released(self, link: Link) -> None:
        """`link` need not be overtaken any more."""
        if link in self._held:
            self._held.remove(link)

    def gone(self, link: Link) -> None:
        """Both sides of `link` are closed."""
        self.links.remove(link)
        self.released(link)
        self._tell()

    def _tell(self) -> None:
        while self._emptied and not self.links:
            self._emptied.pop().callback(None)
