"""The rules of numbers/1: what a stream holds, when each number is due, where a client resumes. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from attrs import define, evolve, field, frozen
from xxhash import xxh64_intdigest

from protosuite.errors import PeerFault
from protosuite.numbers.wire import End, Number, Start

EMPTY_CHECKSUM = 1  # Adler-32 over nothing, by RFC 1950


def value(seed: int, index: int) -> int:
    """The number at `index` of the stream with this 64-bit `seed`: 0 … 65535, at the same cost anywhere."""
    return xxh64_intdigest(index.to_bytes(8, "big"), seed) & 0xFFFF


def extend(checksum: int, number: int) -> int:
    """Adler-32 carried over one more number: its decimal digits and ``\\n``."""
    return zlib.adler32(b"%d\n" % number, checksum)


def checksum(seed: int, stop: int) -> int:
    """Adler-32 over the numbers before `stop`. Takes time with `stop`: 65,535 are some 30 ms."""
    text = b"".join(b"%d\n" % value(seed, index) for index in range(stop))
    return zlib.adler32(text, EMPTY_CHECKSUM)


@frozen
class Session:
    """A client's stream: all of it follows from `seed` and `count`. `acknowledged` numbers are with it."""

    client: str
    seed: int
    count: int
    acknowledged: int = 0


def new_session(start: Start, seed: int, chance: float, max_messages: int) -> Session:
    """A stream for `start`: `seed` and `chance` (0 ≤ chance < 1, for its length) come from outside."""
    longest = min(start.max or max_messages, max_messages)
    return Session(start.client, seed, 1 + int(chance * longest))


def resume_at(start: Start, session: Session | None) -> int:
    """The index that comes first for `start`, where `session` is what the client has, if anything."""
    if session is None:
        if start.next:
            raise PeerFault("expired", f"there is no session of client {start.client}, or it has expired")
        return 0
    if start.next is None:
        return session.acknowledged
    if start.next > session.count:
        raise PeerFault("out-of-range", f"next is {start.next}, and the stream has {session.count} numbers")
    return start.next


def check_agreement(start: Start, checksum: int) -> None:
    """Hold the client's checksum, if it sent one, against the server's at the same place."""
    if start.next is not None and start.checksum is not None and start.checksum != checksum:
        raise PeerFault(
            "diverged", f"the checksum before index {start.next} is {checksum}, not {start.checksum}"
        )


@define
class Stream:
    """A session being sent on one connection: what is due now, and when to look again.

    Times are seconds of one clock that never goes back. `checksum` is over the numbers before
    `next`. The number that is k-th on this connection is due k intervals after the first: a late one
    does not push back those after it.
    """

    session: Session
    next: int
    checksum: int
    interval: float
    window: int
    ack_timeout: float
    started: float

    acknowledged: int = field(init=False)
    ended: bool = field(init=False, default=False)
    _first: int = field(init=False)
    _waiting_since: float = field(init=False)  # since when an acknowledgement has been due

    def __attrs_post_init__(self) -> None:
        self._first = self.acknowledged = self.next
        self._waiting_since = self.started

    def due(self, now: float) -> list[Number | End]:
        """What is to be sent now, in order. Raises :exc:`PeerFault` when acknowledgements stay away."""
        messages: list[Number | End] = []
        while self.next < self.session.count and self.has_room() and self._due_at() <= now:
            if self.next == self.acknowledged:
                self._waiting_since = now
            number = Number(self.next, value(self.session.seed, self.next))
            messages.append(number)
            self.checksum = extend(self.checksum, number.value)
            self.next += 1
        if self.next == self.session.count and not self.ended:
            self.ended = True
            messages.append(End(self.session.count, self.checksum))
        if not self.ended and self._is_waiting() and now >= self._waiting_since + self.ack_timeout:
            raise PeerFault("ack-timeout", f"nothing was acknowledged for {self.ack_timeout:g} seconds")
        return messages

    def wake_at(self) -> float | None:
        """When :meth:`due` has something next, unless an acknowledgement comes before. None: ended."""
        if self.ended:
            return None
        times = []
        if self.has_room():
            times.append(self._due_at())
        if self._is_waiting():
            times.append(self._waiting_since + self.ack_timeout)
        return min(times)

    def acknowledge(self, index: int, now: float) -> bool:
        """Take an acknowledgement. False: it says nothing new."""
        if index >= self.next:
            raise PeerFault("out-of-range", f"number {index} is acknowledged, and {self.next} comes next")
        if index < self.acknowledged:
            return False
        self.acknowledged = index + 1
        self._waiting_since = now
        return True

    def _due_at(self) -> float:
        return self.started + (self.next - self._first) * self.interval

    def has_room(self) -> bool:
        """Whether the window lets another number go; if not, an acknowledgement does."""
        return self.next - self.acknowledged < self.window

    def _is_waiting(self) -> bool:
        return self.acknowledged < self.next


@frozen
class Progress:
    """What a client carries from connection to connection: it never needs the old numbers again."""

    next: int = 0
    sum: int = 0
    checksum: int = EMPTY_CHECKSUM

    def take(self, numbers: Iterable[Number]) -> Progress:
        """This and `numbers`. Raises :exc:`PeerFault` if one is not the next."""
        progress = self
        for number in numbers:
            if number.index != progress.next:
                raise PeerFault("bad-field", f"number {number.index} came, and {progress.next} was next")
            progress = evolve(
                progress,
                next=progress.next + 1,
                sum=progress.sum + number.value,
                checksum=extend(progress.checksum, number.value),
            )
        return progress

    def verify(self, end: End) -> None:
        """Hold the whole against the server's `end`. Raises :exc:`PeerFault` if they differ."""
        if end.count != self.next:
            raise PeerFault("diverged", f"the stream has {end.count} numbers, and {self.next} arrived")
        if end.checksum != self.checksum:
            raise PeerFault(
                "diverged", f"the checksum is {self.checksum}, and the server's is {end.checksum}"
            )
