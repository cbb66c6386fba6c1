"""The exceptions that cross folders: whose fault it was, and what they should be told."""

from __future__ import annotations

import errno


class PeerFault(Exception):
    """The peer sent what it may not. It gets `code` and `message`; the stream then ends.

    `code` is one of the codes in the wire contract, `message` a sentence for a person. Both go
    over the wire, so neither ever holds the text of an unexpected exception.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Unauthenticated(PeerFault):
    """Who asks is not known: no token, or one that is not good. The code is ``unauthenticated``."""

    def __init__(self, message: str) -> None:
        super().__init__("unauthenticated", message)


class Forbidden(PeerFault):
    """Who asks is known, and may not. The code is ``forbidden``."""

    def __init__(self, message: str) -> None:
        super().__init__("forbidden", message)


class Overloaded(Exception):
    """A bounded queue is full. Nothing was done; trying again later is safe."""


class StorageError(Exception):
    """The database could not do it, and what was asked for is not stored as far as anyone was told."""


class StorageFull(StorageError):
    """There is no room on the disk. Writing goes on by itself when there is."""


def is_full(error: BaseException | None) -> bool:
    """Whether there was no room: on the disk, for the database or a file, or in what its owner may have."""
    no_room = errno.ENOSPC, errno.EDQUOT
    return isinstance(error, StorageFull) or (isinstance(error, OSError) and error.errno in no_room)


class CommitUnknown(StorageError):
    """The database was lost during a commit, and did not come back in time to say whether it took place.

    What can be told apart by a key is safe to send again.
    """


class StartError(Exception):
    """The suite cannot start. The text is one line that says what to change."""


class ServerRefused(Exception):
    """The server answered with an error that trying again would not change."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class OutcomeUnknown(Exception):
    """The connection was lost after the request was written: it may or may not have counted."""


class BadRequest(Exception):
    """A request that is refused while its stream goes on. `code` and `message` go to the peer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
