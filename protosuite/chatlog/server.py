"""The server of chatlog.v1: appends to the sequencer, batches to the store, entries to everybody."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from protosuite.auth.guard import OPEN, Guard
from protosuite.auth.rules import Action
from protosuite.auth.tokens import Identity
from protosuite.chatlog.catching_up import CatchingUp
from protosuite.chatlog.chain import Append, epoch_of
from protosuite.chatlog.member import Member
from protosuite.chatlog.overview import figures, overview
from protosuite.chatlog.room import Room
from protosuite.chatlog.sequencer import Sequencer
from protosuite.chatlog.store import ChatLogStore, Committed, Outcome, RoomState
from protosuite.chatlog.wire import DEFAULT_ROOM, SUBPROTOCOL, ClientAppend, Error, is_room
from protosuite.config import ChatLogConfig
from protosuite.errors import Overloaded
from protosuite.fabric import Fabric, Hub
from protosuite.figures import SIZES, Figure, Histogram
from protosuite.lull import Lull
from protosuite.net.handshake import wants_upgrade
from protosuite.net.listening import Publish, unheard
from protosuite.net.login import add_login
from protosuite.net.pages import Pages
from protosuite.net.web_service import WebService


class ChatLogService(WebService):
    """All rooms. One batch of appends is being committed at a time; all that come meanwhile are in the next.

    `random` draws epochs and session ids, `wall` gives seconds since the epoch.
    """

    def __init__(
        self,
        config: ChatLogConfig,
        store: ChatLogStore,
        reactor: Any,
        random: Random,
        wall: Callable[[], float],
        publish: Publish = unheard,
        guard: Guard = OPEN,
        secure_cookie: bool = False,
        fabric: Fabric | None = None,
    ) -> None:
        super().__init__("chatlog", SUBPROTOCOL, config, reactor, wall, guard, secure_cookie)
        self.config = config
        self.store = store
        self.sequencer = Sequencer()
        self.rooms: dict[str, Room] = {}  # those that somebody is in, or that have something to commit
        self._members: dict[str, Member] = {}  # by session; those that are here, or are owed an answer
        self._random = random
        self._wall = wall
        self._publish = publish
        self._is_heard = publish is not unheard
        self._committing = False
        self._lull = Lull(reactor, lambda: self.sequencer.arrivals)
        self._commits = Histogram(SIZES)  # appends in each
        self._idle: Deferred[None] | None = None  # fires when nothing is left to commit
        self._fabric = fabric or Hub(reactor).node("alone")
        self._seed: str | None = None  # of epochs, where other nodes may make the same room
        self._others = CatchingUp(
            self.rooms, store, config, self._fabric, reactor, self._told, self._untold, self.log
        )
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = reactor
        self.serve(_Root(self))

    def startService(self) -> None:
        super().startService()
        if self._fabric.is_shared:
            self._seed = self.store.seed(self._epoch())
        if self.config.keep_entries or self.config.keep_for:
            self._sweeping.start(self.config.sweep_interval)

    def stopService(self) -> Deferred[None]:
        """Commit what was accepted. The connections have been drained before."""
        super().stopService()
        if self._sweeping.running:
            self._sweeping.stop()
        self._others.stop()
        self._idle = Deferred()
        idle = self._idle.addCallback(lambda _: self.store.tidy())
        idle.addErrback(lambda failure: self.failed("entries stay where they came", failure))
        self.commit()
        return idle

    def member(self, room: str, who: Identity | None) -> Member:
        """A new member of a room."""
        session = f"{self._random.getrandbits(64):016x}"
        return Member(self, room, session, who)

    def figures(self) -> Iterator[Figure]:
        yield from super().figures()
        yield from figures(self.rooms.values(), self._commits)

    def overview(self) -> Mapping[str, object]:
        return overview(self.rooms.values())

    # For the members.

    def room(self, name: str) -> Room:
        """The room of a name; it may still have to be opened."""
        room = self.rooms.get(name)
        if room is None:
            epoch = self._epoch() if self._seed is None else epoch_of(self._seed, name)
            room = self.rooms[name] = Room(name, epoch, self.config.cache_entries, self.config.cache_bytes)
        return room

    def entered(self, member: Member) -> None:
        """`member` is there: open its room, if it is not open."""
        room = member.room
        self._members[member.session] = member
        room.members.add(member)
        if room.is_open:
            member.opened()
        elif len(room.members) == 1:
            self._others.opening(room)
            self.store.open(room.name, room.epoch).addCallbacks(
                self._read, self._not_read, callbackArgs=(room,), errbackArgs=(room,)
            )

    def departed(self, member: Member) -> None:
        """`member` is gone. What it had appended is committed all the same, but for what was not in turn."""
        room = member.room
        room.members.discard(member)
        room.followers.pop(member, None)
        for append in self.sequencer.drop_early(member.writer):
            room.pending -= 1
            member.answered(append.message)
        self._forget_if_done(member)
        self._forget_if_idle(room)

    def append(self, member: Member, message: ClientAppend) -> None:
        """Take an append; :exc:`BadRequest` if it comes out of turn."""
        self.sequencer.offer(member.writer, message)
        member.room.pending += 1
        if not self._committing:
            self.commit()

    def refused(self, member: Member, error: Error) -> None:
        """`member` was told `error`."""
        who = "" if member.who is None else f", {member.who.role} {member.who.subject},"
        self.turned_down(f"{member.socket.peer}{who} in {member.room.name}", error.code, error.message)

    def current(self, room: Room) -> Deferred[None]:
        """Fires when all is told that any node had stored in a room by now; fails where nobody can tell."""
        return self._others.current(room)

    def reading_failed(self, error: Exception) -> None:
        """The database could not be read."""
        self.failed("entries cannot be read", Failure(error))

    # Commits.

    def commit(self) -> None:
        """Commit what waits, unless that is being done."""
        if not self._committing:
            self._committing = True
            Deferred.fromCoroutine(self._commit_all())

    async def _commit_all(self) -> None:
        while self.sequencer.is_waiting:
            await self._lull.over()
            try:
                if batch := self.sequencer.take(self.config.max_batch):
                    await self._commit_batch(batch)
            except Exception:  # a defect of ours: what was not told is asked for again
                self.log.failure("entries were not told to everybody")
        self._committing = False
        if self._idle is not None:
            idle, self._idle = self._idle, None
            idle.callback(None)

    async def _commit_batch(self, batch: list[Append]) -> None:
        epochs = {append.room: self.rooms[append.room].epoch for append in batch}
        try:
            self._commits.observe(len(batch))
            outcomes = await self.timed(self.store.commit(batch, epochs, int(self._wall() * 1000)))
        except Exception as error:  # whatever it is, whoever appended is told
            self._not_committed(error, batch)
        else:
            self._committed(outcomes)

    def _committed(self, outcomes: Sequence[Outcome]) -> None:
        """Tell everybody, room by room, and then each sender what else there is to tell."""
        told: dict[str, list[Committed]] = {}
        for outcome in outcomes:
            if isinstance(outcome, Committed) and outcome.is_new:
                told.setdefault(outcome.append.room, []).append(outcome)
        for name, new in told.items():
            self._others.committed(self.rooms[name], new)
            if self._is_heard:
                for outcome in new:
                    self._tell_others(name, outcome)
        for outcome in outcomes:
            self._answer(outcome)

    def _not_committed(self, error: Exception, batch: list[Append]) -> None:
        """None of it is stored, and what its senders sent behind it is refused too: it came later.

        What is still on its way to us came later as well, so their connections are closed.
        """
        self.failed("entries cannot be stored", Failure(error))
        code = "overloaded" if isinstance(error, Overloaded) else "storage"
        members = [self._members[session] for session in dict.fromkeys(append.session for append in batch)]
        for member in members:
            batch += self.sequencer.drop(member.writer)
        for append in batch:
            self._settle(append, Error(code, "the entry cannot be stored now", append.message.seq))
        for member in members:
            member.dismiss("an entry could not be stored: send again what was refused, in its order")

    def _answer(self, outcome: Outcome) -> None:
        append = outcome.append
        if not isinstance(outcome, Committed):
            self._settle(append, Error(outcome.error.code, outcome.error.message, append.message.seq))
        elif outcome.slot > self.rooms[append.room].latest:
            self._others.owe(self.rooms[append.room], outcome)
        else:
            if not outcome.is_new:
                self._members[append.session].acknowledge(outcome.encoded)
            self._settle(append, None)

    def _told(self, outcome: Committed) -> None:
        """The entry of an append was told here, after others that came from elsewhere."""
        self._settle(outcome.append, None)

    def _untold(self, outcome: Committed) -> None:
        """The entry is stored, and what comes before it cannot be read: its sender need not wait here."""
        self._members[outcome.append.session].dismiss("what comes before an entry cannot be read: try again")

    def _settle(self, append: Append, error: Error | None) -> None:
        member, room = self._members[append.session], self.rooms[append.room]
        room.pending -= 1
        member.answered(append.message, error)
        if member not in room.members:
            self._forget_if_done(member)
            self._forget_if_idle(room)

    def _tell_others(self, room: str, outcome: Committed) -> None:
        slot, author, content, *_ = outcome.fields
        fields = {"room": room, "slot": slot, "author": author, "content": content}
        self._publish(f"chatlog.{room.replace('.', '_')}.append", fields)  # a dot would begin a level

    # Rooms.

    def _read(self, state: RoomState, room: Room) -> None:
        room.open(state)
        for member in list(room.members):
            member.opened()
        self._others.opened(room)
        self._forget_if_idle(room)

    def _not_read(self, failure: Failure, room: Room) -> None:
        self.failed("a room cannot be read", failure)
        if self.rooms.get(room.name) is room:  # whoever comes next tries again
            del self.rooms[room.name]
            self._others.forgotten(room)
        for member in list(room.members):
            member.dismiss("the room cannot be read now: try again")

    def _forget_if_done(self, member: Member) -> None:
        if not member.unacknowledged and member not in member.room.members:
            self._members.pop(member.session, None)

    def _forget_if_idle(self, room: Room) -> None:
        if room.is_idle and self.rooms.get(room.name) is room:
            del self.rooms[room.name]
            self._others.forgotten(room)

    def _epoch(self) -> str:
        return f"{self._random.getrandbits(128):032x}"

    def _sweep(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._sweep_all()).addErrback(
            lambda failure: self.failed("old entries cannot be deleted", failure)
        )

    async def _sweep_all(self) -> None:
        """Delete what need not be kept, a part at a time: the writer is needed for other things too."""
        config = self.config
        before = int((self._wall() - config.keep_for) * 1000) if config.keep_for else -(2**62)
        while self._sweeping.running and (firsts := await self.store.sweep(config.keep_entries, before)):
            for name, first in firsts.items():
                if name in self.rooms:
                    self.rooms[name].holds_from(first)


class _Root(Pages):
    """``/``: the page, and the WebSocket of the room ``main``. Its files, and what they share, are public."""

    def __init__(self, service: ChatLogService) -> None:
        super().__init__(Path(__file__).parent / "pages")
        self._service = service
        self.putChild(b"rooms", _Rooms(self))
        add_login(self, service.access, service.reactor)

    def render_GET(self, request: Request) -> Any:
        if wants_upgrade(request):
            return self.enter(request, DEFAULT_ROOM)
        refusal = self._service.access.page(request, Action.CHATLOG_READ)
        return self.send(request, "index.html") if refusal is None else refusal

    def enter(self, request: Request, room: str) -> Any:
        """Open a WebSocket in a room."""
        service = self._service
        return service.access.door(
            request, service.terms, Action.CHATLOG_READ, room, lambda who: service.member(room, who)
        )


class _Rooms(Resource):
    """``/rooms/``."""

    def __init__(self, root: _Root) -> None:
        super().__init__()
        self._root = root

    def getChild(self, path: bytes, request: Request) -> IResource:
        name = path.decode("latin-1")
        if not is_room(name) or request.postpath:
            return notFound()
        return _Entrance(self._root, name)


class _Entrance(Resource):
    """``/rooms/<room>``."""

    isLeaf = True

    def __init__(self, root: _Root, room: str) -> None:
        super().__init__()
        self._root = root
        self._room = room

    def render_GET(self, request: Request) -> Any:
        return self._root.enter(request, self._room)
