"""What may become of a connection on its way through a network, drawn from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from random import Random

from attrs import field, frozen


class Way(Enum):
    """The two directions of a connection."""

    UP = "to the server"
    DOWN = "to the client"


class Act(Enum):
    """What can be done to a connection."""

    CUT = "cut"  # both sides see it closed in order; what was under way is lost
    RESET = "reset"  # both sides see it reset
    END_UP = "end up"  # the server sees the client's side closed, and the client goes on
    END_DOWN = "end down"  # the client sees the server's side closed, and the server goes on
    STALL_UP = "stall up"  # nothing reaches the server for a while, and then all of it
    STALL_DOWN = "stall down"  # nothing reaches the client for a while, and then all of it
    SILENCE = "silence"  # nothing reaches anybody for a while, and then both see a reset


def _share(instance: object, attribute: object, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"a share is from 0 to 1, not {value}")


@frozen
class Faults:
    """How bad a network is. What is left out does not happen.

    A piece of data is under way for up to `latency` seconds, or twice that: each connection has its own
    time. On every second connection a piece has up to so many bytes, `segment` at most. At least `rate`
    bytes pass in a second. A share `refuse` of all connections is reset at once, and a share `overtake` is
    held back until a later one has passed, or for `pause` seconds.

    `acts` says what else happens and how often, by weight: after up to `spell` seconds or `stretch` bytes
    of a connection, and again. A stall, a silence, or a side that was ended lasts for up to `pause` seconds.
    """

    latency: float = 0.0
    segment: int = 0
    rate: int = 0
    refuse: float = field(default=0.0, validator=_share)
    overtake: float = field(default=0.0, validator=_share)
    acts: Mapping[Act, float] = field(factory=dict)
    spell: float = 10.0
    stretch: int = 100_000
    pause: float = 2.0


ANY_ACT: Mapping[Act, float] = {
    Act.CUT: 3,
    Act.RESET: 3,
    Act.END_UP: 1,
    Act.END_DOWN: 1,
    Act.STALL_UP: 2,
    Act.STALL_DOWN: 2,
    Act.SILENCE: 1,
}


@frozen
class Strike:
    """An act, when the connection is so many seconds older or has carried so many bytes more.

    `pause` is for how long it lasts, in seconds.
    """

    act: Act
    seconds: float
    bytes: int
    pause: float


class Fate:
    """What becomes of one connection. It follows from `faults` and `random`, which is its own."""

    def __init__(self, faults: Faults, random: Random) -> None:
        self._faults = faults
        self._random = random
        self.is_refused = random.random() < faults.refuse
        self.is_overtaken = random.random() < faults.overtake
        self.latency = faults.latency * random.random() ** 2  # most are near the short end
        self.segment = random.randint(1, faults.segment) if faults.segment and random.random() < 0.5 else 0
        self.rate = int(faults.rate / (1 - random.random())) if faults.rate else 0
        self.pause = faults.pause

    def strikes(self) -> Iterator[Strike]:
        """What is done to the connection, one thing after the other; without end, or nothing."""
        faults, random = self._faults, self._random
        acts, weights = list(faults.acts), list(faults.acts.values())
        while acts:
            act = random.choices(acts, weights)[0]
            seconds, pause = (random.random() * most for most in (faults.spell, faults.pause))
            yield Strike(act, seconds, int(random.random() * faults.stretch), pause)

    def cut(self, data: bytes) -> Iterator[bytes]:
        """`data` in the pieces in which it goes on."""
        while data:
            length = self._random.randint(1, self.segment) if self.segment else len(data)
            yield data[:length]
            data = data[length:]

    def delay(self) -> float:
        """Seconds for which a piece is under way."""
        return self.latency * (1 + self._random.random())
