"""What a node of several does now and then: live on, know what all know, and delete what need not be kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from protosuite.bus.delivery import Event
from protosuite.bus.exchange import log
from protosuite.bus.leasing import Renewed
from protosuite.bus.published import Keeping
from protosuite.bus.shared_store import Listing, Shared, SharedStore
from protosuite.config import BusConfig
from protosuite.errors import Overloaded, StorageError

_REFRESH = 5.0  # seconds until all durable subscriptions are read again; 1 while a publisher waits
_REST = 20.0  # behind a count of what all are owed there is none for so many times as long as it took
_SWEEP = 5.0
_SWEPT = 100  # topics looked at at a time
# Seconds for which everything is kept: a node that was frozen, or without Redis, for less misses nothing.
KEPT = 30.0


class Upkeep:
    """`refreshed` is told of all durable subscriptions, and which have been joined since they were asked for;
    `freed` of those that got something back from a dead node; `lost` when this node was taken for dead."""

    def __init__(
        self,
        config: BusConfig,
        store: SharedStore,
        wall: Callable[[], float],
        refreshed: Callable[[Sequence[Shared], Collection[str]], None],
        freed: Callable[[Collection[str]], None],
        lost: Callable[[], None],
    ) -> None:
        self.is_in_doubt = False  # what the database has under this node's name may be more than it knows
        self._config = config
        self._store = store
        self._wall = wall
        self._refreshed = refreshed
        self._freed = freed
        self._lost = lost
        self._done: dict[str, float] = {}  # when each thing was begun last
        self._busy: set[str] = set()
        self._many = max(1, config.retain // 4)  # events of a topic after which it is looked at
        self._joined: set[str] = set()  # durable subscriptions, since the last refresh began
        self._counts: dict[str, int] = {}  # events by topic, since it was last swept
        self._crowded: dict[str, float] = {}  # topics of which there may be too much, and when to look
        self._has_news = False  # something was published since the last second
        self._busy_until = 0.0  # until then there may be something to sweep
        self._count_at = 0.0  # when to count again what durable subscriptions are owed
        self._now = 0.0
        self._is_stopped = False

    def start(self) -> None:
        """What others left to be swept is looked for once."""
        self._do("crowd", self._store.crowded(self._config.retain).addCallback(self._crowd))

    def stop(self) -> None:
        """Begin nothing more."""
        self._is_stopped = True

    def joined(self, name: str) -> None:
        """A durable subscription is in use here."""
        self._joined.add(name)

    def published(self, events: Sequence[Event]) -> None:
        """This node has stored these."""
        self._has_news = True
        if len(self._counts) > self._config.max_topics:
            self._counts.clear()
        for event in events:
            count = self._counts[event.topic] = self._counts.get(event.topic, 0) + 1
            if count >= self._many:
                self._counts[event.topic] = 0
                self._crowd([event.topic])

    def keep_up(self, now: float, full: Collection[str], is_pressing: bool) -> None:
        """Do what is due. `full`: durable subscriptions without room; `is_pressing`: somebody waits."""
        if self._is_due("renew", now, self._config.node_timeout / 3):
            is_in_doubt = self.is_in_doubt  # what comes to be in doubt after this waits for the next time
            renewing = self._store.renew(is_in_doubt)
            self._do("renew", renewing.addCallback(self._renewed, is_in_doubt))
        if self._is_due("refresh", now, 1.0 if is_pressing else _REFRESH):
            self._joined.clear()
            counts_all = now >= self._count_at
            refreshing = self._store.all(None if counts_all else full)
            self._do("refresh", refreshing.addCallback(self._listed, now if counts_all else None))
        self._now = now
        if self._has_news:
            self._has_news, self._busy_until = False, now + 2 * KEPT
        if (self._crowded or now < self._busy_until) and self._is_due("sweep", now, _SWEEP):
            self._do("sweep", Deferred.fromCoroutine(self._sweep()))

    def _renewed(self, renewed: Renewed, was_in_doubt: bool) -> None:
        if was_in_doubt:
            self.is_in_doubt = False  # all was given back
        if renewed.was_lost or was_in_doubt:
            self._lost()
        if renewed.was_lost:
            log.warn("other nodes took this one for dead: what it had of durable subscriptions comes again")
        self._freed(renewed.freed)

    def _listed(self, found: Listing, counted_at: float | None) -> None:
        if counted_at is not None:  # all of them
            self._count_at = counted_at + _REST * found.took
        self._refreshed(found.durables, self._joined)

    async def _sweep(self) -> None:
        """Delete what need not be kept: some of it, for publishers wait for that, and then some more."""
        has_more = True
        while has_more and not self._is_stopped:
            names = [name for name, due in self._crowded.items() if due <= self._now][:_SWEPT]
            for name in names:
                del self._crowded[name]
            try:
                swept = await self._store.sweep(self._keeping(), names)
            except Exception:
                self._crowd(names, KEPT)
                raise
            self._crowd(swept.cut, 0.0)
            self._crowd(swept.young, KEPT)
            has_more = bool(swept.cut) or swept.has_more or len(names) == _SWEPT

    def _keeping(self) -> Keeping:
        config = self._config
        before = int((self._wall() - KEPT) * 1000)
        return Keeping(config.retain, config.max_retained, config.max_topics, before)

    def _crowd(self, names: Iterable[str], delay: float = KEPT) -> None:
        """There may be too much of these topics; it is to be deleted in `delay` seconds at the latest."""
        for name in names:
            due = self._now + delay
            self._crowded[name] = min(due, self._crowded.get(name, due))

    def _is_due(self, what: str, now: float, every: float) -> bool:
        if what in self._busy or now < self._done.get(what, 0.0) + every:
            return False
        self._done[what] = now
        return True

    def _do(self, what: str, doing: Deferred[None]) -> None:
        self._busy.add(what)

        def done(failure: Failure | None) -> None:
            self._busy.discard(what)
            if failure is not None and not failure.check(StorageError, Overloaded):
                log.failure("the bus could not {what}", failure, what=what)

        doing.addBoth(done)
