"""All media messages that are on their way to the disk, and how much of each may wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from twisted.internet.interfaces import IReactorTime

from protosuite.config import MediaChatConfig
from protosuite.mediachat.media.interface import MediaStore, Part
from protosuite.mediachat.media.upload import Sender, Upload
from protosuite.mediachat.wire import Head
from protosuite.storage.workers import Calls

_LEAST = 64 << 10  # bytes that one may have waiting, whatever others have: what is received at once


class Uploads:
    """Those of a node. Each may have `max_unwritten` bytes waiting, all together `max_unwritten_total`."""

    def __init__(
        self, folder: MediaStore, calls: Calls, clock: IReactorTime, random: Random, config: MediaChatConfig
    ) -> None:
        self._folder = folder
        self._calls = calls
        self._clock = clock
        self._random = random
        self._config = config
        self.allowance = config.max_unwritten  # bytes that may wait of each, as many as there are now
        self._all: dict[Upload, None] = {}
        self._named: dict[tuple[int, str], Upload] = {}

    def __iter__(self) -> Iterator[Upload]:
        return iter(list(self._all))

    def __len__(self) -> int:
        return len(self._all)

    @property
    def unwritten(self) -> int:
        """Bytes that wait, of all."""
        return sum(upload.waiting for upload in self._all)

    def parts(self) -> list[Part]:
        """Those that are in somebody's hands."""
        return [upload.part for upload in self._all if upload.part is not None]

    def begin(self, chat_id: int, head: Head, sender: Sender, behind: Upload | None = None) -> Upload:
        """Begin to write a media message, when `behind` is in nobody's hands any more.

        Whoever sends the one of the same name is told that it was taken over.
        """
        name = None if head.upload is None else (chat_id, head.upload)
        if name is not None and (other := self._named.get(name)) is not None:
            other.take_over()  # the client has come back on another connection
            behind = other
        unique = f"{self._random.getrandbits(128):032x}"
        upload = Upload(
            self._folder,
            self._calls,
            self._clock,
            lambda: self.allowance,
            chat_id,
            head,
            unique,
            sender,
            behind,
        )
        self._all[upload] = None
        self._share()
        if name is not None:
            self._named[name] = upload

        def closed(_: None) -> None:
            del self._all[upload]
            self._share()
            if name is not None and self._named.get(name) is upload:
                del self._named[name]

        upload.closed.addCallback(closed)
        return upload

    def _share(self) -> None:
        share = self._config.max_unwritten_total // max(1, len(self._all))
        self.allowance = max(_LEAST, min(self._config.max_unwritten, share))
