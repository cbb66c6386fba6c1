"""What is deleted of media, and when: what nobody can want any more."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterable
from typing import Protocol as Interface

from protosuite.mediachat.media.interface import MediaStore, Part
from protosuite.storage.workers import Calls

YOUNG = 3600.0  # seconds for which a file without a message is left alone: its row may be on its way


class Messages(Interface):
    """The database that says what is wanted."""

    def owner(self) -> Awaitable[str | None]:
        """What tells its media from those of another; None while it has none."""

    def referenced(self, hashes: Iterable[str]) -> Awaitable[set[str]]:
        """Which of these a message has."""


async def sweep(
    media: MediaStore,
    calls: Calls,
    messages: Messages,
    active: Collection[Part],
    now: float,
    upload_ttl: float,
) -> None:
    """Delete parts that nobody came back for, and files that no message has.

    Where nodes share media a file is put aside first, and deleted when it has been there for long enough
    that whoever was storing a message with it has done so. No file is deleted there unless it is known that
    this database says which are wanted: who tries a suite on the media of another may not empty those.
    """
    run = calls.run
    await run(media.old_parts, now - upload_ttl, active)
    if not await run(media.belongs_to, await messages.owner()):
        return
    for prefix in await run(media.prefixes):
        old = await run(media.old_files, prefix, now - YOUNG)
        await run(media.sweep, set(old) - await messages.referenced(old), now - YOUNG)
    aside = await run(media.put_aside, now - YOUNG)
    used = await messages.referenced(aside)
    await run(media.restore, used)
    await run(media.forget, set(aside) - used)
