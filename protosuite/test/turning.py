"""A reactor that turns when a test says so."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase


def own_epoll(case: SynchronousTestCase) -> Any:
    """An epoll reactor of the test's own, which ends with it; skips the test where there is no epoll."""
    try:
        from twisted.internet.epollreactor import EPollReactor
    except ImportError:
        raise SkipTest("there is no epoll here") from None
    reactor: Any = EPollReactor()
    case.addCleanup(reactor._poller.close)
    return reactor
