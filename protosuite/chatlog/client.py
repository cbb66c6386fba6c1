"""The client of chatlog.v1: a view of one room that goes on over reconnects, and appends that count once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random, SystemRandom
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.logger import Logger

from protosuite.chatlog.view import Change, View
from protosuite.chatlog.wire import (
    SUBPROTOCOL,
    ClientAppend,
    ClientUpdate,
    Entry,
    Error,
    Refused,
    ServerAck,
    ServerReply,
    from_client,
    from_server,
    is_room,
    to_server,
)
from protosuite.errors import Overloaded, PeerFault, ServerRefused
from protosuite.net.reconnect import ResumingClientFactory, Status
from protosuite.net.websocket import Limits, WebSocket
from protosuite.net.websocket_client import WebSocketClient, connect, ended_by, server_url

_TOO_BIG = 1009  # the close code of RFC 6455
_TEMPORARY = ("storage", "overloaded")  # what the server may be able to do later


@define(eq=False, repr=False)
class _Update:
    """A request for entries. `answer` is whoever waits for the reply, if it is not the view alone."""

    message: ClientUpdate
    answer: Deferred[Any] | None = None  # gets the Change, or the reply itself
    fills: bool = False  # a hole
    passes: bool = False  # by the view


@define(eq=False, repr=False)
class _Append:
    """An entry that is not acknowledged. It carries a key, so sending it again is harmless."""

    author: str
    content: str
    key: str
    answer: Deferred[Entry]
    seq: int | None = None  # on this connection, once it is sent


class ChatLogClientFactory(ResumingClientFactory):
    """One room, kept up to date. For ``connectTCP`` and ``connectSSL`` to the host and port of `url`.

    `url` is that of the room: ``ws://127.0.0.1:8082/rooms/main``. The view begins with the last `last`
    entries; from then on `on_entries` gets every entry in slot order, with none missing and none twice,
    over any number of reconnects. It is called with ``is_reset`` in its :class:`.view.Change` when
    the log is another one, and with `problems` where the hash chain is broken or slots were deleted.

    At most `max_waiting` appends wait to be acknowledged; `max_in_flight` of them are with the server.

    `token` says who one is to a server that asks. Where it is not good, or not any more, or not for this, the
    client does not come back: what waits fails with :exc:`ServerRefused`, and `on_refusal` is called with it.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        url: str,
        on_change: Callable[[Change], None],
        *,
        last: int = 50,
        keep: int = 10_000,
        poll_interval: float = 30.0,
        max_waiting: int = 10_000,
        max_in_flight: int = 200,
        limits: Limits | None = None,
        random: Random | None = None,
        on_status: Status | None = None,
        token: str | None = None,
        on_refusal: Callable[[ServerRefused], None] | None = None,
    ) -> None:
        super().__init__(clock, random or SystemRandom(), on_status)
        self.url = url
        self.token = token
        self.refusal: ServerRefused | None = None  # why it does not come back
        self.view = View(keep)
        self.is_connected = False  # and has been told what is there
        self._on_change = on_change
        self._on_refusal = on_refusal or (lambda refusal: None)
        self._last = last
        self._poll_interval = poll_interval
        self._max_waiting = max_waiting
        self._max_in_flight = max_in_flight
        self._limits = limits or Limits(max_message=64 << 20)
        self._socket: WebSocket | None = None
        self._appends: dict[str, _Append] = {}  # by key, in order, until they are acknowledged
        self._unsent: deque[_Append] = deque()  # those of them that have not been sent on this connection
        self._sent: dict[int, _Append] = {}  # by seq on this connection, unanswered
        self._seq = 0
        self._updates: deque[_Update] = deque()  # those of others, until they are answered
        self._asked: deque[_Update] = deque()  # on this connection, unanswered, in order
        self._filling = False
        self._poll: IDelayedCall | None = None
        self._closed: Deferred[None] | None = None

    # What it can be asked.

    def append(self, author: str, content: str) -> Deferred[Entry]:
        """Append to the log: the entry as it was committed.

        Waits for the connection, and is sent again after a reconnect; it is committed once. Fails with
        :exc:`ServerRefused`, with :exc:`Overloaded` if too many wait, and with `ConnectionError` when
        the client is closed. Cancelling takes it back if it has not been sent. Raises `ValueError` for
        what no server would take.
        """
        key = f"{self._random.getrandbits(128):032x}"
        _check(ClientAppend(0, author, content, key))
        if not self.continueTrying:
            return fail(self.refusal or ConnectionError("this client has been closed"))
        if len(self._appends) >= self._max_waiting:
            return fail(Overloaded(f"{self._max_waiting} entries wait to be acknowledged"))
        append = _Append(author, content, key, Deferred(lambda _: self._withdraw(append)))
        self._appends[key] = append
        self._unsent.append(append)
        self._send()
        return append.answer

    def update(self, n: int, upto: int = -1) -> Deferred[Change]:
        """Ask for the `n` slots up to `upto`: what that changed in the view.

        It is asked again after a reconnect.
        """
        return self._wait_for(ClientUpdate(n, upto))

    def read(self, n: int, upto: int = -1) -> Deferred[ServerReply]:
        """The `n` slots up to `upto`, past the view; of what is too much for one reply, the newest.

        It is asked again after a reconnect.
        """
        return self._wait_for(ClientUpdate(n, upto), passes=True)

    def scroll_back(self, n: int) -> Deferred[list[Entry]]:
        """Up to `n` entries before the lowest of the view, which takes them in; none at its beginning."""
        message = self.view.before(n)
        if message is None:
            return succeed([])
        return self._wait_for(message).addCallback(lambda change: change.older)

    def close(self) -> Deferred[None]:
        """Close the connection and do not come back: what is not acknowledged fails.

        Fires when the connection is closed.
        """
        self.stopTrying()
        closed = succeed(None)
        if self._socket is not None and self._socket.is_open:
            closed = self._closed = Deferred()
            self._socket.close()
        self._fail_all(ConnectionError("the client was closed"))
        return closed

    def _fail_all(self, error: Exception) -> None:
        """Nothing that waits will be answered."""
        appends, self._appends = self._appends, {}
        updates, self._updates = self._updates, deque()
        self._unsent.clear()
        waiting: list[Any] = [append.answer for append in appends.values()] + [
            update.answer for update in updates
        ]
        for answer in waiting:
            if answer is not None and not answer.called:
                answer.errback(error)

    @property
    def next_attempt(self) -> float | None:
        """When, by the clock, the connection is tried again; None if that is not planned."""
        return self._callID.getTime() if self._callID is not None else None

    # Of a Talk.

    def began(self, socket: WebSocket) -> None:
        """A connection is there: ask for what is new and for what was asked before, and append again."""
        self._socket = socket
        self._seq = 0
        self._sent.clear()
        self._asked.clear()
        self._filling = False
        self.view.reconnected()
        self._unsent = deque(self._appends.values())
        for append in self._unsent:
            append.seq = None
        self._ask(_Update(ClientUpdate(self._last or 1, -1)))
        for update in self._updates:
            self._ask(update)
        self._poll = self.clock.callLater(self._poll_interval, self._ask_again)
        self._send()

    def text(self, text: str) -> None:
        """A message came."""
        if not self.continueTrying:
            return
        try:
            message = from_server(text)
        except PeerFault as fault:
            self._trouble(f"the server makes no sense: {fault}")
            return
        if isinstance(message, ServerReply):
            self._replied(message)
        elif isinstance(message, ServerAck):
            self._acknowledged(message.entry)
        else:
            self._refused(message)
        self._fill()
        self._send()

    def binary(self, data: bytes) -> None:
        """Nothing binary is ever sent."""
        self._trouble("the server makes no sense: a binary message")

    def drained(self) -> None:
        """The connection takes more."""
        self._send()

    def stopping(self) -> None:
        """A client is not stopped by a service."""

    def ended(self, code: int, reason: str) -> None:
        """The connection is gone."""
        if code == _TOO_BIG and self._sent:
            self._give_up_largest()
        self._socket = None
        self.is_connected = False
        if self._poll is not None and self._poll.active():
            self._poll.cancel()
        if self._closed is not None:
            closed, self._closed = self._closed, None
            closed.callback(None)
        refusal = ended_by(code, reason)
        if refusal is not None:
            self._give_up(refusal)

    def _give_up(self, refusal: ServerRefused) -> None:
        """The server does not take us for whom it would let in, and never will."""
        if self.continueTrying:
            self.refusal = refusal
            self.stopTrying()
            self._fail_all(refusal)
            self._on_refusal(refusal)

    def _give_up_largest(self) -> None:
        """The server takes messages of fewer bytes than one of ours has: sent again it would be so again."""
        append = max(self._sent.values(), key=lambda sent: len(sent.content.encode()))
        if self._appends.pop(append.key, None) is not None and not append.answer.called:
            append.answer.errback(ServerRefused("too-large", "the server does not take a message so long"))

    # For Twisted.

    def buildProtocol(self, addr: IAddress | None) -> WebSocketClient:
        self._protocol = WebSocketClient(
            self.url, SUBPROTOCOL, self.clock, self._limits, self, token=self.token
        )
        return self._protocol

    def lost(self) -> None:
        if self._protocol.denial is not None:
            self._give_up(self._protocol.denial)
        elif self._protocol.refusal:
            self._on_status(self._protocol.refusal)

    # What is asked.

    def _wait_for(self, message: ClientUpdate, passes: bool = False) -> Deferred[Any]:
        update = _Update(message, Deferred(lambda _: self._forget(update)), passes=passes)
        if not self.continueTrying:
            return fail(self.refusal or ConnectionError("this client has been closed"))
        self._updates.append(update)
        if self._socket is not None:
            self._ask(update)
        assert update.answer is not None
        return update.answer

    def _forget(self, update: _Update) -> None:
        """Nobody waits for it any more."""
        if update in self._updates:  # and not among those that are being failed
            self._updates.remove(update)

    def _ask(self, update: _Update) -> None:
        assert self._socket is not None
        self._asked.append(update)
        self._socket.send_text(to_server(update.message))

    def _ask_again(self) -> None:
        """Nothing may have happened for a while, or an ack may be missing: look."""
        self._poll = self.clock.callLater(self._poll_interval, self._ask_again)
        if not self._asked:
            self._ask(_Update(ClientUpdate(1, -1)))

    def _fill(self) -> None:
        """Ask for what is missing, one part at a time."""
        if self._socket is not None and not self._filling and (message := self.view.missing()) is not None:
            self._filling = True
            self._ask(_Update(message, fills=True))

    def _send(self) -> None:
        """Send appends, as many as may be in flight."""
        socket = self._socket
        while (
            socket is not None
            and self._unsent
            and len(self._sent) < self._max_in_flight
            and socket.is_writable
        ):
            append = self._unsent.popleft()
            append.seq, self._seq = self._seq, self._seq + 1
            self._sent[append.seq] = append
            socket.send_text(to_server(ClientAppend(append.seq, append.author, append.content, append.key)))

    def _withdraw(self, append: _Append) -> None:
        if append in self._unsent:
            self._unsent.remove(append)
            del self._appends[append.key]

    # What is answered.

    def _replied(self, reply: ServerReply) -> None:
        if not self._asked:
            self._trouble("the server makes no sense: a reply that nobody asked for")
            return
        update = self._asked.popleft()
        self._filling = self._filling and not update.fills
        if not self._appends:
            self.progressed()
        self.is_connected = True
        change = Change() if update.passes else self.view.reply(reply)
        self._changed(change)
        if update.answer is not None and update in self._updates:
            self._updates.remove(update)
            update.answer.callback(reply if update.passes else change)

    def _acknowledged(self, entry: Entry) -> None:
        self.progressed()
        self._changed(self.view.ack(entry))
        if entry.key is not None and (append := self._appends.pop(entry.key, None)) is not None:
            if append.seq is None:  # it was committed on an earlier connection
                self._unsent.remove(append)
            else:
                self._sent.pop(append.seq, None)
            if not append.answer.called:
                append.answer.callback(entry)

    def _refused(self, error: Error) -> None:
        if error.code == "unauthenticated":
            return  # the close that follows says it again
        if error.seq is None:
            update = self._asked.popleft() if self._asked else None
            if update is None or update.answer is None:
                self._trouble(f"the server says {error.code}: {error.message}")
            elif update in self._updates:
                self._updates.remove(update)
                update.answer.errback(ServerRefused(error.code, error.message))
            return
        append = self._sent.pop(error.seq, None)
        if append is None:
            return
        if error.code in _TEMPORARY:
            # What was sent behind it may be committed before it: only a new connection keeps the order.
            self._trouble(f"the server says {error.code}: {error.message}")
        elif self._appends.pop(append.key, None) is not None and not append.answer.called:
            append.answer.errback(ServerRefused(error.code, error.message))

    def _changed(self, change: Change) -> None:
        if change.new or change.older or change.is_reset or change.problems:
            try:
                self._on_change(change)
            except Exception:
                self.log.failure("a change of the log was not taken")

    def _trouble(self, text: str) -> None:
        """Something is wrong that no Deferred can tell: say so, and come back later."""
        self._on_status(text)
        if self._socket is not None:
            self._socket.close()


def room_url(host: str, port: int, room: str, secure: bool = False) -> str:
    """The URL of a room; `ValueError` if there can be no room of that name."""
    if not is_room(room):
        raise ValueError(f"{room!r} is no room: 1 to 64 of A-Z a-z 0-9 . _ -")
    return server_url(host, port, f"rooms/{room}", secure)


def _check(append: ClientAppend) -> None:
    """Raise `ValueError` for what no server takes."""
    checked = from_client(to_server(append).decode())
    if isinstance(checked, Refused):
        raise ValueError(checked.error.message)


__all__ = ["Change", "ChatLogClientFactory", "Entry", "connect", "room_url"]
