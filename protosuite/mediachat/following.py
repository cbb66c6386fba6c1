"""What is stored on any node, for the consoles on this one: each message once, in the order of its chat."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any
from typing import Protocol as Interface

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from protosuite.fabric import Fabric
from protosuite.mediachat.cuts import Cut, Cuts
from protosuite.mediachat.places import Reached
from protosuite.mediachat.tables import Chat, Message

TOPIC = "mediachat.stored"
_RETRY = 1.0  # seconds after which the database is asked again where it could not be read
_PAGE = 200  # messages read at once
_MOST = 20_000  # messages of one cut: who is further behind begins again


class Audience(Interface):
    """Who is told."""

    def followed(self) -> None:
        """Whatever is stored from now on will be told."""

    def tell_message(self, message: Message) -> None:
        """A message has been stored."""

    def tell_chat(self, chat: Chat) -> None:
        """A chat is like this now, with all messages that have been told."""

    def lost(self) -> None:
        """Too much has been stored to tell it: whoever is here has to look for it."""


class Following:
    """A listener of the fabric, for as long as there is an audience.

    It reads cut after cut: what all nodes have committed since the last one. `failed` is told what could
    not be read, which is read again.
    """

    def __init__(
        self,
        cuts: Cuts,
        fabric: Fabric,
        reactor: Any,
        audience: Audience,
        failed: Callable[[str, Failure], None],
    ) -> None:
        self.read = 0  # cuts with anything in them
        self._cuts = cuts
        self._fabric = fabric
        self._reactor = reactor
        self._audience = audience
        self._failed = failed
        self._is_on = False
        self._seen: Reached | None = None  # up to there everything has been told, but for what `_cut` has
        self._cut: Cut | None = None  # what is left of one that is being told
        self._is_wanted = False  # there may be something new
        self._is_reading = False
        self._retrying: IDelayedCall | None = None
        self._stored = 0  # times that this node has stored something

    @property
    def is_current(self) -> bool:
        """Whether everything that is stored from now on will be told."""
        return self._seen is not None

    def begin(self) -> None:
        """There is an audience."""
        if not self._is_on:
            self._is_on = True
            self._fabric.subscribe(TOPIC, self)
        self._look()

    def end(self) -> None:
        """There is none any more."""
        if self._is_on:
            self._is_on = False
            self._fabric.unsubscribe(TOPIC, self)
        self._seen = self._cut = None
        if self._retrying is not None:
            self._retrying.cancel()
            self._retrying = None

    def stored(self) -> None:
        """This node has stored something."""
        self._stored += 1
        self._fabric.publish(TOPIC, self._stored)
        self._look()

    # A listener of the fabric.

    def woken(self, topic: str, number: int) -> None:
        """Another node has stored something. What it is, and how much, the database knows."""
        self._look()

    def catch_up(self, topics: Collection[str]) -> None:
        """It may have."""
        self._look()

    # Reading.

    def _look(self) -> None:
        self._is_wanted = True
        if self._is_on and not self._is_reading:
            self._is_reading = True
            Deferred.fromCoroutine(self._read_all()).addErrback(self._not_read)

    async def _read_all(self) -> None:
        while self._is_on and (self._is_wanted or self._cut is not None):
            if self._seen is None:
                await self._find_end()
            elif self._cut is None:
                await self._find_cut(self._seen)
            else:
                await self._tell_some(self._cut)
        self._is_reading = False

    async def _find_end(self) -> None:
        end = await self._cuts.end()
        if self._is_on and self._seen is None:
            self._seen = end
            self._audience.followed()

    async def _find_cut(self, seen: Reached) -> None:
        self._is_wanted = False
        cut = await self._cuts.since(seen, _MOST)
        if self._seen is not seen:  # the audience has changed
            self._is_wanted = True
        elif cut is None:
            self._seen = None
            self._is_wanted = True
            self._audience.lost()
        else:
            self._cut = cut
            self.read += bool(cut.messages or cut.chats)

    async def _tell_some(self, cut: Cut) -> None:
        page = cut.messages[:_PAGE]
        found = await self._cuts.messages(page) if page else []
        if self._cut is not cut:
            return
        for message in found:
            self._audience.tell_message(message)
        left = cut.messages[_PAGE:]
        if left:
            self._cut = evolve(cut, messages=left)
            return
        self._seen, self._cut = cut.lanes, None
        for chat in cut.chats:
            self._audience.tell_chat(chat)

    def _not_read(self, failure: Failure) -> None:
        self._is_reading, self._is_wanted = False, True
        self._failed("what is stored on other nodes cannot be read", failure)
        if self._is_on and self._retrying is None:
            self._retrying = self._reactor.callLater(_RETRY, self._retry)

    def _retry(self) -> None:
        self._retrying = None
        self._look()
