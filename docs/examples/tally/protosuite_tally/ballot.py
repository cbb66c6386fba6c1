"""The rules: how many choices there may be, and who is ahead. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field

from protosuite.extending import PeerFault


@define
class Ballot:
    """Votes by choice, `max_choices` of them at most."""

    max_choices: int
    votes: dict[str, int] = field(factory=dict)

    def check(self, choice: str) -> None:
        """Raise :exc:`PeerFault` if nobody may vote for this."""
        if choice not in self.votes and len(self.votes) >= self.max_choices:
            raise PeerFault("too-many", f"there are {self.max_choices} choices already")

    def stored(self, choice: str, votes: int) -> None:
        """So many votes for a choice are stored."""
        self.votes[choice] = max(votes, self.votes.get(choice, 0))

    def ranking(self) -> Iterator[tuple[str, int]]:
        """All choices with their votes, the one with the most first."""
        yield from sorted(self.votes.items(), key=lambda each: (-each[1], each[0]))

    @property
    def total(self) -> int:
        """All votes."""
        return sum(self.votes.values())
