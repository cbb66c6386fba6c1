"""What the programs here run in: a folder, the reactor, and Ctrl-C."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure

from tests.processes import reactor


class Place:
    """A folder where a run puts its things, and what is to be done in the end. A :class:`.Scope`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[Path] = []
        self._cleanups: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def mktemp(self) -> str:
        """A folder that is not there yet."""
        number = 1
        while (path := self.folder / f"suite-{number}").exists():
            number += 1
        self.made.append(path)
        return str(path)

    def addCleanup(self, f: Callable[..., object], *args: Any) -> None:
        """Call `f` in the end."""
        self._cleanups.append((f, args))

    async def close(self) -> None:
        """Do what is to be done, the latest first."""
        while self._cleanups:
            call, args = self._cleanups.pop()
            await maybeDeferred(call, *args)

    def remove(self) -> None:
        """Nothing of it is needed."""
        for path in self.made:
            shutil.rmtree(path, ignore_errors=True)


def run(main: Callable[[], Coroutine[Deferred[Any], Any, None]], place: Place | None = None) -> int:
    """Run `main` in the reactor, then close `place`; the exit code. Ctrl-C cancels what `main` waits for."""
    codes: list[int] = []
    running: list[Deferred[None]] = []

    def interrupted(number: int, frame: object) -> None:
        reactor.callFromThread(running[0].cancel)

    def failed(failure: Failure) -> None:
        if failure.check(CancelledError):
            codes.append(128 + signal.SIGINT)
        else:
            failure.printTraceback(sys.stderr)
            codes.append(1)

    async def to_the_end() -> None:
        await running[0]
        if place is not None:
            await place.close()
        reactor.stop()

    def begin() -> None:
        signal.signal(signal.SIGINT, interrupted)
        running.append(Deferred.fromCoroutine(main()).addErrback(failed))
        Deferred.fromCoroutine(to_the_end())

    reactor.callWhenRunning(begin)
    reactor.run()
    return codes[0] if codes else 0
