"""Tokens for tests: keys, a guard on a clock and a database, and bearers in every role."""

from __future__ import annotations

from itertools import count

from sqlalchemy import Connection
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protosuite.auth import revocations
from protosuite.auth.guard import TokenGuard
from protosuite.auth.revocations import Revocation
from protosuite.auth.tokens import Identity, Keys
from protosuite.storage import Database

KEYS = Keys({"k": b"s" * 32})
OTHERS = Keys({"k": b"o" * 32})  # of somebody else, who calls them as we do
HOUR = 3600


class Bearers:
    """A started guard and tokens for it. It looks for revoked ones once a second."""

    def __init__(self, case: SynchronousTestCase, database: Database, clock: Clock) -> None:
        self.clock = clock
        self._database = database
        self._ids = (f"t-{n}" for n in count())
        self.guard = TokenGuard(KEYS, database, 1.0, clock, clock.seconds)
        self.guard.start()
        case.addCleanup(self.guard.stop)

    def token(self, role: str, subject: str, *, id: str = "", lifetime: int = HOUR, keys: Keys = KEYS) -> str:
        """A new token, good for `lifetime` seconds; one of below 0 has expired."""
        now = int(self.clock.seconds())
        return keys.sign(Identity(id or next(self._ids), role, subject, now + lifetime), now)

    def bad(self, role: str, subject: str) -> dict[str, str]:
        """Tokens that are good no more or never were, by what is wrong with them."""
        good = self.token(role, subject)
        self.revoke("gone")
        return {
            "forged": self.token(role, subject, keys=OTHERS),
            "expired": self.token(role, subject, lifetime=-HOUR),
            "revoked": self.token(role, subject, id="gone"),
            "cut": good[:-1],
            "rubbish": "x",
        }

    def revoke(self, id: str) -> None:
        """Take a token back as another process does it, and wait for the guard's next look."""

        def work(connection: Connection) -> None:
            revocations.add(connection, Revocation(id, None, 0))

        self._database.write(work)
        self.clock.advance(1)
