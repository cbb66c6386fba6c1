"""One run of the benchmarks: how long and how often, where files go, and what has been started."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from attrs import define, field, frozen

ROOT = Path(__file__).parent.parent
OUT = ROOT / "build" / "bench"  # where results go, if nothing else is said

T = TypeVar("T")


class Missing(Exception):
    """What a row needs is not on this machine; says what to install."""

    def __init__(self, program: str, remedy: str) -> None:
        super().__init__(f"{program} is not here: {remedy}")
        self.program = program


class NotYet(Exception):
    """What a row measures does not exist yet."""


class Wrong(Exception):
    """An answer was wrong, or something broke: there is no figure."""


@frozen
class Figures:
    """What one run gave. `value` is what is compared; `more` has what is told beside it, by name."""

    value: float
    more: Mapping[str, float] = field(factory=dict)


@define
class Bench:
    """`seconds` is for how long a load runs, `pairs` how often ours and theirs take turns.

    A `quick` run sees that everything works and that the answers are right; its figures mean nothing.
    """

    quick: bool
    seconds: float
    pairs: int
    out: Path
    commands: list[str] = field(factory=list)  # that were started since somebody looked

    def choose(self, full: T, quick: T) -> T:
        """`full`, or `quick` in a quick run."""
        return quick if self.quick else full

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder that goes with its use. It is on a disk: where a sync costs nothing, nothing is learnt."""
        self.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="run-", dir=self.out, ignore_cleanup_errors=True) as name:
            yield Path(name)

    def says(self, command: Sequence[str | Path], settings: Mapping[str, str] | None = None) -> None:
        """Note a command, as one would type it in the root of the project."""
        words = [f"{name}={value}" for name, value in (settings or {}).items()]
        words += [Path(command[0]).name, *map(str, command[1:])]
        line = shlex.join(words).replace(f"{self.out}/", f"{OUT}/")  # wherever that was
        self.commands.append(line.replace(f"{ROOT}/", ""))

    def said(self) -> list[str]:
        """The commands since the last time, each once."""
        commands, self.commands = list(dict.fromkeys(self.commands)), []
        return commands
