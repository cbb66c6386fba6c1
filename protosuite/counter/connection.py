"""One client of counter/1: its frames to the ledger, and totals back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from protosuite.config import CounterConfig
from protosuite.counter.ledger import Book
from protosuite.counter.wire import REPLY_SIZE, REQUEST_SIZE, RequestDecoder, encode_replies, encode_reply
from protosuite.errors import PeerFault
from protosuite.net.connection import PacedConnection, Registry


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

    def __init__(self, service: Counting) -> None:
        super().__init__(service, service.reactor, service.config, service.config.frame_timeout)
        self._service = service
        self._decoder = RequestDecoder()
        self._ledger = service.ledger
        self._add: Callable[[int], int | None] = service.ledger.add
        self._seconds = service.reactor.seconds
        self._waits = service.always
        self._unsent = 0  # bytes of replies that wait for a commit
        self._leaving = False  # finish when those have been sent

    def opened(self) -> None:
        self.start_pacing()

    def dataReceived(self, data: bytes) -> None:
        # One frame at a time is what most clients send. All that has to be done for one is done here, with
        # few calls: an answer takes 7.5 µs of a worker's processor time instead of 8.5.
        total = None
        if self._heard and self._rate is None and not (self._leaving or self.finishing):
            increment = self._decoder.single(data)
            if increment is not None:
                total = self._add(increment)
        if total is None:  # something else than one good frame, or not in the midst of a conversation
            super().dataReceived(data)
            return
        traffic = self.traffic
        traffic.received += REQUEST_SIZE
        traffic.messages += 1
        self._heard = self._seconds()
        reply = encode_reply(total)
        if self._waits:
            self._wait(reply)
        else:
            traffic.sent += REPLY_SIZE
            self.transport.write(reply)

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
            self._answer(encode_replies(totals))
        if fault is not None:
            raise fault

    def _answer(self, replies: bytes) -> None:
        """Send what is known, or have it wait for its commit."""
        if not self._waits:
            self.send(replies)
            return
        self._wait(replies)

    def _wait(self, replies: bytes) -> None:
        """Send these when what is in them has been stored."""
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

    def _leave(self) -> None:
        """Close after every reply that is owed."""
        self._leaving = True
        self.unfinished.stop()
        if not self._unsent:
            self.finish()
