"""The body of a request, taken as it comes by whoever knows what to do with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol as Interface

from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request


class Channel(Interface):
    """What reads the requests of a connection."""

    def has_inflow(self, inflow: Inflow) -> bool:
        """Whether this is the body that is coming."""

    def hold(self, on: bool) -> None:
        """Read nothing for now, or go on."""

    def cut_short(self, inflow: Inflow) -> None:
        """Nothing more of a body is wanted."""


class Intake(Interface):
    """What takes the body of a request as it comes. It is the ``content`` of the request then."""

    def write(self, data: bytes) -> object:
        """The next bytes."""

    def tell(self) -> int:
        """How many bytes there were. Of no use to a resource."""

    def seek(self, offset: int, whence: int = 0) -> int:
        """It is asked to go back to the beginning, once, when all is there. It need not."""

    def close(self) -> None:
        """The request has been answered, or its client is gone."""


class Inflow:
    """The body of one request on its way to its :class:`Intake`."""

    def __init__(self, channel: Channel, clock: IReactorTime) -> None:
        self.received = 0
        self.is_stopped = False
        self._channel = channel
        self._clock = clock
        self._begun = clock.seconds()
        self._paused_at: float | None = None
        self._paused_for = 0.0

    def pause(self) -> None:
        """Take nothing more for now, but for what was read already."""
        if self._paused_at is None and self._channel.has_inflow(self):
            self._paused_at = self._clock.seconds()
            self._channel.hold(True)

    def resume(self) -> None:
        """Go on."""
        if self._paused_at is not None:
            self._paused_for += self._clock.seconds() - self._paused_at
            self._paused_at = None
            self._channel.hold(False)

    def stop(self) -> None:
        """Take no more of it: the request is answered now, and its connection closed after that."""
        self.is_stopped = True
        self._channel.cut_short(self)

    def allowance(self, timeout: float, min_rate: int) -> float:
        """Seconds for which the client may send nothing more. The time of a pause does not count."""
        now = self._clock.seconds()
        paused = self._paused_for + (0.0 if self._paused_at is None else now - self._paused_at)
        return self._begun + paused + timeout + self.received / min_rate - now


# What may take the body of a request, whose length is None if it comes in chunks. It is asked when the
# head has come; with None it is kept in memory, up to MAX_BODY.
Intakes = Callable[[Request, int | None, Inflow], Intake | None]


def kept(request: Request, length: int | None, inflow: Inflow) -> None:
    """An `Intakes`: every body is kept in memory."""
