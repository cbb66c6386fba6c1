"""What a suite takes, and how long it lets clients wait, over the time of a run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from attrs import asdict, frozen

from tests.processes import resident_kib


@frozen
class Use:
    """What a process takes: memory in KiB, open descriptors, threads."""

    memory: int
    descriptors: int
    threads: int


def use(pid: int) -> Use | None:
    """What a process takes now; None if it is gone."""
    try:
        folder = Path(f"/proc/{pid}")
        descriptors = len(list((folder / "fd").iterdir()))
        return Use(resident_kib(pid), descriptors, len(list((folder / "task").iterdir())))
    except (OSError, LookupError):  # a process that has ended and not been waited for tells no memory
        return None


def sockets(pid: int) -> int:
    """How many of a process's descriptors are sockets."""
    return sum(link.startswith("socket:") for link in _links(pid))


def _links(pid: int) -> Iterator[str]:
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has been closed since
            yield os.readlink(path)


@frozen
class Wait:
    """How long clients of one service waited since the sample before: seconds, and how many times."""

    count: int
    p50: float
    p99: float


@frozen
class Sample:
    """A moment, in seconds from the beginning. `life` counts the processes that have run, from 1."""

    time: float
    life: int
    use: Use | None
    waits: dict[str, Wait]
    own_memory: int  # in KiB, of who tortures

    def fields(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def growth(samples: list[Sample]) -> int:
    """By how many KiB the memory of the last process has grown since it was warm.

    That is from the second third of its time to the last one: medians, for it goes up and down.
    """
    memory = [sample.use.memory for sample in samples if sample.use and sample.life == samples[-1].life]
    third = len(memory) // 3
    return int(median(memory[-third:]) - median(memory[third:-third])) if third else 0
