"""bus/1: echo and add, answered at once, and an event bus beside them on the same connection.

``wire`` has the stream; ``topics`` what matches what, ``delivery``, ``fanout``, ``durable`` and
``broker`` the rules of publishing and subscribing; ``store`` (of the ``tables``) what durable
subscriptions are owed, ``exchange`` and ``local_exchange`` broker and store together; ``server`` and
``client`` (with ``requests`` and ``subscription``) the two ends; ``load`` a load on any bus/1 server,
``cli`` the program ``protosuite-bus``.

With several nodes the database decides, and the broker of each node only hands on::

    publish ──► placing ── bus_head, bus_event, bus_owed ──► following ──► best effort, on every node
                                │                               ▲
                                └──► leasing ──► a durable      └── the fabric: "something is new"
                                                 subscription's share of this node

``placing`` gives events their places, ``published`` reads them, replays and sweeps, ``leasing`` says which
node has what is owed; ``shared_store`` puts the three together. ``opening`` and ``leased`` are the two sorts
of subscriptions as a node sees them, ``following`` tells what all nodes publish, ``upkeep`` keeps the node
among the living, and ``shared_exchange`` is in the place of ``local_exchange``.
"""

from typing import TYPE_CHECKING

from protosuite.ondemand import on_demand

if TYPE_CHECKING:
    from protosuite.bus.client import BusClientFactory
    from protosuite.bus.subscription import Subscription
else:
    __getattr__ = on_demand(__name__, {"BusClientFactory": "client", "Subscription": "subscription"})

__all__ = ["BusClientFactory", "Subscription"]
