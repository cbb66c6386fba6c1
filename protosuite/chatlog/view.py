"""What a client knows of a room's log: one run of slots without a hole, checked as it grows. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise

from attrs import define, field

from protosuite.chatlog.chain import digest
from protosuite.chatlog.wire import ClientUpdate, Entry, ServerReply


@define
class Change:
    """What became of a view: entries at its end and before its beginning, both in slot order.

    `is_reset`: the room is another one now, or entries have been deleted that were not read yet; what was
    there before is gone, and `new` is the beginning of what is there now. `problems` are for a person.
    """

    new: list[Entry] = field(factory=list)
    older: list[Entry] = field(factory=list)
    is_reset: bool = False
    problems: list[str] = field(factory=list)


@define
class View:
    """Feed it with :meth:`reply` and :meth:`ack`; after each, :meth:`missing` is what should be asked for.

    `keep` bounds how many entries are held: past it the oldest go when newer ones come. `page` is the most
    that is asked for at once.
    """

    keep: int = 10_000
    page: int = 500
    epoch: str = ""
    latest: int = 0  # the last slot that is known to be there
    first: int = 1  # the lowest that the server has
    entries: deque[Entry] = field(factory=deque)
    is_open: bool = False
    is_certain: bool = False  # that what comes belongs to the log of `epoch`
    _high: int = 0  # up to here it has been
    _ahead: deque[Entry] = field(factory=deque)  # a run of entries behind a hole
    _step: int = 0  # how many of the hole are asked for next; less when a reply was cut short

    @property
    def low(self) -> int:
        """The lowest slot held; one above :attr:`high` if none is."""
        return self.entries[0].slot if self.entries else self._high + 1

    @property
    def high(self) -> int:
        """The highest slot that came, with all before it."""
        return self._high

    def reconnected(self) -> None:
        """Another connection: whether it is the same log is known with the first reply."""
        self.is_certain = False
        self._ahead.clear()

    def reply(self, reply: ServerReply) -> Change:
        """A reply came."""
        change = Change()
        if reply.epoch != self.epoch:
            change.is_reset = self.is_open and self._high > 0
            self._clear()
            self.epoch = reply.epoch
        self.is_certain = True
        self.latest, self.first = max(self.latest, reply.latest), reply.first
        entries = reply.entries
        if any(after.slot != before.slot + 1 for before, after in pairwise(entries)):
            change.problems.append("the server left out a slot in the middle of a reply")
            return change
        if not self.is_open:
            self.is_open = True
            self._high = entries[0].slot - 1 if entries else reply.latest
        elif self.first > self._high + 1:
            change.is_reset = True
            change.problems.append(f"slots {self._high + 1} to {self.first - 1} have been deleted unread")
            self.entries.clear()
            self._high = self.first - 1
        if self._ahead:
            self.latest = max(self.latest, self._ahead[-1].slot)
        self._compare(entries, change)
        self._prepend([entry for entry in entries if entry.slot < self.low], change)
        self._newer([entry for entry in entries if entry.slot > self._high], change)
        self._join(change)
        return change

    def ack(self, entry: Entry) -> Change:
        """An entry was committed, or was there already when it came again."""
        change = Change()
        if self.is_certain:
            self.latest = max(self.latest, entry.slot)
        if not self.is_certain or entry.slot > self._high:
            self._newer([entry], change)
        return change

    def missing(self) -> ClientUpdate | None:
        """What to ask for to fill the hole between what is held and what is known to be there."""
        end = self._ahead[0].slot - 1 if self._ahead else self.latest
        if not self.is_open or end <= self._high:
            return None
        upto = min(self._high + (self._step or self.page), end)
        return ClientUpdate(upto - self._high, upto)

    def before(self, n: int) -> ClientUpdate | None:
        """What to ask for to have `n` more entries before the lowest; None if there are none."""
        if self.low <= self.first or not self.is_open:
            return None
        return ClientUpdate(min(n, self.low - self.first), self.low - 1)

    def _newer(self, entries: Sequence[Entry], change: Change) -> None:
        """Entries above what is held: they go behind it, or have to wait for what is between."""
        if not entries:
            return
        if not self.is_certain or entries[0].slot > self._high + 1:
            self._stash(entries)
            return
        self._append(entries, change)
        self._join(change)

    def _join(self, change: Change) -> None:
        """What waited behind a hole follows, if the hole is no more."""
        while self._ahead and self._ahead[0].slot <= self._high:
            self._ahead.popleft()
        if self._ahead and self._ahead[0].slot == self._high + 1:
            self._append(self._ahead, change)
            self._ahead.clear()

    def _stash(self, entries: Sequence[Entry]) -> None:
        """Keep entries that come behind a hole, if there is none between them and the latest."""
        if self.is_certain and entries[-1].slot < self.latest:
            # The server cut a reply short, and what it left out is what we asked for first: ask for less.
            self._step = max(1, len(entries) // 2)
            return
        if self._ahead and entries[0].slot != self._ahead[-1].slot + 1:
            self._ahead.clear()
        self._ahead.extend(entries)
        while len(self._ahead) > self.keep:
            self._ahead.popleft()

    def _append(self, entries: Sequence[Entry], change: Change) -> None:
        self._step = 0
        for entry in entries:
            self._check(self.entries[-1] if self.entries else None, entry, change)
            self.entries.append(entry)
        self._high = entries[-1].slot
        self.latest = max(self.latest, self._high)
        change.new.extend(entries)
        while len(self.entries) > self.keep:
            self.entries.popleft()

    def _prepend(self, entries: Sequence[Entry], change: Change) -> None:
        if not entries or not self.entries or entries[-1].slot != self.low - 1:
            return
        self._check(entries[-1], self.entries[0], change)
        for before, after in pairwise(entries):
            self._check(before, after, change)
        self._check(None, entries[0], change)
        self.entries.extendleft(reversed(entries))
        change.older.extend(entries)

    def _check(self, before: Entry | None, entry: Entry, change: Change) -> None:
        previous = before.hash if before is not None else self.epoch if entry.slot == 1 else None
        if previous is not None and entry.hash != digest(previous, entry):
            change.problems.append(f"slot {entry.slot} does not fit the hash of the log before it")

    def _compare(self, entries: Sequence[Entry], change: Change) -> None:
        """What is held already must not have changed."""
        for entry in entries:
            if self.low <= entry.slot <= self._high and self.entries[entry.slot - self.low] != entry:
                change.problems.append(f"slot {entry.slot} is not what it was before")

    def _clear(self) -> None:
        """Another log. What a new connection has said before its first reply is of that one already."""
        if self.is_certain:
            self._ahead.clear()
        self.entries.clear()
        self.is_open = False
        self.latest = self._high = self._step = 0
