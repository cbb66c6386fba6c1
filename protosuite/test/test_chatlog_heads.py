"""Where logs end, as far as that is known without reading it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from protosuite.chatlog.chain import Head
from protosuite.chatlog.heads import End, Heads


def end(slot: int) -> End:
    return 1, Head(slot, str(slot))


class HeadsTests(SynchronousTestCase):
    """What a commit finds of those before."""

    def setUp(self) -> None:
        self.heads = Heads(most=3)

    def commit(self, **ends: int) -> dict[str, End]:
        """A commit that finds some ends, and leaves these behind."""
        found = self.heads.take(ends)
        self.heads.stored({name: end(slot) for name, slot in ends.items()})
        return found

    def test_kept(self) -> None:
        """A commit finds what the one before it has left, of its own rooms."""
        self.assertEqual(self.commit(a=1, b=1), {})
        self.assertEqual(self.commit(a=2, c=1), {"a": end(1)})
        self.assertEqual(self.commit(a=3, b=2, c=2), {"a": end(2), "b": end(1), "c": end(1)})

    def test_failed(self) -> None:
        """Behind a commit that failed nothing is known of its rooms; the others are as they were."""
        self.commit(a=1, b=1)
        self.heads.take("a")
        self.heads.failed()
        self.assertEqual(self.commit(a=1, b=2), {"b": end(1)})

    def test_overlapping(self) -> None:
        """Nothing is taken while another commit is under way, and what it leaves is not kept."""
        self.commit(a=1, b=1)
        self.assertEqual(self.heads.take("a"), {"a": end(1)})
        self.assertEqual(self.heads.take("ab"), {})
        self.heads.stored({"a": end(2)})
        self.assertEqual(self.heads.take("a"), {})
        self.heads.stored({"a": end(3), "b": end(2)})
        self.heads.stored({"a": end(4)})
        self.assertEqual(self.commit(a=5, b=3), {"a": end(4)})

    def test_nothing_kept(self) -> None:
        """Where others write to the same rooms, a commit finds nothing of those before it."""
        self.heads = Heads(most=0)
        self.commit(a=1)
        self.assertEqual(self.commit(a=2), {})

    def test_bounded(self) -> None:
        """Those are kept that were written to last."""
        for name in "abc":
            self.commit(**{name: 1})
        self.commit(a=2)
        self.commit(d=1)
        self.assertEqual(set(self.heads.take("abcd")), {"a", "c", "d"})
