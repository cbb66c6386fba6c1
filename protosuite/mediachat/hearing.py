"""What the desk says on other nodes, for the clients on this one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol as Interface

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from protosuite.fabric import Fabric
from protosuite.mediachat.cuts import Cuts

_TOPIC = "mediachat.chat."
_CHUNK = 500  # chats of one look


class Listening(Interface):
    """A connection of a client."""

    @property
    def told(self) -> int:
        """The last message of the desk that it was told."""

    def news(self) -> None:
        """There may be something to tell it."""


class Hearing:
    """A listener of the fabric for the chats of the clients that are here; `talks` are theirs, by chat.

    Each connection reads by itself what is behind the last message that it was told.
    """

    def __init__(
        self,
        cuts: Cuts,
        fabric: Fabric,
        talks: Mapping[int, Iterable[Listening]],
        failed: Callable[[str, Failure], None],
    ) -> None:
        self._cuts = cuts
        self._fabric = fabric
        self._talks = talks
        self._failed = failed
        self._comparing: dict[int, None] = {}  # chats of which the last message is to be looked up
        self._is_comparing = False

    def begin(self, chat_id: int) -> None:
        """The first connection of a chat is here, and has not read anything."""
        self._fabric.subscribe(f"{_TOPIC}{chat_id}", self)

    def end(self, chat_id: int) -> None:
        """The last one is gone."""
        self._fabric.unsubscribe(f"{_TOPIC}{chat_id}", self)

    def said(self, chat_id: int, id: int) -> None:
        """The desk has said something on this node: message `id`."""
        self._fabric.publish(f"{_TOPIC}{chat_id}", id)

    # A listener of the fabric.

    def woken(self, topic: str, number: int) -> None:
        """It has on another node."""
        for talk in list(self._talks.get(_chat(topic), ())):
            if talk.told < number:
                talk.news()

    def catch_up(self, topics: Collection[str]) -> None:
        """It may have: look up what the last messages are."""
        self._comparing |= dict.fromkeys(map(_chat, topics))
        if not self._is_comparing:
            self._is_comparing = True
            Deferred.fromCoroutine(self._compare_all()).addErrback(self._not_compared)

    async def _compare_all(self) -> None:
        while self._comparing:
            ids = [id for id, _ in zip(self._comparing, range(_CHUNK), strict=False)]
            for id in ids:
                del self._comparing[id]
            for id, last in (await self._cuts.said(ids)).items():
                self.woken(f"{_TOPIC}{id}", last)
        self._is_comparing = False

    def _not_compared(self, failure: Failure) -> None:
        self._is_comparing = False
        self._comparing.clear()  # the fabric asks again before long
        self._failed("what the desk says on other nodes cannot be looked up", failure)


def _chat(topic: str) -> int:
    return int(topic.removeprefix(_TOPIC))
