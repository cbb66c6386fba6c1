"""An end to every wait for a server that does not answer: connections whose time is over are cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SOCKET = "protosuite.socket"  # in a pooled connection's info: a copy of its socket, to cut it by


class Overdue:
    """Watches connections that are in use. Whoever waits for one that is cut fails at once.

    A server that is stopped keeps its connections, and the system goes on to take what is sent to it: only a
    limit of our own ends that. `clock` gives seconds, those of the deadlines.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._watched: dict[int, tuple[float, socket.socket]] = {}  # under _changed, as all below
        self._wakes_at: float | None = None
        self._next = 0
        self._stopped = False
        self._thread: threading.Thread | None = None

    @contextmanager
    def watch(self, connection: socket.socket, deadline: float) -> Iterator[None]:
        """Cut `connection` at `deadline`, if the block has not ended before."""
        with self._changed:
            self._next += 1
            number = self._next
            self._watched[number] = deadline, connection
            self._ensure(deadline)
        try:
            yield
        finally:
            with self._changed:
                self._watched.pop(number, None)

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _ensure(self, deadline: float) -> None:
        """Have the thread wake up in time. It looks once in a while, not for each that is watched."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="database-overdue", daemon=True)
            self._thread.start()
        elif self._wakes_at is None or deadline < self._wakes_at:
            self._changed.notify_all()

    def _run(self) -> None:
        with self._changed:
            while not self._stopped:
                now = self._clock()
                for number, (deadline, connection) in list(self._watched.items()):
                    if deadline <= now:
                        del self._watched[number]
                        with contextlib.suppress(OSError):  # it is gone already
                            connection.shutdown(socket.SHUT_RDWR)
                self._wakes_at = min((deadline for deadline, _ in self._watched.values()), default=None)
                self._changed.wait(None if self._wakes_at is None else max(0.0, self._wakes_at - now))
