"""A connection to Redis that is made again whenever it is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha1
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from protosuite.fabric.address import Address
from protosuite.fabric.connection import Connection, Push, Refused, Word
from protosuite.fabric.interface import Away
from protosuite.fabric.sentinel import connect

log = Logger(namespace="protosuite.fabric")

_FIRST_DELAY = 0.1  # seconds until the second attempt
_LONGEST_DELAY = 5.0  # less than a person waits who has restarted Redis


class Link:
    """For as long as it is started it connects, with growing delays, and sees whether the other end lives.

    `on_up` is called when it can be used, and `on_down` when it cannot any more. With `on_push` it is a
    connection for subscriptions. A command has `timeout` seconds, and so has every step on the way there.
    """

    _beat: IDelayedCall  # the next time that it is asked for a sign of life

    def __init__(
        self,
        address: Address,
        timeout: float,
        reactor: Any,
        random: Random,
        *,
        on_up: Callable[[], None] = lambda: None,
        on_down: Callable[[], None] = lambda: None,
        on_push: Push | None = None,
    ) -> None:
        self.address = address
        self.trouble: str | None = "not connected yet"
        self.connects = 0  # how often it came up
        self._timeout = timeout
        self._reactor = reactor
        self._random = random
        self._on_up = on_up
        self._on_down = on_down
        self._on_push = on_push
        self._connection: Connection | None = None
        self._running: Deferred[None] | None = None
        self._delay = _FIRST_DELAY
        self._is_told = False  # the log says that it is away

    @property
    def is_up(self) -> bool:
        """Whether it can be used, as far as is known."""
        return self._connection is not None

    def start(self) -> None:
        """Connect, again and again."""
        self._running = Deferred.fromCoroutine(self._run())

    def stop(self) -> Deferred[None]:
        """Close it for good."""
        running, self._running = self._running, None
        if running is None:
            return succeed(None)
        running.addErrback(_stopped)
        running.cancel()
        return running

    def command(self, *words: Word) -> Deferred[Any]:
        """The answer to a command. Fails with :exc:`Away` at once when there is no connection.

        It also fails with :exc:`Refused`; see :meth:`.connection.Connection.command`.
        """
        if self._connection is None:
            return fail(Away(self.trouble or "there is no connection"))
        return self._connection.command(*words)

    def script(self, source: str, keys: Sequence[Word], arguments: Sequence[Word]) -> Deferred[Any]:
        """The answer of a Lua script, which is sent whole only where it is not known."""
        words = (len(keys), *keys, *arguments)

        def unknown(failure: Failure) -> Any:
            failure.trap(Refused)
            if not str(failure.value).startswith("NOSCRIPT"):
                return failure
            return self.command("EVAL", source, *words)

        digest = sha1(source.encode(), usedforsecurity=False).hexdigest()
        return self.command("EVALSHA", digest, *words).addErrback(unknown)

    def tell(self, *words: Word) -> None:
        """Send a command whose answers are pushed; nothing happens where there is no connection."""
        if self._connection is not None:
            self._connection.tell(*words)

    def drop(self) -> None:
        """Make a new connection: something is wrong with this one."""
        if self._connection is not None:
            self._connection.abort()

    async def _run(self) -> None:
        while True:
            try:
                connection = await connect(
                    self._reactor, self._random, self.address, self._timeout, self._on_push
                )
                await self._use(connection)
                self._lost("the connection was lost")
            except Away as error:
                self._lost(str(error))
            except CancelledError:
                raise
            except Exception:  # a defect of ours, or an answer that is none of Redis': the loop must live
                log.failure("the connection to Redis failed")
                self._lost("what it says is not understood")
            await deferLater(self._reactor, self._delay * (1 - self._random.random() / 2))
            self._delay = min(2 * self._delay, _LONGEST_DELAY)

    async def _use(self, connection: Connection) -> None:
        """Until it ends."""
        self._connection, self.trouble = connection, None
        self.connects += 1
        self._delay = _FIRST_DELAY
        if self._is_told:
            self._is_told = False
            log.info("Redis at {address} is reached again", address=str(self.address))
        self._beat = self._reactor.callLater(self._timeout, self._ask_for_life, connection)
        try:
            self._on_up()
            await connection.ended
        finally:
            self._connection = None
            self.trouble = "the connection was lost"
            self._beat.cancel()
            connection.abort()
            self._on_down()

    def _ask_for_life(self, connection: Connection) -> None:
        """Ask whether the other end lives, every so often; without an answer the connection is given up."""
        connection.command("PING").addErrback(lambda failure: None)
        self._beat = self._reactor.callLater(self._timeout, self._ask_for_life, connection)

    def _lost(self, why: str) -> None:
        self.trouble = why
        if not self._is_told:
            self._is_told = True
            log.warn("Redis at {address} is away: {why}", address=str(self.address), why=why)


def _stopped(failure: Failure) -> None:
    failure.trap(CancelledError)
