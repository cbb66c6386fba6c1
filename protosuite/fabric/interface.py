"""What services see of the fabric, whichever it is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from protosuite.figures import Figure


@frozen
class Timing:
    """How patient a fabric is, in seconds: with one command, between two catch-ups, with a silent node."""

    timeout: float = 2.0
    catch_up_interval: float = 5.0
    presence_ttl: float = 30.0


class Listener(Protocol):
    """Who wants to know what other nodes do. Called in the reactor's thread, never from within `publish`."""

    def woken(self, topic: str, number: int) -> None:
        """Another node has stored something in `topic`, up to and including `number`.

        Numbers may come twice, late, or out of order, and some do not come at all.
        """

    def catch_up(self, topics: Collection[str]) -> None:
        """Wake-ups of these topics may have been lost: look into the database."""


class Fabric(Protocol):
    """One node's connection to the others. All of it is for the reactor's thread, and none of it waits."""

    node: str  # its name, drawn at its start

    @property
    def is_shared(self) -> bool:
        """Whether there may be others."""

    def start(self) -> None:
        """Look for the others. What is published and subscribed before is not lost."""

    def stop(self) -> Deferred[None]:
        """Leave. Fires soon, whatever the others do."""

    def publish(self, topic: str, number: int) -> None:
        """Wake the listeners of `topic` on other nodes: it has something new up to `number`.

        To be called when that is on stable storage. What cannot be told now is told later, or, when there is
        too much of it, left out: then everybody is told to catch up.
        """

    def subscribe(self, topic: str, listener: Listener) -> None:
        """Wake `listener` from now on. It is told to catch up as soon as nothing more can be missed."""

    def unsubscribe(self, topic: str, listener: Listener) -> None:
        """Wake it no more."""

    def enter(self, group: str, who: str) -> None:
        """`who` is in `group` on this node, until it leaves or the node is silent for too long.

        Entering twice is as once. Listeners of the topic `group` on other nodes are woken, with 0, when they
        would find it; so they are when somebody leaves.
        """

    def leave(self, group: str, who: str) -> None:
        """`who` is not there any more."""

    def present(self, group: str) -> Deferred[Mapping[str, frozenset[str]]]:
        """Who is in `group`, with the nodes where they are. Fails with :exc:`Away` if nobody can tell."""

    @property
    def is_reachable(self) -> bool:
        """Whether wake-ups get through, as far as is known."""

    def health(self) -> Deferred[str | None]:
        """What is wrong, for a person; None if nothing is. Fires within the timeout."""

    def figures(self) -> Iterable[Figure]:
        """How it is, for machines."""


class Away(Exception):
    """The others cannot be reached now. Whether what was asked for has been done is not known."""
