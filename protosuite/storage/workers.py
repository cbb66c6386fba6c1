"""Where blocking work runs. A `Worker` is handed in, so that a test can run its work by hand."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from protosuite.figures import Figure, gauge

T = TypeVar("T")
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
        self.name = name
        self._busy = [False] * count  # each thread sets its own
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        # Daemons: a stop that is cut short by a second signal does not wait for them.
        self._threads = [
            threading.Thread(target=self._run, args=(n,), name=f"{name}-{n}", daemon=True)
            for n in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        while (task := self._tasks.get()) is not None:
            self._busy[number] = True
            task()
            self._busy[number] = False

    def figures(self) -> Iterator[Figure]:
        """How busy they are."""
        yield gauge("threads", "Threads of a pool.", len(self._threads), pool=self.name)
        yield gauge("threads_busy", "Those of them that do something.", sum(self._busy), pool=self.name)
        yield gauge("threads_waiting", "Tasks that wait for a thread.", self._tasks.qsize(), pool=self.name)

    def do(self, task: Task) -> None:
        self._tasks.put(task)

    def stop(self) -> None:
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()


class Calls:
    """Blocking calls on a worker, with Deferreds for their results in the reactor's thread.

    `call_in_reactor` is the reactor's ``callFromThread``. Who calls bounds how many there are at a time.
    """

    def __init__(self, worker: Worker, call_in_reactor: Callable[..., Any]) -> None:
        self._worker = worker
        self._call_in_reactor = call_in_reactor
        self._idle: list[Deferred[None]] = []  # who waits for that
        self.under_way = 0  # calls that have not been answered

    def run(self, call: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """Call it. Cancelling the Deferred does not stop what has begun."""
        return self._begin(call, arguments, repeats=False)

    def repeat(self, call: Callable[..., bool], *arguments: Any) -> Deferred[bool]:
        """Call it until it is false, each time behind whatever else waits for a thread by then."""
        return self._begin(call, arguments, repeats=True)

    def _begin(self, call: Callable[..., T], arguments: tuple[Any, ...], repeats: bool) -> Deferred[T]:
        answer: Deferred[T] = Deferred()
        self.under_way += 1
        self._worker.do(partial(self._task, answer, call, arguments, repeats))
        return answer

    def _task(
        self, answer: Deferred[Any], call: Callable[..., Any], arguments: tuple[Any, ...], repeats: bool
    ) -> None:
        """In a thread. No function that names itself: what it was given would be there until a collection."""
        try:
            outcome = call(*arguments)
        except Exception as error:
            outcome = Failure(error)
        if repeats and outcome is True:
            self._worker.do(partial(self._task, answer, call, arguments, repeats))
        else:
            self._call_in_reactor(self._answer, answer, outcome)

    def idle(self) -> Deferred[None]:
        """Fires when no call is under way: then :meth:`stop` does not block."""
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        self._tell_if_idle()
        return idle

    def stop(self) -> None:
        """Finish what is queued. Blocks."""
        self._worker.stop()

    def _answer(self, answer: Deferred[Any], outcome: Any) -> None:
        if not answer.called:
            answer.callback(outcome)  # a Failure fails it; who waits for it may go on with another call
        self.under_way -= 1
        self._tell_if_idle()

    def _tell_if_idle(self) -> None:
        if self._idle and not self.under_way:
            idle, self._idle = self._idle, []
            for each in idle:
                each.callback(None)
