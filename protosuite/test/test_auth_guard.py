"""The guard: who is let in, and who is told when a token that a connection lives on ends or is revoked."""

from __future__ import annotations

from typing import cast

from attrs import evolve
from sqlalchemy import Connection
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from protosuite.auth import revocations
from protosuite.auth.guard import OPEN, Hold, Revoked, TokenGuard
from protosuite.auth.revocations import Revocation
from protosuite.auth.rules import Action
from protosuite.auth.tokens import LEEWAY, Expired, Identity, Keys
from protosuite.errors import Forbidden, Unauthenticated
from protosuite.testing import HandWorker, database

KEYS = Keys({"k": b"s" * 32})
ANA = Identity("t-ana", "client", "ana", 1000, "k")
BOB = Identity("t-bob", "client", "bob", 2000, "k")
DAY = 86_400


class Fixture(SynchronousTestCase):
    open_database = staticmethod(database)  # as tests with another engine replace it

    def setUp(self) -> None:
        self.clock = Clock()
        self.folder = self.mktemp()
        self.database = self.open_database(self.folder)
        self.addCleanup(self.database.close)
        self.guard = self.make()
        self.told: list[tuple[str, Unauthenticated]] = []
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def make(self) -> TokenGuard:
        guard = TokenGuard(KEYS, self.database, 1.0, self.clock, self.clock.seconds)
        guard.start()
        self.addCleanup(guard.stop)
        return guard

    def hold(self, identity: Identity, name: str = "") -> Hold:
        return self.guard.hold(identity, lambda reason: self.told.append((name or identity.subject, reason)))

    def revoke(self, id: str, expires_at: int | None = None) -> None:
        """As another process does it."""

        def work(connection: Connection) -> None:
            revocations.add(connection, Revocation(id, expires_at, int(self.clock.seconds() * 1000)))

        self.successResultOf(self.database.write(work))

    def stored(self) -> list[str]:
        return [r.id for r in self.successResultOf(self.database.read(revocations.read))]

    def reasons(self) -> list[tuple[str, type[Unauthenticated]]]:
        return [(name, type(reason)) for name, reason in self.told]

    def errors(self) -> list[str]:
        return [e["log_format"] for e in self.events if e["log_level"] in (LogLevel.error, LogLevel.critical)]


class DoorTests(Fixture):
    """Who is let in."""

    def test_let_in(self) -> None:
        """A good token tells who it is, and they may do what their role may."""
        identity = self.guard.verify(KEYS.sign(ANA, 0))
        self.assertEqual(identity, ANA)
        self.guard.check(identity, Action.NUMBERS_START, "ana")
        with self.assertRaises(Forbidden):
            self.guard.check(identity, Action.NUMBERS_START, "bob")
        self.assertTrue(self.guard.may(identity, Action.BUS_ASK))
        self.assertFalse(self.guard.may(identity, Action.ADMIN))

    def test_no_token(self) -> None:
        """R23: without a token nobody is let in, may do anything, or can hold anything."""
        for token in (None, ""):
            with self.assertRaises(Unauthenticated) as caught:
                self.guard.verify(token)
            self.assertEqual(caught.exception.message, "this needs a token")
        for action in Action:
            self.assertRaises(Unauthenticated, self.guard.check, None, action, "ana")
            self.assertFalse(self.guard.may(None, action, "ana"))
        self.assertRaises(Unauthenticated, self.guard.hold, None, self.fail)

    def test_expired(self) -> None:
        """R23: an expired token is refused at the door, by the clock that was handed in."""
        self.clock.advance(ANA.expires + LEEWAY)
        self.assertRaises(Expired, self.guard.verify, KEYS.sign(ANA, 0))
        self.guard.verify(KEYS.sign(BOB, 0))

    def test_revoked(self) -> None:
        """R23: a revoked token is refused at the door after the next look; the person's others are not."""
        self.revoke(ANA.id)
        self.clock.advance(1)
        self.assertRaises(Revoked, self.guard.verify, KEYS.sign(ANA, 0))
        self.guard.verify(KEYS.sign(evolve(ANA, id="t-ana-2"), 0))

    def test_revoked_before_the_start(self) -> None:
        """R23: what was revoked while the suite was down is refused from the first moment."""
        self.revoke(ANA.id)
        self.assertRaises(Revoked, self.make().verify, KEYS.sign(ANA, 0))

    def test_open(self) -> None:
        """Without ``[auth]`` everybody may do everything, and no token is looked at."""
        self.assertEqual((OPEN.is_on, self.guard.is_on), (False, True))
        for token in (None, "", "x", KEYS.sign(ANA, 0)):
            self.assertIsNone(OPEN.verify(token))
        for action in Action:
            OPEN.check(None, action, "chatlog.x")
            self.assertTrue(OPEN.may(None, action))
        OPEN.start()
        OPEN.hold(None, self.fail).release()
        OPEN.stop()


