"""The service that tells how all the others are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from protosuite.admin import overseen
from protosuite.admin.api import Root
from protosuite.admin.checks import Checks
from protosuite.admin.overseen import Overseen
from protosuite.admin.pulse import Pulse
from protosuite.admin.readiness import Readiness
from protosuite.admin.sampling import Sampling
from protosuite.auth.guard import OPEN, Guard
from protosuite.figures import Figure
from protosuite.net.web_service import HttpService

_LOOK_INTERVAL = 10.0  # seconds between two looks at the readiness that nobody asked for


class AdminService(HttpService):
    """Health, metrics, the dashboard. It stops behind all others, and says meanwhile that they do."""

    def __init__(
        self,
        suite: Overseen,
        reactor: Any,
        wall: Callable[[], float],
        guard: Guard = OPEN,
        secure_cookie: bool = False,
    ) -> None:
        config = suite.config.admin
        super().__init__("admin", config, reactor, wall, guard, secure_cookie)
        self.suite = suite
        self.wall = wall
        self.pulse = Pulse(reactor)
        self.checks = Checks(suite.database, suite.data, config.min_free, suite.calls)
        looks = [*self.checks.looks(), *overseen.reached(suite)]
        self.readiness = Readiness(looks, config.probe_timeout, reactor)
        self.serve(Root(self))
        self._looking = self._each(self._look)
        self._sampling = self._each(self._sample)

    def startService(self) -> None:
        super().startService()
        self._begin_at = self.reactor.seconds()
        self.started_at = int(self.wall() * 1000)
        # By now all services are there.
        self.sampling = Sampling(self.suite.services, self.suite.database, self.pulse, self.reactor.seconds)
        overseen.enter(self.suite)
        self.pulse.start()
        self._looking.start(_LOOK_INTERVAL)
        self._sampling.start(1.0, now=False)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self.pulse.stop()
        for loop in (self._looking, self._sampling):
            if loop.running:
                loop.stop()
        return maybeDeferred(self.suite.calls.stop)

    def stop_begins(self) -> None:
        self.readiness.stop()

    def uptime(self) -> float:
        """Seconds since the start."""
        return float(self.reactor.seconds() - self._begin_at)

    def figures(self) -> Iterator[Figure]:
        yield from super().figures()
        for source in (self.readiness, self.checks, self.pulse):
            yield from source.figures()

    def _each(self, work: Callable[[], object]) -> LoopingCall:
        """A loop that nothing ends but its stop."""

        def safely() -> None:
            try:
                work()
            except Exception:  # one that got out would end the loop for good
                self.log.failure("what goes on was not looked at; it will be again")

        loop = LoopingCall(safely)
        loop.clock = self.reactor
        return loop

    def _look(self) -> None:
        self.readiness.look().addErrback(self._not_looked)

    def _not_looked(self, failure: Failure) -> None:
        self.log.failure("the readiness was not looked at; it will be again", failure)

    def _sample(self) -> None:
        self.sampling.sample()
