"""The client of numbers/1: comes back as often as it takes, and ends with a verified sum."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from attrs import asdict, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from protosuite.errors import PeerFault, ServerRefused
from protosuite.files import replace_text
from protosuite.net.reconnect import ResumingClientFactory, Status
from protosuite.numbers.sequence import Progress
from protosuite.numbers.wire import (
    MAX_INDEX,
    SERVER_MESSAGES,
    Ack,
    Decoder,
    End,
    Error,
    Message,
    Number,
    SessionOpened,
    Start,
    encode,
    is_client_id,
)

# What a server says to which coming back may help: it had trouble, or what was sent did not arrive in time.
_PASSING = ("overloaded", "shutting-down", "not-started", "message-timeout", "ack-timeout", "idle-timeout")


@frozen
class Result:
    """A stream that arrived whole: `sum` of its `count` numbers, and the checksum that both sides got."""

    client: str
    count: int
    sum: int
    checksum: int
    reconnects: int


class StateFile:
    """Where a client keeps its progress, so that it survives its own ``kill -9``.

    Replaced atomically and synced. Its methods block; :class:`NumbersClientFactory` calls them in a
    thread.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> tuple[str, Progress] | None:
        """The client id and its progress, or None if there is no file.

        Raises `ValueError`, with a sentence for a person, if it is not such a file.
        """
        try:
            state = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            state = None
        if not isinstance(state, dict) or not _is_state(state):
            raise ValueError(f"{self.path} is not a state file of this program; remove it to start anew")
        client = str(state.pop("client"))
        return client, Progress(**state)

    def save(self, client: str, progress: Progress) -> None:
        """Put the progress on stable storage."""
        replace_text(self.path, json.dumps({"client": client, **asdict(progress)}))

    def remove(self) -> None:
        """The stream is over."""
        self.path.unlink(missing_ok=True)


def _is_state(state: dict[str, Any]) -> bool:
    bounds = {"next": MAX_INDEX, "sum": MAX_INDEX * 65_535, "checksum": 2**32 - 1}
    return (
        state.keys() == {"client", *bounds}
        and is_client_id(state["client"])
        and all(type(state[key]) is int and 0 <= state[key] <= most for key, most in bounds.items())
    )


RunInThread = Callable[..., Deferred[Any]]


class NumbersClientFactory(ResumingClientFactory):
    """Receives one client's stream over as many connections as it takes.

    `result` fires with a :class:`Result`, or fails: with :exc:`ServerRefused` if the server said a
    thing that waiting would not mend, with :exc:`PeerFault` if what it sent cannot be right (a checksum
    that differs among it), with `OSError` if `state` cannot be written.

    `token` says who one is to a server that asks; another one may be set, for the next connection. `progress`
    is where to go on. With `state`, each number is on stable storage before it is
    acknowledged; `run_in_thread` is :func:`twisted.internet.threads.deferToThread` or alike.
    `on_progress` is called with the progress and the stream's count. A connection on which nothing
    arrives for `silence_timeout` seconds more than the stream's interval is given up for a new one.
    """

    def __init__(
        self,
        client: str,
        clock: IReactorTime,
        *,
        max: int | None = None,
        token: str | None = None,
        progress: Progress | None = None,
        state: StateFile | None = None,
        run_in_thread: RunInThread | None = None,
        random: Random | None = None,
        on_status: Status | None = None,
        on_progress: Callable[[Progress, int], None] | None = None,
        silence_timeout: float = 30.0,
    ) -> None:
        if not is_client_id(client):
            raise ValueError("a client id is 1 to 64 of A-Z a-z 0-9 . _ -")
        if state is not None and run_in_thread is None:
            raise ValueError("a state file needs run_in_thread: writing it blocks")
        super().__init__(clock, random or SystemRandom(), on_status)
        self.client = client
        self.max = max
        self.token = token
        self.progress = progress or Progress()
        self.silence_timeout = silence_timeout
        self.on_progress = on_progress or (lambda progress, count: None)
        self.result: Deferred[Result] = Deferred(lambda _: self.stop())
        self._state = state
        self._run_in_thread = run_in_thread
        self._saving = False
        self._saved = self.progress.next
        self._connection: NumbersClient | None = None
        self._over = False
        self._outcome: Result | Failure | None = None

    def buildProtocol(self, addr: IAddress | None) -> NumbersClient:
        self._connection = NumbersClient(self)
        return self._connection

    def stop(self) -> None:
        """Leave; the stream can be resumed at `progress`."""
        self._over = True
        self.stopTrying()
        if self._connection is not None and self._connection.transport is not None:
            self._connection.transport.loseConnection()

    def received(self, progress: Progress, count: int) -> None:
        """The stream has come further."""
        self.progressed()
        self.progress = progress
        self.on_progress(progress, count)
        if self._state is None:
            self._acknowledge()
        elif not self._saving:
            self._save()

    def ended(self) -> None:
        """The stream is complete and has been verified."""
        p = self.progress
        result = Result(self.client, p.next, p.sum, p.checksum, self.reconnects)
        self._end_with(result)

    def fail(self, error: Exception) -> None:
        """Coming back would change nothing."""
        self._end_with(Failure(error))

    def _save(self) -> None:
        """Store the progress in a thread, and then what came meanwhile: one write at a time."""
        assert self._state is not None
        assert self._run_in_thread is not None
        self._saving = True
        saving = self._run_in_thread(self._state.save, self.client, self.progress)
        saving.addCallbacks(self._saved_up_to, self._not_saved, callbackArgs=(self.progress.next,))

    def _saved_up_to(self, _: None, index: int) -> None:
        self._saving = False
        self._saved = index
        if self._over:
            self._finish_state()
            return
        self._acknowledge()
        if self.progress.next > index:
            self._save()

    def _not_saved(self, failure: Failure) -> None:
        self._saving = False
        self._end_with(failure)

    def _acknowledge(self) -> None:
        index = self.progress.next if self._state is None else self._saved
        if self._connection is not None:
            self._connection.acknowledge(index - 1)

    def _end_with(self, outcome: Result | Failure) -> None:
        if self._over:
            return
        self.stop()
        self._outcome = outcome
        if not self._saving:
            self._finish_state()

    def _finish_state(self) -> None:
        """Remove the state file, if the stream is complete, and only then say so."""
        outcome, self._outcome = self._outcome, None
        if isinstance(outcome, Result) and self._state is not None:
            assert self._run_in_thread is not None
            removing = self._run_in_thread(self._state.remove)
            removing.addCallbacks(lambda _: outcome, lambda failure: failure).addBoth(self._tell)
        elif outcome is not None:
            self._tell(outcome)

    def _tell(self, outcome: Result | Failure) -> None:
        if not self.result.called:
            self.result.callback(outcome)  # a Failure makes it fail


