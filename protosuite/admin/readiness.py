"""Whether the suite can do its work: looked at in bounded time, whatever is stuck."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.errors import Overloaded, StorageError
from protosuite.figures import Figure, Kind, split

log = Logger(namespace="protosuite.admin")

_FRESH = 1.0  # seconds for which an answer serves others: whoever asks, asks the database no more often

# What is told and does not make a suite unready: if others cannot be reached, no node can reach them, and all
# would be unready at once.
ADVISORY = frozenset({"fabric"})

# What is wrong with each thing that was looked at; None: nothing.
Findings = Mapping[str, str | None]


@frozen
class Look:
    """One question that has to be waited for, and the names of what its answer is about."""

    names: tuple[str, ...]
    ask: Callable[[], Deferred[Findings]]


@define(eq=False, repr=False)
class _Asked:
    """A look as it stands: at most one is under way, however long it takes."""

    look: Look
    findings: Findings = field(factory=dict)
    since: float | None = None  # when the one that is under way began


class Readiness:
    """Looks at everything, and says how it is. Each look has `timeout` seconds; `clock` gives the time."""

    def __init__(self, looks: Sequence[Look], timeout: float, clock: IReactorTime) -> None:
        self._asked = [_Asked(look) for look in looks]
        self._timeout = timeout
        self._clock = clock
        self._is_stopping = False
        self._waiting: list[Deferred[Findings]] = []
        self._overdue: IDelayedCall | None = None
        self._done_at = float("-inf")
        self._was_ready = True

    def stop(self) -> None:
        """From now on the suite is not ready."""
        self._is_stopping = True

    def look(self) -> Deferred[Findings]:
        """How everything is, within the timeout."""
        if self._overdue is None:
            if self._clock.seconds() - self._done_at < _FRESH:
                return succeed(self.findings())
            self._begin()
        if self._overdue is None:  # it has been answered at once
            return succeed(self.findings())
        answer: Deferred[Findings] = Deferred()
        self._waiting.append(answer)
        return answer

    def findings(self) -> Findings:
        """How everything was when it was last looked at."""
        found: dict[str, str | None] = {"running": "the suite stops" if self._is_stopping else None}
        for asked in self._asked:
            found.update(self._of(asked))
        return found

    def figures(self) -> Iterator[Figure]:
        """For machines."""
        doc = "1 if this was in order when it was last looked at."
        values = {name: float(why is None) for name, why in self.findings().items()}
        yield split(Kind.GAUGE, "ready", doc, "check", values)

    def _of(self, asked: _Asked) -> Findings:
        late = 0.0 if asked.since is None else self._clock.seconds() - asked.since
        if late >= self._timeout:
            return dict.fromkeys(asked.look.names, f"no answer for {late:.0f} s")
        return asked.findings or dict.fromkeys(asked.look.names, "not looked at yet")

    def _begin(self) -> None:
        self._overdue = self._clock.callLater(self._timeout, self._end)
        free = [asked for asked in self._asked if asked.since is None]
        for asked in free:
            asked.since = self._clock.seconds()
        for asked in free:
            _safely(asked.look.ask).addErrback(_why, asked.look.names).addCallback(self._answered, asked)
        self._end_if_answered()

    def _answered(self, findings: Findings, asked: _Asked) -> None:
        asked.findings, asked.since = findings, None
        self._end_if_answered()

    def _end_if_answered(self) -> None:
        """Wait no longer than for those that may still come in time."""
        now = self._clock.seconds()
        if self._overdue is not None and not any(
            asked.since is not None and now - asked.since < self._timeout for asked in self._asked
        ):
            self._overdue.cancel()
            self._end()

    def _end(self) -> None:
        self._overdue = None
        self._done_at = self._clock.seconds()
        findings = self.findings()
        self._tell(findings)
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            answer.callback(findings)

    def _tell(self, findings: Findings) -> None:
        """Log once when it ceases to be ready, and once when it is again."""
        wrong = [f"{name}: {why}" for name, why in _serious(findings).items()]
        if self._was_ready == (not wrong):
            return
        self._was_ready = not wrong
        if wrong:
            log.warn("not ready: {wrong}", wrong="; ".join(wrong))
        else:
            log.info("ready again")


def is_ready(findings: Findings) -> bool:
    """Whether nothing is wrong that matters to whoever would be sent here."""
    return not _serious(findings)


def _serious(findings: Findings) -> dict[str, str]:
    return {name: why for name, why in findings.items() if why is not None and name not in ADVISORY}


def _safely(ask: Callable[[], Deferred[Findings]]) -> Deferred[Findings]:
    """What it answers, also if it raises."""
    answer: Deferred[Findings] = Deferred()
    answer.addCallback(lambda _: ask())
    answer.callback({})
    return answer


def _why(failure: Failure, names: Iterable[str]) -> Findings:
    """What is told of a look that failed: of what was not foreseen, nothing but that."""
    if failure.check(StorageError, Overloaded):
        return dict.fromkeys(names, str(failure.value))
    if failure.check(OSError):
        return dict.fromkeys(names, getattr(failure.value, "strerror", None) or "the system refuses")
    log.failure("a check of the readiness failed", failure)
    return dict.fromkeys(names, "the check itself failed")
