"""numbers/1: a stream of random numbers that a client can leave and take up again at any place.

``wire`` has the lines, ``sequence`` the rules, ``alarms`` the times, ``store`` the sessions,
``server`` and ``client`` the two ends, ``cli`` the program ``protosuite-numbers``.
"""

from typing import TYPE_CHECKING

from protosuite.ondemand import on_demand

if TYPE_CHECKING:
    from protosuite.numbers.client import NumbersClientFactory, Result
    from protosuite.numbers.sequence import Progress
else:
    __getattr__ = on_demand(
        __name__, {"NumbersClientFactory": "client", "Progress": "sequence", "Result": "client"}
    )

__all__ = ["NumbersClientFactory", "Progress", "Result"]