class NumbersClient(Protocol):
    """One connection of a :class:`NumbersClientFactory`."""

    transport: ITransport | None = None

    def __init__(self, factory: NumbersClientFactory) -> None:
        self._factory = factory
        self._decoder = Decoder(SERVER_MESSAGES)
        self._session: SessionOpened | None = None
        self._acknowledged = factory.progress.next - 1
        self._silence: IDelayedCall | None = None

    def connectionMade(self) -> None:
        progress = self._factory.progress
        checksum = progress.checksum if progress.next else None
        factory = self._factory
        self._send(Start(factory.client, factory.max, progress.next, checksum, factory.token))
        self._restart_silence()

    def dataReceived(self, data: bytes) -> None:
        self._restart_silence()
        try:
            for message in self._decoder.feed(data):
                if self._factory.continueTrying:
                    self._take(message)
        except PeerFault as fault:
            self._factory.fail(fault)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.transport = None
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def acknowledge(self, index: int) -> None:
        """Tell the server that everything up to `index` is here."""
        if self.transport is not None and index > self._acknowledged:
            self._acknowledged = index
            self._send(Ack(index))

    def _take(self, message: Message) -> None:
        factory = self._factory
        if isinstance(message, Error):
            if message.code not in _PASSING:
                factory.fail(ServerRefused(message.code, message.message))
            # Otherwise the server closes now, and the factory comes back.
        elif self._session is None:
            if not isinstance(message, SessionOpened) or message.next != factory.progress.next:
                raise PeerFault("bad-field", "the server did not begin where it was asked to")
            self._session = message
            self._restart_silence()
            factory.on_progress(factory.progress, message.count)
        elif isinstance(message, Number):
            factory.received(factory.progress.take([message]), self._session.count)
        elif isinstance(message, End):
            factory.progress.verify(message)
            factory.ended()
        else:
            raise PeerFault("already-started", "the server opened the session twice")

    def _restart_silence(self) -> None:
        interval = self._session.interval_ms / 1000 if self._session else 0.0
        if self._silence is not None:
            self._silence.reset(self._factory.silence_timeout + interval)
        else:
            self._silence = self._factory.clock.callLater(self._factory.silence_timeout, self._silent)

    def _silent(self) -> None:
        self._silence = None
        if self.transport is not None:
            abort = getattr(self.transport, "abortConnection", self.transport.loseConnection)
            abort()

    def _send(self, message: Message) -> None:
        assert self.transport is not None
        self.transport.write(encode(message))
