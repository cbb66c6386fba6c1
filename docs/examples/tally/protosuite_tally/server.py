"""The server of tally/1: moves lines between connections, the ballot and the store."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure

from protosuite.extending import (
    OPEN,
    Bearer,
    Figure,
    Guard,
    ListeningService,
    Overloaded,
    PacedConnection,
    PeerFault,
    Publish,
    Rule,
    Scope,
    ServiceAction,
    ServiceConfig,
    Shared,
    StorageError,
    count,
    counter,
    gauge,
    listening_on,
    seconds,
    setting,
    unheard,
)
from protosuite_tally.ballot import Ballot
from protosuite_tally.store import TallyStore
from protosuite_tally.wire import END, Decoder, Message, Show, Token, Vote, encode_error, encode_votes

SEE = ServiceAction("see the votes", Rule(Scope.ALL, Scope.ALL, Scope.ALL))
VOTE = ServiceAction("vote", Rule(Scope.ALL, Scope.NONE, Scope.ALL))  # who runs it does not vote


@frozen(kw_only=True)
class TallyConfig(ServiceConfig):
    """``[tally]``: votes, counted for everybody."""

    listen: tuple[str, ...] = listening_on(8090)
    max_choices: int = setting(100, count(1, 10_000), "Most choices that there are votes for.")
    message_timeout: float = setting(
        60.0, seconds(0.1), "Seconds from the first byte of a line to its last, while the server reads."
    )


def make(config: TallyConfig, shared: Shared) -> TallyService:
    """The service, of what the suite shares."""
    return TallyService(config, TallyStore(shared.database), shared.reactor, shared.publish, shared.guard)


class TallyService(ListeningService):
    """All votes. A vote is answered when it is stored, and told on the bus as ``tally.voted``."""

    def __init__(
        self,
        config: TallyConfig,
        store: TallyStore,
        reactor: Any,
        publish: Publish = unheard,
        guard: Guard = OPEN,
    ) -> None:
        super().__init__("tally", reactor, config)
        self.config = config
        self.guard = guard
        self.ballot = Ballot(config.max_choices)
        self._store = store
        self._publish = publish

    def connection(self, address: IAddress | None) -> TallyConnection:
        return TallyConnection(self)

    def startService(self) -> None:
        super().startService()
        self.ballot.votes = self._store.load()

    def figures(self) -> Iterator[Figure]:
        yield from super().figures()
        yield gauge("tally_choices", "Choices that there are votes for.", len(self.ballot.votes))
        yield counter("tally_votes_total", "Votes that are stored.", self.ballot.total)

    def overview(self) -> Mapping[str, object]:
        leaders = [f"{choice}: {votes}" for choice, votes in list(self.ballot.ranking())[:3]]
        return {"choices": len(self.ballot.votes), "votes": self.ballot.total, "leaders": leaders}

    def vote(self, choice: str) -> Deferred[int]:
        """Store a vote; how many there are then. Raises :exc:`PeerFault` if it may not be."""
        self.ballot.check(choice)

        def stored(votes: int) -> int:
            self.ballot.stored(choice, votes)
            self._publish("tally.voted", {"choice": choice, "votes": votes})
            return votes

        return self.timed(self._store.add(choice)).addCallback(stored)


class TallyConnection(PacedConnection):
    """One client's connection. While a vote is being stored it is not read, so answers keep their order."""

    def __init__(self, service: TallyService) -> None:
        super().__init__(service, service.reactor, service.config, service.config.message_timeout)
        self._service = service
        self._decoder = Decoder()
        self._bearer = Bearer(service.guard, self.refuse)
        self._waiting: deque[Message] = deque()  # what came with a vote; bounded by what one read brings
        self._is_storing = False
        self._is_leaving = False

    def opened(self) -> None:
        self.start_pacing()

    def received(self, data: bytes) -> None:
        if self._is_leaving:
            return
        before = len(self._waiting)
        fault = None
        try:
            self._waiting.extend(self._decoder.feed(data))
        except PeerFault as error:
            fault = error
        self.unfinished.look(len(self._waiting) > before)
        self._work()
        if fault is not None and not self.finishing:
            self.refuse(fault)

    def is_within_message(self) -> bool:
        return self._decoder.is_within_line

    def must_wait(self) -> bool:
        return self._is_storing

    def is_owed(self) -> bool:
        return self._is_storing

    def turned_away(self, fault: PeerFault) -> None:
        self.send(encode_error(fault))

    def peer_finished(self) -> None:
        self._leave()

    def shut_down(self) -> None:
        self._leave()

    def closed(self) -> None:
        self._bearer.release()

    def refuse(self, fault: PeerFault) -> None:
        """Say why, and close."""
        if not self.finishing:
            self._service.turned_down(self.peer, fault.code, fault.message)
            self.send(encode_error(fault))
            self.finish()

    def _work(self) -> None:
        """Do what has come, until something has to be waited for."""
        try:
            while self._waiting and not self._is_storing and not self.finishing:
                self._take(self._waiting.popleft())
        except PeerFault as fault:
            self.refuse(fault)

    def _take(self, message: Message) -> None:
        self.greeted()
        self.spend()
        match message:
            case Token(text):
                self._bearer.present(text)
            case Show():
                self._bearer.check(SEE)
                lines = [encode_votes(*each) for each in self._service.ballot.ranking()]
                self.send(b"".join([*lines, END]))
            case Vote(choice):
                self._bearer.check(VOTE)
                storing = self._service.vote(choice)
                self._is_storing = True
                self.pace()
                storing.addCallback(self._voted, choice).addErrback(self._not_voted).addBoth(self._go_on)

    def _voted(self, votes: int, choice: str) -> None:
        if not self.finishing:
            self.send(encode_votes(choice, votes))

    def _not_voted(self, failure: Failure) -> None:
        if not failure.check(StorageError, Overloaded):
            self._service.log.failure("{peer}: no vote", failure, peer=self.peer)
        self.refuse(PeerFault("overloaded", "the vote cannot be stored now; try again later"))

    def _go_on(self, _: None) -> None:
        self._is_storing = False
        if self.finishing:
            return
        self._work()
        if self._is_leaving:
            self._leave()
        else:
            self.pace()

    def _leave(self) -> None:
        """Close once all is answered."""
        self._is_leaving = True
        self.unfinished.stop()
        if not self._is_storing and not self.finishing:
            self.finish()
