"""R24: the table of who may do what, every cell of it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from protosuite.auth.rules import OWN_TOPICS, ROLES, TABLE, Action, check, may
from protosuite.errors import Forbidden

# By hand, apart from the table: who may do it to what is their own, is another's, is the suite's.
NOBODY: tuple[str, ...] = ()
DESK = ("operator", "service")
ALL = ("client", *DESK)
EXPECTED = {
    Action.NUMBERS_START: (ALL, DESK, DESK),
    Action.BUS_ASK: (ALL, ALL, ALL),
    Action.BUS_PUBLISH: (DESK, DESK, NOBODY),
    Action.BUS_SUBSCRIBE: (DESK, DESK, DESK),
    Action.CHATLOG_READ: (ALL, ALL, ALL),
    Action.CHATLOG_APPEND: (ALL, DESK, DESK),
    Action.MEDIACHAT_TALK: (("client", "service"), ("service",), ("service",)),
    Action.MEDIACHAT_READ: (ALL, DESK, DESK),
    Action.MEDIACHAT_DESK: (DESK, DESK, DESK),
    Action.ADMIN: (DESK, DESK, DESK),
}


class RulesTests(SynchronousTestCase):
    """What each role may do."""

    def test_every_cell(self) -> None:
        """Each role may do to its own, to another's and to the suite's what is expected, and nothing else."""
        self.assertEqual(EXPECTED.keys(), set(Action))
        self.assertEqual(TABLE.keys(), set(Action))
        for action, cells in EXPECTED.items():
            for resource, allowed in zip(("ana", "bob", "chatlog.main.append"), cells, strict=True):
                for role in ROLES:
                    self.assertEqual(
                        may(role, "ana", action, resource), role in allowed, (action, role, resource)
                    )

    def test_no_role(self) -> None:
        """A word that is no role may do nothing."""
        for action in Action:
            for role in ("", "Client", "anybody", "root"):
                self.assertFalse(may(role, "ana", action, "ana"))

    def test_own_is_exactly_own(self) -> None:
        """Nobody is somebody whose name only looks alike."""
        for other in (
            "",
            "Ana",
            "ana ",
            "ana\u200b",
            "an",
            "anaa",
            "аna",
        ):  # the last one's first letter is Cyrillic
            self.assertFalse(may("client", "ana", Action.NUMBERS_START, other))

    def test_topics_of_the_suite(self) -> None:
        """A topic whose first word is one of the suite's own is closed; one that begins alike is not."""
        for word in OWN_TOPICS:
            for topic in (word, f"{word}.x", f"{word}.main.append"):
                self.assertFalse(may("service", "s", Action.BUS_PUBLISH, topic))
            for topic in (f"{word}s", f"my.{word}", f"{word}-x.y"):
                self.assertTrue(may("service", "s", Action.BUS_PUBLISH, topic))

    def test_sentences(self) -> None:
        """R24: who may not is told what, and whether it is the role, the name or the topic."""
        for role, action, resource, sentence in (
            (
                "client",
                Action.NUMBERS_START,
                "bob",
                "receive the stream of a client id: with this token only as ana",
            ),
            (
                "client",
                Action.ADMIN,
                "",
                "see the suite's state, metrics and dashboard: not with the role client",
            ),
            ("service", Action.BUS_PUBLISH, "suite.x", "publish to a topic: not to the suite's own topics"),
        ):
            with self.assertRaises(Forbidden) as caught:
                check(role, "ana", action, resource)
            self.assertEqual(
                (caught.exception.code, caught.exception.message), ("forbidden", f"may not {sentence}")
            )
        check("client", "ana", Action.NUMBERS_START, "ana")
