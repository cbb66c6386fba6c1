"""How far it is, for whoever waits."""

from __future__ import annotations

from typing import Protocol

from protosuite.backup.archive import Advance


class Progress(Protocol):
    """Where the program says what it does."""

    def stage(self, what: str, total: int | None) -> Advance:
        """Something begins that is so many bytes long, None if nobody knows."""

    def say(self, text: str) -> None:
        """A line that is worth reading afterwards."""
