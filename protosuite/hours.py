"""Opening hours in somebody's own time zone.

Hours are ranges of the wall clock, both ends included by the minute: ``08:00-12:00`` is open until
12:00:59. A range may pass midnight. What the clock shows is the zone's business: an hour that summer
time leaves out is not there, and one that comes twice is open twice.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from attrs import frozen

_RANGE = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\s*-\s*([01][0-9]|2[0-3]):([0-5][0-9])")
_DAY = 24 * 60
_MINUTE = timedelta(minutes=1)


Zone = tzinfo


@frozen
class Hours:
    """Ranges of minutes of the day, each from its first to its last; the last may be below the first."""

    ranges: tuple[tuple[int, int], ...]

    def is_open(self, at: int, zone: Zone) -> bool:
        """Whether it is open at a time in milliseconds since the epoch."""
        return self._has(_minute_of_day(_whole_minute(at), zone))

    def next_open(self, at: int, zone: Zone) -> int | None:
        """The first time from `at` on when it is open, in milliseconds; None if that is never.

        A day on which summer time leaves out all of the hours has none, so the answer can be some days on.
        """
        if not self.ranges:
            return None
        moment = _whole_minute(at)
        if self._has(_minute_of_day(moment, zone)):
            return at
        for _ in range(64):  # a step a change of the clock, or to a beginning: two or three in practice
            now = _minute_of_day(moment, zone)
            goal = moment + _MINUTE * min((first - now) % _DAY or _DAY for first, _ in self.ranges)
            change = _first_change(moment, goal, zone)
            moment = goal if change is None else change
            if self._has(_minute_of_day(moment, zone)):
                return int(moment.timestamp()) * 1000
        return None

    def _has(self, minute: int) -> bool:
        return any(
            first <= minute <= last if first <= last else minute >= first or minute <= last
            for first, last in self.ranges
        )

    def __str__(self) -> str:
        if self == ALWAYS:
            return "always"
        return ", ".join(f"{_clock(first)}-{_clock(last)}" for first, last in self.ranges) or "never"


ALWAYS = Hours(((0, _DAY - 1),))
NEVER = Hours(())


def parse(text: str) -> Hours:
    """Hours as a person writes them: ``22:00-06:00, 12:00-13:00``, ``always`` or ``never``.

    Raises `ValueError` for anything else.
    """
    words = text.strip()
    if words in ("always", "never"):
        return ALWAYS if words == "always" else NEVER
    ranges = []
    for part in words.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{part.strip()!r} is no range such as 08:00-12:00")
        first_hour, first_minute, last_hour, last_minute = map(int, match.groups())
        ranges.append((first_hour * 60 + first_minute, last_hour * 60 + last_minute))
    return Hours(tuple(ranges))


def zone(name: str) -> ZoneInfo | None:
    """The time zone of an IANA name, or None. May read a file: not for the reactor's thread."""
    if name not in _names():
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones())


def _whole_minute(at: int) -> datetime:
    return datetime.fromtimestamp(at // 60_000 * 60, UTC)


def _minute_of_day(moment: datetime, zone: Zone) -> int:
    local = moment.astimezone(zone)
    return local.hour * 60 + local.minute


def _first_change(start: datetime, end: datetime, zone: Zone) -> datetime | None:
    """The minute after `start`, up to `end`, at which the clock is put on or back; None if it is not.

    No zone has changed twice within a day since such tables are kept by the minute.
    """
    before = start.astimezone(zone).utcoffset()
    if end.astimezone(zone).utcoffset() == before:
        return None
    low, high = 0, int((end - start) / _MINUTE)
    while high - low > 1:
        middle = (low + high) // 2
        if (start + _MINUTE * middle).astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return start + _MINUTE * high


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
