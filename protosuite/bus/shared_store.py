"""The database of a bus that several nodes share: what is published, what is owed, and who has it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from protosuite.bus import published
from protosuite.bus.broker import taken, too_many
from protosuite.bus.delivery import Event
from protosuite.bus.leasing import Lease, Leasing, Renewed, acknowledge
from protosuite.bus.placing import Batch, Placing, Publication, chunks, locked, seen
from protosuite.bus.published import Keeping, Page, Swept
from protosuite.bus.tables import FIRST_HEAD, durables, head, owed_events
from protosuite.errors import BadRequest
from protosuite.storage import Database
from protosuite.storage.gathering import Gathering
from protosuite.storage.locking import Rows
from protosuite.storage.upsert import insert

# What works change that other nodes may change too. They lock it themselves; the head comes at the end.
_ROWS, _HEAD = Rows(owed_events.c.id), Rows(head.c.id)


@frozen
class Shared:
    """A durable subscription in the database, and how many events it is owed, if they were counted."""

    name: str
    pattern: str
    owed: int | None = None


@frozen
class Listing:
    """All durable subscriptions. `took`: the seconds for which what they are owed was counted."""

    durables: list[Shared]
    took: float


class SharedStore:
    """Stores and reads for one `node`, which is taken for dead when it is silent for `patience` seconds.

    What comes in one turn of the reactor, or while a commit is under way, shares statements and commits.
    `publishing` is for what locks the head: the same `database`, or one :meth:`~.Database.beside` it.
    `published` is told of each batch, `given_back` of ids that were released, in the reactor's thread.
    """

    def __init__(
        self,
        database: Database,
        publishing: Database,
        node: str,
        patience: float,
        wall: Callable[[], float],
    ) -> None:
        self._database = database
        self._publishing = publishing
        self._node = node
        self._wall = wall
        self._versions = 0
        self._placing = Placing()
        self._leasing = Leasing(node, patience, wall)
        self._publications: Gathering[Batch] = Gathering(
            publishing, Batch, self._placing.publish, self._published, rows=lambda batch: _HEAD
        )
        self._leases: Gathering[list[Lease]] = Gathering(
            database, list, self._leasing.lease, self._leased, rows=lambda items: _ROWS
        )
        self._acknowledged: Gathering[set[int]] = Gathering(
            database, set, acknowledge, self._not_acknowledged, rows=lambda items: _ROWS
        )
        self._released: Gathering[dict[int, str]] = Gathering(
            database, dict, self._leasing.release, self._gave_back, rows=lambda items: _ROWS
        )
        self._unacknowledged: set[int] = set()  # what could not be stored, and is tried again
        self._unreleased: dict[int, str] = {}
        self.published: Callable[[Batch, Failure | None], None] = lambda batch, failure: None
        self.given_back: Callable[[Collection[str]], None] = lambda names: None

    def start(self) -> tuple[int, list[Shared]]:
        """Be among the nodes; where everything ends, and all durable subscriptions. Blocks; at a start."""
        with self._database.at_start() as connection:
            made = insert(connection, head).on_conflict_do_nothing()
            connection.execute(made, [FIRST_HEAD])
            at = locked(connection)
            # Never an id that was used before: a late acknowledgement would be taken for another event's.
            used = connection.execute(sa.select(sa.func.max(owed_events.c.id))).scalar() or 0
            owed = max(at.owed, used, int(self._wall() * 1000) << 20)
            connection.execute(sa.update(head).values(owed=owed, durables=self._version()))
            self._leasing.begin(connection)
            return at.position, _all(connection)

    # Events.

    def publish(self, publication: Publication) -> None:
        """Store an event; `published` is told with its batch."""
        self._publications.items.publications.append(publication)
        self._publications.touch()

    def head(self) -> Deferred[int]:
        """Where everything ends now."""
        return self._database.read(lambda connection: seen(connection).position)

    def after(self, position: int) -> Deferred[Page]:
        """What is behind a position."""
        return self._database.read(lambda connection: published.page(connection, position))

    def last(self, pattern: str, replay: int, most: int, max_bytes: int) -> Deferred[tuple[int, list[Event]]]:
        """See :func:`.published.last`."""
        return self._database.read(
            lambda connection: published.last(connection, pattern, replay, most, max_bytes)
        )

    def crowded(self, retain: int) -> Deferred[list[str]]:
        """See :func:`.published.crowded`."""
        return self._database.read(lambda connection: published.crowded(connection, retain))

    def sweep(self, keeping: Keeping, names: Sequence[str]) -> Deferred[Swept]:
        """See :func:`.published.sweep`."""
        return self._publishing.write(lambda connection: published.sweep(connection, keeping, names), _HEAD)

    # Durable subscriptions.

    def find(self, name: str) -> Deferred[str | None]:
        """The pattern of a durable subscription; None if there is none of that name."""
        query = sa.select(durables.c.pattern).where(durables.c.name == name)
        return self._database.read(lambda connection: connection.execute(query).scalar())

    def create(self, name: str, pattern: str, most: int) -> Deferred[BadRequest | None]:
        """Store a durable subscription if it is not there; why it cannot be, if it cannot.

        What is published after that, on any node, it is owed.
        """

        def work(connection: Connection) -> BadRequest | None:
            locked(connection)
            query = sa.select(durables.c.pattern).where(durables.c.name == name)
            known = connection.execute(query).scalar()
            if known is not None:
                return None if known == pattern else taken(name, known)
            if connection.execute(sa.select(sa.func.count()).select_from(durables)).scalar_one() >= most:
                return too_many(most)
            connection.execute(durables.insert().values(name=name, pattern=pattern))
            connection.execute(sa.update(head).values(durables=self._version()))
            return None

        return self._publishing.write(work, _HEAD)

    def delete(self, name: str) -> Deferred[bool]:
        """Delete a durable subscription with what it is owed; False if there is none."""

        def work(connection: Connection) -> bool:
            locked(connection)
            gone = connection.execute(sa.delete(durables).where(durables.c.name == name)).rowcount
            connection.execute(sa.delete(owed_events).where(owed_events.c.durable == name))
            connection.execute(sa.update(head).values(durables=self._version()))
            return bool(gone)

        return self._publishing.write(work, _HEAD)

    def all(self, counted: Collection[str] | None) -> Deferred[Listing]:
        """All durable subscriptions. Of those that are `counted`, or of all, is said what they are owed.

        To count a million events took 0.1 to 0.2 s.
        """

        def work(connection: Connection) -> Listing:
            began = self._database.clock()
            found = _all(connection, counted)
            return Listing(found, self._database.clock() - began)

        return self._database.read(work)

    # What this node has of what they are owed.

    def lease(self, lease: Lease) -> None:
        """Take some of what is owed."""
        self._leases.items.append(lease)
        self._leases.touch()

    def acknowledge(self, id: int) -> None:
        """`id` is owed no more. Nobody waits for it: what a crash forgets comes again."""
        self._acknowledged.items.add(id)
        self._acknowledged.touch()

    def release(self, ids: Iterable[int], name: str) -> None:
        """Others may have these, which `name` is owed."""
        self._released.items.update(dict.fromkeys(ids, name))
        self._released.touch()

    def renew(self, is_in_doubt: bool) -> Deferred[Renewed]:
        """Go on living. `is_in_doubt`: what this node has may not be what it thinks, and is given back."""

        def work(connection: Connection) -> Renewed:
            if is_in_doubt:
                self._leasing.release_all(connection)
            return self._leasing.renew(connection)

        return self._database.write(work, _ROWS)

    def retire(self) -> Deferred[Collection[str]]:
        """Be no node any more; the durable subscriptions that got something back."""
        return Deferred.fromCoroutine(self._retire())

    async def _retire(self) -> Collection[str]:
        retiring = self._database.write(self._leasing.retire, _ROWS)
        if self._publishing is not self._database:
            # Closing blocks until all is done that waits there: behind this that is nothing.
            await self._publishing.write(lambda connection: None, _HEAD).addErrback(lambda failure: None)
            self._publishing.close()
        return await retiring

    def retry(self) -> None:
        """Try again what failed and nobody waits for."""
        if self._unacknowledged:
            self._acknowledged.items |= self._unacknowledged
            self._unacknowledged.clear()
            self._acknowledged.touch()
        if self._unreleased:
            self._released.items |= self._unreleased
            self._unreleased.clear()
            self._released.touch()

    def flushed(self) -> Deferred[None]:
        """Fires when all that was handed in so far has been stored, or has failed to be."""
        return Deferred.fromCoroutine(self._flushed())

    async def _flushed(self) -> None:
        for gathering in (self._publications, self._leases, self._acknowledged, self._released):
            await gathering.flushed()

    def _published(self, batch: Batch, failure: Failure | None) -> None:
        self.published(batch, failure)

    def _leased(self, leases: list[Lease], failure: Failure | None) -> None:
        for lease in leases:
            lease.told(lease, failure)

    def _not_acknowledged(self, ids: set[int], failure: Failure | None) -> None:
        if failure is not None:
            self._unacknowledged |= ids

    def _gave_back(self, ids: dict[int, str], failure: Failure | None) -> None:
        if failure is None:
            self.given_back(set(ids.values()))
        else:
            self._unreleased |= ids

    def _version(self) -> str:
        self._versions += 1
        return f"{self._node}-{self._versions}"


def _all(connection: Connection, counted: Collection[str] | None = None) -> list[Shared]:
    owed: dict[str, int | None] = {}
    query = sa.select(owed_events.c.durable, sa.func.count()).group_by(owed_events.c.durable)
    if counted is None:
        owed.update(connection.execute(query).tuples().all())
    else:
        owed.update(dict.fromkeys(counted, 0))
        for chunk in chunks(counted):
            owed.update(connection.execute(query.where(owed_events.c.durable.in_(chunk))).tuples().all())
    none = 0 if counted is None else None
    return [
        Shared(name, pattern, owed.get(name, none))
        for name, pattern in connection.execute(sa.select(durables))
    ]
