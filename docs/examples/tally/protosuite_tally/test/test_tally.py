"""The lines and the rules, without a network."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from protosuite.extending import PeerFault
from protosuite.testing import assert_cuts_alike
from protosuite_tally.ballot import Ballot
from protosuite_tally.wire import Decoder, Show, Token, Vote


class WireTests(SynchronousTestCase):
    """Lines to messages."""

    def test_messages(self) -> None:
        """Each line is its message, however it is cut."""
        data = b"token x.y.z\nvote tea\r\nshow\n"
        self.assertEqual(list(Decoder().feed(data)), [Token("x.y.z"), Vote("tea"), Show()])
        assert_cuts_alike(Decoder, data)

    def test_what_is_none(self) -> None:
        """Anything else is refused, and a line without an end is not kept."""
        for line, code in (
            (b"vote Tea\n", "bad-message"),
            (b"vote\n", "bad-message"),
            (b"\xff\n", "bad-message"),
            (b"x" * 3000, "too-long"),
        ):
            with self.assertRaises(PeerFault) as caught:
                list(Decoder().feed(line))
            self.assertEqual(caught.exception.code, code)


class BallotTests(SynchronousTestCase):
    """The rules."""

    def test_no_more_choices(self) -> None:
        """Beyond the limit there is no vote for what nobody has voted for."""
        ballot = Ballot(1, {"tea": 2})
        ballot.check("tea")
        self.assertRaises(PeerFault, ballot.check, "coffee")

    def test_ranking(self) -> None:
        """The most votes come first; where there are as many, the alphabet decides."""
        ballot = Ballot(9, {"tea": 2, "milk": 3, "juice": 2})
        self.assertEqual([choice for choice, _ in ballot.ranking()], ["milk", "juice", "tea"])
