"""One client of counter/1: its frames to the ledger, and totals back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from protosuite.config import CounterConfig
from protosuite.counter.ledger import Book
from protosuite.counter.wire import RequestDecoder, encode_replies
from protosuite.errors import PeerFault
from protosuite.net.connection import PacedConnection, Registry


class Batching(Protocol):
    """What has requests wait for the end of a turn of the reactor."""

    @property
    def heard(self) -> float:
        """When one came last."""

    def leave(self) -> None:
        """Have what has been read answered, and leave the rest to the connection."""


class Counting(Registry, Protocol):
    """Whose connection it is."""

    config: CounterConfig
    reactor: Any
    ledger: Book
    always: bool  # whether replies wait for a commit

    def answer_when_stored(self, connection: CounterConnection, replies: bytes) -> None:
        """Send `replies` to `connection` once every total in them is on stable storage."""

    def refused(self, connection: CounterConnection, fault: PeerFault) -> None:
        """Count a frame that was not applied, and say why."""


class CounterConnection(PacedConnection):
    """One client's connection. It is not read while its replies are not, or while many wait for a commit."""

    unfinished_code = "frame-timeout"
    batch: Batching | None = None  # what reads requests in our place, and hands on what is none

    def __init__(self, service: Counting) -> None:
        super().__init__(service, service.reactor, service.config, service.config.frame_timeout)
        self._service = service
        self._decoder = RequestDecoder()
        self._ledger = service.ledger
        self._waits = service.always
        self._unsent = 0  # bytes of replies that wait for a commit
        self._leaving = False  # finish when those have been sent

    def opened(self) -> None:
        self.start_pacing()

    def received(self, data: bytes) -> None:
        """Bytes came, however they are cut."""
        if self._leaving:
            return
        completed = 0
        try:
            for increments in self._decoder.feed(data):
                completed = len(increments)
                self.greeted()
                self.spend(completed)
                self._apply(increments)
        except PeerFault as fault:
            self.refuse(fault)
        if not self._leaving:
            self.unfinished.look(completed > 0)

    def _apply(self, increments: Sequence[int]) -> None:
        totals, fault = self._ledger.apply(increments)
        if totals:
            self.answer(encode_replies(totals))
        if fault is not None:
            raise fault

    def answer(self, replies: bytes) -> None:
        """Send what is known, or have it wait for its commit."""
        if not self._waits:
            self.send(replies)
            return
        self._unsent += len(replies)
        self._service.answer_when_stored(self, replies)
        if self.must_wait():
            self.pace()

    def reply(self, replies: bytes) -> None:
        """Send what has waited for its commit."""
        self._unsent -= len(replies)
        if not self.finishing:
            self.send(replies)
            if self._leaving and not self._unsent:
                self.finish()
            elif self.is_paused:
                self.pace()

    def cut_off(self) -> None:
        """Close: what it asked for could not be stored, and a close is all that the format can say."""
        if not self.finishing:
            self._service.turned_down(self.peer, "storage", "the total cannot be stored now")
            self.finish()

    def peer_finished(self) -> None:
        self._leave()

    def shut_down(self) -> None:
        self._leave()

    def is_within_message(self) -> bool:
        return self._decoder.is_within_frame

    def must_wait(self) -> bool:
        return self._unsent >= self._service.config.max_backlog

    def is_owed(self) -> bool:
        return self._unsent > 0

    def refuse(self, fault: PeerFault) -> None:
        """A frame is not applied, or there was none for long: a close is all that the format can say."""
        self._service.refused(self, fault)
        self._leave()

    def can_be_batched(self) -> bool:
        """Whether a whole request, if one comes now, needs nothing but to be added and answered."""
        is_open = bool(self.heard) and not (self._leaving or self.finishing)
        return is_open and self._rate is None and not self._decoder.is_within_frame

    def last_heard(self) -> float:
        return super().last_heard() if self.batch is None else max(self.heard, self.batch.heard)

    def left_batch(self, heard: float) -> None:
        """It reads requests itself again; one came last at the time `heard`."""
        self.batch = None
        self.heard = max(self.heard, heard)

    def finish(self) -> None:
        self._end_batching()
        super().finish()

    def _end_batching(self) -> None:
        """Nothing more is added that is read in our place; what has been read is answered."""
        if self.batch is not None:
            self.batch.leave()

    def _leave(self) -> None:
        """Close after every reply that is owed."""
        self._end_batching()
        self._leaving = True
        self.unfinished.stop()
        if not self._unsent:
            self.finish()
