"""What the admin service answers to those who may see how the suite is."""

from __future__ import annotations

import gzip
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from typing import Protocol as Interface

from twisted.web.server import Request

from protosuite.admin import overseen
from protosuite.admin.health import Health, Ready, checks_of
from protosuite.admin.overseen import Overseen
from protosuite.admin.readiness import Readiness, is_ready
from protosuite.admin.sampling import Sampling
from protosuite.admin.series import STEP, Values, columns
from protosuite.auth.rules import Action
from protosuite.net.access import Access
from protosuite.net.answers import encode_apart
from protosuite.net.api import Api, integer
from protosuite.net.login import add_login
from protosuite.net.pages import Pages

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class Service(Interface):
    """What the resources need of their service."""

    suite: Overseen
    readiness: Readiness
    sampling: Sampling
    access: Access
    reactor: Any
    started_at: int  # milliseconds since the epoch

    def uptime(self) -> float:
        """Seconds since the start."""

    def wall(self) -> float:
        """Seconds since the epoch."""


class Root(Pages):
    """``/``: the dashboard, and the rest. Whoever may not see those may still ask for the health."""

    def __init__(self, service: Service) -> None:
        super().__init__(Path(__file__).parent / "pages")
        self._access = service.access
        self.putChild(b"healthz", Health(service.uptime))
        self.putChild(b"readyz", Ready(service.readiness))
        self.putChild(b"metrics", _Metrics(service))
        self.putChild(b"status", _Status(service))
        self.putChild(b"live", _Live(service))
        add_login(self, service.access, service.reactor)

    def render_GET(self, request: Request) -> Any:
        refusal = self._access.page(request, Action.ADMIN)
        return self.send(request, "index.html") if refusal is None else refusal


class _Admin(Api):
    """Something for those who look after the suite."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.access)
        self._service = service

    def asks(self, request: Request) -> tuple[Action, str]:
        return Action.ADMIN, ""

    def _state(self) -> dict[str, Any]:
        """What changes from second to second."""
        service = self._service
        findings = service.readiness.findings()
        now, wall = service.reactor.seconds(), service.wall()
        return {
            "now": int(wall * 1000),
            "uptime_seconds": round(service.uptime(), 3),
            "ready": is_ready(findings),
            "checks": checks_of(findings),
            "services": overseen.services(service.suite),
            "recent_refusals": overseen.refusals(service.suite, now, wall),
        }


class _Metrics(_Admin):
    """``/metrics``."""

    _registry: CollectorRegistry | None = None

    async def get(self, request: Request) -> bytes:
        from protosuite.admin.metrics import exposition, registry  # where nobody asks, it is not needed

        if self._registry is None:
            self._registry = registry(self._service.suite.figures)
        accept = (request.getHeader(b"accept") or b"").decode("latin-1")
        data, kind = exposition(self._registry, accept)
        request.setHeader(b"Content-Type", kind.encode())
        if b"gzip" in (request.getHeader(b"accept-encoding") or b""):
            request.setHeader(b"Content-Encoding", b"gzip")
            data = gzip.compress(data, compresslevel=1, mtime=0)
        return data


class _Status(_Admin):
    """``/status``: all there is to know at this moment, the configuration without its secrets."""

    async def get(self, request: Request) -> Any:
        suite = self._service.suite
        return {
            **overseen.program(),
            **self._state(),
            **await overseen.nodes(suite),
            "configuration": overseen.configuration(suite.config),
        }


class _Live(_Admin):
    """``/live?started=&after=``: the state, and the points of the charts that the page has not.

    `after` is how many points it has seen of the process that began at `started`.
    """

    async def get(self, request: Request) -> Any:
        service = self._service
        nodes = await overseen.nodes(service.suite)  # before the points are taken, and counted
        series = service.sampling.series
        after = integer(request, "after", 0, 2**53, 0) or 0
        if integer(request, "started", 0, 2**53) != service.started_at:
            after = 0  # of another process, or of none
        state = {
            **overseen.program(),
            **self._state(),
            **nodes,
            "started": service.started_at,
            "count": series.count,
            "step": STEP,
            "is_whole": after == 0,
        }
        make = partial(_with_charts, state, *series.since(after))
        if series.count - after <= STEP:
            return make()
        return await encode_apart(request, make, service.suite.calls.run)


def _with_charts(state: dict[str, Any], fine: list[Values], coarse: list[Values]) -> dict[str, Any]:
    """For an hour this, as JSON and compressed, takes 20 ms."""
    return {**state, "fine": columns(fine), "coarse": columns(coarse)}
