"""Where blocking work runs. A `Worker` is handed in, so that a test can run its work by hand."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Protocol

Task = Callable[[], None]


class Worker(Protocol):
    """Runs tasks somewhere, in the order they were given if it is one thread."""

    def do(self, task: Task) -> None:
        """Take a task. It must not raise."""

    def stop(self) -> None:
        """Run what is queued, then end. Blocks until then."""


class Threads:
    """A `Worker` of `count` threads that share one queue; its bound is the business of who fills it."""

    def __init__(self, name: str, count: int = 1) -> None:
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        # Daemons: a stop that is cut short by a second signal does not wait for them.
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()

    def do(self, task: Task) -> None:
        self._tasks.put(task)

    def stop(self) -> None:
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
