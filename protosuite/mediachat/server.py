"""The server of mediachat.v1: who is there, what is stored where, and who is told of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.task import LoopingCall

from protosuite.auth.guard import OPEN, Guard
from protosuite.auth.tokens import Identity
from protosuite.config import MediaChatConfig
from protosuite.errors import Unauthenticated
from protosuite.fabric import Fabric
from protosuite.figures import Figure
from protosuite.hours import Hours, Zone, zone
from protosuite.mediachat.api import Root
from protosuite.mediachat.client_talk import ClientTalk
from protosuite.mediachat.desk_talk import DeskTalk
from protosuite.mediachat.media.interface import MediaStore
from protosuite.mediachat.media.sweep import sweep
from protosuite.mediachat.media.uploads import Uploads
from protosuite.mediachat.others import Others
from protosuite.mediachat.overview import SHOWN, Awaiting, Free, Tally, figures, overview
from protosuite.mediachat.posting import posting
from protosuite.mediachat.store import MediaChatStore
from protosuite.mediachat.tables import Chat, Message
from protosuite.mediachat.wire import KINDS, SUBPROTOCOL, Status
from protosuite.net.listening import Publish, unheard
from protosuite.net.web_service import WebService
from protosuite.net.websocket import text_frame
from protosuite.storage.workers import Calls


class MediaChatService(WebService):
    """All chats. `calls` are for what blocks: media. At a stop they get `stop_timeout` seconds to end."""

    def __init__(
        self,
        config: MediaChatConfig,
        store: MediaChatStore,
        folder: MediaStore,
        calls: Calls,
        reactor: Any,
        random: Random,
        wall: Callable[[], float],
        publish: Publish = unheard,
        guard: Guard = OPEN,
        secure_cookie: bool = False,
        fabric: Fabric | None = None,
        stop_timeout: float = 10.0,
    ) -> None:
        super().__init__("mediachat", SUBPROTOCOL, config, reactor, wall, guard, secure_cookie)
        self.config = config
        self.store = store
        self.folder = folder
        self.calls = calls
        self.hours: dict[str, Hours] = {kind: getattr(config, f"hours_{kind}") for kind in ("text", *KINDS)}
        self._wall = wall
        self._publish = publish
        self._stop_timeout = stop_timeout
        self._clients: dict[int, dict[ClientTalk, None]] = {}  # by chat
        self._desks: dict[DeskTalk, bool] = {}  # and whether it has been welcomed
        self._others: Others | None = None
        if fabric is not None and fabric.is_shared:
            self._others = Others(store.cuts, fabric, reactor, self._clients, self, self.failed)
        self.uploads = Uploads(folder, calls, reactor, random, config)
        self._tally = Tally()
        self._awaiting = Awaiting(lambda: store.awaiting(SHOWN), reactor)
        self._free = Free(lambda: calls.run(folder.free), reactor)
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = reactor
        self.serve(Root(self), partial(posting, self), config.min_rate)

    def startService(self) -> None:
        super().startService()
        self.folder.open()
        self._sweeping.start(self.config.sweep_interval)

    def stopService(self) -> Deferred[None]:
        """Let what is being written end. The connections have been drained before."""
        super().stopService()
        if self._sweeping.running:
            self._sweeping.stop()
        if self._others is not None:
            self._others.desks_departed()
        for upload in self.uploads:
            upload.abandon()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        enough = self.reactor.callLater(self.config.media_timeout, self.folder.stop)
        ended: Deferred[None] = Deferred()  # when it is late, nobody else is cancelled
        Deferred.fromCoroutine(self._end()).chainDeferred(ended)
        try:
            await ended.addTimeout(self._stop_timeout, self.reactor)
        except DeferredTimeout:  # the threads do not keep the process; its end is no worse than a crash
            self.log.error(
                "media in {place}: no answer within {timeout:g} s; the stop does not wait for {calls} calls",
                place=self.folder.place,
                timeout=self._stop_timeout,
                calls=self.calls.under_way,
            )
            self.folder.stop()
        else:
            self.calls.stop()
        if enough.active():
            enough.cancel()

    async def _end(self) -> None:
        """Until nothing is being written or read any more. A folder that hangs never comes to that."""
        for upload in self.uploads:
            await upload.closed
        self.folder.stop()
        await self.calls.idle()

    def figures(self) -> Iterator[Figure]:
        yield from super().figures()
        own = (len(self._clients), len(self._desks), self.uploads, self._tally)
        yield from figures(*own, self._awaiting, self._free)
        yield from self.folder.figures()

    def overview(self) -> Mapping[str, object]:
        return overview(self._clients, len(self._desks), self.uploads, self._awaiting)

    # What the talks and the API need.

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return int(self._wall() * 1000)

    def zone(self, name: str) -> Deferred[Zone | None]:
        """The time zone of a name, or None."""
        return self.store.compute(partial(zone, name))  # not where media may be waited for

    def client(self, client_id: int, who: Identity | None) -> ClientTalk:
        """A new connection of a client; `who` opened it."""
        return ClientTalk(self, client_id, who)

    def desk(self, who: Identity | None) -> DeskTalk:
        """A new console."""
        return DeskTalk(self, who)

    def entered(self, talk: ClientTalk, chat: Chat) -> None:
        """A client is there."""
        talks = self._clients.setdefault(chat.id, {})
        talks[talk] = None
        if self._others is None:
            self.tell_chat(chat)
        else:
            self._others.entered(chat.id, len(talks))

    def departed(self, talk: ClientTalk) -> None:
        """A client is gone."""
        assert talk.chat is not None
        talks = self._clients.get(talk.chat.id, {})
        talks.pop(talk, None)
        if not talks:
            self._clients.pop(talk.chat.id, None)
        if self._others is None:
            self.tell_presence(talk.chat.id)
        else:
            self._others.departed(talk.chat.id, len(talks))

    def connected(self, chat_id: int) -> int:
        """With how many connections a client is there, as far as is known here."""
        here = len(self._clients.get(chat_id, ()))
        return here if self._others is None else here + self._others.whereabouts.count(chat_id)

    async def present(self, chat_ids: Collection[int]) -> dict[int, int]:
        """With how many connections the clients of chats are there, on all nodes."""
        if self._others is not None:
            await self._others.whereabouts.look(chat_ids)
        return {id: self.connected(id) for id in chat_ids}

    def desk_entered(self, desk: DeskTalk) -> None:
        """A console is there. It is welcomed when all that is stored from now on will be told."""
        self._desks[desk] = False
        if self._others is None:
            self.followed()
        else:
            self._others.desk_entered()

    def desk_departed(self, desk: DeskTalk) -> None:
        """A console is gone."""
        self._desks.pop(desk, None)
        if self._others is not None and not self._desks:
            self._others.desks_departed()

    def added(self, message: Message) -> None:
        """A message has been stored: tell the consoles, and the client if the desk said it."""
        self._tally.add(message)
        if self._others is not None:
            self._others.added(message)
        elif self._desks:  # else it is not even put together
            self.tell_message(message)
        if message.sender == "desk":
            for talk in list(self._clients.get(message.chat_id, ())):
                talk.news()
        if self._publish is not unheard:
            fields = {name: value for name, value in message.fields().items() if name != "text"}
            self._publish(f"mediachat.{message.chat_id}.message", fields)

    def has_read(self, chat: Chat) -> None:
        """The desk has read a chat."""
        if self._others is None:
            self.tell_chat(chat)
        else:
            self._others.changed()

    # What consoles are told.

    def followed(self) -> None:
        """Welcome them: with the hours, which they show by the clock of each client."""
        hours = {kind: {"hours": str(each)} for kind, each in self.hours.items()}
        for desk in [desk for desk, is_welcome in self._desks.items() if not is_welcome]:
            self._desks[desk] = True
            desk.socket.send_text(json.dumps({"type": "welcome", "hours": hours}).encode())

    def lost(self) -> None:
        """They cannot be told what comes next: they come back, and see what there is."""
        for desk in list(self._desks):
            desk.dismiss("too much has happened to be told: come back, and look")

    def tell_message(self, message: Message) -> None:
        """A message."""
        self._tell_desks({"type": "message", "message": message.fields()})

    def tell_chat(self, chat: Chat) -> None:
        """A chat as it is now."""
        self._tell_desks({"type": "chat", "chat": chat.fields(), "connected": self.connected(chat.id)})

    def tell_presence(self, chat_id: int) -> None:
        """Whether a client is there."""
        self._tell_desks({"type": "presence", "chat": chat_id, "connected": self.connected(chat_id)})

    def desk_refused(self, desk: DeskTalk, reason: Unauthenticated) -> None:
        """A console was told that its token is no longer good."""
        who = "" if desk.who is None else f", {desk.who.role} {desk.who.subject},"
        self.turned_down(f"{desk.socket.peer}{who}", reason.code, reason.message)

    def refused(self, talk: ClientTalk, status: Status) -> None:
        """A client was told of an error."""
        self.turned_down(
            f"{talk.socket.peer}, client {talk.client_id},", status.code or "error", status.detail or ""
        )

    def _tell_desks(self, fields: dict[str, object]) -> None:
        if self._desks:
            frame = text_frame(json.dumps(fields).encode())
            for desk, is_welcome in list(self._desks.items()):
                if is_welcome:
                    desk.socket.send(frame)

    def _sweep(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._sweep_all()).addErrback(partial(self.failed, "files not swept"))

    async def _sweep_all(self) -> None:
        active = self.uploads.parts()
        await sweep(self.folder, self.calls, self.store, active, self._wall(), self.config.upload_ttl)
