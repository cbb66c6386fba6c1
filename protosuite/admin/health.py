"""``/healthz`` and ``/readyz``: for those who start the suite again, and for those who send people to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from protosuite.admin.readiness import Findings, Readiness, is_ready


class Health(Resource):
    """Answers 200 to whoever asks, for as long as the reactor turns: it asks nobody else."""

    def __init__(self, uptime: Callable[[], float]) -> None:
        super().__init__()
        self._uptime = uptime

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"Cache-Control", b"no-store")
        return _json(request, {"alive": True, "uptime_seconds": round(self._uptime(), 3)})


class Ready(Resource):
    """Answers 200 if everything is in order, else 503 and what is not; within the timeout."""

    def __init__(self, readiness: Readiness) -> None:
        super().__init__()
        self._readiness = readiness

    def render_GET(self, request: Request) -> Any:
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        def found(findings: Findings) -> None:
            if not gone:
                request.write(_answer(request, findings))
                request.finish()

        looking: Deferred[Findings] = self._readiness.look()
        looking.addCallback(found)
        return NOT_DONE_YET


def _answer(request: Request, findings: Findings) -> bytes:
    ready = is_ready(findings)
    request.setHeader(b"Cache-Control", b"no-store")
    if not ready:
        request.setResponseCode(503, b"Service Unavailable")
        request.setHeader(b"Retry-After", b"5")
    return _json(request, {"ready": ready, "checks": checks_of(findings)})


def _json(request: Request, value: object) -> bytes:
    request.setHeader(b"Content-Type", b"application/json")
    return json.dumps(value).encode()


def checks_of(findings: Findings) -> dict[str, dict[str, object]]:
    """Each check as JSON has it: whether it is in order, and if not, why."""
    return {
        name: {"ok": True} if why is None else {"ok": False, "detail": why} for name, why in findings.items()
    }
