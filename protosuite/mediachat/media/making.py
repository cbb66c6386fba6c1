"""The setting ``[mediachat] media`` to the store that it means."""

from __future__ import annotations

from pathlib import Path

from protosuite.config import MediaChatConfig
from protosuite.config.mediachat import LOCAL
from protosuite.errors import StartError
from protosuite.mediachat.media.folder import MediaFolder
from protosuite.mediachat.media.interface import MediaStore


def make(config: MediaChatConfig, data: Path) -> MediaStore:
    """Where the media are, of a node whose folder is `data`. Raises :exc:`StartError` if that cannot be."""
    if config.media == LOCAL:
        return MediaFolder(data)
    # The others are imported when they are asked for.
    if config.media.startswith("/"):
        from protosuite.mediachat.media.shared import SharedFolder

        return SharedFolder(Path(config.media), config.media_part)
    from protosuite.mediachat.media.address import parse
    from protosuite.mediachat.media.s3 import S3Store

    try:
        address = parse(config.media)
    except ValueError as error:
        raise StartError(f"[mediachat] media: {error}") from None
    return S3Store(
        address,
        config.media_timeout,
        config.media_threads,
        config.media_part,
        config.max_media,
        data / "spool",
    )
