"""The settings of ``admin``."""

from __future__ import annotations

from attrs import frozen

from protosuite.config.service import HttpConfig, listening_first, listening_on
from protosuite.settings import count, seconds, setting, size


@frozen(kw_only=True, field_transformer=listening_first)
class AdminConfig(HttpConfig):
    """``[admin]``: health, metrics and the dashboard, for those who run the suite."""

    listen: tuple[str, ...] = listening_on(8001)
    min_free: int = setting(
        64 << 20,
        size(0, 1 << 50),
        "Bytes that must be free on the disk of the data; with less, /readyz says that it is not ready.",
    )
    probe_timeout: float = setting(
        2.0,
        seconds(0.05, 60),
        "Seconds for which /readyz waits for the database and the disk; what has not answered is not ready.",
    )
    max_connections: int = setting(200, count(1, 1_000_000), "Most connections at once; more are closed.")
