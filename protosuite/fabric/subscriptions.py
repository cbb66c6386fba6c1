"""Which topics a node wants to hear of, and of which it does hear."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from protosuite.fabric.interface import Listener
from protosuite.fabric.link import log

_CHUNK = 500  # channels of one command


class Subscriptions:
    """Listeners by topic. `tell` sends a command; channels are topics behind `prefix`, and `everybody`.

    A listener is told to catch up when its topic stands: what came before may have been missed.
    """

    def __init__(self, tell: Callable[..., None], prefix: str, everybody: str, reactor: Any) -> None:
        self.catch_ups = 0
        self._tell = tell
        self._prefix = prefix
        self._everybody = everybody
        self._reactor = reactor
        self._listeners: dict[str, list[Listener]] = {}
        self._asked: set[str] = set()  # topics that Redis was asked for
        self._standing: set[str] = set()  # and those of them that it has confirmed
        self._changed: dict[str, None] = {}
        self._behind: dict[str, None] = {}  # topics whose listeners have to catch up
        self._is_connected = False
        self._turn: Any = None

    def __len__(self) -> int:
        return len(self._listeners)

    def add(self, topic: str, listener: Listener) -> None:
        """`listener` wants to hear of `topic`."""
        self._listeners.setdefault(topic, []).append(listener)
        self._changed[topic] = None
        self._soon()

    def remove(self, topic: str, listener: Listener) -> None:
        """It does not any more."""
        listeners = self._listeners.get(topic, [])
        if listener in listeners:
            listeners.remove(listener)
        if not listeners:
            self._listeners.pop(topic, None)
            self._changed[topic] = None
            self._soon()

    def begin(self) -> None:
        """There is a new connection: ask for everything."""
        self._is_connected = True
        self._tell("SUBSCRIBE", self._everybody)
        self._changed = dict.fromkeys(self._listeners)
        self._soon()

    def end(self) -> None:
        """The connection is gone."""
        self._is_connected = False
        self._asked.clear()
        self._standing.clear()
        self._changed.clear()

    def stop(self) -> None:
        """Nobody listens any more."""
        self._listeners.clear()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def stands(self, topic: str) -> None:
        """Redis confirms: from now on everything is heard."""
        if topic in self._asked:
            self._standing.add(topic)
            self._behind[topic] = None
            self._soon()

    def wake(self, topic: str, number: int) -> None:
        """Another node has something new."""
        for listener in list(self._listeners.get(topic, ())):
            try:
                listener.woken(topic, number)
            except Exception:  # a defect of a listener's is not the connection's
                log.failure("a listener failed")

    def catch_up_all(self) -> None:
        """Anything may have been missed."""
        self._catch_up(self._listeners)

    def _soon(self) -> None:
        if self._turn is None:
            self._turn = self._reactor.callLater(0, self._do)

    def _do(self) -> None:
        """All that has changed in a turn, with few commands."""
        self._turn = None
        changed, self._changed = self._changed, {}
        if self._is_connected:
            self._ask(changed)
        behind, self._behind = self._behind, {}
        self._catch_up(topic for topic in behind if topic in self._listeners)

    def _ask(self, changed: Collection[str]) -> None:
        wanted = [topic for topic in changed if topic in self._listeners]
        self._send("SUBSCRIBE", [topic for topic in wanted if topic not in self._asked])
        self._behind |= dict.fromkeys(topic for topic in wanted if topic in self._standing)
        unwanted = [topic for topic in changed if topic not in self._listeners and topic in self._asked]
        self._send("UNSUBSCRIBE", unwanted)
        self._asked.update(wanted)
        self._asked.difference_update(unwanted)
        self._standing.difference_update(unwanted)

    def _send(self, command: str, topics: list[str]) -> None:
        for start in range(0, len(topics), _CHUNK):
            self._tell(command, *(self._prefix + topic for topic in topics[start : start + _CHUNK]))

    def _catch_up(self, topics: Iterable[str]) -> None:
        """Tell each listener once, of all of its topics."""
        behind: dict[Listener, list[str]] = {}
        for topic in topics:
            for listener in self._listeners[topic]:
                behind.setdefault(listener, []).append(topic)
        for listener, own in behind.items():
            self.catch_ups += 1
            try:
                listener.catch_up(own)
            except Exception:
                log.failure("a listener could not catch up")
