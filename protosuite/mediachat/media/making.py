"""The setting ``[mediachat] media`` to the store that it means."""

from __future__ import annotations

from pathlib import Path

from protosuite.config import MediaChatConfig
from protosuite.errors import StartError
from protosuite.mediachat.media.address import LOCAL, parse
from protosuite.mediachat.media.folder import MediaFolder
from protosuite.mediachat.media.interface import MediaStore
from protosuite.mediachat.media.shared import SharedFolder


def make(config: MediaChatConfig, data: Path) -> MediaStore:
    """Where the media are, of a node whose folder is `data`. Raises :exc:`StartError` if that cannot be."""
    if config.media == LOCAL:
        return MediaFolder(data)
    if config.media.startswith("/"):
        return SharedFolder(Path(config.media), config.media_part)
    from protosuite.mediachat.media.s3 import S3Store  # who has a folder need not have it

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
