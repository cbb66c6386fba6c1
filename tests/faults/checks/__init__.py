"""What each service has promised, as plain classes that are told what was seen. They import no Twisted.

Each has methods for what clients did and heard, which raise :exc:`Violation` as soon as that cannot be
right, and ``settle`` for the end, which is given what is stored.
"""

from __future__ import annotations


class Violation(AssertionError):
    """Something that must not happen has happened."""


def require(is_right: bool, text: str) -> None:
    """Raise :exc:`Violation` with `text` if it is not right."""
    if not is_right:
        raise Violation(text)
