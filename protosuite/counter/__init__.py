"""counter/1: one unsigned 64-bit counter for everybody.

``wire`` has the frames, ``ledger`` the arithmetic, ``store`` the total, ``server`` (with ``connection``) and
``client`` the two ends, ``batching`` what answers whole requests, ``load`` a load on any
counter/1 server, ``cli`` the program ``protosuite-counter``.
With several workers the server has a ``crew`` of processes, each a ``worker``, and the ledger is ``shared``.

With several nodes the total is in Redis, and ``nodes`` is the server::

    nodes ──► redis_total ──► engine ──► Redis        combining   one operation of what many ask for
                   │                                  holding     which total counts, and what to do
                   └── agreeing, marking ──► store    promised    what Redis does to keep it
"""

from typing import TYPE_CHECKING

from protosuite.ondemand import on_demand

if TYPE_CHECKING:
    from protosuite.counter.client import CounterClientFactory
else:
    __getattr__ = on_demand(__name__, {"CounterClientFactory": "client"})

__all__ = ["CounterClientFactory"]
