"""Messages as lines for a person."""

from __future__ import annotations

from datetime import datetime, tzinfo

from protosuite.program import shown

_INDENT = "    "


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
