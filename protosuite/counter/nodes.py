"""The server of counter/1 on one of several nodes: the total is in Redis, and its answers come later."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress

from protosuite.config import CounterConfig
from protosuite.counter.combining import Group
from protosuite.counter.connection import CounterConnection
from protosuite.counter.holding import ALONE
from protosuite.counter.ledger import Book, Ledger
from protosuite.counter.overview import figures, overview
from protosuite.counter.redis_total import AWAY, RedisTotal
from protosuite.counter.store import MarkStore
from protosuite.counter.wire import REPLY_SIZE, encode_replies
from protosuite.errors import PeerFault, StartError
from protosuite.fabric.address import Address
from protosuite.figures import Figure
from protosuite.net.listening import ListeningService, Publish, unheard


class NodesCounterService(ListeningService):
    """The counter of several nodes, as one of them serves it.

    `timeout` is what Redis has for one answer, in seconds.
    """

    always = True  # replies wait

    def __init__(
        self,
        config: CounterConfig,
        address: Address,
        timeout: float,
        marks: MarkStore,
        reactor: Any,
        random: Random,
        publish: Publish = unheard,
    ) -> None:
        if config.workers > 1:
            raise StartError(ALONE)
        super().__init__("counter", reactor, config)
        self.config = config
        self.total = RedisTotal(address, timeout, config, marks, reactor, random)
        self.book = Ledger(0)  # what has been asked of this node; the total is what it knows of it
        self.ledger: Book = self.book
        self._publish = publish

    def connection(self, address: IAddress | None) -> AskingConnection:
        return AskingConnection(self, self.total)

    def startService(self) -> None:
        super().startService()
        self.total.start()

    def stopService(self) -> Deferred[None]:
        """Disconnect from Redis. The connections have been drained before."""
        super().stopService()
        return self.total.stop().addCallback(self._log_end)

    def figures(self) -> Iterator[Figure]:
        yield from super().figures()
        total = self.total
        marked, waiting, fails = min(total.marking.marked, total.highest), total.waiting, total.marking.fails
        yield from figures(self._known(), marked, waiting, fails)
        yield from total.figures()

    def overview(self) -> Mapping[str, object]:
        total = self.total
        known = overview(self._known(), min(total.marking.marked, total.highest), total.marking.fails)
        return {**known, "engine": total.trouble or "reached"}

    def answer_when_stored(self, connection: CounterConnection, replies: bytes) -> None:
        raise AssertionError("what is answered here has been stored as well as it will be")

    def refused(self, connection: CounterConnection, fault: PeerFault) -> None:
        """Count a frame that was not applied, and say why."""
        self.book.refused += 1
        if self.turned_down(connection.peer, fault.code, fault.message):
            self._publish("counter.refused", {"peer": connection.peer, "code": fault.code})

    def _known(self) -> Ledger:
        self.book.total = self.total.highest
        return self.book

    def _log_end(self, _: None) -> None:
        ledger = self._known()
        self.log.info(
            "stopped: total {total}, {requests} requests, {refused} refused frames",
            total=ledger.total,
            requests=ledger.requests,
            refused=ledger.refused,
        )


class AskingConnection(CounterConnection):
    """A client's connection on one of several nodes. It is not read while too many replies wait for Redis."""

    def __init__(self, service: NodesCounterService, total: RedisTotal) -> None:
        super().__init__(service)
        self._total = total
        self._book = service.book
        self._asked: deque[Group] = deque()  # bounded by max_backlog, as the replies are

    def _apply(self, increments: Sequence[int]) -> None:
        self._unsent += REPLY_SIZE * len(increments)
        self._asked.append(self._total.ask(increments, self._came))
        self.pace()

    def _came(self, totals: list[int], fault: PeerFault | None) -> None:
        """The answer to what was asked first."""
        self._asked.popleft()
        self._book.requests += len(totals)
        if fault is not None:
            self._drop_rest(len(totals))
            if fault is AWAY:  # it may have been applied
                self._service.turned_down(self.peer, fault.code, fault.message)
            else:
                self._service.refused(self, fault)
            if not self.finishing:
                self._leave()
        if totals:
            self.reply(encode_replies(totals))

    def _drop_rest(self, count: int) -> None:
        """But for `count` replies nothing is owed any more: what is behind a refused frame is dropped."""
        for group in self._asked:
            group.withdraw()
        self._asked.clear()
        self._unsent = REPLY_SIZE * count
