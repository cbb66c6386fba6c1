"""A reactor's turn that does less for each event."""

from __future__ import annotations

import errno
import os
import select
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from twisted.python import log

_READABLE = getattr(select, "EPOLLIN", 0)
_MOST = 1024  # events of one turn
_MOMENT = 5e-6  # seconds; where timers are slow it is 24 µs
_GLANCE = 30e-6  # seconds: as long as it takes to be woken
_SOON = 100e-6  # seconds from one glance to the next turn's end that are a sign of more to come
_SLACK = "1000"  # nanoseconds; without it a sleep may be 50 µs longer than it is told to be


def make_brief(reactor: Any, yields: bool = False) -> None:
    """Have an epoll reactor call what can be read without a log context made for it; no other is changed.

    Twisted makes one for every event, for lines of :mod:`twisted.python.log` to name the connection, and
    looks whether the descriptor is open: with that an answer of the counter cost 16.4 µs of processor time,
    and 11.8 without. Our loggers do not use it. An exception is logged within that context all the same,
    and ends the connection, as in Twisted's turn; all other events go through it as they did.

    A turn is of 1,024 events at most, and epoll tells of the others first in the next. Of 10,000 clients of
    the counter who ask again and again a turn took 80 ms, in which no timer ran; now it is 8, they are
    answered an eighth more often, for what a turn touches is still in the processor's caches at its end,
    and the 99th percentile is 104 ms instead of 177.

    One that `yields` begins each turn by letting others run that wait for its processor. It is for a process
    that does little for each of many clients: where they, or more such processes, are on the same machine,
    they have asked by then, and need not wait for a tick of the system's clock. With two workers of the
    counter the 99th percentile is 0.7 ms so, and 3.4 without.
    """
    if type(reactor).__module__ == "twisted.internet.epollreactor":
        reactor.doIteration = _YieldingTurn(reactor) if yields else _Turn(reactor)


def at_end(reactor: Any, call: Callable[[], object]) -> bool:
    """Have `call` called at the end of each turn; False if that cannot be, for the reactor is not brief."""
    turn = getattr(reactor, "doIteration", None)
    if isinstance(turn, _Turn):
        turn.ending.append(call)
        return True
    return False


class DirectReaders(list["Callable[[int], Any] | None"]):
    """By the number of a descriptor, what is to read it, or None; as long as it has had to be.

    Such a reader is called with that number where only reading is to be done, in the place of ``doRead`` of
    the selectable, and what it returns means the same. It is for who has thousands of connections: each of
    them is in some twenty places of the memory, which are in no cache of the processor when it asks again.
    With 4,000 clients of the counter who ask again and again that is an eighth of the time.
    """

    def put(self, number: int, read: Callable[[int], Any] | None) -> None:
        """Have `read` called for a descriptor, or its selectable again. Who stops reading has to put None."""
        self.extend([None] * (number + 1 - len(self)))
        self[number] = read


def direct_readers(reactor: Any) -> DirectReaders | None:
    """Those of a reactor; None if it is not brief, and has none."""
    turn = getattr(reactor, "doIteration", None)
    return turn.readers if isinstance(turn, _Turn) else None


def rest() -> None:
    """Have the reactor's thread sleep for a moment, so that clients of this machine take turns.

    Whoever is answered as soon as it asks never waits, so it keeps its processor for up to a tick of the
    system's clock, 4 ms; who shares that with it is answered, too, and does not get to know. In a moment
    without answers the one has nothing left to do, and the other runs. With two such processes and a rest
    after every 48 answers the counter's 99th percentile is 0.8 ms, and 2.5 without; it answers a third more,
    for it is not called back after each request by clients that run where it does. One process that asks
    alone gets up to 8 % fewer answers.
    """
    _sleep_as_told()
    time.sleep(_MOMENT)


class Lookout:
    """Looks for something new for a moment, for a reactor that would have to be woken soon after it sleeps.

    To be woken takes up to 50 µs, and the processor of who wakes it; ten clients of the counter got 103,000
    answers a second, and 128,000 of one that looks. That takes a processor while it waits, so it looks only
    where the last time was a moment ago, and never on a machine that has only one.
    """

    def __init__(self, reactor: Any) -> None:
        self._poll = reactor._poller.poll
        self._last = 0.0
        self._is_possible = len(os.sched_getaffinity(0)) > 1

    def look(self) -> None:
        """At the end of a turn: return when something has come, or after 30 µs."""
        clock = time.perf_counter
        now = clock()
        if now - self._last < _SOON and self._is_possible:
            end = now + _GLANCE
            while not self._poll(0, 1) and now < end:  # what is found here, the reactor finds again
                now = clock()
        self._last = now


@cache
def _sleep_as_told() -> None:
    with suppress(OSError):  # where there is no such file, a rest is longer
        Path("/proc/self/timerslack_ns").write_text(_SLACK)


class _Turn:
    """One turn of `reactor`, in the place of ``EPollReactor.doPoll``."""

    def __init__(self, reactor: Any) -> None:
        self._poll = reactor._poller.poll
        self._selectables: dict[int, Any] = reactor._selectables
        self._read_or_write = reactor._doReadOrWrite
        self._disconnect = reactor._disconnectSelectable
        self.ending: list[Callable[[], object]] = []
        self.readers = DirectReaders()

    def __call__(self, timeout: float | None) -> None:
        selectables = self._selectables
        try:
            events = self._poll(-1 if timeout is None else timeout, _MOST)
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            raise
        readers = self.readers
        known = len(readers)
        for number, event in events:
            if event == _READABLE and number < known and (read := readers[number]) is not None:
                try:
                    why = read(number)
                except BaseException:
                    self._failed_at(number)
                    continue
                if why:
                    self._end_at(number, why)
                continue
            selectable = selectables.get(number)
            if selectable is None:  # what came before in this turn has closed it
                continue
            if event == _READABLE:
                try:
                    why = selectable.doRead()
                except BaseException:
                    log.callWithLogger(selectable, self._failed, selectable)
                    continue
                if why:
                    log.callWithLogger(selectable, self._end, selectable, why)
            else:
                log.callWithLogger(selectable, self._read_or_write, selectable, number, event)
        for call in self.ending:
            call()

    def _failed_at(self, number: int) -> None:
        selectable = self._selectables.get(number)
        if selectable is None:  # it has been closed on the way
            log.err()
        else:
            log.callWithLogger(selectable, self._failed, selectable)

    def _end_at(self, number: int, why: Any) -> None:
        selectable = self._selectables.get(number)
        if selectable is not None:
            log.callWithLogger(selectable, self._end, selectable, why)

    def _failed(self, selectable: Any) -> None:
        log.err()
        self._end(selectable, sys.exc_info()[1])

    def _end(self, selectable: Any, why: Any) -> None:
        self._disconnect(selectable, why, True)


class _YieldingTurn(_Turn):
    """The same, with politeness."""

    def __call__(self, timeout: float | None) -> None:
        os.sched_yield()
        super().__call__(timeout)
