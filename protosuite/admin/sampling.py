"""What the dashboard draws: each second, what every service and the process did since the last."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from protosuite.admin.pulse import Pulse
from protosuite.admin.series import Series
from protosuite.net.listening import ListeningService
from protosuite.storage import Database

_PAGE = resource.getpagesize()


class _Watched:
    """One service, and how far it was at the last look."""

    def __init__(self, service: ListeningService) -> None:
        self._service = service
        self._messages = self._refusals = 0

    def point(self, seconds: float) -> Iterator[tuple[str, float | None]]:
        """What happened in the `seconds` since then."""
        service = self._service
        messages, refusals = service.traffic.messages, service.refusals.total()
        yield "rate", (messages - self._messages) / seconds
        yield "slowest", service.latency.take_worst()
        yield "connections", len(service.connections)
        yield "refusals", (refusals - self._refusals) / seconds
        self._messages, self._refusals = messages, refusals


class Sampling:
    """Reads `services`, `database` and the process into :attr:`series`. `clock` gives seconds."""

    def __init__(
        self,
        services: Sequence[ListeningService],
        database: Database,
        pulse: Pulse,
        clock: Callable[[], float],
    ) -> None:
        self._watched = {str(service.name): _Watched(service) for service in services}
        self._commits = database.measures.commit_seconds
        self._pulse = pulse
        self._clock = clock
        self._at = clock()
        self._cpu = _cpu_seconds()
        # A mean would hide what they are about.
        peaks = [f"{name}.{key}" for name in self._watched for key in ("slowest", "connections")]
        self.series = Series(frozenset([*peaks, "suite.lag", "suite.commit"]))

    def sample(self) -> None:
        """Add what happened since this was called last, which should be a second ago."""
        now, cpu = self._clock(), _cpu_seconds()
        seconds = max(now - self._at, 1e-3)
        point: dict[str, float | None] = {
            f"{name}.{key}": value
            for name, watched in self._watched.items()
            for key, value in watched.point(seconds)
        }
        point["suite.lag"] = self._pulse.take_worst()
        point["suite.cpu"] = (cpu - self._cpu) / seconds
        point["suite.memory"] = _resident_bytes()
        point["suite.commit"] = self._commits.take_worst()
        self._at, self._cpu = now, cpu
        self.series.add(point)


def _resident_bytes() -> float | None:
    """The memory that the process has in use; None where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE
    except OSError:
        return None


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
