"""Messages as lines for a person."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo

# What moves a terminal's cursor, ends a line, turns the direction of what follows, or is no UTF-8.
_UNSAFE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_INDENT = "    "


def shown(text: str) -> str:
    """`text` as it is safe on a terminal, on one line."""
    return _UNSAFE.sub("\ufffd", text)


def clock(at: int, zone: tzinfo | None, pattern: str = "%Y-%m-%d %H:%M") -> str:
    """A time in milliseconds by the clock of `zone`, or of this machine."""
    try:
        return f"{datetime.fromtimestamp(at / 1000).astimezone(zone):{pattern}}"
    except (OverflowError, OSError, ValueError):  # no calendar has it
        return "????-??-?? ??:??"


def text_lines(head: str, text: str) -> str:
    """``head: text``; what follows in the text is indented."""
    first, *rest = map(shown, text.split("\n"))
    return "\n".join([f"{shown(head)}: {first}", *[_INDENT + line for line in rest]])


def size(count: int) -> str:
    """A number of bytes for a person."""
    amount = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"
