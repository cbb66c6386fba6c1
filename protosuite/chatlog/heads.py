"""Where logs end, kept in memory while nobody else can make them longer. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import define, field

from protosuite.chatlog.chain import Head

_MOST = 4096  # rooms; those that were written to last are kept

End = tuple[int, Head]  # the id of a room, and its head


@define(eq=False, repr=False)
class Heads:
    """Ends of rooms by name, as the last commit left them: the next one need not read them.

    Looking them up was a quarter of what a commit of 50 appends computed. :meth:`take` belongs to the
    beginning of each commit, :meth:`stored` or :meth:`failed` to its end, in the same order. Where one begins
    before another has ended, nothing is kept of either but what the last of them leaves behind. With 0 as
    `most` nothing is kept at all.
    """

    most: int = _MOST
    _kept: dict[str, End] = field(factory=dict)  # the one written to last at the end
    _under_way: int = 0

    def take(self, names: Iterable[str]) -> dict[str, End]:
        """Those of these rooms that are known. They are not kept any more: they are about to change."""
        self._under_way += 1
        known = {name: self._kept.pop(name) for name in names if name in self._kept}
        return known if self._under_way == 1 else {}

    def stored(self, ends: Mapping[str, End]) -> None:
        """A commit is on stable storage, and has left its rooms so."""
        self._under_way -= 1
        if not self._under_way:
            self._kept.update(ends)
            while len(self._kept) > self.most:
                del self._kept[next(iter(self._kept))]

    def failed(self) -> None:
        """A commit has failed, or nobody knows."""
        self._under_way -= 1
