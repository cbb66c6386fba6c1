"""The client of mediachat.v1: what it says counts once, what it is told it takes once, over reconnects."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, BinaryIO

from attrs import define
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from tzlocal import get_localzone_name

from protosuite.errors import Overloaded, PeerFault, ServerRefused
from protosuite.mediachat.receiving import Coming, Received, Receiving, Take
from protosuite.mediachat.saving import SaveFolder, StateFile
from protosuite.mediachat.sending import TEMPORARY, Progress, RunInThread, Sending
from protosuite.mediachat.wire import (
    SUBPROTOCOL,
    FromDesk,
    Head,
    Hello,
    MediaFromDesk,
    Status,
    Text,
    encode_head,
    encode_hello,
    encode_text,
    from_server,
    head,
    spoken,
)
from protosuite.net.reconnect import ResumingClientFactory
from protosuite.net.reconnect import Status as OnStatus
from protosuite.net.websocket import Limits, WebSocket
from protosuite.net.websocket_client import WebSocketClient, connect, ended_by, server_url

_MAX_MESSAGE = 1 << 20  # bytes; media come in frames of 64 KiB, and a text may be a little more


@define(eq=False, repr=False)
class _Text:
    """A text without a status. It carries a key, so sending it again is harmless."""

    message: Text
    answer: Deferred[Status]
    is_sent: bool = False  # on this connection


class MediaChatClientFactory(ResumingClientFactory):
    """One client's side of its chat. For ``connectTCP`` and ``connectSSL`` to the host and port of `url`.

    `url` is ``ws://127.0.0.1:8000/ws/7`` for client 7. `timezone` is an IANA name, the machine's if it is
    not given. `on_message` gets what the desk says, in order: each :class:`.Received` once, the next when
    the Deferred that it may have answered with has fired.

    With `folder`, media are saved there before they are handed on. It begins with what is said from now
    on, or behind message `after`; with `state`, where it was left, for the first time at the beginning
    of the chat.

    `run_in_thread` is :func:`twisted.internet.threads.deferToThread` or alike: what blocks is done there.
    A server that owes an answer and is silent for `answer_timeout` seconds is left for a new connection.
    At most `max_waiting` texts wait for their status, `max_in_flight` of them with the server, and at
    most `max_files` files wait to be sent.

    `done` fires when the client has been closed. It fails if the client cannot go on: with `OSError` or
    `ValueError` if what comes cannot be kept, with :exc:`ServerRefused` if the time zone is none, or if the
    `token`, which says who one is to a server that asks, is not good, or no longer, or not for this client.
    """

    def __init__(
        self,
        clock: IReactorTime,
        url: str,
        run_in_thread: RunInThread,
        on_message: Take,
        *,
        timezone: str | None = None,
        folder: SaveFolder | None = None,
        state: StateFile | None = None,
        after: int | None = None,
        on_coming: Coming | None = None,
        on_status: OnStatus | None = None,
        answer_timeout: float = 60.0,
        max_waiting: int = 10_000,
        max_in_flight: int = 200,
        max_files: int = 100,
        limits: Limits | None = None,
        random: Random | None = None,
        token: str | None = None,
    ) -> None:
        super().__init__(clock, random or SystemRandom(), on_status)
        self.url = url
        self.token = token
        self.timezone = timezone or local_timezone()
        self.welcome: dict[str, Any] | None = None  # what the server said last about the chat and its hours
        self.is_connected = False  # and has been welcomed
        self.done: Deferred[None] = Deferred()
        self._answer_timeout = answer_timeout
        self._max_waiting = max_waiting
        self._max_in_flight = max_in_flight
        self._limits = limits or Limits(max_message=_MAX_MESSAGE)
        self._texts: dict[str, _Text] = {}  # by key, in order, until they have a status
        self._unsent: deque[_Text] = deque()  # those of them that have not been sent on this connection
        self._sending = Sending(run_in_thread, max_files, self._trouble, self.progressed)
        self._receiving = Receiving(
            run_in_thread,
            self._taking(on_message),
            after,
            folder,
            state,
            on_coming,
            self._pace,
            self._trouble,
            self._give_up,
        )
        self._connection: WebSocket | None = None
        self._socket: WebSocket | None = None  # the same while it is of use
        self._is_open = False  # what is kept has been read
        self._is_opening = False
        self._is_paused = False
        self._has_heard = False  # from the server, since the last look
        self._was_owed = False  # an answer, at the last look
        self._watch: IDelayedCall | None = None
        self._leaving: list[Deferred[None]] = []  # fire when the connection is closed

    # What it can be asked.

    def say(self, text: str) -> Deferred[Status]:
        """Say something: the status is ``saved``, or ``discarded`` with `next_open_at`.

        Waits for the connection, and is sent again after a reconnect; it is stored once. Fails with
        :exc:`ServerRefused`, with :exc:`Overloaded` if too many wait, and with `ConnectionError` when
        the client is closed. Cancelling takes it back if it has not been sent. Raises `ValueError` for
        what no server would take.
        """
        message = Text(text, f"{self._random.getrandbits(128):032x}")
        _check(lambda: spoken(encode_text(message).decode(), is_plain=False))
        if not self.continueTrying:
            return fail(ConnectionError("this client has been closed"))
        if len(self._texts) >= self._max_waiting:
            return fail(Overloaded(f"{self._max_waiting} texts wait for an answer"))
        assert message.key is not None
        waiting = self._texts[message.key] = _Text(message, Deferred(lambda _: self._withdraw(waiting)))
        self._unsent.append(waiting)
        self._send()
        return waiting.answer

    def send_file(
        self,
        file: Path | str | BinaryIO,
        kind: str,
        name: str | None = None,
        *,
        upload: str | None = None,
        on_progress: Progress | None = None,
    ) -> Deferred[Status]:
        """Send a file, a path or a binary file that can seek: the status as for a text.

        Files are sent one after the other. After a break, of the connection or of this program, a file
        goes on where the server has it: it is known by `upload`, which by default follows from `name`,
        `kind` and the bytes. So the same file is stored once; with another `upload`, again.

        `on_progress` is called with the bytes that were sent and their sum, and with 0 while the hash is
        made. Fails as :meth:`say` does, and with `OSError`. Cancelling ends it; it can be sent again.
        """
        path = None if hasattr(file, "read") else Path(file)
        name = name if name is not None or path is None else path.name
        message = Head(name or "", 0, kind, upload=upload)
        _check(lambda: head(encode_head(message)))
        if not self.continueTrying:
            return fail(ConnectionError("this client has been closed"))
        source: Any = path if path is not None else file
        return self._sending.add(source, message, on_progress or (lambda done, size: None))

    def close(self) -> Deferred[None]:
        """Close the connection and do not come back: what has no status fails.

        Fires when the connection is closed.
        """
        closed = self._leave(ConnectionError("the client was closed"))
        if not self.done.called:
            self.done.callback(None)
        return closed

    # Of a Talk.

    def began(self, socket: WebSocket) -> None:
        """A connection is there: say where this is, and what is here already."""
        self._connection = self._socket = socket
        self._is_paused = False
        self._has_heard = self._was_owed = True
        self._watch = self.clock.callLater(self._answer_timeout, self._look)
        if self._is_open:
            self._greet()
        elif not self._is_opening:
            self._is_opening = True
            opening = Deferred.fromCoroutine(self._receiving.open())
            opening.addCallbacks(self._opened, self._give_up)

    def text(self, text: str) -> None:
        """A message came."""
        self._has_heard = True
        try:
            message = from_server(text)
            if isinstance(message, Status):
                self._answered(message)
            elif self._socket is None:
                pass  # the connection is being closed, and what comes now comes again
            elif not isinstance(message, dict):
                self._receiving.message(message)
                self._pace()
            elif message.get("type") == "welcome":
                self._welcomed(message)
        except PeerFault as fault:
            self._trouble(f"the server makes no sense: {fault}")
        self._send()

    def binary(self, data: bytes) -> None:
        """Bytes of media came."""
        self._has_heard = True
        if self._socket is not None:
            try:
                self._receiving.data(data)
            except PeerFault as fault:
                self._trouble(f"the server makes no sense: {fault}")
            self._pace()

    def drained(self) -> None:
        """The connection takes more."""
        self._sending.stir()
        self._send()

    def stopping(self) -> None:
        """A client is not stopped by a service."""

    def ended(self, code: int, reason: str) -> None:
        """The connection is gone."""
        self._forget()
        refusal = ended_by(code, reason)
        if refusal is not None and self.continueTrying:
            self._give_up(Failure(refusal))
        self._connection = None
        leaving, self._leaving = self._leaving, []
        for each in leaving:
            each.callback(None)

    # For Twisted.

    def buildProtocol(self, addr: IAddress | None) -> WebSocketClient:
        self._protocol = WebSocketClient(
            self.url, SUBPROTOCOL, self.clock, self._limits, self, token=self.token
        )
        return self._protocol

    def lost(self) -> None:
        if self._protocol.denial is not None:
            self._give_up(Failure(self._protocol.denial))
        elif self._protocol.refusal:
            self._on_status(self._protocol.refusal)

    # The connection.

    def _opened(self, _: None) -> None:
        self._is_open = True
        self._greet()

    def _greet(self) -> None:
        if self._socket is not None:
            media = "inline" if self._receiving.is_inline else "link"
            self._socket.send_text(encode_hello(Hello(self.timezone, self._receiving.after, media)))

    def _welcomed(self, fields: dict[str, Any]) -> None:
        self.welcome = fields
        after = fields.get("after")
        if self._receiving.after is None and type(after) is int:
            self._receiving.after = after
        self.is_connected = True
        if not self._texts:
            self.progressed()
        self._unsent = deque(self._texts.values())
        for text in self._unsent:
            text.is_sent = False
        assert self._socket is not None
        self._sending.connected(self._socket)

    def _look(self) -> None:
        """See whether the server has been silent although it owes an answer."""
        self._watch = self.clock.callLater(self._answer_timeout, self._look)
        has_heard, self._has_heard = self._has_heard, False
        owes = not self.is_connected or self._sending.is_owed or any(t.is_sent for t in self._texts.values())
        was_owed, self._was_owed = self._was_owed, owes
        if owes and was_owed and not has_heard and not self._is_paused:
            self._trouble(f"no answer for {self._answer_timeout:g} s")

    def _pace(self) -> None:
        """Read, or do not, as it stands now."""
        pause = self._receiving.is_full
        if self._socket is not None and pause != self._is_paused:
            self._is_paused = pause
            if pause:
                self._socket.pause_reading()
            else:
                self._socket.resume_reading()

    def _trouble(self, text: str) -> None:
        """Something is wrong that no Deferred can tell: say so, and come back later."""
        if self._socket is not None:
            self._on_status(text)
            socket = self._socket
            self._forget()
            socket.close()

    def _forget(self) -> None:
        """The connection is of no use any more."""
        self._socket = None
        self.is_connected = False
        self._sending.lost()
        self._receiving.cut()
        if self._watch is not None and self._watch.active():
            self._watch.cancel()

    def _give_up(self, failure: Failure) -> None:
        """This will not get better."""
        assert isinstance(failure.value, Exception)
        self._leave(failure.value)
        if not self.done.called:
            self.done.errback(failure)

    def _leave(self, error: Exception) -> Deferred[None]:
        self.stopTrying()
        self._sending.close(error)
        self._receiving.close()
        texts, self._texts = self._texts, {}
        self._unsent.clear()
        for text in texts.values():
            if not text.answer.called:
                text.answer.errback(error)
        connection = self._connection
        self._forget()
        if connection is None:
            if self.connector is not None and self.connector.state == "connected":
                self.connector.disconnect()  # the server has not answered the handshake
            return succeed(None)
        closed: Deferred[None] = Deferred()
        self._leaving.append(closed)
        connection.close()
        return closed

    # What is said.

    def _send(self) -> None:
        """Send texts, as many as may be in flight."""
        in_flight = len(self._texts) - len(self._unsent)
        while (
            self.is_connected
            and self._socket is not None
            and self._unsent
            and in_flight < self._max_in_flight
            and self._socket.is_writable
        ):
            text = self._unsent.popleft()
            text.is_sent = True
            in_flight += 1
            self._socket.send_text(encode_text(text.message))

    def _withdraw(self, text: _Text) -> None:
        if text in self._unsent:
            self._unsent.remove(text)
            assert text.message.key is not None
            del self._texts[text.message.key]

    def _answered(self, status: Status) -> None:
        if status.upload is not None:
            self._sending.status(status)
        elif status.key is not None:
            self._settle(status, status.key)
        elif status.code == "unauthenticated":
            pass  # the close that follows says it again
        elif status.code == "invalid-timezone":
            self._give_up(Failure(ServerRefused(status.code, status.detail or "")))
        elif status.status == "error" and status.code != "cancelled":
            self._trouble(f"the server says {status.code}: {status.detail}")

    def _settle(self, status: Status, key: str) -> None:
        """The server has said what became of a text."""
        text = self._texts.get(key)
        if text is None:
            return
        if status.status == "error" and status.code in TEMPORARY:
            # What was sent behind it may be stored before it: only a new connection keeps the order.
            self._trouble(f"the server says {status.code}: {status.detail}")
            return
        del self._texts[key]
        if not text.is_sent:  # it was stored on an earlier connection
            self._unsent.remove(text)
        self.progressed()
        if text.answer.called:
            return
        if status.status == "error":
            text.answer.errback(ServerRefused(status.code or "error", status.detail or ""))
        else:
            text.answer.callback(status)

    def _taking(self, on_message: Take) -> Take:
        def take(received: Received) -> object:
            self.progressed()
            return on_message(received)

        return take


def local_timezone() -> str:
    """The IANA name of the machine's time zone; `ValueError` if it has none."""
    try:
        name = get_localzone_name()
    except Exception as error:  # it reads several files that people write
        raise ValueError(f"this machine's time zone is not known: {error}") from None
    if not name:
        raise ValueError("this machine's time zone has no name")
    return str(name)


def chat_url(host: str, port: int, client_id: int, secure: bool = False) -> str:
    """The URL of a client's chat."""
    return server_url(host, port, f"ws/{client_id}", secure)


def _check(read: Any) -> None:
    """Raise `ValueError` for what no server takes."""
    try:
        read()
    except UnicodeEncodeError:
        raise ValueError("text has lone surrogates, which are not UTF-8") from None
    except PeerFault as fault:
        raise ValueError(fault.message) from None


__all__ = ["FromDesk", "MediaChatClientFactory", "MediaFromDesk", "Received", "chat_url", "connect"]
