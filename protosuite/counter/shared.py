"""A ledger in memory that several processes share."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from mmap import mmap

from protosuite.counter.ledger import outcomes
from protosuite.errors import PeerFault, StartError

# Of <pthread.h>, as glibc and musl have them.
_SHARED = _ROBUST = 1

_SIZE = 4096
_MUTEX = 64  # where it is; its size is 40 bytes, or 48
_MUTEX_ROOM = 64
# Words of 64 bits: the total, how many requests have led to it, and whether nothing is added.
_TOTAL, _REQUESTS, _CLOSED = range(3)


class SharedLedger:
    """A :class:`~.ledger.Book` of as many processes as map its memory, one of which calls :meth:`prepare`.

    A process that is killed, at whatever instruction, leaves a total that is either the one before or the
    one after its last addition, for it is written as one word, and holds nobody up: the system gives the
    mutex of the dead to who waits for it. Of `requests`, which is for people, one may be missing then. (A
    mutex that is *robust* costs 0.3 µs an addition, locks of files cost 1.8. What else there is does not
    hold: the shared offset of a file, moved by ``lseek``, lost additions.)
    """

    def __init__(self, descriptor: int) -> None:
        self.refused = 0  # frames, as far as this process knows of them
        self._memory = mmap(descriptor, _SIZE)
        self._words = memoryview(self._memory)[:_MUTEX].cast("Q")
        # By reference: as a number, which has to be converted for each call, it takes twice as long.
        self._mutex = ctypes.byref((ctypes.c_char * _MUTEX_ROOM).from_buffer(self._memory, _MUTEX))
        libc = ctypes.PyDLL(None)  # keeps the interpreter for a call: giving it away would cost more
        self._lock, self._unlock = libc.pthread_mutex_lock, libc.pthread_mutex_unlock
        self._mend = libc.pthread_mutex_consistent

    def prepare(self) -> None:
        """Once, before anybody else has the memory."""
        libc = ctypes.PyDLL(None)
        attributes = ctypes.create_string_buffer(64)
        for outcome in (
            libc.pthread_mutexattr_init(attributes),
            libc.pthread_mutexattr_setpshared(attributes, _SHARED),
            libc.pthread_mutexattr_setrobust(attributes, _ROBUST),
            libc.pthread_mutex_init(self._mutex, attributes),
        ):
            if outcome:
                raise StartError(f"[counter] workers: {os.strerror(outcome)}: set workers = 1")

    @property
    def total(self) -> int:
        """The total now."""
        with self._alone():
            return int(self._words[_TOTAL])

    @total.setter
    def total(self, total: int) -> None:
        with self._alone():
            self._words[_TOTAL] = total

    @property
    def requests(self) -> int:
        """How many have been applied, in all processes."""
        with self._alone():
            return int(self._words[_REQUESTS])

    @property
    def is_closed(self) -> bool:
        """Whether nothing is added for now."""
        return bool(self._words[_CLOSED])

    @is_closed.setter
    def is_closed(self, is_closed: bool) -> None:
        with self._alone():
            self._words[_CLOSED] = is_closed

    def apply(self, increments: Sequence[int]) -> tuple[list[int], PeerFault | None]:
        """Add each in turn, with nobody else's between them. Returns what :func:`~.ledger.outcomes` does."""
        with self._alone():
            totals, fault = outcomes(self._words[_TOTAL], increments, self.is_closed)
            if totals:
                self._words[_TOTAL] = totals[-1]
                self._words[_REQUESTS] += len(totals)
        return totals, fault

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While nobody else reads or writes."""
        if self._lock(self._mutex):
            self._take_over()
        try:
            yield
        finally:
            self._unlock(self._mutex)

    def _take_over(self) -> None:
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
    return hasattr(os, "memfd_create") and hasattr(ctypes.PyDLL(None), "pthread_mutex_consistent")
