"""counter/1: one unsigned 64-bit counter for everybody.

``wire`` has the frames, ``ledger`` the arithmetic, ``store`` the total, ``server`` and ``client`` the
two ends, ``load`` a load on any counter/1 server, ``cli`` the program ``protosuite-counter``.
"""

from protosuite.counter.client import CounterClientFactory

__all__ = ["CounterClientFactory"]
