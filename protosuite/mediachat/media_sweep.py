"""What is deleted of media, and when: what nobody can want any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable

from protosuite.mediachat.media_interface import MediaStore, Part
from protosuite.storage.workers import Calls

YOUNG = 3600.0  # seconds for which a file without a message is left alone: its row may be on its way

Referenced = Callable[[Iterable[str]], Awaitable[set[str]]]  # which of these hashes a message has


async def sweep(
    media: MediaStore,
    calls: Calls,
    referenced: Referenced,
    active: Collection[Part],
    now: float,
    upload_ttl: float,
) -> None:
    """Delete parts that nobody came back for, and files that no message has.

    Where nodes share media a file is put aside first, and deleted when it has been there for long enough
    that whoever was storing a message with it has done so.
    """
    run = calls.run
    await run(media.old_parts, now - upload_ttl, active)
    for prefix in await run(media.prefixes):
        old = await run(media.old_files, prefix, now - YOUNG)
        await run(media.sweep, set(old) - await referenced(old), now - YOUNG)
    aside = await run(media.put_aside, now - YOUNG)
    used = await referenced(aside)
    await run(media.restore, used)
    await run(media.forget, set(aside) - used)
