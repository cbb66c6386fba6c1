"""A log read from slot to slot, in bounded memory, and checked as it is read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from attrs import define, frozen
from twisted.internet.defer import Deferred

from protosuite.chatlog.chain import Verifier
from protosuite.chatlog.wire import Entry, ServerReply

_PAGE = 500  # entries asked for at once, if they fit
_AHEAD = 4  # pages; a server reads on until 16 are asked for
_STEADY = 8  # pages of full size, after which a larger size is tried

Read = Callable[[int, int], Deferred[ServerReply]]


class Broken(Exception):
    """The log is not as it must be. The text names the first problem."""


@frozen
class _Asked:
    low: int
    high: int
    reply: Deferred[ServerReply]


class Pages:
    """The entries from slot `low` to slot `high`, in order, a page at a time.

    `read` is :meth:`.client.ChatLogClientFactory.read`. A server answers with the newest of what was asked
    for: when it leaves out the beginning, less is asked for. What is deleted meanwhile is passed over.
    """

    def __init__(self, read: Read, epoch: str, low: int, high: int) -> None:
        self.low = low  # what comes next
        self.high = high
        self.first = 1  # the lowest slot that is held, as far as is known
        self._read = read
        self._epoch = epoch
        self._asked: deque[_Asked] = deque()
        self._size = _PAGE
        self._full = 0  # pages since the size has changed

    async def next(self) -> tuple[Entry, ...]:
        """The next entries; none at the end. :exc:`Broken` where slots are missing."""
        while self.low <= self.high:
            self._ask()
            asked = self._asked.popleft()
            try:
                reply = await asked.reply
            except BaseException:
                self.forget()  # the others will not come either
                raise
            if reply.epoch != self._epoch:
                raise Broken("the room became another one while it was read")
            entries, self.first = reply.entries, reply.first
            if entries and entries[0].slot == asked.low:
                self.low = entries[-1].slot + 1
                if self.low == asked.high + 1:
                    self._grow()
                else:
                    self.forget()  # the rest is asked for again, to see what is there
                return entries
            self.forget()
            if self.first > self.low:
                self.low = self.first
            elif asked.low == asked.high:
                raise Broken(f"slot {asked.low} is missing")
            else:
                wanted = asked.high - asked.low + 1
                self._size = len(entries) if 0 < len(entries) < wanted else wanted // 2
        return ()

    def forget(self) -> None:
        """Wait no longer for what has been asked for."""
        self._full = 0
        while self._asked:
            reply = self._asked.popleft().reply
            reply.addErrback(lambda _: None)
            reply.cancel()

    def _ask(self) -> None:
        low = self._asked[-1].high + 1 if self._asked else self.low
        while len(self._asked) < _AHEAD and low <= self.high:
            high = min(low + self._size - 1, self.high)
            self._asked.append(_Asked(low, high, self._read(high - low + 1, high)))
            low = high + 1

    def _grow(self) -> None:
        self._full += 1
        if self._full >= _STEADY:
            self._size, self._full = min(2 * self._size, _PAGE), 0


@define
class Report:
    """What is to be read of a log, and what of it has been found right, up to and including slot `last`."""

    epoch: str
    first: int  # the lowest slot that is held
    low: int
    high: int
    last: int = 0
    entries: int = 0
    hashes: int = 0
    problem: str | None = None


class Checking:
    """Reads and checks the slots of `report`, with the one before them, if it is held, for its hash."""

    def __init__(self, read: Read, report: Report) -> None:
        self.report = report
        start = report.low - 1 if report.low > max(1, report.first) else report.low
        self._pages = Pages(read, report.epoch, start, report.high)
        self._verifier = Verifier(report.epoch)

    async def next(self) -> Sequence[Entry]:
        """The next entries, all of them right; none at the end. Raises :exc:`Broken` for the first problem.

        What comes before the problem is returned first.
        """
        report = self.report
        right: Sequence[Entry] = ()
        while not right and report.problem is None and (page := await self._page()):
            right = self._check(page)
        if report.problem is not None and not right:
            self._pages.forget()
            raise Broken(report.problem)
        return right

    async def _page(self) -> Sequence[Entry]:
        pages, head = self._pages, self._verifier.head
        try:
            page = await pages.next()
        except Broken as broken:
            self.report.problem = str(broken)
            return ()
        expected = head.slot + 1 if head is not None else self.report.low
        if page and expected < page[0].slot <= pages.first:
            self._verifier.head = None  # what was between has been deleted meanwhile
        elif not page and max(expected, pages.first) <= self.report.high:
            self.report.problem = f"slot {expected} is missing"
        return page

    def _check(self, page: Sequence[Entry]) -> Sequence[Entry]:
        """As much of the page as comes before the first problem."""
        report, verifier = self.report, self._verifier
        right = []
        for entry in page:
            hashes = verifier.checked
            report.problem = verifier.problem(entry)
            if report.problem is not None:
                break
            if entry.slot >= report.low:
                right.append(entry)
                report.last = entry.slot
                report.hashes += verifier.checked - hashes
        report.entries += len(right)
        return right
