"""The server of counter/1: frames to the ledger, totals back, and the total to the store in time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from protosuite.config import CounterConfig
from protosuite.counter.batching import Batch
from protosuite.counter.connection import CounterConnection
from protosuite.counter.ledger import Book, Ledger
from protosuite.counter.overview import figures, overview
from protosuite.counter.store import CounterStore
from protosuite.errors import PeerFault, StartError
from protosuite.figures import Figure
from protosuite.lull import Lull
from protosuite.net.connection import Connection
from protosuite.net.listening import ConnectionFactory, ListeningService, Publish, unheard
from protosuite.net.prompt import PromptServer

if TYPE_CHECKING:
    from protosuite.counter.crew import Crew

# Seconds from one look whether another process has taken the counter to the next, where that can be.
_LOOK = 1.0
_TAKEN = PeerFault("storage", "another process has the counter")


class CounterService(ListeningService):
    """The counter, and what `durability` asks for.

    ``always``: replies wait for a commit that holds their totals; those of many connections share one.
    ``everysec``: a timer stores the total. When storing has failed, nothing is added until it works again,
    so that no more than a second's increments are ever at stake. ``no``: stored at a clean stop.

    The counter is one process's at a time, the last one's that started with the database. Another one that
    still runs answers nobody any more as soon as it knows, and what it has not stored is lost, as if it
    had been killed.
    """

    def __init__(
        self, config: CounterConfig, store: CounterStore, reactor: Any, publish: Publish = unheard
    ) -> None:
        super().__init__("counter", reactor, config)
        self.config = config
        self.ledger: Book = Ledger(0)
        self._crew = self._make_crew() if config.workers > 1 else None
        self.always = config.durability == "always"
        self.batch = Batch(self, pauses=not self.always)  # at a commit clients have their turn anyway
        self.storing_fails = False
        self.is_taken = False  # by another process
        self._publish = publish
        self._store = store
        self._stored = 0
        self._saving: Deferred[None] | None = None
        self._unanswered: list[
            tuple[CounterConnection, bytes]
        ] = []  # bounded by each connection's max_backlog
        self._committing = False  # a commit is under way, or about to begin
        self._lull = Lull(reactor, lambda: len(self._unanswered))
        self._syncing = LoopingCall(self._sync)
        self._looking = LoopingCall(self._look)
        self._syncing.clock = self._looking.clock = reactor
        self._seen = 0  # requests, at the last look

    def _make_crew(self) -> Crew:
        from protosuite.counter.crew import Crew
        from protosuite.counter.shared import SharedLedger, is_possible, memory

        if not is_possible():
            raise StartError("[counter] workers: this system cannot share a counter: set workers = 1")
        descriptor = memory()
        self.ledger = ledger = SharedLedger(descriptor)
        ledger.prepare()
        return Crew(self, descriptor)

    def connection(self, address: IAddress | None) -> CounterConnection:
        return CounterConnection(self)

    def factory(self, endpoint: str = "tcp:0") -> ConnectionFactory:
        if self._crew is not None and self._crew.takes(endpoint):
            return ConnectionFactory(self._crew.connection, self._shortage, endpoint)
        return super().factory(endpoint)

    def _opened(self, port: Any, endpoint: str) -> None:
        super()._opened(port, endpoint)
        if self._crew is not None and self._crew.takes(endpoint):
            port.transport = self._crew.transport
        elif self.batch.is_possible and getattr(port, "transport", None) is PromptServer:
            port.transport = self.batch.transport

    def startService(self) -> None:
        super().startService()
        self._stored = self.ledger.total = self._store.take()
        if self._crew is not None:
            self._crew.start()
        if self.config.durability == "everysec":
            self._syncing.start(self.config.sync_interval, now=False)
        if self._store.can_be_shared:
            self._looking.start(_LOOK, now=False)

    def stopService(self) -> Deferred[None]:
        """Store the total. The connections have been drained before."""
        super().stopService()
        self._stop_timers()
        ending = succeed(None) if self._crew is None else self._crew.stop()
        ending.addCallback(lambda _: self._saving or succeed(None))
        return ending.addCallback(lambda _: self._save()).addCallback(self._log_end)

    def figures(self) -> Iterator[Figure]:
        yield from super().figures()
        yield from figures(self.ledger, self._stored, len(self._unanswered), self.storing_fails)

    def overview(self) -> Mapping[str, object]:
        return overview(self.ledger, self._stored, self.storing_fails)

    def answer_when_stored(self, connection: CounterConnection, replies: bytes) -> None:
        """Send `replies` to `connection` once every total in them is on stable storage."""
        self._unanswered.append((connection, replies))
        if not self._committing:
            self._committing = True
            self._lull.over().addCallback(self._commit)

    def refused(self, connection: CounterConnection, fault: PeerFault) -> None:
        """Count a frame that was not applied, and say why."""
        self.ledger.refused += 1
        if self.turned_down(connection.peer, fault.code, fault.message):
            self._publish("counter.refused", {"peer": connection.peer, "code": fault.code})

    def joined(self, connection: Connection) -> PeerFault | None:
        return _TAKEN if self.is_taken else super().joined(connection)

    def _commit(self, _: object) -> None:
        """Store the total for all that wait now, answer them, and go on with those that came meanwhile."""
        group, self._unanswered = self._unanswered, []

        def stored(_: None) -> None:
            if self.storing_fails:
                self._committing = False
                self._take_back(group)
                return
            self._committing = bool(self._unanswered)
            if self._committing:
                self._lull.over().addCallback(self._commit)
            for connection, replies in group:
                connection.reply(replies)

        self._save().addCallback(stored)

    def _take_back(self, group: list[tuple[CounterConnection, bytes]]) -> None:
        """With ``always``: what could not be stored, and what came behind it, did not happen."""
        group, self._unanswered = group + self._unanswered, []
        self.ledger.total = self._stored
        for connection, _ in group:
            connection.cut_off()

    def _sync(self) -> None:
        if self._saving is None:
            self._save()

    def _save(self) -> Deferred[None]:
        """Store the total as it is now; the Deferred never fails, `storing_fails` says how it went."""
        total = self.ledger.total
        done: Deferred[None] = Deferred()
        if self.is_taken or (total == self._stored and not self.storing_fails):
            done.callback(None)
            return done
        self._saving = done
        saving = self.timed(self._store.save(total))
        saving.addCallbacks(self._saved, self._not_saved, callbackArgs=(total,))
        saving.addErrback(self._defect).addBoth(self._save_done, done)
        return done

    def _saved(self, is_ours: bool, total: int) -> None:
        if not is_ours or self.is_taken:
            self._lose()
            return
        self._stored = total
        if self.storing_fails:
            self.storing_fails = self.ledger.is_closed = False
            self.log.info("the total is stored again: increments are accepted")

    def _not_saved(self, failure: Failure) -> None:
        if not self.storing_fails:
            self.storing_fails = True
            self.ledger.is_closed = not self.always
            self.log.error(
                "the total cannot be stored: no increment is accepted until it can ({reason})",
                reason=str(failure.value),
            )

    def _defect(self, failure: Failure) -> None:
        self.log.failure("what follows a commit of the total went wrong", failure)

    def _save_done(self, _: object, done: Deferred[None]) -> None:
        self._saving = None
        done.callback(None)

    def _look(self) -> None:
        """Find out whether the counter has been taken, if anybody has been answered since the last time."""
        requests = self.ledger.requests
        if requests != self._seen and not self.is_taken:
            self._seen = requests
            self._store.is_ours().addCallbacks(self._has_looked, lambda failure: None)

    def _has_looked(self, is_ours: bool) -> None:
        if not is_ours:
            self._lose()

    def _lose(self) -> None:
        """The counter is another process's: let nobody be answered by this one any more."""
        if self.is_taken:
            return
        self.is_taken = self.storing_fails = self.ledger.is_closed = True
        self._stop_timers()
        self.log.critical(
            "another process has taken the counter: this one answers nobody any more. Let only one have it,"
            " or give all of them a Redis as [suite] fabric"
        )
        for connection in list(self.connections):
            connection.shut_down()

    def _stop_timers(self) -> None:
        for timer in (self._syncing, self._looking):
            if timer.running:
                timer.stop()

    def _log_end(self, _: None) -> None:
        ledger = self.ledger
        if self.storing_fails and not self.is_taken:
            self.log.critical("the total {total} could not be stored", total=ledger.total)
        self.log.info(
            "stopped: total {total}, {requests} requests, {refused} refused frames",
            total=ledger.total,
            requests=ledger.requests,
            refused=ledger.refused,
        )
