"""Every place where bytes of others are read.

What each promises is checked by Hypothesis (``test_any_bytes``) and, guided by coverage, by atheris
(``tests/fuzz``).
"""

from __future__ import annotations

from protosuite.test import places_backup, places_clients, places_served, places_text, places_wire
from protosuite.test.places import Place

PLACES: dict[str, Place] = {
    **places_wire.PLACES,
    **places_text.PLACES,
    **places_served.PLACES,
    **places_clients.PLACES,
    **places_backup.PLACES,
}
