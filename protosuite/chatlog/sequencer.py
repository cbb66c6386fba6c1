"""What comes next in which room: rounds of one append a connection. Pure.

Each connection's appends are put in the order of their `seq`. A round of a room takes one from every
connection that has any, in the order in which they came; who comes during a round is in the next one.
Rooms take turns, an append each, so that a storm in one costs the others no more than its share.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from attrs import define, field

from protosuite.chatlog.chain import Append
from protosuite.chatlog.wire import ClientAppend
from protosuite.errors import BadRequest


@define(eq=False, repr=False)
class _Rounds:
    """The writers of a room that have something ready, and who of them is still to come in this round."""

    writers: dict[Writer, None] = field(factory=dict)
    current: list[Writer] = field(factory=list)  # the next of them last

    def take(self) -> Append:
        """The next append, of the one that there is at least."""
        if not self.current and len(self.writers) == 1:
            (writer,) = self.writers
        else:
            if not self.current:
                self.current = sorted(self.writers, key=lambda writer: writer.ready[0][0], reverse=True)
            writer = self.current.pop()
        _, append = writer.ready.popleft()
        if not writer.ready:
            del self.writers[writer]
        return append

    def drop(self, writer: Writer) -> None:
        """It has nothing ready any more, and no place in the round."""
        self.writers.pop(writer, None)
        if writer in self.current:
            self.current.remove(writer)


@define(eq=False, repr=False)
class Writer:
    """One connection's appends that wait, in order. Whoever reads the connection bounds `ready`."""

    room: str
    session: str
    reorder_limit: int
    next_seq: int = 0
    early: dict[int, tuple[int, ClientAppend | None]] = field(factory=dict)  # by seq, with the arrival
    ready: deque[tuple[int, Append]] = field(factory=deque)
    rounds: _Rounds = field(factory=_Rounds)  # for its room, where nothing waits; not made for each append

    def admit(self, seq: int) -> None:
        """Raise :exc:`BadRequest` if `seq` may not come now."""
        if seq < self.next_seq or seq in self.early:
            raise BadRequest("bad-sequence", f"seq {seq} has been used; {self.next_seq} is next")
        if seq > self.next_seq + self.reorder_limit:
            raise BadRequest(
                "gap",
                f"seq {seq} is more than {self.reorder_limit} ahead of {self.next_seq}, which is missing",
            )

    @property
    def held(self) -> int:
        """How many appends wait for one that has not come."""
        return sum(message is not None for _, message in self.early.values())

    def put(self, seq: int, arrival: int, message: ClientAppend | None) -> None:
        """`seq` has come: as `message`, or used up by one that was refused."""
        self.early[seq] = (arrival, message)
        while self.next_seq in self.early:
            at, following = self.early.pop(self.next_seq)
            self.next_seq += 1
            if following is not None:
                self.ready.append((at, Append(self.room, self.session, following)))


@define(eq=False, repr=False)
class Sequencer:
    """The appends of all rooms that wait to be committed."""

    arrivals: int = 0
    _rooms: dict[str, _Rounds] = field(factory=dict)  # those with anything ready, whose turn is next first

    def offer(self, writer: Writer, message: ClientAppend) -> None:
        """An append came. Raises :exc:`BadRequest` if its `seq` is not right."""
        seq = message.seq
        if seq != writer.next_seq or writer.early:
            writer.admit(seq)
            self._put(writer, seq, message)
            return
        self.arrivals += 1  # it is in turn, as nearly all are
        writer.next_seq = seq + 1
        writer.ready.append((self.arrivals, Append(writer.room, writer.session, message)))
        self._has_ready(writer)

    def skip(self, writer: Writer, seq: int) -> None:
        """An append came that is refused for what it says: what is behind it need not wait for its `seq`.

        Raises :exc:`BadRequest` if the `seq` is not right either.
        """
        writer.admit(seq)
        self._put(writer, seq, None)

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to take."""
        return bool(self._rooms)

    def take(self, most: int) -> list[Append]:
        """The next appends, at most `most`: those of a room in the order in which they must be committed."""
        rooms, taken = self._rooms, list[Append]()
        while rooms and len(taken) < most:
            for room, rounds in list(islice(rooms.items(), most - len(taken))):
                del rooms[room]
                taken.append(rounds.take())
                if rounds.writers:
                    rooms[room] = rounds  # behind all others
        return taken

    def drop(self, writer: Writer) -> list[Append]:
        """Take back all that `writer` has waiting. Their `seq` are used up, as if they had been refused."""
        dropped = [append for _, append in writer.ready]
        writer.ready.clear()
        rounds = self._rooms.get(writer.room)
        if rounds is not None:
            rounds.drop(writer)
            if not rounds.writers:
                del self._rooms[writer.room]
        return dropped + self.drop_early(writer)

    def drop_early(self, writer: Writer) -> list[Append]:
        """Take back what waits for an append of `writer` that has not come."""
        held = sorted((seq, message) for seq, (_, message) in writer.early.items() if message is not None)
        for seq, _ in held:
            writer.early[seq] = (self.arrivals, None)
        return [Append(writer.room, writer.session, message) for _, message in held]

    def _put(self, writer: Writer, seq: int, message: ClientAppend | None) -> None:
        self.arrivals += 1
        writer.put(seq, self.arrivals, message)
        if writer.ready:
            self._has_ready(writer)

    def _has_ready(self, writer: Writer) -> None:
        rounds = self._rooms.get(writer.room)
        if rounds is None:
            rounds = self._rooms[writer.room] = writer.rounds
        rounds.writers[writer] = None
