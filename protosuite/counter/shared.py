"""A ledger in memory that several processes share."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from mmap import mmap

from protosuite.counter.ledger import outcomes
from protosuite.counter.wire import MAX
from protosuite.errors import PeerFault, StartError

# Of <pthread.h>, as glibc and musl have them.
_SHARED = _ROBUST = 1

_SIZE = 4096
_MUTEX = 64  # where it is; its size is 40 bytes, or 48
_NEWEST, _TOTALS, _REQUESTS, _CLOSED = 0, 1, 3, 4  # 64-bit words; there are two totals


class SharedLedger:
    """A :class:`~.ledger.Book` of as many processes as map its memory, one of which calls :meth:`prepare`.

    A process that is killed, at whatever instruction, leaves a total that is either the one before or the
    one after its last addition, and holds nobody up: the system gives the mutex of the dead to who waits
    for it. (A mutex that is *robust* costs 0.4 µs an addition, locks of files cost 1.8. What else there is
    does not hold: the shared offset of a file, moved by ``lseek``, lost additions.)
    """

    def __init__(self, descriptor: int) -> None:
        self.refused = 0  # frames, as far as this process knows of them
        self._memory = mmap(descriptor, _SIZE)
        self._words = memoryview(self._memory)[:_MUTEX].cast("Q")
        self._mutex = ctypes.addressof(ctypes.c_char.from_buffer(self._memory, _MUTEX))
        libc = _libc()
        self._lock, self._unlock = libc.pthread_mutex_lock, libc.pthread_mutex_unlock
        self._mend = libc.pthread_mutex_consistent

    def prepare(self) -> None:
        """Once, before anybody else has the memory."""
        libc = _libc()
        attributes = ctypes.create_string_buffer(64)
        at = ctypes.addressof(attributes)
        for outcome in (
            libc.pthread_mutexattr_init(at),
            libc.pthread_mutexattr_setpshared(at, _SHARED),
            libc.pthread_mutexattr_setrobust(at, _ROBUST),
            libc.pthread_mutex_init(self._mutex, at),
        ):
            if outcome:
                raise StartError(f"[counter] workers: {os.strerror(outcome)}: set workers = 1")

    @property
    def total(self) -> int:
        """The total now."""
        self._enter()
        words = self._words
        total = words[_TOTALS + words[_NEWEST]]
        self._unlock(self._mutex)
        return total

    @total.setter
    def total(self, total: int) -> None:
        self._enter()
        self._put(total, 0)
        self._unlock(self._mutex)

    @property
    def requests(self) -> int:
        """How many have been applied, in all processes."""
        return self._words[_REQUESTS]

    @property
    def is_closed(self) -> bool:
        """Whether nothing is added for now."""
        return bool(self._words[_CLOSED])

    @is_closed.setter
    def is_closed(self, is_closed: bool) -> None:
        self._enter()
        self._words[_CLOSED] = is_closed
        self._unlock(self._mutex)

    def apply(self, increments: Sequence[int]) -> tuple[list[int], PeerFault | None]:
        """Add each in turn, with nobody else's between them. Returns what :func:`~.ledger.outcomes` does."""
        self._enter()
        try:
            words = self._words
            total = words[_TOTALS + words[_NEWEST]]
            totals, fault = outcomes(total, increments, bool(words[_CLOSED]))
            if totals:
                self._put(totals[-1], len(totals))
        finally:
            self._unlock(self._mutex)
        return totals, fault

    def add(self, increment: int) -> int | None:
        """Add one: the total then, or None where :meth:`apply` has to say why not."""
        if self._lock(self._mutex):
            self._enter_behind()
        # Written out, as this is what each answer costs: 0.2 µs less than with calls. Nothing here raises.
        words = self._words
        newest = words[_NEWEST]
        total = words[_TOTALS + newest] + increment
        is_good = total <= MAX and not words[_CLOSED]
        if is_good:
            words[_TOTALS + 1 - newest] = total
            words[_NEWEST] = 1 - newest
            words[_REQUESTS] += 1
        self._unlock(self._mutex)
        return total if is_good else None

    def _put(self, total: int, requests: int) -> None:
        """Write `total` beside the newest, and make it that with one bit: there is no half of it."""
        words = self._words
        newest = words[_NEWEST]
        words[_TOTALS + 1 - newest] = total
        words[_NEWEST] = 1 - newest
        words[_REQUESTS] += requests

    def _enter(self) -> None:
        if self._lock(self._mutex):
            self._enter_behind()

    def _enter_behind(self) -> None:
        """Who had the mutex is dead: it is ours now, and what it guards is whole."""
        outcome = self._mend(self._mutex)
        if outcome:
            raise OSError(outcome, os.strerror(outcome))


def memory() -> int:
    """Memory for a :class:`SharedLedger`: a descriptor, whose number children can be given. It is empty."""
    descriptor = os.memfd_create("protosuite-counter", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, _SIZE)
    return descriptor


def is_possible() -> bool:
    """Whether this system has what a :class:`SharedLedger` needs."""
    try:
        _libc()
    except AttributeError:
        return False
    return hasattr(os, "memfd_create")


def _libc() -> ctypes.PyDLL:
    """The C library. ``PyDLL`` keeps the interpreter for a call: giving it away would cost more."""
    libc = ctypes.PyDLL(None)
    pointer = ctypes.c_void_p
    for name in ("mutex_lock", "mutex_unlock", "mutex_consistent", "mutexattr_init"):
        getattr(libc, f"pthread_{name}").argtypes = [pointer]
    for name in ("mutexattr_setpshared", "mutexattr_setrobust"):
        getattr(libc, f"pthread_{name}").argtypes = [pointer, ctypes.c_int]
    libc.pthread_mutex_init.argtypes = [pointer, pointer]
    return libc
