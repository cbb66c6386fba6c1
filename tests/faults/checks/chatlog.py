"""A room of the chat log: one log, the same for everybody, with all that was acknowledged, once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from protosuite.chatlog.chain import Verifier
from protosuite.chatlog.wire import Entry
from tests.faults.checks import require


def require_sound(epoch: str, log: Sequence[Entry]) -> None:
    """Raise a violation if a whole log has a hole, a key twice, or a hash that is not the right one."""
    for number, entry in enumerate(log, 1):
        require(entry.slot == number, f"chatlog: slot {entry.slot} is stored where {number} should be")
    problem = Verifier(epoch).first_problem(log)
    require(problem is None, f"chatlog: {problem}")
    keys = [entry.key for entry in log if entry.key is not None]
    require(len(keys) == len(set(keys)), "chatlog: a key is in the log twice")


class RoomCheck:
    """What was appended to one room, acknowledged and read.

    Contents are all different. A writer's are ``<author>-<number>``, with rising numbers in the order in
    which it appends them.
    """

    def __init__(self) -> None:
        self.last_acknowledged = 0  # the highest slot that was
        self._appended: set[str] = set()
        self._acknowledged: dict[str, int] = {}  # slots
        self._hashes: dict[int, str] = {}  # which are over everything in an entry and before it
        self._slots: dict[str, int] = {}  # by content
        self._read: dict[str, int] = {}  # up to which slot each reader has come

    def appended(self, content: str) -> None:
        """An append is asked for now."""
        self._appended.add(content)

    def acknowledged(self, content: str, entry: Entry) -> None:
        """It was acknowledged, to whoever asked for it."""
        require(entry.content == content, f"chatlog: {content!r} was answered with {entry.content!r}")
        self._seen(entry)
        self._acknowledged[content] = entry.slot
        self.last_acknowledged = max(self.last_acknowledged, entry.slot)

    def read(self, reader: str, entries: Sequence[Entry]) -> None:
        """A reader was given entries, behind those it was given before."""
        for entry in entries:
            last = self._read.get(reader)
            require(
                last is None or entry.slot == last + 1,
                f"chatlog: {reader} was given slot {entry.slot} behind slot {last}",
            )
            self._read[reader] = entry.slot
            self._seen(entry)

    def read_up_to(self, reader: str) -> int:
        """The last slot that a reader was given."""
        return self._read.get(reader, 0)

    def shown(self, latest: int, entries: Sequence[Entry]) -> None:
        """Somebody asked for a part of the log and got it, and that the last slot is `latest`."""
        for before, entry in pairwise(entries):
            require(
                entry.slot == before.slot + 1,
                f"chatlog: slot {entry.slot} was shown behind slot {before.slot}",
            )
        for entry in entries:
            require(entry.slot <= latest, f"chatlog: slot {entry.slot} was shown and the last is {latest}")
            self._seen(entry)

    def settle(self, epoch: str, log: Sequence[Entry]) -> None:
        """Hold all that against the log as it is stored."""
        for entry in log:
            self._seen(entry)
        require_sound(epoch, log)
        slots = {entry.content: entry.slot for entry in log}
        require(len(slots) == len(log), "chatlog: something is in the log twice")
        for content, slot in self._acknowledged.items():
            require(
                slots.get(content) == slot,
                f"chatlog: {content!r} was acknowledged as slot {slot} and is stored as {slots.get(content)}",
            )
        require(
            max(self._hashes, default=0) <= len(log),
            f"chatlog: slot {max(self._hashes, default=0)} was shown, and the log ends at {len(log)}",
        )
        self._in_turn(log)

    def _in_turn(self, log: Sequence[Entry]) -> None:
        """Each writer's entries are in its own order."""
        last: dict[str, int] = {}
        for entry in log:
            number = int(entry.content.rsplit("-", 1)[1])
            before = last.get(entry.author, 0)
            require(
                number > before,
                f"chatlog: entry {number} of {entry.author} is stored behind its entry {before}",
            )
            last[entry.author] = number

    def _seen(self, entry: Entry) -> None:
        require(
            entry.content in self._appended, f"chatlog: slot {entry.slot} has what nobody appended: {entry}"
        )
        known = self._hashes.setdefault(entry.slot, entry.hash)
        require(known == entry.hash, f"chatlog: slot {entry.slot} is {entry} to one and another to others")
        slot = self._slots.setdefault(entry.content, entry.slot)
        require(slot == entry.slot, f"chatlog: {entry.content!r} is in slot {slot} and in slot {entry.slot}")