class LiveTests(Fixture):
    """Tokens that connections live on."""

    def test_expires_while_held(self) -> None:
        """R23: who lives on a token is told once, within a look of its expiry; others are not."""
        self.hold(ANA)
        self.hold(BOB)
        self.clock.advance(ANA.expires + LEEWAY - 0.5)
        self.assertEqual(self.told, [])
        self.clock.advance(1)
        self.assertEqual(self.reasons(), [("ana", Expired)])
        self.clock.pump([1.0] * 5)
        self.assertEqual(len(self.told), 1)

    def test_revoked_while_held(self) -> None:
        """R23: everybody who lives on a revoked token is told once, with the reason; others are not."""
        for name in ("one", "two", "three"):
            self.hold(ANA, name)
        self.hold(BOB)
        self.revoke(ANA.id)
        self.clock.advance(1)
        self.assertEqual(sorted(self.reasons()), [(name, Revoked) for name in ("one", "three", "two")])
        self.assertEqual(self.told[0][1].message, "the token has been revoked")
        self.clock.pump([1.0] * 5)
        self.assertEqual(len(self.told), 3)

    def test_held_after_it_was_revoked(self) -> None:
        """R23: who begins to hold a token just as it is revoked is told at the next look."""
        self.revoke(ANA.id)
        self.clock.advance(1)
        self.hold(ANA)
        self.assertEqual(self.told, [])
        self.clock.advance(1)
        self.assertEqual(self.reasons(), [("ana", Revoked)])

    def test_two_tokens_of_one_id(self) -> None:
        """R23: of two tokens with one id each ends at its own time, and both when it is revoked."""
        self.hold(ANA, "early")
        self.hold(evolve(ANA, expires=5000), "late")
        self.clock.advance(ANA.expires + LEEWAY + 1)
        self.assertEqual(self.reasons(), [("early", Expired)])
        self.revoke(ANA.id)
        self.clock.advance(1)
        self.assertEqual(self.reasons()[1:], [("late", Revoked)])

    def test_released(self) -> None:
        """Who has released a token is told nothing, and nothing is kept of it."""
        self.hold(ANA).release()
        hold = self.hold(BOB)
        hold.release()
        hold.release()
        self.revoke(BOB.id)
        self.clock.advance(ANA.expires + LEEWAY)
        self.assertEqual(self.told, [])
        self.assertEqual(self.guard._live, {})

    def test_one_ends_another(self) -> None:
        """One that is told may release others: they are not told."""
        holds: list[Hold] = []

        def end(reason: Unauthenticated) -> None:
            self.told.append(("either", reason))
            for hold in holds:
                hold.release()

        holds += [self.guard.hold(ANA, end) for _ in range(3)]
        self.revoke(ANA.id)
        self.clock.advance(1)
        self.assertEqual(len(self.told), 1)

    def test_one_that_breaks(self) -> None:
        """An exception of one that is told is logged; the others are told, and the looks go on."""

        def end(reason: Unauthenticated) -> None:
            raise ZeroDivisionError

        self.guard.hold(ANA, end)
        self.hold(ANA, "one")
        self.guard.hold(ANA, end)
        self.hold(BOB)
        self.revoke(ANA.id)
        self.clock.advance(1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.revoke(BOB.id)
        self.clock.advance(1)
        self.assertEqual(self.reasons(), [("one", Revoked), ("bob", Revoked)])

    def test_stopped(self) -> None:
        """After a stop nothing is left that waits."""
        self.hold(ANA)
        self.guard.stop()
        self.guard.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class DatabaseTests(Fixture):
    """The list of what was revoked."""

    def rename(self, old: str, new: str) -> None:
        """Take the table away from under the guard, or give it back."""

        def work(connection: Connection) -> None:
            connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")

        self.successResultOf(self.database.write(work))

    def test_away(self) -> None:
        """R23: while the database is away what was revoked stays so, tokens expire, and it is logged once."""
        self.revoke(ANA.id)
        self.clock.advance(1)
        self.rename("auth_revocation", "elsewhere")
        self.hold(BOB)
        self.clock.pump([1.0] * 10)
        self.assertRaises(Revoked, self.guard.verify, KEYS.sign(ANA, 0))
        self.guard.verify(KEYS.sign(BOB, 0))
        self.assertEqual(len(self.errors()), 1)
        self.clock.advance(BOB.expires + LEEWAY)
        self.assertEqual(self.reasons(), [("bob", Expired)])
        self.rename("elsewhere", "auth_revocation")
        late = evolve(BOB, id="late", expires=10_000)
        self.hold(late)
        self.revoke(late.id)
        self.clock.pump([1.0] * 3)
        self.assertEqual(self.reasons()[1:], [("bob", Revoked)])
        self.assertIn("revoked tokens are read again", [event["log_format"] for event in self.events])
        self.assertEqual(len(self.errors()), 1)

    def test_slow(self) -> None:
        """A reading that takes long is not begun again beside itself, and holds up no expiry."""
        reader = self.database.readers
        assert isinstance(reader, HandWorker)
        reader.at_once = False
        self.hold(ANA)
        self.clock.pump([1.0] * 5)
        self.assertEqual(len(reader.tasks), 1)
        self.clock.advance(ANA.expires + LEEWAY)
        self.assertEqual(self.reasons(), [("ana", Expired)])
        reader.at_once = True
        reader.run()

    def test_swept(self) -> None:
        """A revocation goes a day after its token expired; one whose expiry is not known stays."""
        self.revoke("soon", 1000)
        self.revoke("later", (DAY - 5) * 1000)
        self.revoke("for ever")
        self.clock.advance(DAY)
        self.assertEqual(sorted(self.stored()), ["for ever", "later", "soon"])
        self.clock.pump([2.0, 1.0])
        self.assertEqual(sorted(self.stored()), ["for ever", "later"])
        self.clock.advance(DAY)
        self.assertEqual(self.stored(), ["for ever"])

    def test_revoked_twice(self) -> None:
        """Who revokes again changes nothing, but that an expiry that was not known may be known then."""
        self.revoke("a")
        self.clock.advance(5)
        self.revoke("a", 9000)
        self.revoke("a", 7000)
        self.assertEqual(
            self.successResultOf(self.database.read(revocations.read)), [Revocation("a", 9000, 0)]
        )
