"""``kill -9`` at random moments under load, start again, and see that nothing was lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from os import utime
from random import Random

from twisted.internet.task import deferLater

from tests.chatlog_peers import epoch_and_head, stored
from tests.faults.checks.chatlog import RoomCheck
from tests.faults.checks.mediachat import ChatsCheck
from tests.faults.loads import Load
from tests.mediachat_peers import files, parts, rows
from tests.processes import Suite, poll, reactor

MOMENT = 0.05  # seconds within which it is killed once so much has been done: anywhere in a commit


class Crashes:
    """Kills a suite under `loads`. Between a kill and the next start, `dead` is called."""

    def __init__(
        self,
        suite: Suite,
        loads: Sequence[Load],
        chance: Random,
        most: int = 300,
        dead: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._suite = suite
        self._loads = loads
        self._chance = chance
        self._most = most
        self._dead = dead

    async def rounds(self, count: int) -> None:
        """So many kills, each after a random amount of work of one of the loads."""
        for _ in range(count):
            load = self._chance.choice(self._loads)
            await load.rises_by(self._chance.choice((0, 1, self._chance.randrange(2, self._most))))
            await deferLater(reactor, self._chance.random() * MOMENT)
            await self._suite.kill()
            if self._dead is not None:
                await self._dead()
            await self._suite.start()


def settle_room(check: RoomCheck, suite: Suite, room: str = "main") -> None:
    """Hold what was seen of a room against the database."""
    epoch, _ = epoch_and_head(suite, room)
    check.settle(epoch, list(stored(suite, room)))


async def settle_chats(check: ChatsCheck, suite: Suite, quota: int | None = None) -> None:
    """Hold what was seen of the media chat against database and files.

    The suite is started for it, with all files as if they were old: what may ever be swept may be now.
    """
    for path in [*files(suite).values(), *parts(suite)]:
        utime(path, (0, 0))
    await suite.start()
    messages = rows(suite)
    needed = {row.sha256 for row in messages if row.sha256}
    await poll(lambda: files(suite).keys() <= needed and not parts(suite), "what is left is swept")
    hashes = {name: sha256(path.read_bytes()).hexdigest() for name, path in files(suite).items()}
    check.settle(messages, hashes, len(parts(suite)), quota)
