"""What the counter tells of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from protosuite.counter.ledger import Book
from protosuite.figures import Figure, counter, gauge


def figures(ledger: Book, stored: int, unanswered: int, storing_fails: bool) -> Iterator[Figure]:
    """For machines. `stored` is the total that is on stable storage."""
    yield gauge("counter_value", "The counter, to within what a double can hold.", ledger.total)
    doc = "What was added and is not on stable storage yet."
    yield gauge("counter_unstored", doc, ledger.total - stored)
    yield gauge("counter_unanswered", "Groups of replies that wait for a commit.", unanswered)
    yield gauge("counter_storing_fails", "1 if the total cannot be stored.", storing_fails)
    doc = "Frames that were not applied: they would have passed the largest value, or could not be stored."
    yield counter("counter_refused_frames_total", doc, ledger.refused)


def overview(ledger: Book, stored: int, storing_fails: bool) -> Mapping[str, object]:
    """For people. The values are text: JavaScript has no whole numbers as large as they can be."""
    return {
        "value": str(ledger.total),
        "unstored": str(ledger.total - stored),
        "storing_fails": storing_fails,
    }
