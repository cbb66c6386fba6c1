"""What of a log is on the screen: entries wrapped to its width, scrolled by rows. No terminal in here."""

from __future__ import annotations

from collections.abc import Iterator

from prompt_toolkit.utils import get_cwidth

from protosuite.chatlog.lines import clock, local_time
from protosuite.chatlog.view import View
from protosuite.chatlog.wire import Entry
from protosuite.program import shown

Row = list[tuple[str, str]]  # pieces, each a style and its text

_INDENT = 6  # as wide as the time
_TAB = 4
_MAX_CACHED = 2000  # entries


class Pane:
    """The rows of `view` that are seen through a window that is `width` wide and `height` high.

    Its lower edge is fixed to a row of an entry, so that what is read stays where it is when entries come
    at either end; or it is at the end of the log and stays there.
    """

    def __init__(self, view: View, author: str) -> None:
        self.width = 80
        self.height = 24
        self._view = view
        self._author = author
        self._edge: tuple[int, int] | None = None  # a slot, and how many of its rows are below the edge
        self._seen = 0  # the highest slot that has been on the screen
        self._cache: dict[int, list[Row]] = {}

    @property
    def is_at_end(self) -> bool:
        """Whether the newest entry is shown, and new ones will be."""
        return self._edge is None

    @property
    def below(self) -> int:
        """How many entries have come that were not on the screen yet."""
        return 0 if self._edge is None else max(0, self._view.high - self._seen)

    @property
    def is_near_top(self) -> bool:
        """Whether there is less than a screen above what is shown."""
        return sum(1 for _ in self._upwards(2 * self.height)) < 2 * self.height

    def resize(self, width: int, height: int) -> None:
        """The window is so large now."""
        if width != self.width:
            self._cache.clear()
        self.width, self.height = max(1, width), max(1, height)

    def reset(self) -> None:
        """The log is another one."""
        self._cache.clear()
        self._edge = None
        self._seen = 0

    def to_end(self) -> None:
        """Show the newest entry."""
        self._edge = None

    def scroll(self, rows: int) -> None:
        """Move up by so many rows, or down if it is negative; as far as there are any."""
        if not self._view.entries:
            return
        if rows > 0:
            held = sum(1 for _ in self._upwards(self.height + rows))
            rows = min(rows, max(0, held - self.height))
        slot, below = self._moved(*self._at(), rows)
        if (slot, below) == (self._view.high, 0):
            self._edge = None
        elif rows:
            self._seen = max(self._seen, self._view.high) if self._edge is None else self._seen
            self._edge = slot, below

    def rows(self) -> list[Row]:
        """What is to be seen now, from the top down."""
        rows = list(self._upwards(self.height))[::-1]
        slot, _ = self._at()
        self._seen = max(self._seen, slot)
        return [[] for _ in range(self.height - len(rows))] + rows

    def _at(self) -> tuple[int, int]:
        """The edge, where it is fixed to what is still held."""
        if self._edge is None:
            return self._view.high, 0
        slot, below = self._edge
        if slot < self._view.low:
            low = self._view.low
            return self._moved(low, len(self._of(low)) - 1, 1 - self.height)
        return slot, min(below, len(self._of(slot)) - 1)

    def _moved(self, slot: int, below: int, rows: int) -> tuple[int, int]:
        """An edge that is so many rows higher, or lower, as far as there are any."""
        for _ in range(abs(rows)):
            if rows > 0:
                if below + 1 < len(self._of(slot)):
                    below += 1
                elif slot > self._view.low:
                    slot, below = slot - 1, 0
            elif below > 0:
                below -= 1
            elif slot < self._view.high:
                slot, below = slot + 1, len(self._of(slot + 1)) - 1
        return slot, below

    def _upwards(self, most: int) -> Iterator[Row]:
        """The rows above the edge, from there upwards."""
        slot, below = self._at()
        if not self._view.entries:
            return
        for number in range(slot, self._view.low - 1, -1):
            rows = self._of(number)
            for row in reversed(rows[: len(rows) - below]):
                if most <= 0:
                    return
                yield row
                most -= 1
            below = 0

    def _of(self, slot: int) -> list[Row]:
        """The rows of an entry; the date comes before the first of a day."""
        entry = self._entry(slot)
        rows = self._cache.get(slot)
        if rows is None:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            rows = self._cache[slot] = entry_rows(entry, self.width, self._author)
        time = local_time(entry)
        before = local_time(self._entry(slot - 1)) if slot > self._view.low else None
        if time is None or (before is not None and before.date() == time.date()):
            return rows
        return [[("class:date", f"{time:%A, %Y-%m-%d}"[: self.width])], *rows]

    def _entry(self, slot: int) -> Entry:
        return self._view.entries[slot - self._view.low]


def entry_rows(entry: Entry, width: int, own: str) -> list[Row]:
    """An entry as rows. The name of `own` has another style than that of others."""
    author = shown(entry.author)
    style = "class:own" if entry.author == own else "class:author"
    inner = max(1, width - _INDENT)
    paragraphs = [shown(line).expandtabs(_TAB) for line in entry.content.split("\n")]
    paragraphs[0] = f"{author}: {paragraphs[0]}"
    lines = [line for paragraph in paragraphs for line in wrap(paragraph, inner)]
    rows: list[Row] = []
    named = len(author) + 1  # characters that have the style of the author
    for number, line in enumerate(lines):
        margin = ("class:time", f"{clock(entry)} ") if number == 0 else ("", " " * _INDENT)
        name, text, named = line[:named], line[named:], max(0, named - len(line))
        rows.append([margin, (style, name), ("", text)] if name else [margin, ("", text)])
    return rows


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` columns and the spaces behind them, where they are broken."""
    lines = []
    start = space = 0  # of the line; behind its last space
    column = 0
    for index, character in enumerate(text):
        size = get_cwidth(character)
        while column + size > width and start < index and character != " ":
            end = space if space > start else index
            lines.append(text[start:end])
            start = space = end
            column = sum(map(get_cwidth, text[start:index]))
        column += size
        if character == " ":
            space = index + 1
    return [*lines, text[start:]]
