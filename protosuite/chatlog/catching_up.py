"""Entries that other nodes have stored: read from the database, and told here in their turn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.chatlog.room import Room
from protosuite.chatlog.store import ChatLogStore, Committed, RoomState
from protosuite.config import ChatLogConfig
from protosuite.errors import Overloaded, StorageError
from protosuite.fabric import Fabric

_TOPIC = "chatlog."
_RETRY = 1.0  # seconds after which the database is asked again where it could not be read
_CHUNK = 500  # rooms of one query


class CatchingUp:
    """A listener of the fabric for the open ones of `rooms`.

    What this node commits is told at once where it comes right behind what was told before. Otherwise
    somebody else has stored what is between: all of it is read, and told from there. Answers that belong
    to entries which are still to be told wait in :attr:`.Room.owed`, and are given by `told`; `untold` hears
    of those that have to wait because the storage fails.
    """

    def __init__(
        self,
        rooms: Mapping[str, Room],
        store: ChatLogStore,
        config: ChatLogConfig,
        fabric: Fabric,
        reactor: Any,
        told: Callable[[Committed], None],
        untold: Callable[[Committed], None],
        log: Logger,
    ) -> None:
        self.pages = 0  # that were read
        self._rooms = rooms
        self._store = store
        self._config = config
        self._fabric = fabric
        self._reactor = reactor
        self._told = told
        self._untold = untold
        self._log = log
        self._reading: set[Room] = set()
        self._comparing: dict[str, None] = {}  # names of rooms whose head is to be looked up
        self._is_comparing = False
        self._asking: dict[Room, list[Deferred[None]]] = {}  # who wants to know where a log ends now
        self._is_asking = False
        self._waiting: dict[Room, list[tuple[int, Deferred[None]]]] = {}  # until that slot has been told
        self._retrying: IDelayedCall | None = None

    def stop(self) -> None:
        """Read nothing more."""
        if self._retrying is not None:
            self._retrying.cancel()
            self._retrying = None

    # For the service.

    def opening(self, room: Room) -> None:
        """What is stored of the room is going to be read: hear of what comes behind it."""
        if not room.is_heard:
            room.is_heard = True
            self._fabric.subscribe(_TOPIC + room.name, self)

    def opened(self, room: Room) -> None:
        """It has been read; there may be more by now."""
        self._want(room, room.latest)

    def forgotten(self, room: Room) -> None:
        """Nobody needs the room any more."""
        if room.is_heard:
            room.is_heard = False
            self._fabric.unsubscribe(_TOPIC + room.name, self)
        for _, waiting in self._waiting.pop(room, ()):
            waiting.callback(None)

    def current(self, room: Room) -> Deferred[None]:
        """Fires when everything has been told that any node had stored in the room when this was asked.

        Who asks on this node for what somebody was acknowledged on another finds it. Fails where it cannot
        be read.
        """
        if not self._fabric.is_shared:
            return succeed(None)
        asked: Deferred[None] = Deferred()
        self._asking.setdefault(room, []).append(asked)
        if not self._is_asking:
            self._is_asking = True
            Deferred.fromCoroutine(self._ask_all())
        return asked

    def committed(self, room: Room, new: Sequence[Committed]) -> None:
        """This node has stored entries, one behind the other: tell them, and wake the others."""
        last = new[-1].slot
        if last - len(new) == room.latest:
            room.committed([each.encoded for each in new])
            if room.owed or self._waiting:
                self._settle(room)
        if room.latest < last or room.latest < room.wanted:
            self._want(room, last)
        if self._fabric.is_shared:
            self._fabric.publish(_TOPIC + room.name, last)

    def owe(self, room: Room, outcome: Committed) -> None:
        """`outcome` is to be answered when its entry has been told."""
        room.owed.append(outcome)
        self._want(room, outcome.slot)

    # A listener of the fabric.

    def woken(self, topic: str, number: int) -> None:
        """Another node says that it has stored entries of a room."""
        room = self._rooms.get(topic.removeprefix(_TOPIC))
        if room is not None:
            self._want(room, number)

    def catch_up(self, topics: Collection[str]) -> None:
        """Look where the logs of these rooms end."""
        self._comparing |= dict.fromkeys(topic.removeprefix(_TOPIC) for topic in topics)
        if not self._is_comparing:
            self._is_comparing = True
            Deferred.fromCoroutine(self._compare_all()).addErrback(self._not_compared)

    async def _compare_all(self) -> None:
        while self._comparing:
            names = [name for name, _ in zip(self._comparing, range(_CHUNK), strict=False)]
            for name in names:
                del self._comparing[name]
            for name, state in (await self._store.states(names)).items():
                room = self._rooms.get(name)
                if room is not None:
                    room.holds_from(state.first)
                    self._want(room, state.latest)
        self._is_comparing = False

    def _not_compared(self, failure: Any) -> None:
        self._is_comparing = False
        self._comparing.clear()  # the fabric asks again before long
        if not failure.check(StorageError, Overloaded):
            self._log.failure("the ends of logs were not looked up", failure)

    # The latest.

    async def _ask_all(self) -> None:
        """Look where logs end: one query for all who ask during the last one."""
        while self._asking:
            rooms = [room for room, _ in zip(self._asking, range(_CHUNK), strict=False)]
            asked = {room: self._asking.pop(room) for room in rooms}
            try:
                states = await self._store.states([room.name for room in rooms])
            except Exception:
                for waiting in (each for those in asked.values() for each in those):
                    waiting.errback(Failure())
                continue
            for room, those in asked.items():
                end = states[room.name].latest if room.name in states else 0
                self._waiting.setdefault(room, []).extend((end, each) for each in those)
                self._want(room, end)
                self._release(room)
        self._is_asking = False

    def _release(self, room: Room) -> None:
        """Tell those who wait for what has been told by now, or what turned out not to be there."""
        waiting = self._waiting.pop(room, [])
        is_all = room.latest >= room.wanted or self._rooms.get(room.name) is not room
        done = [each for end, each in waiting if is_all or end <= room.latest]
        if len(done) < len(waiting):
            self._waiting[room] = [(end, each) for end, each in waiting if end > room.latest]
        for each in done:
            each.callback(None)

    # Reading.

    def _want(self, room: Room, slot: int) -> None:
        """The log of the room is known to go up to `slot`: tell what has not been told of it."""
        room.wanted = max(room.wanted, slot)
        if room.is_open and room.latest < room.wanted and room not in self._reading:
            self._reading.add(room)
            Deferred.fromCoroutine(self._read(room)).addErrback(self._not_read, room)

    async def _read(self, room: Room) -> None:
        while room.latest < room.wanted and self._rooms.get(room.name) is room:
            if room.latest == 0 and not await self._is_same(room):
                break
            await self._read_page(room)
        self._reading.discard(room)
        self._release(room)

    async def _read_page(self, room: Room) -> None:
        low, config = room.latest + 1, self._config
        page = await self._store.oldest(room.name, low, room.wanted, config.max_entries, config.max_reply)
        self.pages += 1
        room.holds_from(page.first)
        if page.low > room.latest + 1:
            self._begin_again(room, RoomState(room.epoch, page.low - 1, page.first))
            return
        found = page.entries[room.latest + 1 - page.low :]  # some have been told meanwhile
        if found:
            room.committed(found)
            self._settle(room)
        elif room.latest < low:
            room.wanted = room.latest  # it does not go that far: whoever said so was wrong

    async def _is_same(self, room: Room) -> bool:
        """Whether a room that was empty is the one that has been stored: two nodes may make one at a time."""
        state = (await self._store.states([room.name])).get(room.name)
        if state is None or state.epoch == room.epoch:
            return True
        self._begin_again(room, state)
        return False

    def _begin_again(self, room: Room, state: RoomState) -> None:
        """Its members cannot be told what comes next: they come back, and find it as it is stored."""
        members = list(room.members)
        room.begin_again(state)
        for member in members:
            member.dismiss("what comes next cannot be told: try again")
        self._settle(room)

    def _settle(self, room: Room) -> None:
        """Give the answers that waited for entries that have been told."""
        while room.owed and room.owed[0].slot <= room.latest:
            self._told(room.owed.popleft())
        self._release(room)

    def _not_read(self, failure: Failure, room: Room) -> None:
        self._reading.discard(room)
        for _, waiting in self._waiting.pop(room, ()):
            waiting.errback(failure)
        if failure.check(StorageError):
            for outcome in list(room.owed):
                self._untold(outcome)
        elif not failure.check(Overloaded):
            self._log.failure("entries of another node were not read", failure)
        if self._retrying is None:
            self._retrying = self._reactor.callLater(_RETRY, self._retry)

    def _retry(self) -> None:
        self._retrying = None
        for room in list(self._rooms.values()):
            self._want(room, room.wanted)
