"""What the services ask about whoever is at the door, and who is told when a token is no longer good."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from attrs import define, field
from sqlalchemy import Connection
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.auth import revocations, rules
from protosuite.auth.rules import OWN_TOPICS, AnyAction
from protosuite.auth.tokens import LEEWAY, Expired, Identity, Keys
from protosuite.errors import Forbidden, Unauthenticated
from protosuite.storage import Database

log = Logger(namespace="protosuite.auth")

End = Callable[[Unauthenticated], None]


class Revoked(Unauthenticated):
    """It was taken back."""

    def __init__(self) -> None:
        super().__init__("the token has been revoked")


@define(eq=False, repr=False)
class Hold:
    """Somebody who wants to know when a token is no longer good. It is told once."""

    end: End | None = None
    holds: set[Hold] = field(factory=set)  # all those of its token

    def release(self) -> None:
        """Be told nothing, from now on."""
        self.end = None
        self.holds.discard(self)


class Guard:
    """The guard of a suite without ``[auth]``: everybody may do everything."""

    is_on = False

    def verify(self, token: str | None) -> Identity | None:
        """Who `token` is for; None where nobody asks. Raises :exc:`Unauthenticated`."""
        return None

    def check(self, identity: Identity | None, action: AnyAction, resource: str = "") -> None:
        """Raise :exc:`Unauthenticated` for nobody, and :exc:`Forbidden` for somebody who may not."""

    def may(self, identity: Identity | None, action: AnyAction, resource: str = "") -> bool:
        """Whether :meth:`check` would not raise."""
        try:
            self.check(identity, action, resource)
        except (Unauthenticated, Forbidden):
            return False
        return True

    def hold(self, identity: Identity | None, end: End) -> Hold:
        """Have `end` called, once, with the reason, when the token expires or is revoked.

        It is never called from within this call. What is returned is released when nobody is left to end.
        """
        return Hold()

    def start(self) -> None:
        """Begin to watch. Blocks; before anything is accepted."""

    def stop(self) -> None:
        """Watch no more."""


OPEN = Guard()


class Bearer:
    """Who one connection is, from the token that it presents: for a protocol whose first message brings it.

    `end` is called when that token is no longer good, as :meth:`Guard.hold` does it.
    """

    def __init__(self, guard: Guard, end: End) -> None:
        self.identity: Identity | None = None
        self._guard = guard
        self._end = end
        self._hold = Hold()

    def present(self, token: str | None) -> None:
        """Take a token: the first, or another one of the same person in the same role, to live longer.

        Raises :exc:`Unauthenticated`, and :exc:`Forbidden` if it makes somebody else of this connection:
        what it has got so far was for who it was.
        """
        before, identity = self.identity, self._guard.verify(token)
        if before and identity and (before.role, before.subject) != (identity.role, identity.subject):
            raise Forbidden("may not become somebody else: open another connection for that token")
        self._hold.release()
        self.identity, self._hold = identity, self._guard.hold(identity, self._end)

    def check(self, action: AnyAction, resource: str = "") -> None:
        """As :meth:`Guard.check`."""
        self._guard.check(self.identity, action, resource)

    def release(self) -> None:
        """The connection is gone."""
        self._hold.release()


class TokenGuard(Guard):
    """The guard of a suite with ``[auth]``.

    Every `interval` seconds it looks whether a token that somebody holds has expired, and reads which were
    revoked. While the database cannot be read, the last list that was read stays in force. `wall` gives
    seconds since the epoch. Everything is for the reactor's thread.
    """

    is_on = True

    def __init__(
        self,
        keys: Keys,
        database: Database,
        interval: float,
        reactor: Any,
        wall: Callable[[], float],
        own_topics: Collection[str] = OWN_TOPICS,
    ) -> None:
        self._keys = keys
        self._own_topics = own_topics
        self._database = database
        self._interval = interval
        self._wall = wall
        self._revoked: frozenset[str] = frozenset()
        self._live: dict[Identity, set[Hold]] = {}
        self._is_reading = False
        self._can_read = True
        self._watching = LoopingCall(self._look)
        self._watching.clock = reactor

    def verify(self, token: str | None) -> Identity:
        if not token:
            raise Unauthenticated("this needs a token")
        identity = self._keys.verify(token, self._wall())
        if identity.id in self._revoked:
            raise Revoked
        return identity

    def check(self, identity: Identity | None, action: AnyAction, resource: str = "") -> None:
        if identity is None:
            raise Unauthenticated("this needs a token")
        rules.check(identity.role, identity.subject, action, resource, self._own_topics)

    def hold(self, identity: Identity | None, end: End) -> Hold:
        if identity is None:
            raise Unauthenticated("this needs a token")
        holds = self._live.setdefault(identity, set())
        hold = Hold(end, holds)
        holds.add(hold)
        return hold

    def start(self) -> None:
        with self._database.at_start() as connection:
            self._take(revocations.read(connection))
        self._watching.start(self._interval, now=False)

    def stop(self) -> None:
        if self._watching.running:
            self._watching.stop()

    def _look(self) -> None:
        """End what has expired; read what was revoked, unless the last reading is still under way."""
        try:
            self._expire()
        except Exception:  # an exception that got out would end the loop for good
            log.failure("tokens were not checked for their expiry; it goes on")
        if not self._is_reading:
            self._is_reading = True
            self._database.read(revocations.read).addCallback(self._take).addBoth(self._has_read)

    def _expire(self) -> None:
        now = self._wall()
        for identity, holds in list(self._live.items()):
            if not holds:
                del self._live[identity]
            elif now >= identity.expires + LEEWAY:
                self._end(identity, Expired())

    def _take(self, found: list[revocations.Revocation]) -> None:
        self._revoked = frozenset(revocation.id for revocation in found)
        for identity in [identity for identity in self._live if identity.id in self._revoked]:
            self._end(identity, Revoked())
        now = int(self._wall() * 1000)
        if any(revocations.is_over(revocation, now) for revocation in found):

            def work(connection: Connection) -> int:
                return revocations.sweep(connection, now)

            self._database.write(work).addErrback(
                lambda failure: log.debug("old revocations not removed: {why}", why=str(failure.value))
            )

    def _has_read(self, outcome: object) -> None:
        """Log once when reading begins to fail, and once when it works again."""
        self._is_reading = False
        why = outcome.value if isinstance(outcome, Failure) else None
        if self._can_read == (why is None):
            return
        self._can_read = why is None
        if why is None:
            log.info("revoked tokens are read again")
        else:
            log.error("revoked tokens cannot be read, those that are known stay revoked: {why}", why=str(why))

    def _end(self, identity: Identity, reason: Unauthenticated) -> None:
        """Tell everybody who holds this token."""
        for hold in list(self._live.pop(identity, ())):
            if hold.end is None:
                continue  # released by another one's end
            try:
                hold.end(reason)
            except Exception:  # one connection's trouble is not another's
                log.failure("a connection did not take the end of its token; the others are told")
