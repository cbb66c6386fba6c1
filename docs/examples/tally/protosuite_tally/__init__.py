"""tally/1: votes, counted for everybody.

``wire`` has the lines, ``ballot`` the rules, ``store`` the table, ``server`` and ``client`` the two ends.
What ``pip install`` makes known to the suite is :data:`tally`.
"""

from pathlib import Path

from protosuite.extending import Extension, Migrations
from protosuite_tally.server import TallyConfig, make

tally = Extension(
    TallyConfig,
    make,
    has_tokens=True,
    migrations=Migrations(Path(__file__).parent / "migrations", head="0001"),
)
