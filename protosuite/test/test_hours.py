"""Opening hours over zones and dates, both changes of summer time among them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protosuite.hours import ALWAYS, NEVER, Hours, parse, zone

ZONES = (
    "Europe/Paris",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour of summer time
    "Asia/Kathmandu",  # 5:45 east
    "Pacific/Apia",
    "Africa/Casablanca",  # summer time but in Ramadan
    "America/Scoresbysund",
    "UTC",
)


def ms(text: str) -> int:
    """A time in UTC as milliseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def naive(hours: Hours, at: int, zone: ZoneInfo) -> int | None:
    """The next opening, found by looking at every minute."""
    if hours.is_open(at, zone):
        return at
    minute = at // 60_000
    for step in range(1, 4 * 24 * 60):
        if hours.is_open((minute + step) * 60_000, zone):
            return (minute + step) * 60_000
    return None


class TableTests(SynchronousTestCase):
    """Cases that one can check with a calendar."""

    # hours, zone, time in UTC, open?, next opening in UTC
    TABLE = (
        ("05:00-23:59", "Europe/Paris", "2026-01-15 03:59:59", False, "2026-01-15 04:00:00"),
        ("05:00-23:59", "Europe/Paris", "2026-01-15 04:00:00", True, "2026-01-15 04:00:00"),
        ("05:00-23:59", "Europe/Paris", "2026-01-15 22:59:59", True, "2026-01-15 22:59:59"),
        ("05:00-23:59", "Europe/Paris", "2026-01-15 23:00:00", False, "2026-01-16 04:00:00"),
        ("08:00-12:00", "America/New_York", "2026-07-01 16:00:30", True, "2026-07-01 16:00:30"),
        ("08:00-12:00", "America/New_York", "2026-07-01 16:01:00", False, "2026-07-02 12:00:00"),
        # past midnight
        ("22:00-06:00", "UTC", "2026-03-01 23:00:00", True, "2026-03-01 23:00:00"),
        ("22:00-06:00", "UTC", "2026-03-01 06:00:59", True, "2026-03-01 06:00:59"),
        ("22:00-06:00", "UTC", "2026-03-01 06:01:00", False, "2026-03-01 22:00:00"),
        # two ranges
        ("08:00-12:00, 14:00-18:00", "UTC", "2026-03-01 12:30:00", False, "2026-03-01 14:00:00"),
        # Paris puts its clock on from 2:00 to 3:00 on 2026-03-29, at 1:00 UTC
        ("02:30-02:45", "Europe/Paris", "2026-03-29 00:30:00", False, "2026-03-30 00:30:00"),
        ("02:30-05:00", "Europe/Paris", "2026-03-29 00:30:00", False, "2026-03-29 01:00:00"),
        ("08:00-12:00", "Europe/Paris", "2026-03-29 00:30:00", False, "2026-03-29 06:00:00"),
        # and back from 3:00 to 2:00 on 2026-10-25, at 1:00 UTC: 2:30 comes twice
        ("02:30-02:45", "Europe/Paris", "2026-10-25 00:30:00", True, "2026-10-25 00:30:00"),
        ("02:30-02:45", "Europe/Paris", "2026-10-25 00:50:00", False, "2026-10-25 01:30:00"),
        ("02:30-02:45", "Europe/Paris", "2026-10-25 01:50:00", False, "2026-10-26 01:30:00"),
        ("02:00-02:30", "Europe/Paris", "2026-10-25 00:45:00", False, "2026-10-25 01:00:00"),
        # Samoa left out 2011-12-30
        ("09:00-10:00", "Pacific/Apia", "2011-12-30 09:00:00", False, "2011-12-30 19:00:00"),
    )

    def test_table(self) -> None:
        """Each is open or not, and opens next, when the calendar says."""
        for hours, name, at, is_open, opens in self.TABLE:
            what = f"{hours} in {name} at {at}"
            parsed, where = parse(hours), ZoneInfo(name)
            self.assertEqual(parsed.is_open(ms(at), where), is_open, what)
            self.assertEqual(parsed.next_open(ms(at), where), ms(opens), what)

    def test_always_and_never(self) -> None:
        """``always`` is open at any time, and ``never`` at none."""
        where, at = ZoneInfo("Europe/Paris"), ms("2026-03-29 01:00:00")
        self.assertEqual((ALWAYS.is_open(at, where), ALWAYS.next_open(at, where)), (True, at))
        self.assertEqual((NEVER.is_open(at, where), NEVER.next_open(at, where)), (False, None))


class ParseTests(SynchronousTestCase):
    """Hours as a person writes them."""

    def test_round_trip(self) -> None:
        """What is written is read back as it was."""
        for text in ("05:00-23:59", "22:00-06:00, 12:00-13:00", "always", "never", "00:00-00:00"):
            self.assertEqual(str(parse(text)), text)

    def test_refused(self) -> None:
        """Anything else is refused, with the part that is wrong."""
        for text in (
            "",
            "8:00-12:00",
            "08:00",
            "08:00-24:00",
            "08:60-09:00",
            "08:00-09:00,",
            "open",
            "08:00-09:0٠",
        ):
            with self.assertRaises(ValueError, msg=text):
                parse(text)

    def test_zones(self) -> None:
        """A zone is one of the IANA names, and nothing else is looked for in the file system."""
        self.assertIsNotNone(zone("Europe/Paris"))
        for name in (
            "Paris",
            "europe/paris",
            "../../etc/passwd",
            "/etc/localtime",
            "",
            "\0",
            "Europe",
            "x" * 300,
        ):
            self.assertIsNone(zone(name), name)


class NaiveTests(SynchronousTestCase):
    """Against a model that looks at every minute."""

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 1439), st.integers(0, 1439)), min_size=1, max_size=3),
        st.sampled_from(ZONES),
        st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
    )
    def test_any_hours(self, ranges: list[tuple[int, int]], name: str, at: datetime) -> None:
        """The next opening is the first minute that is open."""
        hours, where = Hours(tuple(ranges)), ZoneInfo(name)
        moment = int(at.replace(tzinfo=UTC).timestamp() * 1000)
        self.assertEqual(hours.next_open(moment, where), naive(hours, moment, where))

    @settings(max_examples=150, deadline=None)
    @given(
        st.tuples(st.integers(0, 240), st.integers(0, 240)),
        st.sampled_from([("Europe/Paris", "2026-03-29"), ("Europe/Paris", "2026-10-25")]),
        st.integers(-180, 180),
    )
    def test_near_a_change(self, range_: tuple[int, int], change: tuple[str, str], minutes: int) -> None:
        """The same holds within hours of a change of the clock."""
        name, day = change
        hours, where = Hours((range_,)), ZoneInfo(name)
        moment = ms(f"{day} 01:00:00") + minutes * 60_000
        self.assertEqual(hours.next_open(moment, where), naive(hours, moment, where))
